/* Whole batches through oneDNN's single-threaded primitives (fp32_onednn.c): each block of samples
 * is run by one worker. A batch's last block is run at full size with zero samples behind, so that
 * there is one primitive per product and a sample's result does not depend on how the batch was
 * cut.
 *
 * Weights are packed into the primitive's layout once per call. Weight gradients: one partial per
 * block, added in order of the blocks. Where weights are large, partials are few (wide blocks) and
 * output channels are sliced instead: see set_weight_blocks. */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "fp32/fp32_backend.h"
#include "fp32/fp32_onednn.h"

enum { FORWARD = BP_ONEDNN_FORWARD, BACKWARD_DATA, BACKWARD_WEIGHTS, PRODUCTS };

struct product {
    struct bp_onednn_product *onednn;
    size_t samples; /* of one block */
    size_t packed_floats;
    float *weights; /* planned: packed weights, or partial gradients [slices][blocks] */
};

/* Memory that only unusual calls need (a last block that is not full, accumulation): taken at the
 * first such call and kept. */
struct spare {
    float *at;
    size_t floats;
};

struct bp_onednn_conv {
    struct bp_conv_shape shape;
    char name[40];
    unsigned passes;
    size_t slices; /* of k, in the weight gradient */
    struct product products[PRODUCTS];
    float *no_bias; /* [k] zeros */
    struct spare padded, padded_map, staged;
};

/* Partial weight gradients of 8 blocks cost more memory traffic than the product itself once the
 * weights are much larger than a block's samples. Such layers have many channels: two blocks and
 * four slices of k keep 8 independent items. Decided by the shape alone. */
static void set_weight_blocks(struct bp_onednn_conv *conv) {
    const struct bp_conv_shape *s = &conv->shape;
    size_t samples = bp_fp32_block_samples(s->n), weights = s->k * s->r * s->r * s->c;
    int large = weights > (size_t)1 << 20 && s->k % 64 == 0 && s->n >= 8;
    conv->slices = large ? 4 : 1;
    conv->products[FORWARD].samples = samples;
    conv->products[BACKWARD_DATA].samples = samples;
    conv->products[BACKWARD_WEIGHTS].samples = large ? 4 * samples : samples;
}

static size_t blocks_of(const struct product *product, size_t n) {
    return (n + product->samples - 1) / product->samples;
}

static size_t image_floats(const struct bp_onednn_conv *conv) {
    return conv->shape.h * conv->shape.w * conv->shape.c;
}

static size_t map_floats(const struct bp_onednn_conv *conv) {
    return conv->shape.oh * conv->shape.ow * conv->shape.k;
}

static bp_status add_product(struct bp_onednn_conv *conv, struct bp_exec *exec,
                             struct bp_plan *plan, int which, int time) {
    static const char *const what[PRODUCTS] = {"weights_forward", "weights_backward",
                                               "weight_gradients"};
    struct product *product = &conv->products[which];
    struct bp_conv_shape block = conv->shape;
    char label[64];
    block.n = product->samples;
    if (which == BACKWARD_WEIGHTS)
        block.k /= conv->slices;
    BP_TRY(bp_onednn_product_create(&product->onednn, (enum bp_onednn_which)which, &block,
                                    (size_t)bp_threads_count(exec->threads), conv->name));
    if (product->onednn == NULL) {
        conv->passes &= ~(1U << which);
        return BP_OK;
    }
    product->packed_floats = bp_onednn_packed_floats(product->onednn);
    size_t copies = 1;
    size_t scratch = bp_round_up(bp_onednn_scratch_bytes(product->onednn), BP_ALIGN);
    if (which == BACKWARD_WEIGHTS) {
        copies = conv->slices * blocks_of(product, conv->shape.n);
        if (conv->slices > 1) /* copy_slice */
            scratch += block.n * block.oh * block.ow * block.k * sizeof(float);
    }
    bp_exec_need_scratch(exec, scratch);
    snprintf(label, sizeof label, "%s.%s", conv->name, what[which]);
    return bp_plan_add(plan, label, copies * product->packed_floats * sizeof(float), time, time,
                       &product->weights);
}

static bp_status create_parts(struct bp_onednn_conv *conv, struct bp_exec *exec,
                              struct bp_plan *plan, int forward_time, int backward_time) {
    BP_TRY(bp_alloc_array(&conv->no_bias, conv->shape.k, sizeof(float), "an fp32 convolution"));
    for (int which = 0; which < PRODUCTS; which++)
        if (conv->passes & 1U << which)
            BP_TRY(add_product(conv, exec, plan, which,
                               which == FORWARD ? forward_time : backward_time));
    return BP_OK;
}

