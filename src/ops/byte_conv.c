#include "ops/byte_conv_internal.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

enum {
    BLOCK_POSITIONS = 256,
    CHUNK_POSITIONS = 1024,
    CODE_MAX = 127,
    TAPS_MAX = BP_BYTE_CONV_KERNEL_MAX * BP_BYTE_CONV_KERNEL_MAX,
    CHEAP_TAPS = 27
};

/* --- geometry --------------------------------------------------------------------------------- */

size_t bp_byte_conv_chunk_rows(const struct bp_conv_shape *shape) {
    size_t rows = CHUNK_POSITIONS / shape->ow / 2 * 2;
    return bp_min_size(rows < 2 ? 2 : rows, shape->oh);
}

int bp_byte_conv_is_cheap(const struct bp_conv_shape *shape, enum bp_tier tier) {
    int has_vnni = tier == BP_TIER_AVX512 || tier == BP_TIER_AMX;
    return has_vnni && shape->r * shape->r * shape->c <= CHEAP_TAPS;
}

int bp_byte_conv_is_narrow(const struct bp_conv_shape *shape) {
    return shape->r * shape->r * shape->c > CHEAP_TAPS;
}

static void set_geometry(struct bp_byte_conv *op) {
    const struct bp_conv_shape *s = &op->shape;
    op->taps = s->r * s->r * s->c;
    op->narrow = bp_byte_conv_is_narrow(s);
    op->lanes = bp_round_up(s->k, BP_BYTE_LANES);
    op->quads = (op->taps + 3) / 4;
    /* Whole quads are read, of taps at the last pixel and of pixels at the last tap. */
    op->strip_bytes = ((s->ow - 1) * s->stride + s->r) * s->r * s->c + 3;
    op->rows = (s->oh - 1) * s->stride + s->r;
    op->width = bp_round_up(s->ow, 4) + (s->r - 1) / s->stride;
    op->sample_bytes = s->c * s->stride * op->rows * op->width;
    op->block_rows = bp_min_size(s->ow < BLOCK_POSITIONS ? BLOCK_POSITIONS / s->ow : 1, s->oh);
    op->chunk_rows = bp_byte_conv_chunk_rows(s);
}

static size_t block_elements(const struct bp_byte_conv *op) {
    return op->block_rows * op->shape.ow * op->shape.k;
}

static bp_status forward_tables(struct bp_byte_conv *op) {
    const struct bp_conv_shape *s = &op->shape;
    BP_TRY(bp_alloc_array(&op->padding, s->w, s->c, "a row of padding"));
    for (size_t i = 0; i < s->w * s->c; i++)
        op->padding[i] = op->zero[i % s->c];
    BP_TRY(bp_alloc_array(&op->quad_offset, op->quads, sizeof(int32_t), "tap offsets"));
    BP_TRY(bp_alloc_array(&op->pixel_offset, op->block_rows * s->ow, sizeof(int32_t),
                          "pixel offsets"));
    BP_TRY(bp_alloc_array(&op->weights, op->quads * op->lanes, 4, "weight codes"));
    BP_TRY(bp_alloc_array(&op->base, s->k, sizeof(int32_t), "zero points"));
    BP_TRY(bp_alloc_array(&op->scale, s->k, sizeof(float), "weight scales"));
    BP_TRY(bp_alloc_array(&op->shift, s->k, sizeof(int32_t), "shifts of sums"));
    BP_TRY(bp_alloc_array(&op->unit, s->k, sizeof(float), "units of sums"));
    for (size_t i = 0; i < op->quads; i++)
        op->quad_offset[i] = (int32_t)(4 * i);
    for (size_t p = 0; p < op->block_rows * s->ow; p++)
        op->pixel_offset[p] =
            (int32_t)(p / s->ow * op->strip_bytes + p % s->ow * s->stride * s->r * s->c);
    return BP_OK;
}

static bp_status backward_tables(struct bp_byte_conv *op) {
    const struct bp_conv_shape *s = &op->shape;
    size_t row_quads = (s->ow + 3) / 4, quads = op->chunk_rows * row_quads;
    BP_TRY(bp_alloc_array(&op->tap_offset, op->taps, sizeof(int32_t), "tap offsets"));
    BP_TRY(bp_alloc_array(&op->position_quads, quads, sizeof(int32_t), "pixel offsets"));
    for (size_t t = 0; t < op->taps; t++) {
        size_t dy = t / (s->r * s->c), dx = t / s->c % s->r;
        size_t plane = t % s->c * s->stride + dx % s->stride;
        op->tap_offset[t] = (int32_t)((plane * op->rows + dy) * op->width + dx / s->stride);
    }
    for (size_t i = 0; i < quads; i++)
        op->position_quads[i] =
            (int32_t)(i / row_quads * s->stride * op->width + i % row_quads * 4);
    return BP_OK;
}

/* --- creation --------------------------------------------------------------------------------- */

