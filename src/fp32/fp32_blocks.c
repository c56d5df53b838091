/* Whole batches through oneDNN's single-threaded primitives (fp32_onednn.c): each block of samples
 * is run by one worker. A batch's last block is run at full size with zero samples behind, so that
 * there is one primitive per product and a sample's result does not depend on how the batch was
 * cut.
 *
 * Weights are packed into the primitive's layout once per call. Weight gradients: one partial per
 * block, added in order of the blocks. Where weights are large, partials are few (wide blocks) and
 * output channels are sliced instead: see set_weight_blocks. */
#include <stdio.h>

#include "base/memory.h"
#include "fp32/fp32_blocks.h"

/* So many, at most `samples`, that their results in floats stay in L2 until they become halves. */
static size_t cached_samples(const struct bp_conv_shape *s, size_t samples) {
    size_t bytes = s->oh * s->ow * s->k * sizeof(float);
    return bp_min_size(samples, bp_max_size(1, ((size_t)512 << 10) / bytes));
}

/* Partial weight gradients of 8 blocks cost more memory traffic than the product itself once the
 * weights are much larger than a block's samples. Such layers have many channels: two blocks and
 * four slices of k keep 8 independent items. Decided by the shape alone. (bfloat16 serves
 * shortcuts, which are small.) */
static void set_weight_blocks(struct bp_onednn_conv *conv) {
    const struct bp_conv_shape *s = &conv->shape;
    size_t samples = bp_fp32_block_samples(s->n), weights = s->k * s->r * s->r * s->c;
    int large = !conv->bf16 && weights > (size_t)1 << 20 && s->k % 64 == 0 && s->n >= 8;
    conv->slices = large ? 4 : 1;
    conv->products[FORWARD].samples = conv->bf16 ? cached_samples(s, samples) : samples;
    conv->products[BACKWARD_DATA].samples = samples;
    conv->products[BACKWARD_WEIGHTS].samples = large ? 4 * samples : samples;
}

/* A kernel of one pixel does not see where rows end: the same pixels as rows of up to ROW_MAX, as
 * few as possible of them filled up to whole STEPs. oneDNN's backward products of bfloat16 multiply
 * a row at a time, STEP pixels at once. */
static struct bp_conv_shape with_long_rows(const struct bp_conv_shape *shape) {
    enum { STEP = 32, ROW_MAX = 256 };
    struct bp_conv_shape rows = *shape;
    size_t pixels = shape->n * shape->h * shape->w, fewest = SIZE_MAX;
    if (shape->r != 1 || shape->stride != 1 || shape->pad != 0)
        return rows;
    for (size_t w = 1; w <= ROW_MAX; w++) {
        size_t filled = pixels / w * bp_round_up(w, STEP);
        if (pixels % w == 0 && filled <= fewest) {
            fewest = filled;
            rows.w = w;
        }
    }
    rows.n = pixels / rows.w;
    rows.h = rows.oh = 1;
    rows.ow = rows.w;
    return rows;
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
    if (which != FORWARD && conv->bf16)
        block = with_long_rows(&block);
    BP_TRY(bp_onednn_product_create(&product->onednn, (enum bp_onednn_which)which, &block,
                                    conv->bf16, (size_t)bp_threads_count(exec->threads),
                                    conv->name));
    if (product->onednn == NULL) {
        conv->passes &= ~(1U << which);
        return BP_OK;
    }
    product->packed_bytes = bp_onednn_packed_bytes(product->onednn);
    size_t copies = 1;
    size_t scratch = bp_round_up(bp_onednn_scratch_bytes(product->onednn), BP_ALIGN);
    if (which == BACKWARD_WEIGHTS) {
        copies = conv->slices * blocks_of(product, conv->shape.n);
        if (conv->slices > 1) /* copy_slice */
            scratch += block.n * block.oh * block.ow * block.k * sizeof(float);
    }
    if (which != FORWARD && conv->bf16)
        scratch += bp_round_up(map_block_bytes(conv), BP_ALIGN);
    if (which == FORWARD && conv->bf16)
        scratch += product->samples * map_elements(conv) * sizeof(float);
    bp_exec_need_scratch(exec, scratch);
    snprintf(label, sizeof label, "%s.%s", conv->name, what[which]);
    return bp_plan_add(plan, label, copies * product->packed_bytes, time, time, &product->weights);
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
                           const struct bp_conv_shape *shape, int bf16, unsigned passes,
                           const char *name, int forward_time, int backward_time) {
    struct bp_onednn_conv *conv;
    *out = NULL;
    BP_TRY(bp_alloc(&conv, sizeof *conv, "an fp32 convolution"));
    conv->shape = *shape;
    conv->bf16 = bf16;
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
