/* One product of a convolution as a oneDNN primitive: a block of samples, run by one worker. This
 * is all that fp32_blocks.c needs; oneDNN's own types stay in fp32_onednn.c. Functions that may run
 * in a worker return oneDNN's status (0: success), for bp_onednn_fail on the calling thread. */
#ifndef BP_FP32_FP32_ONEDNN_H
#define BP_FP32_FP32_ONEDNN_H

#include "ops/op.h"

struct bp_onednn_product;

enum bp_onednn_which {
    BP_ONEDNN_FORWARD,
    BP_ONEDNN_BACKWARD_DATA,
    BP_ONEDNN_BACKWARD_WEIGHTS,
    BP_ONEDNN_PRODUCTS
};

/* `shape`: that of one block (shape->n samples). bf16: both operands are bfloat16 in place of
 * float; results are floats always. *out is NULL, without a failure, where oneDNN has nothing
 * better than its reference loops or gives wrong results, or the processor has no instructions for
 * bfloat16. */
bp_status bp_onednn_product_create(struct bp_onednn_product **out, enum bp_onednn_which which,
                                   const struct bp_conv_shape *shape, int bf16, size_t threads,
                                   const char *name);
void bp_onednn_product_destroy(struct bp_onednn_product *product);

/* Size of the weights (or their gradient) in the layout that the primitive chose, and of the
 * scratch memory of one worker. */
size_t bp_onednn_packed_bytes(const struct bp_onednn_product *product);
size_t bp_onednn_scratch_bytes(const struct bp_onednn_product *product);

/* Weights [k][r][r][c] to the primitive's layout; for the weight gradient, the way back. Outside of
 * workers. */
int bp_onednn_pack(struct bp_onednn_product *product, const void *natural, void *packed);
int bp_onednn_unpack(struct bp_onednn_product *product, const float *packed, float *natural);

/* For all workers: the packed weights, and the bias of the forward product; outside of workers. */
int bp_onednn_set_weights(struct bp_onednn_product *product, const void *packed);
int bp_onednn_set_bias(struct bp_onednn_product *product, const float *bias);
/* For one worker: where its packed weight gradient goes. */
int bp_onednn_set_gradient(struct bp_onednn_product *product, int thread, float *packed);

/* Runs one block in a worker. The image is x or dx, the map is y or g. */
int bp_onednn_run(struct bp_onednn_product *product, int thread, const void *image, const void *map,
                  void *scratch);

bp_status bp_onednn_fail(int status, const char *name, const char *doing);

#endif