bp_status bp_onednn_create(struct bp_onednn_conv **out, struct bp_exec *exec, struct bp_plan *plan,
                           const struct bp_conv_shape *shape, unsigned passes, const char *name,
                           int forward_time, int backward_time) {
    struct bp_onednn_conv *conv;
    *out = NULL;
    BP_TRY(bp_alloc(&conv, sizeof *conv, "an fp32 convolution"));
    conv->shape = *shape;
    conv->passes = passes;
    snprintf(conv->name, sizeof conv->name, "%s", name);
    set_weight_blocks(conv);
    bp_status status = create_parts(conv, exec, plan, forward_time, backward_time);
    if (status != BP_OK) {
        bp_onednn_destroy(conv);
        return status;
    }
    *out = conv;
    return BP_OK;
}

void bp_onednn_destroy(struct bp_onednn_conv *conv) {
    if (conv == NULL)
        return;
    for (int which = 0; which < PRODUCTS; which++)
        bp_onednn_product_destroy(conv->products[which].onednn);
    bp_free(conv->no_bias);
    bp_free(conv->padded.at);
    bp_free(conv->padded_map.at);
    bp_free(conv->staged.at);
    bp_free(conv);
}

unsigned bp_onednn_passes(const struct bp_onednn_conv *conv) {
    return conv->passes;
}

/* --- running ------------------------------------------------------------ */

struct job {
    struct bp_onednn_conv *conv;
    struct bp_exec *exec;
    int which;
    size_t n;
    const float *in, *map;        /* in: x or g of a forward or backward product; map: g for dw */
    size_t in_floats, out_floats; /* per sample */
    float *out;
    int accumulate;
    atomic_int status; /* oneDNN's, of the last failure in a worker */
};

static bp_status need_spare(struct spare *spare, size_t floats) {
    if (spare->floats >= floats)
        return BP_OK;
    bp_free(spare->at);
    spare->floats = 0;
    BP_TRY(bp_alloc_array(&spare->at, floats, sizeof(float), "the last block of a batch"));
    spare->floats = floats;
    return BP_OK;
}

/* Copies the samples of the last, incomplete block, with zeros behind. */
static bp_status pad_block(struct spare *spare, const float *all, size_t n, size_t samples,
                           size_t floats) {
    size_t rest = n % samples;
    if (rest == 0)
        return BP_OK;
    BP_TRY(need_spare(spare, samples * floats));
    memcpy(spare->at, all + (n - rest) * floats, rest * floats * sizeof(float));
    memset(spare->at + rest * floats, 0, (samples - rest) * floats * sizeof(float));
    return BP_OK;
}

/* Forward and backward data: one block of samples from in to out. */
static void run_blocks(void *context, size_t begin, size_t end, int thread) {
    struct job *job = context;
    struct bp_onednn_conv *conv = job->conv;
    size_t samples = conv->products[job->which].samples;
    for (size_t block = begin; block < end; block++) {
        size_t first = block * samples, count = bp_min_size(samples, job->n - first);
        int direct = count == samples && !job->accumulate;
        const float *in = count == samples ? job->in + first * job->in_floats : conv->padded.at;
        float *result = job->out + first * job->out_floats;
        float *out = direct ? result : conv->staged.at + (size_t)thread * samples * job->out_floats;
        int status = bp_onednn_run(
            conv->products[job->which].onednn, thread, job->which == FORWARD ? in : out,
            job->which == FORWARD ? out : in, bp_exec_scratch(job->exec, thread));
        if (status != 0)
            atomic_store(&job->status, status);
        else if (job->accumulate)
            for (size_t i = 0; i < count * job->out_floats; i++)
                result[i] += out[i];
        else if (!direct)
            memcpy(result, out, count * job->out_floats * sizeof(float));
    }
}

static bp_status run_batch(struct job *job, const float *w, const char *doing) {
    struct bp_onednn_conv *conv = job->conv;
    struct product *product = &conv->products[job->which];
    size_t threads = (size_t)bp_threads_count(job->exec->threads);
    BP_TRY(pad_block(&conv->padded, job->in, job->n, product->samples, job->in_floats));
    if (job->accumulate || job->n % product->samples != 0)
        BP_TRY(need_spare(&conv->staged, threads * product->samples * job->out_floats));
    int status = bp_onednn_pack(product->onednn, w, product->weights);
    if (status == 0)
        status = bp_onednn_set_weights(product->onednn, product->weights);
    if (status != 0)
        return bp_onednn_fail(status, conv->name, doing);
    bp_parallel_for(job->exec->threads, blocks_of(product, job->n), run_blocks, job);
    status = atomic_load(&job->status);
    return status == 0 ? BP_OK : bp_onednn_fail(status, conv->name, doing);
}

bp_status bp_onednn_forward(struct bp_onednn_conv *conv, struct bp_exec *exec, size_t n,
                            const float *x, const float *w, const float *bias, float *y) {
    struct job job = {.conv = conv,
                      .exec = exec,
                      .which = FORWARD,
                      .n = n,
                      .in = x,
                      .in_floats = image_floats(conv),
                      .out = y,
                      .out_floats = map_floats(conv)};
    int status =
        bp_onednn_set_bias(conv->products[FORWARD].onednn, bias != NULL ? bias : conv->no_bias);
    if (status != 0)
        return bp_onednn_fail(status, conv->name, "forward pass");
    return run_batch(&job, w, "forward pass");
}

