/* Forward: batch statistics, then one pass over the elements. */
#include "ops/norm_act_internal.h"

#include <string.h>

/* --- statistics ------------------------------------------------------------------------------- */

struct job {
    struct bp_norm_act *op;
    struct bp_exec *exec;
    const void *residual;
    const struct bp_norm_act_params *params;
    struct bp_norm_act_out out;
    size_t n;
    const struct bp_limit_rows *limits; /* NULL: signs come from floats */
    int ascending;                      /* samples in rising order: begin with what was read last */
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
        if (pools_integers(s))
            op->flip[j] = op->norm.scale[j] < 0.0f ? -1 : 0;
    }
}

/* --- forward ---------------------------------------------------------------------------------- */

/* Rows of z. */
struct act_rows {
    float *z;
    float *buffer;         /* room for them, which may be z: where y is not stored, its rows */
    const float *residual; /* of these rows, or NULL */
    int stream;
    double *sums; /* or NULL */
};

static void affine_act(const struct bp_norm_act *op, size_t n, size_t row, size_t rows,
                       const struct act_rows *to) {
    const struct bp_kernels *kernels = op->kernels;
    const struct bp_affine_rows a = coefficients_of(op);
    size_t c = op->shape.c, pixels = rows * op->shape.w;
    double *squares = to->sums == NULL ? NULL : to->sums + c;
    if (op->shape.input_i16)
        kernels->affine_act_i16(y_i16(op->y, (n * op->shape.h + row) * op->shape.w * c), pixels, c,
                                &a, to->residual, to->stream, to->z, to->sums, squares);
    else
        kernels->affine_act_f32(rows_f32(op, n, row, rows, to->buffer), pixels, c, &a, to->residual,
                                to->stream, to->z, to->sums, squares);
}

/* Where the bits of an output row go, and the mask (NULL: not wanted); the halo beside the row is
 * cleared. */
struct sign_row {
    uint64_t *bits, *mask;
};

static struct sign_row sign_row_of(const struct job *job, size_t n, size_t row) {
    const struct bp_norm_act *op = job->op;
    size_t pixel = (n * op->oh + row) * op->ow;
    struct sign_row to = {job->out.bits +
                              ((n * (op->oh + 2) + row + 1) * (op->ow + 2) + 1) * op->cw,
                          job->out.mask == NULL ? NULL : job->out.mask + pixel * op->cw};
    memset(to.bits - op->cw, 0, op->cw * sizeof *to.bits);
    memset(to.bits + op->ow * op->cw, 0, op->cw * sizeof *to.bits);
    return to;
}

static void clear_halo_rows(const struct job *job, size_t n) {
    struct bp_norm_act *op = job->op;
    size_t row = (op->ow + 2) * op->cw;
    uint64_t *bits = job->out.bits + n * (op->oh + 2) * row;
    memset(bits, 0, row * sizeof *bits);
    memset(bits + (op->oh + 1) * row, 0, row * sizeof *bits);
}

static uint64_t *which_row(const struct bp_norm_act *op, size_t n, size_t row) {
    return op->which + ((n * op->oh + row) * op->ow) * 2 * op->cw;
}

/* Straight from integers to bits, without pooling. */
static void integers_to_signs(const struct job *job, size_t n) {
    const struct bp_norm_act_shape *s = &job->op->shape;
    const struct bp_affine_rows a = coefficients_of(job->op);
    for (size_t row = 0; row < s->h; row++) {
        struct sign_row to = sign_row_of(job, n, row);
        const int16_t *y = y_i16(job->op->y, (n * s->h + row) * s->w * s->c);
        if (job->limits != NULL)
            job->exec->kernels.limit_signs_i16(y, s->w, s->c, job->limits, to.bits, to.mask);
        else
            job->exec->kernels.affine_signs_i16(y, s->w, s->c, &a, to.bits, to.mask);
    }
}

static void halves_to_signs(const struct job *job, size_t n) {
    const struct bp_norm_act_shape *s = &job->op->shape;
    const struct bp_affine_rows a = coefficients_of(job->op);
    for (size_t row = 0; row < s->h; row++) {
        struct sign_row to = sign_row_of(job, n, row);
        job->exec->kernels.affine_signs_f16(y_f16(job->op->y, (n * s->h + row) * s->w * s->c), s->w,
                                            s->c, &a, to.bits, to.mask);
    }
}

