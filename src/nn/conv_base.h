/* What the layers of a convolution with float output (or what stands for floats) have in common
 * (fp32, 8-bit, bfloat16): a
 * shape, a weight with its first values, an output whose gradient rows the consumer makes. */
#ifndef BP_NN_CONV_BASE_H
#define BP_NN_CONV_BASE_H

#include "nn/graph.h"

/* The first member of such a layer's self. */
struct bp_conv_base {
    struct bp_conv_shape shape;
    struct bp_param *weight; /* [k][r][r][c]; of the head [k][c] */
};

struct bp_conv_request {
    size_t k, r, stride, pad;
    unsigned param_flags;
    int f16_out; /* the output is f16, else f32 */
};

/* Adds the layer behind `in`, with a self of self_bytes that begins with the base, its output, and
 * the parameter "<name>.weight": Kaiming normal, variance gain^2 / fan in, gain sqrt 2 before a
 * rectifier, 1 in the head. */
bp_status bp_conv_base_add(struct bp_graph *graph, struct bp_layer **out,
                           const struct bp_layer_type *type, const char *name, struct bp_tensor *in,
                           const struct bp_conv_request *request, size_t self_bytes);

#endif
