/* From gradient rows to codes. The gradient at the convolution's output is never stored: its ranges
 * come from whoever makes the rows, then the rows are produced, piece by piece, and rounded to
 * codes.
 *
 *   pass A  ranges per sample and channel -> per sample, per channel
 *           groups: grid, probability, choice
 *   pass B  rows             -> codes of kept samples -> planes                 (dA)
 *           rows, or columns -> codes of kept channels -> planes per position   (dW)
 *           or the codes of both at once, without rows
 *   products: bconv_dgrad.c, bconv_wgrad.c */
#include "ops/bconv_internal.h"

#include <float.h>
#include <string.h>

#include "base/clock.h"

struct backward_job {
    struct bp_bconv *op;
    struct bp_exec *exec;
    const struct bp_grad_source *source;
    int want_da;
    struct bp_rounding rounding_da, rounding_dw;
    struct bp_stream stream_da, stream_dw; /* of random bytes */
};

/* A worker's scratch during both passes. */
struct worker_scratch {
    float *rows;     /* [chunk rows][ow][k] */
    uint8_t *codes;  /* the same as bytes */
    uint8_t *random; /* twice two bytes of each, from the block on that holds the first */
    void *source;
};

static size_t chunk_elements(const struct bp_bconv *op) {
    return op->chunk_rows * op->shape.ow * op->shape.k;
}

/* Of whole blocks that hold two bytes of each element, for dA and for dW. */
static size_t random_bytes(size_t elements) {
    return bp_round_up(4 * elements, 16) + 16;
}

static struct worker_scratch carve_scratch(const struct backward_job *job, int thread) {
    struct bp_carver carver = {bp_exec_scratch(job->exec, thread)};
    struct worker_scratch scratch;
    scratch.rows = bp_carve(&carver, chunk_elements(job->op) * sizeof(float));
    scratch.codes = bp_carve(&carver, chunk_elements(job->op));
    scratch.random = bp_carve(&carver, random_bytes(chunk_elements(job->op)));
    scratch.source = bp_carve(&carver, job->source->scratch_bytes);
    return scratch;
}

size_t bp_bconv_backward_scratch_bytes(const struct bp_conv_shape *shape, size_t source_bytes) {
    size_t elements = bp_bconv_chunk_rows(shape) * shape->ow * shape->k;
    return bp_round_up(elements * sizeof(float), 64) + bp_round_up(elements, 64) +
           bp_round_up(random_bytes(elements), 64) + bp_round_up(source_bytes, 64);
}

static size_t rows_of_chunk(const struct bp_bconv *op, size_t row) {
    return bp_min_size(op->chunk_rows, op->shape.oh - row);
}

/* --- pass A: ranges --------------------------------------------------------------------------- */

static struct bp_columns ranges_of_sample(const struct bp_bconv *op, size_t n) {
    size_t k = op->shape.k;
    float *lo = op->column_ranges + n * 3 * k;
    return (struct bp_columns){lo, lo + k, lo + 2 * k};
}

/* The range of a sample from those of its channels, in order of the channels. */
static struct bp_range merge_columns(const struct bp_columns *columns, size_t k) {
    struct bp_range range = {FLT_MAX, -FLT_MAX, 0.0f};
    double squares = 0.0;
    for (size_t i = 0; i < k; i++) {
        range.lo = columns->lo[i] < range.lo ? columns->lo[i] : range.lo;
        range.hi = columns->hi[i] > range.hi ? columns->hi[i] : range.hi;
        squares += (double)columns->sum_squares[i];
    }
    range.sum_squares = (float)squares;
    return range;
}

static void range_part(void *context, size_t begin, size_t end, int thread) {
    struct backward_job *job = context;
    struct bp_bconv *op = job->op;
    const struct bp_grad_source *source = job->source;
    struct worker_scratch scratch = carve_scratch(job, thread);
    size_t k = op->shape.k;
    for (size_t n = begin; n < end; n++) {
        struct bp_columns columns = ranges_of_sample(op, n);
        for (size_t i = 0; i < k; i++) {
            columns.lo[i] = FLT_MAX;
            columns.hi[i] = -FLT_MAX;
            columns.sum_squares[i] = 0.0f;
        }
        if (source->ranges != NULL)
            source->ranges(source->context, n, columns, scratch.source);
        for (size_t row = 0; source->ranges == NULL && row < op->shape.oh; row += op->chunk_rows) {
            size_t rows = rows_of_chunk(op, row);
            source->rows(source->context, n, row, rows, scratch.rows, scratch.source);
            job->exec->kernels.range_columns(scratch.rows, rows * op->shape.ow, k, columns);
        }
        op->groups_da[n].range = merge_columns(&columns, k);
    }
}

