/* Affine, activation, pooling, residual and sign as one layer (ops/norm_act.h). */
#include "nn/layers.h"

struct layer_norm_act {
    struct bp_norm_act_shape shape;
    struct bp_norm_act *op;
    struct bp_param *weight, *bias, *slope; /* weight: batch norm's gain, or alpha */
    struct bp_running *mean, *variance;
};

static bp_status plan(struct bp_graph *graph, struct bp_layer *layer) {
    struct layer_norm_act *self = layer->self;
    int last = layer->forward_time;
    if (bp_layer_is_trained(
            graph, layer)) /* a convolution before it asks for gradient rows at its own time */
        last = layer->in->from_source ? bp_graph_backward_time(graph, layer->in->producer)
                                      : layer->backward_time;
    BP_TRY(bp_norm_act_create(&self->op, graph->exec, graph->step_plan, &self->shape, layer->name,
                              layer->in->producer, layer->forward_time, last));
    if (self->shape.affine == BP_AFFINE_BATCH_NORM)
        layer->in->sums = &self->op->sums;
    self->op->norm.unit = layer->in->unit;
    self->op->y_source = layer->in->value;
    if (layer->in2 != NULL)
        self->op->residual_source = layer->in2->value;
    if (layer->out->remade)
        layer->out->value = (struct bp_value_source){bp_norm_act_value_rows, self->op};
    if (!self->shape.sign_out && !self->shape.max_pool && !layer->in->remade)
        layer->out->grad_reader = bp_norm_act_reader(self->op);
    bp_exec_need_scratch(graph->exec, bp_norm_act_backward_scratch_bytes(
                                          &self->shape, layer->in->grad_reader.scratch_bytes));
    return BP_OK;
}

static const float *value_of(const struct bp_param *param) {
    return param == NULL ? NULL : param->value;
}

static struct bp_norm_act_params params_of(const struct layer_norm_act *self) {
    return (struct bp_norm_act_params){
        .weight = value_of(self->weight),
        .bias = value_of(self->bias),
        .slope = value_of(self->slope),
        .running_mean = self->mean == NULL ? NULL : self->mean->value,
        .running_var = self->variance == NULL ? NULL : self->variance->value,
    };
}

static bp_status forward(struct bp_graph *graph, struct bp_layer *layer) {
    struct layer_norm_act *self = layer->self;
    struct bp_norm_act_params params = params_of(self);
    struct bp_norm_act_out out = {0};
    if (layer->out->kind == BP_TENSOR_BITS) {
        out.bits = layer->out->bits;
        out.mask = layer->out->mask;
    } else {
        out.out = layer->out->data;
        out.sums = graph->training ? layer->out->sums : NULL;
    }
    bp_norm_act_forward(self->op, graph->exec, graph->n, layer->in->data,
                        layer->in2 == NULL ? NULL : layer->in2->data, &params, graph->training,
                        &out);
    return BP_OK;
}

struct add_job {
    const float *g;
    float *to;
    int accumulate;
};

static void add_part(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    struct add_job *job = context;
    for (size_t i = begin; i < end; i++)
        job->to[i] = job->accumulate ? job->to[i] + job->g[i] : job->g[i];
}

/* The gradient of a sum goes to its residual branch, too. */
static bp_status pass_to_branch(struct bp_graph *graph, const struct bp_tensor *out,
                                struct bp_tensor *branch) {
    if (branch->grad_shared) {
        branch->grad = out->grad;
        branch->grad_bf16 = out->grad_bf16;
        bp_tensor_grad_begin(branch);
    } else if (branch->bf16_grad) {
        return bp_fail(BP_INTERNAL, "%s: a gradient in bfloat16 that is not shared", branch->name);
    } else if (branch->needs_grad) {
        struct add_job job = {out->grad, branch->grad, bp_tensor_grad_begin(branch)};
        bp_parallel_for(graph->exec->threads, graph->n * out->h * out->w * out->c, add_part, &job);
    }
    return BP_OK;
}

