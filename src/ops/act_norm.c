#include "ops/act_norm_internal.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"

#define CHUNK_FLOATS 8192 /* elements of one call, that stay in the cache */
#define BLOCK_ROWS   1024 /* of the float sums, see act_norm_sums */

/* --- creation --------------------------------------------------------------------------------- */

/* As norm_act.c has it, so that float sums run over the same blocks. */
static size_t chunk_rows_of(size_t w, size_t c) {
    size_t rows = CHUNK_FLOATS / (w * c) / 2 * 2;
    return rows < 2 ? 2 : rows;
}

bp_status bp_act_norm_create(struct bp_act_norm **out, struct bp_exec *exec, struct bp_plan *plan,
                             size_t n, size_t h, size_t w, size_t c, const char *name,
                             int input_time, int forward_time, int last_time) {
    struct bp_act_norm *op;
    *out = NULL;
    BP_TRY(bp_alloc(&op, sizeof *op, "a normalisation"));
    op->n = n;
    op->h = h;
    op->w = w;
    op->c = c;
    op->cw = bp_words(c);
    op->chunk_rows = chunk_rows_of(w, c);
    const struct {
        const char *what;
        size_t bytes;
        void *where;
    } buffers[] = {
        {"alpha", c * sizeof(float), &op->alpha},
        {"slope", c * sizeof(float), &op->slope},
        {"sums", n * 2 * c * sizeof(double), &op->partial},
    };
    bp_status status = bp_batch_norm_plan(&op->norm, plan, c, name, forward_time, last_time);
    if (status == BP_OK)
        status = bp_channel_sums_plan(&op->sums, exec, plan, BP_SUMS_I16_HALVES, n, c, name,
                                      input_time, forward_time);
    if (status == BP_OK)
        status = bp_sign_limits_plan(&op->limits, plan, c, name, forward_time, forward_time);
    char text[96];
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0] && status == BP_OK; i++) {
        snprintf(text, sizeof text, "%s %s", name, buffers[i].what);
        status =
            bp_plan_add(plan, text, buffers[i].bytes, forward_time, last_time, buffers[i].where);
    }
    if (status != BP_OK) {
        bp_free(op);
        return status;
    }
    bp_exec_need_scratch(exec, 2 * c * sizeof(float));
    *out = op;
    return BP_OK;
}

void bp_act_norm_destroy(struct bp_act_norm *op) {
    bp_free(op);
}

/* --- backward --------------------------------------------------------------------------------- */

struct job {
    struct bp_act_norm *op;
    struct bp_exec *exec;
    const int16_t *y;
    const float *g;
};

/* A run of pixels within one sample. */
struct chunk {
    size_t element, pixels; /* first element; number of pixels */
};

static struct chunk chunk_at(const struct bp_act_norm *op, size_t n, size_t row) {
    size_t rows = bp_min_size(op->chunk_rows, op->h - row);
    struct chunk chunk = {(n * op->h + row) * op->w * op->c, rows * op->w};
    return chunk;
}

/* Sum number `which` of channel j over the first n samples, in order. */
static double total(const struct bp_act_norm *op, size_t n, size_t which, size_t j) {
    double sum = 0.0;
    for (size_t i = 0; i < n; i++)
        sum += op->partial[(i * 2 + which) * op->c + j];
    return sum;
}

/* act_norm_sums or act_norm_slope_sums. */
typedef void sums_kernel(const float *g, const int16_t *y, size_t n, size_t c,
                         const struct bp_act_norm_rows *a, float *first, float *second);

/* Both sums of each sample, in blocks of fixed size. */
static void sums_of_samples(const struct job *job, size_t begin, size_t end, int thread,
                            sums_kernel *add) {
    struct bp_act_norm *op = job->op;
    const struct bp_act_norm_rows coefficients = coefficients_of(op);
    float *sums = bp_exec_scratch(job->exec, thread);
    for (size_t n = begin; n < end; n++) {
        double *partial = op->partial + n * 2 * op->c;
        memset(partial, 0, 2 * op->c * sizeof *partial);
        for (size_t row = 0; row < op->h; row += op->chunk_rows) {
            struct chunk chunk = chunk_at(op, n, row);
            for (size_t p = 0; p < chunk.pixels; p += BLOCK_ROWS) {
                size_t element = chunk.element + p * op->c;
                memset(sums, 0, 2 * op->c * sizeof *sums);
                add(job->g + element, job->y + element, bp_min_size(BLOCK_ROWS, chunk.pixels - p),
                    op->c, &coefficients, sums, sums + op->c);
                for (size_t i = 0; i < 2 * op->c; i++)
                    partial[i] += (double)sums[i];
            }
        }
    }
}

static void norm_sums_part(void *context, size_t begin, size_t end, int thread) {
    const struct job *job = context;
    sums_of_samples(job, begin, end, thread, job->exec->kernels.act_norm_sums);
}

static void act_sums_part(void *context, size_t begin, size_t end, int thread) {
    const struct job *job = context;
    sums_of_samples(job, begin, end, thread, job->exec->kernels.act_norm_slope_sums);
}

void bp_act_norm_backward_sums(struct bp_act_norm *op, struct bp_exec *exec, size_t n,
                               const int16_t *y, const float *g,
                               const struct bp_act_norm_params *params,
                               const struct bp_act_norm_grads *grads) {
    struct job job = {.op = op, .exec = exec, .y = y, .g = g};
    op->y = y;
    op->g = g;
    op->kernels = &exec->kernels;
    bp_parallel_for(exec->threads, n, norm_sums_part, &job);
    for (size_t j = 0; j < op->c; j++)
        bp_batch_norm_backward(&op->norm, j, (double)(n * op->h * op->w), total(op, n, 0, j),
                               total(op, n, 1, j), &params->norm, grads->weight, grads->bias);
    bp_parallel_for(exec->threads, n, act_sums_part, &job);
    for (size_t j = 0; j < op->c; j++) {
        grads->alpha[j] = (float)total(op, n, 0, j);
        grads->slope[j] = (float)total(op, n, 1, j);
    }
}

void bp_act_norm_grad_rows(const void *context, size_t n, size_t row, size_t rows, float *out,
                           void *scratch) {
    const struct bp_act_norm *op = context;
    const struct bp_act_norm_rows coefficients = coefficients_of(op);
    size_t element = (n * op->h + row) * op->w * op->c;
    (void)scratch;
    op->kernels->act_norm_grad(op->g + element, op->y + element, rows * op->w, op->c, &coefficients,
                               out);
}
