#include "train/model_open.h"

#include <stdio.h>
#include <string.h>

#include "train/config.h"
#include "train/model_eval.h"

bp_status bp_trained_open(struct bp_trained *trained, const char *model) {
    char path[BP_PATH_BYTES];
    BP_TRY(bp_model_path(model, "best.ckpt", path));
    return bp_checkpoint_open(&trained->checkpoint, path);
}

bp_status bp_trained_build(struct bp_trained *trained, enum bp_tier tier, int threads,
                           size_t batch) {
    const struct bp_checkpoint_head *head = bp_checkpoint_head_of(trained->checkpoint);
    int quantized = strcmp(head->precision, "psq") == 0 || strcmp(head->precision, "fqt") == 0;
    struct bp_graph_config config = {
        .width = head->width,
        .height = head->height,
        .width_px = head->width_px,
        .channels = head->channels,
        .classes = head->classes,
        .batch = batch,
        .precision = strcmp(head->precision, "fp32") == 0 ? BP_PRECISION_FP32 : BP_PRECISION_QAT,
        .stem = bp_stem_of(head->stem),
        .shortcut = quantized ? BP_SHORTCUT_16_BIT : BP_SHORTCUT_FP32,
        .backend = bp_fp32_default(),
        .mean = {head->mean[0], head->mean[1], head->mean[2]},
        .deviation = {head->deviation[0], head->deviation[1], head->deviation[2]}};
    snprintf(config.model, sizeof config.model, "%s", head->model);
    BP_TRY(bp_exec_create(&trained->exec, tier, threads));
    BP_TRY(bp_graph_create(&trained->graph, trained->exec, &config));
    return bp_checkpoint_load(trained->checkpoint, trained->graph, NULL, 0);
}

void bp_trained_close(struct bp_trained *trained) {
    bp_graph_destroy(trained->graph);
    bp_exec_destroy(trained->exec);
    bp_checkpoint_close(trained->checkpoint);
}
