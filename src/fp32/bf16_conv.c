#include "fp32/bf16_conv.h"

#include <stdio.h>
#include <string.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "fp32/bf16_pointwise.h"
#include "fp32/fp32_backend.h"
#include "ops/sign_float.h"

enum { CHUNK = 4096, BACKWARD = BP_FP32_BACKWARD_DATA | BP_FP32_BACKWARD_WEIGHTS };

struct bp_bf16_conv {
    struct bp_conv_shape shape;
    unsigned passes;
    struct bp_bf16_pointwise *pointwise; /* where it serves, all passes; else: */
    unsigned native_passes; /* by oneDNN, of bfloat16; the others on widened operands */
    struct bp_onednn_conv *onednn;
    uint16_t *weights; /* planned [k][r][r][c] */
    struct bp_fp32_conv *wide;
    float *wide_weights, *wide_x, *wide_y, *wide_x_back, *wide_g; /* planned */
};

int bp_bf16_is_native(enum bp_fp32_backend backend) {
#ifdef BP_HAVE_ONEDNN
    return backend == BP_FP32_ONEDNN && bp_onednn_multiplies_bf16();
#else
    (void)backend;
    return 0;
#endif
}

/* The tier whose kernels multiply in oneDNN's place, as far as oneDNN's variables let it go, too,
 * so that who caps it caps both; BP_TIER_C: none. Where vectors of bfloat16 are fast, oneDNN stays.
 */
static enum bp_tier pointwise_tier(enum bp_fp32_backend backend) {
#ifdef BP_HAVE_ONEDNN
    if (backend != BP_FP32_ONEDNN)
        return BP_TIER_C;
    if (bp_cpu_has(BP_TIER_AMX) && bp_onednn_multiplies_tiles())
        return BP_TIER_AMX;
    if (bp_cpu_has(BP_TIER_AVX512) && bp_onednn_uses_avx512() &&
        !(bp_onednn_multiplies_bf16() && bp_cpu_has_fast_bf16()))
        return BP_TIER_AVX512;
#else
    (void)backend;
#endif
    return BP_TIER_C;
}

static size_t image_elements(const struct bp_conv_shape *s) {
    return s->h * s->w * s->c;
}

static size_t map_elements(const struct bp_conv_shape *s) {
    return s->oh * s->ow * s->k;
}

static size_t weight_elements(const struct bp_conv_shape *s) {
    return s->k * s->r * s->r * s->c;
}

/* --- creation --------------------------------------------------------------------------------- */

static bp_status add_buffer(struct bp_plan *plan, const char *name, const char *what, size_t bytes,
                            int first, int last, void *at) {
    char text[96];
    snprintf(text, sizeof text, "%s.%s", name, what);
    return bp_plan_add(plan, text, bytes, first, last, at);
}

static bp_status plan_native(struct bp_bf16_conv *conv, struct bp_exec *exec, struct bp_plan *plan,
                             size_t source_scratch, const char *name, int forward_time,
                             int backward_time) {
    const struct bp_conv_shape *s = &conv->shape;
#ifdef BP_HAVE_ONEDNN
    BP_TRY(bp_onednn_create(&conv->onednn, exec, plan, s, 1, conv->passes, name, forward_time,
                            backward_time));
    conv->native_passes = bp_onednn_passes(conv->onednn);
    if ((conv->native_passes & BACKWARD) != (conv->passes & BACKWARD)) /* both, or neither */
        conv->native_passes &= ~(unsigned)BACKWARD;
#endif
    size_t block = bp_fp32_block_samples(s->n) * map_elements(s) * sizeof(uint16_t);
    if (conv->native_passes & BACKWARD)
        bp_exec_need_scratch(exec, bp_round_up(block, BP_ALIGN) + source_scratch);
    return add_buffer(plan, name, "weights_bf16", weight_elements(s) * sizeof(uint16_t),
                      forward_time, conv->passes & BACKWARD ? backward_time : forward_time,
                      &conv->weights);
}

