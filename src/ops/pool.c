#include "ops/pool.h"

#include <string.h>

/* The input rows or columns begin .. end - 1 of one window along one axis. */
struct window {
    size_t begin, end;
};

static struct window window_of(enum bp_pool_kind kind, size_t out, size_t size) {
    switch (kind) {
    case BP_POOL_MAX_3X3_S2: {
        size_t begin = out == 0 ? 0 : 2 * out - 1;
        return (struct window){begin, bp_min_size(2 * out + 2, size)};
    }
    case BP_POOL_AVG_2X2:
        return (struct window){2 * out, bp_min_size(2 * out + 2, size)};
    case BP_POOL_GLOBAL_AVG:
        break;
    }
    return (struct window){0, size};
}

struct bp_pool_shape bp_pool_shape_make(enum bp_pool_kind kind, size_t h, size_t w, size_t c) {
    struct bp_pool_shape shape = {kind, h, w, c, 1, 1};
    if (kind != BP_POOL_GLOBAL_AVG) {
        shape.oh = (h + 1) / 2;
        shape.ow = (w + 1) / 2;
    }
    return shape;
}

struct pool_job {
    const struct bp_pool_shape *shape;
    const float *x, *g;
    float *z, *dx;
    uint8_t *winner;            /* forward */
    const uint8_t *from_winner; /* backward */
    const struct bp_kernels *kernels;
    int accumulate;
};

size_t bp_pool_winner_bytes(const struct bp_pool_shape *shape, size_t n) {
    return shape->kind == BP_POOL_MAX_3X3_S2 ? n * shape->oh * shape->ow * shape->c : 0;
}

size_t bp_pool_first_row(const struct bp_pool_shape *shape, size_t y) {
    return window_of(shape->kind, y, shape->h).begin;
}

/* The windows inside the image in one call, those at its sides alone: the columns of the window at
 * ox and how many from there on are like it. */
static struct window like_windows(const struct bp_pool_shape *s, size_t ox, size_t *count) {
    struct window columns = window_of(s->kind, ox, s->w);
    *count = columns.end - columns.begin == 3 ? (s->w - columns.begin - 1) / 2 : 1;
    return columns;
}

void bp_pool_max_row_i16(const struct bp_pool_shape *s, const struct bp_kernels *kernels, size_t y,
                         const int16_t *x, const int16_t *flip, int16_t *z, uint8_t *winner) {
    struct window rows = window_of(s->kind, y, s->h);
    for (size_t ox = 0, count; ox < s->ow; ox += count) {
        struct window columns = like_windows(s, ox, &count);
        kernels->max_window_i16(x + columns.begin * s->c, count, 2 * s->c, rows.end - rows.begin,
                                columns.end - columns.begin, s->w * s->c, s->c, flip, z + ox * s->c,
                                winner + ox * s->c);
    }
}

void bp_pool_max_row(const struct bp_pool_shape *s, const struct bp_kernels *kernels, size_t y,
                     const float *x, float *z, uint8_t *winner) {
    struct window rows = window_of(s->kind, y, s->h);
    for (size_t ox = 0, count; ox < s->ow; ox += count) {
        struct window columns = like_windows(s, ox, &count);
        size_t width = columns.end - columns.begin;
        kernels->max_window(x + columns.begin * s->c, count, 2 * s->c, rows.end - rows.begin, width,
                            s->w * s->c, s->c, z + ox * s->c,
                            winner == NULL ? NULL : winner + ox * s->c);
    }
}

static void max_row(const struct pool_job *job, size_t n, size_t y) {
    const struct bp_pool_shape *s = job->shape;
    size_t at = (n * s->oh + y) * s->ow * s->c;
    bp_pool_max_row(s, job->kernels, y, job->x + (n * s->h + bp_pool_first_row(s, y)) * s->w * s->c,
                    job->z + at, job->winner == NULL ? NULL : job->winner + at);
}

