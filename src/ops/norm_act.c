#include "ops/norm_act_internal.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"

#define CHUNK_FLOATS 8192 /* of one worker's row buffer: 32 kB */

/* --- creation --------------------------------------------------------------------------------- */

static size_t chunk_rows_of(const struct bp_norm_act_shape *s) {
    size_t rows = CHUNK_FLOATS / (s->w * s->c) / 2 * 2;
    return rows < 2 ? 2 : rows;
}

/* Row buffers of the forward pass and of the sums: activated rows, pooled rows, and three sums. */
static size_t scratch_bytes(const struct bp_norm_act_shape *s) {
    size_t rows = chunk_rows_of(s) * s->w * s->c * sizeof(float);
    return 2 * bp_round_up(rows, 64) + 4 * bp_round_up(s->c * sizeof(float), 64);
}

size_t bp_norm_act_grad_scratch_bytes(const struct bp_norm_act_shape *shape) {
    return chunk_rows_of(shape) * shape->w * shape->c * sizeof(float);
}

bp_status bp_norm_act_create(struct bp_norm_act **out, struct bp_exec *exec, struct bp_plan *plan,
                             const struct bp_norm_act_shape *shape, const char *name,
                             int forward_time, int last_time) {
    struct bp_norm_act *op;
    *out = NULL;
    BP_TRY(bp_alloc(&op, sizeof *op, "a normalisation"));
    op->shape = *shape;
    op->oh = shape->max_pool ? shape->h / 2 : shape->h;
    op->ow = shape->max_pool ? shape->w / 2 : shape->w;
    op->cw = bp_words(shape->c);
    op->chunk_rows = chunk_rows_of(shape);
    size_t pooled = shape->n * op->oh * op->ow * 2 * op->cw * 8;
    const struct {
        const char *what;
        size_t bytes;
        void *where;
    } buffers[] = {
        {"slope", shape->activation == BP_ACT_NONE ? 0 : shape->c * sizeof(float), &op->slope},
        {"sums", shape->n * 3 * shape->c * 8, &op->partial},
        {"winners", shape->max_pool ? pooled : 0, &op->which},
        {"ranges", bp_norm_act_takes_ranges(shape) ? shape->n * 3 * shape->c * sizeof(float) : 0,
         &op->ranges},
    };
    bp_status status = bp_batch_norm_plan(&op->norm, plan, shape->c, name, forward_time, last_time);
    char text[96];
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0] && status == BP_OK; i++) {
        snprintf(text, sizeof text, "%s %s", name, buffers[i].what);
        if (buffers[i].bytes != 0)
            status = bp_plan_add(plan, text, buffers[i].bytes, forward_time, last_time,
                                 buffers[i].where);
    }
    if (status != BP_OK) {
        bp_free(op);
        return status;
    }
    bp_exec_need_scratch(exec, scratch_bytes(shape));
    bp_exec_need_scratch(exec, bp_norm_act_grad_scratch_bytes(shape));
    *out = op;
    return BP_OK;
}

void bp_norm_act_destroy(struct bp_norm_act *op) {
    bp_free(op);
}

/* --- statistics ------------------------------------------------------------------------------- */

struct job {
    struct bp_norm_act *op;
    struct bp_exec *exec;
    const void *y;
    const float *residual;
    const struct bp_norm_act_params *params;
    struct bp_norm_act_out out;
    size_t n;
};

/* Sums of one sample: exact integers, or doubles in order of the pixels. */
static void sums_part(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    struct job *job = context;
    const struct bp_norm_act_shape *s = &job->op->shape;
    const struct bp_kernels *kernels = &job->exec->kernels;
    for (size_t n = begin; n < end; n++) {
        size_t first = n * bp_norm_act_sample_elements(s);
        char *partial = (char *)job->op->partial + n * 3 * s->c * 8;
        memset(partial, 0, 2 * s->c * 8);
        if (s->input_i16)
            kernels->sums_i16(bp_norm_act_y_i16(job->y, first), s->h * s->w, s->c,
                              (int64_t *)(void *)partial, (int64_t *)(void *)partial + s->c);
        else
            kernels->sums_f32(bp_norm_act_y_f32(job->y, first), s->h * s->w, s->c,
                              (double *)(void *)partial, (double *)(void *)partial + s->c);
    }
}

/* Sum number `which` of channel j over all samples, in order of the samples. */
static double total(const struct job *job, size_t which, size_t j, int integer) {
    size_t c = job->op->shape.c;
    int64_t exact = 0;
    double sum = 0.0;
    for (size_t n = 0; n < job->n; n++) {
        size_t at = (n * 3 + which) * c + j;
        if (integer)
            exact += ((const int64_t *)job->op->partial)[at];
        else
            sum += ((const double *)job->op->partial)[at];
    }
    return integer ? (double)exact : sum;
}

static void set_coefficients(const struct job *job, int batch_statistics) {
    struct bp_norm_act *op = job->op;
    const struct bp_norm_act_shape *s = &op->shape;
    const struct bp_batch_norm_params params = bp_norm_act_params_of_norm(job->params);
    for (size_t j = 0; j < s->c; j++) {
        if (s->activation == BP_ACT_RELU)
            op->slope[j] = 0.0f;
        else if (s->activation == BP_ACT_PRELU)
            op->slope[j] = job->params->slope[j];
        if (s->affine == BP_AFFINE_SCALE) {
            op->norm.scale[j] = params.weight[j];
            op->norm.shift[j] = 0.0f;
        } else if (batch_statistics) {
            bp_batch_norm_of_batch(&op->norm, j, bp_norm_act_elements(op, job->n),
                                   total(job, 0, j, s->input_i16), total(job, 1, j, s->input_i16),
                                   &params);
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
        kernels->affine_act_i16(bp_norm_act_y_i16(job->y, element), pixels, op->shape.c,
                                op->norm.scale, op->norm.shift, op->slope, z);
    else
        kernels->affine_act_f32(bp_norm_act_y_f32(job->y, element), pixels, op->shape.c,
                                op->norm.scale, op->norm.shift, op->slope, z);
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
    for (size_t n = begin; n < end; n++) {
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
        bp_parallel_for(exec->threads, n, sums_part, &job);
    set_coefficients(&job, batch_statistics);
    bp_parallel_for(exec->threads, n, forward_part, &job);
}
