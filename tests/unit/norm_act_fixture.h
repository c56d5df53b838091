/* What the tests of norm_act share: an operation with its tensors, filled with numbers, and both
 * its passes. Failures end the test. */
#ifndef NORM_ACT_FIXTURE_H
#define NORM_ACT_FIXTURE_H

#include "ops/norm_act.h"

enum { NORM_ACT_C_MAX = 80 };

struct norm_act_fixture {
    struct bp_norm_act_shape shape;
    int residual;
    size_t n, oh, ow, cw;
    size_t in_count, out_count, bits_count, mask_count; /* elements of n samples */
    struct bp_exec *exec;
    struct bp_plan *plan;
    struct bp_norm_act *op;
    void *y;          /* int16 or float */
    double *y_double; /* the same values */
    float *branch, *g, *out, *dx;
    uint64_t *bits, *mask;
    float weight[NORM_ACT_C_MAX], bias[NORM_ACT_C_MAX], slope[NORM_ACT_C_MAX], mean[NORM_ACT_C_MAX],
        var[NORM_ACT_C_MAX];
    float d_weight[NORM_ACT_C_MAX], d_bias[NORM_ACT_C_MAX], d_slope[NORM_ACT_C_MAX];
};

/* `n` samples for an operation that may have shape->n. */
void norm_act_set_up(struct norm_act_fixture *f, const struct bp_norm_act_shape *shape, size_t n,
                     int residual, enum bp_tier tier, int threads);
void norm_act_tear_down(struct norm_act_fixture *f);

void norm_act_run_forward(struct norm_act_fixture *f, int training);
/* With f->g; kept: as in struct bp_gradient. */
void norm_act_run_backward(struct norm_act_fixture *f, const uint8_t *kept);
void norm_act_run_backward_of(struct norm_act_fixture *f, const struct bp_gradient *g);

#endif
