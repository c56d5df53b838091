/* Scale, PReLU and batch norm between two binary convolutions, NEON: 4 channels a vector. */
#include "kernels/arm/tier_neon.h"

#include "base/bits.h"
#include "kernels/arm/gradient_neon.h"
#include "kernels/arm/vec_neon.h"

/* Coefficients of 4 channels. */
struct coefficients {
    float32x4_t alpha, slope;
};

struct value {
    float32x4_t u, h;
    uint32x4_t negative;
    float32x4_t factor; /* the slope, or 1, which changes nothing */
};

BP_INLINE struct coefficients load_act(const struct bp_act_norm_rows *a, size_t j, int full,
                                       size_t rest) {
    return (struct coefficients){load_f32(a->alpha + j, full, rest),
                                 load_f32(a->slope + j, full, rest)};
}

BP_INLINE struct value value_4(const int16_t *y, const struct coefficients *k, int full,
                               size_t rest) {
    struct value v;
    v.u = vmulq_f32(load_y(y, 0, VALUE_I16, full, rest), k->alpha);
    v.negative = vcltzq_f32(v.u);
    v.factor = vbslq_f32(v.negative, k->slope, vdupq_n_f32(1.0f));
    v.h = vmulq_f32(v.u, v.factor);
    return v;
}

/* --- forward ---------------------------------------------------------------------------------- */

/* v of 4 channels of the pixel y, from channel j on. */
BP_INLINE float32x4_t norm_4(const int16_t *y, const struct bp_act_norm_rows *a, size_t j, int full,
                             size_t rest) {
    const struct coefficients k = load_act(a, j, full, rest);
    float32x4_t h = value_4(y + j, &k, full, rest).h;
    return vaddq_f32(vmulq_f32(h, load_f32(a->scale + j, full, rest)),
                     load_f32(a->shift + j, full, rest));
}

BP_INLINE struct sign_bytes norm_16(const int16_t *y, const struct bp_act_norm_rows *a, size_t j) {
    struct sign_bytes bytes = sign_bytes(norm_4(y, a, j, 1, 4), norm_4(y, a, j + 4, 1, 4),
                                         norm_4(y, a, j + 8, 1, 4), norm_4(y, a, j + 12, 1, 4));
    no_further();
    return bytes;
}

BP_INLINE struct sign_words norm_64(const int16_t *y, const struct bp_act_norm_rows *a, size_t j) {
    const struct sign_bytes v[4] = {norm_16(y, a, j), norm_16(y, a, j + 16), norm_16(y, a, j + 32),
                                    norm_16(y, a, j + 48)};
    return sign_words(v);
}

/* `count` channels from channel j on. */
static __attribute__((noinline)) struct sign_words
norm_rest(const int16_t *y, const struct bp_act_norm_rows *a, size_t j, size_t count) {
    float v[64] = {0};
    for (size_t i = 0; i < count; i += 4)
        vst1q_f32(v + i, norm_4(y, a, j + i, 0, count - i));
    return first_words(sign_64(v), count);
}

void bp_act_norm_signs_neon(const int16_t *y, size_t n, size_t c, const struct bp_act_norm_rows *a,
                            uint64_t *bits, uint64_t *mask) {
    const struct bp_act_norm_rows rows = *a;
    for (size_t p = 0; p < n; p++, y += c)
        for (size_t j = 0; j < c; j += 64) {
            struct sign_words s = c - j >= 64 ? norm_64(y, &rows, j) : norm_rest(y, a, j, c - j);
            *bits++ = s.sign;
            if (mask != NULL)
                *mask++ = s.mask;
        }
}

/* --- backward --------------------------------------------------------------------------------- */

/* 4 * vectors (at most 2) channels from channel j on, all rows. */
BP_INLINE void sums_block(const struct gradient *g, enum gradient_form form, const int16_t *y,
                          size_t n, size_t c, const struct bp_act_norm_rows *a, int vectors,
                          size_t j, int full, size_t rest, float *const sums[3]) {
    struct coefficients k[2];
    float32x4_t s[2][3];
    for (int q = 0; q < vectors; q++) {
        k[q] = load_act(a, j + 4 * (size_t)q, full, rest);
        for (int i = 0; i < 3; i++)
            s[q][i] = load_f32(sums[i] + j + 4 * (size_t)q, full, rest);
    }
    for (size_t p = 0; p < n; p++)
        for (int q = 0; q < vectors; q++) {
            size_t at = p * c + j + 4 * (size_t)q;
            struct value v = value_4(y + at, &k[q], full, rest);
            float32x4_t gv = load_gradient(g, form, at, full, rest);
            uint32x4_t gu = vreinterpretq_u32_f32(vmulq_f32(gv, v.u));
            s[q][0] = vaddq_f32(s[q][0], gv);
            s[q][1] = vaddq_f32(s[q][1], vmulq_f32(gv, v.h));
            s[q][2] = vaddq_f32(s[q][2], vreinterpretq_f32_u32(vandq_u32(v.negative, gu)));
        }
    for (int q = 0; q < vectors; q++)
        for (int i = 0; i < 3; i++)
            store_f32(sums[i] + j + 4 * (size_t)q, full, rest, s[q][i]);
}