/* The same from floats. */
static void floats_to_signs(const struct job *job, size_t n, int thread) {
    const struct bp_norm_act_shape *s = &job->op->shape;
    const struct bp_affine_rows a = coefficients_of(job->op);
    float *buffer = bp_exec_scratch(job->exec, thread);
    for (size_t row = 0; row < s->h; row += job->op->chunk_rows) {
        size_t rows = bp_min_size(job->op->chunk_rows, s->h - row);
        const float *y = rows_f32(job->op, n, row, rows, buffer);
        for (size_t i = 0; i < rows; i++, y += s->w * s->c) {
            struct sign_row to = sign_row_of(job, n, row + i);
            job->exec->kernels.affine_signs_f32(y, s->w, s->c, &a, to.bits, to.mask);
        }
    }
}

/* The same of integers, with pooling. */
static void sample_to_pooled_signs(const struct job *job, size_t n) {
    const struct bp_norm_act *op = job->op;
    const struct bp_norm_act_shape *s = &op->shape;
    const struct bp_affine_rows a = coefficients_of(op);
    for (size_t row = 0; row < op->oh; row++) {
        struct sign_row to = sign_row_of(job, n, row);
        const int16_t *upper = y_i16(op->y, (n * s->h + 2 * row) * s->w * s->c);
        const int16_t *lower = upper + s->w * s->c;
        uint64_t *which = which_row(op, n, row);
        if (job->limits != NULL)
            job->exec->kernels.limit_pool_signs_i16(upper, lower, op->ow, s->c, job->limits,
                                                    to.bits, to.mask, which);
        else
            job->exec->kernels.affine_pool_signs_i16(upper, lower, op->ow, s->c, &a, to.bits,
                                                     to.mask, which);
    }
}

/* To floats, without pooling. */
static void sample_to_floats(const struct job *job, size_t n, int thread) {
    const struct bp_norm_act *op = job->op;
    const struct bp_norm_act_shape *s = &op->shape;
    struct act_rows to = {.buffer = bp_exec_scratch(job->exec, thread)};
    if (job->out.sums != NULL)
        to.sums = bp_channel_sums_of_sample(job->out.sums, n);
    to.stream = job->n * sample_elements(s) * sizeof(float) >= job->exec->stream_bytes;
    for (size_t row = 0; row < s->h; row += op->chunk_rows) {
        size_t element = (n * s->h + row) * s->w * s->c;
        to.z = (float *)job->out.out + element;
        to.residual = job->residual == NULL ? NULL : y_f32(job->residual, element);
        affine_act(op, n, row, bp_min_size(op->chunk_rows, s->h - row), &to);
    }
}

/* Rows of y, stored or made in the buffer. */
static const void *rows_of_y(const struct bp_norm_act *op, size_t n, size_t row, size_t rows,
                             float *buffer) {
    size_t element = (n * op->shape.h + row) * op->shape.w * op->shape.c;
    if (op->shape.input_i16)
        return y_i16(op->y, element);
    return op->shape.input_f16 ? (const void *)y_f16(op->y, element)
                               : rows_f32(op, n, row, rows, buffer);
}

/* The same to halves: a call fetches what the next one reads. */
static void sample_to_halves(const struct job *job, size_t n, int thread) {
    const struct bp_norm_act *op = job->op;
    const struct bp_norm_act_shape *s = &op->shape;
    const struct bp_affine_rows a = coefficients_of(op);
    enum value_type type = s->input_i16 ? VALUE_I16 : s->input_f16 ? VALUE_F16 : VALUE_F32;
    double *sums = job->out.sums == NULL ? NULL : bp_channel_sums_of_sample(job->out.sums, n);
    double *squares = sums == NULL ? NULL : sums + s->c;
    for (size_t row = 0; row < s->h; row += op->chunk_rows) {
        size_t rows = bp_min_size(op->chunk_rows, s->h - row);
        size_t element = (n * s->h + row) * s->w * s->c;
        const void *y = rows_of_y(op, n, row, rows, bp_exec_scratch(job->exec, thread));
        op->kernels->affine_act_f16(y, type, rows * s->w, s->c, &a,
                                    job->residual == NULL ? NULL : y_f16(job->residual, element),
                                    (uint16_t *)job->out.out + element, sums, squares);
    }
}

