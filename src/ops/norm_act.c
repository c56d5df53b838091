#include "ops/norm_act.h"

#include <float.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"

#define CHUNK_FLOATS 8192 /* of one worker's row buffer: 32 kB */

/* --- creation --------------------------------------------------------------------------------- */

static size_t chunk_rows_of(const struct bp_norm_act_shape *s) {
    size_t rows = CHUNK_FLOATS / (s->w * s->c) / 2 * 2;
    return rows < 2 ? 2 : rows;
}

static size_t sample_elements(const struct bp_norm_act_shape *s) {
    return s->h * s->w * s->c;
}

/* The rows of a plain scale do not wait for the sums: their ranges are taken in the same pass. */
static int takes_ranges(const struct bp_norm_act_shape *s) {
    return s->affine == BP_AFFINE_SCALE && s->input_i16;
}

/* Row buffers of the forward pass and of the sums: activated rows, pooled rows, and three sums. */
static size_t scratch_bytes(const struct bp_norm_act_shape *s) {
    size_t rows = chunk_rows_of(s) * s->w * s->c * sizeof(float);
    return 2 * bp_round_up(rows, 64) + 4 * bp_round_up(s->c * sizeof(float), 64);
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
        {"ranges", takes_ranges(shape) ? shape->n * 3 * shape->c * sizeof(float) : 0, &op->ranges},
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
    const struct bp_norm_act_grads *grads;
    struct bp_norm_act_out out;
    size_t n;
    float *dx;
    int accumulate;
};

static const int16_t *y_i16(const void *y, size_t element) {
    return (const int16_t *)y + element;
}

static const float *y_f32(const void *y, size_t element) {
    return (const float *)y + element;
}

/* Sums of one sample: exact integers, or doubles in order of the pixels. */
static void sums_part(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    struct job *job = context;
    const struct bp_norm_act_shape *s = &job->op->shape;
    const struct bp_kernels *kernels = &job->exec->kernels;
    for (size_t n = begin; n < end; n++) {
        size_t first = n * sample_elements(s);
        char *partial = (char *)job->op->partial + n * 3 * s->c * 8;
        memset(partial, 0, 2 * s->c * 8);
        if (s->input_i16)
            kernels->sums_i16(y_i16(job->y, first), s->h * s->w, s->c, (int64_t *)(void *)partial,
                              (int64_t *)(void *)partial + s->c);
        else
            kernels->sums_f32(y_f32(job->y, first), s->h * s->w, s->c, (double *)(void *)partial,
                              (double *)(void *)partial + s->c);
    }
}

