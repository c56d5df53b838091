/* What the tests of binary convolutions share: an operation with its tensors, filled with signs and
 * numbers, and quantizers for its backward pass. Failures end the test. */
#ifndef BCONV_FIXTURE_H
#define BCONV_FIXTURE_H

#include "ops/bconv.h"

struct bconv_fixture {
    struct bp_conv_shape shape;
    struct bp_exec *exec;
    struct bp_plan *plan;
    struct bp_bconv *op;
    size_t cw, taps;
    uint64_t *x, *mask;
    float *w, *g, *dx, *dw;
    int16_t *y;
};

/* Memory that the operation gets holds something. w is packed. */
void bconv_set_up(struct bconv_fixture *f, const struct bp_conv_shape *shape,
                  const struct bp_quant *da, const struct bp_quant *dw, enum bp_tier tier,
                  int threads);
void bconv_tear_down(struct bconv_fixture *f);

/* Gives rows of f->g. */
struct bp_grad_source bconv_source(const struct bconv_fixture *f);

/* The word of x that the pixel's channels begin with. */
size_t bconv_in_pixel(const struct bconv_fixture *f, size_t n, size_t y, size_t x);

enum { BCONV_QUANTS = 7 };
extern const struct bp_quant bconv_quants[BCONV_QUANTS];

#endif
