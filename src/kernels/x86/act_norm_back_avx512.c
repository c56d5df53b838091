/* Backward of scale, PReLU and batch norm between two binary convolutions, AVX-512: 16 channels a
 * vector. */
#include "kernels/x86/tier_avx512.h"

#include "base/bits.h"
#include "kernels/x86/gradient_avx512.h"
#include "kernels/x86/round_avx512.h"

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
BP_INLINE void sums_block(const struct gradient *g, enum gradient_form form, const int16_t *y,
                          size_t n, size_t c, int vectors, const struct bp_act_norm_rows *rows,
                          __mmask16 m, float *const sums[3], size_t j) {
    __m512 a[2], k[2], s[3][2];
    for (int q = 0; q < vectors; q++) {
        size_t at = j + 16 * (size_t)q;
        a[q] = _mm512_maskz_loadu_ps(m, rows->alpha + at);
        k[q] = _mm512_maskz_loadu_ps(m, rows->slope + at);
        for (int i = 0; i < 3; i++)
            s[i][q] = _mm512_maskz_loadu_ps(m, sums[i] + at);
    }
    for (size_t p = 0; p < n; p++)
        for (int q = 0; q < vectors; q++) {
            size_t at = p * c + j + 16 * (size_t)q;
            struct value v = value_16(y + at, a[q], k[q], m);
            __m512 gv = load_gradient(g, form, at, m);
            s[0][q] = _mm512_add_ps(s[0][q], gv);
            s[1][q] = _mm512_add_ps(s[1][q], _mm512_mul_ps(gv, v.h));
            s[2][q] = _mm512_add_ps(s[2][q], _mm512_maskz_mul_ps(v.negative, gv, v.u));
            fetch_rows_behind(g->at, type_of(form), n, c, j, (size_t)q, p);
            fetch_rows_behind(y, VALUE_I16, n, c, j, (size_t)q, p);
        }
    for (int q = 0; q < vectors; q++)
        for (int i = 0; i < 3; i++)
            _mm512_mask_storeu_ps(sums[i] + j + 16 * (size_t)q, m, s[i][q]);
}

BP_INLINE void sums_rows(const struct gradient *g, enum gradient_form form, const int16_t *y,
                         size_t n, size_t c, const struct bp_act_norm_rows *a,
                         float *const sums[3]) {
    size_t j = 0;
    for (; j + 32 <= c; j += 32)
        sums_block(g, form, y, n, c, 2, a, 0xffff, sums, j);
    for (; j < c; j += 16)
        sums_block(g, form, y, n, c, 1, a, mask_16(c - j), sums, j);
}

