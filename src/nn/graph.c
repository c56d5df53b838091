#include "nn/graph_internal.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "nn/layers.h"
#include "ops/head_loss.h"

/* --- building --------------------------------------------------------------------------------- */

/* Lists grow by doubling: `count` is a power of two or zero when the list is full. */
static bp_status append(void *list, size_t count, void *item) {
    void ***items = list;
    if ((count & (count - 1)) == 0)
        BP_TRY(bp_grow(items, count * sizeof(void *), (count == 0 ? 1 : 2 * count) * sizeof(void *),
                       "a network"));
    (*items)[count] = item;
    return BP_OK;
}

/* Takes a zeroed item and appends it to a list. */
static bp_status add_item(void *list, size_t *count, void *out, size_t bytes) {
    void **item = out;
    BP_TRY(bp_alloc(item, bytes, "a network"));
    bp_status status = append(list, *count, *item);
    if (status != BP_OK) {
        bp_free(*item);
        *item = NULL;
        return status;
    }
    (*count)++;
    return BP_OK;
}

bp_status bp_graph_add_tensor(struct bp_graph *graph, struct bp_tensor **out, const char *name,
                              enum bp_tensor_kind kind, size_t h, size_t w, size_t c) {
    struct bp_tensor *tensor;
    BP_TRY(add_item(&graph->tensors, &graph->n_tensors, &tensor, sizeof *tensor));
    snprintf(tensor->name, sizeof tensor->name, "%s", name);
    tensor->kind = kind;
    tensor->h = h;
    tensor->w = w;
    tensor->c = c;
    tensor->producer = tensor->first_consumer = tensor->last_consumer = -1;
    *out = tensor;
    return BP_OK;
}

static void note_consumer(struct bp_tensor *tensor, int layer) {
    if (tensor->first_consumer < 0)
        tensor->first_consumer = layer;
    tensor->last_consumer = layer;
}

bp_status bp_graph_add_layer(struct bp_graph *graph, struct bp_layer **out,
                             const struct bp_layer_type *type, const char *name,
                             struct bp_tensor *in, struct bp_tensor *in2, struct bp_tensor *output,
                             size_t self_bytes) {
    struct bp_layer *layer;
    BP_TRY(add_item(&graph->layers, &graph->n_layers, &layer, sizeof *layer));
    snprintf(layer->name, sizeof layer->name, "%s", name);
    layer->type = type;
    layer->index = (int)graph->n_layers - 1;
    layer->binary_index = -1;
    layer->in = in;
    layer->in2 = in2;
    layer->out = output;
    note_consumer(in, layer->index);
    if (in2 != NULL)
        note_consumer(in2, layer->index);
    output->producer = layer->index;
    output->needs_grad = graph->config.training && !graph->config.freeze_body;
    *out = layer;
    return bp_alloc(&layer->self, self_bytes, "a layer");
}

bp_status bp_graph_add_param(struct bp_graph *graph, struct bp_param **out, const char *layer,
                             const char *name, int n_dims, const size_t *dims, unsigned flags) {
    struct bp_param *param;
    BP_TRY(add_item(&graph->params, &graph->n_params, &param, sizeof *param));
    snprintf(param->name, sizeof param->name, "%s.%s", layer, name);
    param->layer = graph->n_layers - 1;
    param->n_dims = n_dims;
    param->flags = flags;
    param->count = 1;
    for (int i = 0; i < n_dims; i++) {
        param->dims[i] = dims[i];
        param->count *= dims[i];
    }
    size_t bytes = param->count * sizeof(float);
    BP_TRY(bp_plan_add(graph->model_plan, param->name, bytes, 0, 0, &param->value));
    if (graph->config.training) {
        BP_TRY(bp_plan_add(graph->model_plan, param->name, bytes, 0, 0, &param->moment1));
        BP_TRY(bp_plan_add(graph->model_plan, param->name, bytes, 0, 0, &param->moment2));
    }
    *out = param;
    return BP_OK;
}

bp_status bp_graph_add_running(struct bp_graph *graph, struct bp_running **out, const char *layer,
                               const char *name, size_t count) {
    struct bp_running *running;
    BP_TRY(add_item(&graph->running, &graph->n_running, &running, sizeof *running));
    snprintf(running->name, sizeof running->name, "%s.%s", layer, name);
    running->layer = graph->n_layers - 1;
    running->count = count;
    *out = running;
    return bp_plan_add(graph->model_plan, running->name, count * sizeof(float), 0, 0,
                       &running->value);
}

struct bp_graph_mark bp_graph_mark(const struct bp_graph *graph) {
    return (struct bp_graph_mark){graph->n_params, graph->n_running};
}

