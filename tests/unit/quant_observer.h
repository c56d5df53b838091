/* Reads the dequantized gradient G^ out of the real backward pass. The convolution is 1x1; weights
 * and activations are rows of a Hadamard matrix, so that both products can be inverted:
 *     dA[p][c] = sum over k of G^[p][k] W[k][c],    W W' = C I  ->  G^ = dA W' / C
 *     dW[k][c] = sum over p of A[p][c] G^[p][k],    A A' = C I  ->  G^ = A dW' / C
 * Element e = p * OBSERVER_K + k belongs to sample p / OBSERVER_PIXELS and to channel k. */
#ifndef BP_TESTS_QUANT_OBSERVER_H
#define BP_TESTS_QUANT_OBSERVER_H

#include "ops/bconv.h"

enum {
    OBSERVER_GROUPS = 8, /* samples, and output channels too */
    OBSERVER_K = OBSERVER_GROUPS,
    OBSERVER_SIDE = 2,
    OBSERVER_PIXELS = OBSERVER_SIDE * OBSERVER_SIDE,
    OBSERVER_POSITIONS = OBSERVER_GROUPS * OBSERVER_PIXELS,
    OBSERVER_C = OBSERVER_POSITIONS, /* input channels: A is square */
    OBSERVER_ELEMENTS = OBSERVER_POSITIONS * OBSERVER_K,
    OBSERVER_GROUP_ELEMENTS = OBSERVER_ELEMENTS / OBSERVER_GROUPS
};

enum { OBSERVER_DA, OBSERVER_DW, OBSERVER_PRODUCTS };

struct observer {
    struct bp_quant quant[OBSERVER_PRODUCTS];
    const struct bp_group *groups[OBSERVER_PRODUCTS];  /* of the last draw */
    float g[OBSERVER_ELEMENTS];                        /* dL/dY */
    double seen[OBSERVER_PRODUCTS][OBSERVER_ELEMENTS]; /* G^ of the last draw */
    struct bp_exec *exec;
    struct bp_plan *plan;
    struct bp_bconv *op;
    uint64_t *x, *mask;
    float *w, *dx, *dw;
};

/* Both products get `quant`; dA's groups are samples. The caller fills g before the first draw. */
void observer_create(struct observer *o, const struct bp_quant *quant);
void observer_destroy(struct observer *o);

/* One backward pass; fills seen and groups. */
void observer_draw(struct observer *o, uint64_t seed, uint32_t step);

/* The group of an element. */
size_t observer_group_of(const struct observer *o, int product, size_t element);

#endif
