#include "ops/op.h"

#include "base/clock.h"
#include "base/memory.h"

bp_status bp_exec_create(struct bp_exec **out, enum bp_tier tier, int threads) {
    struct bp_exec *exec;
    *out = NULL;
    BP_TRY(bp_alloc(&exec, sizeof *exec, "the execution context"));
    exec->tier = tier;
    exec->stream_bytes = bp_cpu_last_cache() / 4; /* 8 MiB of 32 were measured */
    bp_kernels_init(&exec->kernels, tier);
    bp_status status = bp_threads_create(&exec->threads, threads);
    if (status != BP_OK) {
        bp_free(exec);
        return status;
    }
    *out = exec;
    return BP_OK;
}

void bp_exec_destroy(struct bp_exec *exec) {
    if (exec == NULL)
        return;
    bp_threads_destroy(exec->threads);
    bp_free(exec->scratch);
    bp_free(exec);
}

void bp_exec_spent(struct bp_exec *exec, enum bp_spent part, uint64_t *since_ns) {
    uint64_t now = bp_clock_ns();
    exec->spent_ns[part] += now - *since_ns;
    *since_ns = now;
}

void bp_exec_need_scratch(struct bp_exec *exec, size_t bytes) {
    bytes = bp_round_up(bytes, BP_ALIGN);
    if (bytes > exec->scratch_bytes)
        exec->scratch_bytes = bytes;
}

bp_status bp_exec_allocate(struct bp_exec *exec) {
    bp_free(exec->scratch);
    return bp_alloc_array(&exec->scratch, (size_t)bp_threads_count(exec->threads),
                          exec->scratch_bytes, "scratch memory of the workers");
}

void *bp_exec_scratch(const struct bp_exec *exec, int thread) {
    return exec->scratch + (size_t)thread * exec->scratch_bytes;
}

void *bp_carve(struct bp_carver *carver, size_t bytes) {
    void *part = carver->next;
    carver->next += bp_round_up(bytes, BP_ALIGN);
    return part;
}

bp_status bp_conv_shape_set(struct bp_conv_shape *shape, size_t n, size_t h, size_t w, size_t c,
                            size_t k, size_t r, size_t stride, size_t pad) {
    if (n == 0 || c == 0 || k == 0 || stride == 0 || r == 0 || h + 2 * pad < r || w + 2 * pad < r)
        return bp_fail(BP_INTERNAL, "impossible convolution: %zux%zux%zu, kernel %zu, stride %zu",
                       h, w, c, r, stride);
    *shape = (struct bp_conv_shape){
        .n = n, .h = h, .w = w, .c = c, .k = k, .r = r, .stride = stride, .pad = pad};
    shape->oh = (h + 2 * pad - r) / stride + 1;
    shape->ow = (w + 2 * pad - r) / stride + 1;
    return BP_OK;
}

struct bp_gradient_rows bp_gradient_at(const struct bp_gradient *g, size_t n, size_t first) {
    int has_scale = g->floats == NULL && g->bf16 == NULL;
    struct bp_gradient_rows all = {g->floats, g->sums, has_scale ? g->scale[n] : 0.0f, g->bf16};
    return bp_gradient_from(&all, first);
}

struct bp_gradient_rows bp_gradient_in(const struct bp_gradient *g,
                                       const struct bp_kernels *kernels, size_t n, size_t first,
                                       size_t count, float *buffer) {
    if (g->floats != NULL || g->bf16 == NULL)
        return bp_gradient_at(g, n, first);
    kernels->widen_bf16(g->bf16 + first, count, buffer);
    return (struct bp_gradient_rows){.floats = buffer};
}
