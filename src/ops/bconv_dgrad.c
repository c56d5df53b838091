/* The activation gradient dA = conv_transpose(codes, signs of w), over the codes of kept samples.
 *
 *   dA = scale * sum(code * w^) + offset * sum(w^)     sums over the taps whose output pixel exists
 *
 * Pixels are walked class by class: those of a class have the same taps, so that nothing outside
 * the image is multiplied, and the second sum is that of the class. With stride 2, input pixels of
 * the four parities see different taps and are walked one parity after another.
 *
 * By lookup, a tile's window of codes becomes tables first; of 8 bits see bconv_dgrad_wide.c.
 * Entries are not sums of code * w^ but sum of entries = sum of (code - code_min) * w^ + top *
 * (number of negative w^) and base_da takes that back: it is the same for all pixels of a class. */
#include "ops/bconv_dgrad.h"

#include <string.h>

int bp_bconv_gives_sums(const struct bp_conv_shape *shape, const struct bp_quant *quant_da) {
    return bp_bconv_sums_shift(quant_da, shape->k * shape->r * shape->r, BP_SUMS_SHIFT_DA) >= 0;
}

int bp_dgrad_at_once(const struct bp_bconv *op, const struct bp_exec *exec) {
    return op->method_da == BP_PRODUCT_LOOKUP && exec->kernels.sums_at_once && op->shift_da >= 0 &&
           op->taps * op->kq <= BP_STEPS_AT_ONCE * exec->kernels.together;
}

/* --- epilogue --------------------------------------------------------------------------------- */

static void fill_offsets(const struct bp_dgrad_job *job, int thread, int32_t sample,
                         struct bp_dgrad_offsets *offsets) {
    struct bp_bconv *op = job->op;
    size_t c = op->shape.c;
    float offset = op->groups_da[sample].offset;
    size_t threads = (size_t)bp_threads_count(job->exec->threads);
    if (offsets->sample == sample)
        return;
    offsets->sample = sample;
    offsets->classes = op->zero_class;
    offsets->table = op->offset_table + threads * op->classes * c;
    if (offset == 0.0f)
        return;
    float *table = op->offset_table + (size_t)thread * op->classes * c;
    for (size_t i = 0; i < op->classes * c; i++)
        table[i] = offset * (float)op->class_sum[i];
    offsets->table = table;
    offsets->classes = op->in_class;
}

void bp_dgrad_finish(const struct bp_dgrad_job *job, size_t slot, size_t at, size_t count,
                     const int32_t *sums, struct bp_dgrad_offsets *offsets, int thread) {
    struct bp_bconv *op = job->op;
    const struct bp_conv_shape *s = &op->shape;
    int32_t sample = op->sample_of_slot[slot];
    size_t flat = (size_t)sample * s->h * s->w + at;
    if (job->dx_sums != NULL) {
        job->exec->kernels.mask_sums(sums, job->mask + flat * op->cw, count, s->c, op->shift_da,
                                     job->dx_sums->sums + flat * s->c);
        return;
    }
    fill_offsets(job, thread, sample, offsets);
    job->exec->kernels.scale_mask(sums, job->mask + flat * op->cw, count, s->c,
                                  op->groups_da[sample].scale, offsets->table,
                                  offsets->classes + at, job->dx + flat * s->c);
}

/* Scales, adds the offset, masks and stores the sums of a tile's pixels of one class. Pixels that
 * are neighbours in the image go in one call. */
static void finish_class(const struct bp_dgrad_job *job, const struct bp_dgrad_tile *tile,
                         const struct bp_pixel_run *runs, size_t n_runs, unsigned pixel_class,
                         const int32_t *sums, struct bp_dgrad_offsets *offsets, int thread) {
    const struct bp_conv_shape *s = &job->op->shape;
    for (size_t i = 0; i < n_runs; i++) {
        const struct bp_pixel_run *run = &runs[i];
        if (run->pixel_class != pixel_class)
            continue;
        size_t together = s->stride == 1 ? run->count : 1;
        for (size_t x = 0; x < run->count; x += together, sums += together * s->c)
            bp_dgrad_finish(job, tile->slot + run->sample, run->at + x * s->stride, together, sums,
                            offsets, thread);
    }
}