BP_INLINE void sums_rows(const struct gradient *g, enum gradient_form form, const int16_t *y,
                         size_t n, size_t c, const struct bp_act_norm_rows *a,
                         float *const sums[3]) {
    size_t j = 0;
    for (; j + 8 <= c; j += 8)
        sums_block(g, form, y, n, c, a, 2, j, 1, 4, sums);
    for (; j < c; j += 4)
        sums_block(g, form, y, n, c, a, 1, j, 0, c - j, sums);
}

void bp_act_norm_sums_neon(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                           const struct bp_act_norm_rows *a, float *sum_g, float *sum_gh,
                           float *sum_gu) {
    float *const sums[3] = {sum_g, sum_gh, sum_gu};
    const struct gradient gradient = gradient_of(g);
    if (form_of(g) == GRADIENT_FLOATS)
        sums_rows(&gradient, GRADIENT_FLOATS, y, n, c, a, sums);
    else
        sums_rows(&gradient, GRADIENT_SUMS, y, n, c, a, sums);
}

/* Coefficients of the gradient of 4 channels. */
struct grad_coefficients {
    float32x4_t ka, kb, kc;
};

/* ka is for has_g. */
BP_INLINE struct grad_coefficients load_grad_coefficients(const struct bp_act_norm_rows *a,
                                                          int has_g, size_t j, int full,
                                                          size_t rest) {
    float32x4_t kb = load_f32(a->kb + j, full, rest);
    return (struct grad_coefficients){has_g ? load_f32(a->ka + j, full, rest) : kb, kb,
                                      load_f32(a->kc + j, full, rest)};
}

/* dL/dy of 4 elements from `at` on. form NONE: of a sample that has no gradient. */
BP_INLINE float32x4_t grad_4(const struct gradient *g, enum gradient_form form, const int16_t *y,
                             size_t at, const struct coefficients *k,
                             const struct grad_coefficients *d, int full, size_t rest) {
    struct value v = value_4(y + at, k, full, rest);
    float32x4_t gh = vmulq_f32(v.h, d->kb);
    if (form != GRADIENT_NONE)
        gh = vaddq_f32(vmulq_f32(load_gradient(g, form, at, full, rest), d->ka), gh);
    gh = vaddq_f32(gh, d->kc);
    return vmulq_f32(vmulq_f32(gh, v.factor), k->alpha);
}

/* 4 * vectors (at most 2) channels from channel j on, all rows. */
BP_INLINE void range_block(const struct gradient *g, enum gradient_form form, const int16_t *y,
                           size_t n, size_t c, const struct bp_act_norm_rows *a, int vectors,
                           size_t j, int full, size_t rest, const struct bp_columns *to) {
    struct coefficients k[2];
    struct grad_coefficients d[2];
    struct range_4 range[2];
    for (int q = 0; q < vectors; q++) {
        size_t at = j + 4 * (size_t)q;
        k[q] = load_act(a, at, full, rest);
        d[q] = load_grad_coefficients(a, form != GRADIENT_NONE, at, full, rest);
        range[q] = range_load(to, at, full, rest);
    }
    for (size_t p = 0; p < n; p++)
        for (int q = 0; q < vectors; q++) {
            size_t at = p * c + j + 4 * (size_t)q;
            range_add(&range[q], grad_4(g, form, y, at, &k[q], &d[q], full, rest));
        }
    for (int q = 0; q < vectors; q++)
        range_store(to, j + 4 * (size_t)q, full, rest, &range[q]);
}

BP_INLINE void range_rows(const struct gradient *g, enum gradient_form form, const int16_t *y,
                          size_t n, size_t c, const struct bp_act_norm_rows *a,
                          const struct bp_columns *to) {
    size_t j = 0;
    for (; j + 8 <= c; j += 8)
        range_block(g, form, y, n, c, a, 2, j, 1, 4, to);
    for (; j < c; j += 4)
        range_block(g, form, y, n, c, a, 1, j, 0, c - j, to);
}

void bp_act_norm_range_neon(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                            const struct bp_act_norm_rows *a, struct bp_columns to) {
    const struct gradient gradient = gradient_of(g);
    const enum gradient_form form = form_of(g);
    if (form == GRADIENT_FLOATS)
        range_rows(&gradient, GRADIENT_FLOATS, y, n, c, a, &to);
    else if (form == GRADIENT_SUMS)
        range_rows(&gradient, GRADIENT_SUMS, y, n, c, a, &to);
    else
        range_rows(&gradient, GRADIENT_NONE, y, n, c, a, &to);
}
