/* The activation gradient's geometry and buffers: which taps an input pixel sees, and how much of
 * the product a tile is. */
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
    size_t pixels[64] = {0};
    for (size_t p = 0; p < s->h * s->w; p++) {
        unsigned mask = existing_taps(s, p / s->w, p % s->w);
        size_t i = 0;
        while (i < op->classes && op->class_masks[i] != mask)
            i++;
        if (i == op->classes)
            op->class_masks[op->classes++] = mask; /* at most (3 borders * 2 parities)^2 = 36 */
        op->in_class[p] = (uint8_t)i;
        pixels[i]++;
        op->largest_class = pixels[i] > op->largest_class ? pixels[i] : op->largest_class;
    }
    return BP_OK;
}

/* A tile is a block of output positions (y, x); its product pixels are the input pixels (stride * y
 * + parity, stride * x + parity), its window the codes at (y - 1 .. y + 1, x - 1 .. x + 1) that lie
 * inside. */
size_t bp_dgrad_window_pixels(const struct bp_bconv *op, const struct bp_tiling *t) {
    return t->samples * bp_min_size(t->rows + 2, op->shape.oh) *
           bp_min_size(t->columns + 2, op->shape.ow);
}

size_t bp_dgrad_window_tables(const struct bp_bconv *op, const struct bp_tiling *t) {
    return bp_dgrad_window_pixels(op, t) * op->kq;
}

size_t bp_dgrad_tile_pixels(const struct bp_tiling *t) {
    return t->samples * t->rows * t->columns;
}

size_t bp_dgrad_sum_pixels(const struct bp_bconv *op, const struct bp_tiling *t) {
    int whole = t->rows == op->shape.oh && t->columns == op->shape.ow;
    return whole ? t->samples * op->largest_class : bp_dgrad_tile_pixels(t);
}

static size_t digits_of(const struct bp_bconv *op) {
    struct bp_digit digits[2];
    return bp_bconv_digits(&op->quant_da, digits);
}

static size_t sum_bytes(const struct bp_bconv *op, const struct bp_tiling *t) {
    return bp_round_up(bp_dgrad_sum_pixels(op, t) * op->shape.c * sizeof(int32_t), 64);
}

static size_t tile_bytes(const struct bp_bconv *op, const struct bp_tiling *t) {
    size_t bytes = sum_bytes(op, t) +
                   2 * bp_round_up(bp_dgrad_tile_pixels(t) * sizeof(int32_t), 64) +
                   bp_round_up(bp_dgrad_tile_pixels(t) * sizeof(struct bp_pixel_run), 64);
    if (op->method_da == BP_PRODUCT_LOOKUP)
        bytes += digits_of(op) * bp_dgrad_window_tables(op, t) * BP_TABLE_BYTES;
    return bytes;
}

/* What a tile has to keep in the cache. */
static size_t live_bytes(const struct bp_bconv *op, const struct bp_tiling *t, int at_once) {
    size_t one_digit = bp_dgrad_window_tables(op, t) * BP_TABLE_BYTES;
    return tile_bytes(op, t) - (at_once ? sum_bytes(op, t) + (digits_of(op) - 1) * one_digit : 0);
}

/* Whole samples, two, four or eight where they fit, so that most classes have a multiple of 4
 * pixels; or about equally many rows of one, but at least one row. */
static struct bp_tiling choose_tiling(const struct bp_bconv *op, int at_once) {
    const struct bp_conv_shape *s = &op->shape;
    struct bp_tiling best = {1, s->oh, s->ow}, larger;
    if (op->method_da == BP_PRODUCT_LOOKUP)
        best.columns = bp_min_size(s->ow, TILE_COLUMNS);
    if (best.columns == s->ow && live_bytes(op, &best, at_once) <= 2 * TILE_BYTES) {
        larger = best;
        for (larger.samples = 2; larger.samples <= bp_min_size(s->n, TILE_SAMPLES) &&
                                 live_bytes(op, &larger, at_once) <= 2 * TILE_BYTES;
             larger.samples *= 2)
            best = larger;
        return best;
    }
    best.rows = 1;
    for (larger = best; larger.rows <= s->oh && live_bytes(op, &larger, at_once) <= TILE_BYTES;
         larger.rows++)
        best = larger;
    best.rows = bp_even_rows(s->oh, best.rows);
    return best;
}

