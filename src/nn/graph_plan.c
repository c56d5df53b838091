/* What a graph keeps in memory, and from when to when: the data and gradients of its tensors, the
 * gradients of its parameters, and what its layers add. */
#include "nn/graph_internal.h"

#include <stdio.h>

static size_t data_bytes(const struct bp_graph *graph, const struct bp_tensor *t) {
    size_t n = graph->config.batch;
    switch (t->kind) {
    case BP_TENSOR_I16:
    case BP_TENSOR_F16:
    case BP_TENSOR_BF16:
        return n * t->h * t->w * t->c * sizeof(int16_t);
    case BP_TENSOR_U8:
        return n * t->h * t->w * t->c;
    case BP_TENSOR_BITS:
        return n * (t->h + 2) * (t->w + 2) * bp_words(t->c) * sizeof(uint64_t);
    case BP_TENSOR_F32:
        break;
    }
    return n * t->h * t->w * t->c * sizeof(float);
}

int bp_graph_backward_time(const struct bp_graph *graph, int layer) {
    return 3 * (int)graph->n_layers - 2 - 2 * layer;
}

int bp_graph_end_time(const struct bp_graph *graph) {
    return 3 * (int)graph->n_layers;
}

/* When a layer writes the gradient of its input, and reads the input last. */
static int write_time(const struct bp_graph *graph, int layer) {
    const struct bp_layer *l = graph->layers[layer];
    int later = l->type->reads_first != NULL && l->type->reads_first(graph, l);
    return bp_graph_backward_time(graph, layer) + later;
}

static int consumes(const struct bp_layer *layer, const struct bp_tensor *t) {
    return layer->in == t || layer->in2 == t;
}

/* See bp_tensor.remade: floats, where the producer can, its inputs are there (as a convolution's
 * output is), and no consumer needs more than rows. Longer chains of rows made from rows would save
 * more memory, but take too long (docs/PERFORMANCE.md). */
static int is_remade(const struct bp_graph *graph, const struct bp_tensor *t) {
    if (t->producer < (int)graph->first_trained || t->last_consumer < 0 || t->from_source ||
        t->kind != BP_TENSOR_F32)
        return 0;
    const struct bp_layer *producer = graph->layers[t->producer];
    int remade = graph->config.training && producer->remakes && producer->in->from_source &&
                 (producer->in2 == NULL || !producer->in2->remade);
    for (int i = t->first_consumer; i <= t->last_consumer; i++)
        if (graph->layers[i]->in == t && graph->layers[i]->type->back_reads == BP_BACK_READS_ALL)
            remade = 0;
    return remade;
}

/* See bp_tensor.unstored: where the producer makes rows, and no consumer needs more. */
static int is_unstored(const struct bp_graph *graph, const struct bp_tensor *t) {
    int unstored =
        t->producer >= 0 && t->last_consumer >= 0 && graph->layers[t->producer]->recomputes;
    for (int i = t->first_consumer; unstored && i <= t->last_consumer; i++)
        if (consumes(graph->layers[i], t))
            unstored = graph->layers[i]->in2 != t &&
                       graph->layers[i]->type->back_reads == BP_BACK_READS_ROWS;
    return unstored;
}

/* Whether t's data are read in the backward pass of a layer, or for what follows it. */
static int reads_back(const struct bp_layer *layer, const struct bp_tensor *t) {
    if (layer->in2 == t && layer->out->remade && !t->remade)
        return 1;
    return layer->in == t && (layer->type->back_reads == BP_BACK_READS_ALL ||
                              (layer->type->back_reads == BP_BACK_READS_ROWS && !t->remade));
}

/* Until when a tensor's data are read. Gradient rows that a convolution asks for are made from the
 * convolution's own output. */
static int last_read(const struct bp_graph *graph, const struct bp_tensor *t) {
    int layers = (int)graph->n_layers;
    if (t->last_consumer < 0)
        return layers; /* the logits: read by the loss */
    if (!graph->config.training || t->last_consumer < (int)graph->first_trained)
        return t->last_consumer;
    if (t->from_source)
        return bp_graph_backward_time(graph, t->producer);
    for (int i = t->first_consumer; i <= t->last_consumer; i++)
        if (i >= (int)graph->first_trained && reads_back(graph->layers[i], t))
            return write_time(graph, i);
    return t->last_consumer;
}

/* Until when a tensor's gradient is read: by its producer, or where that defers it, by who adds it
 * then; and if the producer passes gradient rows on to a convolution before it, by that one. */
static int last_gradient_read(const struct bp_graph *graph, const struct bp_tensor *t) {
    const struct bp_tensor *before = graph->layers[t->producer]->in;
    if (graph->layers[t->producer]->defers)
        return bp_graph_backward_time(graph, before->first_consumer);
    return bp_graph_backward_time(graph, before->from_source ? before->producer : t->producer);
}

/* See bp_tensor.grad_shared. */
static int shares_gradient(const struct bp_graph *graph, const struct bp_tensor *t) {
    if (t->last_consumer < 0 || (t->kind != BP_TENSOR_F32 && !t->bf16_grad))
        return 0;
    const struct bp_layer *last = graph->layers[t->last_consumer];
    if (last->in2 != t || last->in == t || last->out->last_consumer < 0)
        return 0;
    for (int i = 0; i < t->last_consumer; i++)
        if (consumes(graph->layers[i], t) &&
            bp_graph_backward_time(graph, i) <= last_gradient_read(graph, last->out))
            return 0;
    return 1;
}

