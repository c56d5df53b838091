/* Backward: the sums that parameters' gradients and coefficients are made of, and the ranges of a
 * plain scale's gradient rows; read from a tensor, or on the way, while it is written. */
#include "ops/norm_act_internal.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* Of floats that are added up before they are added to a sample's, in double. */
enum { BLOCK_PIXELS = 1024 };

/* --- what the sums are made of ---------------------------------------------------------------- */

/* ReLU, then 3x3 pooling: only the winners of the windows have a gradient, and where their output p
 * is above zero it is scale y + shift. So the sums are those of g and g p, a quarter of the
 * elements. Not where a channel's gain is so small beside its bias that p says little of y (its
 * rounding, 2^-24 of the bias, would be above 2^-16 of y's deviation). */
int bp_norm_act_sums_follow_from_output(const struct bp_norm_act *op,
                                        const struct bp_norm_act_params *params) {
    const struct bp_norm_act_shape *s = &op->shape;
    int follow =
        s->window_pool && s->affine == BP_AFFINE_BATCH_NORM && s->activation == BP_ACT_RELU;
    for (size_t j = 0; j < s->c && follow; j++)
        follow = op->norm.scale[j] != 0.0f &&
                 256.0f * fabsf(params->weight[j]) >= fabsf(params->bias[j]);
    return follow;
}

struct bp_columns bp_norm_act_ranges_of_sample(const struct bp_norm_act *op, size_t n) {
    float *lo = op->ranges + n * 3 * op->shape.c;
    return (struct bp_columns){lo, lo + op->shape.c, lo + 2 * op->shape.c};
}

void bp_norm_act_add_ranges(const struct bp_norm_act *op, const struct bp_gradient_rows *g,
                            size_t element, size_t pixels, struct bp_columns to) {
    const struct bp_batch_norm *norm = &op->norm;
    op->kernels->act_range_i16(g, y_i16(op->y, element), pixels, op->shape.c, norm->scale,
                               norm->shift, op->slope, norm->ka, norm->kb, norm->kc, to);
}

/* Room of a worker. */
struct room {
    float *made;        /* rows of y */
    float *sums;        /* [3][c] */
    float *one, *below; /* [c]: 1; what makes an output of zero count as below zero */
};

static struct room room_of(const struct bp_norm_act *op, void *scratch) {
    struct bp_carver carver = {scratch};
    size_t c = op->shape.c;
    struct room room;
    room.made = bp_carve(&carver, op->chunk_rows * op->shape.w * c * sizeof(float));
    room.sums = bp_carve(&carver, 3 * c * sizeof(float));
    room.one = bp_carve(&carver, c * sizeof(float));
    room.below = bp_carve(&carver, c * sizeof(float));
    for (size_t j = 0; j < c && op->sums_from_output; j++) {
        room.one[j] = 1.0f;
        room.below[j] = -FLT_MIN;
    }
    return room;
}

size_t bp_norm_act_reader_scratch_bytes(const struct bp_norm_act_shape *s) {
    return bp_round_up(bp_norm_act_grad_scratch_bytes(s), 64) +
           5 * bp_round_up(s->c * sizeof(float), 64);
}

/* --- adding up -------------------------------------------------------------------------------- */

static double *partial_of(const struct bp_norm_act *op, size_t n) {
    return (double *)op->partial + n * 3 * op->shape.c;
}

static void begin_sample(const struct bp_norm_act *op, size_t n) {
    memset(partial_of(op, n), 0, 3 * op->shape.c * sizeof(double));
    if (op->ranges == NULL)
        return;
    struct bp_columns to = bp_norm_act_ranges_of_sample(op, n);
    for (size_t j = 0; j < op->shape.c; j++) {
        to.lo[j] = FLT_MAX;
        to.hi[j] = -FLT_MAX;
        to.sum_squares[j] = 0.0f;
    }
}

static void add_block(const struct bp_norm_act *op, size_t n, const struct room *room) {
    for (size_t i = 0; i < 3 * op->shape.c; i++)
        partial_of(op, n)[i] += (double)room->sums[i];
}

/* What sums are made of, one of them: the output in floats, or y. */
struct elements {
    const float *floats;
    const int16_t *integers;
    const uint16_t *halves;
};

