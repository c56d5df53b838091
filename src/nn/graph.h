/* A network as a list of layers over tensors. Layers are added in forward order by a model builder
 * (model_vgg16.c, model_resnet18.c), then everything is planned and allocated once, then steps run
 * without allocating. The life of one training step, top to bottom: bp_graph_forward walks the list
 * forwards, bp_graph_backward backwards; the optimizer (train/optim.h) updates the parameters,
 * weights while the backward pass is at their layer, and bp_graph_weights_updated repacks them.
 *
 * Times for memory plans (base/plan.h) with L layers: layer i runs forward at time i and backward
 * at times 3 L - 2 - 2 i and the one after. Layers that have read the gradient of their output
 * before they write that of their input, and say so (bp_layer_type.reads_first), do the one at the
 * first and the other at the second of these times, others everything at the first. Time 3 L is the
 * end.
 */
#ifndef BP_NN_GRAPH_H
#define BP_NN_GRAPH_H

#include "base/plan.h"
#include "fp32/fp32_ops.h"
#include "ops/channel_sums.h"
#include "ops/grad_quant.h"
#include "ops/op.h"
#include "ops/pool.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How the first convolution, which sees the pixels, is computed. */
enum bp_stem { BP_STEM_FP32, BP_STEM_8_BIT };

/* What ResNet's shortcuts carry and how they are computed: by the precision, 16 bits in psq and fqt
 * and floats in fp32 and qat, or as said. */
enum bp_shortcut { BP_SHORTCUT_BY_PRECISION, BP_SHORTCUT_FP32, BP_SHORTCUT_16_BIT };

enum bp_precision { BP_PRECISION_FP32, BP_PRECISION_QAT, BP_PRECISION_PSQ, BP_PRECISION_FQT };

/* --- parameters ------------------------------------------------------------------------------- */

enum {
    BP_PARAM_HEAD = 1,     /* last linear layer: has its own learning rate */
    BP_PARAM_NO_DECAY = 2, /* norms, slopes, scales, biases: no weight decay */
    BP_PARAM_LATENT = 4    /* latent weights of a binary layer: only their signs are used */
};

struct bp_param {
    char name[96]; /* "features.3.conv.weight": the name in checkpoints */
    size_t layer;  /* index of the one that has it */
    int n_dims;
    size_t dims[4]; /* convolutions [k][r][r][c] */
    size_t count;
    unsigned flags;
    float init_mean, init_deviation; /* first values: normal; set by the layer that adds it */
    float *value, *grad;
    /* grad shares its memory with other layers' buffers: what it holds is the gradient only from
     * the layer's backward pass until bp_param_updater.update of that layer returns. */
    int grad_shared;
    uint8_t *grad_zero; /* latent: [dims[0]] 1 where a row of the gradient is zeros that are not
                           written: grad holds anything there. As long as grad; others: NULL */
    /* Latent, [dims[0]] or NULL. If grad_is_sums, as the backward pass says, grad holds integers of
     * 16 bits, and the gradient of row k is grad_scale[k] times these where |value| < 1, else 0:
     * bp_param_gradient. */
    float *grad_scale;
    int grad_is_sums;
    float *moment1, *moment2; /* optimizer state; NULL in graphs made without backward */
    size_t sign_row;          /* latent: elements of a row of signs; else 0 */
    uint64_t *signs;          /* latent: [count / sign_row][words of sign_row], the optimizer's */
};

/* Elements first .. first + count - 1 of a gradient whose grad_is_sums. */
static inline void bp_param_gradient(const struct bp_param *param, const struct bp_kernels *kernels,
                                     size_t first, size_t count, float *out) {
    const int16_t *sums = (const int16_t *)(const void *)param->grad;
    const size_t row = param->count / param->dims[0], end = first + count;
    for (size_t i = first, stop; i < end; i = stop) {
        stop = (i / row + 1) * row < end ? (i / row + 1) * row : end;
        kernels->latent_gradient(sums + i, param->grad_scale[i / row], param->value + i, stop - i,
                                 out + (i - first));
    }
}

/* A saved tensor that is not trained: running statistics. */
struct bp_running {
    char name[96];
    size_t layer;
    size_t count;
    float init; /* first value */
    float *value;
};

/* --- tensors ---------------------------------------------------------------------------------- */

enum bp_tensor_kind {
    BP_TENSOR_F32,
    BP_TENSOR_I16,
    BP_TENSOR_BITS,
    BP_TENSOR_U8,
    BP_TENSOR_F16,
    BP_TENSOR_BF16
};

