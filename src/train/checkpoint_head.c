#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "io/json_parse.h"
#include "train/checkpoint.h"
#include "train/checkpoint_tensors.h"
#include "train/config.h"

/* What is plausible: a hostile description must not make us ask for absurd memory or overflow. */
enum { SIDE_MAX = 1024, RESIZE_MAX = 2048, CLASSES_MAX = 100000 };

struct bp_checkpoint {
    char path[BP_PATH_BYTES];
    struct bp_safetensors *file;
    struct bp_checkpoint_head head;
};

/* Reads members of one JSON text of the header; the first failure is kept. */
struct reader {
    const char *path, *text_name;
    json_t *root;
    bp_status status;
};

static void bad(struct reader *reader, const char *key) {
    if (reader->status == BP_OK)
        reader->status = bp_fail(BP_MODEL,
                                 "%s: '%s' of '%s' is missing or impossible; the file "
                                 "is damaged or not a bitprop checkpoint",
                                 reader->path, key, reader->text_name);
}

static bp_status reader_open(struct reader *reader, const struct bp_checkpoint *checkpoint,
                             const char *name) {
    *reader = (struct reader){.path = checkpoint->path, .text_name = name, .status = BP_OK};
    const char *text = bp_safetensors_text(checkpoint->file, name);
    if (text == NULL)
        return bp_fail(BP_MODEL,
                       "%s: its header has no '%s': not a bitprop checkpoint; give a run's "
                       "best.ckpt or last.ckpt",
                       checkpoint->path, name);
    json_error_t error;
    bp_status status = bp_json_parse(&reader->root, text, strlen(text), checkpoint->path, &error);
    if (status == BP_DATA)
        return bp_fail(BP_MODEL, "%s: '%s' is not valid JSON: %s", checkpoint->path, name,
                       error.text);
    return status;
}

static bp_status reader_close(struct reader *reader) {
    json_decref(reader->root);
    return reader->status;
}

static uint64_t read_count(struct reader *reader, const char *key, uint64_t least, uint64_t most) {
    const json_t *value = json_object_get(reader->root, key);
    json_int_t number = json_integer_value(value);
    if (json_is_integer(value) && number >= 0 && (uint64_t)number >= least &&
        (uint64_t)number <= most)
        return (uint64_t)number;
    bad(reader, key);
    return least;
}

static double read_number(struct reader *reader, const char *key, double least, double most) {
    const json_t *value = json_object_get(reader->root, key);
    double number = json_number_value(value);
    if (!json_is_number(value) || !(number >= least && number <= most))
        bad(reader, key);
    return number;
}

static void read_name(struct reader *reader, const char *key, char *out, size_t size,
                      const char *const *known, size_t n_known) {
    const char *text = json_string_value(json_object_get(reader->root, key));
    for (size_t i = 0; text != NULL && i < n_known; i++) {
        if (strcmp(text, known[i]) == 0) {
            snprintf(out, size, "%s", text);
            return;
        }
    }
    bad(reader, key);
}

static void read_channels(struct reader *reader, const char *key, double least, float out[3]) {
    const json_t *array = json_object_get(reader->root, key);
    for (size_t c = 0; c < 3; c++) {
        const json_t *value = json_array_get(array, c);
        double number = json_number_value(value);
        if (!json_is_number(value) || !(number >= least && number <= 1e6))
            bad(reader, key);
        out[c] = (float)number;
    }
}

