/* dA of codes of 8 bits with wide tables (kernels/kernels.h): one lookup in place of two. What sums
 * of entries are off by, the sum of the |code| that a pixel sees, is known for every pixel of the
 * window. Codes that the tables leave out are few. What they add to pixels of the tile is summed
 * up apart:
 *
 *   more [sample][row][column][c]     of those pixels that see such a code */
#include "ops/bconv_dgrad.h"

#include <string.h>

/* Input pixels of a tile. */
static size_t tile_pixels(const struct bp_bconv *op, const struct bp_tiling *t) {
    return bp_dgrad_tile_pixels(t) * op->shape.stride * op->shape.stride;
}

/* What the codes of a window's row are listed in. */
static size_t list_length(const struct bp_bconv *op, const struct bp_tiling *t) {
    return bp_min_size(t->columns + 2, op->shape.ow) * op->kq * BP_LEFT_OUT_QUAD;
}

int bp_dgrad_wide_possible(const struct bp_bconv *op, const struct bp_exec *exec) {
    return bp_dgrad_at_once(op, exec) && op->quant_da.bits == 8;
}

size_t bp_dgrad_wide_scratch_bytes(const struct bp_bconv *op) {
    const struct bp_tiling *t = &op->tiling_da;
    const size_t pixels = tile_pixels(op, t);
    return bp_round_up(bp_dgrad_window_pixels(op, t) * sizeof(int32_t), 64) +
           bp_round_up(bp_dgrad_tile_pixels(t) * sizeof(int32_t), 64) +
           bp_round_up(bp_dgrad_tile_pixels(t) * sizeof(int32_t *), 64) +
           bp_round_up(list_length(op, t) * sizeof(struct bp_left_out), 64) +
           bp_round_up(pixels, 64) + bp_round_up(pixels * op->shape.c * sizeof(int32_t), 64);
}

struct bp_dgrad_wide bp_dgrad_wide_carve(const struct bp_bconv *op, struct bp_carver *carver) {
    const struct bp_tiling *t = &op->tiling_da;
    const size_t pixels = tile_pixels(op, t);
    struct bp_dgrad_wide wide = {0};
    wide.of_window = bp_carve(carver, bp_dgrad_window_pixels(op, t) * sizeof *wide.of_window);
    wide.total = bp_carve(carver, bp_dgrad_tile_pixels(t) * sizeof *wide.total);
    wide.more_of = bp_carve(carver, bp_dgrad_tile_pixels(t) * sizeof *wide.more_of);
    wide.left_out = bp_carve(carver, list_length(op, t) * sizeof *wide.left_out);
    wide.has_more = bp_carve(carver, pixels);
    wide.more = bp_carve(carver, pixels * op->shape.c * sizeof *wide.more);
    return wide;
}

double bp_dgrad_wide_passes(const struct bp_bconv *op, const struct bp_exec *exec) {
    const size_t pixels = op->kept_da * op->shape.oh * op->shape.ow, k = op->shape.k;
    const struct bp_quads quads = {k / BP_QUAD, BP_QUAD, 1};
    const double over =
        bp_dgrad_wide_possible(op, exec) ? bp_bconv_over_wide(op->codes_da, pixels, k, quads) : 1;
    return bp_product_lookup_passes(op->quant_da.bits, over);
}

/* --- what is left out ------------------------------------------------------------------------- */

/* The number of an input pixel of the tile, of sample i of it. */
static size_t tile_pixel(const struct bp_bconv *op, const struct bp_dgrad_tile *tile, size_t i,
                         size_t y, size_t x) {
    const size_t stride = op->shape.stride, columns = tile->columns * stride;
    return (i * tile->rows * stride + y - tile->row * stride) * columns + x - tile->column * stride;
}

/* Is position i of an axis in the image, and in the tile's share of it? Both as they may be below
 * 0. */
static int is_within(size_t i, size_t length, size_t first, size_t count, size_t stride) {
    return i < length && i >= first * stride && i < (first + count) * stride;
}