struct bp_tensor {
    char name[64];
    enum bp_tensor_kind kind;
    size_t h, w, c; /* the batch size is the graph's */
    union {
        void *data;
        float *f32;     /* [n][h][w][c] */
        int16_t *i16;   /* [n][h][w][c]: values, or multiples of unit */
        uint8_t *u8;    /* [n][h][w][c]: pixels */
        uint16_t *f16;  /* [n][h][w][c]: halves (binary16) */
        uint16_t *bf16; /* [n][h][w][c]: the upper halves of floats */
        uint64_t *bits; /* [n][h + 2][w + 2][cw], halo zero */
    };
    const float *unit; /* i16: [c], set by the producer when it plans; NULL: 1 */
    uint64_t *mask;    /* bits: straight-through mask [n][h][w][cw]; NULL without backward */
    /* The gradient, in one of two forms. from_source: the producer is a convolution; its only
     * consumer gives the rows of dL/dtensor on demand (valid during the backward pass); it sets
     * source.scratch_bytes when it is added, before any layer plans, and takes any number of rows
     * per call with that much. Otherwise grad [n][h][w] [c] holds dL/dtensor (bits: dL/dx of the
     * value x before sgn, straight-through mask applied); the first consumer in backward order
     * writes it, later ones add to it (bp_tensor_grad_begin). */
    int needs_grad;
    int from_source;
    struct bp_grad_source source;
    float *grad;
    /* bf16_grad, of an f16 tensor: in place of grad, these floats rounded to bfloat16 once each of
     * its consumers has added its part. */
    int bf16_grad;
    uint16_t *grad_bf16;
    /* Bits, where the convolution gives it so (bp_layer_type.gives_sums), in place of grad: the
     * integers of its product and the samples' scales. */
    int16_t *grad_sums;
    float *grad_scale;
    /* Bits: which samples have a gradient, [n] of 1 or 0; those of the others are zero and not
     * written. Set by the convolution, its only consumer. NULL: all of them. */
    uint8_t *grad_kept;
    /* grad is that of the last consumer's output, of which this is the residual branch: the sum's
     * gradient is the branch's, and is not read any more when another consumer adds to it. That
     * layer sets the pointer. */
    int grad_shared;
    int grad_written;
    /* Set by the producer when it plans, or without rows: the first consumer, which writes grad
     * as the last, may let it read the rows on the way. */
    struct bp_grad_reader grad_reader;
    /* Left by a pooling layer in the backward pass, see bp_layer.defers: not in grad yet. */
    struct bp_pooled_gradient grad_pooled;
    /* f32: the data are not kept for the backward pass; there, `value` makes rows of them again.
     * Or they are never stored (unstored, data NULL): `value` makes rows of them for the forward
     * pass too. Set by the graph, and `value` by the producer when it plans. */
    int remade, unstored;
    struct bp_value_source value;
    /* Asked for by a consumer that normalises by batch statistics when it plans, else NULL; in
     * training the producer may fill them in. */
    struct bp_channel_sums *sums;
    int producer;       /* layer index; -1: the network's input */
    int last_consumer;  /* layer index */
    int first_consumer; /* layer index: the last to touch the gradient before the producer */
};

/* The gradient as the ops read it. */
static inline struct bp_gradient bp_tensor_gradient(const struct bp_tensor *tensor) {
    struct bp_gradient gradient = {tensor->grad, tensor->grad_bf16, tensor->grad_sums,
                                   tensor->grad_scale, tensor->grad_kept};
    return gradient;
}

/* 1 if the caller must add to tensor->grad, 0 if it must overwrite (and marks it written). */
int bp_tensor_grad_begin(struct bp_tensor *tensor);

/* --- layers ----------------------------------------------------------------------------------- */

struct bp_graph;
struct bp_layer;

/* What a layer's backward pass reads of the data of `in`. Those of in2 are not read. */
enum bp_back_reads {
    BP_BACK_READS_ALL,
    BP_BACK_READS_ROWS, /* or, as the forward pass, the rows that in->value makes */
    BP_BACK_READS_NONE
};

