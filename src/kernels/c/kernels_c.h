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

/* Random fraction u of an element from the stream of random bits, see struct bp_rounding. `block`
 * must hold the element's block. */
static inline float bp_rounding_fraction(const uint32_t block[4], uint64_t element, int wide) {
    if (wide) {
        unsigned half = (unsigned)(element % 8);
        return ((float)(block[half / 2] >> (half % 2 * 16) & 0xffffu) + 0.5f) * (1.0f / 65536.0f);
    }
    unsigned byte = (unsigned)(element % 16);
    return ((float)(block[byte / 4] >> (byte % 4 * 8) & 0xffu) + 0.5f) * (1.0f / 256.0f);
}

/* One code. */
static inline uint8_t bp_round_one(float g, struct bp_grid grid, float u, int code_min,
                                   int code_max) {
    float t = (g - grid.lo) * grid.inv_step;
    t = floorf(t + u);
    if (!(t >= (float)code_min)) /* NaN too */
        t = (float)code_min;
    if (t > (float)code_max)
        t = (float)code_max;
    return (uint8_t)(int)t;
}

#endif
