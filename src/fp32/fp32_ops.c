#include "fp32/fp32_ops.h"

#include <stdio.h>

#include "base/memory.h"
#include "fp32/fp32_backend.h"

/* "Up to 8": small enough for weights to be read few times and for few partial weight gradients,
 * large enough for the workers of common machines (more than 8 do not speed up one product). */
#define MAX_BLOCKS ((size_t)8)

struct bp_fp32_conv {
    struct bp_conv_shape shape;
    unsigned passes;
    unsigned onednn_passes; /* those of them that oneDNN runs */
    struct bp_onednn_conv *onednn;
    float *transposed; /* [r][r][c][k], for the plain forward product */
    double *bias_sums; /* [blocks][k] */
};

enum bp_fp32_backend bp_fp32_default(void) {
#ifdef BP_HAVE_ONEDNN
    return BP_FP32_ONEDNN;
#else
    return BP_FP32_PLAIN;
#endif
}

const char *bp_fp32_backend_name(enum bp_fp32_backend backend) {
#ifdef BP_HAVE_ONEDNN
    if (backend == BP_FP32_ONEDNN)
        return bp_onednn_name();
#endif
    (void)backend;
    return "plain C";
}

size_t bp_fp32_block_samples(size_t n) {
    return n <= MAX_BLOCKS ? 1 : (n + MAX_BLOCKS - 1) / MAX_BLOCKS;
}

static size_t block_count(size_t n, size_t samples) {
    return (n + samples - 1) / samples;
}

static bp_status plan_buffers(struct bp_fp32_conv *conv, struct bp_plan *plan, const char *name,
                              int forward_time, int backward_time) {
    const struct bp_conv_shape *s = &conv->shape;
    char label[64];
    if (conv->passes & ~conv->onednn_passes & BP_FP32_FORWARD) {
        snprintf(label, sizeof label, "%.40s.weights_forward", name);
        BP_TRY(bp_plan_add(plan, label, s->k * s->r * s->r * s->c * sizeof(float), forward_time,
                           forward_time, &conv->transposed));
    }
    if (conv->passes & BP_FP32_BACKWARD_WEIGHTS) {
        size_t blocks = block_count(s->n, bp_fp32_block_samples(s->n));
        snprintf(label, sizeof label, "%.40s.bias_sums", name);
        BP_TRY(bp_plan_add(plan, label, blocks * s->k * sizeof(double), backward_time,
                           backward_time, &conv->bias_sums));
    }
    return BP_OK;
}

static bp_status create_backend(struct bp_fp32_conv *conv, struct bp_exec *exec,
                                struct bp_plan *plan, enum bp_fp32_backend backend,
                                const char *name, int forward_time, int backward_time) {
    if (backend == BP_FP32_ONEDNN) {
#ifdef BP_HAVE_ONEDNN
        BP_TRY(bp_onednn_create(&conv->onednn, exec, plan, &conv->shape, 0, conv->passes, name,
                                forward_time, backward_time));
        conv->onednn_passes = bp_onednn_passes(conv->onednn);
#else
        (void)exec;
        return bp_fail(BP_USAGE, "%s: this build has no oneDNN; use the plain C backend", name);
#endif
    }
    return plan_buffers(conv, plan, name, forward_time, backward_time);
}

bp_status bp_fp32_conv_create(struct bp_fp32_conv **out, struct bp_exec *exec, struct bp_plan *plan,
                              enum bp_fp32_backend backend, const struct bp_conv_shape *shape,
                              unsigned passes, const char *name, int forward_time,
                              int backward_time) {
    struct bp_fp32_conv *conv;
    *out = NULL;
    BP_TRY(bp_alloc(&conv, sizeof *conv, "an fp32 convolution"));
    conv->shape = *shape;
    conv->passes = passes;
    bp_status status = create_backend(conv, exec, plan, backend, name, forward_time, backward_time);
    if (status != BP_OK) {
        bp_fp32_conv_destroy(conv);
        return status;
    }
    *out = conv;
    return BP_OK;
}

