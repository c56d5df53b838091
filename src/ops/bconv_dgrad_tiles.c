/* The activation gradient's product on tiles of bytes: the codes as they are, in a window whose
 * pixels outside the image are zero, times spread weights, 32 input channels at a time. Sums that
 * stay as they are go straight to dx; those that are shifted or become floats to the worker's
 * scratch first. */
#include "ops/bconv_dgrad.h"

#include <string.h>

/* For so many kept samples; with_sums: whose sums go to the scratch. */
static struct bp_tiles tiles_of(const struct bp_conv_shape *s, size_t kept, int with_sums,
                                struct bp_exec *exec) {
    struct bp_tiles tiles = {.h = s->oh,
                             .w = s->ow,
                             .channels = s->k,
                             .oh = s->oh,
                             .ow = s->ow,
                             .stride = 1,
                             .before = 1,
                             .reach = 3};
    bp_tiles_choose(&tiles, kept, with_sums ? s->c * sizeof(int32_t) : 0,
                    bp_threads_count(exec->threads));
    return tiles;
}

static int goes_straight(const struct bp_dgrad_job *job) {
    return job->dx_sums != NULL && job->op->shift_da == 0;
}

static size_t weights_bytes(const struct bp_bconv *op) {
    return op->taps * op->kw * BP_TILE_STEP * BP_LANES;
}

static size_t sum_bytes(const struct bp_bconv *op) {
    const struct bp_tiles *t = &op->tiles_da;
    return t->groups * t->samples * t->rows * t->ow * op->shape.c * sizeof(int32_t);
}

void bp_dgrad_tiles_plan(struct bp_bconv *op, struct bp_exec *exec) {
    for (size_t i = 0; i < 2 * op->shape.n; i++) {
        int with_sums = i % 2 != 0;
        op->tiles_da = tiles_of(&op->shape, i / 2 + 1, with_sums, exec);
        bp_exec_need_scratch(exec, weights_bytes(op) + bp_tiles_list_bytes(&op->tiles_da) +
                                       bp_tiles_window_bytes(&op->tiles_da) +
                                       (with_sums ? bp_round_up(sum_bytes(op), 64) : 0));
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
            __builtin_prefetch(codes + op->shape.ow * k, 0, 2); /* the row below */
            memcpy(out, codes, BP_TILE_STEP);
        } else {
            memcpy(out, codes, channels);
            memset(out + channels, 0, BP_TILE_STEP - channels);
        }
}

/* The input pixels (stride * y + py, stride * x + px) of a tile. */
struct parity {
    size_t number, py, px, rows, columns;
};

/* What a tile's product reads. */
struct inputs {
    const uint8_t *window;
    int8_t *weights; /* room */
    struct bp_tile_list list;
};

/* Lists the blocks of a parity. */
static void list_blocks(const struct bp_bconv *op, const struct bp_tile *tile,
                        const struct parity *parity, const struct bp_tile_target *target,
                        struct bp_tile_list *list) {
    struct bp_tile_tap taps[BP_TAPS_MAX];
    struct bp_tile part = *tile;
    size_t n_taps = list_parity_taps(op, parity->number, taps);
    part.rows = parity->rows;
    bp_tiles_list(&op->tiles_da, &part, parity->columns, taps, n_taps, target, list);
}

static void spread_lanes(const struct bp_dgrad_job *job, size_t j, int8_t *weights) {
    const struct bp_bconv *op = job->op;
    job->exec->kernels.spread_weights(op->w_t + j * op->taps * op->kw, op->taps * op->kw, weights,
                                      NULL);
}

/* Sums of the tile's positions of one parity: [sample][tile rows][columns][c]. */
static void sums_product(const struct bp_dgrad_job *job, const struct bp_tile *tile,
                         const struct parity *parity, struct inputs *in, int32_t *sums,
                         struct bp_fetch *soon) {
    const struct bp_bconv *op = job->op;
    size_t c = op->shape.c;
    list_blocks(op, tile, parity,
                &(struct bp_tile_target){tile->rows * parity->columns, parity->columns, 1, NULL},
                &in->list);
    for (size_t j = 0; j < c; j += BP_LANES) {
        spread_lanes(job, j, in->weights);
        for (size_t i = 0; i < in->list.n_classes; i++) {
            const struct bp_tile_class *of = &in->list.classes[i];
            struct bp_tile_blocks blocks = bp_tiles_blocks(&op->tiles_da, &in->list, of);
            job->exec->kernels.product_tiles_i32(in->window, job->is_signed, &blocks, of->tap,
                                                 of->tap_w, of->taps, op->kw, in->weights,
                                                 bp_min_size(BP_LANES, c - j), sums + j, c, soon);
        }
    }
}

