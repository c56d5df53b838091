/* The backward pass of norm_act: sums, then gradient rows, their ranges and columns on demand. */
#include "ops/norm_act_internal.h"

#include <float.h>
#include <math.h>
#include <string.h>

struct job {
    struct bp_norm_act *op;
    struct bp_exec *exec;
    const struct bp_norm_act_params *params;
    const struct bp_norm_act_grads *grads;
    size_t n;
    int from_pooled; /* the sums: see pooled_sums_part */
    float *dx;
    int accumulate;
};

static int has_gradient(const struct bp_norm_act *op, size_t n) {
    return op->kept == NULL || op->kept[n];
}

static void unpool_windows(const struct bp_norm_act *op, size_t n, size_t row, size_t rows,
                           float *buffer) {
    size_t from = n * op->oh * op->ow * op->shape.c;
    for (size_t y = 0; y < rows; y++)
        bp_pool_max_row_back(&op->window, op->kernels, row + y, op->g + from, op->winner + from, 0,
                             buffer + y * op->shape.w * op->shape.c);
}

/* dL/dz of input rows: g itself, or g sent to the winners of the pooling. */
static const float *activation_gradient(const struct bp_norm_act *op, size_t n, size_t row,
                                        size_t rows, float *buffer) {
    const struct bp_norm_act_shape *s = &op->shape;
    size_t row_elements = s->w * s->c;
    if (s->window_pool) {
        unpool_windows(op, n, row, rows, buffer);
        return buffer;
    }
    if (!s->max_pool)
        return op->g + (n * s->h + row) * row_elements;
    if (s->h % 2 != 0 || s->w % 2 != 0)
        memset(buffer, 0, rows * row_elements * sizeof(float));
    for (size_t y = 0; y + 1 < rows; y += 2) {
        size_t pixel = (n * op->oh + (row + y) / 2) * op->ow;
        op->kernels->max_unpool_2x2(op->g + pixel * s->c, op->which + pixel * 2 * op->cw, op->ow,
                                    s->c, buffer + y * row_elements,
                                    buffer + (y + 1) * row_elements);
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
    float *remade = bp_carve(&carver, op->chunk_rows * row_elements * sizeof(float));
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
            const float *g = activation_gradient(op, n, row, rows, buffer);
            const float *y = s->input_i16 ? NULL : rows_f32(op, n, row, rows, remade);
            if (op->ranges != NULL)
                add_ranges(op, g, (n * s->h + row) * row_elements, pixels, ranges_of_sample(op, n));
            for (size_t p = 0; p < pixels; p += 1024) {
                size_t count = bp_min_size(1024, pixels - p);
                size_t element = (n * s->h + row) * row_elements + p * s->c;
                memset(sums, 0, 3 * s->c * sizeof *sums);
                if (s->input_i16)
                    kernels->act_sums_i16(g + p * s->c, y_i16(op->y, element), count, s->c,
                                          op->norm.scale, op->norm.shift, op->slope, sums,
                                          sums + s->c, sums + 2 * s->c);
                else
                    kernels->act_sums_f32(g + p * s->c, y + p * s->c, count, s->c, op->norm.scale,
                                          op->norm.shift, op->slope, sums, sums + s->c,
                                          sums + 2 * s->c);
                flush(partial, sums, 3 * s->c);
            }
        }
    }
}

/* ReLU, then 3x3 pooling: only the winners of the windows have a gradient, and where their output p
 * is above zero it is scale y + shift. So the sums are those of p, a quarter of the elements. Not
 * where a channel's gain is so small beside its bias that p says little of y (its rounding, 2^-24
 * of the bias, would be above 2^-16 of y's deviation). */
static int sums_follow_from_pooled(const struct bp_norm_act *op,
                                   const struct bp_norm_act_params *params) {
    const struct bp_norm_act_shape *s = &op->shape;
    int follow =
        s->window_pool && s->affine == BP_AFFINE_BATCH_NORM && s->activation == BP_ACT_RELU;
    for (size_t j = 0; j < s->c && follow; j++)
        follow = op->norm.scale[j] != 0.0f &&
                 256.0f * fabsf(params->weight[j]) >= fabsf(params->bias[j]);
    return follow;
}

/* Sums of g and g p where p > 0. */
static void pooled_sums_part(void *context, size_t begin, size_t end, int thread) {
    const struct job *job = context;
    const struct bp_norm_act *op = job->op;
    size_t c = op->shape.c, pixels = op->oh * op->ow;
    struct bp_carver carver = {bp_exec_scratch(job->exec, thread)};
    float *sums = bp_carve(&carver, 3 * c * sizeof(float));
    float *one = bp_carve(&carver, c * sizeof(float)),
          *below = bp_carve(&carver, c * sizeof(float));
    for (size_t j = 0; j < c; j++) {
        one[j] = 1.0f;
        below[j] = -FLT_MIN; /* p = 0 counts as below zero */
    }
    for (size_t n = begin; n < end; n++) {
        double *partial = (double *)op->partial + n * 3 * c;
        memset(partial, 0, 3 * c * sizeof *partial);
        for (size_t p = 0; p < pixels && has_gradient(op, n); p += 1024) {
            size_t at = (n * pixels + p) * c;
            memset(sums, 0, 3 * c * sizeof *sums);
            job->exec->kernels.act_sums_f32(op->g + at, op->out + at, bp_min_size(1024, pixels - p),
                                            c, one, below, op->slope, sums, sums + c, sums + 2 * c);
            flush(partial, sums, 3 * c);
        }
    }
}