#define MERGED_AT_ONCE 64 /* channels: whole cache lines of each sample */

/* Channel ranges of the batch from those of the samples, in order of the samples. */
static void merge_channels(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    struct bp_bconv *op = ((struct backward_job *)context)->op;
    size_t samples = op->samples;
    for (size_t first = begin; first < end; first += MERGED_AT_ONCE) {
        size_t count = bp_min_size(MERGED_AT_ONCE, end - first);
        float lo[MERGED_AT_ONCE], hi[MERGED_AT_ONCE];
        double squares[MERGED_AT_ONCE] = {0};
        for (size_t i = 0; i < count; i++) {
            lo[i] = FLT_MAX;
            hi[i] = -FLT_MAX;
        }
        for (size_t n = 0; n < samples; n++) {
            struct bp_columns of = ranges_of_sample(op, n);
            for (size_t i = 0; i < count; i++) {
                lo[i] = of.lo[first + i] < lo[i] ? of.lo[first + i] : lo[i];
                hi[i] = of.hi[first + i] > hi[i] ? of.hi[first + i] : hi[i];
                squares[i] += (double)of.sum_squares[first + i];
            }
        }
        for (size_t i = 0; i < count; i++)
            op->groups_dw[first + i].range = (struct bp_range){lo[i], hi[i], (float)squares[i]};
    }
}

/* --- the groups ------------------------------------------------------------------------------- */

static void decide(const struct bp_quant *quant, size_t count, struct bp_group *groups, size_t n,
                   uint32_t *order, const struct bp_stream *stream, size_t *kept) {
    for (size_t i = 0; i < n; i++)
        bp_quant_grid(quant, count, &groups[i]);
    bp_quant_probabilities(quant, count, groups, n, order);
    *kept = bp_quant_select(quant, stream, groups, n);
}

/* Gives each kept group a slot. Rounding of the probabilities can let one group more through than
 * there are slots; there are two spare ones. */
static void assign_slots(struct bp_bconv *op, size_t n) {
    size_t slot = 0;
    for (size_t i = 0; i < n; i++) {
        op->slot_of_sample[i] = -1;
        if (!op->groups_da[i].kept)
            continue;
        op->sample_of_slot[slot] = (int32_t)i;
        op->slot_of_sample[i] = (int32_t)slot++;
    }
    if (op->quant_dw.groups != BP_GROUPS_CHANNEL)
        return;
    slot = 0;
    for (size_t i = 0; i < op->shape.k; i++) {
        if (!op->groups_dw[i].kept)
            continue;
        op->kept_grid[slot] = op->groups_dw[i].grid;
        op->slot_of_column[slot] = (int32_t)slot;
        op->kept_channel[slot++] = (int32_t)i;
    }
}

static void decide_groups(struct backward_job *job, size_t n, uint64_t seed, unsigned layer,
                          uint32_t step) {
    struct bp_bconv *op = job->op;
    size_t pixels = op->shape.oh * op->shape.ow, k = op->shape.k;
    struct bp_stream stream_da = bp_stream_make(seed, BP_RANDOM_SELECT_DA, layer, step);
    struct bp_stream stream_dw = bp_stream_make(seed, BP_RANDOM_SELECT_DW, layer, step);
    if (op->quant_dw.groups == BP_GROUPS_SAMPLE) {
        memcpy(op->groups_dw, op->groups_da, n * sizeof *op->groups_dw);
        decide(&op->quant_dw, pixels * k, op->groups_dw, n, op->order, &stream_dw, &op->kept_dw);
    } else {
        decide(&op->quant_dw, n * pixels, op->groups_dw, k, op->order, &stream_dw, &op->kept_dw);
    }
    decide(&op->quant_da, pixels * k, op->groups_da, n, op->order, &stream_da, &op->kept_da);
    assign_slots(op, n);
}

/* --- pass B: codes ---------------------------------------------------------------------------- */

static uint8_t *codes_of_slot(const struct bp_bconv *op, size_t sample) {
    return op->codes_da + (size_t)op->slot_of_sample[sample] * bp_dgrad_sample_bytes(op);
}

/* The random bytes of n elements from `first` on: element e has byte e of the stream or, with 16
 * bits, bytes 2 e and 2 e + 1. */