static bp_status read_network(struct bp_checkpoint *checkpoint) {
    static const char *const models[] = {"vgg16", "resnet18"};
    static const char *const precisions[] = {"fp32", "qat", "psq", "fqt"};
    static const char *const stems[] = {"fp32", "8-bit"};
    struct bp_checkpoint_head *head = &checkpoint->head;
    struct reader reader;
    BP_TRY(reader_open(&reader, checkpoint, "network"));
    read_name(&reader, "model", head->model, sizeof head->model, models, 2);
    read_name(&reader, "precision", head->precision, sizeof head->precision, precisions, 4);
    snprintf(head->stem, sizeof head->stem, "%s", stems[0]);
    if (json_object_get(reader.root, "stem") != NULL) /* not in older checkpoints */
        read_name(&reader, "stem", head->stem, sizeof head->stem, stems, 2);
    head->width = read_number(&reader, "width", 0.001, 16);
    head->height = read_count(&reader, "height", 1, SIDE_MAX);
    head->width_px = read_count(&reader, "width_px", 1, SIDE_MAX);
    head->channels = read_count(&reader, "channels", 1, 3);
    head->classes = read_count(&reader, "classes", 1, CLASSES_MAX);
    head->parameters = read_count(&reader, "parameters", 1, (uint64_t)1 << 40);
    head->binary_weights = read_count(&reader, "binary_weights", 0, head->parameters);
    read_channels(&reader, "mean", -1e6, head->mean);
    read_channels(&reader, "std", 1e-6, head->deviation);
    head->preprocess = (struct bp_preprocess){.side = head->height, .channels = head->channels};
    if (json_object_get(reader.root, "resize") != NULL) /* not in the oldest checkpoints */
        head->preprocess.resize = read_count(&reader, "resize", 0, RESIZE_MAX);
    if (json_object_get(reader.root, "image_side") != NULL)
        head->preprocess.image_side = read_count(&reader, "image_side", 0, head->height);
    return reader_close(&reader);
}

static bp_status read_progress(struct bp_checkpoint *checkpoint) {
    struct bp_progress *progress = &checkpoint->head.progress;
    const uint64_t most = (uint64_t)1 << 53;
    struct reader reader;
    BP_TRY(reader_open(&reader, checkpoint, "progress"));
    progress->step = read_count(&reader, "step", 0, UINT32_MAX);
    progress->epoch = read_count(&reader, "epoch", 0, UINT32_MAX);
    progress->eval_step = read_count(&reader, "eval_step", 0, progress->step);
    progress->best_epoch = read_count(&reader, "best_epoch", 0, progress->epoch);
    progress->accuracy = read_number(&reader, "accuracy", -1, 1);
    progress->loss = read_number(&reader, "loss", -1, HUGE_VAL);
    progress->best_accuracy = read_number(&reader, "best_accuracy", -1, 1);
    progress->loss_sum = read_number(&reader, "epoch_loss_sum", 0, HUGE_VAL);
    progress->correct = read_count(&reader, "epoch_correct", 0, most);
    progress->seen = read_count(&reader, "epoch_seen", 0, most);
    if (json_object_get(reader.root, "cut_steps") != NULL) {
        struct bp_schedule_cut *cut = &progress->cut;
        cut->steps = read_count(&reader, "cut_steps", progress->step, UINT32_MAX);
        cut->step = read_count(&reader, "cut_step", 0, cut->steps > 0 ? cut->steps - 1 : 0);
        cut->position = read_number(&reader, "cut_position", 0, UINT32_MAX);
        if (cut->step >= progress->step)
            bad(&reader, "cut_step");
    }
    return reader_close(&reader);
}

static bp_status read_classes(struct bp_checkpoint *checkpoint) {
    struct bp_checkpoint_head *head = &checkpoint->head;
    struct reader reader;
    BP_TRY(reader_open(&reader, checkpoint, "classes"));
    if (!json_is_array(reader.root) || json_array_size(reader.root) != head->classes)
        bad(&reader, "the list");
    else
        reader.status =
            bp_alloc_array(&head->class_names, head->classes, sizeof(char *), "class names");
    for (size_t i = 0; i < head->classes && reader.status == BP_OK; i++) {
        const char *name = json_string_value(json_array_get(reader.root, i));
        if (name == NULL)
            bad(&reader, "a name");
        else
            reader.status = bp_copy_string(&head->class_names[i], name);
    }
    return reader_close(&reader);
}

static bp_status read_head(struct bp_checkpoint *checkpoint) {
    const char *format = bp_safetensors_text(checkpoint->file, "format");
    if (format == NULL || strncmp(format, "bitprop-checkpoint-", 19) != 0)
        return bp_fail(BP_MODEL,
                       "%s: not a bitprop checkpoint (its header names no format); give a run's "
                       "best.ckpt or last.ckpt",
                       checkpoint->path);
    if (strcmp(format, "bitprop-checkpoint-1") != 0)
        return bp_fail(BP_MODEL,
                       "%s: format '%.60s' is newer than this program (%s); use a newer bitprop",
                       checkpoint->path, format, bp_version());
    BP_TRY(read_network(checkpoint));
    BP_TRY(read_progress(checkpoint));
    BP_TRY(read_classes(checkpoint));
    struct reader reader; /* only to see that it is JSON */
    BP_TRY(reader_open(&reader, checkpoint, "config"));
    BP_TRY(reader_close(&reader));
    return bp_copy_string(&checkpoint->head.config,
                          bp_safetensors_text(checkpoint->file, "config"));
}

