/* Backward of scale, PReLU and batch norm between two binary convolutions, AVX-512: 16 channels a
 * vector. */
#include "kernels/x86/tier_avx512.h"

#include "base/bits.h"
#include "kernels/x86/fetch_x86.h"
#include "kernels/x86/vec_avx512.h"

/* 16 channels: y, u = y * alpha, where u is negative, h. `m` is all ones but at the end of a row.
 */
struct value {
    __m512 u, h;
    __mmask16 negative;
};

BP_INLINE struct value value_16(const int16_t *y, __m512 alpha, __m512 slope, __mmask16 m) {
    __m512 v = _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(_mm256_maskz_loadu_epi16(m, y)));
    struct value value = {.u = _mm512_mul_ps(v, alpha)};
    value.negative = _mm512_cmp_ps_mask(value.u, _mm512_setzero_ps(), _CMP_LT_OQ);
    value.h = _mm512_mask_mul_ps(value.u, value.negative, value.u, slope);
    return value;
}

/* 16 * vectors channels, all rows. */
BP_INLINE void sums_block(const float *g, const int16_t *y, size_t n, size_t c, int vectors,
                          const float *alpha, const float *slope, __mmask16 m, float *const sums[3],
                          size_t j) {
    __m512 a[2], k[2], s[3][2];
    for (int q = 0; q < vectors; q++) {
        size_t at = j + 16 * (size_t)q;
        a[q] = _mm512_maskz_loadu_ps(m, alpha + at);
        k[q] = _mm512_maskz_loadu_ps(m, slope + at);
        for (int i = 0; i < 3; i++)
            s[i][q] = _mm512_maskz_loadu_ps(m, sums[i] + at);
    }
    for (size_t p = 0; p < n; p++)
        for (int q = 0; q < vectors; q++) {
            size_t at = p * c + j + 16 * (size_t)q;
            struct value v = value_16(y + at, a[q], k[q], m);
            __m512 gv = _mm512_maskz_loadu_ps(m, g + at);
            s[0][q] = _mm512_add_ps(s[0][q], gv);
            s[1][q] = _mm512_add_ps(s[1][q], _mm512_mul_ps(gv, v.h));
            s[2][q] = _mm512_add_ps(s[2][q], _mm512_maskz_mul_ps(v.negative, gv, v.u));
            fetch_behind(g + n * c, 4 * ((j + 16 * (size_t)q) * n + 16 * p));
            if (q == 0)
                fetch_behind(y + n * c, 2 * (j * n + 32 * p));
        }
    for (int q = 0; q < vectors; q++)
        for (int i = 0; i < 3; i++)
            _mm512_mask_storeu_ps(sums[i] + j + 16 * (size_t)q, m, s[i][q]);
}

void bp_act_norm_sums_avx512(const float *g, const int16_t *y, size_t n, size_t c,
                             const struct bp_act_norm_rows *a, float *sum_g, float *sum_gh,
                             float *sum_gu) {
    float *const sums[3] = {sum_g, sum_gh, sum_gu};
    size_t j = 0;
    for (; j + 32 <= c; j += 32)
        sums_block(g, y, n, c, 2, a->alpha, a->slope, 0xffff, sums, j);
    for (; j < c; j += 16)
        sums_block(g, y, n, c, 1, a->alpha, a->slope, mask_16(c - j), sums, j);
}

struct coefficients {
    __m512 alpha, slope, ka, kb, kc;
};

BP_INLINE struct coefficients load_coefficients(const struct bp_act_norm_rows *a, size_t j,
                                                __mmask16 m) {
    return (struct coefficients){load_f32(a->alpha + j, m), load_f32(a->slope + j, m),
                                 load_f32(a->ka + j, m), load_f32(a->kb + j, m),
                                 load_f32(a->kc + j, m)};
}