static bp_status check_shape(const struct bp_conv_shape *s, const char *name) {
    if (s->c > 16 || s->r > BP_BYTE_CONV_KERNEL_MAX || s->stride < 1 || s->stride > 2)
        return bp_fail(BP_INTERNAL,
                       "%s: no 8-bit convolution of %zu channels, kernel %zu, stride %zu", name,
                       s->c, s->r, s->stride);
    return BP_OK;
}

static bp_status set_up(struct bp_byte_conv *op, struct bp_plan *plan, const char *name,
                        int forward_time, int value_time, int backward_time) {
    const struct bp_conv_shape *s = &op->shape;
    char text[96];
    set_geometry(op);
    if (op->sample_bytes > INT32_MAX || op->strip_bytes > INT32_MAX / op->block_rows ||
        op->quads > 64)
        return bp_fail(BP_INTERNAL, "%s: no 8-bit convolution of so large images", name);
    BP_TRY(forward_tables(op));
    snprintf(text, sizeof text, "%s strips", name);
    if (!op->narrow)
        BP_TRY(bp_plan_add(plan, text, s->n * s->oh * op->strip_bytes, forward_time, value_time,
                           &op->strips));
    if (backward_time < 0)
        return BP_OK;
    BP_TRY(backward_tables(op));
    snprintf(text, sizeof text, "%s planes", name);
    BP_TRY(
        bp_plan_add(plan, text, s->n * op->sample_bytes, forward_time, backward_time, &op->planes));
    snprintf(text, sizeof text, "%s sums", name);
    return bp_plan_add(plan, text, s->n * op->taps * s->k * sizeof(float), backward_time,
                       backward_time, &op->partial);
}

bp_status bp_byte_conv_create(struct bp_byte_conv **out, struct bp_exec *exec, struct bp_plan *plan,
                              const struct bp_conv_shape *shape, const float *mean,
                              const float *deviation, const char *name, int forward_time,
                              int value_time, int backward_time) {
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
    bp_status status = set_up(op, plan, name, forward_time, value_time, backward_time);
    if (status != BP_OK) {
        bp_byte_conv_destroy(op);
        return status;
    }
    bp_exec_need_scratch(exec, op->narrow ? op->block_rows * op->strip_bytes
                                          : block_elements(op) * sizeof(float));
    *out = op;
    return BP_OK;
}

void bp_byte_conv_destroy(struct bp_byte_conv *op) {
    if (op == NULL)
        return;
    bp_free(op->padding);
    bp_free(op->quad_offset);
    bp_free(op->pixel_offset);
    bp_free(op->weights);
    bp_free(op->base);
    bp_free(op->scale);
    bp_free(op->shift);
    bp_free(op->unit);
    bp_free(op->tap_offset);
    bp_free(op->position_quads);
    bp_free(op);
}

const float *bp_byte_conv_unit(const struct bp_byte_conv *op) {
    return op->narrow ? op->unit : NULL;
}

void bp_byte_conv_input_grid(const struct bp_byte_conv *op, size_t channel, int *zero,
                             float *step) {
    *zero = op->zero[channel];
    *step = op->step[channel];
}

/* --- weights ---------------------------------------------------------------------------------- */

/* The code of tap (dy, dx) of a channel: in the order of the bytes of a strip. */
static int8_t *code_of(const struct bp_byte_conv *op, size_t j, size_t channel, size_t dy,
                       size_t dx) {
    size_t i = (dx * op->shape.r + dy) * op->shape.c + channel;
    return op->weights + (i / 4 * op->lanes + j) * 4 + i % 4;
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

/* Returns the largest magnitude that sums over the channel's pixels can have. */
static int32_t code_channel(struct bp_byte_conv *op, const float *w, size_t j, size_t channel,
                            float inverse) {
    const struct bp_conv_shape *s = &op->shape;
    float exact[TAPS_MAX];
    int code[TAPS_MAX], zero = op->zero[channel], range = zero < 128 ? 255 - zero : zero;
    int32_t largest = 0;
    for (size_t t = 0; t < s->r * s->r; t++)
        exact[t] = inverse > 0.0f ? w[t * s->c + channel] * op->step[channel] * inverse : 0.0f;
    round_taps(exact, s->r * s->r, code);
    for (size_t t = 0; t < s->r * s->r; t++) {
        *code_of(op, j, channel, t / s->r, t % s->r) = (int8_t)code[t];
        op->base[j] -= code[t] * zero;
        largest += abs(code[t]) * range;
    }
    return largest;
}

/* largest: magnitude of the sums. */
static void set_shift(struct bp_byte_conv *op, size_t j, int32_t largest) {
    int32_t shift = 0, half = 0;
    while ((largest + half) >> shift > INT16_MAX)
        half = 1 << shift++;
    op->base[j] += half;
    op->shift[j] = shift;
    op->unit[j] = ldexpf(op->scale[j], shift);
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
        int32_t sums = 0;
        for (size_t channel = 0; channel < s->c; channel++)
            sums += code_channel(op, w, j, channel, usable ? inverse : 0.0f);
        if (!finite) /* a run that diverged is to show it */
            op->scale[j] = NAN;
        if (op->narrow)
            set_shift(op, j, sums);
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
