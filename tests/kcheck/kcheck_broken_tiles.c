/* --self-test: planted broken products of tiles, see kcheck_broken.c. */
#include "kcheck/kcheck.h"

#include <string.h>

#include "base/bits.h"
#include "kernels/c/tier_c.h"

static volatile uint64_t sink; /* keeps reads that nothing needs */

/* --- spreading and turning -------------------------------------------------------------------- */

static void pads_are_signs(const uint64_t *bits, size_t n, size_t words, size_t c, int8_t *out,
                           size_t pitch) {
    bp_spread_signs_c(bits, n, words, bp_round_up(c, 64), out, pitch);
}

static void clears_between_pixels(const uint64_t *bits, size_t n, size_t words, size_t c,
                                  int8_t *out, size_t pitch) {
    memset(out, 0, (n - 1) * pitch);
    bp_spread_signs_c(bits, n, words, c, out, pitch);
}

static void reads_all_words(const uint64_t *bits, size_t n, size_t words, size_t c, int8_t *out,
                            size_t pitch) {
    bp_spread_signs_c(bits, n, words, c, out, pitch);
    sink = ((const volatile uint64_t *)bits)[n * words - 1];
}

static void swaps_halves(const uint64_t *w, size_t n, int8_t *out, int32_t *sums) {
    uint64_t swapped[BP_LANES];
    for (size_t s = 0; s < n; s++) {
        memcpy(swapped, w + s * BP_LANES + 16, sizeof swapped / 2);
        memcpy(swapped + 16, w + s * BP_LANES, sizeof swapped / 2);
        bp_spread_weights_c(swapped, 1, out + s * 64 * BP_LANES, NULL);
    }
    int8_t bytes[64 * BP_LANES];
    for (size_t s = 0; sums != NULL && s < n; s++)
        bp_spread_weights_c(w + s * BP_LANES, 1, bytes, sums + s * BP_LANES);
}

static void drops_last_step(const uint64_t *w, size_t n, int8_t *out, int32_t *sums) {
    bp_spread_weights_c(w, n % 4 == 1 && n > 1 ? n - 1 : n, out, sums); /* only odd ones out */
}

static void sums_half_of_the_lanes(const uint64_t *w, size_t n, int8_t *out, int32_t *sums) {
    bp_spread_weights_c(w, n, out, sums);
    if (sums != NULL)
        sums[BP_LANES * n - 1] = sums[BP_LANES * n - 17];
}

static void missing_is_plus(const uint64_t *bits, const int32_t *offset, size_t samples, size_t n,
                            size_t step, int8_t *out, size_t pitch, size_t plane) {
    bp_spread_samples_c(bits, offset, samples, n, step, out, pitch, plane);
    for (size_t i = 0; i < 64 * n; i++)
        if (samples < 4)
            out[i % 64 / 16 * plane + i / 64 * pitch + i % 16 * 4 + 3] = 1;
}

static void reads_four_offsets(const uint64_t *bits, const int32_t *offset, size_t samples,
                               size_t n, size_t step, int8_t *out, size_t pitch, size_t plane) {
    bp_spread_samples_c(bits, offset, samples, n, step, out, pitch, plane);
    sink = (uint64_t)((const volatile int32_t *)offset)[3];
}

static void pixels_lie_close(const uint64_t *bits, const int32_t *offset, size_t samples, size_t n,
                             size_t step, int8_t *out, size_t pitch, size_t plane) {
    (void)step;
    bp_spread_samples_c(bits, offset, samples, n, 1, out, pitch, plane);
}

static void planes_lie_close(const uint64_t *bits, const int32_t *offset, size_t samples, size_t n,
                             size_t step, int8_t *out, size_t pitch, size_t plane) {
    (void)plane;
    bp_spread_samples_c(bits, offset, samples, n, step, out, pitch, 64);
}

static void forgets_last_plane(const uint64_t *bits, const int32_t *offset, size_t samples,
                               size_t n, size_t step, int8_t *out, size_t pitch, size_t plane) {
    int8_t old = out[3 * plane];
    bp_spread_samples_c(bits, offset, samples, n, step, out, pitch, plane);
    out[3 * plane] = old;
}

