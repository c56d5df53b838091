/* A convolution of bfloat16 as a layer (fp32/bf16_conv.h): bf16 -> f16. */
#include "fp32/bf16_conv.h"
#include "nn/conv_base.h"
#include "nn/layers.h"

struct layer_bf16_conv {
    struct bp_conv_base base;
    struct bp_bf16_conv *op;
};

static bp_status plan(struct bp_graph *graph, struct bp_layer *layer) {
    struct layer_bf16_conv *self = layer->self;
    unsigned passes = BP_FP32_FORWARD;
    if (bp_layer_is_trained(graph, layer)) {
        passes |= BP_FP32_BACKWARD_WEIGHTS;
        passes |= layer->in->needs_grad ? BP_FP32_BACKWARD_DATA : 0u;
    }
    return bp_bf16_conv_create(&self->op, graph->exec, graph->step_plan, graph->config.backend,
                               &self->base.shape, passes, layer->out->source.scratch_bytes,
                               layer->name, layer->forward_time, layer->backward_time);
}

static bp_status forward(struct bp_graph *graph, struct bp_layer *layer) {
    struct layer_bf16_conv *self = layer->self;
    return bp_bf16_conv_forward(self->op, graph->exec, graph->n, layer->in->bf16,
                                self->base.weight->value, layer->out->f16,
                                graph->training ? layer->out->sums : NULL);
}

static bp_status backward(struct bp_graph *graph, struct bp_layer *layer) {
    struct layer_bf16_conv *self = layer->self;
    float *dx = layer->in->needs_grad ? layer->in->grad : NULL;
    return bp_bf16_conv_backward(self->op, graph->exec, graph->n, layer->in->bf16,
                                 &layer->out->source, self->base.weight->value,
                                 self->base.weight->grad, dx,
                                 dx != NULL ? bp_tensor_grad_begin(layer->in) : 0);
}

static void destroy(struct bp_layer *layer) {
    bp_bf16_conv_destroy(((struct layer_bf16_conv *)layer->self)->op);
}

static const struct bp_layer_type type = {
    .name = "bf16 conv",
    .plan = plan,
    .forward = forward,
    .backward = backward,
    .destroy = destroy,
};

bp_status bp_layer_bf16_conv_add(struct bp_graph *graph, const char *name, struct bp_tensor *in,
                                 size_t k, size_t r, size_t stride, size_t pad,
                                 struct bp_tensor **out) {
    const struct bp_conv_request request = {
        .k = k, .r = r, .stride = stride, .pad = pad, .f16_out = 1};
    struct bp_layer *layer;
    BP_TRY(
        bp_conv_base_add(graph, &layer, &type, name, in, &request, sizeof(struct layer_bf16_conv)));
    *out = layer->out;
    return BP_OK;
}
