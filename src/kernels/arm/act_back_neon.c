/* Backward of batch norm and PReLU, NEON: 4 channels a vector. The last vector of a row takes only
 * its `rest` channels; `full` is a constant. */
#include "kernels/arm/tier_neon.h"

#include "base/bits.h"
#include "kernels/arm/gradient_neon.h"
#include "kernels/arm/vec_neon.h"

/* ga, and what the slope's sum takes. */
BP_INLINE float32x4_t act_backward(float32x4_t g, float32x4_t y, float32x4_t scale,
                                   float32x4_t shift, int has_slope, float32x4_t slope,
                                   float32x4_t *slope_term) {
    *slope_term = vdupq_n_f32(0);
    if (!has_slope)
        return g;
    float32x4_t v = vaddq_f32(vmulq_f32(y, scale), shift);
    uint32x4_t negative = vcltzq_f32(v), term = vreinterpretq_u32_f32(vmulq_f32(g, v));
    *slope_term = vreinterpretq_f32_u32(vandq_u32(negative, term));
    return vbslq_f32(negative, vmulq_f32(g, slope), g);
}

struct act_sums_job {
    struct gradient g;
    const void *y;
    size_t n, c;
    const float *scale, *shift, *slope;
    float *sum_g, *sum_gy, *sum_slope;
};

/* Coefficients and sums of 4 channels. */
struct sums_4 {
    float32x4_t scale, shift, slope, sum_g, sum_gy, sum_slope;
};

BP_INLINE struct sums_4 sums_load(const struct act_sums_job *job, int has_slope, size_t j, int full,
                                  size_t rest) {
    const float32x4_t zero = vdupq_n_f32(0);
    return (struct sums_4){load_f32(job->scale + j, full, rest),
                           load_f32(job->shift + j, full, rest),
                           has_slope ? load_f32(job->slope + j, full, rest) : zero,
                           load_f32(job->sum_g + j, full, rest),
                           load_f32(job->sum_gy + j, full, rest),
                           has_slope ? load_f32(job->sum_slope + j, full, rest) : zero};
}

BP_INLINE void sums_add(struct sums_4 *s, int has_slope, float32x4_t g, float32x4_t y) {
    float32x4_t term, ga = act_backward(g, y, s->scale, s->shift, has_slope, s->slope, &term);
    s->sum_g = vaddq_f32(s->sum_g, ga);
    s->sum_gy = vaddq_f32(s->sum_gy, vmulq_f32(ga, y));
    if (has_slope)
        s->sum_slope = vaddq_f32(s->sum_slope, term);
}

BP_INLINE void sums_store(const struct act_sums_job *job, int has_slope, size_t j, int full,
                          size_t rest, const struct sums_4 *s) {
    store_f32(job->sum_g + j, full, rest, s->sum_g);
    store_f32(job->sum_gy + j, full, rest, s->sum_gy);
    if (has_slope)
        store_f32(job->sum_slope + j, full, rest, s->sum_slope);
}

/* 4 * vectors channels from channel j on, all rows. */
BP_INLINE void act_sums_block(const struct act_sums_job *job, enum gradient_form form,
                              enum value_type type, int has_slope, int vectors, size_t j, int full,
                              size_t rest) {
    struct sums_4 sums[4];
    for (int q = 0; q < vectors; q++)
        sums[q] = sums_load(job, has_slope, j + 4 * (size_t)q, full, rest);
    for (size_t p = 0; p < job->n; p++)
        for (int q = 0; q < vectors; q++) {
            size_t at = p * job->c + j + 4 * (size_t)q;
            float32x4_t y = load_y(job->y, at, type, full, rest);
            sums_add(&sums[q], has_slope, load_gradient(&job->g, form, at, full, rest), y);
        }
    for (int q = 0; q < vectors; q++)
        sums_store(job, has_slope, j + 4 * (size_t)q, full, rest, &sums[q]);
}

