/* dW by lookup: a quad is four samples at one position. Its table, of one output channel, holds the
 * signed sums of the four codes; its index bytes, one per input channel, the four signs:
 *
 *   index  [group][block of 64 channels][h][w][quad][64]       made once, read by all
 *   tables [channel][row][ow][quad][16]                        of a chunk, made by each worker
 *
 * (as many quads innermost as the tier's kernels take together) so that with the quads innermost
 * the positions that a tap sees in a row of the image lie in a row of the index too (struct
 * bp_run), and those that it does not see are left out: no halo, nothing to take back. A chunk is
 * some rows of a group's samples; its tables stay in L2 while all taps and input channels are
 * multiplied with them. Each worker has its own output channels: no sums are shared. Samples that
 * are missing in the last quads have digits 0 and signs +: they add nothing.
 *
 *   sum of entries = sum of (code - code_min) * a^ + top * (number of negative a^)
 *
 * Codes of 8 bits take two digits, one pass after the other; or where few of them are large, wide
 * tables (kernels/kernels.h). What these are off by is the sum of the |code| in them, which is
 * added up for each class of border pixels apart, as taps see others; what they leave out is added
 * to the sums of a chunk afterwards. */
#include "ops/bconv_wgrad_lookup.h"

#include <string.h>

static size_t lanes_of_block(const struct bp_bconv *op, size_t block) {
    return bp_min_size(BP_WGRAD_LANES, op->shape.c - block * BP_WGRAD_LANES);
}

/* --- index ------------------------------------------------------------------------------------ */

struct wgrad_job {
    struct bp_bconv *op;
    struct bp_exec *exec;
    const struct bp_wgrad_lookup *self;
    const struct bp_kernels *kernels;
    const uint64_t *x;
    const float *w;
    float *dw;
    size_t n, kept;
    const struct bp_bconv_dw_sums *dw_sums; /* unless NULL, in place of dw */
    size_t columns;                         /* output channels of a work item */
    struct bp_digit digits[2];
    size_t n_digits;
    int wide;                         /* tables, else those of digits */
    int with_count;                   /* count_a is needed */
    unsigned seen[BP_BORDER_CLASSES]; /* taps inside the image at pixels of a class */
};

/* Samples of the step of group `group` that begins with quad `quad`: their number, from 0 on, and
 * what lies between them. */
static size_t step_samples(const struct wgrad_job *job, size_t group, size_t quad, size_t pitch,
                           int32_t offset[BP_STEP_SAMPLES]) {
    size_t first = (group * job->self->quads + quad) * BP_QUAD, samples = 0;
    while (samples < job->self->together * BP_QUAD && first + samples < job->n) {
        offset[samples] = (int32_t)((first + samples) * pitch);
        samples++;
    }
    return samples;
}

/* Items are (group, row of the input). */
static void index_part(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    const struct wgrad_job *job = context;
    const struct bp_bconv *op = job->op;
    const struct bp_wgrad_lookup *self = job->self;
    const struct bp_conv_shape *s = &op->shape;
    for (size_t item = begin; item < end; item++) {
        size_t group = item / s->h, y = item % s->h, step = self->quads * self->lanes;
        const uint64_t *x = job->x + ((y + 1) * (s->w + 2) + 1) * op->cw;
        for (size_t block = 0; block < self->blocks; block++) {
            uint8_t *row = self->index +
                           (group * self->blocks + block) * bp_wgrad_lookup_block_bytes(op, self) +
                           y * s->w * step;
            size_t lanes = lanes_of_block(op, block);
            for (size_t quad = 0; quad < self->quads; quad += self->together) {
                int32_t offset[BP_STEP_SAMPLES];
                size_t samples = step_samples(job, group, quad, op->in_words, offset);
                if (samples > 0)
                    job->kernels->index_of_samples(x + block, offset, samples, self->together, s->w,
                                                   op->cw, lanes, row + quad * self->lanes, step);
                for (size_t p = 0; samples == 0 && p < s->w; p++)
                    memset(row + p * step + quad * self->lanes, 0, self->together * self->lanes);
            }
        }
    }
}

