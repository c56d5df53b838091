/* A gradient as the backward kernels of NEON read it, see struct bp_gradient_rows. */
#ifndef BP_KERNELS_ARM_GRADIENT_NEON_H
#define BP_KERNELS_ARM_GRADIENT_NEON_H

#include "kernels/arm/vec_neon.h"
#include "kernels/gradient.h"

struct gradient {
    const void *at;
    float scale; /* of sums */
};

BP_INLINE struct gradient gradient_of(const struct bp_gradient_rows *g) {
    return (struct gradient){elements_of(g), g == NULL ? 0.0f : g->scale};
}

/* 4 elements from `at` on, or the first `rest` of them. */
BP_INLINE float32x4_t load_gradient(const struct gradient *g, enum gradient_form form, size_t at,
                                    int full, size_t rest) {
    float32x4_t v = load_y(g->at, at, type_of(form), full, rest);
    return form == GRADIENT_SUMS ? vmulq_n_f32(v, g->scale) : v;
}

#endif
