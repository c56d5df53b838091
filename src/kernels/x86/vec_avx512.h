/* Small pieces that the AVX-512 files share. */
#ifndef BP_KERNELS_X86_VEC_AVX512_H
#define BP_KERNELS_X86_VEC_AVX512_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "kernels/value_type.h"

#define BP_INLINE static inline __attribute__((always_inline))

/* A mask of the first `rest` lanes, all of them from the register's width on. */
BP_INLINE __mmask64 mask_64(size_t rest) {
    return rest >= 64 ? ~(__mmask64)0 : ((__mmask64)1 << rest) - 1;
}

BP_INLINE __mmask32 mask_32(size_t rest) {
    return (__mmask32)mask_64(rest);
}

BP_INLINE __mmask16 mask_16(size_t rest) {
    return (__mmask16)mask_64(rest);
}

BP_INLINE __mmask8 mask_8(size_t rest) {
    return (__mmask8)mask_64(rest);
}

/* The low 16 bits of 32 numbers, in order, where `inside` is set, else 0. */
BP_INLINE __m512i low_halves(__mmask32 inside, __m512i low, __m512i high) {
    const __m512i even =
        _mm512_set_epi16(62, 60, 58, 56, 54, 52, 50, 48, 46, 44, 42, 40, 38, 36, 34, 32, 30, 28, 26,
                         24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    return _mm512_maskz_permutex2var_epi16(inside, low, even, high);
}

/* Transposes the 8 x 8 bytes that each 64-byte register is. */
BP_INLINE __m512i transpose_bytes(__m512i v) {
    const __m512i columns = _mm512_set_epi64(
        0x3f372f271f170f07, 0x3e362e261e160e06, 0x3d352d251d150d05, 0x3c342c241c140c04,
        0x3b332b231b130b03, 0x3a322a221a120a02, 0x3931292119110901, 0x3830282018100800);
    return _mm512_permutexvar_epi8(columns, v);
}

/* Swaps the bits under `mask` with those `shift` above them. */
BP_INLINE __m512i swap_bits(__m512i v, unsigned shift, uint64_t mask) {
    __m512i m = _mm512_set1_epi64((long long)mask);
    /* (v ^ v >> shift) & m, then v ^ t ^ t << shift */
    __m512i t = _mm512_ternarylogic_epi64(v, _mm512_srli_epi64(v, shift), m, 0x28);
    return _mm512_ternarylogic_epi64(v, t, _mm512_slli_epi64(t, shift), 0x96);
}

/* Transposes the 8 x 8 bits of each lane. */
BP_INLINE __m512i transpose_bits(__m512i v) {
    v = swap_bits(v, 7, 0x00aa00aa00aa00aa);
    v = swap_bits(v, 14, 0x0000cccc0000cccc);
    return swap_bits(v, 28, 0x00000000f0f0f0f0);
}

/* 8 words: byte j = their bits j, bit i that of word i. */
BP_INLINE __m512i bits_of_lanes(__m512i words) {
    return transpose_bits(transpose_bytes(words));
}

/* Loads and stores of 16 floats; where `m` is a constant of all ones, the compiler drops it. */
BP_INLINE __m512 load_f32(const float *p, __mmask16 m) {
    return m == 0xffff ? _mm512_loadu_ps(p) : _mm512_maskz_loadu_ps(m, p);
}

BP_INLINE void store_f32(float *p, __mmask16 m, __m512 v) {
    if (m == 0xffff)
        _mm512_storeu_ps(p, v);
    else
        _mm512_mask_storeu_ps(p, m, v);
}

BP_INLINE __m256i load_i16(const int16_t *p, __mmask16 m) {
    return m == 0xffff ? _mm256_loadu_si256((const __m256i *)(const void *)p)
                       : _mm256_maskz_loadu_epi16(m, p);
}

/* 16 floats as bfloat16, rounded as by round_bf16: the instruction made for it takes tiny numbers
 * for zero, and is not in this tier. */
BP_INLINE __m256i rounded(__m512 v) {
    const __m512i half = _mm512_set1_epi32(0x7fff), one = _mm512_set1_epi32(1);
    __m512i bits = _mm512_castps_si512(v), upper = _mm512_srli_epi32(bits, 16);
    __m512i up = _mm512_add_epi32(_mm512_add_epi32(bits, half), _mm512_and_si512(upper, one));
    __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    up = _mm512_srli_epi32(up, 16);
    return _mm512_cvtepi32_epi16(_mm512_mask_or_epi32(up, nan, upper, _mm512_set1_epi32(0x40)));
}

BP_INLINE void store_u16(uint16_t *p, __mmask16 m, __m256i v) {
    if (m == 0xffff)
        _mm256_storeu_si256((__m256i *)(void *)p, v);
    else
        _mm256_mask_storeu_epi16(p, m, v);
}

/* The numbers of 16 bfloat16. */
BP_INLINE __m512 widened(__m256i v) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(v), 16));
}