BP_INLINE void act_sums_of(const struct act_sums_job *job, enum gradient_form form,
                           enum value_type type, int has_slope) {
    size_t j = 0;
    for (; j + 16 <= job->c; j += 16)
        act_sums_block(job, form, type, has_slope, 4, j, 1, 4);
    for (; j < job->c; j += 4)
        act_sums_block(job, form, type, has_slope, 1, j, 0, job->c - j);
}

BP_INLINE void act_sums(const struct act_sums_job *job, enum gradient_form form,
                        enum value_type type) {
    if (job->slope != NULL && form == GRADIENT_BF16)
        act_sums_of(job, GRADIENT_BF16, type, 1);
    else if (form == GRADIENT_BF16)
        act_sums_of(job, GRADIENT_BF16, type, 0);
    else if (job->slope != NULL && form == GRADIENT_FLOATS)
        act_sums_of(job, GRADIENT_FLOATS, type, 1);
    else if (job->slope != NULL)
        act_sums_of(job, GRADIENT_SUMS, type, 1);
    else if (form == GRADIENT_FLOATS)
        act_sums_of(job, GRADIENT_FLOATS, type, 0);
    else
        act_sums_of(job, GRADIENT_SUMS, type, 0);
}

void bp_act_sums_i16_neon(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                          const float *scale, const float *shift, const float *slope, float *sum_g,
                          float *sum_gy, float *sum_slope) {
    const struct act_sums_job job = {gradient_of(g), y,     n,     c,      scale,
                                     shift,          slope, sum_g, sum_gy, sum_slope};
    act_sums(&job, form_of(g), VALUE_I16);
}

void bp_act_sums_f32_neon(const struct bp_gradient_rows *g, const float *y, size_t n, size_t c,
                          const float *scale, const float *shift, const float *slope, float *sum_g,
                          float *sum_gy, float *sum_slope) {
    const struct act_sums_job job = {gradient_of(g), y,     n,     c,      scale,
                                     shift,          slope, sum_g, sum_gy, sum_slope};
    act_sums(&job, form_of(g), VALUE_F32);
}

void bp_act_sums_f16_neon(const struct bp_gradient_rows *g, const uint16_t *y, size_t n, size_t c,
                          const float *scale, const float *shift, const float *slope, float *sum_g,
                          float *sum_gy, float *sum_slope) {
    const struct act_sums_job job = {gradient_of(g), y,     n,     c,      scale,
                                     shift,          slope, sum_g, sum_gy, sum_slope};
    act_sums(&job, form_of(g), VALUE_F16);
}

/* --- sums behind 2x2 pooling ------------------------------------------------------------------ */

struct pool_sums_job {
    struct act_sums_job sums; /* n windows; without y */
    const int16_t *upper, *lower;
    const uint64_t *which;
};

BP_INLINE int16x8_t load_i16(const int16_t *x, int full, size_t rest) {
    int16_t part[8] = {0};
    if (full)
        return vld1q_s16(x);
    memcpy(part, x, bp_min_size(rest, 8) * sizeof *x);
    return vld1q_s16(part);
}

/* All ones in lane i where bit i is set, i = 0 .. 7. */
BP_INLINE uint16x8_t spread_8_bits(uint64_t bits) {
    static const uint16_t bit[8] = {1, 2, 4, 8, 16, 32, 64, 128};
    return vtstq_u16(vdupq_n_u16((uint16_t)bits), vld1q_u16(bit));
}

/* y of the winners of window p, 8 channels from channel j on, or the first `rest` of them. */
BP_INLINE int16x8_t winners(const struct pool_sums_job *job, size_t p, size_t j, int full,
                            size_t rest) {
    size_t c = job->sums.c, cw = bp_words(c), at = 2 * p * c + j;
    const uint64_t *words = job->which + 2 * p * cw + j / 64;
    uint16x8_t right = spread_8_bits(words[0] >> j % 64);
    uint16x8_t below = spread_8_bits(words[cw] >> j % 64);
    int16x8_t left_y = vbslq_s16(below, load_i16(job->lower + at, full, rest),
                                 load_i16(job->upper + at, full, rest));
    int16x8_t right_y = vbslq_s16(below, load_i16(job->lower + at + c, full, rest),
                                  load_i16(job->upper + at + c, full, rest));
    return vbslq_s16(right, right_y, left_y);
}

