/* Products of packed bits, AVX-512: VPOPCNTQ on blocks of 4 rows (pixels or gradient rows) by 32
 * lanes (channels): 16 accumulators of 8 lanes of 64 bits, 4 registers of weights, the rows' words
 * broadcast. Each weight register is loaded once for 4 rows. */
#include "kernels/x86/tier_avx512.h"

#include "base/bits.h"
#include "kernels/product_jobs.h"
#include "kernels/x86/fetch_x86.h"
#include "kernels/x86/vec_avx512.h"

/* acc += popcount per lane. The addition is in assembly so that the accumulator stays in its
 * register whatever the compiler makes of the loop; gcc 12 now measures the same without it. */
BP_INLINE void add_popcount(__m512i *acc, __m512i v) {
    __m512i count = _mm512_popcnt_epi64(v);
    __asm__("vpaddq %1, %0, %0" : "+v"(*acc) : "v"(count));
}

/* acc[p][q] += popcount(x[p][0 .. words - 1] ^ w[..][8 * q ..]); rows is a constant. */
BP_INLINE void add_xor(__m512i acc[4][4], int rows, const uint64_t *const x[4], ptrdiff_t offset,
                       size_t words, const uint64_t *w) {
    ptrdiff_t end = offset + (ptrdiff_t)words;
    do {
        __m512i w0 = _mm512_load_si512(w), w1 = _mm512_load_si512(w + 8);
        __m512i w2 = _mm512_load_si512(w + 16), w3 = _mm512_load_si512(w + 24);
        for (int p = 0; p < rows; p++) {
            __m512i v = _mm512_set1_epi64((long long)x[p][offset]);
            add_popcount(&acc[p][0], _mm512_xor_si512(v, w0));
            add_popcount(&acc[p][1], _mm512_xor_si512(v, w1));
            add_popcount(&acc[p][2], _mm512_xor_si512(v, w2));
            add_popcount(&acc[p][3], _mm512_xor_si512(v, w3));
        }
        w += BP_LANES;
    } while (++offset < end);
}

BP_INLINE void clear(__m512i acc[4][4], int rows) {
    for (int p = 0; p < rows; p++)
        for (int q = 0; q < 4; q++)
            acc[p][q] = _mm512_setzero_si512();
}

/* The low 32 bits of 32 lanes, in order. */
BP_INLINE void narrow_32(const __m512i acc[4], __m512i out[2]) {
    const __m512i even =
        _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    out[0] = _mm512_permutex2var_epi32(acc[0], even, acc[1]);
    out[1] = _mm512_permutex2var_epi32(acc[2], even, acc[3]);
}

/* The low 16 bits of 32 lanes, in order. */
BP_INLINE __m512i narrow_16(const __m512i acc[4]) {
    __m512i half[2];
    narrow_32(acc, half);
    return _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi32_epi16(half[0])),
                              _mm512_cvtepi32_epi16(half[1]), 1);
}

/* --- forward ---------------------------------------------------------------------------------- */

/* Pixels p .. p + rows - 1, lanes b and up; w: the block's weights. */
BP_INLINE void xor_rows(int rows, const struct xor_job *job, size_t cw, size_t p, const uint64_t *w,
                        size_t b) {
    const __m512i bias = _mm512_set1_epi16((short)job->bias);
    const size_t lanes = job->k - b;
    __m512i acc[4][4];
    const uint64_t *row[4];
    clear(acc, rows);
    for (int i = 0; i < rows; i++) {
        row[i] = job->x + job->pixel[p + (size_t)i];
        fetch_place(job->y + (size_t)job->to[p + (size_t)i] * job->k + b,
                    BP_LANES * sizeof *job->y);
    }
    for (size_t t = 0; t < job->taps; t++)
        add_xor(acc, rows, row, job->tap[t], cw, w + (size_t)job->tap_w[t] * cw * BP_LANES);
    for (int i = 0; i < rows; i++) {
        int16_t *y = job->y + (size_t)job->to[p + (size_t)i] * job->k + b;
        __m512i sum = narrow_16(acc[i]);
        sum = _mm512_sub_epi16(bias, _mm512_add_epi16(sum, sum));
        if (lanes >= BP_LANES)
            _mm512_storeu_si512(y, sum);
        else
            _mm512_mask_storeu_epi16(y, mask_32(lanes), sum);
    }
}

BP_INLINE void xor_pixels(const struct xor_job *job, size_t cw, size_t n, size_t w_taps,
                          const uint64_t *w) {
    for (size_t b = 0; b < job->k; b += BP_LANES, w += w_taps * cw * BP_LANES) {
        size_t p = 0;
        for (; p + 4 <= n; p += 4)
            xor_rows(4, job, cw, p, w, b);
        for (; p < n; p++)
            xor_rows(1, job, cw, p, w, b);
    }
}