static int has_gradient(const struct bp_norm_act *op, size_t n) {
    return op->kept == NULL || op->kept[n];
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

static struct bp_batch_norm_params norm_params(const struct bp_norm_act_params *params) {
    return (struct bp_batch_norm_params){params->weight, params->bias, params->running_mean,
                                         params->running_var};
}

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
            bp_batch_norm_of_batch(&op->norm, j, elements_of_channel(job),
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

/* --- backward --------------------------------------------------------------------------------- */

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

static struct bp_columns ranges_of_sample(const struct bp_norm_act *op, size_t n) {
    float *lo = op->ranges + n * 3 * op->shape.c;
    return (struct bp_columns){lo, lo + op->shape.c, lo + 2 * op->shape.c};
}

static void clear_ranges(const struct bp_norm_act *op, size_t n) {
    struct bp_columns to = ranges_of_sample(op, n);
    for (size_t j = 0; j < op->shape.c; j++) {
        to.lo[j] = FLT_MAX;
        to.hi[j] = -FLT_MAX;
        to.sum_squares[j] = 0.0f;
    }
}

/* `pixels` of one sample from `element` on, g NULL where it has no gradient. */
static void add_ranges(const struct bp_norm_act *op, const float *g, size_t element, size_t pixels,
                       struct bp_columns to) {
    const struct bp_batch_norm *norm = &op->norm;
    op->kernels->act_range_i16(g, y_i16(op->y, element), pixels, op->shape.c, norm->scale,
                               norm->shift, op->slope, norm->ka, norm->kb, norm->kc, to);
}

/* Adds the float sums of one block of pixels to the doubles of the sample. */
static void flush(double *partial, const float *sums, size_t count) {
    for (size_t i = 0; i < count; i++)
        partial[i] += (double)sums[i];
}

/* Adds the sums of channels begin .. end - 1 of all samples up in those of the first, in order of
 * the samples. */
static void add_samples(struct bp_norm_act *op, size_t n, size_t begin, size_t end) {
    size_t c = op->shape.c;
    double *to = op->partial;
    for (size_t i = 1; i < n; i++) {
        if (!has_gradient(op, i))
            continue;
        const double *from = to + i * 3 * c;
        for (size_t which = 0; which < 3; which++)
            for (size_t j = begin; j < end; j++)
                to[which * c + j] += from[which * c + j];
    }
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
        if (op->ranges != NULL)
            clear_ranges(op, n);
        if (!has_gradient(op, n) && op->ranges != NULL)
            add_ranges(op, NULL, n * sample_elements(s), s->h * s->w, ranges_of_sample(op, n));
        if (!has_gradient(op, n))
            continue;
        for (size_t row = 0; row < s->h; row += op->chunk_rows) {
            size_t rows = bp_min_size(op->chunk_rows, s->h - row), pixels = rows * s->w;
            const float *g = activation_gradient(op, kernels->max_unpool_2x2, n, row, rows, buffer);
            if (op->ranges != NULL)
                add_ranges(op, g, (n * s->h + row) * row_elements, pixels, ranges_of_sample(op, n));
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

/* A plain scale: dalpha = sum ga y. */
static void finish_channel(const struct job *job, size_t j) {
    struct bp_norm_act *op = job->op;
    const double *sums = op->partial;
    double sum_g = sums[j], sum_gy = sums[op->shape.c + j];
    if (op->shape.activation == BP_ACT_PRELU)
        job->grads->slope[j] = (float)sums[2 * op->shape.c + j];
    if (op->shape.affine == BP_AFFINE_SCALE) {
        job->grads->weight[j] = (float)sum_gy;
        return;
    }
    const struct bp_batch_norm_params params = norm_params(job->params);
    bp_batch_norm_backward(&op->norm, j, elements_of_channel(job), sum_g, sum_gy, &params,
                           job->grads->weight, job->grads->bias);
}

static void finish_part(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    const struct job *job = context;
    add_samples(job->op, job->n, begin, end);
    for (size_t j = begin; j < end; j++)
        finish_channel(job, j);
}

void bp_norm_act_backward_sums(struct bp_norm_act *op, struct bp_exec *exec, size_t n,
                               const void *y, const float *g, const uint8_t *kept,
                               const struct bp_norm_act_params *params,
                               const struct bp_norm_act_grads *grads) {
    struct job job = {.op = op, .exec = exec, .y = y, .params = params, .grads = grads, .n = n};
    op->y = y;
    op->g = g;
    op->kept = kept;
    op->kernels = &exec->kernels;
    for (size_t j = 0; op->shape.affine == BP_AFFINE_SCALE && j < op->shape.c; j++) {
        op->norm.ka[j] = op->norm.scale[j]; /* dy = alpha ga */
        op->norm.kb[j] = op->norm.kc[j] = 0.0f;
    }
    bp_parallel_for(exec->threads, n, backward_sums_part, &job);
    bp_parallel_for(exec->threads, op->shape.c, finish_part, &job);
}

size_t bp_norm_act_grad_scratch_bytes(const struct bp_norm_act_shape *shape) {
    return chunk_rows_of(shape) * shape->w * shape->c * sizeof(float);
}

/* Of a sample whose g is zero: y * kb + kc. */
static void rows_without_gradient(const struct bp_norm_act *op, size_t element, size_t pixels,
                                  float *out) {
    const struct bp_batch_norm *norm = &op->norm;
    if (op->shape.input_i16)
        op->kernels->affine_act_i16(y_i16(op->y, element), pixels, op->shape.c, norm->kb, norm->kc,
                                    NULL, out);
    else
        op->kernels->affine_act_f32(y_f32(op->y, element), pixels, op->shape.c, norm->kb, norm->kc,
                                    NULL, out);
}

void bp_norm_act_grad_rows(const void *context, size_t n, size_t row, size_t rows, float *out,
                           void *scratch) {
    const struct bp_norm_act *op = context;
    const struct bp_norm_act_shape *s = &op->shape;
    size_t row_elements = s->w * s->c;
    if (!has_gradient(op, n)) {
        rows_without_gradient(op, (n * s->h + row) * row_elements, rows * s->w, out);
        return;
    }
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

void bp_norm_act_grad_ranges(const void *context, size_t n, struct bp_columns to, void *scratch) {
    const struct bp_norm_act *op = context;
    const struct bp_norm_act_shape *s = &op->shape;
    size_t row_elements = s->w * s->c;
    if (op->ranges != NULL) {
        struct bp_columns from = ranges_of_sample(op, n);
        for (size_t j = 0; j < s->c; j++) {
            to.lo[j] = from.lo[j] < to.lo[j] ? from.lo[j] : to.lo[j];
            to.hi[j] = from.hi[j] > to.hi[j] ? from.hi[j] : to.hi[j];
            to.sum_squares[j] += from.sum_squares[j];
        }
        return;
    }
    for (size_t row = 0; row < s->h; row += op->chunk_rows) {
        size_t rows = bp_min_size(op->chunk_rows, s->h - row);
        const float *g = NULL;
        if (has_gradient(op, n))
            g = activation_gradient(op, op->kernels->max_unpool_2x2, n, row, rows, scratch);
        add_ranges(op, g, (n * s->h + row) * row_elements, rows * s->w, to);
    }
}

int bp_norm_act_grad_columns(const void *context, size_t n, size_t row, size_t rows,
                             const int32_t *column, size_t k, float *out) {
    const struct bp_norm_act *op = context;
    const struct bp_norm_act_shape *s = &op->shape;
    if (has_gradient(op, n))
        return 0;
    op->kernels->act_columns_i16(y_i16(op->y, (n * s->h + row) * s->w * s->c), rows * s->w, s->c,
                                 column, k, op->norm.kb, op->norm.kc, out);
    return 1;
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
