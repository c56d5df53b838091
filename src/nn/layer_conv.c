/* The fp32 convolution as a layer: stems, shortcuts, the head, and every convolution of mode fp32.
 */
#include <stdio.h>

#include "nn/conv_base.h"
#include "nn/layers.h"
#include "ops/sign_float.h"

struct layer_conv {
    struct bp_conv_base base;
    struct bp_param *bias;
    struct bp_fp32_conv *conv;
    float *g; /* [n][oh][ow][k]: the gradient rows of the consumer, collected */
};

static bp_status plan(struct bp_graph *graph, struct bp_layer *layer) {
    struct layer_conv *self = layer->self;
    const struct bp_conv_shape *s = &self->base.shape;
    unsigned passes = BP_FP32_FORWARD;
    if (bp_layer_is_trained(graph, layer)) {
        passes |= BP_FP32_BACKWARD_WEIGHTS;
        passes |= layer->in->needs_grad ? BP_FP32_BACKWARD_DATA : 0u;
    }
    if (bp_layer_is_trained(graph, layer) && layer->out->from_source) {
        char text[96];
        snprintf(text, sizeof text, "%s gradient rows", layer->name);
        BP_TRY(bp_plan_add(graph->step_plan, text, s->n * s->oh * s->ow * s->k * sizeof(float),
                           layer->backward_time, layer->backward_time, &self->g));
        bp_exec_need_scratch(graph->exec, layer->out->source.scratch_bytes);
    }
    return bp_fp32_conv_create(&self->conv, graph->exec, graph->step_plan, graph->config.backend, s,
                               passes, layer->name, layer->forward_time, layer->backward_time);
}

static bp_status forward(struct bp_graph *graph, struct bp_layer *layer) {
    struct layer_conv *self = layer->self;
    return bp_fp32_conv_forward(self->conv, graph->exec, graph->n, layer->in->f32,
                                self->base.weight->value, self->bias ? self->bias->value : NULL,
                                layer->out->f32);
}

static bp_status backward(struct bp_graph *graph, struct bp_layer *layer) {
    struct layer_conv *self = layer->self;
    const struct bp_conv_shape *s = &self->base.shape;
    const float *g = layer->out->grad;
    if (layer->out->from_source) {
        bp_grad_source_collect(graph->exec, &layer->out->source, graph->n, s->oh, s->ow * s->k,
                               self->g);
        g = self->g;
    }
    BP_TRY(bp_fp32_conv_backward_weights(self->conv, graph->exec, graph->n, layer->in->f32, g,
                                         self->base.weight->grad,
                                         self->bias ? self->bias->grad : NULL));
    if (!layer->in->needs_grad)
        return BP_OK;
    int accumulate = bp_tensor_grad_begin(layer->in);
    return bp_fp32_conv_backward_data(self->conv, graph->exec, graph->n, g,
                                      self->base.weight->value, layer->in->grad, accumulate);
}

static void destroy(struct bp_layer *layer) {
    bp_fp32_conv_destroy(((struct layer_conv *)layer->self)->conv);
}

static const struct bp_layer_type type = {
    .name = "conv", .plan = plan, .forward = forward, .backward = backward, .destroy = destroy};

bp_status bp_layer_conv_add(struct bp_graph *graph, const char *name, struct bp_tensor *in,
                            size_t k, size_t r, size_t stride, size_t pad, int with_bias,
                            unsigned param_flags, struct bp_tensor **out) {
    const struct bp_conv_request request = {k, r, stride, pad, param_flags, 0};
    struct bp_layer *layer;
    BP_TRY(bp_conv_base_add(graph, &layer, &type, name, in, &request, sizeof(struct layer_conv)));
    *out = layer->out;
    if (!with_bias)
        return BP_OK;
    struct layer_conv *self = layer->self;
    return bp_graph_add_param(graph, &self->bias, name, "bias", 1, &k,
                              param_flags | BP_PARAM_NO_DECAY);
}
