/* The activation gradient's product on tiles of bytes: the codes as they are, in a window whose
 * pixels outside the image are zero, times spread weights, 32 input channels at a time. */
#include "ops/bconv_dgrad.h"

#include <string.h>

/* For so many kept samples. */
static struct bp_tiles tiles_of(const struct bp_conv_shape *s, size_t kept, struct bp_exec *exec) {
    struct bp_tiles tiles = {.h = s->oh,
                             .w = s->ow,
                             .channels = s->k,
                             .oh = s->oh,
                             .ow = s->ow,
                             .stride = 1,
                             .before = 1,
                             .reach = 3};
    bp_tiles_choose(&tiles, kept, s->c * sizeof(int32_t), bp_threads_count(exec->threads));
    return tiles;
}

static size_t weights_bytes(const struct bp_bconv *op) {
    return op->taps * op->kw * BP_TILE_STEP * BP_LANES;
}

static size_t sum_bytes(const struct bp_bconv *op) {
    const struct bp_tiles *t = &op->tiles_da;
    return t->groups * t->samples * t->rows * t->ow * op->shape.c * sizeof(int32_t);
}

void bp_dgrad_tiles_plan(struct bp_bconv *op, struct bp_exec *exec) {
    for (size_t kept = 1; kept <= op->shape.n; kept++) {
        op->tiles_da = tiles_of(&op->shape, kept, exec);
        bp_exec_need_scratch(exec, weights_bytes(op) + bp_round_up(sum_bytes(op), 64) +
                                       bp_tiles_list_bytes(&op->tiles_da) +
                                       bp_tiles_window_bytes(&op->tiles_da));
    }
}

static size_t list_parity_taps(const struct bp_bconv *op, size_t parity,
                               struct bp_tile_tap taps[BP_TAPS_MAX]) {
    const struct bp_parity *p = &op->parity[parity];
    for (size_t i = 0; i < p->taps; i++)
        taps[i] = (struct bp_tile_tap){(size_t)p->row[i], (size_t)p->column[i], p->tap_w[i]};
    return p->taps;
}

size_t bp_dgrad_tiles_joined(const struct bp_bconv *op) {
    struct bp_tile_tap taps[BP_TAPS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < op->shape.stride * op->shape.stride; i++) {
        size_t n = list_parity_taps(op, i, taps);
        count += bp_tiles_joined(&op->tiles_da, taps, n);
    }
    return count;
}

/* Samples are slots. */
static void codes_row(const void *context, size_t sample, size_t of, size_t y, size_t x,
                      size_t step, size_t count, uint8_t *out, size_t pitch) {
    const struct bp_bconv *op = ((const struct bp_dgrad_job *)context)->op;
    size_t k = op->shape.k, channels = bp_min_size(BP_TILE_STEP, k - of * BP_TILE_STEP);
    const uint8_t *codes = op->codes_da + sample * bp_dgrad_sample_bytes(op) +
                           (y * op->shape.ow + x) * k + of * BP_TILE_STEP;
    (void)step; /* 1 */
    for (size_t i = 0; i < count; i++, codes += k, out += pitch)
        if (channels == BP_TILE_STEP) {
            memcpy(out, codes, BP_TILE_STEP);
        } else {
            memcpy(out, codes, channels);
            memset(out + channels, 0, BP_TILE_STEP - channels);
        }
}

/* Sums of the tile's positions of one parity: [sample][tile rows][columns][c]. */
static void parity_product(const struct bp_dgrad_job *job, const struct bp_tile *tile,
                           size_t parity, size_t columns, const uint8_t *window, int8_t *weights,
                           struct bp_tile_list *list, int32_t *sums, struct bp_fetch *soon) {
    const struct bp_bconv *op = job->op;
    const struct bp_kernels *kernels = &job->exec->kernels;
    size_t c = op->shape.c;
    struct bp_tile_tap taps[BP_TAPS_MAX];
    size_t n_taps = list_parity_taps(op, parity, taps);
    bp_tiles_list(&op->tiles_da, tile, columns, taps, n_taps, tile->rows, columns, list);
    for (size_t j = 0; j < c; j += BP_LANES) {
        kernels->spread_weights(op->w_t + j * op->taps * op->kw, op->taps * op->kw, weights);
        for (size_t i = 0; i < list->n_classes; i++) {
            const struct bp_tile_class *of = &list->classes[i];
            struct bp_tile_blocks blocks = bp_tiles_blocks(&op->tiles_da, list, of);
            kernels->product_tiles_i32(window, job->is_signed, &blocks, of->tap, of->tap_w,
                                       of->taps, op->kw, weights, bp_min_size(BP_LANES, c - j),
                                       sums + j, c, soon);
        }
    }
}

