/* Normalisation and activation, AVX-512: 16 channels a vector (the sums of int16: 32). The last
 * vector of a row is masked; elsewhere `m` is a constant of all ones, which the compiler drops. */
#include "kernels/x86/tier_avx512.h"

#include "base/bits.h"
#include "kernels/x86/vec_avx512.h"

/* --- sums ------------------------------------------------------------------------------------- */

#define SUM_ROWS 32768 /* per run of 32-bit sums, see sums_run */

BP_INLINE void add_i64(int64_t *to, __mmask8 m, __m512i v) {
    _mm512_mask_storeu_epi64(to, m, _mm512_add_epi64(_mm512_maskz_loadu_epi64(m, to), v));
}

/* to[0 .. 15] += the 16 lanes, signed or not. */
BP_INLINE void add_i64_from_i32(int64_t *to, __mmask16 m, __m512i v, int is_signed) {
    __m256i low = _mm512_castsi512_si256(v), high = _mm512_extracti64x4_epi64(v, 1);
    add_i64(to, (__mmask8)m, is_signed ? _mm512_cvtepi32_epi64(low) : _mm512_cvtepu32_epi64(low));
    add_i64(to + 8, (__mmask8)(m >> 8),
            is_signed ? _mm512_cvtepi32_epi64(high) : _mm512_cvtepu32_epi64(high));
}

/* 32 channels, up to SUM_ROWS rows, two at a time: rows a and b interleaved make pairs whose sum
 * and sum of squares are one VNNI or multiply-add instruction each. A pair's squares fit 32 bits
 * without sign, their sum over the rows does not: the upper 16 bits of each pair are summed beside
 * the whole (modulo 2^32), and the lower ones, below 2^16 * SUM_ROWS / 2, follow from the
 * difference. */
static void sums_run(const int16_t *y, size_t n, size_t c, __mmask32 m, int64_t *sum,
                     int64_t *sum_squares) {
    const __m512i ones = _mm512_set1_epi16(1);
    __m512i total[2], whole[2], upper[2];
    for (int h = 0; h < 2; h++)
        total[h] = whole[h] = upper[h] = _mm512_setzero_si512();
    for (size_t p = 0; p < n; p += 2, y += 2 * c) {
        __m512i a = _mm512_maskz_loadu_epi16(m, y);
        __m512i b = _mm512_maskz_loadu_epi16(p + 1 < n ? m : 0, y + c);
        __m512i pair[2] = {_mm512_unpacklo_epi16(a, b), _mm512_unpackhi_epi16(a, b)};
        for (int h = 0; h < 2; h++) {
            __m512i squares = _mm512_madd_epi16(pair[h], pair[h]);
            total[h] = _mm512_dpwssd_epi32(total[h], pair[h], ones);
            whole[h] = _mm512_add_epi32(whole[h], squares);
            upper[h] = _mm512_add_epi32(upper[h], _mm512_srli_epi32(squares, 16));
        }
    }
    /* Channels 0-3, 8-11, 16-19, 24-27 are in the first half, the others in the second. */
    const __m512i first = _mm512_set_epi32(23, 22, 21, 20, 7, 6, 5, 4, 19, 18, 17, 16, 3, 2, 1, 0);
    const __m512i second = _mm512_add_epi32(first, _mm512_set1_epi32(8));
    for (int h = 0; h < 2; h++) {
        __m512i order = h == 0 ? first : second;
        __mmask16 half = (__mmask16)(m >> 16 * h);
        __m512i t = _mm512_permutex2var_epi32(total[0], order, total[1]);
        __m512i w = _mm512_permutex2var_epi32(whole[0], order, whole[1]);
        __m512i u = _mm512_permutex2var_epi32(upper[0], order, upper[1]);
        __m512i lower = _mm512_sub_epi32(w, _mm512_slli_epi32(u, 16));
        add_i64_from_i32(sum + 16 * h, half, t, 1);
        add_i64_from_i32(sum_squares + 16 * h, half, lower, 0);
        __m512i u0 = _mm512_cvtepu32_epi64(_mm512_castsi512_si256(u));
        __m512i u1 = _mm512_cvtepu32_epi64(_mm512_extracti64x4_epi64(u, 1));
        add_i64(sum_squares + 16 * h, (__mmask8)half, _mm512_slli_epi64(u0, 16));
        add_i64(sum_squares + 16 * h + 8, (__mmask8)(half >> 8), _mm512_slli_epi64(u1, 16));
    }
}