static bp_status backward(struct bp_graph *graph, struct bp_layer *layer) {
    struct layer_norm_act *self = layer->self;
    struct bp_norm_act_params params = params_of(self);
    struct bp_norm_act_grads grads = {
        .weight = self->weight->grad,
        .bias = self->bias == NULL ? NULL : self->bias->grad,
        .slope = self->slope == NULL ? NULL : self->slope->grad,
    };
    const struct bp_gradient gradient = bp_tensor_gradient(layer->out);
    bp_norm_act_backward_sums(self->op, graph->exec, graph->n,
                              layer->in->remade ? NULL : layer->in->data, &gradient, &params,
                              &grads);
    if (layer->in2 != NULL)
        BP_TRY(pass_to_branch(graph, layer->out, layer->in2));
    if (layer->in->from_source) {
        layer->in->source.rows = bp_norm_act_grad_rows;
        layer->in->source.rows_bf16 = self->shape.input_f16 ? bp_norm_act_grad_rows_bf16 : NULL;
        layer->in->source.ranges = self->shape.input_i16 ? bp_norm_act_grad_ranges : NULL;
        layer->in->source.columns = self->shape.input_i16 ? bp_norm_act_grad_columns : NULL;
        layer->in->source.codes = self->shape.input_i16 ? bp_norm_act_grad_codes : NULL;
        layer->in->source.context = self->op;
    } else if (layer->in->needs_grad) {
        self->op->pooled = layer->in->grad_pooled;
        if (layer->in->first_consumer == layer->index)
            self->op->reader = layer->in->grad_reader;
        void *dx = layer->in->bf16_grad ? (void *)layer->in->grad_bf16 : (void *)layer->in->grad;
        bp_norm_act_backward_all(self->op, graph->exec, graph->n, dx,
                                 bp_tensor_grad_begin(layer->in));
    }
    return BP_OK;
}

static void destroy(struct bp_layer *layer) {
    bp_norm_act_destroy(((struct layer_norm_act *)layer->self)->op);
}

static const struct bp_layer_type type = {.name = "norm_act",
                                          .back_reads = BP_BACK_READS_ROWS,
                                          .adds_pooled = 1,
                                          .plan = plan,
                                          .forward = forward,
                                          .backward = backward,
                                          .destroy = destroy};

static bp_status add_params(struct bp_graph *graph, const char *name, struct layer_norm_act *self) {
    size_t c = self->shape.c;
    int batch_norm = self->shape.affine == BP_AFFINE_BATCH_NORM;
    BP_TRY(bp_graph_add_param(graph, &self->weight, name, batch_norm ? "weight" : "alpha", 1, &c,
                              BP_PARAM_NO_DECAY));
    self->weight->init_mean = 1.0f;
    if (batch_norm) {
        BP_TRY(bp_graph_add_param(graph, &self->bias, name, "bias", 1, &c, BP_PARAM_NO_DECAY));
        BP_TRY(bp_graph_add_running(graph, &self->mean, name, "running_mean", c));
        BP_TRY(bp_graph_add_running(graph, &self->variance, name, "running_var", c));
        self->variance->init = 1.0f;
    }
    if (self->shape.activation != BP_ACT_PRELU)
        return BP_OK;
    BP_TRY(bp_graph_add_param(graph, &self->slope, name, "slope", 1, &c, BP_PARAM_NO_DECAY));
    self->slope->init_mean = 0.25f;
    return BP_OK;
}

bp_status bp_layer_norm_act_add(struct bp_graph *graph, const char *name, struct bp_tensor *in,
                                struct bp_tensor *residual, const struct bp_norm_act_config *config,
                                struct bp_tensor **out) {
    size_t h = config->max_pool ? in->h / 2 : in->h, w = config->max_pool ? in->w / 2 : in->w;
    if (config->window_pool) {
        h = (in->h + 1) / 2;
        w = (in->w + 1) / 2;
    }
    if (h == 0 || w == 0)
        return bp_fail(BP_USAGE,
                       "%s: the image is too small for this network; use --size 32 or more", name);
    int f16_out = config->f16_out && !config->sign_out;
    BP_TRY(bp_graph_add_tensor(graph, out, name,
                               config->sign_out ? BP_TENSOR_BITS
                               : f16_out        ? BP_TENSOR_F16
                                                : BP_TENSOR_F32,
                               h, w, in->c));
    (*out)->bf16_grad = f16_out;
    struct bp_layer *layer;
    BP_TRY(bp_graph_add_layer(graph, &layer, &type, name, in, residual, *out,
                              sizeof(struct layer_norm_act)));
    layer->remakes = !config->max_pool && !config->window_pool && !config->sign_out;
    struct layer_norm_act *self = layer->self;
    self->shape = (struct bp_norm_act_shape){.n = graph->config.batch,
                                             .h = in->h,
                                             .w = in->w,
                                             .c = in->c,
                                             .input_i16 = in->kind == BP_TENSOR_I16,
                                             .input_f16 = in->kind == BP_TENSOR_F16,
                                             .affine = config->affine,
                                             .activation = config->activation,
                                             .max_pool = config->max_pool,
                                             .window_pool = config->window_pool,
                                             .sign_out = config->sign_out,
                                             .output_f16 = f16_out};
    if (in->from_source)
        in->source.scratch_bytes = bp_norm_act_grad_scratch_bytes(&self->shape);
    return add_params(graph, name, self);
}
