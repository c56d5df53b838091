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

bp_status bp_norm_act_create(struct bp_norm_act **out, struct bp_exec *exec, struct bp_plan *plan,
                             const struct bp_norm_act_shape *shape, const char *name,
                             int input_time, int forward_time, int last_time) {
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
    };
    bp_status status = bp_batch_norm_plan(&op->norm, plan, shape->c, name, forward_time, last_time);
    if (status == BP_OK && shape->affine == BP_AFFINE_BATCH_NORM)
        status = bp_channel_sums_plan(&op->sums, exec, plan,
                                      shape->input_i16 ? BP_SUMS_I16 : BP_SUMS_F32, shape->n,
                                      shape->c, name, input_time, forward_time);
    if (status == BP_OK && shape->input_i16 && shape->sign_out)
        status = bp_sign_limits_plan(&op->limits, plan, shape->c, name, forward_time, forward_time);
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

/* --- backward --------------------------------------------------------------------------------- */

struct job {
    struct bp_norm_act *op;
    struct bp_exec *exec;
    const void *y;
    const struct bp_norm_act_params *params;
    const struct bp_norm_act_grads *grads;
    size_t n;
    float *dx;
    int accumulate;
};

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

static double elements_of_channel(const struct job *job) {
    return (double)(job->n * job->op->shape.h * job->op->shape.w);
}

/* dL/dz of input rows: g itself, or g sent to the winners of the pooling. */
static const float *activation_gradient(const struct bp_norm_act *op,
                                        void (*unpool)(const float *, const uint64_t *, size_t,
                                                       size_t, float *, float *),
                                        size_t n, size_t row, size_t rows, float *buffer) {
    const struct bp_norm_act_shape *s = &op->shape;
    size_t row_elements = s->w * s->c;
    if (!s->max_pool)
        return op->g + (n * s->h + row) * row_elements;
    if (s->h % 2 != 0 || s->w % 2 != 0)
        memset(buffer, 0, rows * row_elements * sizeof(float));
    for (size_t y = 0; y + 1 < rows; y += 2) {
        size_t pixel = (n * op->oh + (row + y) / 2) * op->ow;
        unpool(op->g + pixel * s->c, op->which + pixel * 2 * op->cw, op->ow, s->c,
               buffer + y * row_elements, buffer + (y + 1) * row_elements);
    }
    return buffer;
}

/* Adds the float sums of one block of pixels to the doubles of the sample. */
static void flush(double *partial, const float *sums, size_t count) {
    for (size_t i = 0; i < count; i++)
        partial[i] += (double)sums[i];
}

static void backward_sums_part(void *context, size_t begin, size_t end, int thread) {
    struct job *job = context;
    struct bp_norm_act *op = job->op;
    const struct bp_norm_act_shape *s = &op->shape;
    const struct bp_kernels *kernels = &job->exec->kernels;
    size_t row_elements = s->w * s->c;
    struct bp_carver carver = {bp_exec_scratch(job->exec, thread)};
    float *buffer = bp_carve(&carver, op->chunk_rows * row_elements * sizeof(float));
    float *sums = bp_carve(&carver, 3 * s->c * sizeof(float));
    for (size_t n = begin; n < end; n++) {
        double *partial = (double *)op->partial + n * 3 * s->c;
        memset(partial, 0, 3 * s->c * sizeof *partial);
        for (size_t row = 0; row < s->h; row += op->chunk_rows) {
            size_t rows = bp_min_size(op->chunk_rows, s->h - row), pixels = rows * s->w;
            const float *g = activation_gradient(op, kernels->max_unpool_2x2, n, row, rows, buffer);
            for (size_t p = 0; p < pixels; p += 1024) {
                size_t count = bp_min_size(1024, pixels - p);
                size_t element = (n * s->h + row) * row_elements + p * s->c;
                memset(sums, 0, 3 * s->c * sizeof *sums);
                if (s->input_i16)
                    kernels->act_sums_i16(g + p * s->c, y_i16(job->y, element), count, s->c,
                                          op->norm.scale, op->norm.shift, op->slope, sums,
                                          sums + s->c, sums + 2 * s->c);
                else
                    kernels->act_sums_f32(g + p * s->c, y_f32(job->y, element), count, s->c,
                                          op->norm.scale, op->norm.shift, op->slope, sums,
                                          sums + s->c, sums + 2 * s->c);
                flush(partial, sums, 3 * s->c);
            }
        }
    }
}