static void average_window(const struct bp_pool_shape *s, const float *x, struct window rows,
                           struct window columns, float *z) {
    float scale = 1.0f / (float)((rows.end - rows.begin) * (columns.end - columns.begin));
    memset(z, 0, s->c * sizeof(float));
    for (size_t y = rows.begin; y < rows.end; y++)
        for (size_t i = columns.begin; i < columns.end; i++)
            for (size_t j = 0; j < s->c; j++)
                z[j] += x[(y * s->w + i) * s->c + j];
    for (size_t j = 0; j < s->c; j++)
        z[j] *= scale;
}

static void forward_part(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    struct pool_job *job = context;
    const struct bp_pool_shape *s = job->shape;
    for (size_t n = begin; n < end; n++)
        for (size_t y = 0; y < s->oh; y++) {
            if (s->kind == BP_POOL_MAX_3X3_S2) {
                max_row(job, n, y);
                continue;
            }
            for (size_t i = 0; i < s->ow; i++)
                average_window(s, job->x + n * s->h * s->w * s->c, window_of(s->kind, y, s->h),
                               window_of(s->kind, i, s->w),
                               job->z + ((n * s->oh + y) * s->ow + i) * s->c);
        }
}

void bp_pool_forward(const struct bp_pool_shape *shape, struct bp_exec *exec, size_t n,
                     const float *x, float *z, uint8_t *winner) {
    struct pool_job job = {
        .shape = shape, .x = x, .z = z, .winner = winner, .kernels = &exec->kernels};
    bp_parallel_for(exec->threads, n, forward_part, &job);
}

struct bf16_job {
    const struct bp_pool_shape *shape;
    struct bp_exec *exec;
    const uint16_t *x;
    uint16_t *z;
};

size_t bp_pool_bf16_scratch_bytes(const struct bp_pool_shape *s) {
    return 2 * s->w * s->c * sizeof(float);
}

/* begin .. end - 1: rows of the output, sample by sample. The windows of full width in one call. */
static void bf16_part(void *context, size_t begin, size_t end, int thread) {
    const struct bf16_job *job = context;
    const struct bp_kernels *kernels = &job->exec->kernels;
    const struct bp_pool_shape *s = job->shape;
    float *x = bp_exec_scratch(job->exec, thread);
    for (size_t i = begin; i < end; i++) {
        struct window rows = window_of(s->kind, i % s->oh, s->h);
        size_t row = s->w * s->c, height = rows.end - rows.begin, full = s->w / 2;
        uint16_t *z = job->z + i * s->ow * s->c;
        kernels->widen_f16(job->x + (i / s->oh * s->h + rows.begin) * row, height * row, x);
        if (full > 0)
            kernels->average_bf16(x, full, 2 * s->c, height, 2, row, s->c, z);
        if (s->w % 2 != 0)
            kernels->average_bf16(x + 2 * full * s->c, 1, 2 * s->c, height, 1, row, s->c,
                                  z + full * s->c);
    }
}

void bp_pool_forward_bf16(const struct bp_pool_shape *shape, struct bp_exec *exec, size_t n,
                          const uint16_t *x, uint16_t *z) {
    struct bf16_job job = {shape, exec, x, z};
    bp_parallel_for(exec->threads, n * shape->oh, bf16_part, &job);
}

/* The windows of one axis that input `in` lies in: out = begin .. end - 1. */
static struct window windows_over(size_t in, size_t out_size) {
    return (struct window){in / 2, bp_min_size((in + 1) / 2 + 1, out_size)};
}

/* How many of the pixels x, x + 2, .. lie in windows of full width alone, at the same places; at
 * least the one at x. */
static size_t like_pixels(const struct bp_pool_shape *s, size_t x) {
    if (x < 2 || 2 * ((x + 1) / 2) + 2 > s->w)
        return 1;
    return (s->w - 2 * ((x + 1) / 2) - 2) / 2 + 1;
}

size_t bp_pool_rows_over(const struct bp_pool_shape *s, size_t y, size_t rows, size_t *count) {
    size_t first = windows_over(y, s->oh).begin;
    *count = windows_over(y + rows - 1, s->oh).end - first;
    return first;
}