/* --- product ---------------------------------------------------------------------------------- */

static size_t groups_now(const struct wgrad_job *job) {
    size_t samples = job->self->quads * BP_QUAD;
    return (job->n + samples - 1) / samples;
}

/* A digit's tables, or wide ones, of some columns, of a chunk of a group's samples. */
struct part {
    size_t group, chunk, first, columns;
    const struct bp_digit *digit;
    uint8_t *tables;
    int32_t *total;               /* [border classes][columns][together] */
    struct bp_left_out *left_out; /* by steps; sample s of position p, column i, step t is number */
    size_t length;                /* ((t * positions + p) * columns + i) * 16 + s */
};

static size_t rows_of(const struct wgrad_job *job, const struct part *part) {
    return bp_min_size(job->self->rows, job->op->shape.oh - part->chunk * job->self->rows);
}

/* The wide tables of step `step`, whose codes and samples these are. */
static void fill_wide_tables(const struct wgrad_job *job, struct part *part, size_t step,
                             const uint8_t *codes, const int32_t *offset, size_t samples) {
    const struct bp_bconv *op = job->op;
    const struct bp_wgrad_lookup *self = job->self;
    const size_t row = part->chunk * self->rows, positions = rows_of(job, part) * op->shape.ow;
    struct bp_left_out *left_out = part->left_out + part->length;
    const size_t length = job->kernels->wide_tables_of_samples(
        codes, offset, samples, self->together, positions, job->kept, part->columns,
        part->tables + step * self->together * BP_TABLE_BYTES,
        bp_wgrad_lookup_column_bytes(op, self), self->quads * BP_TABLE_BYTES,
        op->border_class + row * op->shape.ow, part->total, left_out);
    for (size_t i = 0; i < length; i++)
        left_out[i].at += (unsigned)(step * positions * part->columns * BP_STEP_SAMPLES) & 0xffffff;
    part->length += length;
}

static void fill_tables(const struct wgrad_job *job, struct part *part) {
    const struct bp_bconv *op = job->op;
    const struct bp_wgrad_lookup *self = job->self;
    const struct bp_conv_shape *s = &op->shape;
    size_t row = part->chunk * self->rows, rows = rows_of(job, part);
    size_t pitch = bp_wgrad_lookup_column_bytes(op, self);
    size_t step = self->quads * BP_TABLE_BYTES;
    const uint8_t *codes = bp_bconv_wgrad_codes(op, row * s->ow, job->kept) + part->first;
    for (size_t quad = 0; quad < self->quads; quad += self->together) {
        int32_t offset[BP_STEP_SAMPLES];
        size_t samples = step_samples(job, part->group, quad, s->oh * s->ow * job->kept, offset);
        uint8_t *to = part->tables + quad * BP_TABLE_BYTES;
        if (samples > 0 && job->wide)
            fill_wide_tables(job, part, quad / self->together, codes, offset, samples);
        else if (samples > 0)
            job->kernels->tables_of_samples(codes, offset, samples, self->together, rows * s->ow,
                                            job->kept, part->columns, part->digit, to, pitch, step);
        for (size_t i = 0; samples == 0 && i < part->columns; i++)
            for (size_t p = 0; p < rows * s->ow; p++)
                memset(to + i * pitch + p * step, 0, self->together * BP_TABLE_BYTES);
    }
}