/* Until when the memory of t's gradient is in use, which may become that of residual branches. */
static int gradient_end(const struct bp_graph *graph, const struct bp_tensor *t) {
    int end = last_gradient_read(graph, t);
    const struct bp_tensor *branch = graph->layers[t->producer]->in2;
    if (branch == NULL || !branch->grad_shared)
        return end;
    int of_branch = gradient_end(graph, branch);
    return of_branch > end ? of_branch : end;
}

/* See bp_tensor.grad_sums. */
static int gives_sums(const struct bp_graph *graph, const struct bp_tensor *t) {
    if (t->kind != BP_TENSOR_BITS || t->last_consumer < 0)
        return 0;
    const struct bp_layer *layer = graph->layers[t->last_consumer];
    return layer->type->gives_sums != NULL && layer->type->gives_sums(graph, layer);
}

static bp_status plan_tensor(struct bp_graph *graph, struct bp_tensor *t) {
    int first = t->producer < 0 ? 0 : t->producer, last = last_read(graph, t);
    size_t pixels = graph->config.batch * t->h * t->w;
    char text[96];
    if (!t->unstored)
        BP_TRY(bp_plan_add(graph->step_plan, t->name, data_bytes(graph, t), first, last, &t->data));
    if (!graph->config.training || (t->producer >= 0 && t->producer < (int)graph->first_trained))
        return BP_OK;
    if (t->kind == BP_TENSOR_BITS) {
        snprintf(text, sizeof text, "%s mask", t->name);
        BP_TRY(bp_plan_add(graph->step_plan, text, pixels * bp_words(t->c) * sizeof(uint64_t),
                           first, last, &t->mask));
    }
    if (!t->needs_grad || t->from_source)
        return BP_OK;
    snprintf(text, sizeof text, "%s gradient", t->name);
    int first_time = (int)graph->n_layers, begin = first_time; /* the logits': the loss's */
    if (t->last_consumer >= 0) {
        first_time = bp_graph_backward_time(graph, t->last_consumer);
        begin = write_time(graph, t->last_consumer);
    }
    t->grad_shared = shares_gradient(graph, t);
    if (t->grad_shared)
        return BP_OK;
    int end = gradient_end(graph, t);
    int as_sums = gives_sums(graph, t);
    void *where = as_sums        ? (void *)&t->grad_sums
                  : t->bf16_grad ? (void *)&t->grad_bf16
                                 : (void *)&t->grad;
    size_t size = as_sums || t->bf16_grad ? sizeof(int16_t) : sizeof(float);
    BP_TRY(bp_plan_add(graph->step_plan, text, pixels * t->c * size, begin, end, where));
    if (t->kind != BP_TENSOR_BITS)
        return BP_OK;
    snprintf(text, sizeof text, "%s scales", t->name);
    if (as_sums)
        BP_TRY(bp_plan_add(graph->step_plan, text, graph->config.batch * sizeof(float), first_time,
                           end, &t->grad_scale));
    snprintf(text, sizeof text, "%s kept", t->name);
    return bp_plan_add(graph->step_plan, text, graph->config.batch, first_time, end, &t->grad_kept);
}

static bp_status plan_gradient(struct bp_graph *graph, struct bp_param *param) {
    size_t bytes = param->count * sizeof(float);
    int time = graph->layers[param->layer]->backward_time;
    char text[128];
    param->grad_shared = graph->config.share_gradients && param->n_dims > 1;
    if (!param->grad_shared)
        return bp_plan_add(graph->model_plan, param->name, bytes, 0, 0, &param->grad);
    snprintf(text, sizeof text, "%s gradient", param->name);
    return bp_plan_add(graph->step_plan, text, bytes, time, time + 1, &param->grad);
}

bp_status bp_graph_plan_buffers(struct bp_graph *graph) {
    for (size_t i = 0; i < graph->n_layers; i++) {
        graph->layers[i]->forward_time = (int)i;
        graph->layers[i]->backward_time = bp_graph_backward_time(graph, (int)i);
    }
    for (size_t i = 0; i < graph->n_tensors; i++) {
        graph->tensors[i]->remade = is_remade(graph, graph->tensors[i]);
        graph->tensors[i]->unstored = is_unstored(graph, graph->tensors[i]);
    }
    for (size_t i = 0; i < graph->n_tensors; i++)
        BP_TRY(plan_tensor(graph, graph->tensors[i]));
    for (size_t i = 0; graph->config.training && i < graph->n_params; i++)
        BP_TRY(plan_gradient(graph, graph->params[i]));
    for (size_t i = 0; i < graph->n_layers; i++)
        BP_TRY(graph->layers[i]->type->plan(graph, graph->layers[i]));
    size_t probabilities = graph->config.batch * graph->config.classes * sizeof(float);
    BP_TRY(bp_plan_add(graph->step_plan, "probabilities", probabilities, 0,
                       bp_graph_end_time(graph), &graph->probabilities));
    return BP_OK;
}