/* Of input pixels (stride * y + py, stride * x + px). */
static void finish_parity(const struct bp_dgrad_job *job, const struct bp_tile *tile, size_t rows,
                          size_t columns, size_t py, size_t px, const int32_t *sums,
                          struct bp_dgrad_offsets *offsets, int thread) {
    const struct bp_conv_shape *s = &job->op->shape;
    for (size_t i = 0; i < tile->count; i++, sums += tile->rows * columns * s->c) {
        size_t slot = tile->sample + i, first = tile->row * s->stride + py;
        if (s->stride == 1) {
            bp_dgrad_finish(job, slot, first * s->w, rows * columns, sums, offsets, thread);
            continue;
        }
        for (size_t y = 0; y < rows; y++)
            for (size_t x = 0; x < columns; x++)
                bp_dgrad_finish(job, slot, (first + y * s->stride) * s->w + x * s->stride + px, 1,
                                sums + (y * columns + x) * s->c, offsets, thread);
    }
}

static void tile_product(const struct bp_dgrad_job *job, const struct bp_tile *tile,
                         struct bp_dgrad_offsets *offsets, int thread) {
    const struct bp_bconv *op = job->op;
    const struct bp_conv_shape *s = &op->shape;
    struct bp_carver carver = {bp_exec_scratch(job->exec, thread)};
    int8_t *weights = bp_carve(&carver, weights_bytes(op));
    int32_t *sums = bp_carve(&carver, sum_bytes(op));
    struct bp_tile_list list = bp_tiles_carve_list(&op->tiles_da, &carver);
    uint8_t *window = (uint8_t *)carver.next;
    struct bp_fetch soon = bp_dgrad_tile_of_dx(
        job, &(struct bp_dgrad_tile){tile->sample, tile->count, tile->row, tile->rows, 0, s->ow});
    bp_tiles_fill(&op->tiles_da, tile, codes_row, job, window);
    for (size_t i = 0; i < s->stride * s->stride; i++) {
        size_t py = i / s->stride, px = i % s->stride;
        size_t rows = bp_dgrad_count_along(tile->row, tile->rows, s->stride, py, s->h);
        size_t columns = bp_dgrad_count_along(0, s->ow, s->stride, px, s->w);
        if (rows == 0 || columns == 0)
            continue;
        parity_product(job, tile, i, columns, window, weights, &list, sums, &soon);
        finish_parity(job, tile, rows, columns, py, px, sums, offsets, thread);
    }
}

static void dgrad_part(void *context, size_t begin, size_t end, int thread) {
    const struct bp_dgrad_job *job = context;
    struct bp_dgrad_offsets offsets = {NULL, NULL, -1};
    for (size_t item = begin; item < end; item++) {
        struct bp_tile tile =
            bp_tiles_item(&job->op->tiles_da, item, job->samples, job->op->kept_da);
        tile_product(job, &tile, &offsets, thread);
    }
}

void bp_dgrad_tiles_run(struct bp_dgrad_job *job) {
    struct bp_bconv *op = job->op;
    const struct bp_tiles *tiles = &op->tiles_da;
    struct bp_threads *threads = job->exec->threads;
    if (op->kept_da == 0)
        return;
    op->tiles_da = tiles_of(&op->shape, op->kept_da, job->exec);
    size_t groups = (op->kept_da + tiles->samples - 1) / tiles->samples;
    job->samples = bp_item_size(threads, groups, tiles->groups, 1); /* groups of them, here */
    size_t items = (groups + job->samples - 1) / job->samples * bp_tiles_row_tiles(tiles);
    bp_parallel_for(threads, items, dgrad_part, job);
}
