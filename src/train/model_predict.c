/* bp_predict: pictures, decoded ahead, through a trained network. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/memory.h"
#include "data/picture_feed.h"
#include "train/config.h"
#include "train/model_open.h"

struct ranked {
    float logit;
    size_t class_number;
};

struct predictor {
    struct bp_settings settings;
    struct bp_trained trained;
    struct bp_feed *feed;
    struct ranked *ranking; /* [classes] */
    size_t *top;            /* [n_top] */
    float *probabilities;   /* [n_top] */
    size_t n_top;
    bp_predict_callback *callback;
    void *user;
    int stopped;
    bp_predict_result result;
};

/* As the accuracy counts: the first of equal logits. */
static int compare_ranked(const void *a, const void *b) {
    const struct ranked *x = a, *y = b;
    if (x->logit != y->logit)
        return x->logit > y->logit ? -1 : 1;
    return x->class_number < y->class_number ? -1 : 1;
}

static bp_status rank(struct predictor *p, const char *path, size_t row) {
    const struct bp_graph *graph = p->trained.graph;
    size_t classes = graph->config.classes;
    const float *logits = graph->logits->f32 + row * classes;
    for (size_t i = 0; i < classes; i++) {
        if (!isfinite(logits[i]))
            return bp_fail(BP_MODEL,
                           "the model gives no finite numbers for %s: its training diverged, or "
                           "the file is damaged; use an earlier checkpoint",
                           path);
        p->ranking[i] = (struct ranked){logits[i], i};
    }
    qsort(p->ranking, classes, sizeof *p->ranking, compare_ranked);
    for (size_t i = 0; i < p->n_top; i++) {
        p->top[i] = p->ranking[i].class_number;
        p->probabilities[i] = graph->probabilities[row * classes + p->top[i]];
    }
    return BP_OK;
}

static bp_status report(struct predictor *p, const struct bp_feed_batch *batch) {
    const struct bp_checkpoint_head *head = bp_checkpoint_head_of(p->trained.checkpoint);
    size_t row = 0;
    for (size_t i = 0; i < batch->n_items && !p->stopped; i++) {
        bp_prediction prediction = {.path = batch->items[i].path,
                                    .error = batch->items[i].reason,
                                    .class_names = (const char *const *)head->class_names,
                                    .classes = head->classes};
        if (prediction.error == NULL) {
            BP_TRY(rank(p, prediction.path, row++));
            prediction.n_top = p->n_top;
            prediction.top = p->top;
            prediction.probabilities = p->probabilities;
        }
        p->result.pictures++;
        p->result.failed += prediction.error != NULL;
        p->stopped = p->callback(p->user, &prediction);
    }
    return BP_OK;
}

/* The first batch tells how large the network's has to be. */
static bp_status run(struct predictor *p) {
    struct bp_feed_batch batch = {0};
    while (!batch.last && !p->stopped) {
        BP_TRY(bp_feed_next(p->feed, &batch));
        p->result.passed_over = batch.passed_over;
        if (batch.n > 0 && p->trained.graph == NULL)
            BP_TRY(bp_trained_build(&p->trained, p->settings.tier, p->settings.threads,
                                    batch.last ? batch.n : p->settings.batch));
        if (batch.n > 0) {
            bp_graph_set_input(p->trained.graph, batch.n, batch.images);
            BP_TRY(bp_graph_forward(p->trained.graph, 0));
            bp_graph_probabilities(p->trained.graph);
        }
        BP_TRY(report(p, &batch));
    }
    return BP_OK;
}

static bp_status start(struct predictor *p, const char *model, const bp_config *options,
                       bp_path_source *source) {
    bp_config *config;
    BP_TRY(options != NULL ? bp_config_copy(&config, options) : bp_config_create(&config));
    bp_status status = bp_config_resolve(config, BP_COMMAND_PREDICT, &p->settings);
    p->settings.data = p->settings.run = NULL; /* belong to the config */
    bp_config_destroy(config);
    BP_TRY(status);
    BP_TRY(bp_trained_open(&p->trained, model));
    const struct bp_checkpoint_head *head = bp_checkpoint_head_of(p->trained.checkpoint);
    p->n_top = bp_min_size(p->settings.top, head->classes);
    BP_TRY(bp_alloc_array(&p->ranking, head->classes, sizeof *p->ranking, "the classes"));
    BP_TRY(bp_alloc_array(&p->top, p->n_top, sizeof *p->top, "the classes"));
    BP_TRY(bp_alloc_array(&p->probabilities, p->n_top, sizeof(float), "the classes"));
    const struct bp_feed_options feed = {.preprocess =
                                             bp_preprocess_for_pictures(&head->preprocess),
                                         .height = head->height,
                                         .width = head->width_px,
                                         .channels = head->channels,
                                         .batch = p->settings.batch,
                                         .threads = p->settings.threads,
                                         .source = source,
                                         .user = p->user};
    return bp_feed_open(&p->feed, &feed);
}

static bp_status judge(const bp_predict_result *result) {
    if (result->failed == 0)
        return BP_OK;
    return bp_fail(BP_DATA, "%zu of %zu pictures cannot be used; get them again, or leave them out",
                   result->failed, result->pictures);
}

bp_status bp_predict(const char *model, const bp_config *options, bp_path_source *source,
                     bp_predict_callback *callback, void *user, bp_predict_result *result) {
    struct predictor p = {.callback = callback, .user = user};
    uint64_t begin_ns = bp_clock_ns();
    bp_status status = start(&p, model, options, source);
    if (status == BP_OK)
        status = run(&p);
    p.result.seconds = (double)(bp_clock_ns() - begin_ns) * 1e-9;
    bp_feed_close(p.feed);
    bp_trained_close(&p.trained);
    bp_free(p.ranking);
    bp_free(p.top);
    bp_free(p.probabilities);
    if (result != NULL)
        *result = p.result;
    return status == BP_OK ? judge(&p.result) : status;
}
