/* Scale, PReLU and batch norm between two binary convolutions, AVX2: 8 channels a vector, the
 * coefficients of a block of channels stay in registers while the rows go by. */
#include "kernels/x86/tier_avx2.h"

#include "base/bits.h"
#include "kernels/x86/gradient_avx2.h"

/* Coefficients of 8 channels. */
struct coefficients {
    __m256 alpha, slope;
};

struct value {
    __m256 y, u, negative, h;
};

BP_INLINE struct value value_8(const int16_t *y, const struct coefficients *k, int full,
                               size_t rest) {
    struct value v;
    v.y = load_y(y, 0, VALUE_I16, full, rest);
    v.u = _mm256_mul_ps(v.y, k->alpha);
    v.negative = _mm256_cmp_ps(v.u, _mm256_setzero_ps(), _CMP_LT_OQ);
    v.h = _mm256_blendv_ps(v.u, _mm256_mul_ps(v.u, k->slope), v.negative);
    return v;
}

BP_INLINE void load_act(struct coefficients *k, const struct bp_act_norm_rows *a, size_t j,
                        int full, size_t rest) {
    k->alpha = load_ps(a->alpha + j, full, rest);
    k->slope = load_ps(a->slope + j, full, rest);
}

/* --- forward ---------------------------------------------------------------------------------- */

BP_INLINE __m256 norm_8(const int16_t *y, const struct bp_act_norm_rows *a, size_t j, int full,
                        size_t rest) {
    struct coefficients k;
    load_act(&k, a, j, full, rest);
    __m256 h = value_8(y + j, &k, full, rest).h;
    return _mm256_add_ps(_mm256_mul_ps(h, load_ps(a->scale + j, full, rest)),
                         load_ps(a->shift + j, full, rest));
}

void bp_act_norm_signs_avx2(const int16_t *y, size_t n, size_t c, const struct bp_act_norm_rows *a,
                            uint64_t *bits, uint64_t *mask) {
    const __m256 one = _mm256_set1_ps(1.0f), sign_bit = _mm256_set1_ps(-0.0f);
    for (size_t p = 0; p < n; p++, y += c)
        for (size_t w = 0; w < c; w += 64) {
            size_t end = bp_min_size(c, w + 64);
            uint64_t sign = 0, inside = 0;
            for (size_t j = w; j < end; j += 8) {
                __m256 v = end - j >= 8 ? norm_8(y, a, j, 1, 8) : norm_8(y, a, j, 0, end - j);
                __m256 below = _mm256_cmp_ps(v, _mm256_setzero_ps(), _CMP_LT_OQ);
                __m256 small = _mm256_cmp_ps(_mm256_andnot_ps(sign_bit, v), one, _CMP_LT_OQ);
                sign |= (uint64_t)(unsigned)_mm256_movemask_ps(below) << (j - w);
                inside |= (uint64_t)(unsigned)_mm256_movemask_ps(small) << (j - w);
            }
            uint64_t valid = end - w == 64 ? ~(uint64_t)0 : ((uint64_t)1 << (end - w)) - 1;
            *bits++ = sign & valid;
            if (mask != NULL)
                *mask++ = inside & valid;
        }
}

/* --- backward --------------------------------------------------------------------------------- */

/* 8 channels, all rows. */
BP_INLINE void sums_8(const struct gradient *g, enum gradient_form form, const int16_t *y, size_t n,
                      size_t c, const struct bp_act_norm_rows *a, size_t j, int full, size_t rest,
                      float *const sums[3]) {
    struct coefficients k;
    __m256 s[3];
    load_act(&k, a, j, full, rest);
    for (int i = 0; i < 3; i++)
        s[i] = load_ps(sums[i] + j, full, rest);
    for (size_t p = 0; p < n; p++) {
        struct value v = value_8(y + p * c + j, &k, full, rest);
        __m256 gv = load_gradient(g, form, p * c + j, full, rest);
        s[0] = _mm256_add_ps(s[0], gv);
        s[1] = _mm256_add_ps(s[1], _mm256_mul_ps(gv, v.h));
        s[2] = _mm256_add_ps(s[2], _mm256_and_ps(v.negative, _mm256_mul_ps(gv, v.u)));
        fetch_rows_behind(g->at, type_of(form), n, c, j * n + 8 * p);
        fetch_rows_behind(y, VALUE_I16, n, c, j * n + 8 * p);
    }
    for (int i = 0; i < 3; i++)
        store_ps(sums[i] + j, full, rest, s[i]);
}

BP_INLINE void sums_rows(const struct gradient *g, enum gradient_form form, const int16_t *y,
                         size_t n, size_t c, const struct bp_act_norm_rows *a,
                         float *const sums[3]) {
    size_t j = 0;
    for (; j + 8 <= c; j += 8)
        sums_8(g, form, y, n, c, a, j, 1, 8, sums);
    if (j < c)
        sums_8(g, form, y, n, c, a, j, 0, c - j, sums);
}

