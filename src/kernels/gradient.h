/* The forms of a gradient in the backward kernels of the vector tiers: constants of their inlined
 * loops. */
#ifndef BP_KERNELS_GRADIENT_H
#define BP_KERNELS_GRADIENT_H

#include "kernels/kernels.h"
#include "kernels/value_type.h"

enum gradient_form { GRADIENT_NONE, GRADIENT_FLOATS, GRADIENT_SUMS, GRADIENT_BF16 };

static inline enum gradient_form form_of(const struct bp_gradient_rows *g) {
    if (g == NULL)
        return GRADIENT_NONE;
    if (g->floats != NULL)
        return GRADIENT_FLOATS;
    return g->bf16 != NULL ? GRADIENT_BF16 : GRADIENT_SUMS;
}

static inline enum value_type type_of(enum gradient_form form) {
    return form == GRADIENT_SUMS ? VALUE_I16 : form == GRADIENT_BF16 ? VALUE_BF16 : VALUE_F32;
}

/* What act_grad_* writes for inputs of a type. */
static inline enum value_type type_of_out(enum value_type input) {
    return input == VALUE_F16 ? VALUE_BF16 : VALUE_F32;
}

/* Where its elements are, in that form. */
static inline const void *elements_of(const struct bp_gradient_rows *g) {
    switch (form_of(g)) {
    case GRADIENT_FLOATS:
        return g->floats;
    case GRADIENT_BF16:
        return g->bf16;
    case GRADIENT_SUMS:
        return g->sums;
    case GRADIENT_NONE:
        break;
    }
    return NULL;
}

#endif
