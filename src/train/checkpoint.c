#include "train/checkpoint.h"
#include "train/checkpoint_tensors.h"

#include <stdio.h>
#include <string.h>

#include "base/json_writer.h"
#include "base/memory.h"
#include "train/config.h"

#define MOMENT1 "optimizer.moment1."
#define MOMENT2 "optimizer.moment2."
#define TRAINED "optimizer.value." /* beside averages: what they are averages of */

static void write_network(struct bp_json *json, const struct bp_graph *graph,
                          const struct bp_preprocess *preprocess) {
    static const char *const precisions[] = {"fp32", "qat", "psq", "fqt"};
    const struct bp_graph_config *config = &graph->config;
    size_t all, binary;
    bp_graph_count_parameters(graph, &all, &binary);
    bp_json_object(json, NULL);
    bp_json_string(json, "model", config->model);
    bp_json_string(json, "precision", precisions[config->precision]);
    bp_json_string(json, "stem", bp_stem_name(config->stem));
    bp_json_double(json, "width", config->width);
    bp_json_int(json, "height", (int64_t)config->height);
    bp_json_int(json, "width_px", (int64_t)config->width_px);
    bp_json_int(json, "channels", (int64_t)config->channels);
    bp_json_int(json, "classes", (int64_t)config->classes);
    bp_json_int(json, "parameters", (int64_t)all);
    bp_json_int(json, "binary_weights", (int64_t)binary);
    bp_json_array(json, "mean");
    for (int c = 0; c < 3; c++)
        bp_json_float(json, NULL, config->mean[c]);
    bp_json_end_array(json);
    bp_json_array(json, "std");
    for (int c = 0; c < 3; c++)
        bp_json_float(json, NULL, config->deviation[c]);
    bp_json_end_array(json);
    bp_json_int(json, "resize", (int64_t)preprocess->resize);
    bp_json_int(json, "image_side", (int64_t)preprocess->image_side);
    bp_json_end_object(json);
}

static void write_progress(struct bp_json *json, const struct bp_progress *progress) {
    bp_json_object(json, NULL);
    bp_json_int(json, "step", (int64_t)progress->step);
    bp_json_int(json, "epoch", (int64_t)progress->epoch);
    bp_json_int(json, "eval_step", (int64_t)progress->eval_step);
    bp_json_int(json, "best_epoch", (int64_t)progress->best_epoch);
    bp_json_double(json, "accuracy", progress->accuracy);
    bp_json_double(json, "loss", progress->loss);
    bp_json_double(json, "best_accuracy", progress->best_accuracy);
    bp_json_double(json, "epoch_loss_sum", progress->loss_sum);
    bp_json_int(json, "epoch_correct", (int64_t)progress->correct);
    bp_json_int(json, "epoch_seen", (int64_t)progress->seen);
    if (progress->cut.steps > 0) {
        bp_json_int(json, "cut_step", (int64_t)progress->cut.step);
        bp_json_double(json, "cut_position", progress->cut.position);
        bp_json_int(json, "cut_steps", (int64_t)progress->cut.steps);
    }
    bp_json_end_object(json);
}

static void write_classes(struct bp_json *json, char *const *names, size_t count) {
    bp_json_array(json, NULL);
    for (size_t i = 0; i < count; i++)
        bp_json_string(json, NULL, names[i]);
    bp_json_end_array(json);
}

static void describe(struct bp_saved_tensor *tensor, const char *prefix, const char *name,
                     int n_dims, const size_t *dims, size_t count, const float *value) {
    *tensor = (struct bp_saved_tensor){.dtype = BP_DTYPE_F32, .n_dims = n_dims};
    snprintf(tensor->name, sizeof tensor->name, "%s%s", prefix, name);
    for (int d = 0; d < n_dims; d++)
        tensor->dims[d] = dims[d];
    tensor->data = value;
    tensor->bytes = count * sizeof(float);
}

