/* Convolutions of bfloat16 with sums in float: ResNet's shortcuts in `psq` and `fqt`. x, g and w
 * are rounded to the nearest bfloat16 (kernel round_bf16); products of two are exact in float, the
 * sums round as those of fp32_ops.h do, and y is rounded to halves (kernel settle_f16).
 *
 * Pointwise convolutions are multiplied by kernels of ours, with tiles of bfloat16 (AMX) or AVX-512
 * (bf16_pointwise.h); others, and all where vectors of bfloat16 are fast (bp_cpu_has_fast_bf16), by
 * oneDNN if the processor has AVX512_BF16. Tiles and such vectors count numbers below 2^-126 as
 * zero. Elsewhere the rounded operands are widened, and multiplied as floats. Threads: as in
 * fp32_ops.h. */
#ifndef BP_FP32_BF16_CONV_H
#define BP_FP32_BF16_CONV_H

#include "fp32/fp32_ops.h"
#include "ops/channel_sums.h"

#ifdef __cplusplus
extern "C" {
#endif

/* 1 if this backend multiplies bfloat16 as such on this machine. */
int bp_bf16_is_native(enum bp_fp32_backend backend);

struct bp_bf16_conv;

/* As bp_fp32_conv_create. source_scratch: bytes of scratch memory that the gradient source of the
 * backward pass needs. */
bp_status bp_bf16_conv_create(struct bp_bf16_conv **out, struct bp_exec *exec, struct bp_plan *plan,
                              enum bp_fp32_backend backend, const struct bp_conv_shape *shape,
                              unsigned passes, size_t source_scratch, const char *name,
                              int forward_time, int backward_time);
void bp_bf16_conv_destroy(struct bp_bf16_conv *conv);

/* y [n][oh][ow][k] = conv(x [n][h][w][c], w [k][r][r][c]). sums: of y as rounded, filled in, or
 * NULL. */
bp_status bp_bf16_conv_forward(struct bp_bf16_conv *conv, struct bp_exec *exec, size_t n,
                               const uint16_t *x, const float *w, uint16_t *y,
                               struct bp_channel_sums *sums);

/* From the gradient g at the output, whose source has rows and rows_bf16: dw [k][r][r][c]
 * = correlate(x, g), and unless dx is NULL, dx [n][h][w][c] = conv_transpose(g, w), added to dx if
 * accumulate. */
bp_status bp_bf16_conv_backward(struct bp_bf16_conv *conv, struct bp_exec *exec, size_t n,
                                const uint16_t *x, const struct bp_grad_source *source,
                                const float *w, float *dw, float *dx, int accumulate);

#ifdef __cplusplus
}
#endif
#endif