/* Multiplies its tables with the index of a block, at taps `tap` and up. */
static void multiply(const struct wgrad_job *job, const struct part *part, size_t block, size_t tap,
                     size_t taps, int entry_max, int add, int32_t *sums) {
    const struct bp_bconv *op = job->op;
    const struct bp_wgrad_lookup *self = job->self;
    const size_t c = op->shape.c;
    const struct bp_tap_runs runs = {self->runs, self->run_begin + part->chunk * op->taps + tap,
                                     taps, job->wide ? 2 : 1};
    const uint8_t *index =
        self->index + (part->group * self->blocks + block) * bp_wgrad_lookup_block_bytes(op, self);
    job->kernels->product_samples(
        part->tables, part->columns, bp_wgrad_lookup_column_bytes(op, self), &runs, index,
        self->index_step, lanes_of_block(op, block), self->together, entry_max, add,
        sums + tap * c + block * BP_WGRAD_LANES, op->taps * c, c);
}

/* Items are (tap, block): the negative activations at valid positions, by tables that count. */
static void count_part(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    struct wgrad_job *job = context;
    const struct bp_wgrad_lookup *self = job->self;
    for (size_t item = begin; item < end; item++)
        for (size_t i = 0; i < groups_now(job) * self->chunks; i++) {
            const struct part part = {.group = i / self->chunks,
                                      .chunk = i % self->chunks,
                                      .columns = 1,
                                      .tables = self->count_tables};
            multiply(job, &part, item % self->blocks, item / self->blocks, 1, BP_QUAD, i > 0,
                     job->op->count_a);
        }
}

/* --- epilogue --------------------------------------------------------------------------------- */

static int32_t off_of(const struct wgrad_job *job) {
    const struct bp_digit *digits = job->digits;
    const int32_t top = digits[0].top + (job->n_digits > 1 ? 16 * digits[1].top : 0);
    return top + 2 * digits[0].code_min;
}

/* With `valid` positions, of which neg have a^ = -1, and the largest code's digits `top`:
 *     sum of code * a^ = sum of entries + code_min * valid - (top + 2 * code_min) * neg
 *     sum of a^        = valid - 2 * neg
 * dW is zero where not |w| < 1 (w NULL: nowhere). narrow: what is wanted in place of out, or NULL.
 */
static void finish_tap(const struct wgrad_job *job, const struct bp_group *group, int32_t valid,
                       const int32_t *entries, const int32_t *high, const int32_t *neg,
                       const float *w, float *out, int16_t *narrow) {
    const int32_t code_min = job->digits[0].code_min, off = off_of(job);
    float scale = group->scale, offset = group->offset;
    size_t c = job->op->shape.c;
    const struct bp_latent_scale by = {code_min * valid, off, valid, scale, offset,
                                       job->op->shift_dw};
    neg = job->with_count ? neg : NULL;
    if (high != NULL && valid > BP_VALID_OF_32_BITS) {
        int64_t wide = (int64_t)code_min * valid;
        for (size_t j = 0; j < c; j++) {
            int64_t sum = entries[j] + 16 * (int64_t)high[j] + wide - (int64_t)off * neg[j];
            out[j] = scale * (float)sum + offset * (float)(valid - 2 * neg[j]);
        }
        bp_bconv_mask_row(w, c, out);
        return;
    }
    bp_bconv_wgrad_finish(job->op, job->kernels, &by, entries, high, neg, w, c, out, narrow);
}

/* Adds the codes that the tables of a chunk leave out. */
static void add_left_out(const struct wgrad_job *job, const struct part *part, int32_t *sums) {
    const struct bp_bconv *op = job->op;
    const size_t columns = part->columns, c = op->shape.c;
    const size_t positions = rows_of(job, part) * op->shape.ow;
    for (size_t i = 0; i < part->length; i++) {
        const size_t at = part->left_out[i].at, row = at / BP_STEP_SAMPLES;
        const size_t step = row / columns / positions;
        const size_t position =
            part->chunk * job->self->rows * op->shape.ow + row / columns % positions;
        const size_t sample =
            (part->group * job->self->quads + step * job->self->together) * BP_QUAD +
            at % BP_STEP_SAMPLES;
        const uint64_t *x = job->x + sample * op->in_words + op->pixel_base[position];
        for (size_t tap = 0; tap < op->taps; tap++)
            if (op->valid[position] >> tap & 1)
                job->kernels->add_signs(x + op->tap_offset[tap], c, part->left_out[i].code,
                                        sums + (row % columns * op->taps + tap) * c);
    }
}

