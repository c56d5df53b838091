/* The forward product: tiles of whole samples, or of rows of one.
 *
 * Small maps are walked border class by border class: the pixels of a class have the same taps, so
 * that nothing outside the image is multiplied. Of large maps little would be saved, and results
 * that are not written one behind the other are waited for: there all pixels see the halo, which
 * reads as +1 everywhere, and what it adds is taken back. */
#include "ops/bconv_internal.h"

#include <string.h>

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

/* From the first word of x that a tile sees to behind the last. */
static size_t window_words(const struct bp_bconv *op, const struct bp_tiling *tile) {
    const struct bp_conv_shape *s = &op->shape;
    return (tile->samples - 1) * op->in_words + window_rows(s, tile->rows) * (s->w + 2) * op->cw;
}

static size_t tile_pixels(const struct bp_bconv *op) {
    const struct bp_tiling *tiling = &op->tiling_forward;
    return tiling->samples * tiling->rows * tiling->columns;
}

void bp_bconv_forward_plan(struct bp_bconv *op, struct bp_exec *exec) {
    const struct bp_conv_shape *s = &op->shape;
    size_t pixels = s->oh * s->ow, all = pixels * op->taps, inside = bp_bconv_joined_pixels(op);
    if (op->method_forward == BP_PRODUCT_TILES) {
        op->by_class = 1; /* what is outside is zero: there is nothing to take back */
        bp_forward_tiles_plan(op, exec);
        return;
    }
    op->by_class = 4 * (all - inside) >= all;
    op->tiling_forward = (struct bp_tiling){1, s->oh, s->ow};
    if (pixels <= TILE_PIXELS)
        op->tiling_forward.samples = bp_min_size(s->n, TILE_PIXELS / pixels);
    else
        op->tiling_forward.rows =
            bp_even_rows(s->oh, s->ow >= TILE_PIXELS ? 1 : TILE_PIXELS / s->ow);
    op->in_triples = op->method_forward == BP_PRODUCT_BITS && exec->kernels.in_triples &&
                     s->r == 3 && (!op->by_class || s->ow > 2);
    size_t bytes = 2 * bp_round_up(tile_pixels(op) * sizeof(int32_t), 64);
    if (op->in_triples)
        bytes += bp_round_up(tile_pixels(op), 64) +
                 bp_round_up(window_words(op, &op->tiling_forward) * sizeof(uint64_t), 64);
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
    size_t samples; /* of a tile */
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

/* Rows and columns of a tile. */
struct area {
    struct stretch rows, columns;
};

/* Those of one border class. */
static struct area area_of_class(const struct bp_bconv *op, const struct tile *tile,
                                 unsigned border_class) {
    const struct bp_conv_shape *s = &op->shape;
    return (struct area){stretch_of(s, tile->row, tile->rows, s->h,
                                    (border_class & BP_CLASS_TOP) != 0,
                                    (border_class & BP_CLASS_BOTTOM) != 0),
                         stretch_of(s, 0, s->ow, s->w, (border_class & BP_CLASS_LEFT) != 0,
                                    (border_class & BP_CLASS_RIGHT) != 0)};
}

/* The pixels of an area, in all samples of the tile: where their windows begin, and their place in
 * the tile. Returns their number. */
static size_t list_pixels(const struct bp_bconv *op, const struct tile *tile,
                          const struct area *area, const struct layout *layout, int32_t *pixel,
                          int32_t *to) {
    const struct bp_conv_shape *s = &op->shape;
    size_t n = 0, first = area->rows.first - tile->row;
    for (size_t i = 0; i < tile->samples && area->columns.count > 0; i++)
        for (size_t row = first; row < first + area->rows.count; row++)
            for (size_t j = 0; j < area->columns.count; j++) {
                size_t x = area->columns.first + j;
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

/* The same in rows of three. */
static size_t list_tap_rows(const struct bp_bconv *op, unsigned border_class,
                            const struct layout *layout, int32_t row[BP_TAPS_MAX],
                            int32_t row_w[BP_TAPS_MAX]) {
    size_t n = 0;
    for (size_t r = 0; r < op->shape.r; r++) {
        if (bp_bconv_tap_is_cut(border_class, r * op->shape.r + 1, op->shape.r))
            continue;
        row[n] = (int32_t)(r * layout->row_pixels * layout->unit);
        row_w[n++] = (int32_t)r;
    }
    return n;
}

/* What the products of a tile read and write. */
struct operands {
    const uint64_t *x;     /* on words */
    uint8_t *border_class; /* in triples: of each pixel */
    uint64_t *parity;      /* in triples: of a word and the next two of its row */
    uint8_t *window;       /* by lookup: [samples][rows][columns][cq] */
    struct layout layout;
    int32_t *pixel, *to;
    int16_t *y;
};

/* Pixels of an area, all with the taps of one border class; in triples, add_row, unless NULL: the
 * row of the border table that is added to each. */
static void area_product(const struct forward_job *job, const struct tile *tile,
                         const struct area *area, unsigned border_class, const uint8_t *add_row,
                         const struct operands *o) {
    const struct bp_bconv *op = job->op;
    const struct bp_conv_shape *s = &op->shape;
    const struct bp_kernels *kernels = &job->exec->kernels;
    int32_t tap[BP_TAPS_MAX], tap_w[BP_TAPS_MAX];
    size_t count = list_pixels(op, tile, area, &o->layout, o->pixel, o->to);
    size_t taps = list_taps(op, border_class, &o->layout, tap, tap_w);
    int bias = (int)(taps * s->c);
    if (count == 0)
        return;
    if (op->in_triples && (border_class & (BP_CLASS_LEFT | BP_CLASS_RIGHT)) == 0) {
        size_t rows = list_tap_rows(op, border_class, &o->layout, tap, tap_w);
        kernels->product_triples(o->x, o->parity, o->pixel, o->to, count, tap, tap_w, rows, s->r,
                                 op->cw, op->triples, s->k, bias,
                                 add_row == NULL ? NULL : op->border, add_row, o->y);
        return;
    }
    if (op->method_forward == BP_PRODUCT_LOOKUP)
        kernels->product_signs(o->window, o->pixel, o->to, count, tap, tap_w, taps, op->taps,
                               op->cq, op->index, s->k, bias, o->y);
    else
        kernels->product_xor(o->x, o->pixel, o->to, count, tap, tap_w, taps, op->taps, op->cw,
                             op->w, s->k, bias, o->y);
}

/* All pixels with all taps, then what the halo added is taken back. */
static void whole_product(const struct forward_job *job, const struct tile *tile,
                          const struct operands *o) {
    const struct bp_bconv *op = job->op;
    const struct area all = {{tile->row, tile->rows}, {0, op->shape.ow}};
    size_t k = op->shape.k, ow = op->shape.ow, rows = tile->rows * ow;
    if (op->in_triples) {
        for (size_t i = 0; i < tile->samples; i++)
            memcpy(o->border_class + i * rows, op->border_class + tile->row * ow, rows);
        area_product(job, tile, &all, 0, o->border_class, o);
        return;
    }
    area_product(job, tile, &all, 0, NULL, o);
    for (unsigned border_class = 1; border_class < BP_BORDER_CLASSES; border_class++) {
        const int16_t *add = op->border + border_class * k;
        struct area area = area_of_class(op, tile, border_class);
        size_t count = list_pixels(op, tile, &area, &o->layout, o->pixel, o->to);
        for (size_t p = 0; p < count; p++) {
            int16_t *y = o->y + (size_t)o->to[p] * k;
            for (size_t j = 0; j < k; j++)
                y[j] = (int16_t)(y[j] + add[j]);
        }
    }
}

/* The parity of each word of a tile's window and the next two; the last two have none. */
static void fill_parity(const struct bp_bconv *op, const struct tile *tile, const uint64_t *x,
                        uint64_t *parity) {
    struct bp_tiling window = {tile->samples, tile->rows, op->shape.ow};
    size_t words = window_words(op, &window) - 2 * op->cw;
    const uint64_t *second = x + op->cw, *third = x + 2 * op->cw;
    for (size_t i = 0; i < words; i++)
        parity[i] = x[i] ^ second[i] ^ third[i];
}

/* Signs of a tile's window as the tables' lookup takes them. */
static void fill_window(const struct forward_job *job, const struct tile *tile, const uint64_t *x,
                        uint8_t *window) {
    const struct bp_bconv *op = job->op;
    size_t rows = window_rows(&op->shape, tile->rows), columns = window_columns(&op->shape);
    for (size_t i = 0; i < tile->samples; i++)
        for (size_t row = 0; row < rows; row++)
            job->exec->kernels.quads_of_signs(
                x + i * op->in_words + row * (op->shape.w + 2) * op->cw, columns, op->cw, op->cq,
                window + (i * rows + row) * columns * op->cq);
}

static void tile_product(const struct forward_job *job, const struct tile *tile, int thread) {
    struct bp_bconv *op = job->op;
    const struct bp_conv_shape *s = &op->shape;
    struct bp_carver carver = {bp_exec_scratch(job->exec, thread)};
    int32_t *pixel = bp_carve(&carver, tile_pixels(op) * sizeof *pixel);
    int32_t *to = bp_carve(&carver, tile_pixels(op) * sizeof *to);
    uint8_t *border_class = op->in_triples ? bp_carve(&carver, tile_pixels(op)) : NULL;
    size_t inside = s->pad == 0 ? 1 : 0; /* 1x1 kernels start inside the halo */
    const uint64_t *x = job->x + tile->sample * op->in_words +
                        ((tile->row * s->stride + inside) * (s->w + 2) + inside) * op->cw;
    int16_t *y = job->y + ((tile->sample * s->oh + tile->row) * s->ow) * s->k;
    struct operands o = {.x = x,
                         .border_class = border_class,
                         .parity = (uint64_t *)carver.next,
                         .window = (uint8_t *)carver.next,
                         .layout = {op->cw, s->w + 2, op->in_words / op->cw},
                         .pixel = pixel,
                         .to = to,
                         .y = y};
    if (op->in_triples)
        fill_parity(op, tile, x, o.parity);
    if (op->method_forward == BP_PRODUCT_LOOKUP) {
        size_t columns = window_columns(s);
        o.layout = (struct layout){op->cq, columns, window_rows(s, tile->rows) * columns};
        fill_window(job, tile, x, o.window);
    }
    if (!op->by_class)
        whole_product(job, tile, &o);
    for (unsigned b = 0; op->by_class && b < BP_BORDER_CLASSES; b++) {
        struct area area = area_of_class(op, tile, b);
        area_product(job, tile, &area, b, NULL, &o);
    }
    if (job->sums != NULL)
        bp_channel_sums_add_i16(job->sums, &job->exec->kernels, thread, y,
                                tile->samples * tile->rows * s->ow, (int)(op->taps * s->c));
}

/* Items are (group of samples that are walked together, some rows). */
static void forward_part(void *context, size_t begin, size_t end, int thread) {
    struct forward_job *job = context;
    const struct bp_tiling *tiling = &job->op->tiling_forward;
    size_t oh = job->op->shape.oh, row_tiles = bp_row_tiles(tiling, oh);
    for (size_t item = begin; item < end; item++) {
        struct tile tile = {.sample = item / row_tiles * job->samples,
                            .row = item % row_tiles * tiling->rows};
        tile.samples = bp_min_size(job->samples, job->n - tile.sample);
        tile.rows = bp_min_size(tiling->rows, oh - tile.row);
        tile_product(job, &tile, thread);
    }
}

static void run_tiles(struct forward_job *job) {
    const struct bp_tiling *tiling = &job->op->tiling_forward;
    job->samples = bp_item_size(job->exec->threads, job->n, tiling->samples, 1);
    size_t groups = (job->n + job->samples - 1) / job->samples;
    bp_parallel_for(job->exec->threads, groups * bp_row_tiles(tiling, job->op->shape.oh),
                    forward_part, job);
}

void bp_bconv_forward(struct bp_bconv *op, struct bp_exec *exec, size_t n, const uint64_t *x,
                      int16_t *y, struct bp_channel_sums *sums) {
    struct forward_job job = {op, exec, x, y, n, sums, 0};
    if (sums != NULL)
        bp_channel_sums_begin(sums, exec, n);
    if (op->method_forward == BP_PRODUCT_TILES)
        bp_forward_tiles_run(op, exec, n, x, y, sums);
    else
        run_tiles(&job);
    if (sums != NULL)
        bp_channel_sums_end(sums);
}
