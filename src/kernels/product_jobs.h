/* The operands of the products on words, for every vector tier: see kernels.h. */
#ifndef BP_KERNELS_PRODUCT_JOBS_H
#define BP_KERNELS_PRODUCT_JOBS_H

#include <stddef.h>
#include <stdint.h>

/* product_xor, but for what a block of lanes is called with. */
struct xor_job {
    const uint64_t *x;
    const int32_t *pixel, *to, *tap, *tap_w;
    size_t taps, k;
    int bias;
    int16_t *y;
};

/* product_planes. popcount(x) - 2 popcount(x & w) = popcount(x ^ w) - popcount(w): the loop is that
 * of product_xor, and the second term, the same for every pixel, is summed once per block of
 * channels. */
struct planes_job {
    const uint64_t *x;
    const int32_t *tap, *tap_w;
    size_t taps, kw;
    int planes, is_signed;
};

#endif
