/* The binary convolution as a layer: bits -> i16. Backward, by precision:
 *   psq, fqt  quantized gradients, integer products (ops/bconv.h)
 *   qat       the float gradient against +-1 floats (fp32/fp32_ops.h)
 * then the straight-through masks of activations and latent weights. */
#include <stdio.h>
#include <string.h>

#include "nn/layers.h"
#include "ops/bconv.h"
#include "ops/sign_float.h"

/* First latent weights: normal with this deviation, so that nearly all lie inside the
 * straight-through window |w| < 1 and Adam steps of 1e-3 to 1e-2 flip signs within tens of steps.
 */
#define LATENT_DEVIATION 0.05f

struct layer_bconv {
    struct bp_conv_shape shape;
    struct bp_param *weight;
    struct bp_bconv *op;
    struct bp_fp32_conv *conv; /* qat: the float products */
    float *g, *a, *w;          /* qat: [n][oh][ow][k], [n][h][w][c], [k][r][r][c] */
};

static int plans_qat(const struct bp_graph *graph, const struct bp_layer *layer) {
    const struct bp_graph_config *config = &graph->config;
    return bp_layer_is_trained(graph, layer) &&
           (config->precision == BP_PRECISION_QAT || config->also_qat);
}

static int plans_codes(const struct bp_graph *graph, const struct bp_layer *layer) {
    const struct bp_graph_config *config = &graph->config;
    return bp_layer_is_trained(graph, layer) &&
           (config->precision == BP_PRECISION_PSQ || config->precision == BP_PRECISION_FQT);
}

static int gives_sums(const struct bp_graph *graph, const struct bp_layer *layer) {
    const struct layer_bconv *self = layer->self;
    return plans_codes(graph, layer) && !plans_qat(graph, layer) &&
           bp_bconv_gives_sums(&self->shape, &graph->config.quant_da);
}

/* All codes are made before the first product (bp_bconv_backward). */
static int reads_first(const struct bp_graph *graph, const struct bp_layer *layer) {
    return plans_codes(graph, layer) && !plans_qat(graph, layer);
}

static bp_status plan_qat(struct bp_graph *graph, struct bp_layer *layer) {
    struct layer_bconv *self = layer->self;
    const struct bp_conv_shape *s = &self->shape;
    int time = layer->backward_time;
    char text[96];
    snprintf(text, sizeof text, "%s gradient", layer->name);
    BP_TRY(bp_plan_add(graph->step_plan, text, s->n * s->oh * s->ow * s->k * sizeof(float), time,
                       time, &self->g));
    snprintf(text, sizeof text, "%s signs of x", layer->name);
    BP_TRY(bp_plan_add(graph->step_plan, text, s->n * s->h * s->w * s->c * sizeof(float), time,
                       time, &self->a));
    snprintf(text, sizeof text, "%s signs of w", layer->name);
    BP_TRY(bp_plan_add(graph->step_plan, text, self->weight->count * sizeof(float), time, time,
                       &self->w));
    bp_exec_need_scratch(graph->exec, layer->out->source.scratch_bytes);
    return bp_fp32_conv_create(&self->conv, graph->exec, graph->step_plan, graph->config.backend, s,
                               BP_FP32_BACKWARD_DATA | BP_FP32_BACKWARD_WEIGHTS, layer->name,
                               layer->forward_time, time);
}

static bp_status plan(struct bp_graph *graph, struct bp_layer *layer) {
    struct layer_bconv *self = layer->self;
    const struct bp_graph_config *config = &graph->config;
    int codes = plans_codes(graph, layer);
    BP_TRY(bp_bconv_create(&self->op, graph->exec, graph->step_plan, &self->shape,
                           codes ? &config->quant_da : NULL, codes ? &config->quant_dw : NULL,
                           layer->name, layer->backward_time, bp_graph_end_time(graph)));
    if (codes)
        bp_exec_need_scratch(graph->exec, bp_bconv_backward_scratch_bytes(
                                              &self->shape, layer->out->source.scratch_bytes));
    if (bp_layer_is_trained(graph, layer)) {
        char text[96];
        int end = self->weight->grad_shared ? layer->backward_time + 1 : bp_graph_end_time(graph);
        snprintf(text, sizeof text, "%s zero rows", layer->name);
        BP_TRY(bp_plan_add(graph->step_plan, text, self->shape.k, layer->backward_time, end,
                           &self->weight->grad_zero));
        if (self->weight->grad_shared && codes && bp_bconv_gives_dw_sums(self->op, graph->exec)) {
            snprintf(text, sizeof text, "%s gradient scales", layer->name);
            BP_TRY(bp_plan_add(graph->step_plan, text, self->shape.k * sizeof(float),
                               layer->backward_time, end, &self->weight->grad_scale));
        }
    }
    return plans_qat(graph, layer) ? plan_qat(graph, layer) : BP_OK;
}

