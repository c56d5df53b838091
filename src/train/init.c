#include "train/init.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file_io.h"
#include "base/json_writer.h"
#include "base/memory.h"
#include "train/begin_record.h"
#include "train/checkpoint_tensors.h"
#include "train/model_eval.h"

#define ORIGIN "--init" /* of the options that follow from the checkpoint */
#define LINES  5

enum deed { TAKEN, CHANGED, NEW };
static const char *const deed_names[] = {"taken", "changed", "new"};

struct entry { /* of a tensor of the network */
    const char *name;
    enum deed deed;
    const char *why; /* "" of taken ones */
};

struct bp_init {
    char path[BP_PATH_BYTES];
    char content[17]; /* hexadecimal: FNV-1a, 64 bits, of names and bytes of all tensors */
    struct bp_checkpoint *checkpoint;
    struct entry *entries;
    size_t n_entries;
    size_t *rows; /* [classes] row of the old head for each new class; NULL: the head is new */
    char why_head[80];
    char lines[LINES][BP_MESSAGE_BYTES];
};

/* --- options ---------------------------------------------------------------------------------- */

static bp_status set(bp_config *config, enum bp_option_id id, const char *text) {
    const char *name = bp_option_table[id].name;
    return bp_config_is_set(config, name) ? BP_OK : bp_config_set(config, name, text, ORIGIN);
}

/* The shortest text that reads as the same number. */
static void number_text(double number, char text[32]) {
    double read = 0;
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, 32, "%.*g", digits, number);
        for (char *c = text; *c != 0; c++)
            *c = *c == ',' ? '.' : *c; /* a locale's decimal comma */
        if (bp_parse_number(text, &read) && read == number)
            return;
    }
}

/* The precision and its quantizer belong together: all of it follows, or nothing. */
static bp_status fill_precision(bp_config *config, const struct bp_checkpoint_head *head,
                                const bp_config *trained) {
    if (bp_config_is_set(config, "precision"))
        return BP_OK;
    for (int id = 0; id < BP_OPT_COUNT; id++)
        if (bp_option_is_quantizer((enum bp_option_id)id) &&
            bp_config_is_set(config, bp_option_table[id].name))
            return BP_OK;
    BP_TRY(set(config, BP_OPT_PRECISION, head->precision));
    BP_TRY(set(config, BP_OPT_STEM, head->stem));
    for (int id = 0; id < BP_OPT_COUNT; id++)
        if (bp_option_is_quantizer((enum bp_option_id)id) && strcmp(head->precision, "fqt") == 0 &&
            bp_config_is_set(trained, bp_option_table[id].name))
            BP_TRY(set(config, (enum bp_option_id)id,
                       bp_config_get(trained, bp_option_table[id].name)));
    return BP_OK;
}

static bp_status fill(const struct bp_init *init, bp_config *config) {
    const struct bp_checkpoint_head *head = bp_checkpoint_head_of(init->checkpoint);
    char text[32];
    bp_config *trained;
    BP_TRY(bp_config_create(&trained));
    bp_status status =
        bp_config_parse_json(trained, head->config, strlen(head->config), init->path, BP_MODEL);
    if (status == BP_OK)
        status = fill_precision(config, head, trained);
    bp_config_destroy(trained);
    BP_TRY(status);
    BP_TRY(set(config, BP_OPT_MODEL, head->model));
    number_text(head->width, text);
    BP_TRY(set(config, BP_OPT_WIDTH, text));
    snprintf(text, sizeof text, "%zu", head->height);
    if (head->preprocess.resize > 0 && head->height >= 8)
        BP_TRY(set(config, BP_OPT_SIZE, text));
    return set(config, BP_OPT_RECIPE, "finetune");
}

static bp_status check_network(const struct bp_init *init, const char *model, double width,
                               int is_float) {
    const struct bp_checkpoint_head *head = bp_checkpoint_head_of(init->checkpoint);
    if (strcmp(head->model, model) != 0)
        return bp_fail(BP_MODEL, "--init %s is a %s, not a %s; use --model %s", init->path,
                       head->model, model, head->model);
    if (head->width != width)
        return bp_fail(BP_MODEL, "--init %s has width %g, not %g; use --width %g", init->path,
                       head->width, width, head->width);
    if ((strcmp(head->precision, "fp32") == 0) != is_float)
        return bp_fail(BP_MODEL,
                       "--init %s was trained with --precision %s: float and 1-bit networks do "
                       "not fit each other; use --precision %s",
                       init->path, head->precision, head->precision);
    return BP_OK;
}

/* --- opening ---------------------------------------------------------------------------------- */

