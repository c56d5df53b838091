/* The forward product on tiles of bytes: signs of a tile's window and of 32 output channels'
 * weights are spread, then multiplied. The window's bytes are 2, 0 and, outside the image, 1: one
 * more than what they stand for. So sums begin with those of the weights, below zero. */
#include "ops/bconv_internal.h"

#include <string.h>

static struct bp_tiles tiles_of(const struct bp_conv_shape *s) {
    return (struct bp_tiles){.h = s->h,
                             .w = s->w,
                             .channels = s->c,
                             .oh = s->oh,
                             .ow = s->ow,
                             .stride = s->stride,
                             .before = s->pad,
                             .reach = s->r,
                             .outside = 1};
}

static size_t weights_bytes(const struct bp_bconv *op) {
    return op->taps * op->cw * BP_TILE_STEP * BP_LANES;
}

/* [taps][words][lanes] */
static size_t sums_bytes(const struct bp_bconv *op) {
    return op->taps * op->cw * BP_LANES * sizeof(int32_t);
}

void bp_forward_tiles_plan(struct bp_bconv *op, struct bp_exec *exec) {
    op->tiles_forward = tiles_of(&op->shape);
    bp_tiles_choose(&op->tiles_forward, op->shape.n, 0, bp_threads_count(exec->threads));
    bp_exec_need_scratch(exec, weights_bytes(op) + sums_bytes(op) +
                                   bp_tiles_list_bytes(&op->tiles_forward) +
                                   bp_tiles_window_bytes(&op->tiles_forward));
}

static size_t list_all_taps(const struct bp_bconv *op, struct bp_tile_tap taps[BP_TAPS_MAX]) {
    for (size_t i = 0; i < op->taps; i++)
        taps[i] = (struct bp_tile_tap){i / op->shape.r, i % op->shape.r, (int32_t)i};
    return op->taps;
}

size_t bp_forward_tiles_joined(const struct bp_bconv *op) {
    struct bp_tile_tap taps[BP_TAPS_MAX];
    size_t n = list_all_taps(op, taps);
    return bp_tiles_joined(&op->tiles_forward, taps, n);
}

struct forward_job {
    const struct bp_bconv *op;
    struct bp_exec *exec;
    const uint64_t *x;
    int16_t *y;
    size_t n, groups;
    struct bp_channel_sums *sums;
};

static void signs_row(const void *context, size_t sample, size_t of, size_t y, size_t x,
                      size_t step, size_t count, uint8_t *out, size_t pitch) {
    const struct forward_job *job = context;
    const struct bp_bconv *op = job->op;
    const uint64_t *bits =
        job->x + sample * op->in_words + ((y + 1) * (op->shape.w + 2) + x + 1) * op->cw + of;
    size_t channels = bp_min_size(BP_TILE_STEP, op->shape.c - of * BP_TILE_STEP);
    job->exec->kernels.spread_signs(bits, count, step * op->cw, channels, (int8_t *)out, pitch);
}

static void add_sums(const struct forward_job *job, const struct bp_tile *tile, int thread) {
    const struct bp_conv_shape *s = &job->op->shape;
    int whole = tile->rows == s->oh;
    for (size_t i = 0; i < tile->count; i += whole ? tile->count : 1)
        bp_channel_sums_add_i16(job->sums, &job->exec->kernels, thread,
                                job->y + (((tile->sample + i) * s->oh + tile->row) * s->ow) * s->k,
                                (whole ? tile->count : 1) * tile->rows * s->ow,
                                (int)(job->op->taps * s->c));
}

/* [taps][words][lanes] -> [taps][lanes], in place: what is written was read before. */
static void add_words(const struct bp_bconv *op, int32_t *sums) {
    for (size_t t = 0; t < op->taps; t++)
        for (size_t i = 0; i < op->cw; i++)
            for (size_t j = 0; j < BP_LANES; j++)
                sums[t * BP_LANES + j] =
                    sums[(t * op->cw + i) * BP_LANES + j] + (i == 0 ? 0 : sums[t * BP_LANES + j]);
}

/* Minus the sums of the weights of the taps that are taken. */
static void start_of(const struct bp_tile_class *of, const int32_t *sums, int32_t start[BP_LANES]) {
    memset(start, 0, BP_LANES * sizeof *start);
    for (size_t t = 0; t < of->taps; t++)
        for (size_t j = 0; j < BP_LANES; j++)
            start[j] -= sums[(size_t)of->tap_w[t] * BP_LANES + j];
}

static void tile_product(const struct forward_job *job, const struct bp_tile *tile, int thread) {
    const struct bp_bconv *op = job->op;
    const struct bp_conv_shape *s = &op->shape;
    const struct bp_kernels *kernels = &job->exec->kernels;
    const struct bp_tiles *tiles = &op->tiles_forward;
    struct bp_carver carver = {bp_exec_scratch(job->exec, thread)};
    int8_t *weights = bp_carve(&carver, weights_bytes(op));
    int32_t *sums = bp_carve(&carver, sums_bytes(op));
    struct bp_tile_list list = bp_tiles_carve_list(tiles, &carver);
    uint8_t *window = (uint8_t *)carver.next;
    struct bp_tile_tap taps[BP_TAPS_MAX];
    size_t n_taps = list_all_taps(op, taps);
    int16_t *y = job->y + (tile->sample * s->oh + tile->row) * s->ow * s->k;
    bp_tiles_fill(tiles, tile, signs_row, job, window);
    bp_tiles_list(tiles, tile, s->ow, taps, n_taps,
                  &(struct bp_tile_target){s->oh * s->ow, s->ow, 1, NULL}, &list);
    for (size_t k = 0; k < s->k; k += BP_LANES) {
        kernels->spread_weights(op->w + k * op->taps * op->cw, op->taps * op->cw, weights, sums);
        add_words(op, sums);
        for (size_t i = 0; i < list.n_classes; i++) {
            const struct bp_tile_class *of = &list.classes[i];
            struct bp_tile_blocks blocks = bp_tiles_blocks(tiles, &list, of);
            int32_t start[BP_LANES] __attribute__((aligned(64)));
            start_of(of, sums, start);
            kernels->product_tiles_i16((const int8_t *)window, &blocks, of->tap, of->tap_w,
                                       of->taps, op->cw, weights, start,
                                       bp_min_size(BP_LANES, s->k - k), y + k, s->k, NULL);
        }
    }
    if (job->sums != NULL)
        add_sums(job, tile, thread);
}

static void forward_part(void *context, size_t begin, size_t end, int thread) {
    const struct forward_job *job = context;
    for (size_t item = begin; item < end; item++) {
        struct bp_tile tile = bp_tiles_item(&job->op->tiles_forward, item, job->groups, job->n);
        tile_product(job, &tile, thread);
    }
}

void bp_forward_tiles_run(const struct bp_bconv *op, struct bp_exec *exec, size_t n,
                          const uint64_t *x, int16_t *y, struct bp_channel_sums *sums) {
    const struct bp_tiles *tiles = &op->tiles_forward;
    struct forward_job job = {op, exec, x, y, n, 0, sums};
    size_t groups = (n + tiles->samples - 1) / tiles->samples;
    job.groups = bp_item_size(exec->threads, groups, tiles->groups, 1);
    size_t items = (groups + job.groups - 1) / job.groups * bp_tiles_row_tiles(tiles);
    bp_parallel_for(exec->threads, items, forward_part, &job);
}
