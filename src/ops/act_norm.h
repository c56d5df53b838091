/* Scale -> PReLU -> batch norm -> sgn: from the integers of one binary convolution to the bits of
 * the next, as inside a block of ResNet. Nothing of full size is kept in floats for the backward
 * pass, and nothing is stored between the two halves: every pass computes h = PReLU(alpha y) again,
 * in the cache. Numbers are the same as those of two operations after one another (ops/norm_act.h)
 * but for the batch statistics and the gradients of alpha and slope: these follow from exact sums
 * of the integers >= 0 and < 0, instead of sums of rounded h and a second backward pass. */
#ifndef BP_OPS_ACT_NORM_H
#define BP_OPS_ACT_NORM_H

#include "ops/batch_norm.h"
#include "ops/channel_sums.h"
#include "ops/op.h"
#include "ops/sign_limits.h"

#ifdef __cplusplus
extern "C" {
#endif

struct bp_act_norm_params {
    const float *alpha, *slope; /* [c] */
    struct bp_batch_norm_params norm;
};

/* Gradients of the parameters, all [c]. */
struct bp_act_norm_grads {
    float *alpha, *slope, *weight, *bias;
};

struct bp_act_norm {
    size_t n, h, w, c, cw;
    size_t chunk_rows;           /* image rows walked at once */
    struct bp_batch_norm norm;   /* v = h * scale + shift; dh = ka dv + kb h + kc */
    struct bp_channel_sums sums; /* of y, halves; its producer may fill them in */
    struct bp_sign_limits limits;
    float *alpha, *slope; /* [c] copied, for the backward pass */
    double *partial;      /* [n][3][c] sums per sample */
    double *negative;     /* [2][c] sums of u and u^2 where u < 0, of the forward pass */
    /* what the gradient rows are made of, set by backward_sums */
    const int16_t *y;
    struct bp_gradient g;
    const struct bp_kernels *kernels;
};

/* n, h, w, c: of y. Adds the op's buffers to `plan`: the sums of y from input_time, when it is
 * written; the others from forward_time to last_time. */
bp_status bp_act_norm_create(struct bp_act_norm **out, struct bp_exec *exec, struct bp_plan *plan,
                             size_t n, size_t h, size_t w, size_t c, const char *name,
                             int input_time, int forward_time, int last_time);
void bp_act_norm_destroy(struct bp_act_norm *op);

/* y [n][h][w][c] -> bits [n][h + 2][w + 2][cw] (halo cleared) and, unless NULL, mask [n][h][w][cw].
 * batch_statistics: normalise by this batch and update the running statistics; else by those. */
void bp_act_norm_forward(struct bp_act_norm *op, struct bp_exec *exec, size_t n, const int16_t *y,
                         const struct bp_act_norm_params *params, int batch_statistics,
                         uint64_t *bits, uint64_t *mask);

/* After forward with batch_statistics: from g = dL/d(value before sgn) [n][h][w][c], the
 * parameters' gradients and the coefficients of the gradient rows. What g points to must live as
 * long as rows are asked for. */
void bp_act_norm_backward_sums(struct bp_act_norm *op, struct bp_exec *exec, size_t n,
                               const int16_t *y, const struct bp_gradient *g,
                               const struct bp_act_norm_params *params,
                               const struct bp_act_norm_grads *grads);

/* dL/dy of rows row .. row + rows - 1 of sample n; a bp_grad_source, as the following. context: the
 * op. */
void bp_act_norm_grad_rows(const void *context, size_t n, size_t row, size_t rows, float *out,
                           void *scratch);
/* Their codes, and the ranges of all rows of sample n. */
void bp_act_norm_grad_codes(const void *context, size_t n, size_t row, size_t rows,
                            const struct bp_rounding_both *both, void *scratch);
void bp_act_norm_grad_ranges(const void *context, size_t n, struct bp_columns to, void *scratch);
/* Columns of the rows, of samples that have no gradient. */
int bp_act_norm_grad_columns(const void *context, size_t n, size_t row, size_t rows,
                             const int32_t *column, size_t k, float *out);

#ifdef __cplusplus
}
#endif
#endif