/* Rows of the output from a buffer: what no kernel does at once. */
static void store_rows(const struct job *job, size_t n, size_t row, size_t rows, float *z) {
    const struct bp_norm_act *op = job->op;
    size_t c = op->shape.c, elements = rows * op->ow * c, first = (n * op->oh + row) * op->ow * c;
    for (size_t i = 0; job->residual != NULL && i < elements; i++)
        z[i] += *y_f32(job->residual, first + i);
    for (size_t y = 0; op->shape.sign_out && y < rows; y++) {
        struct sign_row to = sign_row_of(job, n, row + y);
        job->exec->kernels.sign_pack_f32(z + y * op->ow * c, op->ow, c, to.bits, to.mask);
    }
    if (op->shape.sign_out)
        return;
    memcpy((float *)job->out.out + first, z, elements * sizeof(float));
    if (job->out.sums != NULL)
        bp_channel_sums_add_f32(job->out.sums, &job->exec->kernels, n, z, rows * op->ow);
}

static void sample_through_buffers(const struct job *job, size_t n, int thread) {
    const struct bp_norm_act *op = job->op;
    const struct bp_norm_act_shape *s = &op->shape;
    size_t row_elements = s->w * s->c;
    struct bp_carver carver = {bp_exec_scratch(job->exec, thread)};
    float *z = bp_carve(&carver, op->chunk_rows * row_elements * sizeof(float));
    float *pooled = bp_carve(&carver, op->chunk_rows * row_elements * sizeof(float));
    for (size_t row = 0; row < s->h; row += op->chunk_rows) {
        size_t rows = bp_min_size(op->chunk_rows, s->h - row);
        affine_act(op, n, row, rows, &(struct act_rows){.z = z, .buffer = z});
        if (!s->max_pool) {
            store_rows(job, n, row, rows, z);
            continue;
        }
        for (size_t y = 0; y < rows / 2; y++)
            job->exec->kernels.max_pool_2x2(
                z + 2 * y * row_elements, z + (2 * y + 1) * row_elements, op->ow, s->c,
                pooled + y * op->ow * s->c, which_row(op, n, row / 2 + y));
        store_rows(job, n, row / 2, rows / 2, pooled);
    }
}

/* Row z of the output, from `element` on, to halves; the sums are those of what is stored, which z
 * holds then. */
static void settle_row(const struct job *job, size_t n, size_t element, float *z) {
    bp_channel_sums_settle_f16(job->out.sums, &job->exec->kernels, n, z, job->op->ow,
                               job->op->shape.c, (uint16_t *)job->out.out + element);
}

/* With 3x3 pooling, row by row: z holds rows row - 1 .. row + rows - 1 of the input, activated. */
static void sample_to_windows(const struct job *job, size_t n, int thread) {
    const struct bp_norm_act *op = job->op;
    const struct bp_norm_act_shape *s = &op->shape;
    const struct bp_kernels *kernels = &job->exec->kernels;
    size_t row_elements = s->w * s->c, out_elements = op->ow * s->c;
    struct bp_carver carver = {bp_exec_scratch(job->exec, thread)};
    float *z = bp_carve(&carver, (op->chunk_rows + 1) * row_elements * sizeof(float));
    float *buffer = bp_carve(&carver, out_elements * sizeof(float));
    for (size_t row = 0; row < s->h; row += op->chunk_rows) {
        size_t rows = bp_min_size(op->chunk_rows, s->h - row);
        if (row > 0)
            memcpy(z, z + op->chunk_rows * row_elements, row_elements * sizeof *z);
        float *next = z + row_elements;
        affine_act(op, n, row, rows, &(struct act_rows){.z = next, .buffer = next});
        for (size_t y = row / 2; 2 * y < row + rows; y++) {
            size_t at = (n * op->oh + y) * out_elements;
            float *pooled = s->output_f16 ? buffer : (float *)job->out.out + at;
            bp_pool_max_row(&op->window, kernels, y,
                            z + (bp_pool_first_row(&op->window, y) + 1 - row) * row_elements,
                            pooled, op->winner + at);
            if (s->output_f16)
                settle_row(job, n, at, pooled);
            else if (job->out.sums != NULL)
                bp_channel_sums_add_f32(job->out.sums, kernels, n, pooled, op->ow);
        }
    }
}