/* 4 * vectors channels from channel j on, or the first `rest` of them, all windows. */
BP_INLINE void pool_sums_block(const struct pool_sums_job *job, enum gradient_form form,
                               int has_slope, int vectors, size_t j, int full, size_t rest) {
    const struct act_sums_job *s = &job->sums;
    struct sums_4 sums[4];
    for (int q = 0; q < vectors; q++)
        sums[q] = sums_load(s, has_slope, j + 4 * (size_t)q, full, rest - 4 * (size_t)q);
    for (size_t p = 0; p < s->n; p++) {
        int16x8_t y[2];
        for (int q = 0; q < vectors; q += 2)
            y[q / 2] = winners(job, p, j + 4 * (size_t)q, full, rest - 4 * (size_t)q);
        for (int q = 0; q < vectors; q++) {
            size_t at = p * s->c + j + 4 * (size_t)q;
            float32x4_t g = load_gradient(&s->g, form, at, full, rest - 4 * (size_t)q);
            int16x4_t half = q % 2 == 0 ? vget_low_s16(y[q / 2]) : vget_high_s16(y[q / 2]);
            sums_add(&sums[q], has_slope, g, floats_of_i16(half));
        }
    }
    for (int q = 0; q < vectors; q++)
        sums_store(s, has_slope, j + 4 * (size_t)q, full, rest - 4 * (size_t)q, &sums[q]);
}

BP_INLINE void pool_sums(const struct pool_sums_job *job, enum gradient_form form, int has_slope) {
    size_t j = 0, c = job->sums.c;
    for (; j + 16 <= c; j += 16)
        pool_sums_block(job, form, has_slope, 4, j, 1, 16);
    for (; j + 4 < c; j += 8)
        pool_sums_block(job, form, has_slope, 2, j, 0, c - j);
    if (j < c)
        pool_sums_block(job, form, has_slope, 1, j, 0, c - j);
}

void bp_pool_sums_i16_neon(const struct bp_gradient_rows *g, const int16_t *upper,
                           const int16_t *lower, const uint64_t *which, size_t n, size_t c,
                           const float *scale, const float *shift, const float *slope, float *sum_g,
                           float *sum_gy, float *sum_slope) {
    const struct pool_sums_job job = {
        {gradient_of(g), NULL, n, c, scale, shift, slope, sum_g, sum_gy, sum_slope},
        upper,
        lower,
        which};
    const enum gradient_form form = form_of(g);
    if (slope != NULL && form == GRADIENT_FLOATS)
        pool_sums(&job, GRADIENT_FLOATS, 1);
    else if (slope != NULL)
        pool_sums(&job, GRADIENT_SUMS, 1);
    else if (form == GRADIENT_FLOATS)
        pool_sums(&job, GRADIENT_FLOATS, 0);
    else
        pool_sums(&job, GRADIENT_SUMS, 0);
}

/* --- the gradient at the input ---------------------------------------------------------------- */

struct act_grad_job {
    struct gradient g;
    const void *y;
    const float *scale, *shift, *slope, *ka, *kb, *kc;
    const void *add; /* or NULL */
    enum value_type add_type;
    void *out; /* floats; where y is of halves, bfloat16 */
};

/* What is added to rows of such inputs: floats are to floats. */
BP_INLINE enum value_type added(const struct act_grad_job *job, enum value_type input) {
    return input == VALUE_F16 ? job->add_type : VALUE_F32;
}