/* Item `begin` of a list goes to its end, as often as `count` says. */
static void move_behind(void *list, size_t begin, size_t count, size_t end) {
    void **items = *(void ***)list;
    for (; count > 0; count--) {
        void *item = items[begin];
        memmove(items + begin, items + begin + 1, (end - begin - 1) * sizeof *items);
        items[end - 1] = item;
    }
}

void bp_graph_list_before(struct bp_graph *graph, struct bp_graph_mark earlier,
                          struct bp_graph_mark later) {
    move_behind(&graph->params, earlier.params, later.params - earlier.params, graph->n_params);
    move_behind(&graph->running, earlier.running, later.running - earlier.running,
                graph->n_running);
}

int bp_layer_is_trained(const struct bp_graph *graph, const struct bp_layer *layer) {
    return graph->config.training && layer->index >= (int)graph->first_trained;
}

int bp_tensor_grad_begin(struct bp_tensor *tensor) {
    int accumulate = tensor->grad_written;
    tensor->grad_written = 1;
    return accumulate;
}

/* --- creation --------------------------------------------------------------------------------- */

struct init_job {
    const struct bp_param *param;
    struct bp_stream stream;
};

static void init_part(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    const struct init_job *job = context;
    const struct bp_param *param = job->param;
    for (size_t j = begin; j < end; j++) {
        param->value[j] = param->init_mean;
        if (param->init_deviation != 0.0f)
            param->value[j] += param->init_deviation * bp_stream_normal(&job->stream, j);
    }
}

static void init_values(struct bp_graph *graph) {
    for (size_t i = 0; i < graph->n_params; i++) {
        struct init_job job = {graph->params[i],
                               bp_stream_make(graph->config.seed, BP_RANDOM_INIT, (unsigned)i, 0)};
        bp_parallel_for(graph->exec->threads, job.param->count, init_part, &job);
    }
    for (size_t i = 0; i < graph->n_running; i++)
        for (size_t j = 0; j < graph->running[i]->count; j++)
            graph->running[i]->value[j] = graph->running[i]->init;
}

static bp_status place(struct bp_graph *graph) {
    BP_TRY(bp_plan_place(graph->model_plan));
    return bp_plan_place(graph->step_plan);
}

static bp_status allocate(struct bp_graph *graph) {
    BP_TRY(bp_plan_allocate(graph->model_plan, "parameters and optimizer state"));
    BP_TRY(bp_plan_allocate(graph->step_plan, "activations and gradients"));
    BP_TRY(bp_exec_allocate(graph->exec));
    init_values(graph);
    bp_graph_weights_changed(graph);
    return BP_OK;
}

static bp_status build(struct bp_graph *graph) {
    const struct bp_graph_config *config = &graph->config;
    BP_TRY(bp_plan_create(&graph->model_plan));
    BP_TRY(bp_plan_create(&graph->step_plan));
    int bytes = config->stem == BP_STEM_8_BIT;
    BP_TRY(bp_graph_add_tensor(graph, &graph->input, "input", bytes ? BP_TENSOR_U8 : BP_TENSOR_F32,
                               config->height, config->width_px, config->channels));
    if (strcmp(config->model, "vgg16") == 0)
        BP_TRY(bp_model_vgg16_build(graph));
    else if (strcmp(config->model, "resnet18") == 0)
        BP_TRY(bp_model_resnet18_build(graph));
    else
        return bp_fail(BP_USAGE, "unknown model '%s'; use vgg16 or resnet18", config->model);
    graph->logits->from_source = 0; /* its gradient comes from the loss */
    graph->logits->needs_grad = config->training;
    graph->first_trained = config->freeze_body ? (size_t)graph->logits->producer : 0;
    return bp_graph_plan_buffers(graph);
}

static bp_status create(struct bp_graph **out, struct bp_exec *exec,
                        const struct bp_graph_config *config,
                        bp_status (*finish)(struct bp_graph *graph)) {
    struct bp_graph *graph;
    *out = NULL;
    if (config->batch == 0 || config->classes == 0 || config->channels == 0 || config->channels > 3)
        return bp_fail(BP_USAGE,
                       "a network needs a batch of at least 1, at least 1 of classes, and 1 "
                       "to 3 channels");
    BP_TRY(bp_alloc(&graph, sizeof *graph, "a network"));
    graph->config = *config;
    graph->exec = exec;
    graph->precision = config->precision;
    bp_status status = build(graph);
    if (status == BP_OK)
        status = finish(graph);
    if (status != BP_OK) {
        bp_graph_destroy(graph);
        return status;
    }
    *out = graph;
    return BP_OK;
}

bp_status bp_graph_create(struct bp_graph **out, struct bp_exec *exec,
                          const struct bp_graph_config *config) {
    return create(out, exec, config, allocate);
}

bp_status bp_graph_plan(struct bp_graph **out, struct bp_exec *exec,
                        const struct bp_graph_config *config) {
    return create(out, exec, config, place);
}

