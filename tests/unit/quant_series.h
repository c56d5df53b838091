/* What was seen of one product over many draws, and whether it is what the model expects.
 *
 * One element, kept with probability p, is X = m V / p, V the code's value: E X = v, and
 *     Var X = Var V / p + (1 / p - 1) v^2.
 * One group's squared error is Z = sum (X_j - v_j)^2, E Z = the formula of docs/METHOD.md. If the
 * group is kept, the errors are independent, each (X_j - v_j)^2 is one of two numbers a, b, and so
 *     Var Z = p sum (a - b)^2 f (1 - f) + p (1 - p) (E[Z | kept] - E[Z | not])^2. */
#ifndef BP_TESTS_QUANT_SERIES_H
#define BP_TESTS_QUANT_SERIES_H

#include "unit/quant_model.h"
#include "unit/quant_observer.h"
#include "unit/stat_bounds.h"

struct quant_series {
    const struct observer *o;
    int product, exact; /* exact: see quant_element_make */
    struct quant_element elements[OBSERVER_ELEMENTS];
    size_t group[OBSERVER_ELEMENTS];
    double p[OBSERVER_GROUPS];
    double readout[OBSERVER_GROUPS]; /* float rounding of the products */
    double sum[OBSERVER_ELEMENTS];   /* of G^ */
    double squares[OBSERVER_GROUPS]; /* of Z */
    double kept[OBSERVER_GROUPS];
    double rounding, rounding_variance, rounded; /* of kept elements, in steps */
    double draws;
};

/* Draws `draws` times: two series, one per product. */
void quant_observe(struct observer *o, struct quant_series *series, int exact, uint64_t seed,
                   uint32_t draws);

/* What is expected of the mean of an element of G^. */
struct stat_law quant_law_of_element(const struct quant_series *s, size_t element);

/* Fails the test unless means, roundings and variances are as expected. */
void quant_check_series(const struct quant_series *series);

/* Gradients. Heavy tails, groups of unequal weight, one constant channel. */
void quant_fill_heavy(float *g);

/* All groups have the same grid with step 2^-10, each sample and each channel has one element at
 * either end. above = 0: every element lies on a multiple of 1/256 (8 bits: 1/65536) of a step;
 * else all but the ends lie this fraction of a step above a level. */
void quant_fill_exact(const struct bp_quant *quant, float above, float *g);

#endif
