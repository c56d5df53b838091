/* Pointwise (1x1) convolutions of bfloat16 (fp32/bf16_conv.h) by kernels of ours: what makes the
 * operands, the product and what follows it go over some hundred pixels at a time, in the cache.
 *
 *   forward   x [pixels][c] times w' packed          -> floats -> halves, their sums
 *   backward  g [pixels][k], made of its source
 *             g times w packed                       -> dx
 *             g turned [k][pixels] times x packed    -> added to the block's part of dw
 *
 * The kernels pack_bf16, turn_bf16 and product_bf16 are those of a tier of its own, as oneDNN's
 * products do not depend on the tier that the other kernels are capped to. */
#ifndef BP_FP32_BF16_POINTWISE_H
#define BP_FP32_BF16_POINTWISE_H

#include "fp32/fp32_ops.h"
#include "ops/channel_sums.h"

#ifdef __cplusplus
extern "C" {
#endif

struct bp_bf16_pointwise;

/* 1 if it takes a shape: 1x1, channels in multiples of 32. */
int bp_bf16_pointwise_serves(const struct bp_conv_shape *shape);

/* As bp_bf16_conv_create, as are the passes below as those of bf16_conv.h. tier: one that the
 * processor has; all give the same bits. */
bp_status bp_bf16_pointwise_create(struct bp_bf16_pointwise **out, struct bp_exec *exec,
                                   struct bp_plan *plan, enum bp_tier tier,
                                   const struct bp_conv_shape *shape, unsigned passes,
                                   size_t source_scratch, const char *name, int forward_time,
                                   int backward_time);
void bp_bf16_pointwise_destroy(struct bp_bf16_pointwise *self);
void bp_bf16_pointwise_forward(struct bp_bf16_pointwise *self, struct bp_exec *exec, size_t n,
                               const uint16_t *x, const float *w, uint16_t *y,
                               struct bp_channel_sums *sums);
void bp_bf16_pointwise_backward(struct bp_bf16_pointwise *self, struct bp_exec *exec, size_t n,
                                const uint16_t *x, const struct bp_grad_source *source,
                                const float *w, float *dw, float *dx, int accumulate);

#ifdef __cplusplus
}
#endif
#endif
