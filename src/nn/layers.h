/* The layer types, as the model builders use them: each function adds one layer behind `in` and
 * hands out its output tensor. */
#ifndef BP_NN_LAYERS_H
#define BP_NN_LAYERS_H

#include "nn/graph.h"
#include "ops/bconv.h"
#include "ops/norm_act.h"
#include "ops/pool.h"

#ifdef __cplusplus
extern "C" {
#endif

/* fp32 convolution [n][h][w][c] -> [n][oh][ow][k]; parameter "<name>.weight" [k][r][r][c], and
 * "<name>.bias" [k] if with_bias. param_flags are added to both. Kaiming normal (fan in = r r c,
 * gain sqrt 2; the head: gain 1, bias 0). Serves stem, shortcuts, head, and in mode fp32 every
 * layer. */
bp_status bp_layer_conv_add(struct bp_graph *graph, const char *name, struct bp_tensor *in,
                            size_t k, size_t r, size_t stride, size_t pad, int with_bias,
                            unsigned param_flags, struct bp_tensor **out);

/* The network's first convolution, without bias: as above, or in 8 bits (ops/byte_conv.h) where
 * graph->config.stem says so. The same parameter in both. */
bp_status bp_layer_stem_add(struct bp_graph *graph, const char *name, struct bp_tensor *in,
                            size_t k, size_t r, size_t stride, size_t pad, struct bp_tensor **out);

/* Convolution of bfloat16 (fp32/bf16_conv.h) bf16 -> f16, without bias; the same parameter and
 * first values as the fp32 convolution. For psq and fqt. */
bp_status bp_layer_bf16_conv_add(struct bp_graph *graph, const char *name, struct bp_tensor *in,
                                 size_t k, size_t r, size_t stride, size_t pad,
                                 struct bp_tensor **out);

/* Binary convolution bits -> i16; parameter "<name>.weight" [k][r][r][c], latent. 3x3 pad 1 or 1x1
 * pad 0. In mode fp32 builders use bp_layer_conv_add instead. */
bp_status bp_layer_bconv_add(struct bp_graph *graph, const char *name, struct bp_tensor *in,
                             size_t k, size_t r, size_t stride, struct bp_tensor **out);

/* What a binary convolution consists of, for observers (bp_backward_observer). */
struct bp_bconv_parts {
    const struct bp_conv_shape *shape;
    const struct bp_param *weight;
    struct bp_bconv *op;
};
struct bp_bconv_parts bp_layer_bconv_parts(const struct bp_layer *layer);

/* Affine -> activation -> (max pooling) -> (+ residual) -> (sgn). Input f32 or i16; output f32,
 * or bits with the straight-through mask if sign_out. Parameters: batch norm "<name>.weight" (1)
 * and
 * "<name>.bias" (0), running "<name>.running_mean" and "<name>.running_var"; scale "<name>.alpha"
 * (1); PReLU "<name>.slope" (0.25), all [c], no decay. Batch norm: eps 1e-5, momentum 0.1, unbiased
 * running variance. */
struct bp_norm_act_config {
    enum bp_affine affine;
    enum bp_activation activation;
    int max_pool;    /* 2x2 */
    int window_pool; /* 3x3, stride 2, pad 1 */
    int sign_out;
    int f16_out; /* without sign_out: out and the residual are f16, the gradient bf16 */
};
bp_status bp_layer_norm_act_add(struct bp_graph *graph, const char *name, struct bp_tensor *in,
                                struct bp_tensor *residual, const struct bp_norm_act_config *config,
                                struct bp_tensor **out);

/* Scale -> PReLU -> batch norm -> sgn from a binary convolution's i16 to bits; the same parameters
 * as two norm_act layers "<act_name>" and "<norm_name>" after one another, and the same numbers. */
bp_status bp_layer_act_norm_add(struct bp_graph *graph, const char *act_name, const char *norm_name,
                                struct bp_tensor *in, struct bp_tensor **out);

/* out: f32, or of BP_POOL_AVG_2X2 and f16 also bf16. */
bp_status bp_layer_pool_add(struct bp_graph *graph, const char *name, struct bp_tensor *in,
                            enum bp_pool_kind kind, enum bp_tensor_kind out_kind,
                            struct bp_tensor **out);

/* Model builders: add everything from graph->input to graph->logits. */
bp_status bp_model_vgg16_build(struct bp_graph *graph);
bp_status bp_model_resnet18_build(struct bp_graph *graph);

/* Channels scaled by --width: round to nearest, at least 1 (BP_USAGE if 0 would result). */
bp_status bp_model_channels(size_t base, double width, size_t *out);

#ifdef __cplusplus
}
#endif
#endif