void bp_act_norm_sums_avx2(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                           const struct bp_act_norm_rows *a, float *sum_g, float *sum_gh,
                           float *sum_gu) {
    float *const sums[3] = {sum_g, sum_gh, sum_gu};
    const struct gradient gradient = gradient_of(g);
    if (form_of(g) == GRADIENT_FLOATS)
        sums_rows(&gradient, GRADIENT_FLOATS, y, n, c, a, sums);
    else
        sums_rows(&gradient, GRADIENT_SUMS, y, n, c, a, sums);
}

/* The backward's own coefficients. */
struct back {
    __m256 ka, kb, kc;
};

BP_INLINE struct back load_back(const struct bp_act_norm_rows *a, size_t j, int full, size_t rest) {
    return (struct back){load_ps(a->ka + j, full, rest), load_ps(a->kb + j, full, rest),
                         load_ps(a->kc + j, full, rest)};
}

/* dL/dy of 8 elements from `at` on. GRADIENT_NONE: of a sample that has no gradient. */
BP_INLINE __m256 grad_8(const struct gradient *g, enum gradient_form form, const int16_t *y,
                        size_t at, const struct coefficients *k, const struct back *d, int full,
                        size_t rest) {
    struct value v = value_8(y + at, k, full, rest);
    __m256 gh = _mm256_mul_ps(v.h, d->kb);
    if (form != GRADIENT_NONE)
        gh = _mm256_add_ps(_mm256_mul_ps(load_gradient(g, form, at, full, rest), d->ka), gh);
    gh = _mm256_add_ps(gh, d->kc);
    __m256 gu = _mm256_blendv_ps(gh, _mm256_mul_ps(gh, k->slope), v.negative);
    return _mm256_mul_ps(gu, k->alpha);
}

BP_INLINE void grad_store(const struct gradient *g, enum gradient_form form, const int16_t *y,
                          size_t at, const struct bp_act_norm_rows *a, size_t j, int full,
                          size_t rest, float *out) {
    struct coefficients k;
    load_act(&k, a, j, full, rest);
    struct back d = load_back(a, j, full, rest);
    store_ps(out + at, full, rest, grad_8(g, form, y, at, &k, &d, full, rest));
}

BP_INLINE void grad_rows(const struct gradient *g, enum gradient_form form, const int16_t *y,
                         size_t n, size_t c, const struct bp_act_norm_rows *a, float *out) {
    for (size_t p = 0; p < n; p++) {
        size_t j = 0;
        for (; j + 8 <= c; j += 8) {
            size_t at = p * c + j;
            grad_store(g, form, y, at, a, j, 1, 8, out);
            if (form != GRADIENT_NONE)
                fetch_elements_behind(g->at, type_of(form), n * c, at, 8);
            fetch_elements_behind(y, VALUE_I16, n * c, at, 8);
        }
        if (j < c)
            grad_store(g, form, y, p * c + j, a, j, 0, c - j, out);
    }
}

void bp_act_norm_grad_avx2(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
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

/* 8 channels, all rows. */
BP_INLINE void range_8(const struct gradient *g, enum gradient_form form, const int16_t *y,
                       size_t n, size_t c, const struct bp_act_norm_rows *a, size_t j, int full,
                       size_t rest, struct bp_columns to) {
    struct coefficients k;
    load_act(&k, a, j, full, rest);
    struct back d = load_back(a, j, full, rest);
    struct range_256 range = range_load(&to, j, full, rest);
    for (size_t p = 0; p < n; p++) {
        range_add(&range, grad_8(g, form, y, p * c + j, &k, &d, full, rest));
        fetch_rows_behind(y, VALUE_I16, n, c, j * n + 8 * p);
        if (form != GRADIENT_NONE)
            fetch_rows_behind(g->at, type_of(form), n, c, j * n + 8 * p);
    }
    range_store(&to, j, full, rest, &range);
}

BP_INLINE void range_rows(const struct gradient *g, enum gradient_form form, const int16_t *y,
                          size_t n, size_t c, const struct bp_act_norm_rows *a,
                          struct bp_columns to) {
    size_t j = 0;
    for (; j + 8 <= c; j += 8)
        range_8(g, form, y, n, c, a, j, 1, 8, to);
    if (j < c)
        range_8(g, form, y, n, c, a, j, 0, c - j, to);
}

void bp_act_norm_range_avx2(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                            const struct bp_act_norm_rows *a, struct bp_columns to) {
    const struct gradient gradient = gradient_of(g);
    const enum gradient_form form = form_of(g);
    if (form == GRADIENT_FLOATS)
        range_rows(&gradient, GRADIENT_FLOATS, y, n, c, a, to);
    else if (form == GRADIENT_SUMS)
        range_rows(&gradient, GRADIENT_SUMS, y, n, c, a, to);
    else
        range_rows(&gradient, GRADIENT_NONE, y, n, c, a, to);
}
