/* The float twin: fp32 convolutions for the mode `fp32`, for the float products of `qat`, for
 * stems, shortcuts and (as 1x1 convolutions of 1x1 images) the head. Two backends behind one
 * interface: oneDNN (fp32_blocks.c; fp32_onednn.c is the only file that includes it) and plain C
 * (fp32_plain.c: always built, serves where oneDNN is missing, and is the oracle of the other).
 *
 * One result whatever the threads: the batch is cut into fixed blocks of samples
 * (bp_fp32_block_samples), each block is computed by one worker with a single-threaded primitive,
 * and partial weight gradients are added in order of the blocks. */
#ifndef BP_FP32_FP32_OPS_H
#define BP_FP32_FP32_OPS_H

#include "base/plan.h"
#include "ops/op.h"

#ifdef __cplusplus
extern "C" {
#endif

enum bp_fp32_backend { BP_FP32_PLAIN, BP_FP32_ONEDNN };

/* oneDNN if this build has it, else plain C. */
enum bp_fp32_backend bp_fp32_default(void);
/* "oneDNN 2.6.3", with ", bf16" behind where the processor multiplies bfloat16 (bf16_conv.h); or
 * "plain C". */
const char *bp_fp32_backend_name(enum bp_fp32_backend backend);

/* How many samples one block has for a batch of n: depends on n only, never on threads. */
size_t bp_fp32_block_samples(size_t n);

struct bp_fp32_conv;

/* Which of the three products will be run. */
enum { BP_FP32_FORWARD = 1, BP_FP32_BACKWARD_DATA = 2, BP_FP32_BACKWARD_WEIGHTS = 4 };

/* Prepares a convolution. shape->n is the largest batch; smaller batches run too. Adds its buffers
 * (reordered weights, partial weight gradients) to `plan`, alive at the times of the passes that
 * need them: forward_time for the forward pass, backward_time for both backward ones. */
bp_status bp_fp32_conv_create(struct bp_fp32_conv **out, struct bp_exec *exec, struct bp_plan *plan,
                              enum bp_fp32_backend backend, const struct bp_conv_shape *shape,
                              unsigned passes, const char *name, int forward_time,
                              int backward_time);
void bp_fp32_conv_destroy(struct bp_fp32_conv *conv);

/* y [n][oh][ow][k] = conv(x [n][h][w][c], w [k][r][r][c]) (+ bias [k] unless NULL). */
bp_status bp_fp32_conv_forward(struct bp_fp32_conv *conv, struct bp_exec *exec, size_t n,
                               const float *x, const float *w, const float *bias, float *y);

/* dx [n][h][w][c] = conv_transpose(g [n][oh][ow][k], w); added to dx if accumulate. */
bp_status bp_fp32_conv_backward_data(struct bp_fp32_conv *conv, struct bp_exec *exec, size_t n,
                                     const float *g, const float *w, float *dx, int accumulate);

/* dw [k][r][r][c] = correlate(x, g); dbias [k] = sum of g unless NULL. Overwrites. */
bp_status bp_fp32_conv_backward_weights(struct bp_fp32_conv *conv, struct bp_exec *exec, size_t n,
                                        const float *x, const float *g, float *dw, float *dbias);

#ifdef __cplusplus
}
#endif
#endif