/* A plain scale: dalpha = sum ga y, dy = alpha ga. */
static void finish_channel(const struct job *job, size_t j) {
    struct bp_norm_act *op = job->op;
    double sum_g = total(job, 0, j, 0), sum_gy = total(job, 1, j, 0);
    if (op->shape.activation == BP_ACT_PRELU)
        job->grads->slope[j] = (float)total(job, 2, j, 0);
    if (op->shape.affine == BP_AFFINE_SCALE) {
        op->norm.ka[j] = op->norm.scale[j];
        op->norm.kb[j] = op->norm.kc[j] = 0.0f;
        job->grads->weight[j] = (float)sum_gy;
        return;
    }
    const struct bp_batch_norm_params params = norm_params(job->params);
    bp_batch_norm_backward(&op->norm, j, elements_of_channel(job), sum_g, sum_gy, &params,
                           job->grads->weight, job->grads->bias);
}

static void finish_part(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    for (size_t j = begin; j < end; j++)
        finish_channel(context, j);
}

void bp_norm_act_backward_sums(struct bp_norm_act *op, struct bp_exec *exec, size_t n,
                               const void *y, const float *g,
                               const struct bp_norm_act_params *params,
                               const struct bp_norm_act_grads *grads) {
    struct job job = {.op = op, .exec = exec, .y = y, .params = params, .grads = grads, .n = n};
    op->y = y;
    op->g = g;
    op->kernels = &exec->kernels;
    bp_parallel_for(exec->threads, n, backward_sums_part, &job);
    bp_parallel_for(exec->threads, op->shape.c, finish_part, &job);
}

size_t bp_norm_act_grad_scratch_bytes(const struct bp_norm_act_shape *shape) {
    return chunk_rows_of(shape) * shape->w * shape->c * sizeof(float);
}

void bp_norm_act_grad_rows(const void *context, size_t n, size_t row, size_t rows, float *out,
                           void *scratch) {
    const struct bp_norm_act *op = context;
    const struct bp_norm_act_shape *s = &op->shape;
    size_t row_elements = s->w * s->c;
    for (size_t done = 0; done < rows; done += op->chunk_rows) {
        size_t count = bp_min_size(op->chunk_rows, rows - done);
        const float *g =
            activation_gradient(op, op->kernels->max_unpool_2x2, n, row + done, count, scratch);
        size_t element = (n * s->h + row + done) * row_elements;
        float *to = out + done * row_elements;
        if (s->input_i16)
            op->kernels->act_grad_i16(g, y_i16(op->y, element), count * s->w, s->c, op->norm.scale,
                                      op->norm.shift, op->slope, op->norm.ka, op->norm.kb,
                                      op->norm.kc, to);
        else
            op->kernels->act_grad_f32(g, y_f32(op->y, element), count * s->w, s->c, op->norm.scale,
                                      op->norm.shift, op->slope, op->norm.ka, op->norm.kb,
                                      op->norm.kc, to);
    }
}

static void all_part(void *context, size_t begin, size_t end, int thread) {
    struct job *job = context;
    const struct bp_norm_act_shape *s = &job->op->shape;
    struct bp_carver carver = {bp_exec_scratch(job->exec, thread)};
    size_t row_elements = s->w * s->c, chunk = job->op->chunk_rows;
    void *scratch = bp_carve(&carver, bp_norm_act_grad_scratch_bytes(s));
    float *buffer = bp_carve(&carver, chunk * row_elements * sizeof(float));
    for (size_t n = begin; n < end; n++)
        for (size_t row = 0; row < s->h; row += chunk) {
            size_t rows = bp_min_size(chunk, s->h - row);
            float *dx = job->dx + (n * s->h + row) * row_elements;
            bp_norm_act_grad_rows(job->op, n, row, rows, job->accumulate ? buffer : dx, scratch);
            for (size_t i = 0; job->accumulate && i < rows * row_elements; i++)
                dx[i] += buffer[i];
        }
}

void bp_norm_act_backward_all(struct bp_norm_act *op, struct bp_exec *exec, size_t n, float *dx,
                              int accumulate) {
    struct job job = {.op = op, .exec = exec, .dx = dx, .accumulate = accumulate};
    bp_parallel_for(exec->threads, n, all_part, &job);
}
