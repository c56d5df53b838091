/* A gradient as the backward kernels of AVX-512 read it, see struct bp_gradient_rows. */
#ifndef BP_KERNELS_X86_GRADIENT_AVX512_H
#define BP_KERNELS_X86_GRADIENT_AVX512_H

#include "kernels/gradient.h"
#include "kernels/x86/fetch_x86.h"
#include "kernels/x86/vec_avx512.h"

struct gradient {
    const void *at;
    __m512 scale; /* of sums */
};

BP_INLINE struct gradient gradient_of(const struct bp_gradient_rows *g) {
    return (struct gradient){elements_of(g), _mm512_set1_ps(g == NULL ? 0.0f : g->scale)};
}

/* 16 elements from `at` on. */
BP_INLINE __m512 load_gradient(const struct gradient *g, enum gradient_form form, size_t at,
                               __mmask16 m) {
    __m512 v = load_y(g->at, at, type_of(form), m);
    return form == GRADIENT_SUMS ? _mm512_mul_ps(g->scale, v) : v;
}

/* Loops along the rows, a block of `count` elements of x: as many of the lines behind it as the
 * step reads that has 64 elements from `at` on. */
BP_INLINE void fetch_64_behind(const void *x, enum value_type type, size_t count, size_t at) {
    const size_t size = type != VALUE_F32 ? sizeof(int16_t) : sizeof(float);
    for (size_t i = 0; i < 64 * size; i += 64)
        fetch_behind((const char *)x + count * size, at * size + i);
}

/* Loops down the columns: behind n rows of c elements of x, integers or floats, what the rows after
 * them read as the block from column j on does in vector q and row p. */
BP_INLINE void fetch_rows_behind(const void *x, enum value_type type, size_t n, size_t c, size_t j,
                                 size_t q, size_t p) {
    if (type == VALUE_F32)
        fetch_behind((const float *)x + n * c, 4 * ((j + 16 * q) * n + 16 * p));
    else if (q == 0)
        fetch_behind((const int16_t *)x + n * c, 2 * (j * n + 32 * p));
}

#endif
