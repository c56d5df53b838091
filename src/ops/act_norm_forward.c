/* Forward: batch statistics, then signs. */
#include "ops/act_norm_internal.h"

#include <string.h>

struct job {
    struct bp_act_norm *op;
    struct bp_exec *exec;
    const int16_t *y;
    uint64_t *bits, *mask;
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

static void moments_part(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    struct job *job = context;
    struct bp_act_norm *op = job->op;
    const struct bp_act_norm_rows coefficients = coefficients_of(op);
    for (size_t n = begin; n < end; n++) {
        double *partial = op->partial + n * 2 * op->c;
        memset(partial, 0, 2 * op->c * sizeof *partial);
        for (size_t row = 0; row < op->h; row += op->chunk_rows) {
            struct chunk chunk = chunk_at(op, n, row);
            job->exec->kernels.act_norm_moments(job->y + chunk.element, chunk.pixels, op->c,
                                                &coefficients, partial, partial + op->c);
        }
    }
}

static void sign_part(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    struct job *job = context;
    struct bp_act_norm *op = job->op;
    const struct bp_act_norm_rows coefficients = coefficients_of(op);
    size_t bits_row = (op->w + 2) * op->cw;
    for (size_t n = begin; n < end; n++) {
        uint64_t *bits = job->bits + n * (op->h + 2) * bits_row;
        memset(bits, 0, bits_row * sizeof *bits);
        memset(bits + (op->h + 1) * bits_row, 0, bits_row * sizeof *bits);
        for (size_t row = 0; row < op->h; row++) {
            size_t pixel = (n * op->h + row) * op->w;
            uint64_t *to = bits + (row + 1) * bits_row + op->cw;
            memset(to - op->cw, 0, op->cw * sizeof *to);
            memset(to + op->w * op->cw, 0, op->cw * sizeof *to);
            job->exec->kernels.act_norm_signs(
                job->y + pixel * op->c, op->w, op->c, &coefficients, to,
                job->mask == NULL ? NULL : job->mask + pixel * op->cw);
        }
    }
}

void bp_act_norm_forward(struct bp_act_norm *op, struct bp_exec *exec, size_t n, const int16_t *y,
                         const struct bp_act_norm_params *params, int batch_statistics,
                         uint64_t *bits, uint64_t *mask) {
    struct job job = {.op = op, .exec = exec, .y = y, .bits = bits, .mask = mask};
    double count = (double)(n * op->h * op->w);
    memcpy(op->alpha, params->alpha, op->c * sizeof(float));
    memcpy(op->slope, params->slope, op->c * sizeof(float));
    if (batch_statistics)
        bp_parallel_for(exec->threads, n, moments_part, &job);
    for (size_t j = 0; j < op->c; j++)
        if (batch_statistics)
            bp_batch_norm_of_batch(&op->norm, j, count, total(op, n, 0, j), total(op, n, 1, j),
                                   &params->norm);
        else
            bp_batch_norm_of_running(&op->norm, j, &params->norm);
    bp_parallel_for(exec->threads, n, sign_part, &job);
}