void bp_fp32_conv_destroy(struct bp_fp32_conv *conv) {
    if (conv == NULL)
        return;
#ifdef BP_HAVE_ONEDNN
    bp_onednn_destroy(conv->onednn);
#endif
    bp_free(conv);
}

static bp_status check_call(const struct bp_fp32_conv *conv, unsigned pass, size_t n) {
    if ((conv->passes & pass) == 0 || n == 0 || n > conv->shape.n)
        return bp_fail(BP_INTERNAL, "fp32 convolution: product %u of %zu samples was not planned",
                       pass, n);
    return BP_OK;
}

bp_status bp_fp32_conv_forward(struct bp_fp32_conv *conv, struct bp_exec *exec, size_t n,
                               const float *x, const float *w, const float *bias, float *y) {
    BP_TRY(check_call(conv, BP_FP32_FORWARD, n));
#ifdef BP_HAVE_ONEDNN
    if (conv->onednn_passes & BP_FP32_FORWARD)
        return bp_onednn_forward(conv->onednn, exec, n, x, w, bias, y);
#endif
    bp_plain_transpose(exec, &conv->shape, w, conv->transposed);
    bp_plain_forward(exec, &conv->shape, n, x, conv->transposed, bias, y);
    return BP_OK;
}

bp_status bp_fp32_conv_backward_data(struct bp_fp32_conv *conv, struct bp_exec *exec, size_t n,
                                     const float *g, const float *w, float *dx, int accumulate) {
    BP_TRY(check_call(conv, BP_FP32_BACKWARD_DATA, n));
#ifdef BP_HAVE_ONEDNN
    if (conv->onednn_passes & BP_FP32_BACKWARD_DATA)
        return bp_onednn_backward_data(conv->onednn, exec, n, g, w, dx, accumulate);
#endif
    bp_plain_backward_data(exec, &conv->shape, n, g, w, dx, accumulate);
    return BP_OK;
}

struct bias_job {
    const float *g;
    double *sums;
    size_t n, samples, pixels, k;
};

/* Both backends share this: per block in order of the rows, in double. */
static void sum_bias_blocks(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    const struct bias_job *job = context;
    for (size_t block = begin; block < end; block++) {
        size_t last = bp_min_size((block + 1) * job->samples, job->n) * job->pixels;
        double *sum = job->sums + block * job->k;
        for (size_t i = 0; i < job->k; i++)
            sum[i] = 0;
        for (size_t p = block * job->samples * job->pixels; p < last; p++)
            for (size_t i = 0; i < job->k; i++)
                sum[i] += (double)job->g[p * job->k + i];
    }
}

static void bias_gradient(struct bp_fp32_conv *conv, struct bp_exec *exec, size_t n, const float *g,
                          float *dbias) {
    const struct bp_conv_shape *s = &conv->shape;
    struct bias_job job = {g, conv->bias_sums, n, bp_fp32_block_samples(s->n), s->oh * s->ow, s->k};
    size_t blocks = block_count(n, job.samples);
    bp_parallel_for(exec->threads, blocks, sum_bias_blocks, &job);
    for (size_t i = 0; i < s->k; i++) {
        double sum = 0;
        for (size_t block = 0; block < blocks; block++)
            sum += conv->bias_sums[block * s->k + i];
        dbias[i] = (float)sum;
    }
}

bp_status bp_fp32_conv_backward_weights(struct bp_fp32_conv *conv, struct bp_exec *exec, size_t n,
                                        const float *x, const float *g, float *dw, float *dbias) {
    BP_TRY(check_call(conv, BP_FP32_BACKWARD_WEIGHTS, n));
    if (dbias != NULL)
        bias_gradient(conv, exec, n, g, dbias);
#ifdef BP_HAVE_ONEDNN
    if (conv->onednn_passes & BP_FP32_BACKWARD_WEIGHTS)
        return bp_onednn_backward_weights(conv->onednn, exec, n, x, g, dw);
#endif
    bp_plain_backward_weights(exec, &conv->shape, n, x, g, dw);
    return BP_OK;
}
