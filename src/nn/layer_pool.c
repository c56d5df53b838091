/* Pooling as a layer (ops/pool.h). */
#include "nn/layers.h"

struct layer_pool {
    struct bp_pool_shape shape;
};

static bp_status plan(struct bp_graph *graph, struct bp_layer *layer) {
    (void)graph;
    (void)layer;
    return BP_OK;
}

static bp_status forward(struct bp_graph *graph, struct bp_layer *layer) {
    struct layer_pool *self = layer->self;
    bp_pool_forward(&self->shape, graph->exec, graph->n, layer->in->f32, layer->out->f32);
    return BP_OK;
}

static bp_status backward(struct bp_graph *graph, struct bp_layer *layer) {
    struct layer_pool *self = layer->self;
    int accumulate = bp_tensor_grad_begin(layer->in);
    bp_pool_backward(&self->shape, graph->exec, graph->n, layer->in->f32, layer->out->grad,
                     layer->in->grad, accumulate);
    return BP_OK;
}

static const struct bp_layer_type type = {
    .name = "pool", .plan = plan, .forward = forward, .backward = backward};

bp_status bp_layer_pool_add(struct bp_graph *graph, const char *name, struct bp_tensor *in,
                            enum bp_pool_kind kind, struct bp_tensor **out) {
    struct bp_pool_shape shape = bp_pool_shape_make(kind, in->h, in->w, in->c);
    BP_TRY(bp_graph_add_tensor(graph, out, name, BP_TENSOR_F32, shape.oh, shape.ow, in->c));
    struct bp_layer *layer;
    BP_TRY(
        bp_graph_add_layer(graph, &layer, &type, name, in, NULL, *out, sizeof(struct layer_pool)));
    ((struct layer_pool *)layer->self)->shape = shape;
    return BP_OK;
}