static void keeps_old_rest(const uint8_t *codes, const int32_t *offset, size_t n, size_t k,
                           uint8_t *out, size_t pitch) {
    uint8_t old = out[63];
    bp_turn_codes_c(codes, offset, n, k, out, pitch);
    out[63] = n < 64 ? old : out[63];
}

static void turns_whole_blocks(const uint8_t *codes, const int32_t *offset, size_t n, size_t k,
                               uint8_t *out, size_t pitch) {
    bp_turn_codes_c(codes, offset, n, k, out, pitch);
    for (size_t i = 0; i < n; i++)
        sink = ((const volatile uint8_t *)codes)[(size_t)offset[i] + bp_round_up(k, 16) - 1];
}

/* --- products --------------------------------------------------------------------------------- */

static void writes_unwanted_rows(const int8_t *x, const struct bp_tile_blocks *blocks,
                                 const int32_t *tap, const int32_t *tap_w, size_t taps,
                                 size_t steps, const int8_t *w, const int32_t *start, size_t lanes,
                                 int16_t *y, size_t y_stride, const struct bp_lane_mask *mask) {
    bp_product_tiles_i16_c(x, blocks, tap, tap_w, taps, steps, w, start, lanes, y, y_stride, mask);
    for (size_t i = 0; i < blocks->count * BP_TILE_ROWS; i++)
        if (blocks->to[i] < 0)
            ((volatile int16_t *)y)[-1] = 0;
}

static void writes_16_lanes(const int8_t *x, const struct bp_tile_blocks *blocks,
                            const int32_t *tap, const int32_t *tap_w, size_t taps, size_t steps,
                            const int8_t *w, const int32_t *start, size_t lanes, int16_t *y,
                            size_t y_stride, const struct bp_lane_mask *mask) {
    int16_t last = 0;
    for (size_t i = 0; i < blocks->count * BP_TILE_ROWS; i++)
        last = blocks->to[i] > last ? (int16_t)blocks->to[i] : last;
    bp_product_tiles_i16_c(x, blocks, tap, tap_w, taps, steps, w, start, lanes, y, y_stride, mask);
    for (size_t j = lanes; j < bp_round_up(lanes, 16); j++)
        ((volatile int16_t *)y)[(size_t)last * y_stride + j] = 0;
}

static void starts_at_zero(const int8_t *x, const struct bp_tile_blocks *blocks, const int32_t *tap,
                           const int32_t *tap_w, size_t taps, size_t steps, const int8_t *w,
                           const int32_t *start, size_t lanes, int16_t *y, size_t y_stride,
                           const struct bp_lane_mask *mask) {
    (void)start;
    bp_product_tiles_i16_c(x, blocks, tap, tap_w, taps, steps, w, NULL, lanes, y, y_stride, mask);
}

static void starts_with_16_lanes(const int8_t *x, const struct bp_tile_blocks *blocks,
                                 const int32_t *tap, const int32_t *tap_w, size_t taps,
                                 size_t steps, const int8_t *w, const int32_t *start, size_t lanes,
                                 int16_t *y, size_t y_stride, const struct bp_lane_mask *mask) {
    int32_t twice[BP_LANES];
    for (size_t j = 0; start != NULL && j < BP_LANES; j++)
        twice[j] = start[j % 16];
    bp_product_tiles_i16_c(x, blocks, tap, tap_w, taps, steps, w, start == NULL ? NULL : twice,
                           lanes, y, y_stride, mask);
}

static void tiles_take_taps_in_order(const int8_t *x, const struct bp_tile_blocks *blocks,
                                     const int32_t *tap, const int32_t *tap_w, size_t taps,
                                     size_t steps, const int8_t *w, const int32_t *start,
                                     size_t lanes, int16_t *y, size_t y_stride,
                                     const struct bp_lane_mask *mask) {
    int32_t in_order[9];
    (void)tap_w;
    for (size_t t = 0; t < taps; t++)
        in_order[t] = (int32_t)t;
    bp_product_tiles_i16_c(x, blocks, tap, in_order, taps, steps, w, start, lanes, y, y_stride,
                           mask);
}

