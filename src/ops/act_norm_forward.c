/* Forward: batch statistics, then signs. */
#include "ops/act_norm_internal.h"

#include <string.h>

struct job {
    struct bp_act_norm *op;
    struct bp_exec *exec;
    const int16_t *y;
    uint64_t *bits, *mask;
    const struct bp_limit_rows *limits; /* NULL: the signs come from floats */
    int ascending;                      /* samples in rising order: begin with what was read last */
};

static void sign_part(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    struct job *job = context;
    struct bp_act_norm *op = job->op;
    const struct bp_act_norm_rows coefficients = coefficients_of(op);
    size_t bits_row = (op->w + 2) * op->cw;
    for (size_t i = begin; i < end; i++) {
        size_t n = job->ascending ? i : begin + end - 1 - i;
        uint64_t *bits = job->bits + n * (op->h + 2) * bits_row;
        memset(bits, 0, bits_row * sizeof *bits);
        memset(bits + (op->h + 1) * bits_row, 0, bits_row * sizeof *bits);
        for (size_t row = 0; row < op->h; row++) {
            size_t pixel = (n * op->h + row) * op->w;
            uint64_t *to = bits + (row + 1) * bits_row + op->cw;
            memset(to - op->cw, 0, op->cw * sizeof *to);
            memset(to + op->w * op->cw, 0, op->cw * sizeof *to);
            uint64_t *mask = job->mask == NULL ? NULL : job->mask + pixel * op->cw;
            if (job->limits != NULL)
                job->exec->kernels.limit_signs_i16(job->y + pixel * op->c, op->w, op->c,
                                                   job->limits, to, mask);
            else
                job->exec->kernels.act_norm_signs(job->y + pixel * op->c, op->w, op->c,
                                                  &coefficients, to, mask);
        }
    }
}

/* Sums of h and h^2 of channel j, from those of the integers on either side of zero: h = alpha y
 * where alpha y >= 0, else slope alpha y. The backward pass needs those of alpha y where it is
 * below 0. */
static void moments(struct bp_act_norm *op, size_t j, double *sum, double *sum_squares) {
    const double *total = op->sums.total + j;
    double alpha = (double)op->alpha[j], steep = alpha * (double)op->slope[j];
    double upper = alpha < 0.0 ? steep : alpha, lower = alpha < 0.0 ? alpha : steep;
    *sum = upper * total[0] + lower * total[2 * op->c];
    *sum_squares = upper * upper * total[op->c] + lower * lower * total[3 * op->c];
    size_t below = alpha < 0.0 ? 0 : 2;
    op->negative[j] = alpha * total[below * op->c];
    op->negative[op->c + j] = alpha * alpha * total[(below + 1) * op->c];
}

void bp_act_norm_forward(struct bp_act_norm *op, struct bp_exec *exec, size_t n, const int16_t *y,
                         const struct bp_act_norm_params *params, int batch_statistics,
                         uint64_t *bits, uint64_t *mask) {
    struct job job = {.op = op, .exec = exec, .y = y, .bits = bits, .mask = mask};
    double count = (double)(n * op->h * op->w);
    memcpy(op->alpha, params->alpha, op->c * sizeof(float));
    memcpy(op->slope, params->slope, op->c * sizeof(float));
    if (batch_statistics)
        job.ascending = bp_channel_sums_finish(&op->sums, exec, n, y, op->h * op->w);
    for (size_t j = 0; j < op->c; j++) {
        double sum, sum_squares;
        if (!batch_statistics) {
            bp_batch_norm_of_running(&op->norm, j, &params->norm);
            continue;
        }
        moments(op, j, &sum, &sum_squares);
        bp_batch_norm_of_batch(&op->norm, j, count, sum, sum_squares, &params->norm);
    }
    const struct bp_act_norm_rows coefficients = coefficients_of(op);
    const struct bp_limit_rows limits = bp_sign_limits_rows(&op->limits);
    if (bp_sign_limits_of_act_norm(&op->limits, exec, &coefficients))
        job.limits = &limits;
    if (job.ascending)
        bp_parallel_for(exec->threads, n, sign_part, &job);
    else
        bp_parallel_for_down(exec->threads, n, sign_part, &job);
}
