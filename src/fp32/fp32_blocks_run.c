/* The passes of fp32_blocks.c. */
#include <stdatomic.h>
#include <string.h>

#include "base/memory.h"
#include "fp32/fp32_blocks.h"

struct job {
    struct bp_onednn_conv *conv;
    struct bp_exec *exec;
    int which;
    size_t n;
    const char *in, *map;       /* in: x or g of a forward or backward product; map: g for dw */
    size_t in_bytes, map_bytes; /* per sample */
    float *out;
    size_t out_floats; /* per sample */
    int accumulate;
    uint16_t *halves;                          /* in place of out */
    struct bp_channel_sums *sums;              /* of halves */
    const struct bp_onednn_gradient *gradient; /* makes g, in place of map */
    atomic_int status;                         /* oneDNN's, of the last failure in a worker */
};

static bp_status need_spare(struct spare *spare, size_t bytes) {
    if (spare->bytes >= bytes)
        return BP_OK;
    bp_free(spare->at);
    spare->bytes = 0;
    BP_TRY(bp_alloc(&spare->at, bytes, "the last block of a batch"));
    spare->bytes = bytes;
    return BP_OK;
}

/* Copies the samples of the last, incomplete block, with zeros behind. bytes: of a sample. */
static bp_status pad_block(struct spare *spare, const char *all, size_t n, size_t samples,
                           size_t bytes) {
    size_t rest = n % samples;
    if (rest == 0)
        return BP_OK;
    BP_TRY(need_spare(spare, samples * bytes));
    memcpy(spare->at, all + (n - rest) * bytes, rest * bytes);
    memset(spare->at + rest * bytes, 0, (samples - rest) * bytes);
    return BP_OK;
}

static void note_status(struct job *job, int status) {
    if (status != 0)
        atomic_store(&job->status, status);
}

/* Forward and backward data: one block of samples from `in` to job->out. */
static void run_block(struct job *job, int which, size_t block, const void *in, int thread,
                      void *scratch) {
    struct bp_onednn_conv *conv = job->conv;
    struct product *product = &conv->products[which];
    size_t samples = product->samples, first = block * samples;
    size_t count = bp_min_size(samples, job->n - first);
    int direct = count == samples && !job->accumulate;
    float *result = job->out + first * job->out_floats, *out = result;
    if (!direct)
        out = (float *)(void *)conv->staged.at + (size_t)thread * samples * job->out_floats;
    note_status(job, bp_onednn_run(product->onednn, thread, which == FORWARD ? in : out,
                                   which == FORWARD ? out : in, scratch));
    if (job->accumulate)
        for (size_t i = 0; i < count * job->out_floats; i++)
            result[i] += out[i];
    else if (!direct)
        memcpy(result, out, count * job->out_floats * sizeof(float));
}

/* Forward, to halves, by way of floats in the scratch memory. */
static void run_block_to_halves(struct job *job, size_t block, const void *in, int thread) {
    struct bp_onednn_conv *conv = job->conv;
    const struct bp_conv_shape *s = &conv->shape;
    struct product *product = &conv->products[FORWARD];
    size_t first = block * product->samples, count = bp_min_size(product->samples, job->n - first);
    struct bp_carver carver = {bp_exec_scratch(job->exec, thread)};
    void *scratch = bp_carve(&carver, bp_onednn_scratch_bytes(product->onednn));
    float *out = (float *)(void *)carver.next;
    note_status(job, bp_onednn_run(product->onednn, thread, in, out, scratch));
    for (size_t i = first; i < first + count; i++, out += job->out_floats)
        bp_channel_sums_settle_f16(job->sums, &job->exec->kernels, i, out, s->oh * s->ow, s->k,
                                   job->halves + i * job->out_floats);
}

static void run_blocks(void *context, size_t begin, size_t end, int thread) {
    struct job *job = context;
    size_t samples = job->conv->products[job->which].samples;
    for (size_t block = begin; block < end; block++) {
        size_t first = block * samples;
        int full = samples <= job->n - first;
        const char *in = full ? job->in + first * job->in_bytes : job->conv->padded.at;
        if (job->halves != NULL)
            run_block_to_halves(job, block, in, thread);
        else
            run_block(job, job->which, block, in, thread, bp_exec_scratch(job->exec, thread));
    }
}

/* Weights, and room for blocks that do not go straight to the output. */
static bp_status prepare(struct job *job, int which, const void *w, const char *doing) {
    struct bp_onednn_conv *conv = job->conv;
    struct product *product = &conv->products[which];
    size_t threads = (size_t)bp_threads_count(job->exec->threads);
    if (job->halves == NULL && (job->accumulate || job->n % product->samples != 0))
        BP_TRY(need_spare(&conv->staged,
                          threads * product->samples * job->out_floats * sizeof(float)));
    int status = bp_onednn_pack(product->onednn, w, product->weights);
    if (status == 0)
        status = bp_onednn_set_weights(product->onednn, product->weights);
    return status == 0 ? BP_OK : bp_onednn_fail(status, conv->name, doing);
}

