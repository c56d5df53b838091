#include "ops/byte_conv_internal.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"

enum {
    BLOCK_POSITIONS = 256,
    CHUNK_POSITIONS = 1024,
    CODE_MAX = 127,
    TAPS_MAX = 49,
    CHEAP_TAPS = 27
};

/* --- geometry --------------------------------------------------------------------------------- */

size_t bp_byte_conv_tap(const struct bp_byte_conv *op, size_t channel, size_t dy, size_t dx) {
    size_t stride = op->shape.stride, plane = channel * stride + dx % stride;
    return (plane * op->rows + dy) * op->width + dx / stride;
}

size_t bp_byte_conv_chunk_rows(const struct bp_conv_shape *shape) {
    size_t rows = CHUNK_POSITIONS / shape->ow / 2 * 2;
    return bp_min_size(rows < 2 ? 2 : rows, shape->oh);
}

int bp_byte_conv_is_cheap(const struct bp_conv_shape *shape) {
    return shape->r * shape->r * shape->c <= CHEAP_TAPS;
}

/* Quads of a row of taps in one plane: those dx with dx % stride = phase. */
static size_t quads_of_phase(const struct bp_conv_shape *s, size_t phase) {
    size_t taps = (s->r - phase + s->stride - 1) / s->stride;
    return (taps + 3) / 4;
}

static void set_geometry(struct bp_byte_conv *op) {
    const struct bp_conv_shape *s = &op->shape;
    op->taps = s->r * s->r * s->c;
    op->lanes = bp_round_up(s->k, BP_BYTE_LANES);
    op->rows = (s->oh - 1) * s->stride + s->r;
    /* Whole quads are read, of taps at the last pixel and of pixels at the last tap. */
    op->width = bp_round_up(s->ow, 4) + 4 * quads_of_phase(s, 0);
    op->sample_bytes = s->c * s->stride * op->rows * op->width;
    for (size_t phase = 0; phase < s->stride && phase < s->r; phase++)
        op->quads += s->c * s->r * quads_of_phase(s, phase);
    op->block_rows = bp_min_size(s->ow < BLOCK_POSITIONS ? BLOCK_POSITIONS / s->ow : 1, s->oh);
    op->chunk_rows = bp_byte_conv_chunk_rows(s);
}

static size_t block_elements(const struct bp_byte_conv *op) {
    return op->block_rows * op->shape.ow * op->shape.k;
}

static bp_status forward_tables(struct bp_byte_conv *op) {
    const struct bp_conv_shape *s = &op->shape;
    BP_TRY(bp_alloc_array(&op->quad_offset, op->quads, sizeof(int32_t), "tap offsets"));
    BP_TRY(bp_alloc_array(&op->pixel_offset, op->block_rows * s->ow, sizeof(int32_t),
                          "pixel offsets"));
    BP_TRY(bp_alloc_array(&op->weights, op->quads * op->lanes, 4, "weight codes"));
    BP_TRY(bp_alloc_array(&op->base, s->k, sizeof(int32_t), "zero points"));
    BP_TRY(bp_alloc_array(&op->scale, s->k, sizeof(float), "weight scales"));
    size_t quad = 0;
    for (size_t c = 0; c < s->c; c++)
        for (size_t phase = 0; phase < s->stride && phase < s->r; phase++)
            for (size_t dy = 0; dy < s->r; dy++)
                for (size_t i = 0; i < quads_of_phase(s, phase); i++)
                    op->quad_offset[quad++] =
                        (int32_t)bp_byte_conv_tap(op, c, dy, phase + 4 * i * s->stride);
    for (size_t p = 0; p < op->block_rows * s->ow; p++)
        op->pixel_offset[p] = (int32_t)(p / s->ow * s->stride * op->width + p % s->ow);
    return BP_OK;
}