/* --- product ---------------------------------------------------------------------------------- */

/* By lookup the window of a tile; else all codes of its samples. */
static struct bp_dgrad_window window_of(const struct bp_bconv *op,
                                        const struct bp_dgrad_tile *tile) {
    const struct bp_conv_shape *s = &op->shape;
    struct bp_dgrad_window w = {
        (size_t)op->quant_da.bits * op->kw, 0, s->oh, 0, s->ow, s->oh * s->ow};
    if (op->method_da == BP_PRODUCT_BITS)
        return w;
    w.unit = op->kq;
    w.first_row = tile->row > 0 ? tile->row - 1 : 0;
    w.first_column = tile->column > 0 ? tile->column - 1 : 0;
    w.rows = bp_min_size(tile->row + tile->rows + 1, s->oh) - w.first_row;
    w.columns = bp_min_size(tile->column + tile->columns + 1, s->ow) - w.first_column;
    w.sample_pixels = w.rows * w.columns;
    return w;
}

/* A tile's pixels of one parity. */
static size_t list_pixels(const struct bp_bconv *op, const struct bp_dgrad_tile *tile,
                          size_t parity, const struct bp_dgrad_window *window,
                          struct bp_pixel_run *runs) {
    const struct bp_conv_shape *s = &op->shape;
    size_t py = parity / s->stride, px = parity % s->stride, n = 0;
    size_t rows = bp_dgrad_count_along(tile->row, tile->rows, s->stride, py, s->h);
    size_t columns = bp_dgrad_count_along(tile->column, tile->columns, s->stride, px, s->w);
    for (size_t i = 0; i < tile->samples; i++)
        for (size_t y = 0; y < rows; y++) {
            size_t at = ((tile->row + y) * s->stride + py) * s->w + tile->column * s->stride + px;
            size_t code = i * window->sample_pixels +
                          (tile->row + y - window->first_row) * window->columns + tile->column -
                          window->first_column;
            for (size_t x = 0, count; x < columns; x += count) {
                const uint8_t *in_class = op->in_class + at + x * s->stride;
                for (count = 1; x + count < columns; count++)
                    if (in_class[count * s->stride] != in_class[0])
                        break;
                runs[n++] =
                    (struct bp_pixel_run){(uint32_t)i, (uint32_t)(at + x * s->stride),
                                          (int32_t)(code + x), (uint16_t)count, in_class[0]};
            }
        }
    return n;
}

/* The pixels of one class: where their codes are, and their numbers in the batch. Returns how many
 * there are. */
static size_t list_class(const struct bp_dgrad_job *job, const struct bp_dgrad_tile *tile,
                         const struct bp_pixel_run *runs, size_t n, unsigned pixel_class,
                         size_t unit, int32_t *pixel, int32_t *to) {
    const struct bp_conv_shape *s = &job->op->shape;
    size_t count = 0;
    for (size_t r = 0; r < n; r++) {
        const struct bp_pixel_run *run = &runs[r];
        if (run->pixel_class != pixel_class)
            continue;
        int32_t image = job->op->sample_of_slot[tile->slot + run->sample] * (int32_t)(s->h * s->w);
        const int32_t code = run->code * (int32_t)unit, at = image + (int32_t)run->at;
        const int32_t pixels = (int32_t)run->count, stride = (int32_t)s->stride;
        for (int32_t x = 0; x < pixels; x++) {
            pixel[count + (size_t)x] = code + x * (int32_t)unit;
            to[count + (size_t)x] = at + x * stride;
        }
        count += run->count;
    }
    return count;
}