static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t count) {
    const uint8_t *byte = bytes;
    for (size_t i = 0; i < count; i++)
        hash = (hash ^ byte[i]) * 0x100000001b3u;
    return hash;
}

static void identify(struct bp_init *init) {
    const struct bp_safetensors *file = bp_checkpoint_file_of(init->checkpoint);
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < bp_safetensors_count(file); i++) {
        const struct bp_saved_tensor *tensor = bp_safetensors_at(file, i);
        hash = hash_bytes(hash, tensor->name, strlen(tensor->name) + 1);
        hash = hash_bytes(hash, tensor->data, tensor->bytes);
    }
    snprintf(init->content, sizeof init->content, "%016llx", (unsigned long long)hash);
}

static bp_status open_file(struct bp_init *init, const char *path) {
    BP_TRY(bp_model_path(path, "best.ckpt", init->path));
    BP_TRY(bp_checkpoint_open(&init->checkpoint, init->path));
    identify(init);
    return BP_OK;
}

bp_status bp_init_open(struct bp_init **out, bp_config *config) {
    struct bp_init *init;
    const char *path = bp_config_get(config, "init");
    *out = NULL;
    if (path == NULL)
        return BP_OK;
    BP_TRY(bp_alloc(&init, sizeof *init, "the model to begin with"));
    bp_status status = open_file(init, path);
    if (status == BP_OK)
        status = fill(init, config);
    double width = 0;
    bp_parse_number(bp_config_get(config, "width"), &width);
    if (status == BP_OK) /* seen before the data are read */
        status = check_network(init, bp_config_get(config, "model"), width,
                               strcmp(bp_config_get(config, "precision"), "fp32") == 0);
    if (status != BP_OK) {
        bp_init_close(init);
        return status;
    }
    *out = init;
    return BP_OK;
}

bp_status bp_config_load_init(bp_config *config) {
    struct bp_init *init;
    bp_status status = bp_init_open(&init, config);
    bp_init_close(init);
    return status;
}

void bp_init_close(struct bp_init *init) {
    if (init == NULL)
        return;
    bp_checkpoint_close(init->checkpoint);
    bp_free(init->entries);
    bp_free(init->rows);
    bp_free(init);
}

/* --- the mapping ------------------------------------------------------------------------------ */

/* Which row of the old head each new class has: none, unless the names are the same. */
static bp_status match_classes(struct bp_init *init, char *const *names, size_t classes) {
    const struct bp_checkpoint_head *head = bp_checkpoint_head_of(init->checkpoint);
    bp_free(init->rows);
    init->rows = NULL;
    snprintf(init->why_head, sizeof init->why_head, "%zu classes, not %zu", classes, head->classes);
    if (classes != head->classes)
        return BP_OK;
    BP_TRY(bp_alloc_array(&init->rows, classes, sizeof *init->rows, "the classes' order"));
    init->why_head[0] = 0;
    for (size_t i = 0; i < classes; i++) {
        size_t row = 0;
        while (row < classes && strcmp(head->class_names[row], names[i]) != 0)
            row++;
        init->rows[i] = row;
        if (row < classes && row != i)
            snprintf(init->why_head, sizeof init->why_head, "the classes in another order");
        if (row == classes) {
            snprintf(init->why_head, sizeof init->why_head,
                     "other classes: the old ones have no '%.40s'", names[i]);
            bp_free(init->rows);
            init->rows = NULL;
            return BP_OK;
        }
    }
    return BP_OK;
}

static int same_dims(const struct bp_saved_tensor *found, const size_t *dims, int n_dims, int but) {
    int same = found->n_dims == n_dims && found->dtype == BP_DTYPE_F32;
    for (int d = 0; same && d < n_dims - but; d++)
        same = found->dims[d] == dims[d];
    return same;
}

static bp_status refuse(const struct bp_init *init, const struct bp_graph *graph, const char *name,
                        int missing) {
    const struct bp_checkpoint_head *head = bp_checkpoint_head_of(init->checkpoint);
    if (!missing && strcmp(graph->config.model, "resnet18") == 0 &&
        strcmp(name, "stem.conv.weight") == 0)
        return bp_fail(BP_MODEL,
                       "--init %s: made for %zu pixels; resnet18 has another stem from 96 pixels "
                       "on, so it does not fit %zu; use --size %zu, or a vgg16",
                       init->path, head->height, graph->config.height, head->height);
    return bp_fail(BP_MODEL, "--init %s: tensor '%s' %s; the file is damaged or of another network",
                   init->path, name, missing ? "is missing" : "has another shape");
}