static const uint8_t *random_of(const struct backward_job *job, const struct bp_stream *stream,
                                const struct bp_rounding *rounding, uint64_t first, size_t n,
                                const struct worker_scratch *scratch) {
    uint64_t at = first * bp_rounding_bytes(rounding);
    size_t before = at % 16, bytes = before + n * bp_rounding_bytes(rounding);
    job->exec->kernels.random_blocks(stream, at / 16, (bytes + 15) / 16, scratch->random);
    return scratch->random + before;
}

static void code_chunk_da(const struct backward_job *job, size_t n, size_t row, size_t rows,
                          const struct worker_scratch *scratch) {
    struct bp_bconv *op = job->op;
    const struct bp_kernels *kernels = &job->exec->kernels;
    size_t k = op->shape.k, pixels = rows * op->shape.ow;
    uint64_t first = ((uint64_t)n * op->shape.oh + row) * op->shape.ow * k;
    uint8_t *to = codes_of_slot(op, n) + row * op->shape.ow * op->pixel_da;
    uint8_t *codes = bp_product_takes_bytes(op->method_da) ? to : scratch->codes;
    const uint8_t *random =
        random_of(job, &job->stream_da, &job->rounding_da, first, pixels * k, scratch);
    kernels->round_group(scratch->rows, pixels * k, random, &job->rounding_da,
                         op->groups_da[n].grid, codes);
    if (codes != to)
        kernels->pack_planes(codes, pixels, k, op->quant_da.bits, (uint64_t *)(void *)to);
}

/* packed: scratch->rows holds the kept columns only. */
static void code_chunk_dw(const struct backward_job *job, size_t n, size_t row, size_t rows,
                          const struct worker_scratch *scratch, int packed) {
    struct bp_bconv *op = job->op;
    const struct bp_kernels *kernels = &job->exec->kernels;
    size_t k = op->shape.k, ow = op->shape.ow, pixels = rows * ow;
    size_t position = (n * op->shape.oh + row) * ow;
    int by_sample = op->quant_dw.groups == BP_GROUPS_SAMPLE;
    size_t kept = by_sample ? k : op->kept_dw;
    uint8_t *to = bp_bconv_wgrad_codes(op, position, kept);
    uint8_t *codes = bp_product_takes_bytes(op->method_dw) ? to : scratch->codes;
    const uint8_t *random = random_of(job, &job->stream_dw, &job->rounding_dw,
                                      (uint64_t)position * kept, pixels * kept, scratch);
    if (by_sample)
        kernels->round_group(scratch->rows, pixels * k, random, &job->rounding_dw,
                             op->groups_dw[n].grid, codes);
    else
        kernels->round_columns(scratch->rows, pixels, packed ? kept : k,
                               packed ? op->slot_of_column : op->kept_channel, kept, random,
                               &job->rounding_dw, op->kept_grid, codes);
    if (codes != to)
        kernels->pack_planes(codes, pixels, kept, op->quant_dw.bits, (uint64_t *)(void *)to);
}

/* The columns that dW's codes need alone, where that is cheaper. */
static int make_columns(const struct backward_job *job, size_t n, size_t row, size_t rows,
                        const struct worker_scratch *scratch) {
    const struct bp_bconv *op = job->op;
    const struct bp_grad_source *source = job->source;
    return source->columns != NULL && op->quant_dw.groups == BP_GROUPS_CHANNEL &&
           source->columns(source->context, n, row, rows, op->kept_channel, op->kept_dw,
                           scratch->rows);
}

/* Whether the codes of both products come from the source at once: dW keeps all columns, and the
 * kernels take the codes. */
static int codes_at_once(const struct backward_job *job) {
    const struct bp_bconv *op = job->op;
    size_t k = op->shape.k;
    return job->exec->kernels.codes_at_once && job->source->codes != NULL &&
           op->quant_dw.groups == BP_GROUPS_CHANNEL && op->kept_dw == k && k % 64 == 0 &&
           k <= BP_BOTH_CHANNELS && op->quant_da.grid == BP_GRID_ZERO &&
           op->quant_dw.grid == BP_GRID_ZERO && bp_product_takes_bytes(op->method_da) &&
           bp_product_takes_bytes(op->method_dw);
}

