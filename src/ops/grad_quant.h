/* The gradient quantizer, put together from small parts: which grid, which groups, which groups are
 * kept, how the rest is rounded. algorithm: docs/METHOD.md, "The gradient quantizer".
 *
 * A group is a set of gradient elements with one scale: a sample, or an output channel. This header
 * decides, per group, from its range and norm: the grid (bp_quant_grid), the probability of being
 * kept (bp_quant_probabilities) and the choice (bp_quant_select). Kernels do the rounding. */
#ifndef BP_OPS_GRAD_QUANT_H
#define BP_OPS_GRAD_QUANT_H

#include "base/rng.h"
#include "base/status.h"
#include "kernels/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

enum bp_quant_grid_kind {
    BP_GRID_MINMAX,   /* lo = min, step = (max - min) / (2^b - 1); codes 0 .. 2^b - 1 */
    BP_GRID_ZERO,     /* symmetric with a zero level: lo = 0, step = M / (2^(b-1) - 1), b >= 2;
                         codes -(2^(b-1) - 1) .. 2^(b-1) - 1 */
    BP_GRID_SYMMETRIC /* lo = -M, step = 2 M / (2^b - 1); codes 0 .. 2^b - 1 */
};
enum bp_quant_select { BP_SELECT_NONE, BP_SELECT_BERNOULLI, BP_SELECT_SYSTEMATIC, BP_SELECT_TOPK };
enum bp_quant_weights { BP_WEIGHTS_RANGE, BP_WEIGHTS_RMS, BP_WEIGHTS_UNIFORM };
enum bp_quant_groups { BP_GROUPS_SAMPLE, BP_GROUPS_CHANNEL };

/* The quantizer of one product. */
struct bp_quant {
    int bits;   /* 1, 2, 3, 4, 8 */
    float keep; /* fraction of groups kept on average, in (0, 1]; 1 with BP_SELECT_NONE */
    enum bp_quant_select select;
    enum bp_quant_weights weights;
    enum bp_quant_grid_kind grid;
    float clip; /* > 0: M = clip * rms of the group, for all grids (min and max are cut to +-M) */
    enum bp_quant_groups groups; /* dA: always samples */
};

/* BP_USAGE with the reason if the combination is impossible. */
bp_status bp_quant_check(const struct bp_quant *quant, const char *product);

/* What was decided for one group. value = scale * code + offset, for kept groups; scale and offset
 * already contain 1 / p. */
struct bp_group {
    struct bp_range range;
    struct bp_grid grid;
    float step;        /* S */
    float probability; /* p; 0: never kept (the group is zero) */
    int kept;
    float scale, offset; /* S / p, lo / p */
};

/* Largest and smallest code of a grid, and whether its codes are signed. */
void bp_quant_codes(const struct bp_quant *quant, int *code_min, int *code_max, int *is_signed);

/* Grid and step of a group of `count` elements from its range. A constant group (step 0) gets
 * inv_step 0: all codes are 0 and lo carries the value (zero grid: step M, code +-max). */
void bp_quant_grid(const struct bp_quant *quant, size_t count, struct bp_group *group);

/* The probabilities p_i of keeping, for `n` groups of `count` elements each: p_i = min(1, c *
 * weight_i) with c such that they add up to round(keep * n) (at least 1; fewer if fewer groups are
 * non-zero): water-filling. topk and none: 1 or 0. `order` is scratch for 2 n indices. */
void bp_quant_probabilities(const struct bp_quant *quant, size_t count, struct bp_group *groups,
                            size_t n, uint32_t *order);

/* Draws which groups are kept, and fills scale and offset. Returns how many are kept. */
size_t bp_quant_select(const struct bp_quant *quant, const struct bp_stream *stream,
                       struct bp_group *groups, size_t n);

/* The variance S^2 f (1 - f) that rounding gives the value of element g of a kept group, f =
 * frac((g - lo) / S), and in *mean the mean of that value: g, or the nearest end of a grid whose
 * codes are code_min .. code_max. */
double bp_quant_rounding_variance(const struct bp_group *group, int code_min, int code_max, float g,
                                  double *mean);

/* The exact conditional variance of the quantized group, given g [count] (docs/METHOD.md):
 *     (1 / p) * sum S^2 f (1 - f) + (1 / p - 1) * sum g^2,   f = frac((g - lo) / S)
 * for unbiased selections and values inside the grid. */
double bp_quant_variance(const struct bp_group *group, const float *g, size_t count);

#ifdef __cplusplus
}
#endif
#endif