/* The tables of a tile's window, of all digits. */
static void fill_tables(const struct bp_dgrad_job *job, const struct bp_dgrad_tile *tile,
                        const struct bp_dgrad_window *window, uint8_t *tables) {
    const struct bp_bconv *op = job->op;
    size_t digit_bytes = bp_dgrad_window_tables(op, &op->tiling_da) * BP_TABLE_BYTES;
    size_t row_bytes = window->columns * op->kq * BP_TABLE_BYTES;
    for (size_t i = 0; i < tile->samples; i++)
        for (size_t y = 0; y < window->rows; y++, tables += row_bytes) {
            const uint8_t *codes =
                op->codes_da + (tile->slot + i) * bp_dgrad_sample_bytes(op) +
                ((window->first_row + y) * op->shape.ow + window->first_column) * op->pixel_da;
            for (size_t d = 0; d < job->n_digits; d++)
                job->exec->kernels.tables_of_codes(codes, window->columns, op->shape.k,
                                                   job->exec->kernels.together, &job->digits[d],
                                                   tables + d * digit_bytes);
        }
}

/* The taps of a parity that pixels of this class see. Returns their number. */
static size_t list_taps(const struct bp_bconv *op, size_t parity, unsigned pixel_class,
                        const struct bp_dgrad_window *window, int32_t tap[BP_TAPS_MAX],
                        int32_t tap_w[BP_TAPS_MAX]) {
    const struct bp_parity *p = &op->parity[parity];
    size_t n = 0;
    for (size_t t = 0; t < p->taps; t++) {
        if (!(op->class_masks[pixel_class] >> p->tap_w[t] & 1))
            continue;
        tap[n] =
            ((p->row[t] - 1) * (int32_t)window->columns + p->column[t] - 1) * (int32_t)window->unit;
        tap_w[n++] = p->tap_w[t];
    }
    return n;
}

/* Sums of codes and signs for `count` pixels of one parity and class. */
static void class_product(const struct bp_dgrad_job *job, const struct bp_dgrad_tile *tile,
                          size_t parity, unsigned pixel_class, const struct bp_dgrad_window *window,
                          const uint8_t *tables, const int32_t *pixel, size_t count, int32_t *sums,
                          struct bp_fetch *soon) {
    const struct bp_bconv *op = job->op;
    const struct bp_kernels *kernels = &job->exec->kernels;
    size_t c = op->shape.c;
    int32_t tap[BP_TAPS_MAX], tap_w[BP_TAPS_MAX];
    size_t taps = list_taps(op, parity, pixel_class, window, tap, tap_w);
    if (taps == 0) { /* a 1x1 kernel of stride 2 never sees these pixels */
        memset(sums, 0, count * c * sizeof *sums);
        return;
    }
    if (op->method_da == BP_PRODUCT_BITS) {
        const uint8_t *codes = op->codes_da + tile->slot * bp_dgrad_sample_bytes(op);
        kernels->product_planes((const uint64_t *)(const void *)codes, pixel, count, tap, tap_w,
                                taps, op->taps, op->kw, op->quant_da.bits, job->is_signed, op->w_t,
                                c, sums);
        return;
    }
    for (size_t d = 0; d < job->n_digits; d++)
        kernels->product_tables(
            tables + d * bp_dgrad_window_tables(op, &op->tiling_da) * BP_TABLE_BYTES, pixel, count,
            tap, tap_w, taps, op->taps, op->kq, kernels->together, BP_QUAD * job->digits[d].top,
            op->index_t, c, d == 0 ? op->base_da + pixel_class * c : NULL, job->digits[d].shift,
            sums, soon);
}

