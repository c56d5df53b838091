/* Signs as floats, for the float products of `qat`: packed bits to +-1, and the straight-through
 * masks on float gradients. */
#ifndef BP_OPS_SIGN_FLOAT_H
#define BP_OPS_SIGN_FLOAT_H

#include "ops/op.h"

#ifdef __cplusplus
extern "C" {
#endif

/* bits with halo [n][h + 2][w + 2][cw] -> a [n][h][w][c], +1 or -1. */
void bp_sign_float_unpack(struct bp_exec *exec, const uint64_t *bits, size_t n, size_t h, size_t w,
                          size_t c, float *a);

/* out = sgn(w) as float, `count` elements. */
void bp_sign_float_of(struct bp_exec *exec, const float *w, size_t count, float *out);

/* dx [pixels][c] becomes +0.0 where the mask [pixels][cw] is clear. */
void bp_sign_float_mask(struct bp_exec *exec, const uint64_t *mask, size_t pixels, size_t c,
                        float *dx);

/* dw becomes +0.0 where not |w| < 1. */
void bp_sign_float_mask_latent(struct bp_exec *exec, const float *w, size_t count, float *dw);

/* All rows of a gradient source -> g [n][oh][ow][k]. Needs source->scratch_bytes of scratch. */
void bp_grad_source_collect(struct bp_exec *exec, const struct bp_grad_source *source, size_t n,
                            size_t oh, size_t row_elements, float *g);

#ifdef __cplusplus
}
#endif
#endif