/* Wrong only at the ends of 16 bits. */
static void saturates_early(const int8_t *x, const struct bp_tile_blocks *blocks,
                            const int32_t *tap, const int32_t *tap_w, size_t taps, size_t steps,
                            const int8_t *w, const int32_t *start, size_t lanes, int16_t *y,
                            size_t y_stride, const struct bp_lane_mask *mask) {
    bp_product_tiles_i16_c(x, blocks, tap, tap_w, taps, steps, w, start, lanes, y, y_stride, mask);
    for (size_t i = 0; i < blocks->count * BP_TILE_ROWS; i++)
        for (size_t j = 0; blocks->to[i] >= 0 && j < lanes; j++) {
            int16_t *to = y + (size_t)blocks->to[i] * y_stride + j;
            *to = *to > 32766 ? 32766 : *to;
        }
}

static void steps_lie_close(const int8_t *x, const struct bp_tile_blocks *blocks,
                            const int32_t *tap, const int32_t *tap_w, size_t taps, size_t steps,
                            const int8_t *w, const int32_t *start, size_t lanes, int16_t *y,
                            size_t y_stride, const struct bp_lane_mask *mask) {
    struct bp_tile_blocks close = *blocks;
    close.step = BP_TILE_STEP;
    bp_product_tiles_i16_c(x, &close, tap, tap_w, taps, steps, w, start, lanes, y, y_stride, mask);
}

static void masks_by_first_lanes(const int8_t *x, const struct bp_tile_blocks *blocks,
                                 const int32_t *tap, const int32_t *tap_w, size_t taps,
                                 size_t steps, const int8_t *w, const int32_t *start, size_t lanes,
                                 int16_t *y, size_t y_stride, const struct bp_lane_mask *mask) {
    struct bp_lane_mask first = {NULL, 0, 0};
    if (mask != NULL)
        first = (struct bp_lane_mask){mask->words, mask->stride, 0};
    bp_product_tiles_i16_c(x, blocks, tap, tap_w, taps, steps, w, start, lanes, y, y_stride,
                           mask == NULL ? NULL : &first);
}

static void leaves_masked_alone(const int8_t *x, const struct bp_tile_blocks *blocks,
                                const int32_t *tap, const int32_t *tap_w, size_t taps, size_t steps,
                                const int8_t *w, const int32_t *start, size_t lanes, int16_t *y,
                                size_t y_stride, const struct bp_lane_mask *mask) {
    int16_t before[BP_LANES];
    size_t row = 0;
    while (blocks->to[row] < 0)
        row++;
    int16_t *last = y + (size_t)blocks->to[row] * y_stride;
    memcpy(before, last, lanes * sizeof *last);
    bp_product_tiles_i16_c(x, blocks, tap, tap_w, taps, steps, w, start, lanes, y, y_stride, mask);
    for (size_t j = 0; mask != NULL && j < lanes; j++)
        if (!(mask->words[(size_t)blocks->to[row] * mask->stride] >> (mask->shift + j) & 1))
            last[j] = before[j];
}

static void rows_lie_close(const uint8_t *x, int is_signed, const struct bp_tile_blocks *blocks,
                           const int32_t *tap, const int32_t *tap_w, size_t taps, size_t steps,
                           const int8_t *w, size_t lanes, int32_t *y, size_t y_stride,
                           struct bp_fetch *soon) {
    struct bp_tile_blocks close = *blocks;
    close.pitch = BP_TILE_STEP * steps;
    bp_product_tiles_i32_c(x, is_signed, &close, tap, tap_w, taps, steps, w, lanes, y, y_stride,
                           soon);
}

