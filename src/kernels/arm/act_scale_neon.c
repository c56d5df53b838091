/* Backward of a plain scale of integers with PReLU, NEON: 4 channels a vector, all rows. The last
 * vector takes only its `rest` channels; `full` is a constant. */
#include "kernels/arm/tier_neon.h"

#include "base/bits.h"
#include "kernels/arm/gradient_neon.h"
#include "kernels/arm/vec_neon.h"

struct job {
    struct gradient g;
    const int16_t *y;
    size_t n, c;
    const float *scale, *slope;
    float *out;           /* of rows; or */
    struct bp_columns to; /* ranges and sums */
    float *sum_gy, *sum_slope;
};

struct coefficients {
    float32x4_t scale, slope;
};

BP_INLINE struct coefficients load_coefficients(const struct job *job, int has_slope, size_t j,
                                                int full, size_t rest) {
    return (struct coefficients){load_f32(job->scale + j, full, rest),
                                 has_slope ? load_f32(job->slope + j, full, rest) : vdupq_n_f32(0)};
}

/* ga, and what the slope's sum takes. */
BP_INLINE float32x4_t act_backward(const struct coefficients *k, int has_slope, float32x4_t g,
                                   float32x4_t y, float32x4_t *term) {
    *term = vdupq_n_f32(0);
    if (!has_slope)
        return g;
    float32x4_t v = vmulq_f32(y, k->scale);
    uint32x4_t negative = vcltzq_f32(v), product = vreinterpretq_u32_f32(vmulq_f32(g, v));
    *term = vreinterpretq_f32_u32(vandq_u32(negative, product));
    return vbslq_f32(negative, vmulq_f32(g, k->slope), g);
}

BP_INLINE void grad_block(const struct job *job, enum gradient_form form, int has_slope, size_t j,
                          int full, size_t rest) {
    const struct coefficients k = load_coefficients(job, has_slope, j, full, rest);
    for (size_t p = 0; p < job->n; p++) {
        size_t at = p * job->c + j;
        float32x4_t term, g = load_gradient(&job->g, form, at, full, rest);
        g = act_backward(&k, has_slope, g, load_y(job->y, at, VALUE_I16, full, rest), &term);
        store_f32(job->out + at, full, rest, vmulq_f32(g, k.scale));
    }
}

BP_INLINE void sums_block(const struct job *job, enum gradient_form form, int has_slope, size_t j,
                          int full, size_t rest) {
    const struct coefficients k = load_coefficients(job, has_slope, j, full, rest);
    struct range_4 range = range_load(&job->to, j, full, rest);
    float32x4_t sum_gy = load_f32(job->sum_gy + j, full, rest), sum_slope = vdupq_n_f32(0);
    if (has_slope)
        sum_slope = load_f32(job->sum_slope + j, full, rest);
    for (size_t p = 0; p < job->n; p++) {
        size_t at = p * job->c + j;
        float32x4_t term, g = load_gradient(&job->g, form, at, full, rest);
        float32x4_t y = load_y(job->y, at, VALUE_I16, full, rest);
        g = act_backward(&k, has_slope, g, y, &term);
        if (has_slope)
            sum_slope = vaddq_f32(sum_slope, term);
        sum_gy = vaddq_f32(sum_gy, vmulq_f32(g, y));
        range_add(&range, vmulq_f32(g, k.scale));
    }
    range_store(&job->to, j, full, rest, &range);
    store_f32(job->sum_gy + j, full, rest, sum_gy);
    if (has_slope)
        store_f32(job->sum_slope + j, full, rest, sum_slope);
}

BP_INLINE void block(const struct job *job, enum gradient_form form, int has_slope, size_t j,
                     int full, size_t rest) {
    if (job->out != NULL)
        grad_block(job, form, has_slope, j, full, rest);
    else
        sums_block(job, form, has_slope, j, full, rest);
}

BP_INLINE void all_blocks(const struct job *job, enum gradient_form form, int has_slope) {
    size_t j = 0;
    for (; j + 4 <= job->c; j += 4)
        block(job, form, has_slope, j, 1, 4);
    if (j < job->c)
        block(job, form, has_slope, j, 0, job->c - j);
}

static void run(const struct job *job, enum gradient_form form) {
    if (form == GRADIENT_BF16 && job->slope != NULL)
        all_blocks(job, GRADIENT_BF16, 1);
    else if (form == GRADIENT_BF16)
        all_blocks(job, GRADIENT_BF16, 0);
    else if (form == GRADIENT_SUMS && job->slope != NULL)
        all_blocks(job, GRADIENT_SUMS, 1);
    else if (form == GRADIENT_SUMS)
        all_blocks(job, GRADIENT_SUMS, 0);
    else if (job->slope != NULL)
        all_blocks(job, GRADIENT_FLOATS, 1);
    else
        all_blocks(job, GRADIENT_FLOATS, 0);
}

void bp_scale_grad_i16_neon(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                            const float *scale, const float *slope, float *out) {
    const struct job job = {
        .g = gradient_of(g), .y = y, .n = n, .c = c, .scale = scale, .slope = slope, .out = out};
    run(&job, form_of(g));
}

void bp_scale_sums_i16_neon(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                            const float *scale, const float *slope, struct bp_columns to,
                            float *sum_gy, float *sum_slope) {
    const struct job job = {.g = gradient_of(g),
                            .y = y,
                            .n = n,
                            .c = c,
                            .scale = scale,
                            .slope = slope,
                            .to = to,
                            .sum_gy = sum_gy,
                            .sum_slope = sum_slope};
    run(&job, form_of(g));
}
