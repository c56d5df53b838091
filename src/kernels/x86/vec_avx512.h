/* Small pieces that the AVX-512 files share. */
#ifndef BP_KERNELS_X86_VEC_AVX512_H
#define BP_KERNELS_X86_VEC_AVX512_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

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

/* 16 values as floats from either type; is_i16 is a constant. */
BP_INLINE __m512 load_y(const void *y, size_t at, int is_i16, __mmask16 m) {
    if (!is_i16)
        return load_f32((const float *)y + at, m);
    const int16_t *p = (const int16_t *)y + at;
    __m256i v = m == 0xffff ? _mm256_loadu_si256((const __m256i *)(const void *)p)
                            : _mm256_maskz_loadu_epi16(m, p);
    return _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(v));
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
