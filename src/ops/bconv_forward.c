/* The forward product: tiles of whole samples, or of rows of one. Pixels are walked border class by
 * border class: those of a class have the same taps, so that nothing outside the image is
 * multiplied. */
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
    size_t bytes = 2 * bp_round_up(tile_pixels(op) * sizeof(int32_t), 64);
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

/* Positions of `count` from `first` on along one axis where the window is cut at the low end and at
 * the high end as asked: neighbours. */
struct stretch {
    size_t first, count;
};

static struct stretch stretch_of(const struct bp_conv_shape *s, size_t first, size_t count,
                                 size_t length, int cut_low, int cut_high) {
    size_t end = first + count, low = s->pad; /* positions before `low` are cut there */
    size_t high = s->pad == 0 ? end : (length - 1 + s->stride - 1) / s->stride; /* from `high` on */
    size_t from = cut_low ? 0 : low, to = cut_low ? low : end;
    from = bp_max_size(bp_max_size(from, first), cut_high ? high : 0);
    to = bp_min_size(bp_min_size(to, end), cut_high ? end : high);
    return (struct stretch){from, to > from ? to - from : 0};
}

/* Data of `unit` elements a pixel, halo included, in rows of row_pixels and samples of
 * sample_pixels. */
struct layout {
    size_t unit, row_pixels, sample_pixels;
};

/* The pixels of a tile that are of one border class: where their windows begin, and their place in
 * the tile. Returns their number. */
static size_t list_pixels(const struct bp_bconv *op, const struct tile *tile, unsigned border_class,
                          const struct layout *layout, int32_t *pixel, int32_t *to) {
    const struct bp_conv_shape *s = &op->shape;
    struct stretch rows =
        stretch_of(s, tile->row, tile->rows, s->h, (border_class & BP_CLASS_TOP) != 0,
                   (border_class & BP_CLASS_BOTTOM) != 0);
    struct stretch columns = stretch_of(s, 0, s->ow, s->w, (border_class & BP_CLASS_LEFT) != 0,
                                        (border_class & BP_CLASS_RIGHT) != 0);
    size_t n = 0;
    for (size_t i = 0; i < tile->samples && columns.count > 0; i++)
        for (size_t row = rows.first - tile->row; row < rows.first - tile->row + rows.count; row++)
            for (size_t x = columns.first; x < columns.first + columns.count; x++) {
                size_t at = i * layout->sample_pixels + (row * layout->row_pixels + x) * s->stride;
                pixel[n] = (int32_t)(at * layout->unit);
                to[n++] = (int32_t)((i * tile->rows + row) * s->ow + x);
            }
    return n;
}

/* The taps that lie inside the image at pixels of a border class. Returns their number. */
static size_t list_taps(const struct bp_bconv *op, unsigned border_class,
                        const struct layout *layout, int32_t tap[BP_TAPS_MAX],
                        int32_t tap_w[BP_TAPS_MAX]) {
    size_t n = 0, r = op->shape.r;
    for (size_t t = 0; t < op->taps; t++) {
        if (bp_bconv_tap_is_cut(border_class, t, r))
            continue;
        tap[n] = (int32_t)((t / r * layout->row_pixels + t % r) * layout->unit);
        tap_w[n++] = (int32_t)t;
    }
    return n;
}

static void tile_product(const struct forward_job *job, const struct tile *tile, int thread) {
    struct bp_bconv *op = job->op;
    const struct bp_conv_shape *s = &op->shape;
    const struct bp_kernels *kernels = &job->exec->kernels;
    struct bp_carver carver = {bp_exec_scratch(job->exec, thread)};
    int32_t *pixel = bp_carve(&carver, tile_pixels(op) * sizeof *pixel), tap[BP_TAPS_MAX];
    int32_t *to = bp_carve(&carver, tile_pixels(op) * sizeof *to), tap_w[BP_TAPS_MAX];
    uint8_t *window = (uint8_t *)carver.next; /* by lookup: [samples][rows][columns][cq] */
    size_t inside = s->pad == 0 ? 1 : 0;      /* 1x1 kernels start inside the halo */
    const uint64_t *x = job->x + tile->sample * op->in_words +
                        ((tile->row * s->stride + inside) * (s->w + 2) + inside) * op->cw;
    int16_t *y = job->y + ((tile->sample * s->oh + tile->row) * s->ow) * s->k;
    struct layout layout = {op->cw, s->w + 2, op->in_words / op->cw};
    if (op->method_forward == BP_PRODUCT_LOOKUP) {
        size_t rows = window_rows(s, tile->rows), columns = window_columns(s);
        for (size_t i = 0; i < tile->samples; i++)
            for (size_t row = 0; row < rows; row++)
                kernels->quads_of_signs(x + i * op->in_words + row * (s->w + 2) * op->cw, columns,
                                        op->cw, op->cq,
                                        window + (i * rows + row) * columns * op->cq);
        layout = (struct layout){op->cq, columns, rows * columns};
    }
    for (unsigned border_class = 0; border_class < BP_BORDER_CLASSES; border_class++) {
        size_t count = list_pixels(op, tile, border_class, &layout, pixel, to);
        if (count == 0)
            continue;
        size_t taps = list_taps(op, border_class, &layout, tap, tap_w);
        int bias = (int)(taps * s->c);
        if (op->method_forward == BP_PRODUCT_LOOKUP)
            kernels->product_signs(window, pixel, to, count, tap, tap_w, taps, op->taps, op->cq,
                                   op->index, s->k, bias, y);
        else
            kernels->product_xor(x, pixel, to, count, tap, tap_w, taps, op->taps, op->cw, op->w,
                                 s->k, bias, y);
    }
    if (job->sums != NULL)
        bp_channel_sums_add_i16(job->sums, kernels, thread, y, tile->samples * tile->rows * s->ow,
                                (int)(op->taps * s->c));
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
