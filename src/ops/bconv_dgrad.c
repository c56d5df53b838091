/* The activation gradient dA = conv_transpose(codes, signs of w), over the codes of kept samples.
 *
 *   dA = scale * sum(code * w^) + offset * sum(w^)     sums over the taps whose output pixel exists
 *
 * Pixels are walked class by class: those of a class have the same taps, so that nothing outside
 * the image is multiplied, and the second sum is that of the class. With stride 2, input pixels of
 * the four parities see different taps and are walked one parity after another.
 *
 * By lookup, a tile's window of codes becomes tables first. Entries are not sums of code * w^ but
 *     sum of entries = sum of (code - code_min) * w^ + top * (number of negative w^)
 * and base_da takes that back: it is the same for all pixels of a class. */
#include "ops/bconv_internal.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"

#define TILE_COLUMNS 32                  /* by lookup: wider maps are cut */
#define TILE_SAMPLES 8                   /* more would share out badly over the threads */
#define TILE_BYTES   ((size_t)224 << 10) /* of a tile's window and sums: they live in L2 */

/* --- geometry --------------------------------------------------------------------------------- */

/* Along one axis: does tap t of input position i reach an output position? */
static int tap_reaches(const struct bp_conv_shape *s, size_t i, size_t t) {
    return i + s->pad >= t && (i + s->pad - t) % s->stride == 0;
}

static int parity_tap_row(const struct bp_conv_shape *s, size_t parity, size_t t, int32_t *row) {
    size_t shifted = parity + s->pad + 2 * s->stride; /* keeps the difference positive */
    if ((shifted - t) % s->stride != 0)
        return 0;
    *row = (int32_t)((shifted - t) / s->stride) - 1; /* - 2 for the shift, + 1 for the halo */
    return 1;
}

static void fill_parity_taps(const struct bp_conv_shape *s, struct bp_parity *parity, size_t py,
                             size_t px) {
    for (size_t t = 0; t < s->r * s->r; t++) {
        size_t i = parity->taps;
        if (!parity_tap_row(s, py, t / s->r, &parity->row[i]) ||
            !parity_tap_row(s, px, t % s->r, &parity->column[i]))
            continue;
        parity->tap_w[parity->taps++] = (int32_t)t;
    }
}

/* The taps of input pixel (y, x) whose output pixel exists. */
static unsigned existing_taps(const struct bp_conv_shape *s, size_t y, size_t x) {
    unsigned mask = 0;
    for (size_t t = 0; t < s->r * s->r; t++) {
        size_t ty = t / s->r, tx = t % s->r;
        if (tap_reaches(s, y, ty) && tap_reaches(s, x, tx) &&
            (y + s->pad - ty) / s->stride < s->oh && (x + s->pad - tx) / s->stride < s->ow)
            mask |= 1u << t;
    }
    return mask;
}

static bp_status fill_classes(struct bp_bconv *op) {
    const struct bp_conv_shape *s = &op->shape;
    BP_TRY(bp_alloc(&op->in_class, s->h * s->w, "tap classes"));
    BP_TRY(bp_alloc(&op->zero_class, s->h * s->w, "tap classes"));
    for (size_t p = 0; p < s->h * s->w; p++) {
        unsigned mask = existing_taps(s, p / s->w, p % s->w);
        size_t i = 0;
        while (i < op->classes && op->class_masks[i] != mask)
            i++;
        if (i == op->classes)
            op->class_masks[op->classes++] = mask; /* at most (3 borders * 2 parities)^2 = 36 */
        op->in_class[p] = (uint8_t)i;
    }
    return BP_OK;
}

/* A tile is a block of output positions (y, x); its product pixels are the input pixels (stride * y
 * + parity, stride * x + parity), its window the codes at (y - 1 .. y + 1, x - 1 .. x + 1) that lie
 * inside. */
static size_t window_tables(const struct bp_bconv *op, const struct bp_tiling *t) {
    return t->samples * bp_min_size(t->rows + 2, op->shape.oh) *
           bp_min_size(t->columns + 2, op->shape.ow) * op->kq;
}

