/* ResNet-18 with pre-activation binary blocks. docs/METHOD.md, "The networks".
 *
 *   stem      8-bit or fp32 convolution, batch norm, ReLU: 7x7/2 and then 3x3/2 max pooling from
 *             96 px on, else 3x3/1
 *   block     h   = PReLU(alpha1 conv1(sgn(norm1(x))))
 *             out = PReLU(alpha2 conv2(sgn(norm2(h)))) + shortcut(x)
 *   shortcut  x, or where the shape changes 2x2 average pooling, 1x1 convolution, batch norm
 *   head      batch norm, PReLU, global average pooling, linear
 *
 * What shortcuts carry, x, out and the result of norm, is in halves in psq and fqt, its gradients
 * and the operands of the 1x1 convolution in bfloat16; else in floats.
 */
#include <math.h>
#include <stdio.h>

#include "nn/layers.h"

#define STEM_LARGE_PX 96

bp_status bp_model_channels(size_t base, double width, size_t *out) {
    double channels = floor((double)base * width + 0.5);
    if (!(channels >= 1.0) || channels > 65536.0)
        return bp_fail(
            BP_USAGE,
            "--width %g gives %.0f channels where there should be 1 to 65536; use a value "
            "like 0.25, 0.5 or 1",
            width, channels);
    *out = (size_t)channels;
    return BP_OK;
}

static int is_narrow(const struct bp_graph_config *config) {
    if (config->shortcut == BP_SHORTCUT_BY_PRECISION)
        return config->precision == BP_PRECISION_PSQ || config->precision == BP_PRECISION_FQT;
    return config->shortcut == BP_SHORTCUT_16_BIT;
}

struct block {
    struct bp_graph *graph;
    int stage, number; /* from 1 */
    size_t channels, stride;
};

static void block_name(char out[48], const struct block *block, const char *part) {
    snprintf(out, 48, "stage%d.block%d.%s", block->stage, block->number, part);
}

static bp_status add_binary_conv(const struct block *block, const char *part, struct bp_tensor *in,
                                 size_t stride, struct bp_tensor **out) {
    char name[48];
    block_name(name, block, part);
    if (block->graph->config.precision == BP_PRECISION_FP32)
        return bp_layer_conv_add(block->graph, name, in, block->channels, 3, stride, 1, 0, 0, out);
    return bp_layer_bconv_add(block->graph, name, in, block->channels, 3, stride, out);
}

static bp_status add_norm_act(const struct block *block, const char *part, struct bp_tensor *in,
                              struct bp_tensor *residual, enum bp_affine affine,
                              enum bp_activation activation, int sign_out, struct bp_tensor **out) {
    char name[48];
    block_name(name, block, part);
    const struct bp_norm_act_config config = {
        .affine = affine,
        .activation = activation,
        .sign_out = sign_out && block->graph->config.precision != BP_PRECISION_FP32,
        .f16_out = is_narrow(&block->graph->config)};
    return bp_layer_norm_act_add(block->graph, name, in, residual, &config, out);
}

/* act1 and norm2: one layer where the next convolution is binary. */
static bp_status add_act_norm(const struct block *block, struct bp_tensor *in,
                              struct bp_tensor **out) {
    char act[48], norm[48];
    if (block->graph->config.precision == BP_PRECISION_FP32) {
        BP_TRY(add_norm_act(block, "act1", in, NULL, BP_AFFINE_SCALE, BP_ACT_PRELU, 0, out));
        return add_norm_act(block, "norm2", *out, NULL, BP_AFFINE_BATCH_NORM, BP_ACT_NONE, 0, out);
    }
    block_name(act, block, "act1");
    block_name(norm, block, "norm2");
    return bp_layer_act_norm_add(block->graph, act, norm, in, out);
}

