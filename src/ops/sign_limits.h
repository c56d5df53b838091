/* Signs and straight-through masks of a channel's integers as limits on the integers, so that no
 * float is computed for an element. The limits are those of the float formula exactly: it is
 * monotone in the integer, and the integers where it crosses -1, 0 and 1 are found by evaluating it
 * on either side of them. */
#ifndef BP_OPS_SIGN_LIMITS_H
#define BP_OPS_SIGN_LIMITS_H

#include "base/plan.h"
#include "ops/op.h"

#ifdef __cplusplus
extern "C" {
#endif

struct bp_sign_limits {
    size_t c;
    int16_t *rows; /* [6][c]: those of struct bp_limit_rows, and whether they are valid */
};

/* The buffer of c channels lives from time `first` to `last`. */
bp_status bp_sign_limits_plan(struct bp_sign_limits *limits, struct bp_plan *plan, size_t c,
                              const char *name, int first, int last);

/* The limits of z, as the kernels affine_signs have it, for every int16. Returns 0 where a channel
 * has none: coefficients that are not finite or above 2^30. ordered: also the order of z, for
 * max_pool_2x2; then a channel also needs a positive slope, and a step from one integer to the next
 * that rounding leaves visible. */
int bp_sign_limits_of_affine(struct bp_sign_limits *limits, struct bp_exec *exec,
                             const struct bp_affine_rows *a, int ordered);

/* The same of v, as the kernel act_norm_signs has it. A channel of negative slope has none. */
int bp_sign_limits_of_act_norm(struct bp_sign_limits *limits, struct bp_exec *exec,
                               const struct bp_act_norm_rows *a);

struct bp_limit_rows bp_sign_limits_rows(const struct bp_sign_limits *limits);

#ifdef __cplusplus
}
#endif
#endif
