/* A gradient as the backward kernels of NEON read it, see struct bp_gradient_rows. */
#ifndef BP_KERNELS_ARM_GRADIENT_NEON_H
#define BP_KERNELS_ARM_GRADIENT_NEON_H

#include "kernels/arm/vec_neon.h"
#include "kernels/kernels.h"

/* Constants where they are used. */
enum gradient_form { GRADIENT_NONE, GRADIENT_FLOATS, GRADIENT_SUMS };

struct gradient {
    const void *at;
    float scale; /* of sums */
};

static inline enum gradient_form form_of(const struct bp_gradient_rows *g) {
    return g == NULL ? GRADIENT_NONE : g->floats != NULL ? GRADIENT_FLOATS : GRADIENT_SUMS;
}

BP_INLINE struct gradient gradient_of(const struct bp_gradient_rows *g) {
    switch (form_of(g)) {
    case GRADIENT_FLOATS:
        return (struct gradient){g->floats, 0};
    case GRADIENT_SUMS:
        return (struct gradient){g->sums, g->scale};
    default:
        return (struct gradient){NULL, 0};
    }
}

/* 4 elements from `at` on, or the first `rest` of them. */
BP_INLINE float32x4_t load_gradient(const struct gradient *g, enum gradient_form form, size_t at,
                                    int full, size_t rest) {
    float32x4_t v = load_y(g->at, at, form == GRADIENT_SUMS, full, rest);
    return form == GRADIENT_SUMS ? vmulq_n_f32(v, g->scale) : v;
}

#endif