bp_status bp_onednn_backward_data(struct bp_onednn_conv *conv, struct bp_exec *exec, size_t n,
                                  const float *g, const float *w, float *dx, int accumulate) {
    struct job job = {.conv = conv,
                      .exec = exec,
                      .which = BACKWARD_DATA,
                      .n = n,
                      .in = g,
                      .in_floats = map_floats(conv),
                      .out = dx,
                      .out_floats = image_floats(conv),
                      .accumulate = accumulate};
    return run_batch(&job, w, "backward pass");
}

/* The columns of one slice of g, with zeros for samples that are missing. */
static float *copy_slice(const struct job *job, size_t first, size_t count, size_t slice,
                         float *out) {
    const struct bp_conv_shape *s = &job->conv->shape;
    size_t width = s->k / job->conv->slices, pixels = s->oh * s->ow;
    size_t rows = job->conv->products[BACKWARD_WEIGHTS].samples * pixels;
    for (size_t row = 0; row < count * pixels; row++)
        memcpy(out + row * width, job->map + (first * pixels + row) * s->k + slice * width,
               width * sizeof(float));
    memset(out + count * pixels * width, 0, (rows - count * pixels) * width * sizeof(float));
    return out;
}

/* One partial weight gradient per item; item = block * slices + slice. */
static void run_weight_items(void *context, size_t begin, size_t end, int thread) {
    struct job *job = context;
    struct bp_onednn_conv *conv = job->conv;
    struct product *product = &conv->products[BACKWARD_WEIGHTS];
    size_t blocks = blocks_of(product, job->n);
    for (size_t item = begin; item < end; item++) {
        size_t block = item / conv->slices, slice = item % conv->slices;
        size_t first = block * product->samples;
        size_t count = bp_min_size(product->samples, job->n - first);
        int full = count == product->samples;
        struct bp_carver carver = {bp_exec_scratch(job->exec, thread)};
        void *scratch = bp_carve(&carver, bp_onednn_scratch_bytes(product->onednn));
        const float *image = full ? job->in + first * job->in_floats : conv->padded.at;
        const float *map = full ? job->map + first * map_floats(conv) : conv->padded_map.at;
        if (conv->slices > 1)
            map = copy_slice(job, first, count, slice, (float *)(void *)carver.next);
        float *partial = product->weights + (slice * blocks + block) * product->packed_floats;
        int status = bp_onednn_set_gradient(product->onednn, thread, partial);
        if (status == 0)
            status = bp_onednn_run(conv->products[job->which].onednn, thread, image, map, scratch);
        if (status != 0)
            atomic_store(&job->status, status);
    }
}

/* Adds the partials of all blocks to the first one's, in order; item = 1024 elements of one slice.
 */
#define SUM_PART ((size_t)1024)

static void add_partials(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    const struct job *job = context;
    const struct product *product = &job->conv->products[BACKWARD_WEIGHTS];
    size_t floats = product->packed_floats, parts = (floats + SUM_PART - 1) / SUM_PART;
    size_t blocks = blocks_of(product, job->n);
    for (size_t item = begin; item < end; item++) {
        float *sum = product->weights + item / parts * blocks * floats;
        size_t first = item % parts * SUM_PART, last = bp_min_size(first + SUM_PART, floats);
        for (size_t block = 1; block < blocks; block++)
            for (size_t i = first; i < last; i++)
                sum[i] += sum[block * floats + i];
    }
}

bp_status bp_onednn_backward_weights(struct bp_onednn_conv *conv, struct bp_exec *exec, size_t n,
                                     const float *x, const float *g, float *dw) {
    struct product *product = &conv->products[BACKWARD_WEIGHTS];
    struct job job = {.conv = conv,
                      .exec = exec,
                      .which = BACKWARD_WEIGHTS,
                      .n = n,
                      .in = x,
                      .in_floats = image_floats(conv),
                      .map = g};
    BP_TRY(pad_block(&conv->padded, x, n, product->samples, job.in_floats));
    if (conv->slices == 1)
        BP_TRY(pad_block(&conv->padded_map, g, n, product->samples, map_floats(conv)));
    size_t blocks = blocks_of(product, n);
    bp_parallel_for(exec->threads, blocks * conv->slices, run_weight_items, &job);
    int status = atomic_load(&job.status);
    if (status == 0 && blocks > 1)
        bp_parallel_for(exec->threads,
                        conv->slices * ((product->packed_floats + SUM_PART - 1) / SUM_PART),
                        add_partials, &job);
    size_t natural = conv->shape.k / conv->slices * conv->shape.r * conv->shape.r * conv->shape.c;
    for (size_t slice = 0; slice < conv->slices && status == 0; slice++)
        status = bp_onednn_unpack(product->onednn,
                                  product->weights + slice * blocks * product->packed_floats,
                                  dw + slice * natural);
    return status == 0 ? BP_OK : bp_onednn_fail(status, conv->name, "weight gradient");
}
