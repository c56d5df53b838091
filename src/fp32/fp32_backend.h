/* Between the dispatcher (fp32_ops.c) and its two backends: both offer the same three products over
 * a whole batch. bp_plain_* serves any product; bp_onednn_* those that bp_onednn_passes names. */
#ifndef BP_FP32_FP32_BACKEND_H
#define BP_FP32_FP32_BACKEND_H

#include "fp32/fp32_ops.h"

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
bp_status bp_onednn_create(struct bp_onednn_conv **out, struct bp_exec *exec, struct bp_plan *plan,
                           const struct bp_conv_shape *shape, unsigned passes, const char *name,
                           int forward_time, int backward_time);
void bp_onednn_destroy(struct bp_onednn_conv *conv);
/* The passes asked for, less those that oneDNN has only a reference loop for on this machine. */
unsigned bp_onednn_passes(const struct bp_onednn_conv *conv);
bp_status bp_onednn_forward(struct bp_onednn_conv *conv, struct bp_exec *exec, size_t n,
                            const float *x, const float *w, const float *bias, float *y);
bp_status bp_onednn_backward_data(struct bp_onednn_conv *conv, struct bp_exec *exec, size_t n,
                                  const float *g, const float *w, float *dx, int accumulate);
bp_status bp_onednn_backward_weights(struct bp_onednn_conv *conv, struct bp_exec *exec, size_t n,
                                     const float *x, const float *g, float *dw);
#endif

#endif