static bp_status run_batch(struct job *job, const void *w, const char *doing) {
    struct bp_onednn_conv *conv = job->conv;
    struct product *product = &conv->products[job->which];
    BP_TRY(pad_block(&conv->padded, job->in, job->n, product->samples, job->in_bytes));
    BP_TRY(prepare(job, job->which, w, doing));
    bp_parallel_for(job->exec->threads, blocks_of(product, job->n), run_blocks, job);
    int status = atomic_load(&job->status);
    return status == 0 ? BP_OK : bp_onednn_fail(status, conv->name, doing);
}

static bp_status run_forward(struct job *job, const void *w, const float *bias) {
    struct bp_onednn_conv *conv = job->conv;
    job->which = FORWARD;
    job->in_bytes = image_elements(conv) * operand_bytes(conv);
    job->out_floats = map_elements(conv);
    int status =
        bp_onednn_set_bias(conv->products[FORWARD].onednn, bias != NULL ? bias : conv->no_bias);
    if (status != 0)
        return bp_onednn_fail(status, conv->name, "forward pass");
    return run_batch(job, w, "forward pass");
}

bp_status bp_onednn_forward(struct bp_onednn_conv *conv, struct bp_exec *exec, size_t n,
                            const void *x, const void *w, const float *bias, float *y) {
    struct job job = {.conv = conv, .exec = exec, .n = n, .in = x, .out = y};
    return run_forward(&job, w, bias);
}

bp_status bp_onednn_forward_f16(struct bp_onednn_conv *conv, struct bp_exec *exec, size_t n,
                                const void *x, const void *w, uint16_t *y,
                                struct bp_channel_sums *sums) {
    struct job job = {.conv = conv, .exec = exec, .n = n, .in = x, .halves = y, .sums = sums};
    if (sums != NULL)
        bp_channel_sums_begin(sums, exec, n);
    BP_TRY(run_forward(&job, w, NULL));
    if (sums != NULL)
        bp_channel_sums_end(sums);
    return BP_OK;
}

bp_status bp_onednn_backward_data(struct bp_onednn_conv *conv, struct bp_exec *exec, size_t n,
                                  const void *g, const void *w, float *dx, int accumulate) {
    struct job job = {.conv = conv,
                      .exec = exec,
                      .which = BACKWARD_DATA,
                      .n = n,
                      .in = g,
                      .in_bytes = map_elements(conv) * operand_bytes(conv),
                      .out = dx,
                      .out_floats = image_elements(conv),
                      .accumulate = accumulate};
    return run_batch(&job, w, "backward pass");
}

/* The columns of one slice of g, with zeros for samples that are missing. */
static void *copy_slice(const struct job *job, size_t first, size_t count, size_t slice,
                        char *out) {
    const struct bp_conv_shape *s = &job->conv->shape;
    size_t row_bytes = s->k * operand_bytes(job->conv), width = row_bytes / job->conv->slices;
    size_t pixels = s->oh * s->ow, rows = job->conv->products[BACKWARD_WEIGHTS].samples * pixels;
    for (size_t row = 0; row < count * pixels; row++)
        memcpy(out + row * width, job->map + (first * pixels + row) * row_bytes + slice * width,
               width);
    memset(out + count * pixels * width, 0, (rows - count * pixels) * width);
    return out;
}

/* One partial weight gradient; item = block * slices + slice. */
static void run_weights(struct job *job, size_t item, const void *map, int thread, void *scratch) {
    struct bp_onednn_conv *conv = job->conv;
    struct product *product = &conv->products[BACKWARD_WEIGHTS];
    size_t block = item / conv->slices, slice = item % conv->slices;
    size_t first = block * product->samples, blocks = blocks_of(product, job->n);
    int full = product->samples <= job->n - first;
    char *partial = (char *)product->weights + (slice * blocks + block) * product->packed_bytes;
    int status = bp_onednn_set_gradient(product->onednn, thread, (float *)(void *)partial);
    if (status == 0)
        status =
            bp_onednn_run(product->onednn, thread,
                          full ? job->in + first * job->in_bytes : conv->padded.at, map, scratch);
    note_status(job, status);
}

static void run_weight_items(void *context, size_t begin, size_t end, int thread) {
    struct job *job = context;
    struct bp_onednn_conv *conv = job->conv;
    struct product *product = &conv->products[BACKWARD_WEIGHTS];
    for (size_t item = begin; item < end; item++) {
        size_t first = item / conv->slices * product->samples;
        size_t count = bp_min_size(product->samples, job->n - first);
        struct bp_carver carver = {bp_exec_scratch(job->exec, thread)};
        void *scratch = bp_carve(&carver, bp_onednn_scratch_bytes(product->onednn));
        const void *map =
            count == product->samples ? job->map + first * job->map_bytes : conv->padded_map.at;
        if (conv->slices > 1)
            map = copy_slice(job, first, count, item % conv->slices, carver.next);
        run_weights(job, item, map, thread, scratch);
    }
}

