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

/* Keeps the current block of random bits between elements. */
struct source {
    const struct bp_rounding *rounding;
    uint64_t block_index;
    uint32_t block[4];
};

static float fraction(struct source *source, uint64_t element) {
    int wide = source->rounding->wide;
    uint64_t index = element / (wide ? 8 : 16);
    if (index != source->block_index) {
        bp_stream_block(&source->rounding->stream, index, source->block);
        source->block_index = index;
    }
    return bp_rounding_fraction(source->block, element, wide);
}

void bp_round_group_c(const float *g, size_t n, uint64_t first, const struct bp_rounding *rounding,
                      struct bp_grid grid, uint8_t *codes) {
    struct source source = {rounding, UINT64_MAX, {0}};
    for (size_t i = 0; i < n; i++)
        codes[i] = bp_round_one(g[i], grid, fraction(&source, first + i), rounding->code_min,
                                rounding->code_max);
}

void bp_round_columns_c(const float *g, size_t n, size_t g_stride, const int32_t *column, size_t k,
                        uint64_t first, const struct bp_rounding *rounding,
                        const struct bp_grid *grid, uint8_t *codes) {
    struct source source = {rounding, UINT64_MAX, {0}};
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < k; j++)
            codes[i * k + j] = bp_round_one(g[i * g_stride + (size_t)column[j]], grid[j],
                                            fraction(&source, first + i * k + j),
                                            rounding->code_min, rounding->code_max);
}
