/* bp_memory: the memory of a training step by layer, from the plans of a network that is not
 * created. */
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "train/checkpoint.h"
#include "train/memory_need.h"
#include "train/model_eval.h"
#include "train/session.h"

enum { DEFAULT_SIDE = 32 };

struct subject {
    struct bp_settings settings;
    struct bp_graph_config config;
    bp_config *options;
    struct bp_checkpoint *checkpoint; /* NULL: options alone */
    struct bp_planned planned;
};

/* --- what is asked about ---------------------------------------------------------------------- */

/* What shapes the network and was not given is taken from a checkpoint's options. */
static bp_status take_recipe(bp_config *options, const struct bp_checkpoint_head *head) {
    bp_config *recipe;
    BP_TRY(bp_config_create(&recipe));
    bp_status status = bp_config_parse_json(recipe, head->config, strlen(head->config),
                                            "the checkpoint's config", BP_MODEL);
    for (int i = 0; i < BP_OPT_COUNT && status == BP_OK; i++) {
        enum bp_option_id id = (enum bp_option_id)i;
        const char *name = bp_option_table[i].name, *value = bp_config_get(recipe, name);
        if ((bp_option_table[i].commands & BP_COMMAND_INFO) && bp_config_is_set(recipe, name) &&
            !bp_config_is_set(options, name) && bp_config_unused_with(options, id) == BP_OPT_COUNT)
            status = bp_config_set(options, name, value, "the checkpoint");
    }
    bp_config_destroy(recipe);
    return status;
}

static bp_status open_model(struct subject *s, const char *model) {
    char path[BP_PATH_BYTES];
    BP_TRY(bp_model_path(model, "last.ckpt", path));
    BP_TRY(bp_checkpoint_open(&s->checkpoint, path));
    return take_recipe(s->options, bp_checkpoint_head_of(s->checkpoint));
}

static bp_status open_subject(struct subject *s, const char *model, const bp_config *options) {
    struct bp_settings *settings = &s->settings;
    BP_TRY(options != NULL ? bp_config_copy(&s->options, options) : bp_config_create(&s->options));
    if (model != NULL)
        BP_TRY(open_model(s, model));
    BP_TRY(bp_config_resolve(s->options, BP_COMMAND_INFO, settings));
    size_t side = DEFAULT_SIDE, channels = settings->channels, classes = settings->classes;
    if (s->checkpoint != NULL) {
        const struct bp_checkpoint_head *head = bp_checkpoint_head_of(s->checkpoint);
        side = head->height;
        channels = bp_config_is_set(s->options, "channels") ? channels : head->channels;
        classes = bp_config_is_set(s->options, "classes") ? classes : head->classes;
    }
    side = settings->size > 0 ? settings->size : side;
    for (int c = 0; c < 3; c++)
        settings->deviation[c] = 1;
    bp_session_graph_config(settings, side, side, channels, classes, &s->config);
    return bp_planned_open(&s->planned, settings, &s->config);
}

static void close_subject(struct subject *s) {
    bp_planned_close(&s->planned);
    bp_checkpoint_close(s->checkpoint);
    bp_config_destroy(s->options);
}

/* --- by layer --------------------------------------------------------------------------------- */

/* The row of a buffer such as "conv2 gradient": that of the layer with the longest name that fits.
 * The first row is the input's, the last one the loss's: those of buffers that no layer owns. */
static bp_memory_layer *row_of(bp_memory_info *info, const char *name) {
    bp_memory_layer *row = &info->layers[info->n_layers - 1];
    size_t longest = 0;
    for (size_t i = 0; i + 1 < info->n_layers; i++) {
        size_t length = strlen(info->layers[i].name);
        if (length <= longest || strncmp(name, info->layers[i].name, length) != 0 ||
            (name[length] != 0 && strchr(" .", name[length]) == NULL))
            continue;
        row = &info->layers[i];
        longest = length;
    }
    return row;
}

static bp_status make_rows(bp_memory_info *info, const struct bp_graph *graph) {
    info->n_layers = graph->n_layers + 2;
    BP_TRY(bp_alloc_array(&info->layers, info->n_layers, sizeof *info->layers, "a description"));
    snprintf(info->layers[0].name, sizeof info->layers[0].name, "input");
    for (size_t i = 0; i < graph->n_layers; i++)
        snprintf(info->layers[i + 1].name, sizeof info->layers[0].name, "%s",
                 graph->layers[i]->name);
    snprintf(info->layers[info->n_layers - 1].name, sizeof info->layers[0].name, "loss");
    return BP_OK;
}

enum phase { KEPT, FORWARD, BACKWARD };
static const char *const phase_names[] = {"kept", "forward", "backward"};

static enum phase phase_of(const struct bp_graph *graph, const struct bp_plan_entry *entry) {
    int layers = (int)graph->n_layers;
    if (entry->first >= layers)
        return BACKWARD;
    return entry->last < layers ? FORWARD : KEPT;
}