void bp_product_xor_avx512(const uint64_t *x, const int32_t *pixel, const int32_t *to, size_t n,
                           const int32_t *tap, const int32_t *tap_w, size_t taps, size_t w_taps,
                           size_t cw, const uint64_t *w, size_t k, int bias, int16_t *y) {
    const struct xor_job job = {x, pixel, to, tap, tap_w, taps, k, bias, y};
    if (cw == 1)
        xor_pixels(&job, 1, n, w_taps, w);
    else if (cw == 2)
        xor_pixels(&job, 2, n, w_taps, w);
    else
        xor_pixels(&job, cw, n, w_taps, w);
}

/* --- activation gradient ---------------------------------------------------------------------- */

/* Horner's rule over the planes, top plane first. */
BP_INLINE void planes_rows(int rows, const struct planes_job *job, size_t kw, const int32_t *pixel,
                           const uint64_t *w, size_t c, size_t lanes, const __m512i correction[2],
                           int32_t *y) {
    __m512i acc[4][4];
    const uint64_t *row[4];
    clear(acc, rows);
    for (int p = 0; p < rows; p++)
        row[p] = job->x + pixel[p] + (ptrdiff_t)(job->planes - 1) * (ptrdiff_t)kw;
    for (int l = job->planes - 1; l >= 0; l--) {
        for (size_t t = 0; t < job->taps; t++)
            add_xor(acc, rows, row, job->tap[t], kw, w + (size_t)job->tap_w[t] * kw * BP_LANES);
        int negate = job->is_signed && l == job->planes - 1;
        for (int p = 0; p < rows; p++) {
            row[p] -= kw;
            for (int q = 0; q < 4; q++) {
                if (negate)
                    acc[p][q] = _mm512_sub_epi64(_mm512_setzero_si512(), acc[p][q]);
                if (l > 0)
                    acc[p][q] = _mm512_add_epi64(acc[p][q], acc[p][q]);
            }
        }
    }
    for (int p = 0; p < rows; p++) {
        __m512i sum[2];
        narrow_32(acc[p], sum);
        for (int h = 0; h < 2; h++) {
            sum[h] = _mm512_sub_epi32(sum[h], correction[h]);
            int32_t *to = y + (size_t)p * c + 16 * h;
            if (lanes == BP_LANES)
                _mm512_storeu_si512(to, sum[h]);
            else if (lanes > (size_t)(16 * h))
                _mm512_mask_storeu_epi32(to, mask_16(lanes - (size_t)(16 * h)), sum[h]);
        }
    }
}

/* The sum over planes, taps and words of value * popcount(w), for the 32 lanes of a block. */
BP_INLINE void weight_counts(const struct planes_job *job, const uint64_t *w,
                             __m512i correction[2]) {
    __m512i acc[4];
    for (int q = 0; q < 4; q++)
        acc[q] = _mm512_setzero_si512();
    for (size_t t = 0; t < job->taps; t++) {
        const uint64_t *word = w + (size_t)job->tap_w[t] * job->kw * BP_LANES;
        for (size_t i = 0; i < job->kw; i++, word += BP_LANES)
            for (int q = 0; q < 4; q++)
                add_popcount(&acc[q], _mm512_load_si512(word + 8 * q));
    }
    /* The planes' values sum to 2^planes - 1, less twice the top one if it is negative: to -1. */
    int32_t value = job->is_signed ? -1 : (int32_t)(((uint32_t)1 << job->planes) - 1);
    narrow_32(acc, correction);
    for (int h = 0; h < 2; h++)
        correction[h] = _mm512_mullo_epi32(correction[h], _mm512_set1_epi32(value));
}

BP_INLINE void planes_pixels(const struct planes_job *job, size_t kw, const int32_t *pixel,
                             size_t n, size_t w_taps, const uint64_t *w, size_t c, int32_t *y) {
    for (size_t b = 0; b < c; b += BP_LANES, w += w_taps * kw * BP_LANES) {
        size_t lanes = bp_min_size(BP_LANES, c - b), p = 0;
        __m512i correction[2];
        weight_counts(job, w, correction);
        for (; p + 4 <= n; p += 4)
            planes_rows(4, job, kw, pixel + p, w, c, lanes, correction, y + p * c + b);
        for (; p < n; p++)
            planes_rows(1, job, kw, pixel + p, w, c, lanes, correction, y + p * c + b);
    }
}

void bp_product_planes_avx512(const uint64_t *x, const int32_t *pixel, size_t n, const int32_t *tap,
                              const int32_t *tap_w, size_t taps, size_t w_taps, size_t kw,
                              int planes, int is_signed, const uint64_t *w, size_t c, int32_t *y) {
    const struct planes_job job = {x, tap, tap_w, taps, kw, planes, is_signed};
    if (kw == 1)
        planes_pixels(&job, 1, pixel, n, w_taps, w, c, y);
    else
        planes_pixels(&job, kw, pixel, n, w_taps, w, c, y);
}

/* --- weight gradient -------------------------------------------------------------------------- */

