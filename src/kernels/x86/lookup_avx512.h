/* What tables and indices of the products by lookup share, AVX-512. */
#ifndef BP_KERNELS_X86_LOOKUP_AVX512_H
#define BP_KERNELS_X86_LOOKUP_AVX512_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/x86/vec_avx512.h"

/* The first `count` of 4 vectors, `step` bytes apart. Written out: gcc 12 copies a loop through
 * memory. */
BP_INLINE void store_first(uint8_t *to, size_t step, const __m512i v[4], size_t count) {
    _mm512_storeu_si512(to, v[0]);
    if (count > 1)
        _mm512_storeu_si512(to + step, v[1]);
    if (count > 2)
        _mm512_storeu_si512(to + 2 * step, v[2]);
    if (count > 3)
        _mm512_storeu_si512(to + 3 * step, v[3]);
}

#endif
