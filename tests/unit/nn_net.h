/* A small network with images and labels, for the tests of nn. */
#ifndef BP_TESTS_NN_NET_H
#define BP_TESTS_NN_NET_H

#include "nn/graph.h"

struct nn_net {
    struct bp_exec *exec;
    struct bp_graph *graph;
    uint8_t *images; /* [batch][height][width_px][channels] */
    int32_t *labels; /* [batch] */
    double loss;     /* of the last step or evaluation */
    size_t correct;
    struct bp_param_updater *updater; /* of the steps; NULL: none */
};

/* A configuration for training: plain C float products, 3 channels, 5 classes, batch 3. psq and fqt
 * get usual quantizers (fqt: 4 bits, a quarter of the groups kept). */
struct bp_graph_config nn_config(const char *model, enum bp_precision precision, size_t size,
                                 double width);

/* Such a configuration in a table of tests. */
struct nn_variant {
    const char *model;
    enum bp_precision precision;
    size_t size;
    double width;
    enum bp_stem stem;
};
struct bp_graph_config nn_variant_config(const struct nn_variant *v);

/* Fails the test on errors. The images depend on their sizes only. */
void nn_net_create(struct nn_net *net, const struct bp_graph_config *config, enum bp_tier tier,
                   int threads);
void nn_net_destroy(struct nn_net *net);

/* Forward, loss and backward on the first n images; of gradients that are kept, zeros that were not
 * written are. Then, if rate is not 0, the parameters move against them. */
void nn_net_step(struct nn_net *net, size_t n, float rate);
/* Forward and loss without training. */
void nn_net_eval(struct nn_net *net, size_t n);

/* Copies values and running statistics between networks of the same shape. */
void nn_net_copy(struct nn_net *to, const struct nn_net *from);

struct bp_param *nn_net_param(const struct nn_net *net, const char *name);

#endif