/* The same of integers, which are a quarter when they are activated. */
static void sample_of_integers_to_windows(const struct job *job, size_t n, int thread) {
    const struct bp_norm_act *op = job->op;
    const struct bp_norm_act_shape *s = &op->shape;
    const struct bp_affine_rows a = coefficients_of(op);
    int16_t *pooled = bp_exec_scratch(job->exec, thread);
    double *sums = job->out.sums == NULL ? NULL : bp_channel_sums_of_sample(job->out.sums, n);
    double *squares = sums == NULL ? NULL : sums + s->c;
    for (size_t y = 0; y < op->oh; y++) {
        size_t at = (n * op->oh + y) * op->ow * s->c;
        size_t from = (n * s->h + bp_pool_first_row(&op->window, y)) * s->w * s->c;
        bp_pool_max_row_i16(&op->window, op->kernels, y, y_i16(op->y, from), op->flip, pooled,
                            op->winner + at);
        if (s->output_f16)
            op->kernels->affine_act_f16(pooled, VALUE_I16, op->ow, s->c, &a, NULL,
                                        (uint16_t *)job->out.out + at, sums, squares);
        else
            op->kernels->affine_act_i16(pooled, op->ow, s->c, &a, NULL, 0,
                                        (float *)job->out.out + at, sums, squares);
    }
}

static void forward_part(void *context, size_t begin, size_t end, int thread) {
    const struct job *job = context;
    const struct bp_norm_act_shape *s = &job->op->shape;
    for (size_t i = begin; i < end; i++) {
        size_t n = job->ascending ? i : begin + end - 1 - i;
        if (s->sign_out)
            clear_halo_rows(job, n);
        if (s->sign_out && job->residual == NULL && !s->max_pool && s->input_i16)
            integers_to_signs(job, n);
        else if (s->sign_out && job->residual == NULL && !s->max_pool && s->input_f16)
            halves_to_signs(job, n);
        else if (s->sign_out && job->residual == NULL && !s->max_pool)
            floats_to_signs(job, n, thread);
        else if (s->sign_out && job->residual == NULL && s->input_i16)
            sample_to_pooled_signs(job, n);
        else if (pools_integers(s))
            sample_of_integers_to_windows(job, n, thread);
        else if (s->window_pool)
            sample_to_windows(job, n, thread);
        else if (s->output_f16)
            sample_to_halves(job, n, thread);
        else if (!s->sign_out && !s->max_pool)
            sample_to_floats(job, n, thread);
        else
            sample_through_buffers(job, n, thread);
    }
}

void bp_norm_act_forward(struct bp_norm_act *op, struct bp_exec *exec, size_t n, const void *y,
                         const void *residual, const struct bp_norm_act_params *params,
                         int batch_statistics, const struct bp_norm_act_out *out) {
    struct job job = {
        .op = op, .exec = exec, .residual = residual, .params = params, .out = *out, .n = n};
    op->y = y;
    op->residual = residual;
    op->out = out->out;
    op->kernels = &exec->kernels;
    if (op->shape.affine == BP_AFFINE_BATCH_NORM && batch_statistics)
        job.ascending = bp_channel_sums_finish(&op->sums, exec, n, y, op->shape.h * op->shape.w);
    set_coefficients(&job, batch_statistics);
    op->sums_from_output = bp_norm_act_sums_follow_from_output(op, params);
    op->sums_read = 0;
    const struct bp_affine_rows coefficients = coefficients_of(op);
    struct bp_limit_rows limits;
    if (op->shape.input_i16 && op->shape.sign_out && residual == NULL &&
        bp_sign_limits_of_affine(&op->limits, exec, &coefficients, op->shape.max_pool)) {
        limits = bp_sign_limits_rows(&op->limits);
        job.limits = &limits;
    }
    if (out->sums != NULL)
        bp_channel_sums_begin(out->sums, exec, n);
    if (job.ascending)
        bp_parallel_for(exec->threads, n, forward_part, &job);
    else
        bp_parallel_for_down(exec->threads, n, forward_part, &job);
    if (out->sums != NULL)
        bp_channel_sums_end(out->sums);
}

void bp_norm_act_value_rows(const void *context, size_t n, size_t row, size_t rows, float *out) {
    const struct bp_norm_act *op = context;
    struct act_rows to = {.z = out, .buffer = out};
    if (op->residual_source.rows != NULL) {
        op->residual_source.rows(op->residual_source.context, n, row, rows, out);
        to.residual = out;
    } else if (op->residual != NULL) {
        to.residual = y_f32(op->residual, (n * op->shape.h + row) * op->shape.w * op->shape.c);
    }
    affine_act(op, n, row, rows, &to);
}