/* Parameters and running statistics, or their averages. Returns the place behind them. */
static struct bp_saved_tensor *list_values(const struct bp_graph *graph, const char *prefix,
                                           const struct bp_average *average,
                                           struct bp_saved_tensor *next) {
    for (size_t i = 0; i < graph->n_params; i++) {
        const struct bp_param *p = graph->params[i];
        const float *value = average != NULL ? average->params[i] : p->value;
        describe(next++, prefix, p->name, p->n_dims, p->dims, p->count, value);
    }
    for (size_t i = 0; i < graph->n_running; i++) {
        const struct bp_running *r = graph->running[i];
        const float *value = average != NULL ? average->running[i] : r->value;
        describe(next++, prefix, r->name, 1, &r->count, r->count, value);
    }
    return next;
}

/* The tensors of a graph, in the order of the file. Returns how many; tensors may be NULL. */
static size_t list_tensors(const struct bp_graph *graph, const struct bp_average *average,
                           int with_moments, struct bp_saved_tensor *tensors) {
    size_t values = graph->n_params + graph->n_running;
    size_t count = values + (with_moments ? 2 * graph->n_params : 0) +
                   (with_moments && average != NULL ? values : 0);
    if (tensors == NULL)
        return count;
    struct bp_saved_tensor *next = list_values(graph, "", average, tensors);
    if (with_moments && average != NULL)
        next = list_values(graph, TRAINED, NULL, next);
    for (size_t i = 0; with_moments && i < graph->n_params; i++) {
        const struct bp_param *p = graph->params[i];
        describe(next++, MOMENT1, p->name, p->n_dims, p->dims, p->count, p->moment1);
        describe(next++, MOMENT2, p->name, p->n_dims, p->dims, p->count, p->moment2);
    }
    return count;
}

bp_status bp_checkpoint_save(const char *path, const struct bp_graph *graph,
                             const struct bp_average *average,
                             const struct bp_preprocess *preprocess, const char *config,
                             char *const *class_names, const struct bp_progress *progress,
                             int with_moments) {
    struct bp_json json;
    char *network, *classes = NULL, *state = NULL;
    struct bp_saved_tensor *tensors = NULL;
    bp_json_begin(&json, 0);
    write_network(&json, graph, preprocess);
    bp_status status = bp_json_finish(&json, &network);
    if (status == BP_OK) {
        bp_json_begin(&json, 0);
        write_classes(&json, class_names, graph->config.classes);
        status = bp_json_finish(&json, &classes);
    }
    if (status == BP_OK) {
        bp_json_begin(&json, 0);
        write_progress(&json, progress);
        status = bp_json_finish(&json, &state);
    }
    size_t count = list_tensors(graph, average, with_moments, NULL);
    if (status == BP_OK)
        status = bp_alloc_array(&tensors, count, sizeof *tensors, "the list of saved tensors");
    if (status == BP_OK) {
        const struct bp_saved_text texts[] = {{"format", "bitprop-checkpoint-1"},
                                              {"bitprop", bp_version()},
                                              {"network", network},
                                              {"classes", classes},
                                              {"config", config},
                                              {"progress", state}};
        list_tensors(graph, average, with_moments, tensors);
        status = bp_safetensors_write(path, tensors, count, texts, sizeof texts / sizeof texts[0]);
    }
    bp_free(tensors);
    bp_free(state);
    bp_free(classes);
    bp_free(network);
    return status;
}

size_t bp_checkpoint_bytes(const struct bp_graph *graph, int with_average, int with_moments) {
    enum { TEXTS = 1500, DESCRIPTION = 110 }; /* of the header, as seen */
    size_t trained = 0, running = 0, values = graph->n_params + graph->n_running;
    for (size_t i = 0; i < graph->n_params; i++)
        trained += graph->params[i]->count;
    for (size_t i = 0; i < graph->n_running; i++)
        running += graph->running[i]->count;
    size_t copies = with_moments && with_average ? 2 : 1, moments = with_moments ? 2 : 0;
    size_t tensors = copies * values + moments * graph->n_params;
    return (copies * (trained + running) + moments * trained) * sizeof(float) +
           tensors * DESCRIPTION + TEXTS;
}