/* Adds code * weights to the pixels of the tile that see output pixel (oy, ox) of sample i. */
static void add_left_out(const struct bp_dgrad_job *job, const struct bp_dgrad_tile *tile, size_t i,
                         size_t oy, size_t ox, size_t k, int32_t code, struct bp_dgrad_wide *wide) {
    const struct bp_bconv *op = job->op;
    const struct bp_conv_shape *s = &op->shape;
    if (!wide->has_any)
        memset(wide->has_more, 0, tile_pixels(op, &op->tiling_da));
    wide->has_any = 1;
    for (size_t t = 0; t < op->taps; t++) {
        const size_t y = oy * s->stride + t / s->r - s->pad, x = ox * s->stride + t % s->r - s->pad;
        if (!is_within(y, s->h, tile->row, tile->rows, s->stride) ||
            !is_within(x, s->w, tile->column, tile->columns, s->stride))
            continue;
        const size_t pixel = tile_pixel(op, tile, i, y, x);
        int32_t *more = wide->more + pixel * s->c;
        if (!wide->has_more[pixel])
            memset(more, 0, s->c * sizeof *more);
        wide->has_more[pixel] = 1;
        job->exec->kernels.add_signs(op->bits + (k * op->taps + t) * op->cw, s->c, code, more);
    }
}

void bp_dgrad_wide_tables(const struct bp_dgrad_job *job, const struct bp_dgrad_tile *tile,
                          const struct bp_dgrad_window *window, uint8_t *tables,
                          struct bp_dgrad_wide *wide) {
    const struct bp_bconv *op = job->op;
    const struct bp_kernels *kernels = &job->exec->kernels;
    const size_t row_bytes = window->columns * op->kq * BP_TABLE_BYTES, k = op->shape.k;
    int32_t *total = wide->of_window;
    wide->has_any = 0;
    for (size_t i = 0; i < tile->samples; i++)
        for (size_t y = window->first_row; y < window->first_row + window->rows; y++) {
            const uint8_t *codes = op->codes_da + (tile->slot + i) * bp_dgrad_sample_bytes(op) +
                                   (y * op->shape.ow + window->first_column) * op->pixel_da;
            const size_t length = kernels->wide_tables_of_codes(
                codes, window->columns, k, kernels->together, tables, total, wide->left_out);
            for (size_t l = 0; l < length; l++)
                add_left_out(job, tile, i, y, window->first_column + wide->left_out[l].at / k,
                             wide->left_out[l].at % k, wide->left_out[l].code, wide);
            tables += row_bytes;
            total += window->columns;
        }
}

/* --- pixels of a class ------------------------------------------------------------------------ */

struct bp_wide_pixels bp_dgrad_wide_pixels(const struct bp_dgrad_job *job,
                                           const struct bp_dgrad_tile *tile,
                                           const struct bp_pixel_run *runs, size_t n,
                                           unsigned pixel_class, const int32_t *tap, size_t taps,
                                           struct bp_dgrad_wide *wide) {
    const struct bp_conv_shape *s = &job->op->shape;
    size_t count = 0;
    for (size_t r = 0; r < n; r++) {
        const struct bp_pixel_run *run = &runs[r];
        int32_t *total = wide->total + count;
        if (run->pixel_class != pixel_class)
            continue;
        memset(total, 0, run->count * sizeof *total);
        for (size_t t = 0; t < taps; t++) {
            const int32_t *seen = wide->of_window + run->code + tap[t];
            for (size_t x = 0; x < run->count; x++)
                total[x] += seen[x];
        }
        for (size_t x = 0; wide->has_any && x < run->count; x++) {
            const size_t at = run->at + x * s->stride;
            const size_t pixel = tile_pixel(job->op, tile, run->sample, at / s->w, at % s->w);
            wide->more_of[count + x] = wide->has_more[pixel] ? wide->more + pixel * s->c : NULL;
        }
        count += run->count;
    }
    return (struct bp_wide_pixels){wide->total, wide->has_any ? wide->more_of : NULL};
}
