/* Pooling as a layer (ops/pool.h). */
#include <stdio.h>

#include "nn/layers.h"

struct layer_pool {
    struct bp_pool_shape shape;
    uint8_t *winner; /* max pooling in training */
};

static bp_status plan(struct bp_graph *graph, struct bp_layer *layer) {
    struct layer_pool *self = layer->self;
    if (layer->out->kind == BP_TENSOR_BF16)
        bp_exec_need_scratch(graph->exec, bp_pool_bf16_scratch_bytes(&self->shape));
    size_t bytes = bp_pool_winner_bytes(&self->shape, graph->config.batch);
    char text[96];
    if (bytes == 0 || !graph->config.training || layer->index < (int)graph->first_trained)
        return BP_OK;
    snprintf(text, sizeof text, "%s winners", layer->name);
    return bp_plan_add(graph->step_plan, text, bytes, layer->forward_time, layer->backward_time,
                       &self->winner);
}

static bp_status forward(struct bp_graph *graph, struct bp_layer *layer) {
    struct layer_pool *self = layer->self;
    if (layer->out->kind == BP_TENSOR_BF16)
        bp_pool_forward_bf16(&self->shape, graph->exec, graph->n, layer->in->f16, layer->out->bf16);
    else
        bp_pool_forward(&self->shape, graph->exec, graph->n, layer->in->f32, layer->out->f32,
                        self->winner);
    return BP_OK;
}

static bp_status backward(struct bp_graph *graph, struct bp_layer *layer) {
    struct layer_pool *self = layer->self;
    if (layer->defers) {
        layer->in->grad_pooled = (struct bp_pooled_gradient){self->shape, layer->out->grad};
        return BP_OK;
    }
    int accumulate = bp_tensor_grad_begin(layer->in);
    bp_pool_backward(&self->shape, graph->exec, graph->n, self->winner, layer->out->grad,
                     layer->in->grad, accumulate);
    return BP_OK;
}

static const struct bp_layer_type type = {.name = "pool",
                                          .back_reads = BP_BACK_READS_NONE,
                                          .plan = plan,
                                          .forward = forward,
                                          .backward = backward};

bp_status bp_layer_pool_add(struct bp_graph *graph, const char *name, struct bp_tensor *in,
                            enum bp_pool_kind kind, enum bp_tensor_kind out_kind,
                            struct bp_tensor **out) {
    struct bp_pool_shape shape = bp_pool_shape_make(kind, in->h, in->w, in->c);
    BP_TRY(bp_graph_add_tensor(graph, out, name, out_kind, shape.oh, shape.ow, in->c));
    struct bp_layer *layer;
    BP_TRY(
        bp_graph_add_layer(graph, &layer, &type, name, in, NULL, *out, sizeof(struct layer_pool)));
    ((struct layer_pool *)layer->self)->shape = shape;
    layer->defers = kind == BP_POOL_AVG_2X2 && in->first_consumer != layer->index &&
                    graph->layers[in->first_consumer]->type->adds_pooled;
    return BP_OK;
}