void bp_graph_destroy(struct bp_graph *graph) {
    if (graph == NULL)
        return;
    for (size_t i = 0; i < graph->n_layers; i++) {
        if (graph->layers[i]->self != NULL && graph->layers[i]->type->destroy != NULL)
            graph->layers[i]->type->destroy(graph->layers[i]);
        bp_free(graph->layers[i]->self);
        bp_free(graph->layers[i]);
    }
    for (size_t i = 0; i < graph->n_tensors; i++)
        bp_free(graph->tensors[i]);
    for (size_t i = 0; i < graph->n_params; i++)
        bp_free(graph->params[i]);
    for (size_t i = 0; i < graph->n_running; i++)
        bp_free(graph->running[i]);
    bp_free(graph->layers);
    bp_free(graph->tensors);
    bp_free(graph->params);
    bp_free(graph->running);
    bp_plan_destroy(graph->model_plan);
    bp_plan_destroy(graph->step_plan);
    bp_free(graph);
}

/* --- running ---------------------------------------------------------------------------------- */

struct input_job {
    struct bp_graph *graph;
    const uint8_t *images;
};

static void input_part(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    struct input_job *job = context;
    const struct bp_graph_config *config = &job->graph->config;
    size_t c = config->channels, pixels = config->height * config->width_px;
    float scale[3], shift[3];
    for (size_t j = 0; j < c; j++) {
        scale[j] = 1.0f / (255.0f * config->deviation[j]);
        shift[j] = -config->mean[j] / config->deviation[j];
    }
    for (size_t i = begin * pixels; i < end * pixels; i++)
        for (size_t j = 0; j < c; j++)
            job->graph->input->f32[i * c + j] = (float)job->images[i * c + j] * scale[j] + shift[j];
}

static void copy_part(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    struct input_job *job = context;
    const struct bp_graph_config *config = &job->graph->config;
    size_t bytes = config->height * config->width_px * config->channels;
    memcpy(job->graph->input->u8 + begin * bytes, job->images + begin * bytes,
           (end - begin) * bytes);
}

void bp_graph_set_input(struct bp_graph *graph, size_t n, const uint8_t *images) {
    struct input_job job = {graph, images};
    graph->n = n;
    if (graph->input->kind == BP_TENSOR_U8) {
        bp_parallel_for(graph->exec->threads, n, copy_part, &job);
        return;
    }
    bp_parallel_for(graph->exec->threads, n, input_part, &job);
}

bp_status bp_graph_forward(struct bp_graph *graph, int training) {
    for (size_t i = 0; i < graph->n_layers; i++) {
        struct bp_layer *layer = graph->layers[i];
        uint64_t start = bp_clock_ns();
        graph->training = training && i >= graph->first_trained;
        BP_TRY(layer->type->forward(graph, layer));
        layer->forward_ns = bp_clock_ns() - start;
    }
    return BP_OK;
}

bp_status bp_graph_loss(struct bp_graph *graph, const int32_t *labels, int with_gradient,
                        double *loss, size_t *correct) {
    *loss = bp_head_loss(graph->logits->f32, labels, graph->n, graph->config.classes,
                         graph->config.label_smoothing, graph->probabilities,
                         with_gradient ? graph->logits->grad : NULL, correct);
    return BP_OK;
}

void bp_graph_probabilities(struct bp_graph *graph) {
    bp_head_probabilities(graph->logits->f32, graph->n, graph->config.classes,
                          graph->probabilities);
}

bp_status bp_graph_backward(struct bp_graph *graph, struct bp_param_updater *updater) {
    for (size_t i = 0; i < graph->n_tensors; i++) {
        graph->tensors[i]->grad_written = 0;
        graph->tensors[i]->grad_pooled.g = NULL;
    }
    for (size_t i = graph->n_layers; i-- > graph->first_trained;) {
        struct bp_layer *layer = graph->layers[i];
        uint64_t start = bp_clock_ns();
        BP_TRY(layer->type->backward(graph, layer));
        layer->backward_ns = bp_clock_ns() - start;
        if (updater != NULL && !updater->update(updater, layer))
            break;
    }
    return BP_OK;
}

static void tell_layers(struct bp_graph *graph, size_t first, int signs_packed) {
    for (size_t i = first; i < graph->n_layers; i++)
        if (graph->layers[i]->type->weights_changed != NULL)
            graph->layers[i]->type->weights_changed(graph, graph->layers[i], signs_packed);
}

void bp_graph_weights_changed(struct bp_graph *graph) {
    tell_layers(graph, 0, 0);
}

void bp_graph_weights_updated(struct bp_graph *graph) {
    tell_layers(graph, graph->first_trained, 1);
}

void bp_graph_set_precision(struct bp_graph *graph, enum bp_precision precision) {
    graph->precision = precision;
}