/* 4 channels from channel j on, of the row at `from`. */
BP_INLINE float32x4_t act_grad_4(const struct act_grad_job *job, enum gradient_form form,
                                 enum value_type type, int has_slope, size_t from, size_t j,
                                 int full, size_t rest) {
    float32x4_t y = load_y(job->y, from + j, type, full, rest);
    float32x4_t v = vmulq_f32(y, load_f32(job->kb + j, full, rest));
    if (form != GRADIENT_NONE) {
        float32x4_t term, slope = has_slope ? load_f32(job->slope + j, full, rest) : vdupq_n_f32(0);
        float32x4_t ga =
            act_backward(load_gradient(&job->g, form, from + j, full, rest), y,
                         load_f32(job->scale + j, full, rest), load_f32(job->shift + j, full, rest),
                         has_slope, slope, &term);
        v = vaddq_f32(vmulq_f32(ga, load_f32(job->ka + j, full, rest)), v);
    }
    v = vaddq_f32(v, load_f32(job->kc + j, full, rest));
    if (job->add != NULL)
        v = vaddq_f32(load_y(job->add, from + j, added(job, type), full, rest), v);
    return v;
}

BP_INLINE void act_grad_of(const struct act_grad_job *job, enum gradient_form form,
                           enum value_type type, int has_slope, size_t n, size_t c) {
    for (size_t from = 0; from < n * c; from += c) {
        size_t j = 0;
        for (; j + 8 <= c; j += 8) { /* loads before stores, so that they come in pairs */
            float32x4_t low = act_grad_4(job, form, type, has_slope, from, j, 1, 4);
            float32x4_t high = act_grad_4(job, form, type, has_slope, from, j + 4, 1, 4);
            store_y(job->out, from + j, type_of_out(type), 1, 4, low);
            store_y(job->out, from + j + 4, type_of_out(type), 1, 4, high);
        }
        for (; j < c; j += 4)
            store_y(job->out, from + j, type_of_out(type), 0, c - j,
                    act_grad_4(job, form, type, has_slope, from, j, 0, c - j));
    }
}

BP_INLINE void act_grad(const struct act_grad_job *job, enum gradient_form form,
                        enum value_type type, size_t n, size_t c) {
    if (form == GRADIENT_NONE)
        act_grad_of(job, GRADIENT_NONE, type, 0, n, c);
    else if (job->slope != NULL && form == GRADIENT_BF16)
        act_grad_of(job, GRADIENT_BF16, type, 1, n, c);
    else if (form == GRADIENT_BF16)
        act_grad_of(job, GRADIENT_BF16, type, 0, n, c);
    else if (job->slope != NULL && form == GRADIENT_FLOATS)
        act_grad_of(job, GRADIENT_FLOATS, type, 1, n, c);
    else if (job->slope != NULL)
        act_grad_of(job, GRADIENT_SUMS, type, 1, n, c);
    else if (form == GRADIENT_FLOATS)
        act_grad_of(job, GRADIENT_FLOATS, type, 0, n, c);
    else
        act_grad_of(job, GRADIENT_SUMS, type, 0, n, c);
}

void bp_act_grad_i16_neon(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                          const float *scale, const float *shift, const float *slope,
                          const float *ka, const float *kb, const float *kc, int add, float *out) {
    const struct act_grad_job job = {gradient_of(g),   y,         scale, shift, slope, ka, kb, kc,
                                     add ? out : NULL, VALUE_F32, out};
    act_grad(&job, form_of(g), VALUE_I16, n, c);
}

void bp_act_grad_f32_neon(const struct bp_gradient_rows *g, const float *y, size_t n, size_t c,
                          const float *scale, const float *shift, const float *slope,
                          const float *ka, const float *kb, const float *kc, int add, float *out) {
    const struct act_grad_job job = {gradient_of(g),   y,         scale, shift, slope, ka, kb, kc,
                                     add ? out : NULL, VALUE_F32, out};
    act_grad(&job, form_of(g), VALUE_F32, n, c);
}

void bp_act_grad_f16_neon(const struct bp_gradient_rows *g, const uint16_t *y, size_t n, size_t c,
                          const float *scale, const float *shift, const float *slope,
                          const float *ka, const float *kb, const float *kc,
                          const struct bp_gradient_rows *add, uint16_t *out) {
    const struct act_grad_job job = {
        gradient_of(g),        y,  scale, shift, slope, ka, kb, kc, elements_of(add),
        type_of(form_of(add)), out};
    act_grad(&job, form_of(g), VALUE_F16, n, c);
}

