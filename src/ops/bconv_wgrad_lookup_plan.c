/* The plan of dW by lookup: chunks, the runs of positions that taps see in them, buffers. */
#include "ops/bconv_wgrad_lookup.h"

#include <stdio.h>

#include "base/memory.h"

#define CHUNK_QUADS  256 /* of one output channel, about */
#define MOST_COLUMNS 32  /* output channels whose tables stand together, .. */
#define FEW_COLUMNS  16
#define L2_BYTES     (768 << 10) /* .. fewer where these and their sums would take more */

static size_t digits_of(const struct bp_bconv *op) {
    struct bp_digit digits[2];
    return bp_bconv_digits(&op->quant_dw, digits);
}

/* Of one output channel: its tables and sums. */
static size_t live_bytes(const struct bp_bconv *op, const struct bp_wgrad_lookup *self) {
    return bp_wgrad_lookup_column_bytes(op, self) +
           bp_wgrad_lookup_sum_bytes(op, self->can_be_wide ? 1 : digits_of(op));
}

static size_t scratch_bytes(const struct bp_bconv *op, const struct bp_wgrad_lookup *self) {
    size_t wide = self->can_be_wide ? self->columns * (bp_wgrad_lookup_total_bytes(self) +
                                                       bp_wgrad_lookup_list_bytes(op, self))
                                    : 0;
    return wide +
           self->columns * (bp_wgrad_lookup_column_bytes(op, self) +
                            bp_wgrad_lookup_sum_bytes(op, digits_of(op))) +
           4 * 64;
}

static void choose_sizes(const struct bp_bconv *op, const struct bp_exec *exec,
                         struct bp_wgrad_lookup *self) {
    const size_t together = exec->kernels.together,
                 threads = (size_t)bp_threads_count(exec->threads);
    const struct bp_conv_shape *s = &op->shape;
    size_t chunk_pixels = CHUNK_QUADS / together, pixels = s->oh * s->ow;
    size_t all_quads = bp_round_up((s->n + BP_QUAD - 1) / BP_QUAD, together);
    self->together = together;
    self->rows = s->oh;
    self->quads = together;
    if (pixels > chunk_pixels)
        self->rows = s->ow >= chunk_pixels ? 1 : chunk_pixels / s->ow;
    else
        self->quads = bp_min_size(all_quads, chunk_pixels / pixels * together);
    self->can_be_wide =
        exec->kernels.sums_at_once && op->quant_dw.bits == 8 && op->quant_dw.grid == BP_GRID_ZERO &&
        s->n * s->oh * s->ow <= BP_VALID_OF_32_BITS &&
        bp_wgrad_lookup_chunk_quads(op, self) * BP_QUAD * MOST_COLUMNS <= BP_LEFT_OUT_NUMBERS;
    self->groups = (all_quads + self->quads - 1) / self->quads;
    self->chunks = (s->oh + self->rows - 1) / self->rows;
    self->lanes = s->c > BP_LANES ? BP_WGRAD_LANES : BP_LANES;
    self->blocks = (s->c + BP_WGRAD_LANES - 1) / BP_WGRAD_LANES;
    self->index_step = self->lanes * together * (self->quads == together ? s->stride : 1);
    size_t share = (op->slots_dw + threads - 1) / threads;
    size_t most = MOST_COLUMNS;
    while (most > FEW_COLUMNS && most * live_bytes(op, self) > L2_BYTES)
        most /= 2;
    self->columns = bp_min_size(most, bp_round_up(share, BP_WGRAD_COLUMNS));
}

/* The output positions along one axis, of `begin` .. `end` - 1, at which a tap lies inside. */
static void cut_to_valid(const struct bp_conv_shape *s, size_t tap, size_t length, size_t *begin,
                         size_t *end) {
    while (*begin < *end && *begin * s->stride + tap < s->pad)
        (*begin)++;
    while (*end > *begin && (*end - 1) * s->stride + tap - s->pad >= length)
        (*end)--;
}