struct bp_layer_type {
    const char *name;
    enum bp_back_reads back_reads;
    int adds_pooled; /* its backward pass adds in->grad_pooled to in->grad */
    /* Adds buffers to graph->step_plan and scratch to graph->exec; creates ops. The graph has
     * already planned the tensors' own data, mask and grad. */
    bp_status (*plan)(struct bp_graph *graph, struct bp_layer *layer);
    bp_status (*forward)(struct bp_graph *graph, struct bp_layer *layer);
    bp_status (*backward)(struct bp_graph *graph, struct bp_layer *layer);
    /* Whether the gradient of its input is planned as integers, see bp_tensor.grad_sums; asked
     * before anything is planned. NULL: no. */
    int (*gives_sums)(const struct bp_graph *graph, const struct bp_layer *layer);
    /* Whether it needs nothing of what makes its output's gradient when it begins to write that of
     * its input, which is then planned from its second time on; asked as gives_sums. NULL: no. */
    int (*reads_first)(const struct bp_graph *graph, const struct bp_layer *layer);
    /* After the parameters changed (optimizer, loading); NULL: nothing to do. signs_packed: the
     * latent parameters' signs are up to date already. */
    void (*weights_changed)(struct bp_graph *graph, struct bp_layer *layer, int signs_packed);
    void (*destroy)(struct bp_layer *layer);
};

struct bp_layer {
    const struct bp_layer_type *type;
    char name[64];
    int index;
    int binary_index;           /* 0, 1, ... over the binary convolutions; -1 for others */
    struct bp_tensor *in, *in2; /* in2: the residual branch, or NULL */
    struct bp_tensor *out;
    int remakes;    /* can make rows of `out` again from `in` and in2 */
    int recomputes; /* makes rows of `out` from what it keeps itself: out need not be stored */
    /* Does not write in->grad but leaves its part in in->grad_pooled, for the first consumer of
     * `in` (whose type adds_pooled) to add when it writes in->grad itself. */
    int defers;
    int forward_time, backward_time;  /* the first of the two */
    void *self;                       /* the layer type's own struct */
    uint64_t forward_ns, backward_ns; /* of the last step */
};

/* --- the graph -------------------------------------------------------------------------------- */

struct bp_graph_config {
    char model[16]; /* "vgg16", "resnet18" */
    double width;
    size_t height, width_px, channels; /* of the input, after padding */
    size_t classes;
    size_t batch;    /* the largest batch */
    int training;    /* 0: forward only: no gradients, no kept activations */
    int freeze_body; /* only the head is trained: the layers before it run as in evaluation */
    enum bp_precision precision;
    enum bp_stem stem;
    enum bp_shortcut shortcut;
    int also_qat;        /* plan the buffers of qat too, see bp_graph_set_precision */
    int share_gradients; /* those of weights (parameters of two dimensions and more), see
                            bp_param.grad_shared; 0: all are kept until the next step */
    struct bp_quant quant_da, quant_dw; /* psq and fqt */
    enum bp_fp32_backend backend;
    float label_smoothing;
    uint64_t seed;
    float mean[3],
        deviation[3]; /* of pixel / 255 per channel: x = (pixel / 255 - mean) / deviation */
};

/* Sees every binary convolution just before its quantized backward pass, whose gradient source is
 * valid then. It may run the layer's op backwards and overwrite the weight's grad: the pass itself
 * writes it anew, so that nothing it computes depends on an observer. */
struct bp_backward_observer {
    bp_status (*before)(struct bp_backward_observer *observer, struct bp_graph *graph,
                        const struct bp_layer *layer);
};

/* Takes the gradients of a layer's parameters as soon as its backward pass has made them. It may
 * change the values of those with more than one dimension, which no other layer's backward pass
 * reads; what layers make of weights stays as it is until bp_graph_weights_updated. */
struct bp_param_updater {
    /* Returns 0 to end the backward pass here. */
    int (*update)(struct bp_param_updater *updater, const struct bp_layer *layer);
};

struct bp_graph {
    struct bp_graph_config config;
    struct bp_exec *exec;
    struct bp_plan *model_plan; /* values, gradients that are kept, moments: one block */
    struct bp_plan *step_plan;  /* activations, other gradients, workspaces: one block */
    struct bp_tensor **tensors;
    struct bp_layer **layers;
    struct bp_param **params;
    struct bp_running **running;
    size_t n_tensors, n_layers, n_params, n_running, n_binary;
    struct bp_tensor *input;  /* [n][h][w][channels]: f32, normalised; u8 for an 8-bit stem */
    struct bp_tensor *logits; /* f32 [n][1][1][classes] */
    size_t first_trained;     /* layer index: those before it have no backward pass */
    /* the current step */
    size_t n;      /* samples in this batch */
    int training;  /* this pass: batch statistics and gradients */
    uint32_t step; /* training step number, for the random streams; set by the trainer */
    enum bp_precision precision; /* now */
    float *probabilities;        /* [n][classes], after bp_graph_loss or bp_graph_probabilities */
    struct bp_backward_observer *observer; /* NULL: none */
};