static void code_chunk_both(const struct backward_job *job, size_t n, size_t row, size_t rows,
                            const struct worker_scratch *scratch) {
    struct bp_bconv *op = job->op;
    size_t k = op->shape.k, elements = rows * op->shape.ow * k;
    size_t position = (n * op->shape.oh + row) * op->shape.ow;
    struct worker_scratch behind = *scratch;
    /* whole blocks, as k is a multiple of 64 */
    behind.random += elements * bp_rounding_bytes(&job->rounding_da);
    const struct bp_rounding_both both = {
        .group = job->rounding_da,
        .columns = job->rounding_dw,
        .group_grid = op->groups_da[n].grid,
        .column_grids = op->kept_grid,
        .group_random =
            random_of(job, &job->stream_da, &job->rounding_da, position * k, elements, scratch),
        .column_random =
            random_of(job, &job->stream_dw, &job->rounding_dw, position * k, elements, &behind),
        .group_codes = codes_of_slot(op, n) + row * op->shape.ow * op->pixel_da,
        .column_codes = bp_bconv_wgrad_codes(op, position, k)};
    job->source->codes(job->source->context, n, row, rows, &both, scratch->source);
}

static void code_part(void *context, size_t begin, size_t end, int thread) {
    struct backward_job *job = context;
    struct bp_bconv *op = job->op;
    struct worker_scratch scratch = carve_scratch(job, thread);
    const int at_once = codes_at_once(job);
    for (size_t n = begin; n < end; n++) {
        int da = job->want_da && op->groups_da[n].kept;
        int dw = op->quant_dw.groups == BP_GROUPS_SAMPLE ? op->groups_dw[n].kept : op->kept_dw > 0;
        for (size_t row = 0; (da || dw) && row < op->shape.oh; row += op->chunk_rows) {
            size_t rows = rows_of_chunk(op, row);
            if (da && dw && at_once) {
                code_chunk_both(job, n, row, rows, &scratch);
                continue;
            }
            int packed = !da && make_columns(job, n, row, rows, &scratch);
            if (!packed)
                job->source->rows(job->source->context, n, row, rows, scratch.rows, scratch.source);
            if (da)
                code_chunk_da(job, n, row, rows, &scratch);
            if (dw)
                code_chunk_dw(job, n, row, rows, &scratch, packed);
        }
    }
}

/* --- all together ----------------------------------------------------------------------------- */

static struct bp_rounding make_rounding(const struct bp_quant *quant) {
    struct bp_rounding rounding = {.wide = quant->bits == 8};
    int is_signed;
    bp_quant_codes(quant, &rounding.code_min, &rounding.code_max, &is_signed);
    return rounding;
}

void bp_bconv_backward(struct bp_bconv *op, struct bp_exec *exec, size_t n, const uint64_t *x,
                       const uint64_t *mask, const struct bp_grad_source *source, uint64_t seed,
                       unsigned layer, uint32_t step, const float *w, float *dx, float *dw,
                       const struct bp_bconv_zeros *zeros, const struct bp_bconv_sums *dx_sums,
                       const struct bp_bconv_dw_sums *dw_sums) {
    struct backward_job job = {.op = op, .exec = exec, .source = source};
    job.want_da = dx != NULL || dx_sums != NULL;
    uint8_t *kept = zeros == NULL ? NULL : zeros->kept;
    job.rounding_da = make_rounding(&op->quant_da);
    job.rounding_dw = make_rounding(&op->quant_dw);
    job.stream_da = bp_stream_make(seed, BP_RANDOM_ROUND_DA, layer, step);
    job.stream_dw = bp_stream_make(seed, BP_RANDOM_ROUND_DW, layer, step);
    op->samples = n;
    uint64_t since = bp_clock_ns();
    bp_parallel_for(exec->threads, n, range_part, &job);
    if (op->quant_dw.groups == BP_GROUPS_CHANNEL)
        bp_parallel_for(exec->threads, op->shape.k, merge_channels, &job);
    decide_groups(&job, n, seed, layer, step);
    bp_exec_spent(exec, BP_SPENT_RANGES, &since);
    bp_parallel_for(exec->threads, n, code_part, &job);
    bp_exec_spent(exec, BP_SPENT_CODES, &since);
    if (job.want_da)
        bp_bconv_dgrad_run(op, exec, n, mask, dx, dx_sums, kept != NULL);
    for (size_t i = 0; kept != NULL && i < n; i++)
        kept[i] = (uint8_t)op->groups_da[i].kept;
    bp_exec_spent(exec, BP_SPENT_DGRAD, &since);
    bp_bconv_wgrad_run(op, exec, n, x, w, dw, dw_sums, zeros == NULL ? NULL : zeros->dw_rows);
    bp_exec_spent(exec, BP_SPENT_WGRAD, &since);
}

const struct bp_group *bp_bconv_groups_da(const struct bp_bconv *op) {
    return op->groups_da;
}

const struct bp_group *bp_bconv_groups_dw(const struct bp_bconv *op) {
    return op->groups_dw;
}