static bp_status backward_tables(struct bp_byte_conv *op) {
    const struct bp_conv_shape *s = &op->shape;
    size_t row_quads = (s->ow + 3) / 4, quads = op->chunk_rows * row_quads;
    BP_TRY(bp_alloc_array(&op->tap_offset, op->taps, sizeof(int32_t), "tap offsets"));
    BP_TRY(bp_alloc_array(&op->position_quads, quads, sizeof(int32_t), "pixel offsets"));
    for (size_t t = 0; t < op->taps; t++) {
        size_t dy = t / (s->r * s->c), dx = t / s->c % s->r;
        op->tap_offset[t] = (int32_t)bp_byte_conv_tap(op, t % s->c, dy, dx);
    }
    for (size_t i = 0; i < quads; i++)
        op->position_quads[i] =
            (int32_t)(i / row_quads * s->stride * op->width + i % row_quads * 4);
    return BP_OK;
}

/* --- creation --------------------------------------------------------------------------------- */

static bp_status check_shape(const struct bp_conv_shape *s, const char *name) {
    if (s->c > 16 || s->r > 7 || s->stride < 1 || s->stride > 2)
        return bp_fail(BP_INTERNAL,
                       "%s: no 8-bit convolution of %zu channels, kernel %zu, stride %zu", name,
                       s->c, s->r, s->stride);
    return BP_OK;
}

static bp_status set_up(struct bp_byte_conv *op, struct bp_plan *plan, int backward,
                        const char *name, int forward_time, int last_time) {
    const struct bp_conv_shape *s = &op->shape;
    char text[96];
    set_geometry(op);
    if (op->sample_bytes > INT32_MAX || op->quads > 64)
        return bp_fail(BP_INTERNAL, "%s: no 8-bit convolution of so large images", name);
    BP_TRY(forward_tables(op));
    snprintf(text, sizeof text, "%s planes", name);
    BP_TRY(bp_plan_add(plan, text, s->n * op->sample_bytes, forward_time, last_time, &op->planes));
    if (!backward)
        return BP_OK;
    BP_TRY(backward_tables(op));
    snprintf(text, sizeof text, "%s sums", name);
    return bp_plan_add(plan, text, s->n * op->taps * s->k * sizeof(float), last_time, last_time,
                       &op->partial);
}

bp_status bp_byte_conv_create(struct bp_byte_conv **out, struct bp_exec *exec, struct bp_plan *plan,
                              const struct bp_conv_shape *shape, const float *mean,
                              const float *deviation, int backward, const char *name,
                              int forward_time, int last_time) {
    *out = NULL;
    BP_TRY(check_shape(shape, name));
    struct bp_byte_conv *op;
    BP_TRY(bp_alloc(&op, sizeof *op, "an 8-bit convolution"));
    op->shape = *shape;
    op->kernels = &exec->kernels;
    for (size_t c = 0; c < shape->c; c++) {
        double level = floor(255.0 * (double)mean[c] + 0.5);
        op->zero[c] = (uint8_t)fmin(fmax(level, 0.0), 255.0);
        op->step[c] = 1.0f / (255.0f * deviation[c]);
    }
    bp_status status = set_up(op, plan, backward, name, forward_time, last_time);
    if (status != BP_OK) {
        bp_byte_conv_destroy(op);
        return status;
    }
    bp_exec_need_scratch(exec, block_elements(op) * sizeof(float));
    *out = op;
    return BP_OK;
}

void bp_byte_conv_destroy(struct bp_byte_conv *op) {
    if (op == NULL)
        return;
    bp_free(op->quad_offset);
    bp_free(op->pixel_offset);
    bp_free(op->weights);
    bp_free(op->base);
    bp_free(op->scale);
    bp_free(op->tap_offset);
    bp_free(op->position_quads);
    bp_free(op);
}

void bp_byte_conv_input_grid(const struct bp_byte_conv *op, size_t channel, int *zero,
                             float *step) {
    *zero = op->zero[channel];
    *step = op->step[channel];
}

/* --- weights ---------------------------------------------------------------------------------- */

/* The code of tap (dy, dx) of a channel: quads in the order of quad_offset. */
static int8_t *code_of(const struct bp_byte_conv *op, size_t j, size_t channel, size_t dy,
                       size_t dx) {
    const struct bp_conv_shape *s = &op->shape;
    size_t of_channel = op->quads / s->c, phase = dx % s->stride, i = dx / s->stride;
    size_t before = phase == 0 ? 0 : s->r * quads_of_phase(s, 0);
    size_t quad = channel * of_channel + before + dy * quads_of_phase(s, phase) + i / 4;
    return op->weights + (quad * op->lanes + j) * 4 + i % 4;
}

