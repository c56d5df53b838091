/* Scale, PReLU, batch norm and sign between two binary convolutions as one layer
 * (ops/act_norm.h). */
#include "nn/layers.h"
#include "ops/act_norm.h"

struct layer_act_norm {
    struct bp_act_norm *op;
    struct bp_param *alpha, *slope, *weight, *bias;
    struct bp_running *mean, *variance;
};

static bp_status plan(struct bp_graph *graph, struct bp_layer *layer) {
    struct layer_act_norm *self = layer->self;
    const struct bp_tensor *in = layer->in;
    int last = layer->forward_time;
    if (bp_layer_is_trained(graph, layer)) /* the convolution before it asks for gradient rows */
        last = bp_graph_backward_time(graph, in->producer);
    BP_TRY(bp_act_norm_create(&self->op, graph->exec, graph->step_plan, graph->config.batch, in->h,
                              in->w, in->c, layer->name, in->producer, layer->forward_time, last));
    layer->in->sums = &self->op->sums;
    return BP_OK;
}

static struct bp_act_norm_params params_of(const struct layer_act_norm *self) {
    return (struct bp_act_norm_params){
        .alpha = self->alpha->value,
        .slope = self->slope->value,
        .norm = {self->weight->value, self->bias->value, self->mean->value, self->variance->value}};
}

static bp_status forward(struct bp_graph *graph, struct bp_layer *layer) {
    struct layer_act_norm *self = layer->self;
    struct bp_act_norm_params params = params_of(self);
    bp_act_norm_forward(self->op, graph->exec, graph->n, layer->in->i16, &params, graph->training,
                        layer->out->bits, layer->out->mask);
    return BP_OK;
}

static bp_status backward(struct bp_graph *graph, struct bp_layer *layer) {
    struct layer_act_norm *self = layer->self;
    struct bp_act_norm_params params = params_of(self);
    struct bp_act_norm_grads grads = {self->alpha->grad, self->slope->grad, self->weight->grad,
                                      self->bias->grad};
    const struct bp_gradient gradient = bp_tensor_gradient(layer->out);
    bp_act_norm_backward_sums(self->op, graph->exec, graph->n, layer->in->i16, &gradient, &params,
                              &grads);
    layer->in->source.rows = bp_act_norm_grad_rows;
    layer->in->source.ranges = bp_act_norm_grad_ranges;
    layer->in->source.columns = bp_act_norm_grad_columns;
    layer->in->source.codes = bp_act_norm_grad_codes;
    layer->in->source.context = self->op;
    return BP_OK;
}

static void destroy(struct bp_layer *layer) {
    bp_act_norm_destroy(((struct layer_act_norm *)layer->self)->op);
}

static const struct bp_layer_type type = {
    .name = "act_norm", .plan = plan, .forward = forward, .backward = backward, .destroy = destroy};

static bp_status add_params(struct bp_graph *graph, const char *act_name, const char *norm_name,
                            size_t c, struct layer_act_norm *self) {
    BP_TRY(bp_graph_add_param(graph, &self->alpha, act_name, "alpha", 1, &c, BP_PARAM_NO_DECAY));
    BP_TRY(bp_graph_add_param(graph, &self->slope, act_name, "slope", 1, &c, BP_PARAM_NO_DECAY));
    BP_TRY(bp_graph_add_param(graph, &self->weight, norm_name, "weight", 1, &c, BP_PARAM_NO_DECAY));
    BP_TRY(bp_graph_add_param(graph, &self->bias, norm_name, "bias", 1, &c, BP_PARAM_NO_DECAY));
    BP_TRY(bp_graph_add_running(graph, &self->mean, norm_name, "running_mean", c));
    BP_TRY(bp_graph_add_running(graph, &self->variance, norm_name, "running_var", c));
    self->alpha->init_mean = self->weight->init_mean = 1.0f;
    self->slope->init_mean = 0.25f;
    self->variance->init = 1.0f;
    return BP_OK;
}

bp_status bp_layer_act_norm_add(struct bp_graph *graph, const char *act_name, const char *norm_name,
                                struct bp_tensor *in, struct bp_tensor **out) {
    BP_TRY(bp_graph_add_tensor(graph, out, norm_name, BP_TENSOR_BITS, in->h, in->w, in->c));
    struct bp_layer *layer;
    BP_TRY(bp_graph_add_layer(graph, &layer, &type, norm_name, in, NULL, *out,
                              sizeof(struct layer_act_norm)));
    return add_params(graph, act_name, norm_name, in->c, layer->self);
}
