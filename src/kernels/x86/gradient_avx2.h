/* A gradient as the backward kernels of AVX2 read it, see struct bp_gradient_rows. */
#ifndef BP_KERNELS_X86_GRADIENT_AVX2_H
#define BP_KERNELS_X86_GRADIENT_AVX2_H

#include "kernels/gradient.h"
#include "kernels/x86/fetch_x86.h"
#include "kernels/x86/vec_avx2.h"

struct gradient {
    const void *at;
    __m256 scale; /* of sums */
};

BP_INLINE struct gradient gradient_of(const struct bp_gradient_rows *g) {
    return (struct gradient){elements_of(g), _mm256_set1_ps(g == NULL ? 0.0f : g->scale)};
}

/* 8 elements from `at` on. */
BP_INLINE __m256 load_gradient(const struct gradient *g, enum gradient_form form, size_t at,
                               int full, size_t rest) {
    __m256 v = load_y(g->at, at, type_of(form), full, rest);
    return form == GRADIENT_SUMS ? _mm256_mul_ps(g->scale, v) : v;
}

/* Loops down the columns: behind n rows of c elements of x, floats or, with type, of 2 bytes.
 * `done` elements of them are read before this step. */
BP_INLINE void fetch_rows_behind(const void *x, enum value_type type, size_t n, size_t c,
                                 size_t done) {
    const size_t size = type != VALUE_F32 ? sizeof(int16_t) : sizeof(float);
    fetch_behind((const char *)x + n * c * size, size * done);
}

#endif
