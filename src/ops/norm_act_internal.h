/* What norm_act.c (forward) and norm_act_backward.c share. */
#ifndef BP_OPS_NORM_ACT_INTERNAL_H
#define BP_OPS_NORM_ACT_INTERNAL_H

#include "ops/norm_act.h"

static inline const int16_t *bp_norm_act_y_i16(const void *y, size_t element) {
    return (const int16_t *)y + element;
}

static inline const float *bp_norm_act_y_f32(const void *y, size_t element) {
    return (const float *)y + element;
}

static inline size_t bp_norm_act_sample_elements(const struct bp_norm_act_shape *s) {
    return s->h * s->w * s->c;
}

/* Elements of a channel in n samples. */
static inline double bp_norm_act_elements(const struct bp_norm_act *op, size_t n) {
    return (double)(n * op->shape.h * op->shape.w);
}

static inline struct bp_batch_norm_params
bp_norm_act_params_of_norm(const struct bp_norm_act_params *params) {
    return (struct bp_batch_norm_params){params->weight, params->bias, params->running_mean,
                                         params->running_var};
}

/* The rows of a plain scale do not wait for the sums: their ranges are taken in the same pass. */
static inline int bp_norm_act_takes_ranges(const struct bp_norm_act_shape *s) {
    return s->affine == BP_AFFINE_SCALE && s->input_i16;
}

#endif