/* The same to dx, masked. */
static void direct_product(const struct bp_dgrad_job *job, const struct bp_tile *tile,
                           const struct parity *parity, struct inputs *in) {
    const struct bp_bconv *op = job->op;
    const struct bp_conv_shape *s = &op->shape;
    size_t first = (tile->row * s->stride + parity->py) * s->w + parity->px;
    list_blocks(op, tile, parity,
                &(struct bp_tile_target){s->h * s->w, s->stride * s->w, s->stride,
                                         op->sample_of_slot + tile->sample},
                &in->list);
    for (size_t j = 0; j < s->c; j += BP_LANES) {
        const struct bp_lane_mask mask = {job->mask + first * op->cw + j / 64, op->cw,
                                          (unsigned)(j % 64)};
        spread_lanes(job, j, in->weights);
        for (size_t i = 0; i < in->list.n_classes; i++) {
            const struct bp_tile_class *of = &in->list.classes[i];
            struct bp_tile_blocks blocks = bp_tiles_blocks(&op->tiles_da, &in->list, of);
            job->exec->kernels.product_tiles_i16(
                (const int8_t *)in->window, &blocks, of->tap, of->tap_w, of->taps, op->kw,
                in->weights, NULL, bp_min_size(BP_LANES, s->c - j),
                job->dx_sums->sums + first * s->c + j, s->c, &mask);
        }
    }
}

static void finish_parity(const struct bp_dgrad_job *job, const struct bp_tile *tile,
                          const struct parity *parity, const int32_t *sums,
                          struct bp_dgrad_offsets *offsets, int thread) {
    const struct bp_conv_shape *s = &job->op->shape;
    size_t columns = parity->columns;
    for (size_t i = 0; i < tile->count; i++, sums += tile->rows * columns * s->c) {
        size_t slot = tile->sample + i, first = tile->row * s->stride + parity->py;
        if (s->stride == 1) {
            bp_dgrad_finish(job, slot, first * s->w, parity->rows * columns, sums, offsets, thread);
            continue;
        }
        for (size_t y = 0; y < parity->rows; y++)
            for (size_t x = 0; x < columns; x++)
                bp_dgrad_finish(job, slot,
                                (first + y * s->stride) * s->w + x * s->stride + parity->px, 1,
                                sums + (y * columns + x) * s->c, offsets, thread);
    }
}

static void tile_product(const struct bp_dgrad_job *job, const struct bp_tile *tile,
                         struct bp_dgrad_offsets *offsets, int thread) {
    const struct bp_bconv *op = job->op;
    const struct bp_conv_shape *s = &op->shape;
    struct bp_carver carver = {bp_exec_scratch(job->exec, thread)};
    struct inputs in = {.weights = bp_carve(&carver, weights_bytes(op))};
    int32_t *sums = goes_straight(job) ? NULL : bp_carve(&carver, sum_bytes(op));
    in.list = bp_tiles_carve_list(&op->tiles_da, &carver);
    uint8_t *window = (uint8_t *)carver.next;
    struct bp_fetch soon = {.at = NULL}; /* the product fetches what it writes itself */
    if (sums != NULL)
        soon = bp_dgrad_tile_of_dx(job, &(struct bp_dgrad_tile){tile->sample, tile->count,
                                                                tile->row, tile->rows, 0, s->ow});
    bp_tiles_fill(&op->tiles_da, tile, codes_row, job, window);
    in.window = window;
    for (size_t i = 0; i < s->stride * s->stride; i++) {
        struct parity parity = {.number = i, .py = i / s->stride, .px = i % s->stride};
        parity.rows = bp_dgrad_count_along(tile->row, tile->rows, s->stride, parity.py, s->h);
        parity.columns = bp_dgrad_count_along(0, s->ow, s->stride, parity.px, s->w);
        if (parity.rows == 0 || parity.columns == 0)
            continue;
        if (sums == NULL) {
            direct_product(job, tile, &parity, &in);
        } else {
            sums_product(job, tile, &parity, &in, sums, &soon);
            finish_parity(job, tile, &parity, sums, offsets, thread);
        }
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
    op->tiles_da = tiles_of(&op->shape, op->kept_da, !goes_straight(job), job->exec);
    size_t groups = (op->kept_da + tiles->samples - 1) / tiles->samples;
    job->samples = bp_item_size(threads, groups, tiles->groups, 1); /* groups of them, here */
    size_t items = (groups + job->samples - 1) / job->samples * bp_tiles_row_tiles(tiles);
    bp_parallel_for(threads, items, dgrad_part, job);
}