/* Adds the partials of all blocks to the first one's, in order; item = 1024 elements of one slice.
 */
#define SUM_PART ((size_t)1024)

static void add_partials(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    const struct job *job = context;
    const struct product *product = &job->conv->products[BACKWARD_WEIGHTS];
    size_t floats = product->packed_bytes / sizeof(float);
    size_t parts = (floats + SUM_PART - 1) / SUM_PART, blocks = blocks_of(product, job->n);
    for (size_t item = begin; item < end; item++) {
        float *sum = (float *)product->weights + item / parts * blocks * floats;
        size_t first = item % parts * SUM_PART, last = bp_min_size(first + SUM_PART, floats);
        for (size_t block = 1; block < blocks; block++)
            for (size_t i = first; i < last; i++)
                sum[i] += sum[block * floats + i];
    }
}

/* After all partials: their sum, in our layout. */
static bp_status finish_weights(struct job *job, float *dw) {
    struct bp_onednn_conv *conv = job->conv;
    struct product *product = &conv->products[BACKWARD_WEIGHTS];
    size_t blocks = blocks_of(product, job->n), floats = product->packed_bytes / sizeof(float);
    int status = atomic_load(&job->status);
    if (status == 0 && blocks > 1)
        bp_parallel_for(job->exec->threads, conv->slices * ((floats + SUM_PART - 1) / SUM_PART),
                        add_partials, job);
    size_t natural = conv->shape.k / conv->slices * conv->shape.r * conv->shape.r * conv->shape.c;
    for (size_t slice = 0; slice < conv->slices && status == 0; slice++)
        status = bp_onednn_unpack(product->onednn,
                                  (const float *)product->weights + slice * blocks * floats,
                                  dw + slice * natural);
    return status == 0 ? BP_OK : bp_onednn_fail(status, conv->name, "weight gradient");
}

static struct job weights_job(struct bp_onednn_conv *conv, struct bp_exec *exec, size_t n,
                              const void *x) {
    return (struct job){.conv = conv,
                        .exec = exec,
                        .which = BACKWARD_WEIGHTS,
                        .n = n,
                        .in = x,
                        .in_bytes = image_elements(conv) * operand_bytes(conv),
                        .map_bytes = map_elements(conv) * operand_bytes(conv)};
}

bp_status bp_onednn_backward_weights(struct bp_onednn_conv *conv, struct bp_exec *exec, size_t n,
                                     const void *x, const void *g, float *dw) {
    struct product *product = &conv->products[BACKWARD_WEIGHTS];
    struct job job = weights_job(conv, exec, n, x);
    job.map = g;
    BP_TRY(pad_block(&conv->padded, x, n, product->samples, job.in_bytes));
    if (conv->slices == 1)
        BP_TRY(pad_block(&conv->padded_map, g, n, product->samples, job.map_bytes));
    bp_parallel_for(exec->threads, blocks_of(product, n) * conv->slices, run_weight_items, &job);
    return finish_weights(&job, dw);
}

/* Both backward products of one block, whose gradient is made in the cache. */
static void run_backward_blocks(void *context, size_t begin, size_t end, int thread) {
    struct job *job = context;
    struct product *product = &job->conv->products[BACKWARD_WEIGHTS];
    for (size_t block = begin; block < end; block++) {
        size_t first = block * product->samples;
        size_t count = bp_min_size(product->samples, job->n - first);
        struct bp_carver carver = {bp_exec_scratch(job->exec, thread)};
        char *g = bp_carve(&carver, map_block_bytes(job->conv));
        job->gradient->make(job->gradient->context, first, count, g, carver.next);
        memset(g + count * job->map_bytes, 0, (product->samples - count) * job->map_bytes);
        run_weights(job, block, g, thread, carver.next);
        if (job->out != NULL)
            run_block(job, BACKWARD_DATA, block, g, thread, carver.next);
    }
}

bp_status bp_onednn_backward(struct bp_onednn_conv *conv, struct bp_exec *exec, size_t n,
                             const void *x, const struct bp_onednn_gradient *gradient,
                             const void *w, float *dw, float *dx, int accumulate) {
    struct product *product = &conv->products[BACKWARD_WEIGHTS];
    struct job job = weights_job(conv, exec, n, x);
    job.gradient = gradient;
    job.out = dx;
    job.out_floats = image_elements(conv);
    job.accumulate = accumulate;
    BP_TRY(pad_block(&conv->padded, x, n, product->samples, job.in_bytes));
    if (dx != NULL)
        BP_TRY(prepare(&job, BACKWARD_DATA, w, "backward pass"));
    bp_parallel_for(exec->threads, blocks_of(product, n), run_backward_blocks, &job);
    return finish_weights(&job, dw);
}
