/* Pieces that the files of the C tier share. */
#ifndef BP_KERNELS_C_KERNELS_C_H
#define BP_KERNELS_C_KERNELS_C_H

#include <math.h>
#include <string.h>

#include "kernels/kernels.h"

/* The weight of bit plane l: 2^l, negative for the top plane of two's complement codes. */
static inline int32_t bp_plane_value(int plane, int planes, int is_signed) {
    int32_t value = (int32_t)1 << plane;
    return is_signed && plane == planes - 1 ? -value : value;
}

/* condition ? value : +0.0, without a branch: what decides is random in most loops. */
static inline float bp_value_or_zero(int condition, float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    bits &= 0 - (uint32_t)condition;
    memcpy(&value, &bits, sizeof bits);
    return value;
}

/* An element of a gradient that is given as sums. */
static inline float bp_sum_at(const struct bp_gradient_rows *g, size_t i) {
    return g->scale * (float)g->sums[i];
}

#endif
