#include "ops/bconv_internal.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"

/* --- geometry --------------------------------------------------------------------------------- */

/* A border class of output pixels: bit 0 top, 1 bottom, 2 left, 3 right edge cut off. */
enum { CLASS_TOP = 1, CLASS_BOTTOM = 2, CLASS_LEFT = 4, CLASS_RIGHT = 8, BORDER_CLASSES = 16 };

static int tap_is_cut(unsigned border_class, size_t tap, size_t r) {
    if (r == 1)
        return 0;
    size_t ty = tap / r, tx = tap % r;
    return (ty == 0 && border_class & CLASS_TOP) || (ty == r - 1 && border_class & CLASS_BOTTOM) ||
           (tx == 0 && border_class & CLASS_LEFT) || (tx == r - 1 && border_class & CLASS_RIGHT);
}

static unsigned border_class_of(const struct bp_conv_shape *s, size_t oy, size_t ox) {
    unsigned border_class = 0;
    if (s->pad == 0)
        return 0;
    border_class |= oy == 0 ? CLASS_TOP : 0u;
    border_class |= oy * s->stride + 1 >= s->h ? CLASS_BOTTOM : 0u;
    border_class |= ox == 0 ? CLASS_LEFT : 0u;
    border_class |= ox * s->stride + 1 >= s->w ? CLASS_RIGHT : 0u;
    return border_class;
}

static bp_status make_tables(struct bp_bconv *op) {
    const struct bp_conv_shape *s = &op->shape;
    size_t pixels = s->oh * s->ow, row = (s->w + 2) * op->cw;
    op->tile_samples = bp_min_size(s->n, (BP_TILE_PIXELS + pixels - 1) / pixels);
    BP_TRY(bp_alloc_array(&op->pixel_base, op->tile_samples * pixels, sizeof(int32_t),
                          "pixel offsets"));
    BP_TRY(bp_alloc(&op->pixel_class, pixels, "border classes"));
    BP_TRY(bp_alloc_array(&op->valid, pixels, sizeof(uint64_t), "tap masks"));
    size_t origin = s->pad == 0 ? row + op->cw : 0; /* 1x1 kernels start inside the halo */
    for (size_t t = 0; t < op->taps; t++)
        op->tap_offset[t] = (int32_t)(t / s->r * row + t % s->r * op->cw);
    for (size_t p = 0; p < pixels; p++) {
        size_t oy = p / s->ow, ox = p % s->ow;
        unsigned border_class = border_class_of(s, oy, ox);
        size_t base = origin + oy * s->stride * row + ox * s->stride * op->cw;
        op->pixel_class[p] = (uint8_t)border_class;
        for (size_t i = 0; i < op->tile_samples; i++)
            op->pixel_base[i * pixels + p] = (int32_t)(i * op->in_words + base);
        for (size_t t = 0; t < op->taps; t++)
            if (!tap_is_cut(border_class, t, s->r)) {
                op->valid[p] |= (uint64_t)1 << t;
                op->valid_count[t]++;
            }
    }
    return BP_OK;
}

/* --- creation --------------------------------------------------------------------------------- */

size_t bp_bconv_chunk_rows(const struct bp_conv_shape *shape) {
    size_t rows = 16384 / (shape->ow * shape->k) / 2 * 2; /* 64 kB of floats */
    if (rows < 2)
        rows = 2;
    return bp_min_size(rows, shape->oh);
}

static bp_status check_shape(const struct bp_conv_shape *s, const char *name) {
    int known = (s->r == 1 && s->pad == 0) || (s->r == 3 && s->pad == 1);
    if (!known || s->stride < 1 || s->stride > 2)
        return bp_fail(BP_INTERNAL, "%s: no binary convolution of kernel %zu, stride %zu, pad %zu",
                       name, s->r, s->stride, s->pad);
    if (s->r * s->r * bp_words(s->c) * 64 > INT16_MAX)
        return bp_fail(
            BP_USAGE,
            "%s has %zu input channels, more than a 16-bit sum can hold (%d); use a smaller "
            "--width",
            name, s->c, INT16_MAX / 64 / (int)(s->r * s->r) * 64);
    size_t sample_words = (s->h + 2) * (s->w + 2) * bp_words(s->c);
    if (sample_words > INT32_MAX / s->n)
        return bp_fail(BP_USAGE, "%s: the batch is too large to index; use a smaller --batch",
                       name);
    return BP_OK;
}

