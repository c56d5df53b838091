/* Small pieces that the AVX2 files share. */
#ifndef BP_KERNELS_X86_VEC_AVX2_H
#define BP_KERNELS_X86_VEC_AVX2_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/kernels.h"
#include "kernels/value_type.h"

#define BP_INLINE static inline __attribute__((always_inline))

BP_INLINE __m256i load_256(const void *p) {
    return _mm256_loadu_si256((const __m256i *)p);
}

BP_INLINE void store_256(void *p, __m256i v) {
    _mm256_storeu_si256((__m256i *)p, v);
}

/* Masks of the first `rest` lanes, all from the register's width on. */
BP_INLINE __m256i mask_32x8(size_t rest) {
    const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(rest < 8 ? (int)rest : 8), index);
}

BP_INLINE __m256i mask_64x4(size_t rest) {
    const __m256i index = _mm256_setr_epi64x(0, 1, 2, 3);
    return _mm256_cmpgt_epi64(_mm256_set1_epi64x(rest < 4 ? (int)rest : 4), index);
}

/* Loads and stores of the first `rest` floats, 1 .. 8 and more; `full` is a constant. */
BP_INLINE __m256 load_ps(const float *p, int full, size_t rest) {
    return full ? _mm256_loadu_ps(p) : _mm256_maskload_ps(p, mask_32x8(rest));
}

BP_INLINE void store_ps(float *p, int full, size_t rest, __m256 v) {
    if (full)
        _mm256_storeu_ps(p, v);
    else
        _mm256_maskstore_ps(p, mask_32x8(rest), v);
}

/* 8 floats as halves, rounded as by settle_f16, and the numbers of 8 halves. */
BP_INLINE __m128i halved(__m256 v) {
    const __m256 most = _mm256_set1_ps(BP_HALF_MAX), least = _mm256_set1_ps(-BP_HALF_MAX);
    v = _mm256_mul_ps(v, _mm256_set1_ps(1.0f / BP_HALF_UNIT));
    v = _mm256_max_ps(least, _mm256_min_ps(most, v)); /* v where that is NaN */
    return _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT);
}

BP_INLINE __m256 of_halves(__m128i v) {
    return _mm256_mul_ps(_mm256_cvtph_ps(v), _mm256_set1_ps(BP_HALF_UNIT));
}

/* The numbers of 8 bfloat16. */
BP_INLINE __m256 widened(__m128i v) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(v), 16));
}

/* 8 values of a type (a constant) as floats. */
BP_INLINE __m256 load_y(const void *y, size_t at, enum value_type type, int full, size_t rest) {
    if (type == VALUE_F32)
        return load_ps((const float *)y + at, full, rest);
    int16_t part[8] = {0};
    const int16_t *p = (const int16_t *)y + at;
    if (!full) {
        memcpy(part, p, (rest < 8 ? rest : 8) * sizeof *p);
        p = part;
    }
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
    if (type == VALUE_F16)
        return of_halves(v);
    return type == VALUE_BF16 ? widened(v) : _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(v));
}

/* 8 floats as bfloat16, rounded as by round_bf16: with integers, which are the same everywhere. */
BP_INLINE __m128i rounded(__m256 v) {
    const __m256i half = _mm256_set1_epi32(0x7fff), one = _mm256_set1_epi32(1);
    __m256i bits = _mm256_castps_si256(v), upper = _mm256_srli_epi32(bits, 16);
    __m256i up = _mm256_add_epi32(_mm256_add_epi32(bits, half), _mm256_and_si256(upper, one));
    __m256i quiet = _mm256_or_si256(upper, _mm256_set1_epi32(0x40));
    __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    up = _mm256_blendv_epi8(_mm256_srli_epi32(up, 16), quiet, nan);
    return _mm_packus_epi32(_mm256_castsi256_si128(up), _mm256_extracti128_si256(up, 1));
}

BP_INLINE void store_u16(uint16_t *p, int full, size_t rest, __m128i v) {
    if (full) {
        _mm_storeu_si128((__m128i *)(void *)p, v);
        return;
    }
    uint16_t part[8];
    _mm_storeu_si128((__m128i *)(void *)part, v);
    memcpy(p, part, rest * sizeof *p);
}

/* 8 values to floats, or rounded to halves or bfloat16. */
BP_INLINE void store_y(void *y, size_t at, enum value_type type, int full, size_t rest, __m256 v) {
    if (type == VALUE_F32)
        store_ps((float *)y + at, full, rest, v);
    else
        store_u16((uint16_t *)y + at, full, rest, type == VALUE_F16 ? halved(v) : rounded(v));
}

/* Ranges of 8 columns. */
struct range_256 {
    __m256 lo, hi, squares;
};

BP_INLINE struct range_256 range_load(const struct bp_columns *from, size_t j, int full,
                                      size_t rest) {
    return (struct range_256){load_ps(from->lo + j, full, rest), load_ps(from->hi + j, full, rest),
                              load_ps(from->sum_squares + j, full, rest)};
}

BP_INLINE void range_add(struct range_256 *range, __m256 v) {
    range->lo = _mm256_min_ps(v, range->lo);
    range->hi = _mm256_max_ps(v, range->hi);
    range->squares = _mm256_add_ps(range->squares, _mm256_mul_ps(v, v));
}

BP_INLINE void range_store(const struct bp_columns *to, size_t j, int full, size_t rest,
                           const struct range_256 *range) {
    store_ps(to->lo + j, full, rest, range->lo);
    store_ps(to->hi + j, full, rest, range->hi);
    store_ps(to->sum_squares + j, full, rest, range->squares);
}

/* Takes a later value where it is greater than the best so far, or NaN; returns those lanes. */
BP_INLINE unsigned challenge(__m256 *best, __m256 later) {
    __m256 wins = _mm256_or_ps(_mm256_cmp_ps(later, *best, _CMP_GT_OQ),
                               _mm256_cmp_ps(later, later, _CMP_UNORD_Q));
    *best = _mm256_blendv_ps(*best, later, wins);
    return (unsigned)_mm256_movemask_ps(wins);
}

/* Population count of each byte. */
BP_INLINE __m256i popcount_bytes(__m256i v) {
    const __m256i nibbles = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1,
                                             1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
    const __m256i low = _mm256_set1_epi8(0x0f);
    return _mm256_add_epi8(
        _mm256_shuffle_epi8(nibbles, _mm256_and_si256(v, low)),
        _mm256_shuffle_epi8(nibbles, _mm256_and_si256(_mm256_srli_epi16(v, 4), low)));
}

/* The low 32 bits of 8 lanes, in order. */
BP_INLINE __m256i narrow_32(__m256i a, __m256i b) {
    __m256 v = _mm256_shuffle_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), 0x88);
    return _mm256_permute4x64_epi64(_mm256_castps_si256(v), 0xd8);
}

/* All ones in lane i where bit i is set, i = 0 .. 15. */
BP_INLINE __m256i spread_bits_16(uint64_t bits) {
    const __m256i bit = _mm256_setr_epi16(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096,
                                          8192, 16384, INT16_MIN);
    __m256i lanes = _mm256_and_si256(_mm256_set1_epi16((short)(bits & 0xffff)), bit);
    return _mm256_cmpeq_epi16(lanes, bit);
}

#endif