/* Appends a run, or lengthens the last one of this tap. All in quads. */
static void add_run(const struct bp_wgrad_lookup *self, size_t first, size_t *n, size_t table,
                    size_t index, size_t count) {
    struct bp_run run = {(int32_t)(table * BP_TABLE_BYTES), (int32_t)(index * self->lanes),
                         (int32_t)(count / self->together)};
    struct bp_run *last = *n > first ? &self->runs[*n - 1] : NULL;
    int32_t table_step = (int32_t)self->together * BP_TABLE_BYTES;
    if (last != NULL && last->table + last->count * table_step == run.table &&
        last->index + last->count * (int32_t)self->index_step == run.index)
        last->count += run.count;
    else
        self->runs[(*n)++] = run;
}

static void list_tap(const struct bp_bconv *op, const struct bp_wgrad_lookup *self, size_t chunk,
                     size_t tap, size_t *n) {
    const struct bp_conv_shape *s = &op->shape;
    size_t ty = tap / s->r, tx = tap % s->r, first = *n, top = chunk * self->rows;
    size_t y0 = top, y1 = bp_min_size(top + self->rows, s->oh), x0 = 0, x1 = s->ow;
    cut_to_valid(s, ty, s->h, &y0, &y1);
    cut_to_valid(s, tx, s->w, &x0, &x1);
    size_t whole_rows = s->stride == 1 || self->quads == self->together;
    for (size_t y = y0; y < y1; y++)
        for (size_t x = x0; x < x1; x += whole_rows ? x1 - x0 : 1) {
            size_t iy = y * s->stride + ty - s->pad, ix = x * s->stride + tx - s->pad;
            add_run(self, first, n, ((y - top) * s->ow + x) * self->quads,
                    (iy * s->w + ix) * self->quads, (whole_rows ? x1 - x0 : 1) * self->quads);
        }
}

static bp_status list_runs(const struct bp_bconv *op, struct bp_wgrad_lookup *self) {
    size_t lists = self->chunks * op->taps, n = 0;
    size_t most = op->taps * op->shape.oh * (self->quads == self->together ? 1 : op->shape.ow);
    BP_TRY(bp_alloc_array(&self->runs, most, sizeof *self->runs, "a binary convolution"));
    BP_TRY(bp_alloc_array(&self->run_begin, lists + 1, sizeof(size_t), "a binary convolution"));
    for (size_t i = 0; i < lists; i++) {
        self->run_begin[i] = n;
        list_tap(op, self, i / op->taps, i % op->taps, &n);
    }
    self->run_begin[lists] = n;
    return BP_OK;
}

bp_status bp_wgrad_lookup_create(struct bp_bconv *op, struct bp_exec *exec, struct bp_plan *plan,
                                 const char *name, int time) {
    const struct bp_conv_shape *s = &op->shape;
    struct bp_wgrad_lookup *self;
    char text[96];
    /* The largest digit is 15: sums of entries fit into 32 bits. */
    if (s->n * s->oh * s->ow > INT32_MAX / 16)
        return bp_fail(BP_USAGE, "%s: the batch is too large to add up; use a smaller --batch",
                       name);
    BP_TRY(bp_alloc(&self, sizeof *self, "a binary convolution"));
    op->dw_lookup = self;
    choose_sizes(op, exec, self);
    BP_TRY(list_runs(op, self));
    size_t tables = bp_wgrad_lookup_chunk_quads(op, self) * BP_TABLE_BYTES;
    bp_exec_need_scratch(exec, scratch_bytes(op, self));
    snprintf(text, sizeof text, "%s activation index", name);
    BP_TRY(bp_plan_add(plan, text,
                       self->groups * self->blocks * bp_wgrad_lookup_block_bytes(op, self), time,
                       time + 1, &self->index));
    snprintf(text, sizeof text, "%s counting tables", name);
    return bp_plan_add(plan, text, tables, time, time + 1, &self->count_tables);
}

void bp_wgrad_lookup_destroy(struct bp_wgrad_lookup *self) {
    if (self == NULL)
        return;
    bp_free(self->runs);
    bp_free(self->run_begin);
    bp_free(self);
}