static bp_status add_weight_buffers(struct bp_bconv *op, struct bp_plan *plan, const char *name,
                                    int last) {
    const struct bp_conv_shape *s = &op->shape;
    size_t k_round = bp_round_up(s->k, BP_LANES), c_round = bp_round_up(s->c, BP_LANES);
    char text[96];
    const struct {
        const char *what;
        size_t bytes;
        void *where;
        int wanted;
    } buffers[] = {
        {"sign bits", s->k * op->taps * op->cw * 8, &op->bits, 1},
        {"packed weights", k_round * op->taps * op->cw * 8, &op->w, 1},
        {"border table", BORDER_CLASSES * s->k * sizeof(int16_t), &op->border, 1},
        {"transposed sign bits", s->c * op->taps * op->kw * 8, &op->bits_t, op->backward},
        {"packed transposed weights", c_round * op->taps * op->kw * 8, &op->w_t, op->backward},
        {"tap sums", op->taps * s->c * sizeof(int32_t), &op->tap_sum_t, op->backward},
    };
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++) {
        if (!buffers[i].wanted)
            continue;
        snprintf(text, sizeof text, "%s %s", name, buffers[i].what);
        BP_TRY(bp_plan_add(plan, text, buffers[i].bytes, 0, last, buffers[i].where));
    }
    return BP_OK;
}

static bp_status set_up(struct bp_bconv *op, struct bp_exec *exec, struct bp_plan *plan,
                        const char *name, int backward_time, int last_time) {
    BP_TRY(make_tables(op));
    BP_TRY(add_weight_buffers(op, plan, name, last_time));
    size_t scratch = bp_words(op->shape.c) * 64 * sizeof(uint64_t);
    bp_exec_need_scratch(exec, scratch);
    if (!op->backward)
        return BP_OK;
    BP_TRY(bp_quant_check(&op->quant_da, "the activation gradient"));
    BP_TRY(bp_quant_check(&op->quant_dw, "the weight gradient"));
    op->chunk_rows = bp_bconv_chunk_rows(&op->shape);
    BP_TRY(bp_bconv_dgrad_plan(op, exec));
    BP_TRY(bp_bconv_dgrad_buffers(op, exec, plan, name, backward_time));
    return bp_bconv_wgrad_buffers(op, exec, plan, name, backward_time);
}

bp_status bp_bconv_create(struct bp_bconv **out, struct bp_exec *exec, struct bp_plan *plan,
                          const struct bp_conv_shape *shape, const struct bp_quant *quant_da,
                          const struct bp_quant *quant_dw, const char *name, int backward_time,
                          int last_time) {
    *out = NULL;
    BP_TRY(check_shape(shape, name));
    struct bp_bconv *op;
    BP_TRY(bp_alloc(&op, sizeof *op, "a binary convolution"));
    op->shape = *shape;
    op->cw = bp_words(shape->c);
    op->kw = bp_words(shape->k);
    op->taps = shape->r * shape->r;
    op->in_words = (shape->h + 2) * (shape->w + 2) * op->cw;
    op->backward = quant_da != NULL && quant_dw != NULL;
    if (op->backward) {
        op->quant_da = *quant_da;
        op->quant_dw = *quant_dw;
    }
    bp_status status = set_up(op, exec, plan, name, backward_time, last_time);
    if (status != BP_OK) {
        bp_bconv_destroy(op);
        return status;
    }
    *out = op;
    return BP_OK;
}

void bp_bconv_destroy(struct bp_bconv *op) {
    if (op == NULL)
        return;
    bp_free(op->pixel_base);
    bp_free(op->pixel_class);
    bp_free(op->valid);
    for (int i = 0; i < 4; i++) {
        bp_free(op->parity[i].pixel_base);
        bp_free(op->parity[i].pixel_index);
    }
    bp_free(op->in_class);
    bp_free(op->zero_class);
    bp_free(op);
}

/* --- packing weights -------------------------------------------------------------------------- */

struct pack_job {
    struct bp_bconv *op;
    struct bp_exec *exec;
    const float *w;
};

/* Blocks of 32 output channels: signs, then the forward layout. */
static void pack_forward(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    struct pack_job *job = context;
    struct bp_bconv *op = job->op;
    const struct bp_kernels *kernels = &job->exec->kernels;
    size_t first = begin * BP_LANES, last = bp_min_size(end * BP_LANES, op->shape.k);
    size_t row = op->taps * op->cw; /* words of one output channel */
    kernels->sign_pack_f32(job->w + first * op->taps * op->shape.c, (last - first) * op->taps,
                           op->shape.c, op->bits + first * row, NULL);
    kernels->pack_weights(op->bits + first * row, last - first, op->taps, op->cw,
                          op->w + first * row);
}

/* Items (tap, word of 64 output channels): bits_t[c][tap][word] from 64 rows of bits. */
static void transpose_signs(void *context, size_t begin, size_t end, int thread) {
    struct pack_job *job = context;
    struct bp_bconv *op = job->op;
    uint64_t *columns = bp_exec_scratch(job->exec, thread); /* [cw][64] */
    for (size_t item = begin; item < end; item++) {
        size_t tap = item / op->kw, word = item % op->kw;
        size_t rows = bp_min_size(64, op->shape.k - word * 64);
        int32_t offset[64];
        for (size_t i = 0; i < rows; i++)
            offset[i] = (int32_t)(((word * 64 + i) * op->taps + tap) * op->cw);
        job->exec->kernels.transpose_gather(op->bits, offset, rows, op->cw, columns);
        for (size_t c = 0; c < op->shape.c; c++)
            op->bits_t[(c * op->taps + tap) * op->kw + word] = columns[c];
    }
}