/* 16 floats as halves, rounded as by settle_f16, and the numbers of 16 halves. */
BP_INLINE __m256i halved(__m512 v) {
    const __m512 most = _mm512_set1_ps(BP_HALF_MAX), least = _mm512_set1_ps(-BP_HALF_MAX);
    v = _mm512_mul_ps(v, _mm512_set1_ps(1.0f / BP_HALF_UNIT));
    v = _mm512_max_ps(least, _mm512_min_ps(most, v)); /* v where that is NaN */
    return _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

BP_INLINE __m512 of_halves(__m256i v) {
    return _mm512_mul_ps(_mm512_cvtph_ps(v), _mm512_set1_ps(BP_HALF_UNIT));
}

/* 16 values of a type (a constant) as floats. */
BP_INLINE __m512 load_y(const void *y, size_t at, enum value_type type, __mmask16 m) {
    if (type == VALUE_F32)
        return load_f32((const float *)y + at, m);
    __m256i v = load_i16((const int16_t *)y + at, m);
    if (type == VALUE_F16)
        return of_halves(v);
    return type == VALUE_BF16 ? widened(v) : _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(v));
}

/* 16 values to floats, or rounded to halves or bfloat16. */
BP_INLINE void store_y(void *y, size_t at, enum value_type type, __mmask16 m, __m512 v) {
    if (type == VALUE_F32)
        store_f32((float *)y + at, m, v);
    else
        store_u16((uint16_t *)y + at, m, type == VALUE_F16 ? halved(v) : rounded(v));
}

/* Ranges of 16 columns. */
struct range_512 {
    __m512 lo, hi, squares;
};

BP_INLINE struct range_512 range_load(const struct bp_columns *from, size_t j, __mmask16 m) {
    return (struct range_512){load_f32(from->lo + j, m), load_f32(from->hi + j, m),
                              load_f32(from->sum_squares + j, m)};
}

BP_INLINE void range_add(struct range_512 *range, __m512 v) {
    range->lo = _mm512_min_ps(v, range->lo);
    range->hi = _mm512_max_ps(v, range->hi);
    range->squares = _mm512_add_ps(range->squares, _mm512_mul_ps(v, v));
}

BP_INLINE void range_store(const struct bp_columns *to, size_t j, __mmask16 m,
                           const struct range_512 *range) {
    store_f32(to->lo + j, m, range->lo);
    store_f32(to->hi + j, m, range->hi);
    store_f32(to->sum_squares + j, m, range->squares);
}

/* Lanes where a later value takes the place of the best so far: greater, or NaN. */
BP_INLINE __mmask16 beats(__m512 later, __m512 best) {
    return _kor_mask16(_mm512_cmp_ps_mask(later, best, _CMP_GT_OQ),
                       _mm512_cmp_ps_mask(later, later, _CMP_UNORD_Q));
}

/* Transposes 8 x 8 words. */
BP_INLINE void transpose_8x8(__m512i v[8]) {
    __m512i pair[8], quad[8];
    for (int i = 0; i < 8; i += 2) {
        pair[i] = _mm512_unpacklo_epi64(v[i], v[i + 1]);
        pair[i + 1] = _mm512_unpackhi_epi64(v[i], v[i + 1]);
    }
    for (int i = 0; i < 8; i += 4)
        for (int j = 0; j < 2; j++) { /* columns j, j + 4 and j + 2, j + 6 of rows i .. i + 3 */
            quad[i + j] = _mm512_shuffle_i64x2(pair[i + j], pair[i + j + 2], 0x88);
            quad[i + j + 2] = _mm512_shuffle_i64x2(pair[i + j], pair[i + j + 2], 0xdd);
        }
    for (int j = 0; j < 4; j++) {
        v[j] = _mm512_shuffle_i64x2(quad[j], quad[j + 4], 0x88);
        v[j + 4] = _mm512_shuffle_i64x2(quad[j], quad[j + 4], 0xdd);
    }
}

#endif
