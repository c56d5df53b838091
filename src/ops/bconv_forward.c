/* The forward product: tiles of whole samples, or of rows of one. */
#include "ops/bconv_internal.h"

#define TILE_PIXELS 256 /* of one call of the kernel, about */

/* Rows and columns of the input that a tile sees, halo included. */
static size_t window_rows(const struct bp_conv_shape *s, size_t rows) {
    return (rows - 1) * s->stride + s->r;
}

static size_t window_columns(const struct bp_conv_shape *s) {
    return (s->ow - 1) * s->stride + s->r;
}

static size_t window_quads(const struct bp_bconv *op) {
    const struct bp_tiling *tiling = &op->tiling_forward;
    return tiling->samples * window_rows(&op->shape, tiling->rows) * window_columns(&op->shape) *
           op->cq;
}

static size_t tile_pixels(const struct bp_bconv *op) {
    const struct bp_tiling *tiling = &op->tiling_forward;
    return tiling->samples * tiling->rows * tiling->columns;
}

void bp_bconv_forward_plan(struct bp_bconv *op, struct bp_exec *exec) {
    const struct bp_conv_shape *s = &op->shape;
    size_t pixels = s->oh * s->ow;
    op->tiling_forward = (struct bp_tiling){1, s->oh, s->ow};
    if (pixels <= TILE_PIXELS)
        op->tiling_forward.samples = bp_min_size(s->n, TILE_PIXELS / pixels);
    else
        op->tiling_forward.rows = s->ow >= TILE_PIXELS ? 1 : TILE_PIXELS / s->ow;
    size_t bytes = bp_round_up(tile_pixels(op) * sizeof(int32_t), 64);
    if (op->method_forward == BP_PRODUCT_LOOKUP)
        bytes += bp_round_up(window_quads(op), 64);
    bp_exec_need_scratch(exec, bytes);
}

struct forward_job {
    struct bp_bconv *op;
    struct bp_exec *exec;
    const uint64_t *x;
    int16_t *y;
    size_t n;
    struct bp_channel_sums *sums;
};

/* A tile of the batch. */
struct tile {
    size_t sample, samples, row, rows;
};

static void add_borders(const struct bp_bconv *op, const struct tile *tile, int16_t *y) {
    size_t k = op->shape.k, pixels = op->shape.oh * op->shape.ow, first = tile->row * op->shape.ow;
    size_t count = tile->samples * tile->rows * op->shape.ow;
    for (size_t p = 0; p < count; p++) {
        unsigned border_class = op->pixel_class[(first + p) % pixels];
        if (border_class == 0)
            continue;
        const int16_t *add = op->border + border_class * k;
        for (size_t i = 0; i < k; i++)
            y[p * k + i] = (int16_t)(y[p * k + i] + add[i]);
    }
}

/* Offsets of a tile's pixels and of the taps, for data of `unit` elements a pixel in rows of
 * row_pixels and samples of sample_pixels. Returns the number of pixels. */
static size_t list_pixels(const struct bp_bconv *op, const struct tile *tile, size_t unit,
                          size_t row_pixels, size_t sample_pixels, int32_t *pixel,
                          int32_t tap[BP_TAPS_MAX]) {
    const struct bp_conv_shape *s = &op->shape;
    size_t count = 0;
    for (size_t i = 0; i < tile->samples; i++)
        for (size_t y = 0; y < tile->rows; y++)
            for (size_t x = 0; x < s->ow; x++) {
                size_t at = i * sample_pixels + y * s->stride * row_pixels + x * s->stride;
                pixel[count++] = (int32_t)(at * unit);
            }
    for (size_t t = 0; t < op->taps; t++)
        tap[t] = (int32_t)((t / s->r * row_pixels + t % s->r) * unit);
    return count;
}

static void tile_product(const struct forward_job *job, const struct tile *tile, int thread) {
    struct bp_bconv *op = job->op;
    const struct bp_conv_shape *s = &op->shape;
    const struct bp_kernels *kernels = &job->exec->kernels;
    struct bp_carver carver = {bp_exec_scratch(job->exec, thread)};
    int32_t *pixel = bp_carve(&carver, tile_pixels(op) * sizeof *pixel), tap[BP_TAPS_MAX];
    size_t inside = s->pad == 0 ? 1 : 0; /* 1x1 kernels start inside the halo */
    const uint64_t *x = job->x + tile->sample * op->in_words +
                        ((tile->row * s->stride + inside) * (s->w + 2) + inside) * op->cw;
    int16_t *y = job->y + ((tile->sample * s->oh + tile->row) * s->ow) * s->k;
    int bias = (int)(op->taps * s->c);
    size_t count;
    if (op->method_forward == BP_PRODUCT_LOOKUP) {
        size_t rows = window_rows(s, tile->rows), columns = window_columns(s);
        uint8_t *window = bp_carve(&carver, window_quads(op)); /* [samples][rows][columns][cq] */
        for (size_t i = 0; i < tile->samples; i++)
            for (size_t row = 0; row < rows; row++)
                kernels->quads_of_signs(x + i * op->in_words + row * (s->w + 2) * op->cw, columns,
                                        op->cw, op->cq,
                                        window + (i * rows + row) * columns * op->cq);
        count = list_pixels(op, tile, op->cq, columns, rows * columns, pixel, tap);
        kernels->product_signs(window, pixel, count, tap, op->taps, op->cq, op->index, s->k, bias,
                               y);
    } else {
        count = list_pixels(op, tile, op->cw, s->w + 2, op->in_words / op->cw, pixel, tap);
        kernels->product_xor(x, pixel, count, tap, op->taps, op->cw, op->w, s->k, bias, y);
    }
    add_borders(op, tile, y);
    if (job->sums != NULL)
        bp_channel_sums_add_i16(job->sums, kernels, thread, y, count, bias);
}

/* Items are groups of samples that are walked together. */
static void forward_part(void *context, size_t begin, size_t end, int thread) {
    struct forward_job *job = context;
    const struct bp_tiling *tiling = &job->op->tiling_forward;
    for (size_t item = begin; item < end; item++) {
        struct tile tile = {.sample = item * tiling->samples};
        tile.samples = bp_min_size(tiling->samples, job->n - tile.sample);
        for (; tile.row < job->op->shape.oh; tile.row += tiling->rows) {
            tile.rows = bp_min_size(tiling->rows, job->op->shape.oh - tile.row);
            tile_product(job, &tile, thread);
        }
    }
}

void bp_bconv_forward(struct bp_bconv *op, struct bp_exec *exec, size_t n, const uint64_t *x,
                      int16_t *y, struct bp_channel_sums *sums) {
    struct forward_job job = {op, exec, x, y, n, sums};
    size_t samples = op->tiling_forward.samples;
    if (sums != NULL)
        bp_channel_sums_begin(sums, exec, n);
    bp_parallel_for(exec->threads, (n + samples - 1) / samples, forward_part, &job);
    if (sums != NULL)
        bp_channel_sums_end(sums);
}