/* The sum of the |code| in the tables of a column at the positions that each tap sees. */
static void total_of_taps(const struct wgrad_job *job, const int32_t *total, size_t columns,
                          size_t column, int32_t of_tap[BP_TAPS_MAX]) {
    const size_t together = job->self->together, taps = job->op->taps;
    memset(of_tap, 0, taps * sizeof *of_tap);
    for (size_t i = 0; i < BP_BORDER_CLASSES; i++) {
        int32_t sum = 0;
        for (size_t q = 0; q < together; q++)
            sum += total[(i * columns + column) * together + q];
        for (size_t tap = 0; sum > 0 && tap < taps; tap++)
            of_tap[tap] += job->seen[i] >> tap & 1 ? sum : 0;
    }
}

/* A tap of dW from sums of wide tables. */
static void finish_wide_tap(const struct wgrad_job *job, const struct bp_group *group,
                            int32_t total, const int32_t *sums, const float *w, float *out,
                            int16_t *narrow) {
    const struct bp_latent_scale by = {-total,           0, 0, group->scale, group->offset,
                                       job->op->shift_dw};
    bp_bconv_wgrad_finish(job->op, job->kernels, &by, sums, NULL, NULL, w, job->op->shape.c, out,
                          narrow);
}

/* The rows of dW of `columns` kept channels from their sums. */
static void finish_columns(const struct wgrad_job *job, size_t first, size_t columns,
                           const int32_t *sums, const int32_t *total) {
    const struct bp_bconv *op = job->op;
    size_t c = op->shape.c, row = op->taps * c;
    for (size_t i = 0; i < columns; i++) {
        size_t k = (size_t)op->kept_channel[first + i];
        const int32_t *entries = sums + i * row;
        int32_t of_tap[BP_TAPS_MAX];
        if (job->wide)
            total_of_taps(job, total, columns, i, of_tap);
        for (size_t tap = 0; tap < op->taps; tap++) {
            const int32_t *low = entries + tap * c;
            const size_t at = k * row + tap * c;
            const float *w = job->w == NULL ? NULL : job->w + at;
            float *out = job->dw_sums == NULL ? job->dw + at : NULL;
            int16_t *narrow = job->dw_sums == NULL ? NULL : job->dw_sums->sums + at;
            if (job->wide)
                finish_wide_tap(job, &op->groups_dw[k], of_tap[tap], low, w, out, narrow);
            else
                finish_tap(job, &op->groups_dw[k], (int32_t)(op->valid_count[tap] * job->n), low,
                           job->n_digits > 1 ? low + columns * row : NULL, op->count_a + tap * c, w,
                           out, narrow);
        }
        if (job->dw_sums != NULL)
            job->dw_sums->scale[k] = op->groups_dw[k].scale * (float)(1 << op->shift_dw);
    }
}

/* --- all together ----------------------------------------------------------------------------- */