/* The kernel's sums of up to BLOCK_PIXELS pixels, from element `at` of e on. */
static void sum_pixels(const struct bp_norm_act *op, size_t n, const struct bp_gradient_rows *g,
                       const struct elements *e, size_t at, size_t pixels,
                       const struct room *room) {
    const struct bp_kernels *kernels = op->kernels;
    const float *scale = op->sums_from_output ? room->one : op->norm.scale;
    const float *shift = op->sums_from_output ? room->below : op->norm.shift;
    size_t c = op->shape.c;
    float *sum_g = room->sums, *sum_gy = sum_g + c, *sum_slope = sum_g + 2 * c;
    memset(sum_g, 0, 3 * c * sizeof *sum_g);
    if (op->ranges != NULL) /* a plain scale: it has no use for sum_g */
        kernels->scale_sums_i16(g, e->integers + at, pixels, c, scale, op->slope,
                                bp_norm_act_ranges_of_sample(op, n), sum_gy, sum_slope);
    else if (e->integers != NULL)
        kernels->act_sums_i16(g, e->integers + at, pixels, c, scale, shift, op->slope, sum_g,
                              sum_gy, sum_slope);
    else if (e->halves != NULL)
        kernels->act_sums_f16(g, e->halves + at, pixels, c, scale, shift, op->slope, sum_g, sum_gy,
                              sum_slope);
    else
        kernels->act_sums_f32(g, e->floats + at, pixels, c, scale, shift, op->slope, sum_g, sum_gy,
                              sum_slope);
}

static struct elements elements_of(const struct bp_norm_act *op, size_t n, size_t row, size_t rows,
                                   size_t first, const struct room *room) {
    const struct bp_norm_act_shape *s = &op->shape;
    struct elements e = {NULL, NULL, NULL};
    if (op->sums_from_output && s->output_f16)
        e.halves = y_f16(op->out, first);
    else if (op->sums_from_output)
        e.floats = y_f32(op->out, first);
    else if (s->input_i16)
        e.integers = y_i16(op->y, first);
    else if (s->input_f16)
        e.halves = y_f16(op->y, first);
    else
        e.floats = rows_f32(op, n, row, rows, room->made);
    return e;
}

/* The ranges of rows that are zero. */
static void add_zeros(const struct bp_norm_act *op, size_t n) {
    struct bp_columns to = bp_norm_act_ranges_of_sample(op, n);
    for (size_t j = 0; j < op->shape.c; j++) {
        to.lo[j] = fminf(to.lo[j], 0.0f);
        to.hi[j] = fmaxf(to.hi[j], 0.0f);
    }
}

/* Rows of the output with their gradient g, or of y with that of the activation. */
static void add_rows(const struct bp_norm_act *op, size_t n, size_t row, size_t rows,
                     const struct bp_gradient_rows *g, const struct room *room) {
    const struct bp_norm_act_shape *s = &op->shape;
    size_t c = s->c, width = op->sums_from_output ? op->ow : s->w, pixels = rows * width;
    size_t first = (n * (op->sums_from_output ? op->oh : s->h) + row) * width * c;
    const struct elements e = elements_of(op, n, row, rows, first, room);
    for (size_t p = 0; p < pixels; p += BLOCK_PIXELS) {
        const struct bp_gradient_rows from = bp_gradient_from(g, p * c);
        sum_pixels(op, n, &from, &e, p * c, bp_min_size(BLOCK_PIXELS, pixels - p), room);
        add_block(op, n, room);
    }
}

/* 2x2 pooling of integers: only the winners have a gradient, a quarter of the elements. */
static int sums_winners(const struct bp_norm_act *op) {
    return op->shape.max_pool && op->shape.input_i16 && op->ranges == NULL;
}

static void add_winners(const struct bp_norm_act *op, size_t n, const struct room *room) {
    const struct bp_norm_act_shape *s = &op->shape;
    size_t c = s->c, rows = bp_max_size(BLOCK_PIXELS / op->ow, 1);
    float *sums = room->sums;
    for (size_t first = 0; first < op->oh; first += rows) {
        memset(sums, 0, 3 * c * sizeof *sums);
        for (size_t y = first; y < bp_min_size(first + rows, op->oh); y++) {
            size_t window = (n * op->oh + y) * op->ow;
            const struct bp_gradient_rows g = bp_gradient_at(&op->g, n, window * c);
            const int16_t *upper = y_i16(op->y, (n * s->h + 2 * y) * s->w * c);
            op->kernels->pool_sums_i16(&g, upper, upper + s->w * c, op->which + window * 2 * op->cw,
                                       op->ow, c, op->norm.scale, op->norm.shift, op->slope, sums,
                                       sums + c, sums + 2 * c);
        }
        add_block(op, n, room);
    }
}