static size_t tile_pixels(const struct bp_tiling *t) {
    return t->samples * t->rows * t->columns;
}

static size_t digits_of(const struct bp_bconv *op) {
    struct bp_digit digits[2];
    return bp_bconv_digits(&op->quant_da, digits);
}

/* Pixels of a class that are neighbours in a row of a tile. */
struct pixel_run {
    uint32_t sample, at; /* in the tile, in the image */
    int32_t code;        /* the pixel of the window that the middle tap sees */
    uint16_t count, pixel_class;
};

static size_t tile_bytes(const struct bp_bconv *op, const struct bp_tiling *t) {
    size_t bytes = bp_round_up(tile_pixels(t) * op->shape.c * sizeof(int32_t), 64) +
                   bp_round_up(tile_pixels(t) * sizeof(int32_t), 64) +
                   bp_round_up(tile_pixels(t) * sizeof(struct pixel_run), 64);
    if (op->method_da == BP_PRODUCT_LOOKUP)
        bytes += digits_of(op) * window_tables(op, t) * BP_TABLE_BYTES;
    return bytes;
}

/* The largest tile that fits: whole samples, or the most rows of one, but at least one row. */
static struct bp_tiling choose_tiling(const struct bp_bconv *op) {
    const struct bp_conv_shape *s = &op->shape;
    struct bp_tiling best = {1, 1, s->ow}, larger;
    if (op->method_da == BP_PRODUCT_LOOKUP)
        best.columns = bp_min_size(s->ow, TILE_COLUMNS);
    for (larger = best; larger.rows <= s->oh && tile_bytes(op, &larger) <= TILE_BYTES;
         larger.rows++)
        best = larger;
    if (best.rows < s->oh || best.columns < s->ow)
        return best;
    for (larger = best;
         larger.samples <= bp_min_size(s->n, TILE_SAMPLES) && tile_bytes(op, &larger) <= TILE_BYTES;
         larger.samples++)
        best = larger;
    larger.samples = bp_round_up(best.samples, 4); /* each class then has a multiple of 4 pixels */
    if (larger.samples <= s->n && tile_bytes(op, &larger) <= 2 * TILE_BYTES)
        best = larger;
    return best;
}

bp_status bp_bconv_dgrad_plan(struct bp_bconv *op, struct bp_exec *exec) {
    const struct bp_conv_shape *s = &op->shape;
    int lookup = op->method_da == BP_PRODUCT_LOOKUP;
    op->pixel_da = lookup ? s->k : (size_t)op->quant_da.bits * op->kw * sizeof(uint64_t);
    for (size_t i = 0; i < s->stride * s->stride; i++)
        fill_parity_taps(s, &op->parity[i], i / s->stride, i % s->stride);
    BP_TRY(fill_classes(op));
    op->tiling_da = choose_tiling(op);
    if (s->oh * s->ow * op->pixel_da > INT32_MAX / (op->tiling_da.samples + 1))
        return bp_fail(BP_USAGE, "the image is too large to index; use a smaller --size");
    bp_exec_need_scratch(exec, tile_bytes(op, &op->tiling_da));
    return BP_OK;
}

/* How many groups of n can be kept. */
static size_t slots(const struct bp_quant *quant, size_t n) {
    if (quant->select != BP_SELECT_SYSTEMATIC && quant->select != BP_SELECT_TOPK)
        return n;
    return bp_min_size(n, (size_t)((double)quant->keep * (double)n + 0.5) + 2);
}

static size_t sample_bytes(const struct bp_bconv *op) {
    return op->shape.oh * op->shape.ow * op->pixel_da;
}

