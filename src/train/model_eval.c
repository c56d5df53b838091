#include "train/model_eval.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/file_io.h"
#include "base/memory.h"
#include "data/dataset.h"
#include "train/config.h"
#include "train/evaluate.h"
#include "train/model_open.h"
#include "train/session.h"

bp_status bp_model_path(const char *path, const char *preferred, char out[BP_PATH_BYTES]) {
    static const char *const names[] = {"best.ckpt", "last.ckpt"};
    if (strlen(path) >= BP_PATH_BYTES)
        return bp_fail(BP_USAGE, "%.60s...: the path is too long", path);
    strcpy(out, path);
    if (!bp_path_is_dir(path))
        return BP_OK;
    BP_TRY(bp_path_join(out, BP_PATH_BYTES, path, preferred));
    for (size_t i = 0; i < 2 && !bp_path_exists(out); i++)
        BP_TRY(bp_path_join(out, BP_PATH_BYTES, path, names[i]));
    if (bp_path_exists(out))
        return BP_OK;
    return bp_fail(BP_MODEL, "%s: has no best.ckpt or last.ckpt; give a checkpoint or a run folder",
                   path);
}

void bp_names_free(char **names, size_t count) {
    for (size_t i = 0; names != NULL && i < count; i++)
        bp_free(names[i]);
    bp_free(names);
}

bp_status bp_names_copy(char ***out, char *const *names, size_t count) {
    BP_TRY(bp_alloc_array(out, count, sizeof(char *), "class names"));
    for (size_t i = 0; i < count; i++) {
        bp_status status = bp_copy_string(&(*out)[i], names[i]);
        if (status != BP_OK) {
            bp_names_free(*out, count);
            *out = NULL;
            return status;
        }
    }
    return BP_OK;
}

struct evaluator {
    struct bp_settings settings;
    struct bp_trained trained;
    struct bp_dataset *data;
    struct bp_loader *loader;
};

static void evaluator_close(struct evaluator *e) {
    bp_loader_destroy(e->loader);
    bp_trained_close(&e->trained);
    bp_dataset_destroy(e->data);
}

/* --limit-val and --val take the same samples as the training run did, unless told otherwise. */
static bp_status read_options(struct evaluator *e, const bp_config *options) {
    static const char *const kept[] = {"seed", "val"};
    bp_config *config, *trained;
    const struct bp_checkpoint_head *head = bp_checkpoint_head_of(e->trained.checkpoint);
    BP_TRY(options != NULL ? bp_config_copy(&config, options) : bp_config_create(&config));
    bp_status status = bp_config_create(&trained);
    if (status == BP_OK)
        status = bp_config_parse_json(trained, head->config, strlen(head->config),
                                      "the checkpoint's config", BP_MODEL);
    for (size_t i = 0; i < sizeof kept / sizeof kept[0] && status == BP_OK; i++)
        if (!bp_config_is_set(config, kept[i]))
            status =
                bp_config_set(config, kept[i], bp_config_get(trained, kept[i]), "the checkpoint");
    bp_config_destroy(trained);
    if (status == BP_OK)
        status = bp_config_resolve(config, BP_COMMAND_EVAL, &e->settings);
    e->settings.data = e->settings.run = NULL; /* belong to the config */
    bp_config_destroy(config);
    return status;
}

static bp_status open_network(struct evaluator *e, const char *data) {
    const struct bp_checkpoint_head *head = bp_checkpoint_head_of(e->trained.checkpoint);
    size_t batch = bp_min_size(e->settings.batch, e->data->val.count);
    if (e->data->classes != head->classes)
        return bp_fail(
            BP_DATA,
            "%s: has %zu classes, the model was trained for %zu; use data of the same classes",
            data, e->data->classes, head->classes);
    BP_TRY(bp_trained_build(&e->trained, e->settings.tier, e->settings.threads, batch));
    struct bp_loader_options options = {.batch = batch,
                                        .height = head->height,
                                        .width = head->width_px,
                                        .channels = head->channels,
                                        .ahead = 2};
    options.workers = bp_loader_workers(&e->data->val, &options.augment,
                                        bp_threads_count(e->trained.exec->threads));
    return bp_loader_create(&e->loader, &e->data->val, &options);
}

