#include "ops/sign_float.h"

#include <math.h>

struct float_job {
    const uint64_t *bits;
    const float *w;
    float *out;
    size_t h, width, c;
    const struct bp_exec *exec;
    const struct bp_grad_source *source;
};

static void unpack_row(const uint64_t *bits, size_t c, float *a) {
    for (size_t i = 0; i < c; i++)
        a[i] = bp_bit(bits, i) ? -1.0f : 1.0f;
}

static void unpack_part(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    struct float_job *job = context;
    size_t cw = bp_words(job->c);
    for (size_t row = begin; row < end; row++) { /* row = sample * h + y */
        size_t sample = row / job->h, y = row % job->h;
        const uint64_t *bits =
            job->bits + ((sample * (job->h + 2) + y + 1) * (job->width + 2) + 1) * cw;
        for (size_t x = 0; x < job->width; x++)
            unpack_row(bits + x * cw, job->c, job->out + (row * job->width + x) * job->c);
    }
}

void bp_sign_float_unpack(struct bp_exec *exec, const uint64_t *bits, size_t n, size_t h, size_t w,
                          size_t c, float *a) {
    struct float_job job = {.bits = bits, .out = a, .h = h, .width = w, .c = c};
    bp_parallel_for(exec->threads, n * h, unpack_part, &job);
}

static void sign_part(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    struct float_job *job = context;
    for (size_t i = begin; i < end; i++)
        job->out[i] = job->w[i] < 0.0f ? -1.0f : 1.0f;
}

void bp_sign_float_of(struct bp_exec *exec, const float *w, size_t count, float *out) {
    struct float_job job = {.w = w, .out = out};
    bp_parallel_for(exec->threads, count, sign_part, &job);
}

static void mask_part(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    struct float_job *job = context;
    size_t cw = bp_words(job->c);
    for (size_t p = begin; p < end; p++)
        for (size_t i = 0; i < job->c; i++)
            if (!bp_bit(job->bits + p * cw, i))
                job->out[p * job->c + i] = 0.0f;
}

void bp_sign_float_mask(struct bp_exec *exec, const uint64_t *mask, size_t pixels, size_t c,
                        float *dx) {
    struct float_job job = {.bits = mask, .out = dx, .c = c};
    bp_parallel_for(exec->threads, pixels, mask_part, &job);
}

static void mask_latent_part(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    struct float_job *job = context;
    for (size_t i = begin; i < end; i++)
        job->out[i] = fabsf(job->w[i]) < 1.0f ? job->out[i] : 0.0f;
}

void bp_sign_float_mask_latent(struct bp_exec *exec, const float *w, size_t count, float *dw) {
    struct float_job job = {.w = w, .out = dw};
    bp_parallel_for(exec->threads, count, mask_latent_part, &job);
}

static void collect_part(void *context, size_t begin, size_t end, int thread) {
    struct float_job *job = context;
    void *scratch = bp_exec_scratch(job->exec, thread);
    for (size_t n = begin; n < end; n++)
        job->source->rows(job->source->context, n, 0, job->h, job->out + n * job->h * job->width,
                          scratch);
}

void bp_grad_source_collect(struct bp_exec *exec, const struct bp_grad_source *source, size_t n,
                            size_t oh, size_t row_elements, float *g) {
    struct float_job job = {
        .out = g, .h = oh, .width = row_elements, .exec = exec, .source = source};
    bp_parallel_for(exec->threads, n, collect_part, &job);
}
