/* What the two files of act_norm share: act_norm.c (creation, backward) and act_norm_forward.c. */
#ifndef BP_OPS_ACT_NORM_INTERNAL_H
#define BP_OPS_ACT_NORM_INTERNAL_H

#include "ops/act_norm.h"

static inline struct bp_act_norm_rows coefficients_of(const struct bp_act_norm *op) {
    return (struct bp_act_norm_rows){op->alpha,   op->slope,   op->norm.scale, op->norm.shift,
                                     op->norm.ka, op->norm.kb, op->norm.kc};
}

#endif
