/* The arithmetic of batch normalisation per channel, in double: from sums over a batch to the
 * coefficients of the passes over its elements, forward and backward. The elements e may stand for
 * values y = unit e; sums and coefficients are those of the elements, statistics and gradients
 * those of the values. */
#ifndef BP_OPS_BATCH_NORM_H
#define BP_OPS_BATCH_NORM_H

#include "base/plan.h"

#ifdef __cplusplus
extern "C" {
#endif

#define BP_NORM_EPSILON  1e-5
#define BP_NORM_MOMENTUM 0.1

struct bp_batch_norm {
    float *scale, *shift;             /* [c] forward: v = e * scale + shift */
    float *ka, *kb, *kc;              /* [c] backward: dy = ka * dv + kb * e + kc */
    double *mean, *inverse_deviation; /* [c] of y */
    const float *unit;                /* [c], or NULL: 1; set by whoever plans */
};

struct bp_batch_norm_params {
    const float *weight, *bias;        /* [c] */
    float *running_mean, *running_var; /* [c] */
};

/* Adds the coefficients of c channels to `plan`. */
bp_status bp_batch_norm_plan(struct bp_batch_norm *norm, struct bp_plan *plan, size_t c,
                             const char *name, int first, int last);

/* Channel j from the sums of e and e^2 over `count` elements: coefficients, and the running
 * statistics move on (momentum 0.1, unbiased variance). */
void bp_batch_norm_of_batch(struct bp_batch_norm *norm, size_t j, double count, double sum,
                            double sum_squares, const struct bp_batch_norm_params *params);

/* Channel j from the running statistics. */
void bp_batch_norm_of_running(struct bp_batch_norm *norm, size_t j,
                              const struct bp_batch_norm_params *params);

/* Channel j backward from sum_g = sum of dv and sum_ge = sum of dv * e over `count` elements: the
 * coefficients, and the parameters' gradients. */
void bp_batch_norm_backward(struct bp_batch_norm *norm, size_t j, double count, double sum_g,
                            double sum_ge, const struct bp_batch_norm_params *params,
                            float *weight_grad, float *bias_grad);

#ifdef __cplusplus
}
#endif
#endif