void bp_graph_count_parameters(const struct bp_graph *graph, size_t *all, size_t *binary) {
    *all = *binary = 0;
    for (size_t i = 0; i < graph->n_params; i++) {
        *all += graph->params[i]->count;
        if (graph->params[i]->flags & BP_PARAM_LATENT)
            *binary += graph->params[i]->count;
    }
}

/* --- loading ---------------------------------------------------------------------------------- */

static void shape_text(const struct bp_saved_tensor *tensor, char *text, size_t size) {
    size_t used = (size_t)snprintf(text, size, "[");
    for (int d = 0; d < tensor->n_dims && used < size; d++)
        used +=
            (size_t)snprintf(text + used, size - used, "%s%zu", d > 0 ? ", " : "", tensor->dims[d]);
    if (used < size)
        snprintf(text + used, size - used, "]");
}

/* `wanted` describes a tensor of the graph; `found` comes from the file, NULL if it has none. */
static bp_status check_tensor(const char *path, const struct bp_saved_tensor *wanted,
                              const struct bp_saved_tensor *found) {
    if (found == NULL)
        return bp_fail(BP_MODEL, "%s: tensor '%s' is missing; %s", path, wanted->name,
                       strncmp(wanted->name, "optimizer.", 10) == 0
                           ? "this checkpoint has no optimizer state to go on from"
                           : "the file is of another network");
    if (found->dtype != wanted->dtype)
        return bp_fail(BP_MODEL, "%s: tensor '%s' is not of type F32", path, wanted->name);
    int same = found->n_dims == wanted->n_dims;
    for (int d = 0; same && d < wanted->n_dims; d++)
        same = found->dims[d] == wanted->dims[d];
    if (same)
        return BP_OK;
    char has[96], needs[96];
    shape_text(found, has, sizeof has);
    shape_text(wanted, needs, sizeof needs);
    return bp_fail(BP_MODEL, "%s: tensor '%s' has shape %s, this network needs %s", path,
                   wanted->name, has, needs);
}

/* Tensors that the graph does not know. Optimizer state may stay unread. */
static bp_status check_strangers(const char *path, const struct bp_safetensors *file,
                                 const struct bp_saved_tensor *wanted, size_t count) {
    for (size_t i = 0; i < bp_safetensors_count(file); i++) {
        const char *name = bp_safetensors_at(file, i)->name;
        int known = strncmp(name, "optimizer.", 10) == 0;
        for (size_t j = 0; !known && j < count; j++)
            known = strcmp(name, wanted[j].name) == 0;
        if (!known)
            return bp_fail(BP_MODEL, "%s: tensor '%s' is not part of this network", path, name);
    }
    return BP_OK;
}

bp_status bp_checkpoint_load_tensors(const struct bp_safetensors *file, const char *path,
                                     struct bp_graph *graph, struct bp_average *average,
                                     int with_moments) {
    struct bp_saved_tensor *wanted;
    size_t count = list_tensors(graph, average, with_moments, NULL);
    BP_TRY(bp_alloc_array(&wanted, count, sizeof *wanted, "the list of tensors to load"));
    list_tensors(graph, average, with_moments, wanted);
    bp_status status = BP_OK;
    for (size_t i = 0; i < count && status == BP_OK; i++)
        status = check_tensor(path, &wanted[i], bp_safetensors_find(file, wanted[i].name));
    if (status == BP_OK)
        status = check_strangers(path, file, wanted, count);
    if (status == BP_OK) { /* nothing is touched before all is known to fit */
        for (size_t i = 0; i < count; i++)
            memcpy((void *)(uintptr_t)wanted[i].data,
                   bp_safetensors_find(file, wanted[i].name)->data, wanted[i].bytes);
        bp_graph_weights_changed(graph);
    }
    bp_free(wanted);
    return status;
}