static void forgets_last_tap(const uint8_t *x, int is_signed, const struct bp_tile_blocks *blocks,
                             const int32_t *tap, const int32_t *tap_w, size_t taps, size_t steps,
                             const int8_t *w, size_t lanes, int32_t *y, size_t y_stride,
                             struct bp_fetch *soon) {
    bp_product_tiles_i32_c(x, is_signed, blocks, tap, tap_w, taps > 1 ? taps - 1 : taps, steps, w,
                           lanes, y, y_stride, soon);
}

/* Exchanges two rows of a block that follows one whose rows go to places in a row. */
static void second_block_like_first(const uint8_t *x, int is_signed,
                                    const struct bp_tile_blocks *blocks, const int32_t *tap,
                                    const int32_t *tap_w, size_t taps, size_t steps,
                                    const int8_t *w, size_t lanes, int32_t *y, size_t y_stride,
                                    struct bp_fetch *soon) {
    for (size_t b = 0; b < blocks->count; b++) {
        int32_t to[BP_TILE_ROWS];
        const struct bp_tile_blocks one = {1, blocks->at + b, to, blocks->pitch, blocks->step};
        int straight = b % 2 != 0;
        for (size_t i = 0; i < BP_TILE_ROWS; i++) {
            to[i] = blocks->to[b * BP_TILE_ROWS + i];
            if (straight && i > 0)
                straight = blocks->to[(b - 1) * BP_TILE_ROWS + i] ==
                           blocks->to[(b - 1) * BP_TILE_ROWS] + (int32_t)i;
        }
        if (straight && to[0] > to[1] && to[1] >= 0) {
            int32_t first = to[0];
            to[0] = to[1];
            to[1] = first;
        }
        bp_product_tiles_i32_c(x, is_signed, &one, tap, tap_w, taps, steps, w, lanes, y, y_stride,
                               soon);
    }
}

static void tiles_are_unsigned(const uint8_t *x, int is_signed, const struct bp_tile_blocks *blocks,
                               const int32_t *tap, const int32_t *tap_w, size_t taps, size_t steps,
                               const int8_t *w, size_t lanes, int32_t *y, size_t y_stride,
                               struct bp_fetch *soon) {
    (void)is_signed;
    bp_product_tiles_i32_c(x, 0, blocks, tap, tap_w, taps, steps, w, lanes, y, y_stride, soon);
}

static void tiles_sum_in_16_bits(const uint8_t *x, int is_signed,
                                 const struct bp_tile_blocks *blocks, const int32_t *tap,
                                 const int32_t *tap_w, size_t taps, size_t steps, const int8_t *w,
                                 size_t lanes, int32_t *y, size_t y_stride, struct bp_fetch *soon) {
    bp_product_tiles_i32_c(x, is_signed, blocks, tap, tap_w, taps, steps, w, lanes, y, y_stride,
                           soon);
    for (size_t i = 0; i < blocks->count * BP_TILE_ROWS; i++)
        for (size_t j = 0; blocks->to[i] >= 0 && j < lanes; j++) {
            int32_t *to = y + (size_t)blocks->to[i] * y_stride + j;
            *to = (int16_t)*to;
        }
}

static void adds_to_old_tiles(const uint8_t *x, int is_signed, const struct bp_tile_blocks *blocks,
                              const int32_t *tap, const int32_t *tap_w, size_t taps, size_t steps,
                              const int8_t *w, size_t lanes, int32_t *y, size_t y_stride,
                              struct bp_fetch *soon) {
    int32_t old = y[0];
    bp_product_tiles_i32_c(x, is_signed, blocks, tap, tap_w, taps, steps, w, lanes, y, y_stride,
                           soon);
    y[0] += old;
}

static void overwrites_turned(const uint8_t *codes, int is_signed, int add, size_t k, size_t pitch,
                              const struct bp_run *runs, const size_t *begin, size_t taps,
                              const int8_t *x, size_t plane, size_t c, int32_t *y, size_t y_stride,
                              size_t y_tap) {
    (void)add;
    bp_product_turned_c(codes, is_signed, 0, k, pitch, runs, begin, taps, x, plane, c, y, y_stride,
                        y_tap);
}