static bp_status plan_wide(struct bp_bf16_conv *conv, struct bp_exec *exec, struct bp_plan *plan,
                           enum bp_fp32_backend backend, size_t source_scratch, const char *name,
                           int forward_time, int backward_time) {
    const struct bp_conv_shape *s = &conv->shape;
    unsigned passes = conv->passes & ~conv->native_passes;
    size_t x_bytes = s->n * image_elements(s) * sizeof(float);
    if (passes == 0)
        return BP_OK;
    BP_TRY(bp_fp32_conv_create(&conv->wide, exec, plan, backend, s, passes, name, forward_time,
                               backward_time));
    BP_TRY(add_buffer(plan, name, "weights_wide", weight_elements(s) * sizeof(float),
                      passes & BP_FP32_FORWARD ? forward_time : backward_time,
                      passes & BACKWARD ? backward_time : forward_time, &conv->wide_weights));
    if (passes & BP_FP32_FORWARD) {
        BP_TRY(
            add_buffer(plan, name, "x_wide", x_bytes, forward_time, forward_time, &conv->wide_x));
        BP_TRY(add_buffer(plan, name, "y_wide", s->n * map_elements(s) * sizeof(float),
                          forward_time, forward_time, &conv->wide_y));
    }
    if ((passes & BACKWARD) == 0)
        return BP_OK;
    bp_exec_need_scratch(exec, source_scratch);
    BP_TRY(add_buffer(plan, name, "x_wide_back", x_bytes, backward_time, backward_time,
                      &conv->wide_x_back));
    return add_buffer(plan, name, "g_wide", s->n * map_elements(s) * sizeof(float), backward_time,
                      backward_time, &conv->wide_g);
}

bp_status bp_bf16_conv_create(struct bp_bf16_conv **out, struct bp_exec *exec, struct bp_plan *plan,
                              enum bp_fp32_backend backend, const struct bp_conv_shape *shape,
                              unsigned passes, size_t source_scratch, const char *name,
                              int forward_time, int backward_time) {
    struct bp_bf16_conv *conv;
    bp_status status = BP_OK;
    *out = NULL;
    BP_TRY(bp_alloc(&conv, sizeof *conv, "a bf16 convolution"));
    conv->shape = *shape;
    conv->passes = passes;
    const enum bp_tier tier = pointwise_tier(backend);
    if (tier != BP_TIER_C && bp_bf16_pointwise_serves(shape)) {
        status = bp_bf16_pointwise_create(&conv->pointwise, exec, plan, tier, shape, passes,
                                          source_scratch, name, forward_time, backward_time);
        conv->native_passes = passes;
    } else if (bp_bf16_is_native(backend))
        status = plan_native(conv, exec, plan, source_scratch, name, forward_time, backward_time);
    if (status == BP_OK)
        status =
            plan_wide(conv, exec, plan, backend, source_scratch, name, forward_time, backward_time);
    if (status != BP_OK) {
        bp_bf16_conv_destroy(conv);
        return status;
    }
    *out = conv;
    return BP_OK;
}

void bp_bf16_conv_destroy(struct bp_bf16_conv *conv) {
    if (conv == NULL)
        return;
#ifdef BP_HAVE_ONEDNN
    bp_onednn_destroy(conv->onednn);
#endif
    bp_bf16_pointwise_destroy(conv->pointwise);
    bp_fp32_conv_destroy(conv->wide);
    bp_free(conv);
}

/* --- widened operands ------------------------------------------------------------------------- */

struct widen_job {
    const struct bp_kernels *kernels;
    const uint16_t *narrow; /* or */
    const float *rounded;   /* floats to round first */
    float *out;
    size_t count;
};

static void widen(const uint16_t *narrow, size_t count, float *out) {
    for (size_t i = 0; i < count; i++) {
        uint32_t bits = (uint32_t)narrow[i] << 16;
        memcpy(&out[i], &bits, sizeof bits);
    }
}

static void widen_part(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    const struct widen_job *job = context;
    uint16_t chunk[CHUNK];
    for (size_t i = begin; i < end; i++) {
        size_t first = i * CHUNK, count = bp_min_size(CHUNK, job->count - first);
        if (job->rounded != NULL)
            job->kernels->round_bf16(job->rounded + first, count, chunk);
        widen(job->rounded != NULL ? chunk : job->narrow + first, count, job->out + first);
    }
}

static void widen_all(struct bp_exec *exec, const uint16_t *narrow, const float *rounded,
                      size_t count, float *out) {
    struct widen_job job = {&exec->kernels, narrow, rounded, out, count};
    bp_parallel_for(exec->threads, (count + CHUNK - 1) / CHUNK, widen_part, &job);
}

struct settle_job {
    const struct bp_kernels *kernels;
    const struct bp_conv_shape *shape;
    float *y;
    uint16_t *out;
    struct bp_channel_sums *sums;
};

/* Items are samples. */
static void settle_part(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    const struct settle_job *job = context;
    const struct bp_conv_shape *s = job->shape;
    size_t map = map_elements(s);
    for (size_t i = begin; i < end; i++)
        bp_channel_sums_settle_f16(job->sums, job->kernels, i, job->y + i * map, s->oh * s->ow,
                                   s->k, job->out + i * map);
}

