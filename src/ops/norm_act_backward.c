/* Backward, after the sums: gradient rows, their ranges and columns on demand. */
#include "ops/norm_act_internal.h"

#include <string.h>

struct job {
    struct bp_norm_act *op;
    struct bp_exec *exec;
    float *dx;
    int accumulate;
};

static void unpool_windows(const struct bp_norm_act *op, size_t n, size_t row, size_t rows,
                           float *buffer) {
    size_t from = n * op->oh * op->ow * op->shape.c;
    for (size_t y = 0; y < rows; y++)
        bp_pool_max_row_back(&op->window, op->kernels, row + y, op->g.floats + from,
                             op->winner + from, 0, buffer + y * op->shape.w * op->shape.c);
}

struct bp_gradient_rows bp_norm_act_activation_gradient(const struct bp_norm_act *op, size_t n,
                                                        size_t row, size_t rows, float *buffer) {
    const struct bp_norm_act_shape *s = &op->shape;
    const struct bp_gradient_rows made = {.floats = buffer};
    size_t row_elements = s->w * s->c;
    if (s->window_pool) {
        unpool_windows(op, n, row, rows, buffer);
        return made;
    }
    if (!s->max_pool)
        return bp_gradient_at(&op->g, n, (n * s->h + row) * row_elements);
    if (s->h % 2 != 0 || s->w % 2 != 0)
        memset(buffer, 0, rows * row_elements * sizeof(float));
    for (size_t y = 0; y + 1 < rows; y += 2) {
        size_t pixel = (n * op->oh + (row + y) / 2) * op->ow;
        const struct bp_gradient_rows g = bp_gradient_at(&op->g, n, pixel * s->c);
        op->kernels->max_unpool_2x2(&g, op->which + pixel * 2 * op->cw, op->ow, s->c,
                                    buffer + y * row_elements, buffer + (y + 1) * row_elements);
    }
    return made;
}

/* Up to chunk_rows rows, added to what stands in `out` if `add`; y: them in floats, or NULL where
 * they are integers. */
static void grad_chunk(const struct bp_norm_act *op, size_t n, size_t row, size_t rows,
                       const float *y, int add, float *out, void *scratch) {
    const struct bp_norm_act_shape *s = &op->shape;
    const struct bp_batch_norm *norm = &op->norm;
    const struct bp_gradient_rows g = bp_norm_act_activation_gradient(op, n, row, rows, scratch);
    if (s->input_i16)
        op->kernels->act_grad_i16(&g, y_i16(op->y, (n * s->h + row) * s->w * s->c), rows * s->w,
                                  s->c, norm->scale, norm->shift, op->slope, norm->ka, norm->kb,
                                  norm->kc, add, out);
    else
        op->kernels->act_grad_f32(&g, y, rows * s->w, s->c, norm->scale, norm->shift, op->slope,
                                  norm->ka, norm->kb, norm->kc, add, out);
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
            grad_chunk(op, n, at, count, y, 0, to, scratch);
        else
            rows_without_gradient(op, n, at, count, y, NULL, to);
    }
}

void bp_norm_act_grad_ranges(const void *context, size_t n, struct bp_columns to, void *scratch) {
    const struct bp_norm_act *op = context;
    const struct bp_norm_act_shape *s = &op->shape;
    size_t row_elements = s->w * s->c;
    if (op->ranges != NULL) {
        struct bp_columns from = bp_norm_act_ranges_of_sample(op, n);
        for (size_t j = 0; j < s->c; j++) {
            to.lo[j] = from.lo[j] < to.lo[j] ? from.lo[j] : to.lo[j];
            to.hi[j] = from.hi[j] > to.hi[j] ? from.hi[j] : to.hi[j];
            to.sum_squares[j] += from.sum_squares[j];
        }
        return;
    }
    for (size_t row = 0; row < s->h; row += op->chunk_rows) {
        size_t rows = bp_min_size(op->chunk_rows, s->h - row);
        struct bp_gradient_rows g;
        if (has_gradient(op, n))
            g = bp_norm_act_activation_gradient(op, n, row, rows, scratch);
        bp_norm_act_add_ranges(op, has_gradient(op, n) ? &g : NULL, (n * s->h + row) * row_elements,
                               rows * s->w, to);
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

size_t bp_norm_act_backward_scratch_bytes(const struct bp_norm_act_shape *shape,
                                          size_t reader_bytes) {
    return 2 * bp_round_up(bp_norm_act_grad_scratch_bytes(shape), 64) + reader_bytes;
}

static void all_part(void *context, size_t begin, size_t end, int thread) {
    struct job *job = context;
    const struct bp_norm_act *op = job->op;
    const struct bp_norm_act_shape *s = &op->shape;
    struct bp_carver carver = {bp_exec_scratch(job->exec, thread)};
    size_t row_elements = s->w * s->c, chunk = op->chunk_rows;
    void *scratch = bp_carve(&carver, bp_norm_act_grad_scratch_bytes(s));
    float *remade = bp_carve(&carver, chunk * row_elements * sizeof(float));
    void *of_reader = bp_carve(&carver, op->reader.scratch_bytes);
    int accumulate = job->accumulate || op->pooled.g != NULL;
    for (size_t n = begin; n < end; n++)
        for (size_t row = 0; row < s->h; row += chunk) {
            size_t rows = bp_min_size(chunk, s->h - row);
            float *dx = job->dx + (n * s->h + row) * row_elements;
            const float *y = s->input_i16 ? NULL : rows_f32(op, n, row, rows, remade);
            if (op->pooled.g != NULL)
                bp_pool_average_back(&op->pooled, op->kernels, n, row, rows, job->accumulate, dx);
            if (has_gradient(op, n)) {
                grad_chunk(op, n, row, rows, y, accumulate, dx, scratch);
            } else {
                rows_without_gradient(op, n, row, rows, y, accumulate ? dx : NULL, dx);
            }
            if (op->reader.rows != NULL)
                op->reader.rows(op->reader.context, n, row, rows, dx, of_reader);
        }
}

void bp_norm_act_backward_all(struct bp_norm_act *op, struct bp_exec *exec, size_t n, float *dx,
                              int accumulate) {
    struct job job = {.op = op, .exec = exec, .dx = dx, .accumulate = accumulate};
    if (op->reader.begin != NULL)
        op->reader.begin(op->reader.context, exec);
    bp_parallel_for(exec->threads, n, all_part, &job);
}
