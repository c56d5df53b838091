/* VGG-16: 13 convolutions 3x3, each followed by batch norm and PReLU; the first one is 8-bit or
 * fp32, twelve are binary; the head is fp32. docs/METHOD.md, "The networks".
 *
 *   64 64 M  128 128 M  256 256 256 M  512 512 512 M  512 512 512 M   M = 2x2 max pooling
 *   global average pooling, linear head */
#include <stdio.h>

#include "nn/layers.h"

static const struct {
    size_t channels;
    int max_pool;
} stages[13] = {{64, 0},  {64, 1},  {128, 0}, {128, 1}, {256, 0}, {256, 0}, {256, 1},
                {512, 0}, {512, 0}, {512, 1}, {512, 0}, {512, 0}, {512, 1}};

/* conv<i> and norm<i>; the norm's output goes on as bits where a binary convolution follows. */
static bp_status add_stage(struct bp_graph *graph, int i, struct bp_tensor **x) {
    char name[32];
    size_t channels;
    struct bp_tensor *y;
    int binary = graph->config.precision != BP_PRECISION_FP32;
    BP_TRY(bp_model_channels(stages[i].channels, graph->config.width, &channels));
    snprintf(name, sizeof name, "conv%d", i + 1);
    if (i == 0)
        BP_TRY(bp_layer_stem_add(graph, name, *x, channels, 3, 1, 1, &y));
    else if (binary)
        BP_TRY(bp_layer_bconv_add(graph, name, *x, channels, 3, 1, &y));
    else
        BP_TRY(bp_layer_conv_add(graph, name, *x, channels, 3, 1, 1, 0, 0, &y));
    snprintf(name, sizeof name, "norm%d", i + 1);
    const struct bp_norm_act_config config = {.affine = BP_AFFINE_BATCH_NORM,
                                              .activation = BP_ACT_PRELU,
                                              .max_pool = stages[i].max_pool,
                                              .sign_out = binary && i < 12};
    return bp_layer_norm_act_add(graph, name, y, NULL, &config, x);
}

bp_status bp_model_vgg16_build(struct bp_graph *graph) {
    struct bp_tensor *x = graph->input;
    for (int i = 0; i < 13; i++)
        BP_TRY(add_stage(graph, i, &x));
    BP_TRY(bp_layer_pool_add(graph, "pool", x, BP_POOL_GLOBAL_AVG, BP_TENSOR_F32, &x));
    return bp_layer_conv_add(graph, "head", x, graph->config.classes, 1, 1, 0, 1, BP_PARAM_HEAD,
                             &graph->logits);
}
