/* bfloat16, C. */
#include "kernels/c/kernels_c.h"
#include "kernels/c/tier_c.h"

/* Without a branch, so that loops become vectors. */
static inline uint16_t rounded(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint32_t up = (bits + 0x7fff + (bits >> 16 & 1)) >> 16, nan = bits >> 16 | 0x40;
    return (uint16_t)((bits & 0x7fffffff) > 0x7f800000 ? nan : up);
}

void bp_round_bf16_c(const float *x, size_t n, uint16_t *out) {
    for (size_t i = 0; i < n; i++)
        out[i] = rounded(x[i]);
}

/* Inlined where rows and columns are constants. */
static inline void average(const float *x, size_t n, size_t step, size_t rows, size_t columns,
                           size_t row_step, size_t c, uint16_t *z) {
    const float scale = 1.0f / (float)(rows * columns);
    for (size_t p = 0; p < n; p++, x += step, z += c)
        for (size_t j = 0; j < c; j++) {
            float sum = x[j];
            if (columns == 2)
                sum += x[c + j];
            if (rows == 2)
                sum += x[row_step + j];
            if (rows == 2 && columns == 2)
                sum += x[row_step + c + j];
            z[j] = rounded(sum * scale);
        }
}

void bp_average_bf16_c(const float *x, size_t n, size_t step, size_t rows, size_t columns,
                       size_t row_step, size_t c, uint16_t *z) {
    if (rows == 2 && columns == 2)
        average(x, n, step, 2, 2, row_step, c, z);
    else if (columns == 2)
        average(x, n, step, 1, 2, row_step, c, z);
    else if (rows == 2)
        average(x, n, step, 2, 1, row_step, c, z);
    else
        average(x, n, step, 1, 1, row_step, c, z);
}