void bp_sums_i16_avx512(const int16_t *y, size_t n, size_t c, int64_t *sum, int64_t *sum_squares) {
    for (size_t p = 0; p < n; p += SUM_ROWS)
        for (size_t j = 0; j < c; j += 32)
            sums_run(y + p * c + j, bp_min_size(SUM_ROWS, n - p), c, mask_32(c - j), sum + j,
                     sum_squares + j);
}

/* The square of a float is exact in double: fused or not is the same. */
void bp_sums_f32_avx512(const float *y, size_t n, size_t c, double *sum, double *sum_squares) {
    for (size_t j = 0; j < c; j += 16) {
        __mmask16 m = mask_16(c - j);
        __mmask8 low = (__mmask8)m, high = (__mmask8)(m >> 8);
        __m512d s0 = _mm512_maskz_loadu_pd(low, sum + j);
        __m512d s1 = _mm512_maskz_loadu_pd(high, sum + j + 8);
        __m512d q0 = _mm512_maskz_loadu_pd(low, sum_squares + j);
        __m512d q1 = _mm512_maskz_loadu_pd(high, sum_squares + j + 8);
        for (size_t p = 0; p < n; p++) {
            __m512 v = _mm512_maskz_loadu_ps(m, y + p * c + j);
            __m512d v0 = _mm512_cvtps_pd(_mm512_castps512_ps256(v));
            __m512d v1 = _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1));
            s0 = _mm512_add_pd(s0, v0);
            s1 = _mm512_add_pd(s1, v1);
            q0 = _mm512_fmadd_pd(v0, v0, q0);
            q1 = _mm512_fmadd_pd(v1, v1, q1);
        }
        _mm512_mask_storeu_pd(sum + j, low, s0);
        _mm512_mask_storeu_pd(sum + j + 8, high, s1);
        _mm512_mask_storeu_pd(sum_squares + j, low, q0);
        _mm512_mask_storeu_pd(sum_squares + j + 8, high, q1);
    }
}

/* --- batch norm and PReLU --------------------------------------------------------------------- */

BP_INLINE void affine_16(const void *y, size_t at, int is_i16, size_t j, __mmask16 m,
                         const float *scale, const float *shift, const float *slope, float *z) {
    __m512 v = _mm512_mul_ps(load_y(y, at, is_i16, m), load_f32(scale + j, m));
    v = _mm512_add_ps(v, load_f32(shift + j, m));
    if (slope != NULL) {
        __mmask16 negative = _mm512_cmp_ps_mask(v, _mm512_setzero_ps(), _CMP_LT_OQ);
        v = _mm512_mask_mul_ps(v, negative, v, load_f32(slope + j, m));
    }
    store_f32(z + at, m, v);
}

BP_INLINE void affine_rows(const void *y, int is_i16, size_t n, size_t c, const float *scale,
                           const float *shift, const float *slope, float *z) {
    for (size_t p = 0; p < n; p++) {
        size_t j = 0;
        for (; j + 16 <= c; j += 16)
            affine_16(y, p * c + j, is_i16, j, 0xffff, scale, shift, slope, z);
        if (j < c)
            affine_16(y, p * c + j, is_i16, j, mask_16(c - j), scale, shift, slope, z);
    }
}

void bp_affine_act_i16_avx512(const int16_t *y, size_t n, size_t c, const float *scale,
                              const float *shift, const float *slope, float *z) {
    if (slope != NULL)
        affine_rows(y, 1, n, c, scale, shift, slope, z);
    else
        affine_rows(y, 1, n, c, scale, shift, NULL, z);
}

void bp_affine_act_f32_avx512(const float *y, size_t n, size_t c, const float *scale,
                              const float *shift, const float *slope, float *z) {
    if (slope != NULL)
        affine_rows(y, 0, n, c, scale, shift, slope, z);
    else
        affine_rows(y, 0, n, c, scale, shift, NULL, z);
}