/* What becomes of one tensor of the network. */
static bp_status decide(const struct bp_init *init, const struct bp_graph *graph, const char *name,
                        const size_t *dims, int n_dims, unsigned flags, struct entry *entry) {
    const struct bp_saved_tensor *found =
        bp_safetensors_find(bp_checkpoint_file_of(init->checkpoint), name);
    *entry = (struct entry){name, TAKEN, ""};
    if ((flags & BP_PARAM_HEAD) && init->rows == NULL) {
        *entry = (struct entry){name, NEW, init->why_head};
        return BP_OK;
    }
    if (found == NULL)
        return refuse(init, graph, name, 1);
    if (same_dims(found, dims, n_dims, 0)) {
        if ((flags & BP_PARAM_HEAD) && init->why_head[0] != 0)
            *entry = (struct entry){name, CHANGED, init->why_head};
        return BP_OK;
    }
    int first = graph->params[0]->name == name && n_dims == 4;
    if (!first || !same_dims(found, dims, n_dims, 1))
        return refuse(init, graph, name, 0);
    if (found->dims[3] == 1 && dims[3] == 3)
        *entry = (struct entry){name, CHANGED, "1 to 3 channels, each a third"};
    else if (found->dims[3] == 3 && dims[3] == 1)
        *entry = (struct entry){name, CHANGED, "3 to 1 channels, summed"};
    else
        return refuse(init, graph, name, 0);
    return BP_OK;
}

static bp_status decide_all(struct bp_init *init, const struct bp_graph *graph) {
    init->n_entries = graph->n_params + graph->n_running;
    bp_free(init->entries);
    BP_TRY(bp_alloc_array(&init->entries, init->n_entries, sizeof *init->entries,
                          "the list of tensors"));
    struct entry *next = init->entries;
    for (size_t i = 0; i < graph->n_params; i++) {
        const struct bp_param *p = graph->params[i];
        BP_TRY(decide(init, graph, p->name, p->dims, p->n_dims, p->flags, next++));
    }
    for (size_t i = 0; i < graph->n_running; i++) {
        const struct bp_running *r = graph->running[i];
        BP_TRY(decide(init, graph, r->name, &r->count, 1, 0, next++));
    }
    return BP_OK;
}

/* The first convolution [k][r][r][c] for other channels. */
static void convert_channels(const float *from, size_t channels, size_t pixels, float *to) {
    for (size_t i = 0; i < pixels && channels == 3; i++)
        to[i] = from[3 * i] + from[3 * i + 1] + from[3 * i + 2];
    for (size_t i = 0; i < 3 * pixels && channels == 1; i++)
        to[i] = from[i / 3] / 3;
}

static void copy_rows(const struct bp_init *init, const float *from, size_t classes, size_t columns,
                      float *to) {
    for (size_t i = 0; i < classes; i++)
        memcpy(to + i * columns, from + init->rows[i] * columns, columns * sizeof(float));
}

static void copy_param(const struct bp_init *init, const struct bp_param *p,
                       const struct entry *entry) {
    const struct bp_saved_tensor *found =
        bp_safetensors_find(bp_checkpoint_file_of(init->checkpoint), p->name);
    if (entry->deed == NEW)
        return;
    if (p->flags & BP_PARAM_HEAD)
        copy_rows(init, found->data, p->dims[0], p->count / p->dims[0], p->value);
    else if (entry->deed == CHANGED)
        convert_channels(found->data, found->dims[3], p->count / p->dims[3], p->value);
    else
        memcpy(p->value, found->data, p->count * sizeof(float));
}

/* --- the account ------------------------------------------------------------------------------ */

/* "new      2 tensors: head.weight, head.bias (why)"; nothing where there are none. */
static void account_for(const struct bp_init *init, enum deed deed, char *line, size_t size) {
    size_t count = 0;
    for (size_t i = 0; i < init->n_entries; i++)
        count += init->entries[i].deed == deed;
    snprintf(line, size, "%-8s %zu tensor%s", deed_names[deed], count, count == 1 ? "" : "s");
    if (deed == TAKEN && init->rows != NULL)
        snprintf(line + strlen(line), size - strlen(line),
                 ", the head too: the class names are the same");
    if (count == 0)
        line[0] = 0;
    if (deed == TAKEN || count == 0)
        return;
    const char *why = "";
    for (size_t i = 0; i < init->n_entries; i++) {
        const struct entry *entry = &init->entries[i];
        if (entry->deed != deed)
            continue;
        size_t used = strlen(line);
        snprintf(line + used, size - used, "%s%s", why[0] != 0 ? ", " : ": ", entry->name);
        if (i + 1 == init->n_entries || init->entries[i + 1].deed != deed ||
            strcmp(init->entries[i + 1].why, entry->why) != 0)
            snprintf(line + strlen(line), size - strlen(line), " (%s)", entry->why);
        why = entry->why;
    }
}

