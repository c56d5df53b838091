/* The variance of the quantized gradients, measured during a training step without changing it
 * (docs/METHOD.md, "The variance of the products"). For each binary layer and both products: that
 * of the quantized gradient itself and of the product by formula, and that of the product over
 * repeated draws of the real backward pass with the same gradient. Also: how many weights changed
 * their sign.
 */
#ifndef BP_NN_GRAD_VARIANCE_H
#define BP_NN_GRAD_VARIANCE_H

#include "nn/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Relative variances: sums over the elements, divided by the squared norm of what is estimated. NaN
 * where there is no such product, or the norm is 0. */
struct bp_product_variance {
    double gradient;  /* of the quantized gradient, by formula */
    double exact;     /* of the product, by formula; NaN too for dW with pruned sample groups, whose
                         parts overlap */
    double empirical; /* of the product, over the draws */
    double norm;      /* squared norm of the exact product */
};

struct bp_layer_variance {
    const struct bp_layer *layer; /* NULL: not seen since the last bp_grad_variance_begin */
    struct bp_product_variance da, dw;
    double flips; /* share of the weights whose sign differs from that at the last observation; NaN:
                     there was none */
};

struct bp_grad_variance;

/* For a graph of psq or fqt, which must outlive it; `draws` >= 2 per observation. signs_known: the
 * signs as they are now count as an observation. */
bp_status bp_grad_variance_create(struct bp_grad_variance **out, struct bp_graph *graph, int draws,
                                  int signs_known);
/* What it takes of memory, for a graph that may only be planned. */
bp_status bp_grad_variance_bytes(struct bp_graph *graph, size_t *bytes);
void bp_grad_variance_destroy(struct bp_grad_variance *variance);

/* Between these two, a backward pass of the graph is observed. */
void bp_grad_variance_begin(struct bp_grad_variance *variance);
void bp_grad_variance_end(struct bp_grad_variance *variance);

/* What was seen, for each binary layer [n_binary]. */
const struct bp_layer_variance *bp_grad_variance_layers(const struct bp_grad_variance *variance);

#ifdef __cplusplus
}
#endif
#endif
