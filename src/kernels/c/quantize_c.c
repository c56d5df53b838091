/* The gradient quantizer's loops: ranges, stochastic rounding. */
#include "kernels/c/kernels_c.h"
#include "kernels/c/tier_c.h"

#include "base/bits.h"

void bp_range_columns_c(const float *g, size_t n, size_t k, struct bp_columns to) {
    float *restrict lo = to.lo, *restrict hi = to.hi, *restrict sum_squares = to.sum_squares;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < k; j++) {
            float v = g[i * k + j];
            lo[j] = v < lo[j] ? v : lo[j];
            hi[j] = v > hi[j] ? v : hi[j];
            sum_squares[j] += v * v;
        }
}

static float fraction(const uint8_t *random, size_t element, int wide) {
    const uint8_t *at = random + (wide ? 2 : 1) * element;
    if (wide)
        return ((float)(at[0] + 256 * at[1]) + 0.5f) * (1.0f / 65536.0f);
    return ((float)at[0] + 0.5f) * (1.0f / 256.0f);
}

void bp_round_group_c(const float *g, size_t n, const uint8_t *random,
                      const struct bp_rounding *rounding, struct bp_grid grid, uint8_t *codes) {
    for (size_t i = 0; i < n; i++)
        codes[i] = bp_round_one(g[i], grid, fraction(random, i, rounding->wide), rounding->code_min,
                                rounding->code_max);
}

void bp_round_columns_c(const float *g, size_t n, size_t g_stride, const int32_t *column, size_t k,
                        const uint8_t *random, const struct bp_rounding *rounding,
                        const struct bp_grid *grid, uint8_t *codes) {
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < k; j++)
            codes[i * k + j] = bp_round_one(g[i * g_stride + (size_t)column[j]], grid[j],
                                            fraction(random, i * k + j, rounding->wide),
                                            rounding->code_min, rounding->code_max);
}

void bp_random_blocks_c(const struct bp_stream *stream, uint64_t first, size_t n, uint8_t *out) {
    for (size_t i = 0; i < n; i++)
        bp_stream_bytes(stream, first + i, out + 16 * i);
}
