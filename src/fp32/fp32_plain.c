/* Direct convolutions in plain C. All three products are sums of scaled rows (add_scaled_rows),
 * with the longest contiguous run as the row: along k in the forward product, along the taps of one
 * kernel row and their channels (which are neighbours in x, in w and in dw alike) in the backward
 * ones.
 *
 * Samples are independent in the first two products, output channels in the third, so no sum is
 * ever split between workers: the result does not depend on their number, nor on the batch. */
#include <string.h>

#include "fp32/fp32_backend.h"

/* Weight gradients of this many output channels are summed at a time, so that they stay in cache.
 */
#define CHANNEL_TILE 16

struct job {
    const struct bp_conv_shape *shape;
    size_t n;
    const float *left, *right, *bias; /* the operands, in the order of the public call */
    float *out;
    int accumulate;
};

/* The valid taps of one output position on one axis: first .. end - 1, the first at input `at`. */
struct window {
    size_t first, end, at;
};

static struct window window_of(size_t position, size_t size, const struct bp_conv_shape *s) {
    size_t start = position * s->stride; /* in padded coordinates */
    size_t first = start < s->pad ? s->pad - start : 0;
    size_t room = size + s->pad > start ? size + s->pad - start : 0;
    size_t end = bp_min_size(s->r, room);
    if (first >= end)
        return (struct window){0, 0, 0};
    return (struct window){first, end, start + first - s->pad};
}

/* out[j] += sum over i of factor[i * factor_stride] * rows[i * row_stride + j], in order of i. */
static void add_scaled_rows(float *restrict out, size_t length, size_t count,
                            const float *restrict factor, size_t factor_stride,
                            const float *restrict rows, size_t row_stride) {
    size_t i = 0;
    for (; i + 4 <= count; i += 4) {
        const float *row = rows + i * row_stride;
        float a = factor[i * factor_stride], b = factor[(i + 1) * factor_stride];
        float c = factor[(i + 2) * factor_stride], d = factor[(i + 3) * factor_stride];
        for (size_t j = 0; j < length; j++)
            out[j] = out[j] + a * row[j] + b * row[row_stride + j] + c * row[2 * row_stride + j] +
                     d * row[3 * row_stride + j];
    }
    for (; i < count; i++)
        for (size_t j = 0; j < length; j++)
            out[j] += factor[i * factor_stride] * rows[i * row_stride + j];
}

static void transpose_taps(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    const struct job *job = context;
    size_t k = job->shape->k, row = job->shape->r * job->shape->r * job->shape->c;
    for (size_t i = begin; i < end; i++)
        for (size_t o = 0; o < k; o++)
            job->out[i * k + o] = job->right[o * row + i];
}

void bp_plain_transpose(struct bp_exec *exec, const struct bp_conv_shape *shape, const float *w,
                        float *transposed) {
    struct job job = {.shape = shape, .right = w, .out = transposed};
    bp_parallel_for(exec->threads, shape->r * shape->r * shape->c, transpose_taps, &job);
}

static void set_bias(float *y, size_t pixels, size_t k, const float *bias) {
    for (size_t p = 0; p < pixels; p++)
        for (size_t o = 0; o < k; o++)
            y[p * k + o] = bias == NULL ? 0.0F : bias[o];
}

/* One kernel row `a` of one sample: y += x * w, or dx += w * g. */
static void forward_row(const struct bp_conv_shape *s, size_t a, const float *x, const float *w,
                        float *y) {
    for (size_t oy = 0; oy < s->oh; oy++) {
        struct window rows = window_of(oy, s->h, s);
        if (a < rows.first || a >= rows.end)
            continue;
        const float *line = x + (rows.at + a - rows.first) * s->w * s->c;
        for (size_t ox = 0; ox < s->ow; ox++) {
            struct window taps = window_of(ox, s->w, s);
            add_scaled_rows(y + (oy * s->ow + ox) * s->k, s->k, (taps.end - taps.first) * s->c,
                            line + taps.at * s->c, 1, w + (a * s->r + taps.first) * s->c * s->k,
                            s->k);
        }
    }
}