bp_status bp_bconv_dgrad_plan(struct bp_bconv *op, struct bp_exec *exec) {
    const struct bp_conv_shape *s = &op->shape;
    op->pixel_da = bp_product_takes_bytes(op->method_da)
                       ? s->k
                       : (size_t)op->quant_da.bits * op->kw * sizeof(uint64_t);
    for (size_t i = 0; i < s->stride * s->stride; i++)
        fill_parity_taps(s, &op->parity[i], i / s->stride, i % s->stride);
    BP_TRY(fill_classes(op));
    if (op->method_da == BP_PRODUCT_TILES) {
        bp_dgrad_tiles_plan(op, exec);
        return BP_OK;
    }
    op->tiling_da = choose_tiling(op, bp_dgrad_at_once(op, exec));
    if (s->oh * s->ow * op->pixel_da > INT32_MAX / (op->tiling_da.samples + 1))
        return bp_fail(BP_USAGE, "the image is too large to index; use a smaller --size");
    size_t wide = bp_dgrad_wide_possible(op, exec) ? bp_dgrad_wide_scratch_bytes(op) : 0;
    bp_exec_need_scratch(exec, tile_bytes(op, &op->tiling_da) + wide);
    if (bp_dgrad_nonzero_possible(op))
        bp_exec_need_scratch(exec, bp_dgrad_nonzero_scratch_bytes(op));
    return BP_OK;
}

/* How many groups of n can be kept. */
static size_t slots(const struct bp_quant *quant, size_t n) {
    if (quant->select != BP_SELECT_SYSTEMATIC && quant->select != BP_SELECT_TOPK)
        return n;
    return bp_min_size(n, (size_t)((double)quant->keep * (double)n + 0.5) + 2);
}

size_t bp_dgrad_sample_bytes(const struct bp_bconv *op) {
    return op->shape.oh * op->shape.ow * op->pixel_da;
}

bp_status bp_bconv_dgrad_buffers(struct bp_bconv *op, struct bp_exec *exec, struct bp_plan *plan,
                                 const char *name, int time) {
    const struct bp_conv_shape *s = &op->shape;
    size_t n = s->n, threads = (size_t)bp_threads_count(exec->threads);
    size_t rows = bp_dgrad_nonzero_possible(op) ? bp_dgrad_nonzero_rows(op) : 0;
    op->slots_da = slots(&op->quant_da, n);
    const struct {
        const char *what;
        size_t bytes;
        void *where;
    } buffers[] = {
        {"codes dA", op->slots_da * bp_dgrad_sample_bytes(op), &op->codes_da},
        {"offsets dA", (threads * op->classes + 1) * s->c * sizeof(float), &op->offset_table},
        {"class sums dA", op->classes * s->c * sizeof(int32_t), &op->class_sum},
        {"base dA", op->classes * s->c * sizeof(int32_t), &op->base_da},
        {"sign rows dA", rows * BP_ROW_WORDS * sizeof(uint64_t), &op->rows_t},
        {"slots dA", n * sizeof(int32_t), &op->slot_of_sample},
        {"samples dA", op->slots_da * sizeof(int32_t), &op->sample_of_slot},
    };
    char text[96];
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++) {
        snprintf(text, sizeof text, "%s %s", name, buffers[i].what);
        BP_TRY(bp_plan_add(plan, text, buffers[i].bytes, time, time + 1, buffers[i].where));
    }
    return BP_OK;
}
