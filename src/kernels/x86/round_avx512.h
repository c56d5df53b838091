/* Stochastic rounding, AVX-512, see struct bp_rounding. */
#ifndef BP_KERNELS_X86_ROUND_AVX512_H
#define BP_KERNELS_X86_ROUND_AVX512_H

#include "kernels/x86/vec_avx512.h"

/* Codes are made of t in parts of a step, 64 at a time as 16 bits. */
struct rounder {
    __m512 most;     /* of t: so that it fits, and no code is above code_max */
    __m512i least;   /* code_min, 16 bits */
    __m512 least_32; /* of t */
    float parts;
};

BP_INLINE struct rounder rounder_of(const struct bp_rounding *rounding) {
    const float parts = bp_rounding_parts(rounding);
    return (struct rounder){_mm512_set1_ps((float)rounding->code_max * parts),
                            _mm512_set1_epi16((short)rounding->code_min),
                            _mm512_set1_ps((float)rounding->code_min * parts), parts};
}

BP_INLINE __m512i to_nearest(__m512 t) {
    return _mm512_cvt_roundps_epi32(t, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

/* A t that is NaN, or too small, is the smallest integer, and after packing the smallest of 16
 * bits. Quarters of a packed vector hold four elements of each of its vectors; so do those of the
 * random bytes, turned around. */
BP_INLINE __m512i round_64_narrow(const __m512 t[4], const uint8_t *random,
                                  const struct rounder *r) {
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i zero = _mm512_setzero_si512();
    __m512i n[4], u = _mm512_permutexvar_epi32(order, _mm512_loadu_si512(random));
    for (int v = 0; v < 4; v++)
        n[v] = to_nearest(_mm512_min_ps(r->most, t[v]));
    __m512i a = _mm512_add_epi16(_mm512_packs_epi32(n[0], n[1]), _mm512_unpacklo_epi8(u, zero));
    __m512i b = _mm512_add_epi16(_mm512_packs_epi32(n[2], n[3]), _mm512_unpackhi_epi8(u, zero));
    a = _mm512_max_epi16(_mm512_srai_epi16(a, 8), r->least);
    b = _mm512_max_epi16(_mm512_srai_epi16(b, 8), r->least);
    return _mm512_permutexvar_epi32(order, _mm512_packs_epi16(a, b));
}

/* Codes up to 255: the low bytes of 16 bits. */
BP_INLINE __m512i round_64_wide(const __m512 t[4], const uint8_t *random, const struct rounder *r) {
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i low = _mm512_set1_epi16(0xff);
    __m512i n[4];
    for (int v = 0; v < 4; v++) {
        const __m256i *at = (const __m256i *)(const void *)(random + 32 * v);
        __m512i u = _mm512_cvtepu16_epi32(_mm256_loadu_si256(at));
        n[v] = _mm512_srai_epi32(_mm512_add_epi32(to_nearest(_mm512_min_ps(r->most, t[v])), u), 16);
    }
    __m512i a = _mm512_max_epi16(_mm512_packs_epi32(n[0], n[1]), r->least);
    __m512i b = _mm512_max_epi16(_mm512_packs_epi32(n[2], n[3]), r->least);
    return _mm512_permutexvar_epi32(
        order, _mm512_packus_epi16(_mm512_and_si512(a, low), _mm512_and_si512(b, low)));
}

/* random: of these elements. */
BP_INLINE __m512i round_64(const __m512 t[4], const uint8_t *random, int wide,
                           const struct rounder *r) {
    return wide ? round_64_wide(t, random, r) : round_64_narrow(t, random, r);
}

/* Splits 16 grids into lo and inv_step. */
BP_INLINE void load_grids(const struct bp_grid *grid, size_t count, __m512 *lo, __m512 *inv_step) {
    const __m512i even =
        _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    const float *from = &grid->lo;
    uint32_t m = mask_32(2 * count);
    __m512 a = _mm512_maskz_loadu_ps((__mmask16)m, from);
    __m512 b = _mm512_maskz_loadu_ps((__mmask16)(m >> 16), from + 16);
    *lo = _mm512_permutex2var_ps(a, even, b);
    *inv_step = _mm512_permutex2var_ps(a, odd, b);
}

/* --- twice at once, see struct bp_rounding_both ----------------------------------------------- */

/* column_by: inv_step of the columns in parts. */
struct rounder_both {
    struct rounder group, columns;
    __m512 group_by;
    float column_by[BP_BOTH_CHANNELS];
};

BP_INLINE void begin_both(struct rounder_both *r, const struct bp_rounding_both *both, size_t c) {
    r->group = rounder_of(&both->group);
    r->columns = rounder_of(&both->columns);
    r->group_by = _mm512_set1_ps(both->group_grid.inv_step * r->group.parts);
    for (size_t j = 0; j < c; j += 16) {
        __m512 lo, inv_step;
        load_grids(both->column_grids + j, 16, &lo, &inv_step);
        _mm512_storeu_ps(r->column_by + j,
                         _mm512_mul_ps(inv_step, _mm512_set1_ps(r->columns.parts)));
    }
}

/* Whether some of the codes are wide: a constant of the loops below, which are there for both. */
BP_INLINE int any_wide(const struct bp_rounding_both *both) {
    return both->group.wide || both->columns.wide;
}

/* 64 elements g from `at` on, of channels from j on. */
BP_INLINE void round_both(const struct rounder_both *r, const struct bp_rounding_both *both,
                          int wide, const __m512 g[4], size_t at, size_t j) {
    const int group_wide = wide && both->group.wide, columns_wide = wide && both->columns.wide;
    __m512 t[4];
    for (size_t q = 0; q < 4; q++)
        t[q] = _mm512_mul_ps(g[q], r->group_by);
    _mm512_storeu_si512(
        both->group_codes + at,
        round_64(t, both->group_random + (group_wide ? 2 * at : at), group_wide, &r->group));
    for (size_t q = 0; q < 4; q++)
        t[q] = _mm512_mul_ps(g[q], _mm512_loadu_ps(r->column_by + j + 16 * q));
    _mm512_storeu_si512(
        both->column_codes + at,
        round_64(t, both->column_random + (columns_wide ? 2 * at : at), columns_wide, &r->columns));
}

#endif