/* acc[r][q] += popcount(g[r] & a[8 * q ..]) over the words; mask names the existing lanes. */
BP_INLINE void add_and(__m512i acc[4][4], int rows, const uint64_t *a, size_t a_stride,
                       const uint64_t *g, size_t g_stride, size_t words, int full, __mmask32 mask) {
    do {
        __m512i a0, a1, a2, a3;
        if (full) {
            a0 = _mm512_loadu_si512(a);
            a1 = _mm512_loadu_si512(a + 8);
            a2 = _mm512_loadu_si512(a + 16);
            a3 = _mm512_loadu_si512(a + 24);
        } else {
            a0 = _mm512_maskz_loadu_epi64((__mmask8)mask, a);
            a1 = _mm512_maskz_loadu_epi64((__mmask8)(mask >> 8), a + 8);
            a2 = _mm512_maskz_loadu_epi64((__mmask8)(mask >> 16), a + 16);
            a3 = _mm512_maskz_loadu_epi64((__mmask8)(mask >> 24), a + 24);
        }
        for (int r = 0; r < rows; r++) {
            __m512i v = _mm512_set1_epi64((long long)g[r]);
            add_popcount(&acc[r][0], _mm512_and_si512(v, a0));
            add_popcount(&acc[r][1], _mm512_and_si512(v, a1));
            add_popcount(&acc[r][2], _mm512_and_si512(v, a2));
            add_popcount(&acc[r][3], _mm512_and_si512(v, a3));
        }
        a += a_stride;
        g += g_stride;
    } while (--words != 0);
}

BP_INLINE void positions_rows(int rows, const uint64_t *a, const uint64_t *g, size_t words,
                              size_t k, size_t c, int planes, int is_signed, int full,
                              __mmask32 mask, int32_t *y, size_t y_stride) {
    __m512i acc[4][4];
    clear(acc, rows);
    for (int l = planes - 1; l >= 0; l--) {
        add_and(acc, rows, a, c, g + (size_t)l * k, (size_t)planes * k, words, full, mask);
        int negate = is_signed && l == planes - 1;
        for (int r = 0; r < rows; r++)
            for (int q = 0; q < 4; q++) {
                if (negate)
                    acc[r][q] = _mm512_sub_epi64(_mm512_setzero_si512(), acc[r][q]);
                if (l > 0)
                    acc[r][q] = _mm512_add_epi64(acc[r][q], acc[r][q]);
            }
    }
    for (int r = 0; r < rows; r++) {
        __m512i sum[2];
        narrow_32(acc[r], sum);
        for (int h = 0; h < 2; h++) {
            int32_t *to = y + (size_t)r * y_stride + 16 * h;
            __mmask16 m = (__mmask16)(full ? 0xffffu : mask >> 16 * h);
            __m512i old = _mm512_maskz_loadu_epi32(m, to);
            _mm512_mask_storeu_epi32(to, m, _mm512_add_epi32(old, sum[h]));
        }
    }
}

void bp_product_positions_avx512(const uint64_t *a, const uint64_t *g, size_t words, size_t k,
                                 size_t c, int planes, int is_signed, int32_t *y, size_t y_stride) {
    for (size_t j = 0; j < c; j += BP_LANES) {
        size_t i = 0;
        __mmask32 mask = mask_32(c - j);
        for (; i + 4 <= k; i += 4) {
            int32_t *to = y + i * y_stride + j;
            if (c - j >= BP_LANES)
                positions_rows(4, a + j, g + i, words, k, c, planes, is_signed, 1, mask, to,
                               y_stride);
            else
                positions_rows(4, a + j, g + i, words, k, c, planes, is_signed, 0, mask, to,
                               y_stride);
        }
        for (; i < k; i++)
            positions_rows(1, a + j, g + i, words, k, c, planes, is_signed, 0, mask,
                           y + i * y_stride + j, y_stride);
    }
}

void bp_count_positions_avx512(const uint64_t *a, size_t words, size_t c, int32_t *count) {
    for (size_t j = 0; j < c; j += 16) {
        __mmask16 m = mask_16(c - j);
        __m512i lo = _mm512_setzero_si512(), hi = _mm512_setzero_si512();
        for (size_t s = 0; s < words; s++) {
            const uint64_t *from = a + s * c + j;
            __m512i v0 = _mm512_maskz_loadu_epi64((__mmask8)m, from);
            __m512i v1 = _mm512_maskz_loadu_epi64((__mmask8)(m >> 8), from + 8);
            lo = _mm512_add_epi64(lo, _mm512_popcnt_epi64(v0));
            hi = _mm512_add_epi64(hi, _mm512_popcnt_epi64(v1));
        }
        __m512i sum = _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi64_epi32(lo)),
                                         _mm512_cvtepi64_epi32(hi), 1);
        __m512i old = _mm512_maskz_loadu_epi32(m, count + j);
        _mm512_mask_storeu_epi32(count + j, m, _mm512_add_epi32(old, sum));
    }
}