/* A plain scale: dalpha = sum ga y. */
static void finish_channel(const struct job *job, size_t j) {
    struct bp_norm_act *op = job->op;
    const double *sums = op->partial;
    double sum_g = sums[j], sum_gy = sums[op->shape.c + j];
    if (job->from_pooled)
        sum_gy = (sum_gy - (double)op->norm.shift[j] * sum_g) / (double)op->norm.scale[j];
    if (op->shape.activation == BP_ACT_PRELU)
        job->grads->slope[j] = (float)sums[2 * op->shape.c + j];
    if (op->shape.affine == BP_AFFINE_SCALE) {
        job->grads->weight[j] = (float)sum_gy;
        return;
    }
    const struct bp_batch_norm_params params = norm_params(job->params);
    bp_batch_norm_backward(&op->norm, j, (double)(job->n * op->shape.h * op->shape.w), sum_g,
                           sum_gy, &params, job->grads->weight, job->grads->bias);
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
    struct job job = {.op = op, .exec = exec, .params = params, .grads = grads, .n = n};
    op->y = y;
    op->g = g;
    op->kept = kept;
    op->kernels = &exec->kernels;
    for (size_t j = 0; op->shape.affine == BP_AFFINE_SCALE && j < op->shape.c; j++) {
        op->norm.ka[j] = op->norm.scale[j]; /* dy = alpha ga */
        op->norm.kb[j] = op->norm.kc[j] = 0.0f;
    }
    job.from_pooled = sums_follow_from_pooled(op, params);
    bp_parallel_for(exec->threads, n, job.from_pooled ? pooled_sums_part : backward_sums_part,
                    &job);
    bp_parallel_for(exec->threads, op->shape.c, finish_part, &job);
}

/* Up to chunk_rows rows; y: them in floats, or NULL where they are integers. */
static void grad_chunk(const struct bp_norm_act *op, size_t n, size_t row, size_t rows,
                       const float *y, float *out, void *scratch) {
    const struct bp_norm_act_shape *s = &op->shape;
    const struct bp_batch_norm *norm = &op->norm;
    const float *g = activation_gradient(op, n, row, rows, scratch);
    if (s->input_i16)
        op->kernels->act_grad_i16(g, y_i16(op->y, (n * s->h + row) * s->w * s->c), rows * s->w,
                                  s->c, norm->scale, norm->shift, op->slope, norm->ka, norm->kb,
                                  norm->kc, out);
    else
        op->kernels->act_grad_f32(g, y, rows * s->w, s->c, norm->scale, norm->shift, op->slope,
                                  norm->ka, norm->kb, norm->kc, out);
}

/* Of a sample whose g is zero: y * kb + kc, and what stands in `add` unless that is NULL. */
static void rows_without_gradient(const struct bp_norm_act *op, size_t n, size_t row, size_t rows,
                                  const float *y, const float *add, float *out) {
    const struct bp_norm_act_shape *s = &op->shape;
    const struct bp_affine_rows a = {op->norm.kb, op->norm.kc, NULL};
    if (s->input_i16)
        op->kernels->affine_act_i16(y_i16(op->y, (n * s->h + row) * s->w * s->c), rows * s->w, s->c,
                                    &a, add, 0, out, NULL, NULL);
    else
        op->kernels->affine_act_f32(y, rows * s->w, s->c, &a, add, 0, out, NULL, NULL);
}

void bp_norm_act_grad_rows(const void *context, size_t n, size_t row, size_t rows, float *out,
                           void *scratch) {
    const struct bp_norm_act *op = context;
    const struct bp_norm_act_shape *s = &op->shape;
    for (size_t done = 0; done < rows; done += op->chunk_rows) {
        size_t at = row + done, count = bp_min_size(op->chunk_rows, rows - done);
        float *to = out + done * s->w * s->c;
        const float *y = s->input_i16 ? NULL : rows_f32(op, n, at, count, to);
        if (has_gradient(op, n))
            grad_chunk(op, n, at, count, y, to, scratch);
        else
            rows_without_gradient(op, n, at, count, y, NULL, to);
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
            g = activation_gradient(op, n, row, rows, scratch);
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
    const struct bp_norm_act *op = job->op;
    const struct bp_norm_act_shape *s = &op->shape;
    struct bp_carver carver = {bp_exec_scratch(job->exec, thread)};
    size_t row_elements = s->w * s->c, chunk = op->chunk_rows;
    void *scratch = bp_carve(&carver, bp_norm_act_grad_scratch_bytes(s));
    float *remade = bp_carve(&carver, chunk * row_elements * sizeof(float));
    float *buffer = bp_carve(&carver, chunk * row_elements * sizeof(float));
    int accumulate = job->accumulate || op->pooled.g != NULL;
    for (size_t n = begin; n < end; n++)
        for (size_t row = 0; row < s->h; row += chunk) {
            size_t rows = bp_min_size(chunk, s->h - row);
            float *dx = job->dx + (n * s->h + row) * row_elements;
            const float *y = s->input_i16 ? NULL : rows_f32(op, n, row, rows, remade);
            if (op->pooled.g != NULL)
                bp_pool_average_back(&op->pooled, op->kernels, n, row, rows, job->accumulate, dx);
            if (!has_gradient(op, n)) {
                rows_without_gradient(op, n, row, rows, y, accumulate ? dx : NULL, dx);
                continue;
            }
            grad_chunk(op, n, row, rows, y, accumulate ? buffer : dx, scratch);
            for (size_t i = 0; accumulate && i < rows * row_elements; i++)
                dx[i] += buffer[i];
        }
}

void bp_norm_act_backward_all(struct bp_norm_act *op, struct bp_exec *exec, size_t n, float *dx,
                              int accumulate) {
    struct job job = {.op = op, .exec = exec, .dx = dx, .accumulate = accumulate};
    bp_parallel_for(exec->threads, n, all_part, &job);
}