bp_status bp_bconv_dgrad_buffers(struct bp_bconv *op, struct bp_exec *exec, struct bp_plan *plan,
                                 const char *name, int time) {
    const struct bp_conv_shape *s = &op->shape;
    size_t n = s->n, threads = (size_t)bp_threads_count(exec->threads);
    op->slots_da = slots(&op->quant_da, n);
    const struct {
        const char *what;
        size_t bytes;
        void *where;
    } buffers[] = {
        {"codes dA", op->slots_da * sample_bytes(op), &op->codes_da},
        {"offsets dA", (threads * op->classes + 1) * s->c * sizeof(float), &op->offset_table},
        {"base dA", op->classes * s->c * sizeof(int32_t), &op->base_da},
        {"slots dA", n * sizeof(int32_t), &op->slot_of_sample},
        {"samples dA", op->slots_da * sizeof(int32_t), &op->sample_of_slot},
    };
    char text[96];
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++) {
        snprintf(text, sizeof text, "%s %s", name, buffers[i].what);
        BP_TRY(bp_plan_add(plan, text, buffers[i].bytes, time, time, buffers[i].where));
    }
    return BP_OK;
}

/* --- epilogue --------------------------------------------------------------------------------- */

struct dgrad_job {
    struct bp_bconv *op;
    struct bp_exec *exec;
    const uint64_t *mask;
    float *dx;
    int is_signed;
    struct bp_digit digits[2];
    size_t n_digits;
};

struct tile {
    size_t slot, samples, row, rows, column, columns;
};

/* Which rows of offsets a sample needs, filled for its scale: [classes][c], or one row of zeros. */
struct sample_offsets {
    const float *table;
    const uint8_t *classes;
    int32_t sample;
};

static void fill_offsets(const struct dgrad_job *job, int thread, int32_t sample,
                         struct sample_offsets *offsets) {
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
    for (size_t i = 0; i < op->classes; i++)
        for (size_t j = 0; j < c; j++) {
            int32_t sum = 0;
            for (size_t t = 0; t < op->taps; t++)
                if (op->class_masks[i] >> t & 1)
                    sum += op->tap_sum_t[t * c + j];
            table[i * c + j] = offset * (float)sum;
        }
    offsets->table = table;
    offsets->classes = op->in_class;
}

/* How many positions of a tile's rows or columns are input pixels of this parity. */
static size_t count_along(size_t first, size_t count, size_t stride, size_t parity, size_t length) {
    size_t all = length > parity ? (length - parity + stride - 1) / stride : 0;
    return first < all ? bp_min_size(count, all - first) : 0;
}

/* Scales, adds the offset, masks and stores the sums of a tile's pixels of one class. Pixels that
 * are neighbours in the image go in one call. */
static void finish_class(const struct dgrad_job *job, const struct tile *tile,
                         const struct pixel_run *runs, size_t n_runs, unsigned pixel_class,
                         const int32_t *sums, struct sample_offsets *offsets, int thread) {
    struct bp_bconv *op = job->op;
    const struct bp_conv_shape *s = &op->shape;
    for (size_t i = 0; i < n_runs; i++) {
        const struct pixel_run *run = &runs[i];
        if (run->pixel_class != pixel_class)
            continue;
        int32_t sample = op->sample_of_slot[tile->slot + run->sample];
        size_t together = s->stride == 1 ? run->count : 1;
        fill_offsets(job, thread, sample, offsets);
        for (size_t x = 0; x < run->count; x += together, sums += together * s->c) {
            size_t at = run->at + x * s->stride, flat = (size_t)sample * s->h * s->w + at;
            job->exec->kernels.scale_mask(sums, job->mask + flat * op->cw, together, s->c,
                                          op->groups_da[sample].scale, offsets->table,
                                          offsets->classes + at, job->dx + flat * s->c);
        }
    }
}

/* --- product ---------------------------------------------------------------------------------- */

/* The codes, or tables of them, that a tile's product reads: those of rows first_row and up,
 * columns first_column and up of each sample; pixels of `unit` elements. */
struct window {
    size_t unit, first_row, rows, first_column, columns, sample_pixels;
};