/* Items are groups of kept output channels. */
static void product_part(void *context, size_t begin, size_t end, int thread) {
    struct wgrad_job *job = context;
    struct bp_bconv *op = job->op;
    const struct bp_wgrad_lookup *self = job->self;
    const size_t row = op->taps * op->shape.c, passes = job->wide ? 1 : job->n_digits;
    const size_t parts = groups_now(job) * self->chunks * passes;
    struct bp_carver carver = {bp_exec_scratch(job->exec, thread)};
    uint8_t *tables = bp_carve(&carver, self->columns * bp_wgrad_lookup_column_bytes(op, self));
    int32_t *sums = /* [passes][columns][row] */
        bp_carve(&carver, self->columns * bp_wgrad_lookup_sum_bytes(op, passes));
    int32_t *total = NULL;
    struct bp_left_out *left_out = NULL;
    if (job->wide) {
        total = bp_carve(&carver, self->columns * bp_wgrad_lookup_total_bytes(self));
        left_out = bp_carve(&carver, self->columns * bp_wgrad_lookup_list_bytes(op, self));
    }
    for (size_t item = begin; item < end; item++) {
        size_t first = item * job->columns, columns = bp_min_size(job->columns, job->kept - first);
        if (job->wide)
            memset(total, 0, columns * bp_wgrad_lookup_total_bytes(self));
        for (size_t i = 0; i < parts; i++) {
            const size_t pass = i % passes;
            struct part part = {.group = i / passes / self->chunks,
                                .chunk = i / passes % self->chunks,
                                .first = first,
                                .columns = columns,
                                .digit = &job->digits[pass],
                                .tables = tables,
                                .total = total,
                                .left_out = left_out};
            const int entry_max = job->wide ? BP_WIDE_MOST : BP_QUAD * job->digits[pass].top;
            fill_tables(job, &part);
            for (size_t block = 0; block < self->blocks; block++)
                multiply(job, &part, block, 0, op->taps, entry_max, i >= passes,
                         sums + pass * columns * row);
            add_left_out(job, &part, sums);
        }
        finish_columns(job, first, columns, sums, total);
    }
}

static void fill_count_tables(const struct bp_bconv *op) {
    const struct bp_wgrad_lookup *self = op->dw_lookup;
    for (size_t i = 0; i < bp_wgrad_lookup_chunk_quads(op, self) * BP_TABLE_BYTES; i++)
        self->count_tables[i] = (uint8_t)bp_count_bits(i % BP_TABLE_BYTES);
}

/* A quad is of samples. */
double bp_wgrad_lookup_passes(const struct bp_bconv *op, size_t n) {
    const size_t kept = op->kept_dw, pixels = op->shape.oh * op->shape.ow;
    double over = 1;
    if (op->dw_lookup->can_be_wide && n >= BP_QUAD)
        over = bp_bconv_over_wide(op->codes_dw, (n - BP_QUAD + 1) * pixels, kept,
                                  (struct bp_quads){kept, 1, pixels * kept});
    return bp_product_lookup_passes(op->quant_dw.bits, over);
}

void bp_wgrad_lookup_run(struct bp_bconv *op, struct bp_exec *exec, size_t n, const uint64_t *x,
                         const float *w, float *dw, const struct bp_bconv_dw_sums *dw_sums,
                         double passes) {
    const struct bp_wgrad_lookup *self = op->dw_lookup;
    struct wgrad_job job = {.op = op,
                            .exec = exec,
                            .self = self,
                            .kernels = &exec->kernels,
                            .x = x,
                            .w = w,
                            .dw = dw,
                            .dw_sums = dw_sums,
                            .n = n,
                            .kept = op->kept_dw};
    job.n_digits = bp_bconv_digits(&op->quant_dw, job.digits);
    job.wide = job.n_digits > 1 && passes < 2;
    for (unsigned i = 0; i < BP_BORDER_CLASSES; i++)
        for (size_t tap = 0; tap < op->taps; tap++)
            job.seen[i] |= bp_bconv_tap_is_cut(i, tap, op->shape.r) ? 0 : 1u << tap;
    job.with_count = op->quant_dw.grid != BP_GRID_ZERO || (!job.wide && off_of(&job) != 0);
    bp_parallel_for(exec->threads, groups_now(&job) * op->shape.h, index_part, &job);
    if (job.with_count) {
        fill_count_tables(op);
        bp_parallel_for(exec->threads, op->taps * self->blocks, count_part, &job);
    }
    job.columns = bp_item_size(exec->threads, job.kept, self->columns, BP_WGRAD_COLUMNS);
    bp_parallel_for(exec->threads, (job.kept + job.columns - 1) / job.columns, product_part, &job);
}