static int count_bits(const uint64_t *words, size_t n) {
    int count = 0;
    for (size_t i = 0; i < n; i++)
        count += __builtin_popcountll(words[i]);
    return count;
}

/* Blocks of 32 input channels: the backward layout and the tap sums. */
static void pack_backward(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    struct pack_job *job = context;
    struct bp_bconv *op = job->op;
    size_t first = begin * BP_LANES, last = bp_min_size(end * BP_LANES, op->shape.c);
    size_t row = op->taps * op->kw;
    job->exec->kernels.pack_weights(op->bits_t + first * row, last - first, op->taps, op->kw,
                                    op->w_t + first * row);
    for (size_t c = first; c < last; c++)
        for (size_t t = 0; t < op->taps; t++)
            op->tap_sum_t[t * op->shape.c + c] =
                (int32_t)op->shape.k - 2 * count_bits(op->bits_t + c * row + t * op->kw, op->kw);
}

/* A cut tap read a halo of zero words, that is +1 everywhere, and added its sum of signs; take it
 * back. */
static void fill_border(struct bp_bconv *op) {
    size_t k = op->shape.k;
    memset(op->border, 0, BORDER_CLASSES * k * sizeof *op->border);
    for (size_t t = 0; t < op->taps; t++)
        for (size_t i = 0; i < k; i++) {
            const uint64_t *bits = op->bits + (i * op->taps + t) * op->cw;
            int sum = (int)op->shape.c - 2 * count_bits(bits, op->cw);
            for (unsigned b = 1; b < BORDER_CLASSES; b++)
                if (tap_is_cut(b, t, op->shape.r))
                    op->border[b * k + i] = (int16_t)(op->border[b * k + i] - sum);
        }
}

void bp_bconv_pack(struct bp_bconv *op, struct bp_exec *exec, const float *w) {
    struct pack_job job = {op, exec, w};
    bp_parallel_for(exec->threads, (op->shape.k + BP_LANES - 1) / BP_LANES, pack_forward, &job);
    fill_border(op);
    if (!op->backward)
        return;
    bp_parallel_for(exec->threads, op->taps * op->kw, transpose_signs, &job);
    bp_parallel_for(exec->threads, (op->shape.c + BP_LANES - 1) / BP_LANES, pack_backward, &job);
}

/* --- forward ---------------------------------------------------------------------------------- */

struct forward_job {
    struct bp_bconv *op;
    struct bp_exec *exec;
    const uint64_t *x;
    int16_t *y;
    size_t n;
};

static void add_borders(const struct bp_bconv *op, size_t first, size_t count, int16_t *y) {
    size_t pixels = op->shape.oh * op->shape.ow, k = op->shape.k;
    for (size_t p = 0; p < count; p++) {
        unsigned border_class = op->pixel_class[(first + p) % pixels];
        if (border_class == 0)
            continue;
        const int16_t *add = op->border + border_class * k;
        for (size_t i = 0; i < k; i++)
            y[p * k + i] = (int16_t)(y[p * k + i] + add[i]);
    }
}

/* Items are groups of tile_samples samples, walked in tiles of pixels. */
static void forward_part(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    struct forward_job *job = context;
    struct bp_bconv *op = job->op;
    size_t pixels = op->shape.oh * op->shape.ow, k = op->shape.k;
    int bias = (int)(op->taps * op->shape.c);
    for (size_t item = begin; item < end; item++) {
        size_t sample = item * op->tile_samples;
        size_t total = bp_min_size(op->tile_samples, job->n - sample) * pixels;
        const uint64_t *x = job->x + sample * op->in_words;
        for (size_t first = 0; first < total; first += BP_TILE_PIXELS) {
            size_t count = bp_min_size(BP_TILE_PIXELS, total - first);
            int16_t *y = job->y + (sample * pixels + first) * k;
            job->exec->kernels.product_xor(x, op->pixel_base + first, count, op->tap_offset,
                                           op->taps, op->cw, op->w, k, bias, y);
            add_borders(op, first, count, y);
        }
    }
}

void bp_bconv_forward(struct bp_bconv *op, struct bp_exec *exec, size_t n, const uint64_t *x,
                      int16_t *y) {
    struct forward_job job = {op, exec, x, y, n};
    bp_parallel_for(exec->threads, (n + op->tile_samples - 1) / op->tile_samples, forward_part,
                    &job);
}