/* Builds the network on an execution context (which must outlive it): layers, plans, memory,
 * parameters initialised from config->seed. Impossible sizes are BP_USAGE. */
bp_status bp_graph_create(struct bp_graph **out, struct bp_exec *exec,
                          const struct bp_graph_config *config);
/* The same without the memory: plans are placed, no buffer has an address. For forecasts; nothing
 * but the plans, exec->scratch_bytes and the lists of the graph may be looked at. */
bp_status bp_graph_plan(struct bp_graph **out, struct bp_exec *exec,
                        const struct bp_graph_config *config);
void bp_graph_destroy(struct bp_graph *graph);

/* Pixels [n][height][width][channels] -> graph->input. n <= config.batch. */
void bp_graph_set_input(struct bp_graph *graph, size_t n, const uint8_t *images);

/* Runs all layers; training != 0 uses batch statistics, updates the running ones and keeps what the
 * backward pass needs (in trained layers; frozen ones run as in evaluation). */
bp_status bp_graph_forward(struct bp_graph *graph, int training);

/* Mean cross entropy of the batch (label smoothing as configured), number of correct predictions,
 * and, if with_gradient, dL/dlogits. Sums in a fixed order. */
bp_status bp_graph_loss(struct bp_graph *graph, const int32_t *labels, int with_gradient,
                        double *loss, size_t *correct);

/* Softmax of the logits -> graph->probabilities. */
void bp_graph_probabilities(struct bp_graph *graph);

/* For memory plans: the first of the two times of a layer's backward pass, and the end. */
int bp_graph_backward_time(const struct bp_graph *graph, int layer);
int bp_graph_end_time(const struct bp_graph *graph);

/* Runs all trained layers backwards; param->grad of each of their parameters is overwritten. The
 * updater (NULL: none) is called after each of them; its time is not in backward_ns. */
bp_status bp_graph_backward(struct bp_graph *graph, struct bp_param_updater *updater);

/* Tells every layer that the parameters changed: in any way, or by the optimizer, which packs the
 * signs of the latent ones itself. */
void bp_graph_weights_changed(struct bp_graph *graph);
void bp_graph_weights_updated(struct bp_graph *graph);

/* Changes the precision between steps, for a QAT warm-up: from qat to psq or fqt, in a graph
 * created for psq or fqt with config.also_qat. Starts as config.precision. */
void bp_graph_set_precision(struct bp_graph *graph, enum bp_precision precision);

/* --- for model builders and layer types ------------------------------------------------------- */

/* 1 if the layer has a backward pass. For plan and later: builders do not know it yet. */
int bp_layer_is_trained(const struct bp_graph *graph, const struct bp_layer *layer);

bp_status bp_graph_add_tensor(struct bp_graph *graph, struct bp_tensor **out, const char *name,
                              enum bp_tensor_kind kind, size_t h, size_t w, size_t c);
/* Adds a layer; in and in2 are recorded as consumed, out as produced. The layer's self is a zeroed
 * block of self_bytes. */
bp_status bp_graph_add_layer(struct bp_graph *graph, struct bp_layer **out,
                             const struct bp_layer_type *type, const char *name,
                             struct bp_tensor *in, struct bp_tensor *in2, struct bp_tensor *output,
                             size_t self_bytes);
/* Declares a parameter of the layer that was added last; its memory is in the model plan. dims
 * [n_dims]. */
bp_status bp_graph_add_param(struct bp_graph *graph, struct bp_param **out, const char *layer,
                             const char *name, int n_dims, const size_t *dims, unsigned flags);
bp_status bp_graph_add_running(struct bp_graph *graph, struct bp_running **out, const char *layer,
                               const char *name, size_t count);

/* The list of parameters and running statistics, whose order checkpoints, first values and
 * optimizers keep, need not be that of the layers: what was added since `later` goes before what
 * was added between `earlier` and `later`. */
struct bp_graph_mark {
    size_t params, running;
};
struct bp_graph_mark bp_graph_mark(const struct bp_graph *graph);
void bp_graph_list_before(struct bp_graph *graph, struct bp_graph_mark earlier,
                          struct bp_graph_mark later);

#ifdef __cplusplus
}
#endif
#endif