/* dL/dy. g NULL: of a sample that has no gradient. */
BP_INLINE __m512 grad_16(const float *g, const int16_t *y, const struct coefficients *k,
                         __mmask16 m) {
    struct value v = value_16(y, k->alpha, k->slope, m);
    __m512 gh = _mm512_mul_ps(v.h, k->kb);
    if (g != NULL)
        gh = _mm512_add_ps(_mm512_mul_ps(load_f32(g, m), k->ka), gh);
    gh = _mm512_add_ps(gh, k->kc);
    __m512 gu = _mm512_mask_mul_ps(gh, v.negative, gh, k->slope);
    return _mm512_mul_ps(gu, k->alpha);
}

BP_INLINE void grad_store(const float *g, const int16_t *y, const struct bp_act_norm_rows *a,
                          size_t j, __mmask16 m, float *out) {
    struct coefficients k = load_coefficients(a, j, m);
    store_f32(out + j, m, grad_16(g == NULL ? NULL : g + j, y + j, &k, m));
}

BP_INLINE void grad_rows(const float *g, const int16_t *y, size_t n, size_t c,
                         const struct bp_act_norm_rows *a, float *out) {
    const int16_t *y_end = y + n * c;
    for (size_t p = 0; p < n; p++, y += c, out += c) {
        const float *row = g == NULL ? NULL : g + p * c;
        size_t j = 0;
        for (; j + 16 <= c; j += 16) {
            size_t at = p * c + j;
            grad_store(row, y, a, j, 0xffff, out);
            if (g != NULL)
                fetch_line_behind(g + n * c, sizeof(float) * at, 16 * sizeof(float));
            fetch_line_behind(y_end, sizeof(int16_t) * at, 16 * sizeof(int16_t));
        }
        if (j < c)
            grad_store(row, y, a, j, mask_16(c - j), out);
    }
}

void bp_act_norm_grad_avx512(const float *g, const int16_t *y, size_t n, size_t c,
                             const struct bp_act_norm_rows *a, float *out) {
    if (g != NULL)
        grad_rows(g, y, n, c, a, out);
    else
        grad_rows(NULL, y, n, c, a, out);
}

/* 16 * vectors channels, all rows. */
BP_INLINE void range_block(const float *g, const int16_t *y, size_t n, size_t c,
                           const struct bp_act_norm_rows *a, int vectors, size_t j, __mmask16 m,
                           struct bp_columns to) {
    struct coefficients k[2];
    struct range_512 range[2];
    for (int q = 0; q < vectors; q++) {
        k[q] = load_coefficients(a, j + 16 * (size_t)q, m);
        range[q] = range_load(&to, j + 16 * (size_t)q, m);
    }
    for (size_t p = 0; p < n; p++)
        for (int q = 0; q < vectors; q++) {
            size_t at = p * c + j + 16 * (size_t)q;
            range_add(&range[q], grad_16(g == NULL ? NULL : g + at, y + at, &k[q], m));
            if (g != NULL)
                fetch_behind(g + n * c, 4 * ((j + 16 * (size_t)q) * n + 16 * p));
            if (q == 0)
                fetch_behind(y + n * c, 2 * (j * n + 32 * p));
        }
    for (int q = 0; q < vectors; q++)
        range_store(&to, j + 16 * (size_t)q, m, &range[q]);
}

BP_INLINE void range_rows(const float *g, const int16_t *y, size_t n, size_t c,
                          const struct bp_act_norm_rows *a, struct bp_columns to) {
    size_t j = 0;
    for (; j + 32 <= c; j += 32)
        range_block(g, y, n, c, a, 2, j, 0xffff, to);
    for (; j < c; j += 16)
        range_block(g, y, n, c, a, 1, j, mask_16(c - j), to);
}

void bp_act_norm_range_avx512(const float *g, const int16_t *y, size_t n, size_t c,
                              const struct bp_act_norm_rows *a, struct bp_columns to) {
    if (g != NULL)
        range_rows(g, y, n, c, a, to);
    else
        range_rows(NULL, y, n, c, a, to);
}