static void adds_always(const uint8_t *codes, int is_signed, int add, size_t k, size_t pitch,
                        const struct bp_run *runs, const size_t *begin, size_t taps,
                        const int8_t *x, size_t plane, size_t c, int32_t *y, size_t y_stride,
                        size_t y_tap) {
    (void)add;
    bp_product_turned_c(codes, is_signed, 1, k, pitch, runs, begin, taps, x, plane, c, y, y_stride,
                        y_tap);
}

static void turned_is_signed(const uint8_t *codes, int is_signed, int add, size_t k, size_t pitch,
                             const struct bp_run *runs, const size_t *begin, size_t taps,
                             const int8_t *x, size_t plane, size_t c, int32_t *y, size_t y_stride,
                             size_t y_tap) {
    (void)is_signed;
    bp_product_turned_c(codes, 1, add, k, pitch, runs, begin, taps, x, plane, c, y, y_stride,
                        y_tap);
}

static void drops_17th_row(const uint8_t *codes, int is_signed, int add, size_t k, size_t pitch,
                           const struct bp_run *runs, const size_t *begin, size_t taps,
                           const int8_t *x, size_t plane, size_t c, int32_t *y, size_t y_stride,
                           size_t y_tap) {
    bp_product_turned_c(codes, is_signed, add, k == 17 ? 16 : k, pitch, runs, begin, taps, x, plane,
                        c, y, y_stride, y_tap);
}

static void ends_at_an_empty_run(const uint8_t *codes, int is_signed, int add, size_t k,
                                 size_t pitch, const struct bp_run *runs, const size_t *begin,
                                 size_t taps, const int8_t *x, size_t plane, size_t c, int32_t *y,
                                 size_t y_stride, size_t y_tap) {
    for (size_t t = 0; t < taps; t++) {
        size_t ends[2] = {begin[t], begin[t]};
        while (ends[1] < begin[t + 1] && runs[ends[1]].count > 0)
            ends[1]++;
        bp_product_turned_c(codes, is_signed, add, k, pitch, runs, ends, 1, x, plane, c,
                            y + t * y_tap, y_stride, y_tap);
    }
}

static void begins_with_the_first_run(const uint8_t *codes, int is_signed, int add, size_t k,
                                      size_t pitch, const struct bp_run *runs, const size_t *begin,
                                      size_t taps, const int8_t *x, size_t plane, size_t c,
                                      int32_t *y, size_t y_stride, size_t y_tap) {
    size_t ends[2] = {0, begin[1]};
    bp_product_turned_c(codes, is_signed, add, k, pitch, runs, ends, 1, x, plane, c, y, y_stride,
                        y_tap);
    bp_product_turned_c(codes, is_signed, add, k, pitch, runs, begin + 1, taps - 1, x, plane, c,
                        y + y_tap, y_stride, y_tap);
}

static void ends_at_an_empty_tap(const uint8_t *codes, int is_signed, int add, size_t k,
                                 size_t pitch, const struct bp_run *runs, const size_t *begin,
                                 size_t taps, const int8_t *x, size_t plane, size_t c, int32_t *y,
                                 size_t y_stride, size_t y_tap) {
    size_t n = 0;
    while (n < taps && begin[n] < begin[n + 1])
        n++;
    bp_product_turned_c(codes, is_signed, add, k, pitch, runs, begin, n, x, plane, c, y, y_stride,
                        y_tap);
}

static void clears_empty_taps(const uint8_t *codes, int is_signed, int add, size_t k, size_t pitch,
                              const struct bp_run *runs, const size_t *begin, size_t taps,
                              const int8_t *x, size_t plane, size_t c, int32_t *y, size_t y_stride,
                              size_t y_tap) {
    for (size_t i = 0; i < taps * k; i++)
        if (begin[i / k] == begin[i / k + 1])
            memset(y + i / k * y_tap + i % k * y_stride, 0, c * sizeof *y);
    bp_product_turned_c(codes, is_signed, add, k, pitch, runs, begin, taps, x, plane, c, y,
                        y_stride, y_tap);
}

