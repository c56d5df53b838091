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

static int32_t random_of(const uint8_t *random, size_t element, int wide) {
    const uint8_t *at = random + (wide ? 2 : 1) * element;
    return wide ? at[0] + 256 * at[1] : at[0];
}

/* The code of g. Clamped before random is added it is the same. */
static uint8_t round_one(float g, struct bp_grid grid, const struct bp_rounding *rounding,
                         int32_t random) {
    const float parts = bp_rounding_parts(rounding);
    const float least = (float)rounding->code_min * parts;
    const float most = (float)rounding->code_max * parts;
    float t = (g - grid.lo) * (grid.inv_step * parts);
    if (!(t >= least)) /* NaN too */
        t = least;
    if (t > most)
        t = most;
    return (uint8_t)((lrintf(t) + random) >> (rounding->wide ? 16 : 8));
}

void bp_round_group_c(const float *g, size_t n, const uint8_t *random,
                      const struct bp_rounding *rounding, struct bp_grid grid, uint8_t *codes) {
    for (size_t i = 0; i < n; i++)
        codes[i] = round_one(g[i], grid, rounding, random_of(random, i, rounding->wide));
}

void bp_round_columns_c(const float *g, size_t n, size_t g_stride, const int32_t *column, size_t k,
                        const uint8_t *random, const struct bp_rounding *rounding,
                        const struct bp_grid *grid, uint8_t *codes) {
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < k; j++)
            codes[i * k + j] = round_one(g[i * g_stride + (size_t)column[j]], grid[j], rounding,
                                         random_of(random, i * k + j, rounding->wide));
}

void bp_random_blocks_c(const struct bp_stream *stream, uint64_t first, size_t n, uint8_t *out) {
    for (size_t i = 0; i < n; i++)
        bp_stream_bytes(stream, first + i, out + 16 * i);
}
