/* The weight gradient on bytes. Each worker takes samples: rows of the gradient -> ranges -> codes
 * -> product, a chunk at a time, so that neither gradient nor codes leave the cache. */
#include "ops/byte_conv_internal.h"

#include <float.h>
#include <math.h>
#include <string.h>

struct backward_job {
    struct bp_byte_conv *op;
    struct bp_exec *exec;
    const struct bp_grad_source *source;
    struct bp_stream stream;
    size_t samples;
    float *dw;
};

/* A worker's scratch. */
struct worker_scratch {
    float *rows;                             /* [chunk rows][ow][k] */
    uint8_t *random;                         /* [chunk rows * ow][32] */
    int8_t *quads;                           /* [chunk rows * ceil(ow / 4)][lanes][4] */
    int32_t *sums;                           /* [taps][k] */
    int32_t *code_sums;                      /* [k] */
    float *lo, *hi, *squares, *step, *scale; /* [k] each */
    void *source;
};

/* Somewhat less than 127, so that no rounding leads beyond it. */
#define LARGEST_CODE 126.875f

static size_t padded(size_t bytes) {
    return bp_round_up(bytes, 64);
}

size_t bp_byte_conv_backward_scratch_bytes(const struct bp_conv_shape *s, size_t source_bytes) {
    size_t rows = bp_byte_conv_chunk_rows(s), elements = rows * s->ow * s->k;
    size_t lanes = bp_round_up(s->k, BP_BYTE_LANES), taps = s->r * s->r * s->c;
    return padded(elements * sizeof(float)) + padded(rows * s->ow * 32) +
           padded(rows * bp_round_up(s->ow, 4) * lanes) + padded(taps * s->k * sizeof(int32_t)) +
           padded(s->k * sizeof(int32_t)) + 5 * padded(s->k * sizeof(float)) + padded(source_bytes);
}

static struct worker_scratch carve_scratch(const struct backward_job *job, int thread) {
    const struct bp_byte_conv *op = job->op;
    const struct bp_conv_shape *s = &op->shape;
    struct bp_carver carver = {bp_exec_scratch(job->exec, thread)};
    size_t elements = op->chunk_rows * s->ow * s->k;
    struct worker_scratch scratch;
    scratch.rows = bp_carve(&carver, elements * sizeof(float));
    scratch.random = bp_carve(&carver, op->chunk_rows * s->ow * 32);
    scratch.quads = bp_carve(&carver, op->chunk_rows * bp_round_up(s->ow, 4) * op->lanes);
    scratch.sums = bp_carve(&carver, op->taps * s->k * sizeof(int32_t));
    scratch.code_sums = bp_carve(&carver, s->k * sizeof(int32_t));
    scratch.lo = bp_carve(&carver, s->k * sizeof(float));
    scratch.hi = bp_carve(&carver, s->k * sizeof(float));
    scratch.squares = bp_carve(&carver, s->k * sizeof(float));
    scratch.step = bp_carve(&carver, s->k * sizeof(float));
    scratch.scale = bp_carve(&carver, s->k * sizeof(float));
    scratch.source = bp_carve(&carver, job->source->scratch_bytes);
    return scratch;
}

/* Scales of the channels of a chunk of `count` positions. */
static void choose_scales(const struct backward_job *job, size_t count,
                          const struct worker_scratch *scratch) {
    size_t k = job->op->shape.k;
    for (size_t j = 0; j < k; j++) {
        scratch->lo[j] = FLT_MAX;
        scratch->hi[j] = -FLT_MAX;
        scratch->squares[j] = 0.0f;
    }
    const struct bp_columns ranges = {scratch->lo, scratch->hi, scratch->squares};
    job->exec->kernels.range_columns(scratch->rows, count, k, ranges);
    for (size_t j = 0; j < k; j++) {
        float step = fmaxf(fabsf(scratch->lo[j]), fabsf(scratch->hi[j])) / LARGEST_CODE;
        float scale = 65536.0f / step;
        int usable = step > 0.0f && scale <= FLT_MAX;
        scratch->step[j] = usable ? step : 0.0f;
        scratch->scale[j] = usable ? scale : 0.0f;
        if (isnan(scratch->squares[j])) { /* a run that diverged is to show it */
            scratch->step[j] = NAN;
            scratch->scale[j] = 0.0f;
        }
    }
}

