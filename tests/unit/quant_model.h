/* What the gradient quantizer should do to one element, from the definitions in docs/METHOD.md and
 * in double: it is coded as `low` or, with probability `up`, as low + step, and divided by p. */
#ifndef BP_TESTS_QUANT_MODEL_H
#define BP_TESTS_QUANT_MODEL_H

#include "ops/grad_quant.h"

struct quant_element {
    double value; /* the mean: g, or the end of the grid that is nearest to it */
    double low, step, up;
    double doubt; /* of the mean, in steps: coarse random numbers and float rounding */
    int edge;     /* so near to a level that float rounding may move it to the other side */
};

/* exact: (g - lo) / S is a multiple of 1/256 (8 bits: 1/65536) in float too; then u, in the middle
 * of such cells, has no bias: doubt is 0 (8 bits: 2^-16, where t + u has no bit left for halves).
 * Otherwise doubt is half a cell and three float roundings of up to 255 steps. */
struct quant_element quant_element_make(const struct bp_quant *quant, const struct bp_group *group,
                                        float g, int exact);

/* Fails the test unless the group has the grid that the definition gives its elements. */
void quant_check_grid(const struct bp_quant *quant, const struct bp_group *group, const float *g,
                      size_t count);

/* The variance of the code's value, S^2 f (1 - f), or at most that with the doubt. */
double quant_rounding_variance(const struct quant_element *element);

/* The largest |G^ - value| of a kept element, G^ = code's value / p. */
double quant_largest_error(const struct quant_element *element, double p);

#endif