/* Takes over `file`. */
static bp_status open_head(struct bp_checkpoint **out, struct bp_safetensors *file,
                           const char *name) {
    struct bp_checkpoint *checkpoint;
    bp_status status = bp_alloc(&checkpoint, sizeof *checkpoint, "a checkpoint");
    if (status != BP_OK) {
        bp_safetensors_close(file);
        return status;
    }
    checkpoint->file = file;
    snprintf(checkpoint->path, sizeof checkpoint->path, "%s", name);
    status = read_head(checkpoint);
    if (status != BP_OK) {
        bp_checkpoint_close(checkpoint);
        return status;
    }
    *out = checkpoint;
    return BP_OK;
}

bp_status bp_checkpoint_open(struct bp_checkpoint **out, const char *path) {
    struct bp_safetensors *file;
    *out = NULL;
    BP_TRY(bp_safetensors_open(&file, path));
    return open_head(out, file, path);
}

bp_status bp_checkpoint_parse(struct bp_checkpoint **out, const uint8_t *bytes, size_t count,
                              const char *name) {
    struct bp_safetensors *file;
    *out = NULL;
    BP_TRY(bp_safetensors_parse(&file, bytes, count, name));
    return open_head(out, file, name);
}

void bp_checkpoint_close(struct bp_checkpoint *checkpoint) {
    if (checkpoint == NULL)
        return;
    struct bp_checkpoint_head *head = &checkpoint->head;
    for (size_t i = 0; head->class_names != NULL && i < head->classes; i++)
        bp_free(head->class_names[i]);
    bp_free(head->class_names);
    bp_free(head->config);
    bp_safetensors_close(checkpoint->file);
    bp_free(checkpoint);
}

const struct bp_checkpoint_head *bp_checkpoint_head_of(const struct bp_checkpoint *checkpoint) {
    return &checkpoint->head;
}

const struct bp_safetensors *bp_checkpoint_file_of(const struct bp_checkpoint *checkpoint) {
    return checkpoint->file;
}

const char *bp_checkpoint_path_of(const struct bp_checkpoint *checkpoint) {
    return checkpoint->path;
}

static bp_status check_network(const struct bp_checkpoint *checkpoint,
                               const struct bp_graph_config *config) {
    const struct bp_checkpoint_head *head = &checkpoint->head;
    const char *path = checkpoint->path;
    if (strcmp(head->model, config->model) != 0)
        return bp_fail(BP_MODEL, "%s: made for model %s, not %s", path, head->model, config->model);
    if (head->width != config->width)
        return bp_fail(BP_MODEL, "%s: made for width %g, not %g", path, head->width, config->width);
    if ((strcmp(head->precision, "fp32") == 0) != (config->precision == BP_PRECISION_FP32))
        return bp_fail(BP_MODEL, "%s: made with precision %s, which is another network", path,
                       head->precision);
    if (bp_stem_of(head->stem) != config->stem)
        return bp_fail(BP_MODEL, "%s: made with --stem %s, not %s", path, head->stem,
                       bp_stem_name(config->stem));
    if (head->classes != config->classes)
        return bp_fail(BP_MODEL, "%s: made for %zu classes, not %zu", path, head->classes,
                       config->classes);
    if (head->height != config->height || head->width_px != config->width_px ||
        head->channels != config->channels)
        return bp_fail(BP_MODEL, "%s: made for input of %zu x %zu x %zu, not %zu x %zu x %zu", path,
                       head->height, head->width_px, head->channels, config->height,
                       config->width_px, config->channels);
    return BP_OK;
}

bp_status bp_checkpoint_load(const struct bp_checkpoint *checkpoint, struct bp_graph *graph,
                             struct bp_average *average, int with_moments) {
    BP_TRY(check_network(checkpoint, &graph->config));
    return bp_checkpoint_load_tensors(checkpoint->file, checkpoint->path, graph, average,
                                      with_moments);
}
