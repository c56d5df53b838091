/* What the two files of fp32_blocks share: fp32_blocks.c creates, fp32_blocks_run.c runs. */
#ifndef BP_FP32_FP32_BLOCKS_H
#define BP_FP32_FP32_BLOCKS_H

#include "fp32/fp32_backend.h"
#include "fp32/fp32_onednn.h"

enum { FORWARD = BP_ONEDNN_FORWARD, BACKWARD_DATA, BACKWARD_WEIGHTS, PRODUCTS };

struct product {
    struct bp_onednn_product *onednn;
    size_t samples; /* of one block */
    size_t packed_bytes;
    void *weights; /* planned: packed weights, or partial gradients (float) [slices][blocks] */
};

/* Memory that only unusual calls need (a last block that is not full, accumulation): taken at the
 * first such call and kept. */
struct spare {
    char *at;
    size_t bytes;
};

struct bp_onednn_conv {
    struct bp_conv_shape shape;
    char name[40];
    int bf16; /* x, g and w are bfloat16, the results floats */
    unsigned passes;
    size_t slices; /* of k, in the weight gradient */
    struct product products[PRODUCTS];
    float *no_bias; /* [k] zeros */
    struct spare padded, padded_map, staged;
};

static inline size_t blocks_of(const struct product *product, size_t n) {
    return (n + product->samples - 1) / product->samples;
}

static inline size_t image_elements(const struct bp_onednn_conv *conv) {
    return conv->shape.h * conv->shape.w * conv->shape.c;
}

static inline size_t map_elements(const struct bp_onednn_conv *conv) {
    return conv->shape.oh * conv->shape.ow * conv->shape.k;
}

/* Of x, g and w. */
static inline size_t operand_bytes(const struct bp_onednn_conv *conv) {
    return conv->bf16 ? sizeof(uint16_t) : sizeof(float);
}

/* The gradient of one block, which bp_onednn_backward makes in the scratch memory. */
static inline size_t map_block_bytes(const struct bp_onednn_conv *conv) {
    return conv->products[BACKWARD_WEIGHTS].samples * map_elements(conv) * operand_bytes(conv);
}

#endif