/* Codes of `rows` rows as quads of positions; each row begins a new quad. */
static void code_chunk(const struct backward_job *job, size_t n, size_t row, size_t rows,
                       const struct worker_scratch *scratch) {
    const struct bp_byte_conv *op = job->op;
    const struct bp_conv_shape *s = &op->shape;
    const struct bp_kernels *kernels = &job->exec->kernels;
    size_t at_once = s->ow % 4 == 0 ? rows : 1;
    uint64_t position = ((uint64_t)n * s->oh + row) * s->ow;
    kernels->random_blocks(&job->stream, 2 * position, 2 * rows * s->ow, scratch->random);
    memset(scratch->code_sums, 0, s->k * sizeof *scratch->code_sums);
    for (size_t y = 0; y < rows; y += at_once)
        kernels->code_quads(scratch->rows + y * s->ow * s->k, at_once * s->ow, s->k,
                            scratch->random + y * s->ow * 32, scratch->scale,
                            scratch->quads + y * bp_round_up(s->ow, 4) * op->lanes,
                            scratch->code_sums);
}

/* partial[t][j] += S_j (sum of codes u - z sum of codes) */
static void add_chunk(const struct bp_byte_conv *op, const struct worker_scratch *scratch,
                      float *partial) {
    size_t k = op->shape.k;
    for (size_t t = 0; t < op->taps; t++) {
        int32_t zero = op->zero[t % op->shape.c];
        const int32_t *sums = scratch->sums + t * k;
        for (size_t j = 0; j < k; j++)
            partial[t * k + j] +=
                scratch->step[j] * (float)(sums[j] - zero * scratch->code_sums[j]);
    }
}

static void sample_part(void *context, size_t begin, size_t end, int thread) {
    struct backward_job *job = context;
    const struct bp_byte_conv *op = job->op;
    const struct bp_conv_shape *s = &op->shape;
    struct worker_scratch scratch = carve_scratch(job, thread);
    for (size_t n = begin; n < end; n++) {
        float *partial = op->partial + n * op->taps * s->k;
        memset(partial, 0, op->taps * s->k * sizeof *partial);
        for (size_t row = 0; row < s->oh; row += op->chunk_rows) {
            size_t rows = bp_min_size(op->chunk_rows, s->oh - row);
            const uint8_t *x = op->planes + n * op->sample_bytes + row * s->stride * op->width;
            job->source->rows(job->source->context, n, row, rows, scratch.rows, scratch.source);
            choose_scales(job, rows * s->ow, &scratch);
            code_chunk(job, n, row, rows, &scratch);
            memset(scratch.sums, 0, op->taps * s->k * sizeof *scratch.sums);
            job->exec->kernels.product_bytes(x, op->tap_offset, op->taps, op->position_quads,
                                             rows * ((s->ow + 3) / 4), scratch.quads, s->k,
                                             scratch.sums);
            add_chunk(op, &scratch, partial);
        }
    }
}

/* The samples in order. */
static void add_samples(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    struct backward_job *job = context;
    const struct bp_byte_conv *op = job->op;
    size_t k = op->shape.k;
    for (size_t t = begin; t < end; t++)
        for (size_t j = 0; j < k; j++) {
            double sum = 0.0;
            for (size_t n = 0; n < job->samples; n++)
                sum += (double)op->partial[(n * op->taps + t) * k + j];
            job->dw[j * op->taps + t] = (float)(sum * (double)op->step[t % op->shape.c]);
        }
}

void bp_byte_conv_backward(struct bp_byte_conv *op, struct bp_exec *exec, size_t n,
                           const struct bp_grad_source *source, uint64_t seed, uint32_t step,
                           float *dw) {
    struct backward_job job = {.op = op, .exec = exec, .source = source, .samples = n, .dw = dw};
    job.stream = bp_stream_make(seed, BP_RANDOM_ROUND_INPUT, 0, step);
    bp_parallel_for(exec->threads, n, sample_part, &job);
    bp_parallel_for(exec->threads, op->taps, add_samples, &job);
}