static void forgets_a_tap(const uint8_t *codes, int is_signed, int add, size_t k, size_t pitch,
                          const struct bp_run *runs, const size_t *begin, size_t taps,
                          const int8_t *x, size_t plane, size_t c, int32_t *y, size_t y_stride,
                          size_t y_tap) {
    bp_product_turned_c(codes, is_signed, add, k, pitch, runs, begin, taps > 1 ? taps - 1 : taps, x,
                        plane, c, y, y_stride, y_tap);
}

static void adds_to_the_tap_before(const uint8_t *codes, int is_signed, int add, size_t k,
                                   size_t pitch, const struct bp_run *runs, const size_t *begin,
                                   size_t taps, const int8_t *x, size_t plane, size_t c, int32_t *y,
                                   size_t y_stride, size_t y_tap) {
    for (size_t t = 0; t < taps; t++)
        bp_product_turned_c(codes, is_signed, add, k, pitch, runs, begin + t, 1, x, plane, c,
                            y + (t > 0 ? t - 1 : 0) * y_tap, y_stride, y_tap);
}

static void lanes_of_the_first_plane(const uint8_t *codes, int is_signed, int add, size_t k,
                                     size_t pitch, const struct bp_run *runs, const size_t *begin,
                                     size_t taps, const int8_t *x, size_t plane, size_t c,
                                     int32_t *y, size_t y_stride, size_t y_tap) {
    (void)plane;
    bp_product_turned_c(codes, is_signed, add, k, pitch, runs, begin, taps, x, 0, c, y, y_stride,
                        y_tap);
}

static void takes_rows_of_256_bytes(const uint8_t *codes, int is_signed, int add, size_t k,
                                    size_t pitch, const struct bp_run *runs, const size_t *begin,
                                    size_t taps, const int8_t *x, size_t plane, size_t c,
                                    int32_t *y, size_t y_stride, size_t y_tap) {
    (void)plane;
    bp_product_turned_c(codes, is_signed, add, k, pitch, runs, begin, taps, x, 64, c, y, y_stride,
                        y_tap);
}

/* Whole tiles, though k ends before. */
static void writes_16_rows(const uint8_t *codes, int is_signed, int add, size_t k, size_t pitch,
                           const struct bp_run *runs, const size_t *begin, size_t taps,
                           const int8_t *x, size_t plane, size_t c, int32_t *y, size_t y_stride,
                           size_t y_tap) {
    bp_product_turned_c(codes, is_signed, add, k, pitch, runs, begin, taps, x, plane, c, y,
                        y_stride, y_tap);
    size_t rows = bp_round_up(k, 16);
    for (size_t i = k; i < rows; i++)
        ((volatile int32_t *)y)[(taps - 1) * y_tap + i * y_stride] += 1;
}

/* Whole rows of the tile, though c ends before. */
static void writes_16_columns(const uint8_t *codes, int is_signed, int add, size_t k, size_t pitch,
                              const struct bp_run *runs, const size_t *begin, size_t taps,
                              const int8_t *x, size_t plane, size_t c, int32_t *y, size_t y_stride,
                              size_t y_tap) {
    bp_product_turned_c(codes, is_signed, add, k, pitch, runs, begin, taps, x, plane, c, y,
                        y_stride, y_tap);
    for (size_t j = c; j < bp_round_up(c, 16); j++)
        ((volatile int32_t *)y)[(taps - 1) * y_tap + (k - 1) * y_stride + j] += 1;
}