struct job {
    struct bp_norm_act *op;
    struct bp_exec *exec;
    const struct bp_norm_act_params *params;
    const struct bp_norm_act_grads *grads;
    size_t n;
};

static void sums_part(void *context, size_t begin, size_t end, int thread) {
    const struct job *job = context;
    const struct bp_norm_act *op = job->op;
    const struct bp_norm_act_shape *s = &op->shape;
    struct bp_carver carver = {bp_exec_scratch(job->exec, thread)};
    float *buffer = bp_carve(&carver, bp_norm_act_grad_scratch_bytes(s));
    const struct room room = room_of(op, bp_carve(&carver, bp_norm_act_reader_scratch_bytes(s)));
    for (size_t n = begin; n < end; n++) {
        begin_sample(op, n);
        if (!has_gradient(op, n) && op->ranges != NULL)
            add_zeros(op, n);
        if (has_gradient(op, n) && sums_winners(op)) {
            add_winners(op, n, &room);
            continue;
        }
        for (size_t row = 0; row < s->h && has_gradient(op, n); row += op->chunk_rows) {
            size_t rows = bp_min_size(op->chunk_rows, s->h - row);
            const struct bp_gradient_rows g =
                bp_norm_act_activation_gradient(op, n, row, rows, buffer);
            add_rows(op, n, row, rows, &g, &room);
        }
    }
}

/* --- on the way ------------------------------------------------------------------------------- */

static void set_scale_coefficients(struct bp_norm_act *op) {
    for (size_t j = 0; op->shape.affine == BP_AFFINE_SCALE && j < op->shape.c; j++) {
        op->norm.ka[j] = op->norm.scale[j]; /* dy = alpha ga */
        op->norm.kb[j] = op->norm.kc[j] = 0.0f;
    }
}

static void reader_begin(void *context, struct bp_exec *exec) {
    struct bp_norm_act *op = context;
    op->kernels = &exec->kernels;
    op->sums_read = !op->shape.window_pool || op->sums_from_output;
    set_scale_coefficients(op);
}

static void reader_rows(void *context, size_t n, size_t row, size_t rows,
                        const struct bp_gradient_rows *g, void *scratch) {
    const struct bp_norm_act *op = context;
    if (!op->sums_read)
        return;
    if (row == 0)
        begin_sample(op, n);
    const struct room room = room_of(op, scratch);
    for (size_t done = 0; done < rows; done += op->chunk_rows) {
        const struct bp_gradient_rows from = bp_gradient_from(g, done * op->ow * op->shape.c);
        add_rows(op, n, row + done, bp_min_size(op->chunk_rows, rows - done), &from, &room);
    }
}

struct bp_grad_reader bp_norm_act_reader(struct bp_norm_act *op) {
    return (struct bp_grad_reader){reader_begin, reader_rows, op,
                                   bp_norm_act_reader_scratch_bytes(&op->shape)};
}

/* --- totals ----------------------------------------------------------------------------------- */

/* Adds the sums of channels begin .. end - 1 of all samples up in those of the first, in order of
 * the samples. */
static void add_samples(struct bp_norm_act *op, size_t n, size_t begin, size_t end) {
    size_t c = op->shape.c;
    double *to = op->partial;
    for (size_t i = 1; i < n; i++) {
        if (!has_gradient(op, i))
            continue;
        const double *from = partial_of(op, i);
        for (size_t which = 0; which < 3; which++)
            for (size_t j = begin; j < end; j++)
                to[which * c + j] += from[which * c + j];
    }
}

/* A plain scale: dalpha = sum ga y. */
static void finish_channel(const struct job *job, size_t j) {
    struct bp_norm_act *op = job->op;
    const double *sums = op->partial;
    double sum_g = sums[j], sum_gy = sums[op->shape.c + j];
    if (op->sums_from_output)
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
                               const void *y, const struct bp_gradient *g,
                               const struct bp_norm_act_params *params,
                               const struct bp_norm_act_grads *grads) {
    struct job job = {.op = op, .exec = exec, .params = params, .grads = grads, .n = n};
    op->y = y;
    op->g = *g;
    op->kernels = &exec->kernels;
    set_scale_coefficients(op);
    if (!op->sums_read) {
        op->sums_from_output = 0; /* it may be gone by now */
        bp_parallel_for(exec->threads, n, sums_part, &job);
    }
    op->sums_read = 0;
    bp_parallel_for(exec->threads, op->shape.c, finish_part, &job);
}
