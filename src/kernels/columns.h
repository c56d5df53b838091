/* Reading chosen columns of a row, for round_columns of every vector tier. */
#ifndef BP_KERNELS_COLUMNS_H
#define BP_KERNELS_COLUMNS_H

#include <stddef.h>
#include <stdint.h>

/* Are the columns one run? Then they are read as vectors. */
static inline int is_run(const int32_t *column, size_t k) {
    for (size_t j = 1; j < k; j++)
        if (column[j] != column[0] + (int32_t)j)
            return 0;
    return 1;
}

#endif
