/* The forms of a gradient in the backward kernels of the vector tiers: constants of their inlined
 * loops. */
#ifndef BP_KERNELS_GRADIENT_H
#define BP_KERNELS_GRADIENT_H

#include "kernels/kernels.h"

enum gradient_form { GRADIENT_NONE, GRADIENT_FLOATS, GRADIENT_SUMS };

static inline enum gradient_form form_of(const struct bp_gradient_rows *g) {
    return g == NULL ? GRADIENT_NONE : g->floats != NULL ? GRADIENT_FLOATS : GRADIENT_SUMS;
}

/* Where its elements are, in that form. */
static inline const void *elements_of(const struct bp_gradient_rows *g) {
    return g == NULL ? NULL : g->floats != NULL ? (const void *)g->floats : (const void *)g->sums;
}

#endif