/* The pixels at even places, then the others. */
void bp_pool_max_row_back(const struct bp_pool_shape *s, const struct bp_kernels *kernels, size_t y,
                          size_t first, const float *g, const uint8_t *winner, int accumulate,
                          float *dx) {
    struct window over_y = windows_over(y, s->oh);
    for (size_t i = 0, n; i < s->w; i += n) {
        size_t evens = (s->w + 1) / 2, x = i < evens ? 2 * i : 2 * (i - evens) + 1;
        struct window over_x = windows_over(x, s->ow);
        size_t offset[4], count = 0;
        uint8_t index[4];
        n = like_pixels(s, x);
        for (size_t oy = over_y.begin; oy < over_y.end; oy++)
            for (size_t ox = over_x.begin; ox < over_x.end; ox++) {
                struct window rows = window_of(s->kind, oy, s->h);
                struct window columns = window_of(s->kind, ox, s->w);
                offset[count] = ((oy - first) * s->ow + ox) * s->c;
                index[count++] = (uint8_t)((y - rows.begin) * (columns.end - columns.begin) +
                                           (x - columns.begin));
            }
        kernels->max_window_back(g, winner, offset, index, count, n, s->c, 2 * s->c, accumulate,
                                 dx + x * s->c);
    }
}

void bp_pool_average_back(const struct bp_pooled_gradient *pooled, const struct bp_kernels *kernels,
                          size_t n, size_t row, size_t rows, int accumulate, float *dx) {
    const struct bp_pool_shape *s = &pooled->shape;
    size_t full = s->w / 2; /* windows of full width */
    for (size_t y = row; y < row + rows; y++, dx += s->w * s->c) {
        struct window over = window_of(s->kind, y / 2, s->h);
        const float *g = pooled->g + (n * s->oh + y / 2) * s->ow * s->c;
        float scale = 1.0f / (float)(over.end - over.begin);
        if (full > 0)
            kernels->average_back(g, full, 2, s->c, 0.5f * scale, accumulate, dx);
        if (s->w % 2 != 0)
            kernels->average_back(g + full * s->c, 1, 1, s->c, scale, accumulate,
                                  dx + 2 * full * s->c);
    }
}

/* The whole image is one window. */
static void global_average_back(const struct bp_pool_shape *s, const float *g, int accumulate,
                                float *dx) {
    float scale = 1.0f / (float)(s->h * s->w);
    for (size_t p = 0; p < s->h * s->w; p++, dx += s->c)
        for (size_t j = 0; j < s->c; j++)
            dx[j] = (accumulate ? dx[j] : 0.0f) + scale * g[j];
}

static void backward_part(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    struct pool_job *job = context;
    const struct bp_pool_shape *s = job->shape;
    size_t image = s->h * s->w * s->c;
    for (size_t n = begin; n < end; n++) {
        float *dx = job->dx + n * image;
        size_t from = n * s->oh * s->ow * s->c;
        const struct bp_pooled_gradient pooled = {*s, job->g};
        switch (s->kind) {
        case BP_POOL_MAX_3X3_S2:
            for (size_t y = 0; y < s->h; y++)
                bp_pool_max_row_back(s, job->kernels, y, 0, job->g + from, job->from_winner + from,
                                     job->accumulate, dx + y * s->w * s->c);
            break;
        case BP_POOL_AVG_2X2:
            bp_pool_average_back(&pooled, job->kernels, n, 0, s->h, job->accumulate, dx);
            break;
        case BP_POOL_GLOBAL_AVG:
            global_average_back(s, job->g + from, job->accumulate, dx);
            break;
        }
    }
}

void bp_pool_backward(const struct bp_pool_shape *shape, struct bp_exec *exec, size_t n,
                      const uint8_t *winner, const float *g, float *dx, int accumulate) {
    struct pool_job job = {.shape = shape,
                           .g = g,
                           .dx = dx,
                           .from_winner = winner,
                           .accumulate = accumulate,
                           .kernels = &exec->kernels};
    bp_parallel_for(exec->threads, n, backward_part, &job);
}
