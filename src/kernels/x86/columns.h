/* Reading chosen columns of a row, for round_columns of both tiers. */
#ifndef BP_KERNELS_X86_COLUMNS_H
#define BP_KERNELS_X86_COLUMNS_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

/* Are the columns one run? Then they are read as vectors. */
static inline int is_run(const int32_t *column, size_t k) {
    for (size_t j = 1; j < k; j++)
        if (column[j] != column[0] + (int32_t)j)
            return 0;
    return 1;
}

/* 8 columns of a row. Single loads measured faster than the gather instruction on Zen 4. */
static inline __m256 load_columns_8(const float *g, const int32_t *column) {
    return _mm256_setr_ps(g[column[0]], g[column[1]], g[column[2]], g[column[3]], g[column[4]],
                          g[column[5]], g[column[6]], g[column[7]]);
}

#endif