static void account(struct bp_init *init) {
    const struct bp_checkpoint_head *head = bp_checkpoint_head_of(init->checkpoint);
    const struct bp_safetensors *file = bp_checkpoint_file_of(init->checkpoint);
    size_t left = 0;
    for (size_t i = 0; i < bp_safetensors_count(file); i++) {
        const char *name = bp_safetensors_at(file, i)->name;
        int known = 0;
        for (size_t j = 0; !known && j < init->n_entries; j++)
            known = init->entries[j].deed != NEW && strcmp(init->entries[j].name, name) == 0;
        left += !known;
    }
    snprintf(init->lines[0], sizeof init->lines[0],
             "begins with %.800s: %s, width %g, %s, %zu x %zu x %zu, epoch %zu", init->path,
             head->model, head->width, head->precision, head->height, head->width_px,
             head->channels, head->progress.epoch);
    if (head->progress.accuracy >= 0)
        snprintf(init->lines[0] + strlen(init->lines[0]),
                 sizeof init->lines[0] - strlen(init->lines[0]), ", %.2f %% validation accuracy",
                 100 * head->progress.accuracy);
    for (int deed = TAKEN; deed <= NEW; deed++)
        account_for(init, (enum deed)deed, init->lines[1 + deed], sizeof init->lines[0]);
    if (left > 0)
        snprintf(init->lines[4], sizeof init->lines[4],
                 "%-8s %zu tensor%s of the file (old head, optimizer state)", "left", left,
                 left == 1 ? "" : "s");
}

bp_status bp_init_apply(struct bp_init *init, struct bp_graph *graph, char *const *class_names) {
    const struct bp_graph_config *config = &graph->config;
    BP_TRY(
        check_network(init, config->model, config->width, config->precision == BP_PRECISION_FP32));
    BP_TRY(match_classes(init, class_names, graph->config.classes));
    BP_TRY(decide_all(init, graph));
    for (size_t i = 0; i < graph->n_params; i++)
        copy_param(init, graph->params[i], &init->entries[i]);
    for (size_t i = 0; i < graph->n_running; i++) {
        const struct bp_running *r = graph->running[i];
        memcpy(r->value,
               bp_safetensors_find(bp_checkpoint_file_of(init->checkpoint), r->name)->data,
               r->count * sizeof(float));
    }
    bp_graph_weights_changed(graph);
    account(init);
    return BP_OK;
}

const char *bp_init_line(const struct bp_init *init, size_t index) {
    for (size_t i = 0; i < LINES; i++)
        if (init->lines[i][0] != 0 && index-- == 0)
            return init->lines[i];
    return NULL;
}

/* --- init.json -------------------------------------------------------------------------------- */

bp_status bp_init_write(const struct bp_init *init, const char *path) {
    const struct bp_checkpoint_head *head = bp_checkpoint_head_of(init->checkpoint);
    struct bp_json json;
    char *text;
    bp_json_begin(&json, 1);
    bp_json_object(&json, NULL);
    bp_json_string(&json, "file", init->path);
    bp_json_string(&json, "content", init->content);
    bp_json_int(&json, "epoch", (int64_t)head->progress.epoch);
    bp_json_double(&json, "accuracy", head->progress.accuracy);
    bp_json_array(&json, "tensors");
    for (size_t i = 0; i < init->n_entries; i++) {
        const struct entry *entry = &init->entries[i];
        bp_json_object(&json, NULL);
        bp_json_string(&json, "name", entry->name);
        bp_json_string(&json, "what", deed_names[entry->deed]);
        if (entry->deed != TAKEN)
            bp_json_string(&json, "why", entry->why);
        bp_json_end_object(&json);
    }
    bp_json_end_array(&json);
    bp_json_end_object(&json);
    BP_TRY(bp_json_finish(&json, &text));
    const struct bp_chunk chunks[] = {{text, strlen(text)}, {"\n", 1}};
    bp_status status = bp_file_write(path, chunks, 2);
    bp_free(text);
    return status;
}

bp_status bp_init_check(const struct bp_init *init, const char *path) {
    uint8_t *bytes;
    size_t count;
    BP_TRY(bp_file_read(path, (size_t)1 << 24, BP_MODEL, &bytes, &count));
    char content[BP_HASH_DIGITS + 1];
    bp_status status = bp_init_record_parse((const char *)bytes, count, path, content);
    bp_free(bytes);
    BP_TRY(status);
    if (strcmp(content, init->content) != 0)
        return bp_fail(BP_MODEL,
                       "%s has changed since this run began with it (content %s, not %s), and the "
                       "run has no checkpoint yet; put the file back, or begin a new run",
                       init->path, init->content, content);
    return BP_OK;
}