/* exact [taps], steps of the scale -> code [taps]: rounded to the nearest, and then those nearest
 * to the other side moved there until the sum of the codes is the nearest too. Pixels beside each
 * other are alike: what the errors add up to moves the output of whole areas. */
static void round_taps(const float *exact, size_t taps, int *code) {
    float rest[TAPS_MAX], sum = 0.0f;
    for (size_t t = 0; t < taps; t++) {
        float nearest = floorf(exact[t] + 0.5f);
        code[t] = (int)fminf(fmaxf(nearest, -(float)CODE_MAX), (float)CODE_MAX);
        rest[t] = exact[t] - (float)code[t];
        sum += rest[t];
    }
    int moves = (int)floorf(sum + 0.5f), sign = moves < 0 ? -1 : 1;
    for (; moves != 0; moves -= sign) {
        size_t best = 0;
        for (size_t t = 1; t < taps; t++)
            if (rest[t] * (float)sign > rest[best] * (float)sign)
                best = t;
        if (code[best] * sign >= CODE_MAX)
            break;
        code[best] += sign;
        rest[best] -= (float)sign;
    }
}

static void code_channel(struct bp_byte_conv *op, const float *w, size_t j, size_t channel,
                         float inverse) {
    const struct bp_conv_shape *s = &op->shape;
    float exact[TAPS_MAX];
    int code[TAPS_MAX];
    for (size_t t = 0; t < s->r * s->r; t++)
        exact[t] = inverse > 0.0f ? w[t * s->c + channel] * op->step[channel] * inverse : 0.0f;
    round_taps(exact, s->r * s->r, code);
    for (size_t t = 0; t < s->r * s->r; t++) {
        *code_of(op, j, channel, t / s->r, t % s->r) = (int8_t)code[t];
        op->base[j] -= code[t] * op->zero[channel];
    }
}

void bp_byte_conv_set_weights(struct bp_byte_conv *op, const float *w) {
    const struct bp_conv_shape *s = &op->shape;
    for (size_t j = 0; j < s->k; j++, w += op->taps) {
        float largest = 0.0f;
        int finite = 1;
        for (size_t t = 0; t < op->taps; t++) {
            largest = fmaxf(largest, fabsf(w[t] * op->step[t % s->c]));
            finite &= isfinite(w[t]) != 0;
        }
        float inverse = (float)CODE_MAX / largest;
        int usable = finite && largest > 0.0f && inverse <= FLT_MAX;
        op->scale[j] = usable ? largest / (float)CODE_MAX : 0.0f;
        op->base[j] = 0;
        for (size_t channel = 0; channel < s->c; channel++)
            code_channel(op, w, j, channel, usable ? inverse : 0.0f);
        if (!finite) /* a run that diverged is to show it */
            op->scale[j] = NAN;
    }
}

void bp_byte_conv_used_weights(const struct bp_byte_conv *op, float *w) {
    const struct bp_conv_shape *s = &op->shape;
    for (size_t i = 0; i < s->k * op->taps; i++) {
        size_t j = i / op->taps, t = i % op->taps, channel = t % s->c;
        int q = *code_of(op, j, channel, t / (s->r * s->c), t / s->c % s->r);
        w[i] = op->scale[j] * (float)q / op->step[channel];
    }
}

/* --- forward ---------------------------------------------------------------------------------- */

struct forward_job {
    struct bp_byte_conv *op;
    struct bp_exec *exec;
    const uint8_t *pixels;
    float *y;                     /* or NULL */
    struct bp_channel_sums *sums; /* or NULL */
    size_t blocks;                /* of a sample */
};

/* Row `row` of the planes of one channel and phase, from a row of the image or, NULL, of padding.
 */
