/* Between the dispatcher (fp32_ops.c) and its two backends: both offer the same three products over
 * a whole batch. bp_plain_* serves any product; bp_onednn_* those that bp_onednn_passes names. */
#ifndef BP_FP32_FP32_BACKEND_H
#define BP_FP32_FP32_BACKEND_H

#include "fp32/fp32_ops.h"
#include "ops/channel_sums.h"

/* Weights for the forward product: w [k][r][r][c] -> transposed [r][r][c][k]. */
void bp_plain_transpose(struct bp_exec *exec, const struct bp_conv_shape *shape, const float *w,
                        float *transposed);
void bp_plain_forward(struct bp_exec *exec, const struct bp_conv_shape *shape, size_t n,
                      const float *x, const float *transposed, const float *bias, float *y);
void bp_plain_backward_data(struct bp_exec *exec, const struct bp_conv_shape *shape, size_t n,
                            const float *g, const float *w, float *dx, int accumulate);
void bp_plain_backward_weights(struct bp_exec *exec, const struct bp_conv_shape *shape, size_t n,
                               const float *x, const float *g, float *dw);

#ifdef BP_HAVE_ONEDNN
struct bp_onednn_conv;

const char *bp_onednn_name(void);
/* bf16: x, g and w are bfloat16 (uint16_t), else floats; results are floats. */
bp_status bp_onednn_create(struct bp_onednn_conv **out, struct bp_exec *exec, struct bp_plan *plan,
                           const struct bp_conv_shape *shape, int bf16, unsigned passes,
                           const char *name, int forward_time, int backward_time);
void bp_onednn_destroy(struct bp_onednn_conv *conv);
/* The passes asked for, less those that oneDNN has only a reference loop for on this machine, or
 * for bfloat16 no instructions. */
unsigned bp_onednn_passes(const struct bp_onednn_conv *conv);
/* Has this processor instructions for products of bfloat16? */
int bp_onednn_multiplies_bf16(void);
/* And may use tiles (AMX) for it, or AVX-512 at all: its environment variables cap what it uses. */
int bp_onednn_multiplies_tiles(void);
int bp_onednn_uses_avx512(void);
bp_status bp_onednn_forward(struct bp_onednn_conv *conv, struct bp_exec *exec, size_t n,
                            const void *x, const void *w, const float *bias, float *y);
/* Of bfloat16: y in halves, as settle_f16 rounds. sums: of these y, filled in unless NULL. */
bp_status bp_onednn_forward_f16(struct bp_onednn_conv *conv, struct bp_exec *exec, size_t n,
                                const void *x, const void *w, uint16_t *y,
                                struct bp_channel_sums *sums);
bp_status bp_onednn_backward_data(struct bp_onednn_conv *conv, struct bp_exec *exec, size_t n,
                                  const void *g, const void *w, float *dx, int accumulate);
bp_status bp_onednn_backward_weights(struct bp_onednn_conv *conv, struct bp_exec *exec, size_t n,
                                     const void *x, const void *g, float *dw);

/* Both backward products, block by block, of a gradient that is not stored: make writes that of
 * samples first .. first + count - 1, in a worker. Its scratch memory begins behind the block of
 * g: whoever plans asks for as much. Of bfloat16 only. dx NULL: the weight gradient alone. */
struct bp_onednn_gradient {
    void (*make)(const void *context, size_t first, size_t count, void *g, void *scratch);
    const void *context;
};
bp_status bp_onednn_backward(struct bp_onednn_conv *conv, struct bp_exec *exec, size_t n,
                             const void *x, const struct bp_onednn_gradient *gradient,
                             const void *w, float *dw, float *dx, int accumulate);
#endif

#endif
