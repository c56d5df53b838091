/* dA from the codes that are not zero: each pixel of a tile's window lists its own, by the bits of
 * their magnitudes, as places of the signs of their output channels' weights, complemented where
 * the code is negative. The bits of the rows that a pixel of dA sees through its taps are counted,
 * all input channels at a time:
 *
 *   lists  [window pixel][weight][capacity]      words from a tap's first row on
 *   rows   [taps][2 k + 1][cw]                   signs, their complements, zeros to fill up
 *
 *   sum of code * w^ = sum of magnitudes - 2 * (counted bits) */
#include "ops/bconv_internal.h"

#include <string.h>

/* Codes as the kernels take them, one byte each, |code| <= 7; counts below 2^16, lists that fit a
 * segment; channels that fill their words, as the complement of what is beyond them would count. */
int bp_dgrad_nonzero_possible(const struct bp_bconv *op) {
    return op->backward && op->method_da == BP_PRODUCT_LOOKUP &&
           op->quant_da.grid == BP_GRID_ZERO && op->quant_da.bits <= 4 && op->shape.c % 64 == 0 &&
           op->taps * op->shape.k * 7 <= UINT16_MAX && op->shape.k <= BP_SEGMENT_ROWS &&
           (2 * op->shape.k + 1) * op->cw <= INT32_MAX;
}

/* Items are taps. */
static void fill_rows(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    struct bp_bconv *op = context;
    size_t k = op->shape.k, cw = op->cw;
    for (size_t t = begin; t < end; t++) {
        uint64_t *row = op->rows_t + t * (2 * k + 1) * cw;
        for (size_t i = 0; i < k; i++, row += cw)
            for (size_t j = 0; j < cw; j++) {
                row[j] = op->bits[(i * op->taps + t) * cw + j];
                row[k * cw + j] = ~row[j];
            }
        memset(row + k * cw, 0, cw * sizeof *row);
    }
}

void bp_dgrad_fill_rows(struct bp_bconv *op, struct bp_exec *exec) {
    bp_parallel_for(exec->threads, op->taps, fill_rows, op);
}

size_t bp_dgrad_lists_bytes(const struct bp_bconv *op) {
    size_t pixels = bp_dgrad_window_pixels(op, &op->tiling_da);
    size_t list = bp_round_up(op->shape.k, BP_HALF_BLOCK) * sizeof(int32_t);
    return bp_round_up(pixels * BP_NONZERO_WEIGHTS * list, 64) +
           bp_round_up(pixels * BP_NONZERO_WEIGHTS * sizeof(int32_t), 64) +
           bp_round_up(pixels * sizeof(int32_t), 64);
}

struct bp_dgrad_lists bp_dgrad_carve_lists(const struct bp_bconv *op, struct bp_carver *carver) {
    size_t pixels = bp_dgrad_window_pixels(op, &op->tiling_da);
    struct bp_dgrad_lists l = {.capacity = bp_round_up(op->shape.k, BP_HALF_BLOCK)};
    l.at = bp_carve(carver, pixels * BP_NONZERO_WEIGHTS * l.capacity * sizeof *l.at);
    l.count = bp_carve(carver, pixels * BP_NONZERO_WEIGHTS * sizeof *l.count);
    l.total = bp_carve(carver, pixels * sizeof *l.total);
    return l;
}

void bp_dgrad_list(const struct bp_bconv *op, const struct bp_kernels *kernels,
                   const uint8_t *codes, size_t n, struct bp_dgrad_lists *lists, size_t first) {
    int32_t row = (int32_t)op->cw, k = (int32_t)op->shape.k;
    const struct bp_row_places places = {row, k * row, 2 * k * row};
    kernels->list_row(codes, n, op->shape.k, places,
                      lists->at + first * BP_NONZERO_WEIGHTS * lists->capacity, lists->capacity,
                      lists->count + first * BP_NONZERO_WEIGHTS, lists->total + first);
}

void bp_dgrad_nonzero_product(const struct bp_bconv *op, const struct bp_kernels *kernels,
                              const struct bp_dgrad_lists *lists, const int32_t *pixel,
                              size_t count, const int32_t *tap, const int32_t *tap_w, size_t taps,
                              int32_t *sums) {
    struct bp_row_segment of[BP_TAPS_MAX];
    for (size_t i = 0; i < count; i++, sums += op->shape.c) {
        int32_t total = 0;
        for (size_t t = 0; t < taps; t++) {
            size_t seen = (size_t)(pixel[i] + tap[t]), list = seen * BP_NONZERO_WEIGHTS;
            of[t].x = op->rows_t + (size_t)tap_w[t] * (2 * op->shape.k + 1) * op->cw;
            for (size_t w = 0; w < BP_NONZERO_WEIGHTS; w++, list++)
                of[t].of[w] = (struct bp_row_list){lists->at + list * lists->capacity,
                                                   (size_t)lists->count[list]};
            total += lists->total[seen];
        }
        kernels->product_rows(of, taps, op->cw, total, sums);
    }
}

int bp_dgrad_nonzero_pays(const struct bp_bconv *op, const struct bp_exec *exec) {
    const struct bp_conv_shape *s = &op->shape;
    double taps = (double)bp_bconv_joined_pixels(op) / (double)(s->h * s->w);
    return bp_dgrad_nonzero_possible(op) &&
           bp_product_zeros_pay_activations(
               exec->tier, s->k, op->kept_da * s->h * s->w, taps, op->cw,
               bp_bconv_set_bits(op->codes_da, op->kept_da * s->oh * s->ow, s->k));
}
