#include "nn_net.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/rng.h"

static void must(bp_status status) {
    if (status != BP_OK)
        fail_msg("%s", bp_status_message());
}

struct bp_graph_config nn_config(const char *model, enum bp_precision precision, size_t size,
                                 double width) {
    struct bp_graph_config config = {.width = width,
                                     .height = size,
                                     .width_px = size,
                                     .channels = 3,
                                     .classes = 5,
                                     .batch = 3,
                                     .training = 1,
                                     .precision = precision,
                                     .backend = BP_FP32_PLAIN,
                                     .seed = 1,
                                     .mean = {0.5f, 0.4f, 0.3f},
                                     .deviation = {0.25f, 0.3f, 0.35f}};
    strncpy(config.model, model, sizeof config.model - 1);
    struct bp_quant quant = {
        .bits = 1, .keep = 1, .select = BP_SELECT_NONE, .weights = BP_WEIGHTS_RANGE};
    if (precision == BP_PRECISION_FQT)
        quant = (struct bp_quant){.bits = 4,
                                  .keep = 0.25f,
                                  .select = BP_SELECT_SYSTEMATIC,
                                  .weights = BP_WEIGHTS_RMS,
                                  .grid = BP_GRID_ZERO};
    config.quant_da = config.quant_dw = quant;
    if (precision == BP_PRECISION_FQT)
        config.quant_dw.groups = BP_GROUPS_CHANNEL;
    return config;
}

struct bp_graph_config nn_variant_config(const struct nn_variant *v) {
    struct bp_graph_config config = nn_config(v->model, v->precision, v->size, v->width);
    config.stem = v->stem;
    return config;
}

void nn_net_create(struct nn_net *net, const struct bp_graph_config *config, enum bp_tier tier,
                   int threads) {
    memset(net, 0, sizeof *net);
    must(bp_exec_create(&net->exec, tier, threads));
    must(bp_graph_create(&net->graph, net->exec, config));
    size_t bytes = config->batch * config->height * config->width_px * config->channels;
    must(bp_alloc(&net->images, bytes, "a test"));
    must(bp_alloc_array(&net->labels, config->batch, sizeof *net->labels, "a test"));
    struct bp_stream stream = bp_stream_make(2, BP_RANDOM_TEST, 8, 0);
    for (size_t i = 0; i < bytes; i++)
        net->images[i] = (uint8_t)bp_stream_below(&stream, i, 256);
    for (size_t i = 0; i < config->batch; i++)
        net->labels[i] = (int32_t)(i % config->classes);
}

void nn_net_destroy(struct nn_net *net) {
    bp_free(net->images);
    bp_free(net->labels);
    bp_graph_destroy(net->graph);
    bp_exec_destroy(net->exec);
}

/* The zeros of a gradient that were not written. */
static void write_zero_rows(struct bp_param *param) {
    size_t rows = param->grad_zero != NULL && !param->grad_shared ? param->dims[0] : 0;
    for (size_t i = 0; i < rows; i++)
        if (param->grad_zero[i])
            memset(param->grad + i * (param->count / rows), 0, param->count / rows * sizeof(float));
}

void nn_net_step(struct nn_net *net, size_t n, float rate) {
    struct bp_graph *graph = net->graph;
    bp_graph_set_input(graph, n, net->images);
    must(bp_graph_forward(graph, 1));
    must(bp_graph_loss(graph, net->labels, 1, &net->loss, &net->correct));
    must(bp_graph_backward(graph, net->updater));
    graph->step++;
    for (size_t i = 0; i < graph->n_params; i++)
        write_zero_rows(graph->params[i]);
    if (rate == 0.0f)
        return;
    for (size_t i = 0; i < graph->n_params; i++)
        for (size_t j = 0; j < graph->params[i]->count; j++)
            graph->params[i]->value[j] -= rate * graph->params[i]->grad[j];
    bp_graph_weights_changed(graph);
}

void nn_net_eval(struct nn_net *net, size_t n) {
    bp_graph_set_input(net->graph, n, net->images);
    must(bp_graph_forward(net->graph, 0));
    must(bp_graph_loss(net->graph, net->labels, 0, &net->loss, &net->correct));
}

void nn_net_copy(struct nn_net *to, const struct nn_net *from) {
    assert_int_equal(to->graph->n_params, from->graph->n_params);
    for (size_t i = 0; i < to->graph->n_params; i++)
        memcpy(to->graph->params[i]->value, from->graph->params[i]->value,
               to->graph->params[i]->count * sizeof(float));
    for (size_t i = 0; i < to->graph->n_running; i++)
        memcpy(to->graph->running[i]->value, from->graph->running[i]->value,
               to->graph->running[i]->count * sizeof(float));
    bp_graph_weights_changed(to->graph);
}

struct bp_param *nn_net_param(const struct nn_net *net, const char *name) {
    for (size_t i = 0; i < net->graph->n_params; i++)
        if (strcmp(net->graph->params[i]->name, name) == 0)
            return net->graph->params[i];
    fail_msg("no parameter %s", name);
    return NULL;
}
