#include "ops/act_norm_internal.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"

#define CHUNK_FLOATS 8192 /* elements of one call, that stay in the cache */
#define BLOCK_ROWS   1024 /* of the float sums, see act_norm_sums */
#define SUMS         3    /* of g, g h and g u */

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
        {"sums", n * 3 * c * sizeof(double), &op->partial},
        {"negative sums", 2 * c * sizeof(double), &op->negative},
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
    bp_exec_need_scratch(exec, SUMS * c * sizeof(float));
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
    size_t n;
    const struct bp_act_norm_params *params;
    const struct bp_act_norm_grads *grads;
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

static int has_gradient(const struct bp_act_norm *op, size_t n) {
    return op->g.kept == NULL || op->g.kept[n];
}

/* The float sums of a chunk of sample n, in blocks of fixed size, added to the sample's. */
static void add_sums(const struct bp_act_norm *op, size_t n, const struct chunk *chunk, float *sums,
                     double *partial) {
    const struct bp_act_norm_rows coefficients = coefficients_of(op);
    for (size_t p = 0; p < chunk->pixels; p += BLOCK_ROWS) {
        size_t element = chunk->element + p * op->c;
        const struct bp_gradient_rows g = bp_gradient_at(&op->g, n, element);
        memset(sums, 0, SUMS * op->c * sizeof *sums);
        op->kernels->act_norm_sums(&g, op->y + element, bp_min_size(BLOCK_ROWS, chunk->pixels - p),
                                   op->c, &coefficients, sums, sums + op->c, sums + 2 * op->c);
        for (size_t i = 0; i < SUMS * op->c; i++)
            partial[i] += (double)sums[i];
    }
}

static void backward_sums_part(void *context, size_t begin, size_t end, int thread) {
    struct job *job = context;
    struct bp_act_norm *op = job->op;
    size_t c = op->c;
    float *sums = bp_exec_scratch(job->exec, thread);
    for (size_t n = begin; n < end; n++) {
        double *partial = op->partial + n * SUMS * c;
        memset(partial, 0, SUMS * c * sizeof *partial);
        for (size_t row = 0; has_gradient(op, n) && row < op->h; row += op->chunk_rows) {
            struct chunk chunk = chunk_at(op, n, row);
            add_sums(op, n, &chunk, sums, partial);
        }
    }
}

/* Adds the sums of channels begin .. end - 1 of all samples up in those of the first, in order of
 * the samples. */
static void add_samples(struct bp_act_norm *op, size_t n, size_t begin, size_t end) {
    size_t c = op->c;
    for (size_t i = 1; i < n; i++) {
        const double *from = op->partial + i * SUMS * c;
        for (size_t which = 0; has_gradient(op, i) && which < SUMS; which++)
            for (size_t j = begin; j < end; j++)
                op->partial[which * c + j] += from[which * c + j];
    }
}

/* The gradients of alpha and slope follow from the sums. With dh = ka g + kb h + kc, of which
 * dL/dalpha = sum dh h / alpha, batch norm leaves of dh's part along h only what epsilon lets
 * through. Where u < 0, h is slope u: dL/dslope = sum dh u = ka sum g u + kb slope sum u^2 + kc sum
 * u. */
static void finish_channel(const struct job *job, size_t j) {
    struct bp_act_norm *op = job->op;
    size_t c = op->c;
    const struct bp_batch_norm *norm = &op->norm;
    double sum_g = op->partial[j], sum_gh = op->partial[c + j], sum_gu = op->partial[2 * c + j];
    double alpha = (double)op->alpha[j], inverse = norm->inverse_deviation[j];
    bp_batch_norm_backward(&op->norm, j, (double)(job->n * op->h * op->w), sum_g, sum_gh,
                           &job->params->norm, job->grads->weight, job->grads->bias);
    double scale = (double)job->params->norm.weight[j] * inverse;
    double along_h = scale * (sum_gh - norm->mean[j] * sum_g) * BP_NORM_EPSILON * inverse * inverse;
    job->grads->alpha[j] = op->alpha[j] == 0.0f ? 0.0f : (float)(along_h / alpha);
    job->grads->slope[j] =
        (float)((double)norm->ka[j] * sum_gu +
                (double)norm->kb[j] * (double)op->slope[j] * op->negative[c + j] +
                (double)norm->kc[j] * op->negative[j]);
}

static void finish_part(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    const struct job *job = context;
    add_samples(job->op, job->n, begin, end);
    for (size_t j = begin; j < end; j++)
        finish_channel(job, j);
}

void bp_act_norm_backward_sums(struct bp_act_norm *op, struct bp_exec *exec, size_t n,
                               const int16_t *y, const struct bp_gradient *g,
                               const struct bp_act_norm_params *params,
                               const struct bp_act_norm_grads *grads) {
    struct job job = {.op = op, .exec = exec, .n = n, .params = params, .grads = grads};
    op->y = y;
    op->g = *g;
    op->kernels = &exec->kernels;
    bp_parallel_for(exec->threads, n, backward_sums_part, &job);
    bp_parallel_for(exec->threads, op->c, finish_part, &job);
}

void bp_act_norm_grad_rows(const void *context, size_t n, size_t row, size_t rows, float *out,
                           void *scratch) {
    const struct bp_act_norm *op = context;
    const struct bp_act_norm_rows coefficients = coefficients_of(op);
    size_t element = (n * op->h + row) * op->w * op->c;
    const struct bp_gradient_rows g = bp_gradient_at(&op->g, n, element);
    (void)scratch;
    op->kernels->act_norm_grad(has_gradient(op, n) ? &g : NULL, op->y + element, rows * op->w,
                               op->c, &coefficients, out);
}

void bp_act_norm_grad_codes(const void *context, size_t n, size_t row, size_t rows,
                            const struct bp_rounding_both *both, void *scratch) {
    const struct bp_act_norm *op = context;
    const struct bp_act_norm_rows coefficients = coefficients_of(op);
    size_t element = (n * op->h + row) * op->w * op->c;
    const struct bp_gradient_rows g = bp_gradient_at(&op->g, n, element);
    (void)scratch;
    op->kernels->act_norm_codes(has_gradient(op, n) ? &g : NULL, op->y + element, rows * op->w,
                                op->c, &coefficients, both);
}

void bp_act_norm_grad_ranges(const void *context, size_t n, struct bp_columns to, void *scratch) {
    const struct bp_act_norm *op = context;
    const struct bp_act_norm_rows coefficients = coefficients_of(op);
    (void)scratch;
    for (size_t row = 0; row < op->h; row += op->chunk_rows) {
        struct chunk chunk = chunk_at(op, n, row);
        const struct bp_gradient_rows g = bp_gradient_at(&op->g, n, chunk.element);
        op->kernels->act_norm_range(has_gradient(op, n) ? &g : NULL, op->y + chunk.element,
                                    chunk.pixels, op->c, &coefficients, to);
    }
}

int bp_act_norm_grad_columns(const void *context, size_t n, size_t row, size_t rows,
                             const int32_t *column, size_t k, float *out) {
    const struct bp_act_norm *op = context;
    const struct bp_act_norm_rows coefficients = coefficients_of(op);
    if (has_gradient(op, n))
        return 0;
    op->kernels->act_norm_columns(op->y + (n * op->h + row) * op->w * op->c, rows * op->w, op->c,
                                  column, k, &coefficients, out);
    return 1;
}
