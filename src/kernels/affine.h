/* Moving along the channels of struct bp_affine_rows. */
#ifndef BP_KERNELS_AFFINE_H
#define BP_KERNELS_AFFINE_H

#include "kernels/kernels.h"

/* The coefficients from channel j on. */
static inline struct bp_affine_rows bp_affine_from(const struct bp_affine_rows *a, size_t j) {
    return (struct bp_affine_rows){a->scale + j, a->shift + j,
                                   a->slope == NULL ? NULL : a->slope + j};
}

#endif