struct bp_fetch bp_dgrad_tile_of_dx(const struct bp_dgrad_job *job,
                                    const struct bp_dgrad_tile *tile) {
    const struct bp_conv_shape *s = &job->op->shape;
    const int32_t *sample = job->op->sample_of_slot + tile->slot;
    size_t samples = 1, row = tile->row * s->stride, column = tile->column * s->stride;
    while (samples < tile->samples && sample[samples] == sample[0] + (int32_t)samples)
        samples++;
    size_t pixels = bp_min_size(tile->columns * s->stride, s->w - column);
    if (pixels == s->w) /* rows lie one behind the other */
        pixels *= samples > 1 ? samples * s->h : bp_min_size(tile->rows * s->stride, s->h - row);
    size_t first = ((size_t)sample[0] * s->h + row) * s->w + column;
    size_t size = job->dx_sums != NULL ? sizeof(int16_t) : sizeof(float);
    const char *dx =
        job->dx_sums != NULL ? (const char *)job->dx_sums->sums : (const char *)job->dx;
    const char *at = dx + first * s->c * size;
    return (struct bp_fetch){.at = at, .end = at + pixels * s->c * size};
}

/* The same of the whole product, into dx_sums: pixel i is number to[i] of the batch. */
static void class_to_dx(const struct bp_dgrad_job *job, const struct bp_dgrad_tile *tile,
                        size_t parity, unsigned pixel_class, const struct bp_dgrad_window *window,
                        const uint8_t *tables, const int32_t *pixel, const int32_t *to,
                        size_t count, const struct bp_pixel_run *runs, size_t n_runs,
                        struct bp_dgrad_wide *wide, struct bp_fetch *soon) {
    const struct bp_bconv *op = job->op;
    const struct bp_kernels *kernels = &job->exec->kernels;
    const size_t c = op->shape.c;
    const int32_t *base = op->base_da + pixel_class * c;
    const struct bp_masked_sums dx = {job->mask, job->dx_sums->sums, op->shift_da};
    int32_t tap[BP_TAPS_MAX], tap_w[BP_TAPS_MAX];
    size_t taps = list_taps(op, parity, pixel_class, window, tap, tap_w);
    for (size_t i = 0; taps == 0 && i < count; i++)
        memset(dx.out + (size_t)to[i] * c, 0, c * sizeof *dx.out);
    if (taps > 0 && !job->wide)
        kernels->product_tables_i16(tables, pixel, to, count, tap, tap_w, taps, op->taps, op->kq,
                                    kernels->together, BP_QUAD * job->digits[0].top, op->index_t, c,
                                    base, NULL, &dx, soon);
    if (taps == 0 || !job->wide)
        return;
    int32_t seen[BP_TAPS_MAX];
    for (size_t t = 0; t < taps; t++)
        seen[t] = tap[t] / (int32_t)window->unit;
    const struct bp_wide_pixels pixels =
        bp_dgrad_wide_pixels(job, tile, runs, n_runs, pixel_class, seen, taps, wide);
    kernels->product_tables_i16(tables, pixel, to, count, tap, tap_w, taps, op->taps, op->kq,
                                kernels->together, BP_WIDE_MOST, op->index_t, c, base, &pixels, &dx,
                                soon);
}

/* The codes in a tile's window. */
static struct bp_fetch codes_of_tile(const struct bp_bconv *op, const struct bp_dgrad_tile *tile) {
    const struct bp_dgrad_window w = window_of(op, tile);
    const size_t row = op->shape.ow * op->pixel_da, bytes = w.columns * op->pixel_da;
    const char *at = (const char *)op->codes_da + tile->slot * bp_dgrad_sample_bytes(op) +
                     w.first_row * row + w.first_column * op->pixel_da;
    if (tile->samples > 1) /* all of their rows */
        return (struct bp_fetch){.at = at, .end = at + tile->samples * bp_dgrad_sample_bytes(op)};
    return (struct bp_fetch){at, at + bytes, w.rows - 1, bytes, row, NULL};
}