static void backward_row(const struct bp_conv_shape *s, size_t a, const float *g, const float *w,
                         float *dx) {
    for (size_t oy = 0; oy < s->oh; oy++) {
        struct window rows = window_of(oy, s->h, s);
        if (a < rows.first || a >= rows.end)
            continue;
        float *line = dx + (rows.at + a - rows.first) * s->w * s->c;
        for (size_t ox = 0; ox < s->ow; ox++) {
            struct window taps = window_of(ox, s->w, s);
            add_scaled_rows(line + taps.at * s->c, (taps.end - taps.first) * s->c, s->k,
                            g + (oy * s->ow + ox) * s->k, 1, w + (a * s->r + taps.first) * s->c,
                            s->r * s->r * s->c);
        }
    }
}

/* Kernel rows outside, samples inside: a kernel row's weights stay in cache. */
static void forward_samples(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    const struct job *job = context;
    const struct bp_conv_shape *s = job->shape;
    size_t image = s->h * s->w * s->c, map = s->oh * s->ow * s->k;
    set_bias(job->out + begin * map, (end - begin) * s->oh * s->ow, s->k, job->bias);
    for (size_t a = 0; a < s->r; a++)
        for (size_t n = begin; n < end; n++)
            forward_row(s, a, job->left + n * image, job->right, job->out + n * map);
}

void bp_plain_forward(struct bp_exec *exec, const struct bp_conv_shape *shape, size_t n,
                      const float *x, const float *transposed, const float *bias, float *y) {
    struct job job = {
        .shape = shape, .n = n, .left = x, .right = transposed, .bias = bias, .out = y};
    bp_parallel_for(exec->threads, n, forward_samples, &job);
}

static void backward_samples(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    const struct job *job = context;
    const struct bp_conv_shape *s = job->shape;
    size_t image = s->h * s->w * s->c, map = s->oh * s->ow * s->k;
    if (!job->accumulate)
        memset(job->out + begin * image, 0, (end - begin) * image * sizeof(float));
    for (size_t a = 0; a < s->r; a++)
        for (size_t n = begin; n < end; n++)
            backward_row(s, a, job->left + n * map, job->right, job->out + n * image);
}

void bp_plain_backward_data(struct bp_exec *exec, const struct bp_conv_shape *shape, size_t n,
                            const float *g, const float *w, float *dx, int accumulate) {
    struct job job = {
        .shape = shape, .n = n, .left = g, .right = w, .out = dx, .accumulate = accumulate};
    bp_parallel_for(exec->threads, n, backward_samples, &job);
}

/* One line of output positions against one line of x, for one output channel: dw is one kernel row
 * [r][c]. Positions whose taps are all valid (inner .. inner_end - 1) go in one call. */
static void correlate_line(const struct bp_conv_shape *s, const float *x, const float *g,
                           float *dw) {
    size_t inner = (s->pad + s->stride - 1) / s->stride;
    size_t inner_end = s->w + s->pad >= s->r ? (s->w + s->pad - s->r) / s->stride + 1 : 0;
    for (size_t ox = 0; ox < s->ow; ox++) {
        struct window taps = window_of(ox, s->w, s);
        size_t count = ox == inner && inner < inner_end ? inner_end - inner : 1;
        add_scaled_rows(dw + taps.first * s->c, (taps.end - taps.first) * s->c, count,
                        g + ox * s->k, s->k, x + taps.at * s->c, s->stride * s->c);
        ox += count - 1;
    }
}

static void correlate_channels(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    const struct job *job = context;
    const struct bp_conv_shape *s = job->shape;
    size_t kernel = s->r * s->r * s->c;
    memset(job->out + begin * kernel, 0, (end - begin) * kernel * sizeof(float));
    for (size_t tile = begin; tile < end; tile += CHANNEL_TILE)
        for (size_t line = 0; line < job->n * s->oh; line++) {
            struct window rows = window_of(line % s->oh, s->h, s);
            const float *x = job->left + (line / s->oh * s->h + rows.at) * s->w * s->c;
            const float *g = job->right + line * s->ow * s->k;
            for (size_t a = rows.first; a < rows.end; a++, x += s->w * s->c)
                for (size_t o = tile; o < bp_min_size(tile + CHANNEL_TILE, end); o++)
                    correlate_line(s, x, g + o, job->out + o * kernel + a * s->r * s->c);
        }
}

void bp_plain_backward_weights(struct bp_exec *exec, const struct bp_conv_shape *shape, size_t n,
                               const float *x, const float *g, float *dw) {
    struct job job = {.shape = shape, .n = n, .left = x, .right = g, .out = dw};
    bp_parallel_for(exec->threads, shape->k, correlate_channels, &job);
}
