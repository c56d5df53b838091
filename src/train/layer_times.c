#include "train/layer_times.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"

enum { FLOAT_BITS = 32, INTEGER_BITS = 16, HALF_BITS = 16, BF16_BITS = 16, BYTE_BITS = 8 };

bp_status bp_layer_times_open(struct bp_layer_times *times, const struct bp_graph *graph) {
    *times = (struct bp_layer_times){0};
    BP_TRY(bp_alloc_array(&times->forward_ns, graph->n_layers, sizeof(uint64_t), "times"));
    return bp_alloc_array(&times->backward_ns, graph->n_layers, sizeof(uint64_t), "times");
}

void bp_layer_times_close(struct bp_layer_times *times) {
    bp_free(times->forward_ns);
    bp_free(times->backward_ns);
    *times = (struct bp_layer_times){0};
}

void bp_layer_times_add(struct bp_layer_times *times, const struct bp_graph *graph,
                        uint64_t step_ns) {
    for (size_t i = 0; i < graph->n_layers; i++) {
        times->forward_ns[i] += graph->layers[i]->forward_ns;
        times->backward_ns[i] += graph->layers[i]->backward_ns;
    }
    times->total_ns += step_ns;
    times->steps++;
}

/* --- what a layer is -------------------------------------------------------------------------- */

static int is_convolution(const struct bp_layer *layer) {
    return layer->binary_index >= 0 || layer->in->kind == BP_TENSOR_U8 ||
           layer->in->kind == BP_TENSOR_BF16 || strcmp(layer->type->name, "conv") == 0;
}

static const char *kind_of(const struct bp_graph *graph, const struct bp_layer *layer) {
    if (layer->binary_index >= 0)
        return "1-bit convolution";
    if (layer->out == graph->logits)
        return "linear";
    if (layer->in->kind == BP_TENSOR_U8)
        return "8-bit convolution";
    if (layer->in->kind == BP_TENSOR_BF16)
        return "bf16 convolution";
    if (is_convolution(layer))
        return "convolution";
    return strcmp(layer->type->name, "pool") == 0 ? "pooling" : "norm, activation";
}

static const struct bp_param *weight_of(const struct bp_graph *graph,
                                        const struct bp_layer *layer) {
    char name[96];
    snprintf(name, sizeof name, "%s.weight", layer->name);
    for (size_t i = 0; i < graph->n_params; i++)
        if (strcmp(graph->params[i]->name, name) == 0)
            return graph->params[i];
    return NULL;
}

static int bits_of(const struct bp_tensor *tensor) {
    return tensor->kind == BP_TENSOR_BITS   ? 1
           : tensor->kind == BP_TENSOR_U8   ? BYTE_BITS
           : tensor->kind == BP_TENSOR_I16  ? INTEGER_BITS
           : tensor->kind == BP_TENSOR_F16  ? HALF_BITS
           : tensor->kind == BP_TENSOR_BF16 ? BF16_BITS
                                            : FLOAT_BITS;
}

/* Of a kept group. */
static int grad_bits(const struct bp_graph *graph, const struct bp_layer *layer,
                     const struct bp_quant *quant) {
    if (layer->in->kind == BP_TENSOR_U8)
        return BYTE_BITS;
    if (layer->in->kind == BP_TENSOR_BF16)
        return BF16_BITS;
    int quantized =
        graph->config.precision == BP_PRECISION_PSQ || graph->config.precision == BP_PRECISION_FQT;
    return layer->binary_index >= 0 && quantized ? quant->bits : FLOAT_BITS;
}

static void write_size(struct bp_json *json, const char *key, const struct bp_tensor *tensor) {
    bp_json_array(json, key);
    bp_json_int(json, NULL, (int64_t)tensor->h);
    bp_json_int(json, NULL, (int64_t)tensor->w);
    bp_json_int(json, NULL, (int64_t)tensor->c);
    bp_json_end_array(json);
}

static void write_bits(struct bp_json *json, const struct bp_graph *graph,
                       const struct bp_layer *layer) {
    const struct bp_graph_config *config = &graph->config;
    const struct bp_param *weight = weight_of(graph, layer);
    bp_json_int(json, "input_bits", bits_of(layer->in));
    if (!is_convolution(layer) || weight == NULL)
        return;
    bp_json_int(json, "weight_bits", bits_of(layer->in));
    if (layer->in->needs_grad)
        bp_json_int(json, "grad_bits_da", grad_bits(graph, layer, &config->quant_da));
    bp_json_int(json, "grad_bits_dw", grad_bits(graph, layer, &config->quant_dw));
    bp_json_double(json, "macs",
                   (double)weight->count * (double)layer->out->h * (double)layer->out->w);
}

/* --- writing ---------------------------------------------------------------------------------- */

static double mean_ms(const struct bp_layer_times *times, uint64_t ns) {
    return times->steps > 0 ? (double)ns * 1e-6 / (double)times->steps : NAN; /* NaN: null */
}

static void write_layer(const struct bp_layer_times *times, const struct bp_graph *graph, size_t i,
                        struct bp_json *json) {
    const struct bp_layer *layer = graph->layers[i];
    bp_json_object(json, NULL);
    bp_json_string(json, "name", layer->name);
    bp_json_string(json, "kind", kind_of(graph, layer));
    write_size(json, "input", layer->in);
    write_size(json, "output", layer->out);
    write_bits(json, graph, layer);
    bp_json_double(json, "forward_ms", mean_ms(times, times->forward_ns[i]));
    bp_json_double(json, "backward_ms", mean_ms(times, times->backward_ns[i]));
    bp_json_end_object(json);
}

void bp_layer_times_json(const struct bp_layer_times *times, const struct bp_graph *graph,
                         struct bp_json *json) {
    uint64_t other_ns = times->total_ns;
    bp_json_begin(json, 1);
    bp_json_object(json, NULL);
    bp_json_int(json, "steps", (int64_t)times->steps);
    bp_json_double(json, "step_ms", mean_ms(times, times->total_ns));
    bp_json_array(json, "layers");
    for (size_t i = 0; i < graph->n_layers; i++) {
        uint64_t ns = times->forward_ns[i] + times->backward_ns[i];
        write_layer(times, graph, i, json);
        other_ns -= ns < other_ns ? ns : other_ns;
    }
    bp_json_end_array(json);
    bp_json_double(json, "other_ms", mean_ms(times, other_ns));
    bp_json_end_object(json);
}