/* `next`: the tile that comes next, its codes are fetched beside the product. */
static void tile_product(const struct bp_dgrad_job *job, const struct bp_dgrad_tile *tile,
                         const struct bp_dgrad_tile *next, struct bp_dgrad_offsets *offsets,
                         int thread) {
    const struct bp_bconv *op = job->op;
    const struct bp_conv_shape *s = &op->shape;
    struct bp_carver carver = {bp_exec_scratch(job->exec, thread)};
    size_t most = bp_dgrad_tile_pixels(&op->tiling_da);
    int32_t *sums =
        bp_carve(&carver, bp_dgrad_sum_pixels(op, &op->tiling_da) * s->c * sizeof(int32_t));
    int32_t *pixel = bp_carve(&carver, most * sizeof(int32_t));
    int32_t *to = bp_carve(&carver, most * sizeof(int32_t)); /* its number in the batch */
    struct bp_pixel_run *runs = bp_carve(&carver, most * sizeof *runs);
    struct bp_dgrad_wide wide = {0};
    if (job->wide)
        wide = bp_dgrad_wide_carve(op, &carver);
    uint8_t *tables = (uint8_t *)carver.next; /* [digits][samples][rows][columns][kq][16] */
    struct bp_dgrad_window window = window_of(op, tile);
    const struct bp_fetch codes = codes_of_tile(op, next);
    struct bp_fetch soon = bp_dgrad_tile_of_dx(job, tile);
    soon.then = &codes;
    if (job->wide)
        bp_dgrad_wide_tables(job, tile, &window, tables, &wide);
    else if (op->method_da == BP_PRODUCT_LOOKUP)
        fill_tables(job, tile, &window, tables);
    for (size_t i = 0; i < s->stride * s->stride; i++) {
        size_t n = list_pixels(op, tile, i, &window, runs);
        for (unsigned pixel_class = 0; pixel_class < op->classes; pixel_class++) {
            size_t count = list_class(job, tile, runs, n, pixel_class, window.unit, pixel, to);
            if (count == 0)
                continue;
            if (job->at_once) {
                class_to_dx(job, tile, i, pixel_class, &window, tables, pixel, to, count, runs, n,
                            &wide, &soon);
                continue;
            }
            class_product(job, tile, i, pixel_class, &window, tables, pixel, count, sums, &soon);
            finish_class(job, tile, runs, n, pixel_class, sums, offsets, thread);
        }
    }
}

static struct bp_dgrad_tile tile_of(const struct bp_dgrad_job *job, size_t item, size_t column) {
    const struct bp_bconv *op = job->op;
    const struct bp_tiling *tiling = &op->tiling_da;
    size_t row_tiles = bp_row_tiles(tiling, op->shape.oh);
    struct bp_dgrad_tile tile = {.slot = item / row_tiles * job->samples,
                                 .row = item % row_tiles * tiling->rows,
                                 .column = column};
    tile.samples = bp_min_size(job->samples, op->kept_da - tile.slot);
    tile.rows = bp_min_size(tiling->rows, op->shape.oh - tile.row);
    tile.columns = bp_min_size(tiling->columns, op->shape.ow - tile.column);
    return tile;
}

/* Items are (group of slots that are walked together, some rows). */
static void dgrad_part(void *context, size_t begin, size_t end, int thread) {
    struct bp_dgrad_job *job = context;
    const size_t width = job->op->shape.ow, columns = job->op->tiling_da.columns;
    struct bp_dgrad_offsets offsets = {NULL, NULL, -1};
    for (size_t item = begin; item < end; item++) {
        struct bp_dgrad_tile tile, next = tile_of(job, item, 0);
        for (size_t column = 0; column < width; column += columns) {
            tile = next;
            if (column + columns < width)
                next = tile_of(job, item, column + columns);
            else if (item + 1 < job->items)
                next = tile_of(job, item + 1, 0);
            tile_product(job, &tile, &next, &offsets, thread);
        }
    }
}