static bp_status open_data(struct evaluator *e, const char *data) {
    const struct bp_checkpoint_head *head = bp_checkpoint_head_of(e->trained.checkpoint);
    const struct bp_dataset_options options = {.limit_val = e->settings.limit_val,
                                               .seed = e->settings.seed,
                                               .preprocess =
                                                   bp_preprocess_for_pictures(&head->preprocess),
                                               .val_share = e->settings.val_share,
                                               .val_only = 1,
                                               .skip_bad = e->settings.skip_bad,
                                               .class_names = head->class_names,
                                               .classes = head->classes,
                                               .cache_bytes = e->settings.max_mem_bytes,
                                               .threads = e->settings.threads};
    return bp_dataset_open(&e->data, data, &options);
}

static bp_status open_all(struct evaluator *e, const char *model, const char *data,
                          const bp_config *options) {
    BP_TRY(bp_trained_open(&e->trained, model));
    BP_TRY(read_options(e, options));
    BP_TRY(open_data(e, data));
    if (e->data->val.count == 0)
        return bp_fail(BP_DATA, "%s: the validation part is empty", data);
    return open_network(e, data);
}

static bp_status evaluate(struct evaluator *e, bp_eval_result *result) {
    size_t classes = e->trained.graph->config.classes;
    result->classes = classes;
    BP_TRY(bp_names_copy(&result->class_names, e->data->class_names, classes));
    BP_TRY(bp_alloc_array(&result->class_count, classes, sizeof(size_t), "counts"));
    BP_TRY(bp_alloc_array(&result->class_correct, classes, sizeof(size_t), "counts"));
    BP_TRY(bp_alloc_array(&result->confusion, classes * classes, sizeof(size_t), "counts"));
    struct bp_evaluation evaluation = {.confusion = result->confusion};
    uint64_t begin_ns = bp_clock_ns();
    bp_status status = bp_evaluate(e->trained.graph, e->loader, &evaluation);
    if (status == BP_INTERRUPT || status == BP_TERMINATE) {
        bp_interrupt(0);
        return bp_fail(status, "evaluation stopped on request");
    }
    BP_TRY(status);
    result->seconds = (double)(bp_clock_ns() - begin_ns) * 1e-9;
    result->loss = evaluation.loss;
    result->accuracy = evaluation.accuracy;
    result->n = evaluation.n;
    result->images_per_s = result->seconds > 0 ? (double)result->n / result->seconds : 0;
    for (size_t i = 0; i < classes; i++) {
        for (size_t j = 0; j < classes; j++)
            result->class_count[i] += result->confusion[i * classes + j];
        result->class_correct[i] = result->confusion[i * classes + i];
    }
    return BP_OK;
}

bp_status bp_eval(const char *model, const char *data, const bp_config *options,
                  bp_eval_result **out) {
    struct evaluator e = {0};
    bp_eval_result *result;
    *out = NULL;
    BP_TRY(bp_alloc(&result, sizeof *result, "an evaluation"));
    bp_status status = open_all(&e, model, data, options);
    if (status == BP_OK)
        status = evaluate(&e, result);
    evaluator_close(&e);
    if (status != BP_OK) {
        bp_eval_free(result);
        return status;
    }
    *out = result;
    return BP_OK;
}

void bp_eval_free(bp_eval_result *result) {
    if (result == NULL)
        return;
    bp_names_free(result->class_names, result->classes);
    bp_free(result->class_count);
    bp_free(result->class_correct);
    bp_free(result->confusion);
    bp_free(result);
}
