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
    int accumulate;
};

static void max_window(const struct bp_pool_shape *s, const float *x, struct window rows,
                       struct window columns, float *z) {
    memcpy(z, x + (rows.begin * s->w + columns.begin) * s->c, s->c * sizeof(float));
    for (size_t y = rows.begin; y < rows.end; y++)
        for (size_t i = columns.begin; i < columns.end; i++) {
            const float *v = x + (y * s->w + i) * s->c;
            for (size_t j = 0; j < s->c; j++)
                z[j] = v[j] > z[j] || v[j] != v[j] ? v[j] : z[j];
        }
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
        for (size_t p = 0; p < s->oh * s->ow; p++) {
            struct window rows = window_of(s->kind, p / s->ow, s->h);
            struct window columns = window_of(s->kind, p % s->ow, s->w);
            const float *x = job->x + n * s->h * s->w * s->c;
            float *z = job->z + (n * s->oh * s->ow + p) * s->c;
            if (s->kind == BP_POOL_MAX_3X3_S2)
                max_window(s, x, rows, columns, z);
            else
                average_window(s, x, rows, columns, z);
        }
}

void bp_pool_forward(const struct bp_pool_shape *shape, struct bp_exec *exec, size_t n,
                     const float *x, float *z) {
    struct pool_job job = {.shape = shape, .x = x, .z = z};
    bp_parallel_for(exec->threads, n, forward_part, &job);
}

static void max_window_back(const struct bp_pool_shape *s, const float *x, struct window rows,
                            struct window columns, const float *g, float *dx) {
    for (size_t j = 0; j < s->c; j++) {
        size_t winner = (rows.begin * s->w + columns.begin) * s->c + j;
        for (size_t y = rows.begin; y < rows.end; y++)
            for (size_t i = columns.begin; i < columns.end; i++) {
                size_t at = (y * s->w + i) * s->c + j;
                if (x[at] > x[winner] || x[at] != x[at])
                    winner = at;
            }
        dx[winner] += g[j];
    }
}

static void average_window_back(const struct bp_pool_shape *s, struct window rows,
                                struct window columns, const float *g, float *dx) {
    float scale = 1.0f / (float)((rows.end - rows.begin) * (columns.end - columns.begin));
    for (size_t y = rows.begin; y < rows.end; y++)
        for (size_t i = columns.begin; i < columns.end; i++)
            for (size_t j = 0; j < s->c; j++)
                dx[(y * s->w + i) * s->c + j] += scale * g[j];
}

static void backward_part(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    struct pool_job *job = context;
    const struct bp_pool_shape *s = job->shape;
    size_t image = s->h * s->w * s->c;
    for (size_t n = begin; n < end; n++) {
        float *dx = job->dx + n * image;
        if (!job->accumulate)
            memset(dx, 0, image * sizeof(float));
        for (size_t p = 0; p < s->oh * s->ow; p++) {
            struct window rows = window_of(s->kind, p / s->ow, s->h);
            struct window columns = window_of(s->kind, p % s->ow, s->w);
            const float *g = job->g + (n * s->oh * s->ow + p) * s->c;
            if (s->kind == BP_POOL_MAX_3X3_S2)
                max_window_back(s, job->x + n * image, rows, columns, g, dx);
            else
                average_window_back(s, rows, columns, g, dx);
        }
    }
}

void bp_pool_backward(const struct bp_pool_shape *shape, struct bp_exec *exec, size_t n,
                      const float *x, const float *g, float *dx, int accumulate) {
    struct pool_job job = {.shape = shape, .x = x, .g = g, .dx = dx, .accumulate = accumulate};
    bp_parallel_for(exec->threads, n, backward_part, &job);
}
