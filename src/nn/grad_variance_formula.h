/* The conditional variance of quantized gradients by formula (docs/METHOD.md, "The variance of the
 * products"), given the gradient G [n][oh][ow][k] at a binary convolution's output and the groups
 * that the quantizer made of it. Sums run in one fixed order. */
#ifndef BP_NN_GRAD_VARIANCE_FORMULA_H
#define BP_NN_GRAD_VARIANCE_FORMULA_H

#include "ops/grad_quant.h"
#include "ops/op.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A quantizer's view of the gradient: which group an element belongs to. */
struct bp_grad_grouping {
    const struct bp_quant *quant;
    const struct bp_group *groups; /* of samples, or of channels */
    int code_min, code_max;
};

struct bp_grad_grouping bp_grad_grouping_make(const struct bp_quant *quant,
                                              const struct bp_group *groups);

/* 1 if some of the n groups are kept by chance. */
int bp_grad_grouping_prunes(const struct bp_grad_grouping *grouping, size_t n);

/* Replaces G by the mean of its codes' values, which differs where the grid is clipped. */
void bp_grad_grouping_clip(const struct bp_grad_grouping *grouping, const struct bp_conv_shape *s,
                           size_t n, float *g);

/* What both formulas add up over the elements of G. */
struct bp_grad_sums {
    double gradient; /* the variance of the quantized gradient */
    double product;  /* of the product, without the part of the choice of groups */
};

/* dA, behind the straight-through mask [n][h][w][cw]; scratch reached [h w]. */
struct bp_grad_sums bp_grad_sum_da(const struct bp_grad_grouping *grouping,
                                   const struct bp_conv_shape *s, size_t samples, const float *g,
                                   const uint64_t *mask, uint32_t *reached);

/* dW, behind the window |w| < 1 of the latent weights [k][r][r][c]; scratch unmasked [k][r][r],
 * reached [k]. */
struct bp_grad_sums bp_grad_sum_dw(const struct bp_grad_grouping *grouping,
                                   const struct bp_conv_shape *s, size_t samples, const float *g,
                                   const float *w, uint32_t *unmasked, uint32_t *reached);

/* The part of the choice: the sum over the n groups of (1 / p - 1) |product of the group|^2;
 * `product` has one block of `block` elements for each group. */
double bp_grad_choice_variance(const struct bp_group *groups, size_t n, const float *product,
                               size_t block);

double bp_grad_norm(const float *values, size_t count); /* the sum of the squares */

#ifdef __cplusplus
}
#endif
#endif
