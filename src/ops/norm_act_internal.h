/* What the files of norm_act share: norm_act.c (creation), norm_act_forward.c and
 * norm_act_sums.c and norm_act_backward.c. */
#ifndef BP_OPS_NORM_ACT_INTERNAL_H
#define BP_OPS_NORM_ACT_INTERNAL_H

#include "ops/norm_act.h"

static inline const int16_t *y_i16(const void *y, size_t element) {
    return (const int16_t *)y + element;
}

static inline const float *y_f32(const void *y, size_t element) {
    return (const float *)y + element;
}

static inline const uint16_t *y_f16(const void *y, size_t element) {
    return (const uint16_t *)y + element;
}

/* Rows of y in floats: stored, or made in the buffer. */
static inline const float *rows_f32(const struct bp_norm_act *op, size_t n, size_t row, size_t rows,
                                    float *buffer) {
    size_t row_elements = op->shape.w * op->shape.c, first = (n * op->shape.h + row) * row_elements;
    if (op->y != NULL && !op->shape.input_f16)
        return y_f32(op->y, first);
    if (op->y != NULL)
        op->kernels->widen_f16(y_f16(op->y, first), rows * row_elements, buffer);
    else
        op->y_source.rows(op->y_source.context, n, row, rows, buffer);
    return buffer;
}

static inline int has_gradient(const struct bp_norm_act *op, size_t n) {
    return op->g.kept == NULL || op->g.kept[n];
}

static inline size_t sample_elements(const struct bp_norm_act_shape *s) {
    return s->h * s->w * s->c;
}

static inline struct bp_batch_norm_params norm_params(const struct bp_norm_act_params *params) {
    return (struct bp_batch_norm_params){params->weight, params->bias, params->running_mean,
                                         params->running_var};
}

static inline struct bp_affine_rows coefficients_of(const struct bp_norm_act *op) {
    return (struct bp_affine_rows){op->norm.scale, op->norm.shift, op->slope};
}

/* The rows of a plain scale do not wait for the sums: their ranges are taken in the same pass. */
static inline int takes_ranges(const struct bp_norm_act_shape *s) {
    return s->affine == BP_AFFINE_SCALE && s->input_i16;
}

/* 3x3 pooling of the integers, before they become floats: where the activation keeps their order.
 */
static inline int pools_integers(const struct bp_norm_act_shape *s) {
    return s->window_pool && s->input_i16 && s->activation != BP_ACT_PRELU;
}

/* Whether the sums of the backward pass follow from the output: norm_act_sums.c. */
int bp_norm_act_sums_follow_from_output(const struct bp_norm_act *op,
                                        const struct bp_norm_act_params *params);

/* dL/dz of input rows: g itself, or in `buffer` g sent to the winners of the pooling. */
struct bp_gradient_rows bp_norm_act_activation_gradient(const struct bp_norm_act *op, size_t n,
                                                        size_t row, size_t rows, float *buffer);

/* Of a plain scale of integers. */
struct bp_columns bp_norm_act_ranges_of_sample(const struct bp_norm_act *op, size_t n);
/* `pixels` of one sample from `element` on, g NULL where it has no gradient. */
void bp_norm_act_add_ranges(const struct bp_norm_act *op, const struct bp_gradient_rows *g,
                            size_t element, size_t pixels, struct bp_columns to);

#endif
