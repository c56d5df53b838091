/* The binary convolution: forward by XOR + popcount, both gradient products over bit planes of
 * quantized gradients, all exact integers. docs/KERNELS.md tells the life of one call.
 *
 * Works for kernels 1x1 (pad 0) and 3x3 (pad 1), strides 1 and 2, any channel count with
 * r * r * 64 * ceil(c / 64) <= 32767 (int16 outputs). */
#ifndef BP_OPS_BCONV_H
#define BP_OPS_BCONV_H

#include "base/plan.h"
#include "ops/channel_sums.h"
#include "ops/grad_quant.h"
#include "ops/op.h"
#include "ops/product_method.h"

#ifdef __cplusplus
extern "C" {
#endif

struct bp_bconv; /* geometry, packed weights, workspace */

/* passes: forward only, or forward and backward with the given quantizers (quant NULL: forward
 * only, or float backward done elsewhere). Adds buffers to `plan`: packed weights live from 0 to
 * `last_time`, the backward workspace at backward_time, when the codes are made, and the time
 * after, when they are multiplied: at both, as observers make and multiply them several times. */
bp_status bp_bconv_create(struct bp_bconv **out, struct bp_exec *exec, struct bp_plan *plan,
                          const struct bp_conv_shape *shape, const struct bp_quant *quant_da,
                          const struct bp_quant *quant_dw, const char *name, int backward_time,
                          int last_time);
void bp_bconv_destroy(struct bp_bconv *op);

/* Packs the signs of the latent weights w [k][r][r][c] into the kernels' layouts. After every
 * change of the weights, before forward. w NULL: the caller has packed them itself into
 * bp_bconv_signs, [k][r][r][cw]. */
uint64_t *bp_bconv_signs(struct bp_bconv *op);
void bp_bconv_pack(struct bp_bconv *op, struct bp_exec *exec, const float *w);

/* y [n][oh][ow][k] = conv(sgn x, sgn w), zero padding; x: bits with halo (ops/op.h). Exact. sums:
 * of y, filled in tile by tile; NULL: not wanted. */
void bp_bconv_forward(struct bp_bconv *op, struct bp_exec *exec, size_t n, const uint64_t *x,
                      int16_t *y, struct bp_channel_sums *sums);

/* The scratch that bp_bconv_backward needs per worker for a gradient source that itself needs
 * `source_bytes`; whoever plans the backward pass asks for it (bp_exec_need_scratch). */
size_t bp_bconv_backward_scratch_bytes(const struct bp_conv_shape *shape, size_t source_bytes);

/* Zeros of dropped groups, which are told and not written. */
struct bp_bconv_zeros {
    uint8_t *kept;    /* [n] or NULL; out: which samples dA was kept of, 1 or 0. The gradient of the
                         others is zero, and their part of dx is left as it is. */
    uint8_t *dw_rows; /* [k] or NULL; out: 1 where the row dw [r][r][c] of an output channel is
                         zero, and left as it is. */
};

/* Bits by which sums are shifted to fit 16 bits, at most. */
#define BP_SUMS_SHIFT_DA 5
#define BP_SUMS_SHIFT_DW 3 /* of codes of 8 bits; layers with more positions have few weights */

/* The activation gradient as the product's integers, in half of the room of dx: that of sample n is
 * scale[n] * sums. Where bp_bconv_gives_sums: codes on a grid with zero, which need no offset.
 * Where 16 bits hold each sum that the shape and the codes allow, these are the same floats as dx,
 * if the scale is finite; else the sums are rounded to multiples of the smallest power of two with
 * which they do (to nearest, ties to even), and the scale is larger by it. */
struct bp_bconv_sums {
    int16_t *sums; /* [n][h][w][c] */
    float *scale;  /* [n] */
};
int bp_bconv_gives_sums(const struct bp_conv_shape *shape, const struct bp_quant *quant_da);

/* The weight gradient likewise: that of output channel k is scale[k] * sums where |w| < 1, else 0,
 * the same floats as dw, which is rounded, too, if sums of so many positions are. Where
 * bp_bconv_gives_dw_sums. */
struct bp_bconv_dw_sums {
    int16_t *sums; /* [k][r][r][c] */
    float *scale;  /* [k], of rows that are not told to be zero */
};
int bp_bconv_gives_dw_sums(const struct bp_bconv *op, const struct bp_exec *exec);

/* Quantized backward. x: the bits of the forward pass (halo), mask [n][h][w][cw]: straight-through
 * mask of x; source: dL/dY; w: the latent weights, for their straight-through mask (NULL: none).
 * Writes dx [n][h][w][c] (NULL: not wanted) and dw [k][r][r][c], both masked; all of them if zeros
 * is NULL. dx_sums: NULL, or what is wanted in place of dx, which is NULL then; dw_sums: NULL, or
 * what is wanted in place of dw. seed, layer, step pick the random streams. */
void bp_bconv_backward(struct bp_bconv *op, struct bp_exec *exec, size_t n, const uint64_t *x,
                       const uint64_t *mask, const struct bp_grad_source *source, uint64_t seed,
                       unsigned layer, uint32_t step, const float *w, float *dx, float *dw,
                       const struct bp_bconv_zeros *zeros, const struct bp_bconv_sums *dx_sums,
                       const struct bp_bconv_dw_sums *dw_sums);

/* The groups as decided by the last backward call: n samples for dA; samples or channels for dW. */
const struct bp_group *bp_bconv_groups_da(const struct bp_bconv *op);
const struct bp_group *bp_bconv_groups_dw(const struct bp_bconv *op);

/* --- what the products take, for those who time them ------------------------------------------ */

enum bp_bconv_product { BP_BCONV_FORWARD, BP_BCONV_DA, BP_BCONV_DW, BP_BCONV_PRODUCTS };

enum bp_product_method bp_bconv_method(const struct bp_bconv *op, enum bp_bconv_product product);

/* Multiply-adds of elements: `done` those that the method makes, `needed` those of taps inside the
 * image. The others are with the zeros around it. Lanes and words that are partly empty do not
 * count. */
struct bp_bconv_work {
    double done, needed;
};
/* A product of n samples; of the gradients, as far as the last backward call kept them. */
struct bp_bconv_work bp_bconv_work(const struct bp_bconv *op, enum bp_bconv_product product,
                                   size_t n);

/* How often the inner loop goes over the elements: planes on words, digits by lookup, whose entries
 * are at most *entry_max. */
int bp_bconv_passes(const struct bp_bconv *op, enum bp_bconv_product product, int *entry_max);

#ifdef __cplusplus
}
#endif
#endif
