/* Backward, after the sums: gradient rows, their ranges and columns on demand. */
#include "ops/norm_act_internal.h"

#include <string.h>

struct job {
    struct bp_norm_act *op;
    struct bp_exec *exec;
    void *dx;
    int accumulate;
};

static void unpool_windows(const struct bp_norm_act *op, size_t n, size_t row, size_t rows,
                           float *buffer) {
    const struct bp_norm_act_shape *s = &op->shape;
    size_t count, out_elements = op->ow * s->c;
    size_t first = bp_pool_rows_over(&op->window, row, rows, &count);
    size_t from = (n * op->oh + first) * out_elements;
    float *pooled = buffer + bp_round_up(op->chunk_rows * s->w * s->c, 16);
    const struct bp_gradient_rows g =
        bp_gradient_in(&op->g, op->kernels, n, from, count * out_elements, pooled);
    for (size_t y = 0; y < rows; y++)
        bp_pool_max_row_back(&op->window, op->kernels, row + y, first, g.floats, op->winner + from,
                             0, buffer + y * s->w * s->c);
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

/* NULL for a sample whose gradient is zero. */
static const struct bp_gradient_rows *gradient_or_null(const struct bp_norm_act *op, size_t n,
                                                       size_t row, size_t rows, float *buffer,
                                                       struct bp_gradient_rows *g) {
    if (!has_gradient(op, n))
        return NULL;
    *g = bp_norm_act_activation_gradient(op, n, row, rows, buffer);
    return g;
}

/* Up to chunk_rows rows, added to what stands in `out` if `add`; y: them in floats, or NULL where
 * they are integers. */
static void grad_chunk(const struct bp_norm_act *op, size_t n, size_t row, size_t rows,
                       const float *y, int add, float *out, float *scratch) {
    const struct bp_norm_act_shape *s = &op->shape;
    const struct bp_batch_norm *norm = &op->norm;
    struct bp_gradient_rows made;
    const struct bp_gradient_rows *g = gradient_or_null(op, n, row, rows, scratch, &made);
    const int is_plain = takes_ranges(s) && !add;
    size_t elements = rows * s->w * s->c;
    if (is_plain && g == NULL)
        memset(out, 0, elements * sizeof *out);
    else if (is_plain)
        op->kernels->scale_grad_i16(g, y_i16(op->y, (n * s->h + row) * s->w * s->c), rows * s->w,
                                    s->c, norm->scale, op->slope, out);
    else if (s->input_i16)
        op->kernels->act_grad_i16(g, y_i16(op->y, (n * s->h + row) * s->w * s->c), rows * s->w,
                                  s->c, norm->scale, norm->shift, op->slope, norm->ka, norm->kb,
                                  norm->kc, add, out);
    else
        op->kernels->act_grad_f32(g, y, rows * s->w, s->c, norm->scale, norm->shift, op->slope,
                                  norm->ka, norm->kb, norm->kc, add, out);
}

void bp_norm_act_grad_rows(const void *context, size_t n, size_t row, size_t rows, float *out,
                           void *scratch) {
    const struct bp_norm_act *op = context;
    const struct bp_norm_act_shape *s = &op->shape;
    for (size_t done = 0; done < rows; done += op->chunk_rows) {
        size_t at = row + done, count = bp_min_size(op->chunk_rows, rows - done);
        float *to = out + done * s->w * s->c;
        const float *y = s->input_i16 ? NULL : rows_f32(op, n, at, count, to);
        grad_chunk(op, n, at, count, y, 0, to, scratch);
    }
}

/* The codes from element `at` of the rows on. */
static struct bp_rounding_both both_from(const struct bp_rounding_both *both, size_t at) {
    struct bp_rounding_both from = *both;
    from.group_random += at * bp_rounding_bytes(&both->group);
    from.column_random += at * bp_rounding_bytes(&both->columns);
    from.group_codes += at;
    from.column_codes += at;
    return from;
}

/* Whether kernels take the gradient of pooled rows as it is, without sending it to the winners. */
static int takes_pooled(const struct bp_norm_act *op, size_t n) {
    const struct bp_norm_act_shape *s = &op->shape;
    return op->kernels->codes_at_once && s->max_pool && s->h % 2 == 0 && s->w % 2 == 0 &&
           !takes_ranges(s) && has_gradient(op, n);
}

/* What a pair of rows of sample n reads, from the even row `row` on. */
struct pooled_pair {
    struct bp_gradient_rows g;
    const int16_t *y;
    const uint64_t *which;
};

static struct pooled_pair pooled_pair(const struct bp_norm_act *op, size_t n, size_t row) {
    const struct bp_norm_act_shape *s = &op->shape;
    size_t window = (n * op->oh + row / 2) * op->ow;
    return (struct pooled_pair){bp_gradient_at(&op->g, n, window * s->c),
                                y_i16(op->y, (n * s->h + row) * s->w * s->c),
                                op->which + window * 2 * op->cw};
}

static void pooled_ranges(const struct bp_norm_act *op, size_t n, struct bp_columns to) {
    const struct bp_batch_norm *norm = &op->norm;
    for (size_t row = 0; row < op->shape.h; row += 2) {
        const struct pooled_pair pair = pooled_pair(op, n, row);
        op->kernels->pool_range_i16(&pair.g, pair.y, pair.which, op->ow, op->shape.c, norm->scale,
                                    norm->shift, op->slope, norm->ka, norm->kb, norm->kc, to);
    }
}

static void pooled_codes(const struct bp_norm_act *op, size_t n, size_t row, size_t rows,
                         const struct bp_rounding_both *both) {
    const struct bp_norm_act_shape *s = &op->shape;
    const struct bp_batch_norm *norm = &op->norm;
    for (size_t done = 0; done < rows; done += 2) {
        const struct pooled_pair pair = pooled_pair(op, n, row + done);
        const struct bp_rounding_both from = both_from(both, done * s->w * s->c);
        op->kernels->pool_codes_i16(&pair.g, pair.y, pair.which, op->ow, s->c, norm->scale,
                                    norm->shift, op->slope, norm->ka, norm->kb, norm->kc, &from);
    }
}

/* As grad_chunk. */
static void codes_chunk(const struct bp_norm_act *op, size_t n, size_t row, size_t rows,
                        const struct bp_rounding_both *both, float *scratch) {
    const struct bp_norm_act_shape *s = &op->shape;
    const struct bp_batch_norm *norm = &op->norm;
    const int16_t *y = y_i16(op->y, (n * s->h + row) * s->w * s->c);
    struct bp_gradient_rows made;
    const struct bp_gradient_rows *g = gradient_or_null(op, n, row, rows, scratch, &made);
    size_t elements = rows * s->w * s->c;
    if (takes_ranges(s) && g == NULL) { /* the codes of zeros */
        memset(both->group_codes, 0, elements);
        memset(both->column_codes, 0, elements);
    } else if (takes_ranges(s)) {
        op->kernels->scale_codes_i16(g, y, rows * s->w, s->c, norm->scale, op->slope, both);
    } else {
        op->kernels->act_codes_i16(g, y, rows * s->w, s->c, norm->scale, norm->shift, op->slope,
                                   norm->ka, norm->kb, norm->kc, both);
    }
}

void bp_norm_act_grad_codes(const void *context, size_t n, size_t row, size_t rows,
                            const struct bp_rounding_both *both, void *scratch) {
    const struct bp_norm_act *op = context;
    const struct bp_norm_act_shape *s = &op->shape;
    if (takes_pooled(op, n)) {
        pooled_codes(op, n, row, rows, both);
        return;
    }
    for (size_t done = 0; done < rows; done += op->chunk_rows) {
        const struct bp_rounding_both from = both_from(both, done * s->w * s->c);
        codes_chunk(op, n, row + done, bp_min_size(op->chunk_rows, rows - done), &from, scratch);
    }
}

void bp_norm_act_grad_rows_bf16(const void *context, size_t n, size_t row, size_t rows,
                                uint16_t *out, void *scratch) {
    const struct bp_norm_act *op = context;
    const struct bp_norm_act_shape *s = &op->shape;
    const struct bp_batch_norm *norm = &op->norm;
    for (size_t done = 0; done < rows; done += op->chunk_rows) {
        size_t at = row + done, count = bp_min_size(op->chunk_rows, rows - done);
        struct bp_gradient_rows made;
        op->kernels->act_grad_f16(gradient_or_null(op, n, at, count, scratch, &made),
                                  y_f16(op->y, (n * s->h + at) * s->w * s->c), count * s->w, s->c,
                                  norm->scale, norm->shift, op->slope, norm->ka, norm->kb, norm->kc,
                                  NULL, out + done * s->w * s->c);
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
    if (takes_pooled(op, n)) {
        pooled_ranges(op, n, to);
        return;
    }
    for (size_t row = 0; row < s->h; row += op->chunk_rows) {
        size_t rows = bp_min_size(op->chunk_rows, s->h - row);
        struct bp_gradient_rows made;
        bp_norm_act_add_ranges(op, gradient_or_null(op, n, row, rows, scratch, &made),
                               (n * s->h + row) * row_elements, rows * s->w, to);
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
    return 3 * bp_round_up(bp_norm_act_grad_scratch_bytes(shape), 64) + reader_bytes;
}

/* Room of a worker: rows of the activation's gradient, of y, of floats to add. */
struct room {
    float *scratch, *made, *add;
};

/* Rows of y in halves to rows of dx in bfloat16. */
static struct bp_gradient_rows write_narrow(const struct job *job, size_t n, size_t row,
                                            size_t rows, const struct room *room) {
    const struct bp_norm_act *op = job->op;
    const struct bp_norm_act_shape *s = &op->shape;
    const struct bp_batch_norm *norm = &op->norm;
    size_t elements = rows * s->w * s->c, first = (n * s->h + row) * s->w * s->c;
    uint16_t *dx = (uint16_t *)job->dx + first;
    const struct bp_gradient_rows dx_rows = {.bf16 = dx}, pooled = {.floats = room->add};
    const struct bp_gradient_rows *add = job->accumulate ? &dx_rows : NULL;
    struct bp_gradient_rows made;
    if (op->pooled.g != NULL) {
        if (job->accumulate)
            op->kernels->widen_bf16(dx, elements, room->add);
        bp_pool_average_back(&op->pooled, op->kernels, n, row, rows, job->accumulate, room->add);
        add = &pooled;
    }
    op->kernels->act_grad_f16(gradient_or_null(op, n, row, rows, room->scratch, &made),
                              y_f16(op->y, first), rows * s->w, s->c, norm->scale, norm->shift,
                              op->slope, norm->ka, norm->kb, norm->kc, add, dx);
    return dx_rows;
}

static struct bp_gradient_rows write_floats(const struct job *job, size_t n, size_t row,
                                            size_t rows, const struct room *room) {
    const struct bp_norm_act *op = job->op;
    const struct bp_norm_act_shape *s = &op->shape;
    float *dx = (float *)job->dx + (n * s->h + row) * s->w * s->c;
    const float *y = s->input_i16 ? NULL : rows_f32(op, n, row, rows, room->made);
    if (op->pooled.g != NULL)
        bp_pool_average_back(&op->pooled, op->kernels, n, row, rows, job->accumulate, dx);
    grad_chunk(op, n, row, rows, y, job->accumulate || op->pooled.g != NULL, dx, room->scratch);
    return (struct bp_gradient_rows){.floats = dx};
}

static void all_part(void *context, size_t begin, size_t end, int thread) {
    const struct job *job = context;
    const struct bp_norm_act *op = job->op;
    const struct bp_norm_act_shape *s = &op->shape;
    struct bp_carver carver = {bp_exec_scratch(job->exec, thread)};
    size_t bytes = op->chunk_rows * s->w * s->c * sizeof(float);
    struct room room;
    room.scratch = bp_carve(&carver, bp_norm_act_grad_scratch_bytes(s));
    room.made = bp_carve(&carver, bytes);
    room.add = bp_carve(&carver, bytes);
    void *of_reader = bp_carve(&carver, op->reader.scratch_bytes);
    for (size_t n = begin; n < end; n++)
        for (size_t row = 0; row < s->h; row += op->chunk_rows) {
            size_t rows = bp_min_size(op->chunk_rows, s->h - row);
            const struct bp_gradient_rows dx = s->input_f16
                                                   ? write_narrow(job, n, row, rows, &room)
                                                   : write_floats(job, n, row, rows, &room);
            if (op->reader.rows != NULL)
                op->reader.rows(op->reader.context, n, row, rows, &dx, of_reader);
        }
}

void bp_norm_act_backward_all(struct bp_norm_act *op, struct bp_exec *exec, size_t n, void *dx,
                              int accumulate) {
    struct job job = {.op = op, .exec = exec, .dx = dx, .accumulate = accumulate};
    if (op->reader.begin != NULL)
        op->reader.begin(op->reader.context, exec);
    bp_parallel_for(exec->threads, n, all_part, &job);
}