static bp_status add_shortcut(const struct block *block, struct bp_tensor *x,
                              struct bp_tensor **out) {
    struct bp_tensor *y = x;
    char name[48];
    *out = x;
    if (block->stride == 1 && x->c == block->channels)
        return BP_OK;
    block_name(name, block, "shortcut.pool");
    if (block->stride == 2)
        BP_TRY(bp_layer_pool_add(block->graph, name, y, BP_POOL_AVG_2X2,
                                 is_narrow(&block->graph->config) ? BP_TENSOR_BF16 : BP_TENSOR_F32,
                                 &y));
    block_name(name, block, "shortcut.conv");
    if (y->kind == BP_TENSOR_BF16)
        BP_TRY(bp_layer_bf16_conv_add(block->graph, name, y, block->channels, 1, 1, 0, &y));
    else
        BP_TRY(bp_layer_conv_add(block->graph, name, y, block->channels, 1, 1, 0, 0, 0, &y));
    return add_norm_act(block, "shortcut.norm", y, NULL, BP_AFFINE_BATCH_NORM, BP_ACT_NONE, 0, out);
}

static bp_status add_block(const struct block *block, struct bp_tensor **x) {
    struct bp_tensor *shortcut, *y;
    /* norm1 first: in the backward pass it comes last and adds what the pooling has left to it.
     * Lists name the shortcut first. */
    struct bp_graph_mark before = bp_graph_mark(block->graph);
    BP_TRY(add_norm_act(block, "norm1", *x, NULL, BP_AFFINE_BATCH_NORM, BP_ACT_NONE, 1, &y));
    struct bp_graph_mark behind = bp_graph_mark(block->graph);
    BP_TRY(add_shortcut(block, *x, &shortcut));
    bp_graph_list_before(block->graph, before, behind);
    BP_TRY(add_binary_conv(block, "conv1", y, block->stride, &y));
    BP_TRY(add_act_norm(block, y, &y));
    BP_TRY(add_binary_conv(block, "conv2", y, 1, &y));
    return add_norm_act(block, "act2", y, shortcut, BP_AFFINE_SCALE, BP_ACT_PRELU, 0, x);
}

static bp_status add_stem(struct bp_graph *graph, struct bp_tensor **x) {
    int large = graph->config.height >= STEM_LARGE_PX;
    const struct bp_norm_act_config config = {.affine = BP_AFFINE_BATCH_NORM,
                                              .activation = BP_ACT_RELU,
                                              .window_pool = large,
                                              .f16_out = is_narrow(&graph->config)};
    size_t channels = 0;
    BP_TRY(bp_model_channels(64, graph->config.width, &channels));
    BP_TRY(bp_layer_stem_add(graph, "stem.conv", *x, channels, large ? 7 : 3, large ? 2 : 1,
                             large ? 3 : 1, x));
    return bp_layer_norm_act_add(graph, "stem.norm", *x, NULL, &config, x);
}

bp_status bp_model_resnet18_build(struct bp_graph *graph) {
    static const size_t base[4] = {64, 128, 256, 512};
    struct bp_tensor *x = graph->input;
    BP_TRY(add_stem(graph, &x));
    for (int stage = 0; stage < 4; stage++)
        for (int number = 0; number < 2; number++) {
            struct block block = {graph, stage + 1, number + 1, 0,
                                  stage > 0 && number == 0 ? 2 : 1};
            BP_TRY(bp_model_channels(base[stage], graph->config.width, &block.channels));
            BP_TRY(add_block(&block, &x));
        }
    const struct bp_norm_act_config config = {.affine = BP_AFFINE_BATCH_NORM,
                                              .activation = BP_ACT_PRELU};
    BP_TRY(bp_layer_norm_act_add(graph, "head.norm", x, NULL, &config, &x));
    BP_TRY(bp_layer_pool_add(graph, "head.pool", x, BP_POOL_GLOBAL_AVG, BP_TENSOR_F32, &x));
    return bp_layer_conv_add(graph, "head", x, graph->config.classes, 1, 1, 0, 1, BP_PARAM_HEAD,
                             &graph->logits);
}