static bp_status forward(struct bp_graph *graph, struct bp_layer *layer) {
    struct layer_bconv *self = layer->self;
    bp_bconv_forward(self->op, graph->exec, graph->n, layer->in->bits, layer->out->i16,
                     graph->training ? layer->out->sums : NULL);
    return BP_OK;
}

static bp_status backward_qat(struct bp_graph *graph, struct bp_layer *layer) {
    struct layer_bconv *self = layer->self;
    const struct bp_conv_shape *s = &self->shape;
    struct bp_exec *exec = graph->exec;
    size_t n = graph->n;
    bp_grad_source_collect(exec, &layer->out->source, n, s->oh, s->ow * s->k, self->g);
    bp_sign_float_unpack(exec, layer->in->bits, n, s->h, s->w, s->c, self->a);
    memset(self->weight->grad_zero, 0, s->k);
    BP_TRY(bp_fp32_conv_backward_weights(self->conv, exec, n, self->a, self->g, self->weight->grad,
                                         NULL));
    bp_sign_float_mask_latent(exec, self->weight->value, self->weight->count, self->weight->grad);
    if (!layer->in->needs_grad)
        return BP_OK;
    bp_sign_float_of(exec, self->weight->value, self->weight->count, self->w);
    memset(layer->in->grad_kept, 1, n);
    BP_TRY(bp_fp32_conv_backward_data(self->conv, exec, n, self->g, self->w, layer->in->grad, 0));
    bp_sign_float_mask(exec, layer->in->mask, n * s->h * s->w, s->c, layer->in->grad);
    return BP_OK;
}

static bp_status backward(struct bp_graph *graph, struct bp_layer *layer) {
    struct layer_bconv *self = layer->self;
    struct bp_tensor *in = layer->in;
    const struct bp_bconv_sums dx_sums = {in->grad_sums, in->grad_scale};
    const struct bp_bconv_dw_sums dw_sums = {(int16_t *)(void *)self->weight->grad,
                                             self->weight->grad_scale};
    if (in->needs_grad)
        bp_tensor_grad_begin(in);
    self->weight->grad_is_sums =
        graph->precision != BP_PRECISION_QAT && self->weight->grad_scale != NULL;
    if (graph->precision == BP_PRECISION_QAT)
        return backward_qat(graph, layer);
    if (graph->observer != NULL)
        BP_TRY(graph->observer->before(graph->observer, graph, layer));
    struct bp_bconv_zeros zeros = {in->needs_grad ? in->grad_kept : NULL, self->weight->grad_zero};
    bp_bconv_backward(self->op, graph->exec, graph->n, in->bits, in->mask, &layer->out->source,
                      graph->config.seed, (unsigned)layer->binary_index, graph->step,
                      self->weight->value, in->needs_grad ? in->grad : NULL, self->weight->grad,
                      &zeros, in->needs_grad && in->grad_sums != NULL ? &dx_sums : NULL,
                      self->weight->grad_is_sums ? &dw_sums : NULL);
    return BP_OK;
}

struct bp_bconv_parts bp_layer_bconv_parts(const struct bp_layer *layer) {
    const struct layer_bconv *self = layer->self;
    return (struct bp_bconv_parts){&self->shape, self->weight, self->op};
}

static void weights_changed(struct bp_graph *graph, struct bp_layer *layer, int signs_packed) {
    struct layer_bconv *self = layer->self;
    self->weight->signs = bp_bconv_signs(self->op);
    bp_bconv_pack(self->op, graph->exec, signs_packed ? NULL : self->weight->value);
}

static void destroy(struct bp_layer *layer) {
    struct layer_bconv *self = layer->self;
    bp_bconv_destroy(self->op);
    bp_fp32_conv_destroy(self->conv);
}

static const struct bp_layer_type type = {
    .name = "binary conv",
    .plan = plan,
    .forward = forward,
    .backward = backward,
    .gives_sums = gives_sums,
    .reads_first = reads_first,
    .weights_changed = weights_changed,
    .destroy = destroy,
};

bp_status bp_layer_bconv_add(struct bp_graph *graph, const char *name, struct bp_tensor *in,
                             size_t k, size_t r, size_t stride, struct bp_tensor **out) {
    struct bp_conv_shape shape;
    BP_TRY(
        bp_conv_shape_set(&shape, graph->config.batch, in->h, in->w, in->c, k, r, stride, r / 2));
    BP_TRY(bp_graph_add_tensor(graph, out, name, BP_TENSOR_I16, shape.oh, shape.ow, k));
    struct bp_layer *layer;
    BP_TRY(
        bp_graph_add_layer(graph, &layer, &type, name, in, NULL, *out, sizeof(struct layer_bconv)));
    struct layer_bconv *self = layer->self;
    self->shape = shape;
    layer->binary_index = (int)graph->n_binary++;
    (*out)->from_source = 1;
    const size_t dims[4] = {k, r, r, in->c};
    BP_TRY(bp_graph_add_param(graph, &self->weight, name, "weight", 4, dims, BP_PARAM_LATENT));
    self->weight->init_deviation = LATENT_DEVIATION;
    self->weight->sign_row = in->c;
    return BP_OK;
}