static void clear_dropped(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    struct bp_dgrad_job *job = context;
    size_t elements = job->op->shape.h * job->op->shape.w * job->op->shape.c;
    for (size_t sample = begin; sample < end; sample++) {
        if (job->op->slot_of_sample[sample] >= 0)
            continue;
        if (job->dx_sums != NULL)
            memset(job->dx_sums->sums + sample * elements, 0, elements * sizeof(int16_t));
        else
            memset(job->dx + sample * elements, 0, elements * sizeof(float));
    }
}

/* What depends on the weights alone. With K output channels, of which neg have w^ = -1 at a tap:
 *     class_sum = sum over the class's taps of K - 2 neg
 *     base      = sum over the class's taps of code_min * (K - 2 neg) - top * neg */
static void fill_class(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    const struct bp_dgrad_job *job = context;
    struct bp_bconv *op = job->op;
    size_t c = op->shape.c;
    int32_t top = 0;
    for (size_t d = 0; d < job->n_digits; d++)
        top += job->digits[d].top * (1 << job->digits[d].shift);
    for (size_t i = begin; i < end; i++) {
        int32_t *sum = op->class_sum + i * c, *base = op->base_da + i * c, all = 0;
        memset(sum, 0, c * sizeof *sum);
        for (size_t t = 0; t < op->taps; t++) {
            if (!(op->class_masks[i] >> t & 1))
                continue;
            all += (int32_t)op->shape.k;
            for (size_t j = 0; j < c; j++)
                sum[j] += op->tap_sum_t[t * c + j];
        }
        for (size_t j = 0; j < c; j++)
            base[j] = job->wide ? 0 : job->digits[0].code_min * sum[j] - top * ((all - sum[j]) / 2);
    }
}

void bp_bconv_dgrad_run(struct bp_bconv *op, struct bp_exec *exec, size_t n, const uint64_t *mask,
                        float *dx, const struct bp_bconv_sums *dx_sums, int leave_dropped) {
    struct bp_dgrad_job job = {.op = op, .exec = exec, .mask = mask, .dx = dx, .dx_sums = dx_sums};
    int code_min, code_max;
    bp_quant_codes(&op->quant_da, &code_min, &code_max, &job.is_signed);
    job.n_digits = bp_bconv_digits(&op->quant_da, job.digits);
    for (size_t i = 0; dx_sums != NULL && i < n; i++)
        dx_sums->scale[i] = op->groups_da[i].scale * (float)(1 << op->shift_da);
    const double passes = dx_sums != NULL && op->kept_da > 0
                              ? bp_dgrad_wide_passes(op, exec)
                              : bp_product_lookup_passes(op->quant_da.bits, 1);
    job.wide = job.n_digits > 1 && passes < 2;
    op->nonzero_da = op->kept_da > 0 && bp_dgrad_nonzero_pays(op, exec, passes);
    if (!leave_dropped)
        bp_parallel_for(exec->threads, n, clear_dropped, &job);
    size_t threads = (size_t)bp_threads_count(exec->threads);
    memset(op->offset_table + threads * op->classes * op->shape.c, 0, op->shape.c * sizeof(float));
    if (op->nonzero_da) {
        bp_dgrad_nonzero_run(op, exec, mask, dx, dx_sums);
        return;
    }
    job.at_once = dx_sums != NULL && bp_dgrad_at_once(op, exec) && (job.wide || job.n_digits == 1);
    bp_parallel_for(exec->threads, op->classes, fill_class, &job);
    if (op->method_da == BP_PRODUCT_TILES) {
        bp_dgrad_tiles_run(&job);
        return;
    }
    job.samples = bp_item_size(exec->threads, op->kept_da, op->tiling_da.samples, 1);
    size_t groups = (op->kept_da + job.samples - 1) / job.samples;
    job.items = groups * bp_row_tiles(&op->tiling_da, op->shape.oh);
    bp_parallel_for(exec->threads, job.items, dgrad_part, &job);
}
