/* Products of tiles of bytes. Only tiers with tile registers choose them: these are here for the
 * tests, and as the plainest form of the contracts. */
#include "kernels/c/tier_c.h"

#include <string.h>

#include "base/bits.h"

/* --- spreading and turning -------------------------------------------------------------------- */

static int8_t sign_of(const uint64_t *words, size_t bit) {
    return bp_bit(words, bit) ? -1 : 1;
}

void bp_spread_signs_c(const uint64_t *bits, size_t n, size_t words, size_t c, int8_t *out,
                       size_t pitch) {
    for (size_t p = 0; p < n; p++)
        for (size_t i = 0; i < bp_round_up(c, 64); i++)
            out[p * pitch + i] = (int8_t)(1 + (i < c ? sign_of(bits + p * words, i) : 0));
}

void bp_spread_weights_c(const uint64_t *w, size_t n, int8_t *out, int32_t *sums) {
    for (size_t s = 0; s < n; s++, w += BP_LANES) {
        for (size_t j = 0; sums != NULL && j < BP_LANES; j++)
            sums[s * BP_LANES + j] = BP_TILE_STEP - 2 * __builtin_popcountll(w[j]);
        for (size_t half = 0; half < BP_LANES; half += 16)
            for (size_t q = 0; q < 16; q++)
                for (size_t j = 0; j < 16; j++)
                    for (size_t e = 0; e < 4; e++)
                        *out++ = sign_of(w + half + j, 4 * q + e);
    }
}

void bp_spread_samples_c(const uint64_t *bits, const int32_t *offset, size_t samples, size_t n,
                         size_t step, int8_t *out, size_t pitch, size_t plane) {
    for (size_t p = 0; p < n; p++)
        for (size_t j = 0; j < 64; j++)
            for (size_t e = 0; e < 4; e++)
                out[j / 16 * plane + p * pitch + j % 16 * 4 + e] =
                    e < samples ? sign_of(bits + offset[e] + p * step, j) : 0;
}

void bp_turn_codes_c(const uint8_t *codes, const int32_t *offset, size_t n, size_t k, uint8_t *out,
                     size_t pitch) {
    for (size_t j = 0; j < k; j++)
        for (size_t i = 0; i < 64; i++)
            out[j * pitch + i] = i < n ? codes[offset[i] + (ptrdiff_t)j] : 0;
}

/* --- products --------------------------------------------------------------------------------- */

static int32_t value_of(uint8_t code, int is_signed) {
    return is_signed ? (int8_t)code : code;
}

/* Adds a step of one row to its sums. */
static void add_step(const uint8_t *x, int is_signed, const int8_t *w, int32_t sums[BP_LANES]) {
    for (size_t e = 0; e < BP_TILE_STEP; e++) {
        int32_t value = value_of(x[e], is_signed);
        for (size_t j = 0; j < BP_LANES; j++)
            sums[j] += value * w[((j / 16 * 16 + e / 4) * 16 + j % 16) * 4 + e % 4];
    }
}

/* The sums of row `i` of the blocks; 0: it is not wanted. */
static int row_sums(const uint8_t *x, int is_signed, const struct bp_tile_blocks *blocks, size_t i,
                    const int32_t *tap, const int32_t *tap_w, size_t taps, size_t steps,
                    const int8_t *w, const int32_t *start, int32_t sums[BP_LANES]) {
    if (blocks->to[i] < 0)
        return 0;
    x += blocks->at[i / BP_TILE_ROWS] + (ptrdiff_t)(i % BP_TILE_ROWS * blocks->pitch);
    for (size_t j = 0; j < BP_LANES; j++)
        sums[j] = start == NULL ? 0 : start[j];
    for (size_t t = 0; t < taps; t++)
        for (size_t s = 0; s < steps; s++)
            add_step(x + tap[t] + (ptrdiff_t)(s * blocks->step), is_signed,
                     w + ((size_t)tap_w[t] * steps + s) * BP_TILE_STEP * BP_LANES, sums);
    return 1;
}

static int is_wanted(const struct bp_lane_mask *mask, int32_t row, size_t lane) {
    return mask == NULL ||
           (mask->words[(size_t)row * mask->stride] >> mask->shift >> lane & 1) != 0;
}

void bp_product_tiles_i16_c(const int8_t *x, const struct bp_tile_blocks *blocks,
                            const int32_t *tap, const int32_t *tap_w, size_t taps, size_t steps,
                            const int8_t *w, const int32_t *start, size_t lanes, int16_t *y,
                            size_t y_stride, const struct bp_lane_mask *mask) {
    int32_t sums[BP_LANES];
    for (size_t i = 0; i < blocks->count * BP_TILE_ROWS; i++)
        if (row_sums((const uint8_t *)x, 1, blocks, i, tap, tap_w, taps, steps, w, start, sums))
            for (size_t j = 0; j < lanes; j++)
                y[(size_t)blocks->to[i] * y_stride + j] =
                    is_wanted(mask, blocks->to[i], j) ? (int16_t)sums[j] : 0;
}

void bp_product_tiles_i32_c(const uint8_t *x, int is_signed, const struct bp_tile_blocks *blocks,
                            const int32_t *tap, const int32_t *tap_w, size_t taps, size_t steps,
                            const int8_t *w, size_t lanes, int32_t *y, size_t y_stride,
                            struct bp_fetch *soon) {
    int32_t sums[BP_LANES];
    (void)soon;
    for (size_t i = 0; i < blocks->count * BP_TILE_ROWS; i++)
        if (row_sums(x, is_signed, blocks, i, tap, tap_w, taps, steps, w, NULL, sums))
            for (size_t j = 0; j < lanes; j++)
                y[(size_t)blocks->to[i] * y_stride + j] = sums[j];
}

/* Adds a run of one row of codes to its sums. */
static void add_run(const uint8_t *codes, int is_signed, const int8_t *x, size_t plane,
                    size_t steps, size_t c, int32_t *y) {
    for (size_t i = 0; i < steps * BP_TILE_STEP; i++) {
        int32_t value = value_of(codes[i], is_signed);
        for (size_t j = 0; j < c; j++)
            y[j] += value * x[j / 16 * plane + i / 4 * 64 + j % 16 * 4 + i % 4];
    }
}

void bp_product_turned_c(const uint8_t *codes, int is_signed, int add, size_t k, size_t pitch,
                         const struct bp_run *runs, const size_t *begin, size_t taps,
                         const int8_t *x, size_t plane, size_t c, int32_t *y, size_t y_stride,
                         size_t y_tap) {
    for (size_t i = 0; !add && i < taps * k; i++)
        memset(y + i / k * y_tap + i % k * y_stride, 0, c * sizeof *y);
    for (size_t t = 0; t < taps; t++)
        for (size_t r = begin[t]; r < begin[t + 1]; r++)
            for (size_t i = 0; i < k; i++)
                add_run(codes + i * pitch + runs[r].table, is_signed, x + runs[r].index, plane,
                        (size_t)runs[r].count, c, y + t * y_tap + i * y_stride);
}
