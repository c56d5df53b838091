/* The gradient quantizer, AVX2: ranges, stochastic rounding. */
#include "kernels/x86/tier_avx2.h"

#include "base/bits.h"
#include "kernels/x86/columns_x86.h"
#include "kernels/x86/vec_avx2.h"

/* --- ranges ----------------------------------------------------------------------------------- */

/* 8 * vectors columns from column j on; only the last vector of a row is not full. */
BP_INLINE void range_block(int vectors, const float *g, size_t n, size_t k, size_t j, int full,
                           size_t rest, struct bp_columns to) {
    struct range_256 range[4];
    for (int q = 0; q < vectors; q++)
        range[q] = range_load(&to, j + 8 * (size_t)q, full, rest);
    for (size_t i = 0; i < n; i++)
        for (int q = 0; q < vectors; q++)
            range_add(&range[q], load_ps(g + i * k + j + 8 * (size_t)q, full, rest));
    for (int q = 0; q < vectors; q++)
        range_store(&to, j + 8 * (size_t)q, full, rest, &range[q]);
}

void bp_range_columns_avx2(const float *g, size_t n, size_t k, struct bp_columns to) {
    size_t j = 0;
    for (; j + 32 <= k; j += 32)
        range_block(4, g, n, k, j, 1, 8, to);
    for (; j < k; j += 8)
        range_block(1, g, n, k, j, 0, k - j, to);
}

/* --- stochastic rounding ---------------------------------------------------------------------- */

/* Codes are made of t in parts of a step, an integer; clamped before the random number is added
 * they are the same. */
struct rounder {
    __m256 most, least; /* of t */
    float parts;
};

BP_INLINE struct rounder rounder_of(const struct bp_rounding *rounding) {
    const float parts = bp_rounding_parts(rounding);
    return (struct rounder){_mm256_set1_ps((float)rounding->code_max * parts),
                            _mm256_set1_ps((float)rounding->code_min * parts), parts};
}

/* (g - lo) * by, clamped and rounded to the nearest integer. A maximum with NaN is its second
 * operand. */
BP_INLINE __m256i integer_8(__m256 g, __m256 lo, __m256 by, const struct rounder *r) {
    __m256 t = _mm256_mul_ps(_mm256_sub_ps(g, lo), by);
    return _mm256_cvtps_epi32(_mm256_min_ps(_mm256_max_ps(t, r->least), r->most));
}

BP_INLINE __m256i random_8(const uint8_t *random, int wide) {
    if (wide)
        return _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)random));
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)random));
}

/* The codes of 8 integers. */
BP_INLINE __m128i codes_8(__m256i n, const uint8_t *random, int wide) {
    const __m256i low_bytes =
        _mm256_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 4, 8, 12,
                         -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    __m256i code = _mm256_srai_epi32(_mm256_add_epi32(n, random_8(random, wide)), wide ? 16 : 8);
    code = _mm256_shuffle_epi8(code, low_bytes);
    return _mm_unpacklo_epi32(_mm256_castsi256_si128(code), _mm256_extracti128_si256(code, 1));
}

BP_INLINE void store_8(__m128i codes, uint8_t *to) {
    _mm_storel_epi64((__m128i *)(void *)to, codes);
}

/* Of up to 7 elements. */
BP_INLINE void store_few(__m256i n, const uint8_t *random, int wide, size_t count, uint8_t *codes) {
    uint8_t of_random[16] = {0}, of_codes[8];
    memcpy(of_random, random, (wide ? 2 : 1) * count);
    store_8(codes_8(n, of_random, wide), of_codes);
    memcpy(codes, of_codes, count);
}

/* The codes of 32 integers, 8 random bits each. Halves of a packed vector hold four elements of
 * each of its vectors; so do those of the random bytes, turned around. */
BP_INLINE void codes_32(const __m256i n[4], const uint8_t *random, uint8_t *codes) {
    const __m256i quads = _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7);
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const __m256i zero = _mm256_setzero_si256();
    __m256i u = _mm256_permutevar8x32_epi32(
        _mm256_loadu_si256((const __m256i *)(const void *)random), quads);
    __m256i a = _mm256_add_epi16(_mm256_packs_epi32(n[0], n[1]), _mm256_unpacklo_epi8(u, zero));
    __m256i b = _mm256_add_epi16(_mm256_packs_epi32(n[2], n[3]), _mm256_unpackhi_epi8(u, zero));
    __m256i code = _mm256_packs_epi16(_mm256_srai_epi16(a, 8), _mm256_srai_epi16(b, 8));
    _mm256_storeu_si256((__m256i *)(void *)codes, _mm256_permutevar8x32_epi32(code, order));
}

