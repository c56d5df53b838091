/* Forward: batch statistics, then one pass over the elements. */
#include "ops/norm_act_internal.h"

#include <string.h>

/* --- statistics ------------------------------------------------------------------------------- */

struct job {
    struct bp_norm_act *op;
    struct bp_exec *exec;
    const void *y;
    const float *residual;
    const struct bp_norm_act_params *params;
    struct bp_norm_act_out out;
    size_t n;
    int ascending; /* samples in rising order: begin with what was read last */
};

static double elements_of_channel(const struct job *job) {
    return (double)(job->n * job->op->shape.h * job->op->shape.w);
}

static void set_coefficients(const struct job *job, int batch_statistics) {
    struct bp_norm_act *op = job->op;
    const struct bp_norm_act_shape *s = &op->shape;
    const struct bp_batch_norm_params params = norm_params(job->params);
    for (size_t j = 0; j < s->c; j++) {
        if (s->activation == BP_ACT_RELU)
            op->slope[j] = 0.0f;
        else if (s->activation == BP_ACT_PRELU)
            op->slope[j] = job->params->slope[j];
        if (s->affine == BP_AFFINE_SCALE) {
            op->norm.scale[j] = params.weight[j];
            op->norm.shift[j] = 0.0f;
        } else if (batch_statistics) {
            bp_batch_norm_of_batch(&op->norm, j, elements_of_channel(job), op->sums.total[j],
                                   op->sums.total[s->c + j], &params);
        } else {
            bp_batch_norm_of_running(&op->norm, j, &params);
        }
    }
}

/* --- forward ---------------------------------------------------------------------------------- */

static void affine_act(const struct job *job, size_t element, size_t pixels, float *z) {
    struct bp_norm_act *op = job->op;
    const struct bp_kernels *kernels = &job->exec->kernels;
    if (op->shape.input_i16)
        kernels->affine_act_i16(y_i16(job->y, element), pixels, op->shape.c, op->norm.scale,
                                op->norm.shift, op->slope, z);
    else
        kernels->affine_act_f32(y_f32(job->y, element), pixels, op->shape.c, op->norm.scale,
                                op->norm.shift, op->slope, z);
}

static void store_rows(const struct job *job, size_t n, size_t row, size_t rows, float *z) {
    struct bp_norm_act *op = job->op;
    size_t c = op->shape.c, elements = rows * op->ow * c, first = (n * op->oh + row) * op->ow;
    if (job->residual != NULL)
        for (size_t i = 0; i < elements; i++)
            z[i] += job->residual[first * c + i];
    if (!op->shape.sign_out) {
        if (z != job->out.out + first * c)
            memcpy(job->out.out + first * c, z, elements * sizeof(float));
        if (job->out.sums != NULL)
            bp_channel_sums_add_f32(job->out.sums, &job->exec->kernels, n, z, rows * op->ow);
        return;
    }
    for (size_t y = 0; y < rows; y++) {
        uint64_t *bits =
            job->out.bits + ((n * (op->oh + 2) + row + y + 1) * (op->ow + 2) + 1) * op->cw;
        uint64_t *mask =
            job->out.mask == NULL ? NULL : job->out.mask + (first + y * op->ow) * op->cw;
        memset(bits - op->cw, 0, op->cw * sizeof *bits);
        memset(bits + op->ow * op->cw, 0, op->cw * sizeof *bits);
        job->exec->kernels.sign_pack_f32(z + y * op->ow * c, op->ow, c, bits, mask);
    }
}

static void clear_halo_rows(const struct job *job, size_t n) {
    struct bp_norm_act *op = job->op;
    size_t row = (op->ow + 2) * op->cw;
    uint64_t *bits = job->out.bits + n * (op->oh + 2) * row;
    memset(bits, 0, row * sizeof *bits);
    memset(bits + (op->oh + 1) * row, 0, row * sizeof *bits);
}

static void forward_part(void *context, size_t begin, size_t end, int thread) {
    struct job *job = context;
    struct bp_norm_act *op = job->op;
    const struct bp_norm_act_shape *s = &op->shape;
    size_t row_elements = s->w * s->c;
    struct bp_carver carver = {bp_exec_scratch(job->exec, thread)};
    float *z = bp_carve(&carver, op->chunk_rows * row_elements * sizeof(float));
    float *pooled = bp_carve(&carver, op->chunk_rows * row_elements * sizeof(float));
    for (size_t i = begin; i < end; i++) {
        size_t n = job->ascending ? i : begin + end - 1 - i;
        if (s->sign_out)
            clear_halo_rows(job, n);
        for (size_t row = 0; row < s->h; row += op->chunk_rows) {
            size_t rows = bp_min_size(op->chunk_rows, s->h - row);
            affine_act(job, (n * s->h + row) * row_elements, rows * s->w, z);
            if (!s->max_pool) {
                store_rows(job, n, row, rows, z);
                continue;
            }
            for (size_t y = 0; y < rows / 2; y++)
                job->exec->kernels.max_pool_2x2(
                    z + 2 * y * row_elements, z + (2 * y + 1) * row_elements, op->ow, s->c,
                    pooled + y * op->ow * s->c,
                    op->which + ((n * op->oh + row / 2 + y) * op->ow) * 2 * op->cw);
            store_rows(job, n, row / 2, rows / 2, pooled);
        }
    }
}

void bp_norm_act_forward(struct bp_norm_act *op, struct bp_exec *exec, size_t n, const void *y,
                         const float *residual, const struct bp_norm_act_params *params,
                         int batch_statistics, const struct bp_norm_act_out *out) {
    struct job job = {.op = op,
                      .exec = exec,
                      .y = y,
                      .residual = residual,
                      .params = params,
                      .out = *out,
                      .n = n};
    if (op->shape.affine == BP_AFFINE_BATCH_NORM && batch_statistics)
        job.ascending = bp_channel_sums_finish(&op->sums, exec, n, y, op->shape.h * op->shape.w);
    set_coefficients(&job, batch_statistics);
    if (out->sums != NULL)
        bp_channel_sums_begin(out->sums, exec, n);
    bp_parallel_for(exec->threads, n, forward_part, &job);
    if (out->sums != NULL)
        bp_channel_sums_end(out->sums);
}