const struct kc_planted kc_planted_tiles[] = {
    {"spread_signs", "channels beyond c are 1", {.spread_signs = pads_are_signs}},
    {"spread_signs", "clears between the pixels", {.spread_signs = clears_between_pixels}},
    {"spread_signs", "reads words behind the channels", {.spread_signs = reads_all_words}},
    {"spread_weights", "swaps the halves", {.spread_weights = swaps_halves}},
    {"spread_weights", "drops the last odd step", {.spread_weights = drops_last_step}},
    {"spread_weights", "sums half of the lanes", {.spread_weights = sums_half_of_the_lanes}},
    {"product_tiles_i16", "writes rows nobody wants", {.product_tiles_i16 = writes_unwanted_rows}},
    {"product_tiles_i16", "writes 16 lanes always", {.product_tiles_i16 = writes_16_lanes}},
    {"product_tiles_i16",
     "takes the taps in order",
     {.product_tiles_i16 = tiles_take_taps_in_order}},
    {"product_tiles_i16", "starts at zero", {.product_tiles_i16 = starts_at_zero}},
    {"product_tiles_i16", "starts twice with 16", {.product_tiles_i16 = starts_with_16_lanes}},
    {"product_tiles_i16", "ends at 32766", {.product_tiles_i16 = saturates_early}},
    {"product_tiles_i16", "64 in place of step", {.product_tiles_i16 = steps_lie_close}},
    {"product_tiles_i16",
     "takes the first bits of the mask",
     {.product_tiles_i16 = masks_by_first_lanes}},
    {"product_tiles_i16",
     "leaves alone what the mask does",
     {.product_tiles_i16 = leaves_masked_alone}},
    {"product_tiles_i32",
     "signed codes taken as unsigned",
     {.product_tiles_i32 = tiles_are_unsigned}},
    {"product_tiles_i32",
     "takes a second block to be like the first",
     {.product_tiles_i32 = second_block_like_first}},
    {"product_tiles_i32", "sums in 16 bits", {.product_tiles_i32 = tiles_sum_in_16_bits}},
    {"product_tiles_i32", "adds to the old content", {.product_tiles_i32 = adds_to_old_tiles}},
    {"product_tiles_i32", "ignores the pitch of rows", {.product_tiles_i32 = rows_lie_close}},
    {"product_tiles_i32", "forgets the last tap", {.product_tiles_i32 = forgets_last_tap}},
    {"spread_samples", "a missing sample is 1", {.spread_samples = missing_is_plus}},
    {"spread_samples", "reads 4 offsets always", {.spread_samples = reads_four_offsets}},
    {"spread_samples", "ignores the step of pixels", {.spread_samples = pixels_lie_close}},
    {"spread_samples", "ignores plane", {.spread_samples = planes_lie_close}},
    {"spread_samples", "forgets the last plane", {.spread_samples = forgets_last_plane}},
    {"turn_codes", "leaves the rest as it was", {.turn_codes = keeps_old_rest}},
    {"turn_codes", "reads 16 columns of codes", {.turn_codes = turns_whole_blocks}},
    {"product_turned", "overwrites, does not add", {.product_turned = overwrites_turned}},
    {"product_turned", "adds always", {.product_turned = adds_always}},
    {"product_turned", "unsigned codes taken as signed", {.product_turned = turned_is_signed}},
    {"product_turned", "drops the last of 17 rows", {.product_turned = drops_17th_row}},
    {"product_turned", "ends at an empty run", {.product_turned = ends_at_an_empty_run}},
    {"product_turned",
     "takes the runs before begin[0]",
     {.product_turned = begins_with_the_first_run}},
    {"product_turned", "ends at a tap without runs", {.product_turned = ends_at_an_empty_tap}},
    {"product_turned", "clears taps without runs", {.product_turned = clears_empty_taps}},
    {"product_turned", "forgets a tap", {.product_turned = forgets_a_tap}},
    {"product_turned", "adds a tap to the one before", {.product_turned = adds_to_the_tap_before}},
    {"product_turned", "ignores plane", {.product_turned = lanes_of_the_first_plane}},
    {"product_turned", "64 in place of plane", {.product_turned = takes_rows_of_256_bytes}},
    {"product_turned", "stores rows beyond k", {.product_turned = writes_16_rows}},
    {"product_turned", "writes 16 columns always", {.product_turned = writes_16_columns}},
};
const size_t kc_planted_tiles_count = sizeof kc_planted_tiles / sizeof kc_planted_tiles[0];