void bp_act_norm_sums_avx512(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                             const struct bp_act_norm_rows *a, float *sum_g, float *sum_gh,
                             float *sum_gu) {
    float *const sums[3] = {sum_g, sum_gh, sum_gu};
    const struct gradient gradient = gradient_of(g);
    if (form_of(g) == GRADIENT_FLOATS)
        sums_rows(&gradient, GRADIENT_FLOATS, y, n, c, a, sums);
    else
        sums_rows(&gradient, GRADIENT_SUMS, y, n, c, a, sums);
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

/* dL/dy of 16 elements from `at` on. */
BP_INLINE __m512 grad_16(const struct gradient *g, enum gradient_form form, const int16_t *y,
                         size_t at, const struct coefficients *k, __mmask16 m) {
    struct value v = value_16(y + at, k->alpha, k->slope, m);
    __m512 gh = _mm512_mul_ps(v.h, k->kb);
    if (form != GRADIENT_NONE)
        gh = _mm512_add_ps(_mm512_mul_ps(load_gradient(g, form, at, m), k->ka), gh);
    gh = _mm512_add_ps(gh, k->kc);
    __m512 gu = _mm512_mask_mul_ps(gh, v.negative, gh, k->slope);
    return _mm512_mul_ps(gu, k->alpha);
}

/* 16 * vectors channels, all rows. */
BP_INLINE void grad_block(const struct gradient *g, enum gradient_form form, const int16_t *y,
                          size_t n, size_t c, const struct bp_act_norm_rows *a, int vectors,
                          size_t j, __mmask16 m, float *out) {
    struct coefficients k[2];
    for (int q = 0; q < vectors; q++)
        k[q] = load_coefficients(a, j + 16 * (size_t)q, m);
    for (size_t p = 0; p < n; p++)
        for (int q = 0; q < vectors; q++) {
            size_t at = p * c + j + 16 * (size_t)q;
            store_f32(out + at, m, grad_16(g, form, y, at, &k[q], m));
            if (form != GRADIENT_NONE)
                fetch_rows_behind(g->at, type_of(form), n, c, j, (size_t)q, p);
            fetch_rows_behind(y, VALUE_I16, n, c, j, (size_t)q, p);
        }
}

BP_INLINE void grad_rows(const struct gradient *g, enum gradient_form form, const int16_t *y,
                         size_t n, size_t c, const struct bp_act_norm_rows *a, float *out) {
    size_t j = 0;
    for (; j + 32 <= c; j += 32)
        grad_block(g, form, y, n, c, a, 2, j, 0xffff, out);
    for (; j < c; j += 16)
        grad_block(g, form, y, n, c, a, 1, j, mask_16(c - j), out);
}

void bp_act_norm_grad_avx512(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                             const struct bp_act_norm_rows *a, float *out) {
    const struct gradient gradient = gradient_of(g);
    const enum gradient_form form = form_of(g);
    if (form == GRADIENT_FLOATS)
        grad_rows(&gradient, GRADIENT_FLOATS, y, n, c, a, out);
    else if (form == GRADIENT_SUMS)
        grad_rows(&gradient, GRADIENT_SUMS, y, n, c, a, out);
    else
        grad_rows(&gradient, GRADIENT_NONE, y, n, c, a, out);
}

/* 16 * vectors channels, all rows. */
BP_INLINE void range_block(const struct gradient *g, enum gradient_form form, const int16_t *y,
                           size_t n, size_t c, const struct bp_act_norm_rows *a, int vectors,
                           size_t j, __mmask16 m, struct bp_columns to) {
    struct coefficients k[2];
    struct range_512 range[2];
    for (int q = 0; q < vectors; q++) {
        k[q] = load_coefficients(a, j + 16 * (size_t)q, m);
        range[q] = range_load(&to, j + 16 * (size_t)q, m);
    }
    for (size_t p = 0; p < n; p++)
        for (int q = 0; q < vectors; q++) {
            size_t at = p * c + j + 16 * (size_t)q;
            range_add(&range[q], grad_16(g, form, y, at, &k[q], m));
            if (form != GRADIENT_NONE)
                fetch_rows_behind(g->at, type_of(form), n, c, j, (size_t)q, p);
            fetch_rows_behind(y, VALUE_I16, n, c, j, (size_t)q, p);
        }
    for (int q = 0; q < vectors; q++)
        range_store(&to, j + 16 * (size_t)q, m, &range[q]);
}

BP_INLINE void range_rows(const struct gradient *g, enum gradient_form form, const int16_t *y,
                          size_t n, size_t c, const struct bp_act_norm_rows *a,
                          struct bp_columns to) {
    size_t j = 0;
    for (; j + 32 <= c; j += 32)
        range_block(g, form, y, n, c, a, 2, j, 0xffff, to);
    for (; j < c; j += 16)
        range_block(g, form, y, n, c, a, 1, j, mask_16(c - j), to);
}

void bp_act_norm_range_avx512(const struct bp_gradient_rows *g, const int16_t *y, size_t n,
                              size_t c, const struct bp_act_norm_rows *a, struct bp_columns to) {
    const struct gradient gradient = gradient_of(g);
    const enum gradient_form form = form_of(g);
    if (form == GRADIENT_FLOATS)
        range_rows(&gradient, GRADIENT_FLOATS, y, n, c, a, to);
    else if (form == GRADIENT_SUMS)
        range_rows(&gradient, GRADIENT_SUMS, y, n, c, a, to);
    else
        range_rows(&gradient, GRADIENT_NONE, y, n, c, a, to);
}

BP_INLINE void codes_rows_of(const struct gradient *g, enum gradient_form form, const int16_t *y,
                             size_t n, size_t c, const struct bp_act_norm_rows *a,
                             const struct rounder_both *r, const struct bp_rounding_both *both,
                             int wide) {
    for (size_t p = 0; p < n; p++)
        for (size_t j = 0; j < c; j += 64) {
            size_t at = p * c + j;
            __m512 v[4];
            for (size_t q = 0; q < 4; q++) {
                const struct coefficients k = load_coefficients(a, j + 16 * q, 0xffff);
                v[q] = grad_16(g, form, y, at + 16 * q, &k, 0xffff);
            }
            round_both(r, both, wide, v, at, j);
            fetch_64_behind(y, VALUE_I16, n * c, at);
            if (form != GRADIENT_NONE)
                fetch_64_behind(g->at, type_of(form), n * c, at);
        }
}

BP_INLINE void codes_rows(const struct gradient *g, enum gradient_form form, const int16_t *y,
                          size_t n, size_t c, const struct bp_act_norm_rows *a,
                          const struct rounder_both *r, const struct bp_rounding_both *both) {
    if (any_wide(both))
        codes_rows_of(g, form, y, n, c, a, r, both, 1);
    else
        codes_rows_of(g, form, y, n, c, a, r, both, 0);
}

void bp_act_norm_codes_avx512(const struct bp_gradient_rows *g, const int16_t *y, size_t n,
                              size_t c, const struct bp_act_norm_rows *a,
                              const struct bp_rounding_both *both) {
    const struct gradient gradient = gradient_of(g);
    const enum gradient_form form = form_of(g);
    struct rounder_both r;
    begin_both(&r, both, c);
    if (form == GRADIENT_FLOATS)
        codes_rows(&gradient, GRADIENT_FLOATS, y, n, c, a, &r, both);
    else if (form == GRADIENT_SUMS)
        codes_rows(&gradient, GRADIENT_SUMS, y, n, c, a, &r, both);
    else
        codes_rows(&gradient, GRADIENT_NONE, y, n, c, a, &r, both);
}