static void fill_rows(bp_memory_info *info, const struct bp_graph *graph) {
    for (size_t i = 0; i < graph->n_params; i++) {
        size_t bytes = bp_round_up(graph->params[i]->count * sizeof(float), BP_ALIGN);
        bp_memory_layer *row = &info->layers[graph->params[i]->layer + 1];
        row->parameters += bytes;
        row->gradients += graph->params[i]->grad_shared ? 0 : bytes;
        row->optimizer += 2 * bytes;
    }
    for (size_t i = 0; i < graph->n_running; i++)
        info->layers[graph->running[i]->layer + 1].parameters +=
            bp_round_up(graph->running[i]->count * sizeof(float), BP_ALIGN);
    for (size_t i = 0; i < bp_plan_count(graph->step_plan); i++) {
        const struct bp_plan_entry *entry = bp_plan_entry_at(graph->step_plan, i);
        bp_memory_layer *row = row_of(info, entry->name);
        enum phase phase = phase_of(graph, entry);
        size_t *sum = phase == KEPT      ? &row->kept
                      : phase == FORWARD ? &row->forward
                                         : &row->backward;
        *sum += bp_round_up(entry->bytes, BP_ALIGN);
    }
}

/* --- JSON ------------------------------------------------------------------------------------- */

static void write_layers(const bp_memory_info *info, struct bp_json *json) {
    bp_json_array(json, "layers");
    for (size_t i = 0; i < info->n_layers; i++) {
        const bp_memory_layer *row = &info->layers[i];
        bp_json_object(json, NULL);
        bp_json_string(json, "name", row->name);
        bp_json_int(json, "parameters", (int64_t)row->parameters);
        bp_json_int(json, "gradients", (int64_t)row->gradients);
        bp_json_int(json, "optimizer", (int64_t)row->optimizer);
        bp_json_int(json, "kept", (int64_t)row->kept);
        bp_json_int(json, "forward", (int64_t)row->forward);
        bp_json_int(json, "backward", (int64_t)row->backward);
        bp_json_end_object(json);
    }
    bp_json_end_array(json);
}

static void write_buffers(bp_memory_info *info, const struct bp_graph *graph,
                          struct bp_json *json) {
    bp_json_array(json, "buffers");
    for (size_t i = 0; i < bp_plan_count(graph->step_plan); i++) {
        const struct bp_plan_entry *entry = bp_plan_entry_at(graph->step_plan, i);
        bp_json_object(json, NULL);
        bp_json_string(json, "name", entry->name);
        bp_json_string(json, "layer", row_of(info, entry->name)->name);
        bp_json_int(json, "bytes", (int64_t)entry->bytes);
        bp_json_string(json, "phase", phase_names[phase_of(graph, entry)]);
        bp_json_int(json, "first", entry->first);
        bp_json_int(json, "last", entry->last);
        bp_json_int(json, "offset", (int64_t)entry->offset);
        bp_json_end_object(json);
    }
    bp_json_end_array(json);
}

static bp_status write_json(bp_memory_info *info, const struct bp_graph *graph) {
    struct bp_json json;
    bp_json_begin(&json, 1);
    bp_json_object(&json, NULL);
    bp_json_string(&json, "model", info->model);
    bp_json_string(&json, "precision", info->precision);
    bp_json_double(&json, "width", info->width);
    bp_json_int(&json, "size", (int64_t)info->size);
    bp_json_int(&json, "channels", (int64_t)info->channels);
    bp_json_int(&json, "classes", (int64_t)info->classes);
    bp_json_int(&json, "batch", (int64_t)info->batch);
    bp_json_int(&json, "threads", info->threads);
    bp_json_object(&json, "bytes");
    bp_memory_write(&info->sums, &json);
    bp_json_end_object(&json);
    write_layers(info, &json);
    write_buffers(info, graph, &json);
    bp_json_end_object(&json);
    return bp_json_finish(&json, &info->json);
}

/* --- all -------------------------------------------------------------------------------------- */

static bp_status fill(bp_memory_info *info, const struct subject *s) {
    const struct bp_graph *graph = s->planned.graph;
    const struct bp_settings *settings = &s->settings;
    snprintf(info->model, sizeof info->model, "%s", settings->model);
    snprintf(info->precision, sizeof info->precision, "%s", bp_precision_name(settings->precision));
    info->width = settings->width;
    info->size = s->config.height;
    info->channels = s->config.channels;
    info->classes = s->config.classes;
    info->batch = s->config.batch;
    info->threads = bp_threads_count(graph->exec->threads);
    BP_TRY(bp_memory_sum(s->planned.graph, settings, 0, 0, &info->sums));
    BP_TRY(make_rows(info, graph));
    fill_rows(info, graph);
    return write_json(info, graph);
}

bp_status bp_memory(const char *model, const bp_config *options, bp_memory_info **out) {
    bp_memory_info *info;
    struct subject subject = {0};
    *out = NULL;
    BP_TRY(bp_alloc(&info, sizeof *info, "a description"));
    bp_status status = open_subject(&subject, model, options);
    if (status == BP_OK)
        status = fill(info, &subject);
    close_subject(&subject);
    if (status != BP_OK) {
        bp_memory_free(info);
        return status;
    }
    *out = info;
    return BP_OK;
}

void bp_memory_free(bp_memory_info *info) {
    if (info == NULL)
        return;
    bp_free(info->layers);
    bp_free(info->json);
    bp_free(info);
}