BP_INLINE void round_one_grid(const float *g, size_t n, const uint8_t *random,
                              const struct bp_rounding *rounding, int wide, struct bp_grid grid,
                              uint8_t *codes) {
    const struct rounder r = rounder_of(rounding);
    const __m256 lo = _mm256_set1_ps(grid.lo), by = _mm256_set1_ps(grid.inv_step * r.parts);
    size_t bytes = wide ? 2 : 1, i = 0;
    for (; !wide && i + 32 <= n; i += 32) {
        __m256i v[4];
        for (size_t q = 0; q < 4; q++)
            v[q] = integer_8(_mm256_loadu_ps(g + i + 8 * q), lo, by, &r);
        codes_32(v, random + i, codes + i);
    }
    for (; i + 8 <= n; i += 8)
        store_8(codes_8(integer_8(_mm256_loadu_ps(g + i), lo, by, &r), random + bytes * i, wide),
                codes + i);
    if (i < n)
        store_few(integer_8(load_ps(g + i, 0, n - i), lo, by, &r), random + bytes * i, wide, n - i,
                  codes + i);
}

void bp_round_group_avx2(const float *g, size_t n, const uint8_t *random,
                         const struct bp_rounding *rounding, struct bp_grid grid, uint8_t *codes) {
    if (rounding->wide)
        round_one_grid(g, n, random, rounding, 1, grid, codes);
    else
        round_one_grid(g, n, random, rounding, 0, grid, codes);
}

/* Splits 8 grids into lo and what to multiply with. */
BP_INLINE void load_grids(const struct bp_grid *grid, float parts, __m256 *lo, __m256 *by) {
    __m256 a = _mm256_loadu_ps(&grid->lo), b = _mm256_loadu_ps(&grid->lo + 8);
    __m256i even = _mm256_castps_si256(_mm256_shuffle_ps(a, b, 0x88));
    __m256i odd = _mm256_castps_si256(_mm256_shuffle_ps(a, b, 0xdd));
    *lo = _mm256_castsi256_ps(_mm256_permute4x64_epi64(even, 0xd8));
    *by = _mm256_mul_ps(_mm256_castsi256_ps(_mm256_permute4x64_epi64(odd, 0xd8)),
                        _mm256_set1_ps(parts));
}

/* Integers of 8 columns; run: they are neighbours. */
BP_INLINE __m256i integers_of(const float *g, const int32_t *column, int run,
                              const struct bp_grid *grid, const struct rounder *r) {
    __m256 lo, by, v = run ? _mm256_loadu_ps(g + column[0]) : load_columns_8(g, column);
    load_grids(grid, r->parts, &lo, &by);
    return integer_8(v, lo, by, r);
}

/* Up to 7 elements: the same on copies. */
static __m256i integers_of_few(const float *g, const int32_t *column, const struct bp_grid *grid,
                               size_t count, const struct rounder *r) {
    static const int32_t in_order[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    float v[8] = {0};
    struct bp_grid part[8] = {{0, 0}};
    for (size_t e = 0; e < count; e++) {
        v[e] = g[column[e]];
        part[e] = grid[e];
    }
    return integers_of(v, in_order, 1, part, r);
}

BP_INLINE void round_grids(const float *g, size_t n, size_t g_stride, const int32_t *column,
                           size_t k, const uint8_t *random, const struct bp_rounding *rounding,
                           int wide, int run, const struct bp_grid *grid, uint8_t *codes) {
    const struct rounder r = rounder_of(rounding);
    size_t bytes = wide ? 2 : 1;
    for (size_t i = 0; i < n; i++, g += g_stride, codes += k, random += bytes * k) {
        size_t j = 0;
        for (; !wide && j + 32 <= k; j += 32) {
            __m256i v[4];
            for (size_t q = 0; q < 4; q++)
                v[q] = integers_of(g, column + j + 8 * q, run, grid + j + 8 * q, &r);
            codes_32(v, random + j, codes + j);
        }
        for (; j + 8 <= k; j += 8)
            store_8(
                codes_8(integers_of(g, column + j, run, grid + j, &r), random + bytes * j, wide),
                codes + j);
        if (j < k)
            store_few(integers_of_few(g, column + j, grid + j, k - j, &r), random + bytes * j, wide,
                      k - j, codes + j);
    }
}

void bp_round_columns_avx2(const float *g, size_t n, size_t g_stride, const int32_t *column,
                           size_t k, const uint8_t *random, const struct bp_rounding *rounding,
                           const struct bp_grid *grid, uint8_t *codes) {
    int run = is_run(column, k);
    if (rounding->wide)
        round_grids(g, n, g_stride, column, k, random, rounding, 1, run, grid, codes);
    else if (run)
        round_grids(g, n, g_stride, column, k, random, rounding, 0, 1, grid, codes);
    else
        round_grids(g, n, g_stride, column, k, random, rounding, 0, 0, grid, codes);
}