/* --- ranges ----------------------------------------------------------------------------------- */

struct act_range_job {
    struct gradient g;
    const int16_t *y;
    size_t n, c;
    const float *scale, *shift, *slope, *ka, *kb, *kc;
};

/* 4 * vectors (at most 2) channels from channel j on, all rows. form and has_slope are constants.
 */
BP_INLINE void act_range_block(const struct act_range_job *job, enum gradient_form form,
                               int has_slope, int vectors, size_t j, int full, size_t rest,
                               const struct bp_columns *to) {
    const int has_g = form != GRADIENT_NONE;
    float32x4_t scale[2], shift[2], slope[2], ka[2], kb[2], kc[2];
    struct range_4 range[2];
    for (int q = 0; q < vectors; q++) {
        size_t at = j + 4 * (size_t)q;
        scale[q] = shift[q] = slope[q] = ka[q] = vdupq_n_f32(0);
        if (has_g) {
            scale[q] = load_f32(job->scale + at, full, rest);
            shift[q] = load_f32(job->shift + at, full, rest);
            ka[q] = load_f32(job->ka + at, full, rest);
        }
        if (has_g && has_slope)
            slope[q] = load_f32(job->slope + at, full, rest);
        kb[q] = load_f32(job->kb + at, full, rest);
        kc[q] = load_f32(job->kc + at, full, rest);
        range[q] = range_load(to, at, full, rest);
    }
    for (size_t p = 0; p < job->n; p++)
        for (int q = 0; q < vectors; q++) {
            size_t at = p * job->c + j + 4 * (size_t)q;
            float32x4_t term, y = load_y(job->y, at, VALUE_I16, full, rest),
                              v = vmulq_f32(y, kb[q]);
            if (has_g) {
                float32x4_t ga = act_backward(load_gradient(&job->g, form, at, full, rest), y,
                                              scale[q], shift[q], has_slope, slope[q], &term);
                v = vaddq_f32(vmulq_f32(ga, ka[q]), v);
            }
            range_add(&range[q], vaddq_f32(v, kc[q]));
        }
    for (int q = 0; q < vectors; q++)
        range_store(to, j + 4 * (size_t)q, full, rest, &range[q]);
}

BP_INLINE void act_range(const struct act_range_job *job, enum gradient_form form, int has_slope,
                         const struct bp_columns *to) {
    size_t j = 0;
    for (; j + 8 <= job->c; j += 8)
        act_range_block(job, form, has_slope, 2, j, 1, 4, to);
    for (; j < job->c; j += 4)
        act_range_block(job, form, has_slope, 1, j, 0, job->c - j, to);
}

void bp_act_range_i16_neon(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                           const float *scale, const float *shift, const float *slope,
                           const float *ka, const float *kb, const float *kc,
                           struct bp_columns to) {
    const struct act_range_job job = {gradient_of(g), y, n, c, scale, shift, slope, ka, kb, kc};
    const enum gradient_form form = form_of(g);
    if (form == GRADIENT_NONE)
        act_range(&job, GRADIENT_NONE, 0, &to);
    else if (form == GRADIENT_BF16 && slope != NULL)
        act_range(&job, GRADIENT_BF16, 1, &to);
    else if (form == GRADIENT_BF16)
        act_range(&job, GRADIENT_BF16, 0, &to);
    else if (form == GRADIENT_FLOATS && slope != NULL)
        act_range(&job, GRADIENT_FLOATS, 1, &to);
    else if (form == GRADIENT_FLOATS)
        act_range(&job, GRADIENT_FLOATS, 0, &to);
    else if (slope != NULL)
        act_range(&job, GRADIENT_SUMS, 1, &to);
    else
        act_range(&job, GRADIENT_SUMS, 0, &to);
}