/* By lookup the window of a tile, else all codes of its samples. */
static struct window window_of(const struct bp_bconv *op, const struct tile *tile) {
    const struct bp_conv_shape *s = &op->shape;
    struct window w = {(size_t)op->quant_da.bits * op->kw, 0, s->oh, 0, s->ow, s->oh * s->ow};
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
static size_t list_pixels(const struct bp_bconv *op, const struct tile *tile, size_t parity,
                          const struct window *window, struct pixel_run *runs) {
    const struct bp_conv_shape *s = &op->shape;
    size_t py = parity / s->stride, px = parity % s->stride, n = 0;
    size_t rows = count_along(tile->row, tile->rows, s->stride, py, s->h);
    size_t columns = count_along(tile->column, tile->columns, s->stride, px, s->w);
    for (size_t i = 0; i < tile->samples; i++)
        for (size_t y = 0; y < rows; y++) {
            size_t at = ((tile->row + y) * s->stride + py) * s->w + tile->column * s->stride + px;
            size_t code = i * window->sample_pixels +
                          (tile->row + y - window->first_row) * window->columns + tile->column -
                          window->first_column;
            for (size_t x = 0; x < columns; x++, at += s->stride) {
                uint16_t pixel_class = op->in_class[at];
                if (x > 0 && runs[n - 1].pixel_class == pixel_class)
                    runs[n - 1].count++;
                else
                    runs[n++] = (struct pixel_run){(uint32_t)i, (uint32_t)at, (int32_t)(code + x),
                                                   1, pixel_class};
            }
        }
    return n;
}

/* The tables of a tile's window, of all digits. */
static void fill_tables(const struct dgrad_job *job, const struct tile *tile,
                        const struct window *window, uint8_t *tables) {
    const struct bp_bconv *op = job->op;
    size_t digit_bytes = window_tables(op, &op->tiling_da) * BP_TABLE_BYTES;
    size_t row_bytes = window->columns * op->kq * BP_TABLE_BYTES;
    for (size_t i = 0; i < tile->samples; i++)
        for (size_t y = 0; y < window->rows; y++, tables += row_bytes) {
            const uint8_t *codes =
                op->codes_da + (tile->slot + i) * sample_bytes(op) +
                ((window->first_row + y) * op->shape.ow + window->first_column) * op->pixel_da;
            for (size_t d = 0; d < job->n_digits; d++)
                job->exec->kernels.tables_of_codes(codes, window->columns, op->shape.k,
                                                   job->exec->kernels.together, &job->digits[d],
                                                   tables + d * digit_bytes);
        }
}

/* The taps of a parity that pixels of this class see. Returns their number. */
static size_t list_taps(const struct bp_bconv *op, size_t parity, unsigned pixel_class,
                        const struct window *window, int32_t tap[BP_TAPS_MAX],
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
static void class_product(const struct dgrad_job *job, const struct tile *tile, size_t parity,
                          unsigned pixel_class, const struct window *window, const uint8_t *tables,
                          const int32_t *pixel, size_t count, int32_t *sums) {
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
        const uint8_t *codes = op->codes_da + tile->slot * sample_bytes(op);
        kernels->product_planes((const uint64_t *)(const void *)codes, pixel, count, tap, tap_w,
                                taps, op->taps, op->kw, op->quant_da.bits, job->is_signed, op->w_t,
                                c, sums);
        return;
    }
    for (size_t d = 0; d < job->n_digits; d++)
        kernels->product_tables(tables + d * window_tables(op, &op->tiling_da) * BP_TABLE_BYTES,
                                pixel, count, tap, tap_w, taps, op->taps, op->kq, kernels->together,
                                BP_QUAD * job->digits[d].top, op->index_t, c,
                                d == 0 ? op->base_da + pixel_class * c : NULL, job->digits[d].shift,
                                sums);
}

static void tile_product(const struct dgrad_job *job, const struct tile *tile,
                         struct sample_offsets *offsets, int thread) {
    const struct bp_bconv *op = job->op;
    const struct bp_conv_shape *s = &op->shape;
    struct bp_carver carver = {bp_exec_scratch(job->exec, thread)};
    size_t most = tile_pixels(&op->tiling_da);
    int32_t *sums = bp_carve(&carver, most * s->c * sizeof(int32_t));
    int32_t *pixel = bp_carve(&carver, most * sizeof(int32_t));
    struct pixel_run *runs = bp_carve(&carver, most * sizeof *runs);
    uint8_t *tables = (uint8_t *)carver.next; /* [digits][samples][rows][columns][kq][16] */
    struct window window = window_of(op, tile);
    if (op->method_da == BP_PRODUCT_LOOKUP)
        fill_tables(job, tile, &window, tables);
    for (size_t i = 0; i < s->stride * s->stride; i++) {
        size_t n = list_pixels(op, tile, i, &window, runs);
        for (unsigned pixel_class = 0; pixel_class < op->classes; pixel_class++) {
            size_t count = 0;
            for (size_t r = 0; r < n; r++)
                for (size_t x = 0; runs[r].pixel_class == pixel_class && x < runs[r].count; x++)
                    pixel[count++] = (runs[r].code + (int32_t)x) * (int32_t)window.unit;
            if (count == 0)
                continue;
            class_product(job, tile, i, pixel_class, &window, tables, pixel, count, sums);
            finish_class(job, tile, runs, n, pixel_class, sums, offsets, thread);
        }
    }
}

/* Items are groups of slots that are walked together. */
static void dgrad_part(void *context, size_t begin, size_t end, int thread) {
    struct dgrad_job *job = context;
    struct bp_bconv *op = job->op;
    const struct bp_tiling *tiling = &op->tiling_da;
    struct sample_offsets offsets = {NULL, NULL, -1};
    for (size_t item = begin; item < end; item++) {
        struct tile tile = {.slot = item * tiling->samples};
        tile.samples = bp_min_size(tiling->samples, op->kept_da - tile.slot);
        for (; tile.row < op->shape.oh; tile.row += tiling->rows) {
            tile.rows = bp_min_size(tiling->rows, op->shape.oh - tile.row);
            for (tile.column = 0; tile.column < op->shape.ow; tile.column += tiling->columns) {
                tile.columns = bp_min_size(tiling->columns, op->shape.ow - tile.column);
                tile_product(job, &tile, &offsets, thread);
            }
        }
    }
}

static void clear_dropped(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    struct dgrad_job *job = context;
    size_t elements = job->op->shape.h * job->op->shape.w * job->op->shape.c;
    for (size_t sample = begin; sample < end; sample++)
        if (job->op->slot_of_sample[sample] < 0)
            memset(job->dx + sample * elements, 0, elements * sizeof(float));
}

/* With K output channels, of which neg have w^ = -1 at a tap, and all the taps of the class:
 *     base = sum over taps of code_min * (K - 2 neg) - top * neg */
static void fill_base(const struct dgrad_job *job) {
    struct bp_bconv *op = job->op;
    const struct bp_conv_shape *s = &op->shape;
    int32_t top = 0;
    for (size_t d = 0; d < job->n_digits; d++)
        top += job->digits[d].top * (1 << job->digits[d].shift);
    for (size_t i = 0; i < op->classes; i++)
        for (size_t j = 0; j < s->c; j++) {
            int32_t base = 0;
            for (size_t t = 0; t < op->taps; t++) {
                int32_t sum = op->tap_sum_t[t * s->c + j];
                if (op->class_masks[i] >> t & 1)
                    base += job->digits[0].code_min * sum - top * ((int32_t)s->k - sum) / 2;
            }
            op->base_da[i * s->c + j] = base;
        }
}

void bp_bconv_dgrad_run(struct bp_bconv *op, struct bp_exec *exec, size_t n, const uint64_t *mask,
                        float *dx, int leave_dropped) {
    struct dgrad_job job = {.op = op, .exec = exec, .mask = mask, .dx = dx};
    int code_min, code_max;
    bp_quant_codes(&op->quant_da, &code_min, &code_max, &job.is_signed);
    job.n_digits = bp_bconv_digits(&op->quant_da, job.digits);
    if (op->method_da == BP_PRODUCT_LOOKUP)
        fill_base(&job);
    size_t threads = (size_t)bp_threads_count(exec->threads);
    memset(op->offset_table + threads * op->classes * op->shape.c, 0, op->shape.c * sizeof(float));
    if (!leave_dropped)
        bp_parallel_for(exec->threads, n, clear_dropped, &job);
    size_t samples = op->tiling_da.samples;
    bp_parallel_for(exec->threads, (op->kept_da + samples - 1) / samples, dgrad_part, &job);
}