static void fill_row(const struct bp_byte_conv *op, const uint8_t *pixels, size_t channel,
                     size_t phase, uint8_t *out) {
    const struct bp_conv_shape *s = &op->shape;
    memset(out, op->zero[channel], op->width);
    if (pixels == NULL)
        return;
    size_t first = s->pad > phase ? (s->pad - phase + s->stride - 1) / s->stride : 0;
    size_t x = first * s->stride + phase - s->pad, step = s->stride * s->c;
    if (x >= s->w)
        return;
    size_t count = bp_min_size((s->w - x + s->stride - 1) / s->stride, op->width - first);
    const uint8_t *from = pixels + x * s->c + channel;
    for (size_t i = 0; i < count; i++)
        out[first + i] = from[i * step];
}

static void planes_part(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    struct forward_job *job = context;
    const struct bp_byte_conv *op = job->op;
    const struct bp_conv_shape *s = &op->shape;
    for (size_t i = begin; i < end; i++) {
        size_t row = i % op->rows, n = i / op->rows;
        const uint8_t *pixels = NULL;
        if (row >= s->pad && row - s->pad < s->h)
            pixels = job->pixels + (n * s->h + row - s->pad) * s->w * s->c;
        uint8_t *planes = op->planes + n * op->sample_bytes + row * op->width;
        for (size_t plane = 0; plane < s->c * s->stride; plane++)
            fill_row(op, pixels, plane / s->stride, plane % s->stride,
                     planes + plane * op->rows * op->width);
    }
}

/* At most block_rows rows. */
static void rows_product(const struct bp_byte_conv *op, size_t n, size_t row, size_t rows,
                         float *y) {
    const struct bp_conv_shape *s = &op->shape;
    const uint8_t *x = op->planes + n * op->sample_bytes + row * s->stride * op->width;
    op->kernels->product_bytes_f32(x, op->pixel_offset, rows * s->ow, op->quad_offset, op->quads,
                                   op->weights, s->k, op->base, op->scale, y);
}

void bp_byte_conv_value_rows(const void *context, size_t n, size_t row, size_t rows, float *out) {
    const struct bp_byte_conv *op = context;
    for (size_t done = 0; done < rows; done += op->block_rows)
        rows_product(op, n, row + done, bp_min_size(op->block_rows, rows - done),
                     out + done * op->shape.ow * op->shape.k);
}

static void block_product(const struct forward_job *job, size_t n, size_t block, int thread) {
    const struct bp_conv_shape *s = &job->op->shape;
    size_t row = block * job->op->block_rows, rows = bp_min_size(job->op->block_rows, s->oh - row);
    float *y = job->y != NULL ? job->y + (n * s->oh + row) * s->ow * s->k
                              : bp_exec_scratch(job->exec, thread);
    rows_product(job->op, n, row, rows, y);
    if (job->sums != NULL)
        bp_channel_sums_add_f32(job->sums, &job->exec->kernels, n, y, rows * s->ow);
}

static void product_part(void *context, size_t begin, size_t end, int thread) {
    const struct forward_job *job = context;
    for (size_t i = begin; i < end; i++)
        block_product(job, i / job->blocks, i % job->blocks, thread);
}

/* The same with whole samples as items: one worker adds a sample up. */
static void sample_product_part(void *context, size_t begin, size_t end, int thread) {
    const struct forward_job *job = context;
    for (size_t n = begin; n < end; n++)
        for (size_t block = 0; block < job->blocks; block++)
            block_product(job, n, block, thread);
}

void bp_byte_conv_forward(struct bp_byte_conv *op, struct bp_exec *exec, size_t n,
                          const uint8_t *pixels, float *y, struct bp_channel_sums *sums) {
    struct forward_job job = {.op = op, .exec = exec, .pixels = pixels, .y = y};
    job.blocks = (op->shape.oh + op->block_rows - 1) / op->block_rows;
    bp_parallel_for(exec->threads, n * op->rows, planes_part, &job);
    /* Where samples are fewer than workers, y is made by blocks, and its reader sums it. */
    int by_blocks = sums == NULL || (y != NULL && n < (size_t)bp_threads_count(exec->threads));
    if (by_blocks && y != NULL)
        bp_parallel_for(exec->threads, n * job.blocks, product_part, &job);
    if (by_blocks)
        return;
    job.sums = sums;
    bp_channel_sums_begin(sums, exec, n);
    bp_parallel_for(exec->threads, n, sample_product_part, &job);
    bp_channel_sums_end(sums);
}