static bp_status wide_forward(struct bp_bf16_conv *conv, struct bp_exec *exec, size_t n,
                              const uint16_t *x, const float *w, uint16_t *y,
                              struct bp_channel_sums *sums) {
    const struct bp_conv_shape *s = &conv->shape;
    struct settle_job job = {&exec->kernels, s, conv->wide_y, y, sums};
    widen_all(exec, x, NULL, n * image_elements(s), conv->wide_x);
    widen_all(exec, NULL, w, weight_elements(s), conv->wide_weights);
    BP_TRY(bp_fp32_conv_forward(conv->wide, exec, n, conv->wide_x, conv->wide_weights, NULL,
                                conv->wide_y));
    if (sums != NULL)
        bp_channel_sums_begin(sums, exec, n);
    bp_parallel_for(exec->threads, n, settle_part, &job);
    if (sums != NULL)
        bp_channel_sums_end(sums);
    return BP_OK;
}

static bp_status wide_backward(struct bp_bf16_conv *conv, struct bp_exec *exec, size_t n,
                               const uint16_t *x, const struct bp_grad_source *source,
                               const float *w, float *dw, float *dx, int accumulate) {
    const struct bp_conv_shape *s = &conv->shape;
    bp_grad_source_collect(exec, source, n, s->oh, s->ow * s->k, conv->wide_g);
    widen_all(exec, NULL, conv->wide_g, n * map_elements(s), conv->wide_g);
    widen_all(exec, x, NULL, n * image_elements(s), conv->wide_x_back);
    BP_TRY(bp_fp32_conv_backward_weights(conv->wide, exec, n, conv->wide_x_back, conv->wide_g, dw,
                                         NULL));
    if (dx == NULL)
        return BP_OK;
    widen_all(exec, NULL, w, weight_elements(s), conv->wide_weights);
    return bp_fp32_conv_backward_data(conv->wide, exec, n, conv->wide_g, conv->wide_weights, dx,
                                      accumulate);
}

static bp_status check_call(const struct bp_bf16_conv *conv, unsigned passes, size_t n) {
    if ((conv->passes & passes) != passes || n == 0 || n > conv->shape.n)
        return bp_fail(BP_INTERNAL, "bf16 convolution: products %u of %zu samples were not planned",
                       passes, n);
    return BP_OK;
}

/* --- running ---------------------------------------------------------------------------------- */

bp_status bp_bf16_conv_forward(struct bp_bf16_conv *conv, struct bp_exec *exec, size_t n,
                               const uint16_t *x, const float *w, uint16_t *y,
                               struct bp_channel_sums *sums) {
    BP_TRY(check_call(conv, BP_FP32_FORWARD, n));
    if (conv->pointwise != NULL) {
        bp_bf16_pointwise_forward(conv->pointwise, exec, n, x, w, y, sums);
        return BP_OK;
    }
#ifdef BP_HAVE_ONEDNN
    if (conv->native_passes & BP_FP32_FORWARD) {
        exec->kernels.round_bf16(w, weight_elements(&conv->shape), conv->weights);
        return bp_onednn_forward_f16(conv->onednn, exec, n, x, conv->weights, y, sums);
    }
#endif
    return wide_forward(conv, exec, n, x, w, y, sums);
}

#ifdef BP_HAVE_ONEDNN
struct gradient {
    const struct bp_conv_shape *shape;
    const struct bp_grad_source *source;
};

static void make_gradient(const void *context, size_t first, size_t count, void *g, void *scratch) {
    const struct gradient *gradient = context;
    const struct bp_conv_shape *s = gradient->shape;
    const struct bp_grad_source *source = gradient->source;
    for (size_t i = 0; i < count; i++)
        source->rows_bf16(source->context, first + i, 0, s->oh, (uint16_t *)g + i * map_elements(s),
                          scratch);
}
#endif

bp_status bp_bf16_conv_backward(struct bp_bf16_conv *conv, struct bp_exec *exec, size_t n,
                                const uint16_t *x, const struct bp_grad_source *source,
                                const float *w, float *dw, float *dx, int accumulate) {
    BP_TRY(check_call(conv, dx != NULL ? BACKWARD : BP_FP32_BACKWARD_WEIGHTS, n));
    if (conv->pointwise != NULL) {
        bp_bf16_pointwise_backward(conv->pointwise, exec, n, x, source, w, dw, dx, accumulate);
        return BP_OK;
    }
#ifdef BP_HAVE_ONEDNN
    if (conv->native_passes & BACKWARD) {
        const struct gradient made = {&conv->shape, source};
        const struct bp_onednn_gradient gradient = {make_gradient, &made};
        exec->kernels.round_bf16(w, weight_elements(&conv->shape), conv->weights);
        return bp_onednn_backward(conv->onednn, exec, n, x, &gradient, conv->weights, dw, dx,
                                  accumulate);
    }
#endif
    return wide_backward(conv, exec, n, x, source, w, dw, dx, accumulate);
}
