#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json_writer.h"
#include "base/memory.h"
#include "train/checkpoint.h"
#include "train/model_eval.h"

static bp_status write_json(bp_model_info *info, const struct bp_checkpoint_head *head) {
    struct bp_json json;
    bp_json_begin(&json, 1);
    bp_json_object(&json, NULL);
    bp_json_string(&json, "path", info->path);
    bp_json_string(&json, "model", info->model);
    bp_json_string(&json, "precision", info->precision);
    bp_json_string(&json, "stem", info->stem);
    bp_json_double(&json, "width", info->width);
    bp_json_int(&json, "input_height", (int64_t)info->input_height);
    bp_json_int(&json, "input_width", (int64_t)info->input_width);
    bp_json_int(&json, "input_channels", (int64_t)info->input_channels);
    bp_json_array(&json, "mean");
    for (size_t c = 0; c < info->input_channels; c++)
        bp_json_float(&json, NULL, head->mean[c]);
    bp_json_end_array(&json);
    bp_json_array(&json, "std");
    for (size_t c = 0; c < info->input_channels; c++)
        bp_json_float(&json, NULL, head->deviation[c]);
    bp_json_end_array(&json);
    bp_json_array(&json, "classes");
    for (size_t i = 0; i < info->classes; i++)
        bp_json_string(&json, NULL, info->class_names[i]);
    bp_json_end_array(&json);
    bp_json_int(&json, "parameters", (int64_t)info->parameters);
    bp_json_int(&json, "binary_weights", (int64_t)info->binary_weights);
    bp_json_int(&json, "bytes_packed", (int64_t)info->bytes_packed);
    bp_json_int(&json, "epoch", (int64_t)info->epoch);
    bp_json_int(&json, "step", (int64_t)info->step);
    const double unknown = NAN; /* written as null */
    bp_json_double(&json, "accuracy", info->accuracy < 0 ? unknown : info->accuracy);
    bp_json_double(&json, "best_accuracy", info->best_accuracy < 0 ? unknown : info->best_accuracy);
    bp_json_raw(&json, "config", info->config_json);
    bp_json_end_object(&json);
    return bp_json_finish(&json, &info->json);
}

static bp_status fill(bp_model_info *info, const struct bp_checkpoint_head *head) {
    snprintf(info->model, sizeof info->model, "%s", head->model);
    snprintf(info->precision, sizeof info->precision, "%s", head->precision);
    snprintf(info->stem, sizeof info->stem, "%s", head->stem);
    info->width = head->width;
    info->input_height = head->height;
    info->input_width = head->width_px;
    info->input_channels = head->channels;
    info->parameters = head->parameters;
    info->binary_weights = head->binary_weights;
    info->bytes_packed =
        (head->parameters - head->binary_weights) * sizeof(float) + (head->binary_weights + 7) / 8;
    info->epoch = head->progress.epoch;
    info->step = (size_t)head->progress.step;
    info->accuracy = head->progress.accuracy;
    info->best_accuracy = head->progress.best_accuracy;
    BP_TRY(bp_names_copy(&info->class_names, head->class_names, head->classes));
    info->classes = head->classes;
    BP_TRY(bp_copy_string(&info->config_json, head->config));
    return write_json(info, head);
}

bp_status bp_info(const char *path, bp_model_info **out) {
    bp_model_info *info;
    struct bp_checkpoint *checkpoint = NULL;
    *out = NULL;
    BP_TRY(bp_alloc(&info, sizeof *info, "a description"));
    bp_status status = bp_model_path(path, "last.ckpt", info->path);
    if (status == BP_OK)
        status = bp_checkpoint_open(&checkpoint, info->path);
    if (status == BP_OK)
        status = fill(info, bp_checkpoint_head_of(checkpoint));
    bp_checkpoint_close(checkpoint);
    if (status != BP_OK) {
        bp_info_free(info);
        return status;
    }
    *out = info;
    return BP_OK;
}

void bp_info_free(bp_model_info *info) {
    if (info == NULL)
        return;
    bp_names_free(info->class_names, info->classes);
    bp_free(info->config_json);
    bp_free(info->json);
    bp_free(info);
}
