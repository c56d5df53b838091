/* The first convolution in 8 bits as a layer (ops/byte_conv.h): pixels -> f32, or, of many
 * taps, i16 with a unit. */
#include "nn/conv_base.h"
#include "nn/layers.h"
#include "ops/byte_conv.h"

struct layer_byte_conv {
    struct bp_conv_base base;
    struct bp_byte_conv *op;
};

static bp_status plan(struct bp_graph *graph, struct bp_layer *layer) {
    struct layer_byte_conv *self = layer->self;
    int trained = bp_layer_is_trained(graph, layer), values = layer->forward_time;
    if (layer->out->unstored) /* its reader asks for rows at its own time */
        values = trained ? layer->backward_time : layer->out->last_consumer;
    if (trained)
        bp_exec_need_scratch(graph->exec, bp_byte_conv_backward_scratch_bytes(
                                              &self->base.shape, layer->out->source.scratch_bytes));
    BP_TRY(bp_byte_conv_create(&self->op, graph->exec, graph->step_plan, &self->base.shape,
                               graph->config.mean, graph->config.deviation, layer->name,
                               layer->forward_time, values, trained ? layer->backward_time : -1));
    layer->out->unit = bp_byte_conv_unit(self->op);
    if (layer->out->unstored)
        layer->out->value = (struct bp_value_source){bp_byte_conv_value_rows, self->op};
    return BP_OK;
}

static bp_status forward(struct bp_graph *graph, struct bp_layer *layer) {
    struct layer_byte_conv *self = layer->self;
    bp_byte_conv_forward(self->op, graph->exec, graph->n, layer->in->u8, layer->out->data,
                         graph->training ? layer->out->sums : NULL);
    return BP_OK;
}

static bp_status backward(struct bp_graph *graph, struct bp_layer *layer) {
    struct layer_byte_conv *self = layer->self;
    bp_byte_conv_backward(self->op, graph->exec, graph->n, &layer->out->source, graph->config.seed,
                          graph->step, self->base.weight->grad);
    return BP_OK;
}

static void weights_changed(struct bp_graph *graph, struct bp_layer *layer, int signs_packed) {
    struct layer_byte_conv *self = layer->self;
    (void)graph;
    (void)signs_packed;
    bp_byte_conv_set_weights(self->op, self->base.weight->value);
}

static void destroy(struct bp_layer *layer) {
    bp_byte_conv_destroy(((struct layer_byte_conv *)layer->self)->op);
}

static const struct bp_layer_type type = {
    .name = "8-bit conv",
    .back_reads = BP_BACK_READS_NONE, /* but what it has laid out */
    .plan = plan,
    .forward = forward,
    .backward = backward,
    .weights_changed = weights_changed,
    .destroy = destroy,
};

static bp_status byte_conv_add(struct bp_graph *graph, const char *name, struct bp_tensor *in,
                               size_t k, size_t r, size_t stride, size_t pad,
                               struct bp_tensor **out) {
    const struct bp_conv_request request = {.k = k, .r = r, .stride = stride, .pad = pad};
    struct bp_layer *layer;
    BP_TRY(
        bp_conv_base_add(graph, &layer, &type, name, in, &request, sizeof(struct layer_byte_conv)));
    const struct layer_byte_conv *self = layer->self;
    layer->recomputes = bp_byte_conv_is_cheap(&self->base.shape, graph->exec->tier);
    if (bp_byte_conv_is_narrow(&self->base.shape))
        layer->out->kind = BP_TENSOR_I16;
    *out = layer->out;
    return BP_OK;
}

bp_status bp_layer_stem_add(struct bp_graph *graph, const char *name, struct bp_tensor *in,
                            size_t k, size_t r, size_t stride, size_t pad, struct bp_tensor **out) {
    if (graph->config.stem == BP_STEM_8_BIT)
        return byte_conv_add(graph, name, in, k, r, stride, pad, out);
    return bp_layer_conv_add(graph, name, in, k, r, stride, pad, 0, 0, out);
}
