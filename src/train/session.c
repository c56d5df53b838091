#include "train/session.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "train/checkpoint.h"

enum { SMALLEST_INPUT = 32 };

/* The network's input: the data's size, unless given; small images are padded to 32 pixels. */
static size_t input_side(const struct bp_settings *settings, const struct bp_dataset *data) {
    size_t h = data->train.h, w = data->train.w, side = h > w ? h : w;
    if (data->preprocess.side > 0)
        return data->preprocess.side;
    if (settings->size > 0)
        return settings->size;
    return side > SMALLEST_INPUT ? side : SMALLEST_INPUT;
}

void bp_session_graph_config(const struct bp_settings *settings, size_t height, size_t width_px,
                             size_t channels, size_t classes, struct bp_graph_config *out) {
    *out = (struct bp_graph_config){
        .width = settings->width,
        .height = height,
        .width_px = width_px,
        .channels = channels,
        .classes = classes,
        .batch = settings->batch,
        .training = 1,
        .freeze_body = settings->optim.freeze_body,
        .precision = settings->precision,
        .stem = settings->stem,
        .also_qat = settings->qat_warmup > 0,
        .quant_da = settings->quant_da,
        .quant_dw = settings->quant_dw,
        .backend = bp_fp32_default(),
        .label_smoothing = settings->label_smoothing,
        .seed = settings->seed,
        .mean = {settings->mean[0], settings->mean[1], settings->mean[2]},
        .deviation = {settings->deviation[0], settings->deviation[1], settings->deviation[2]}};
    snprintf(out->model, sizeof out->model, "%s", settings->model);
}

size_t bp_graph_planned_bytes(const struct bp_graph *graph) {
    const struct bp_exec *exec = graph->exec;
    return bp_plan_bytes(graph->model_plan) + bp_plan_bytes(graph->step_plan) +
           exec->scratch_bytes * (size_t)bp_threads_count(exec->threads);
}

static bp_status open_data(struct bp_session *session, struct bp_bad_files *bad) {
    struct bp_settings *settings = &session->settings;
    const struct bp_dataset_options options = {
        .limit_train = settings->limit_train,
        .limit_val = settings->limit_val,
        .seed = settings->seed,
        .preprocess = bp_preprocess_choose(settings->size, &settings->augment),
        .val_share = settings->val_share,
        .skip_bad = settings->skip_bad,
        .cache_bytes = settings->cache_bytes,
        .threads = settings->threads,
        .bad = bad};
    BP_TRY(bp_dataset_open(&session->data, settings->data, &options));
    const struct bp_part *train = &session->data->train;
    if (train->count < settings->batch)
        return bp_fail(BP_USAGE,
                       "%s: the training part has %zu images, fewer than one batch of %zu; use "
                       "--batch %zu or less",
                       settings->data, train->count, settings->batch, train->count);
    if (session->data->val.count == 0)
        return bp_fail(BP_DATA, "%s: the validation part is empty", settings->data);
    if (!settings->has_mean)
        bp_part_moments(train, settings->mean, settings->deviation);
    return BP_OK;
}

/* Everything that is counted in epochs becomes steps. */
static bp_status count_steps(struct bp_session *session) {
    const struct bp_settings *settings = &session->settings;
    size_t batches = session->data->train.count / settings->batch; /* the rest is left out */
    double steps = (double)settings->epochs * (double)batches;
    if (settings->max_steps > 0 && (double)settings->max_steps < steps)
        steps = (double)settings->max_steps;
    if (steps > (double)UINT32_MAX)
        return bp_fail(BP_USAGE,
                       "--epochs %zu: %.0f steps are more than the random numbers allow "
                       "(%u); use fewer epochs or a larger batch",
                       settings->epochs, steps, UINT32_MAX);
    session->batches = batches;
    session->total_steps = (uint64_t)steps;
    session->epochs = (size_t)((session->total_steps + batches - 1) / batches);
    session->qat_steps = (uint64_t)floor(settings->qat_warmup * steps + 0.5);
    struct bp_schedule_config *schedule = &session->schedule;
    *schedule = (struct bp_schedule_config){.kind = settings->schedule};
    schedule->warmup_steps = (uint64_t)floor(settings->warmup_epochs * (double)batches + 0.5);
    if (schedule->warmup_steps > session->total_steps)
        return bp_fail(BP_USAGE, "--warmup %g: %llu steps, but the run has only %llu; use less",
                       settings->warmup_epochs, (unsigned long long)schedule->warmup_steps,
                       (unsigned long long)session->total_steps);
    double every = settings->lr_every_epochs > 0 ? settings->lr_every_epochs * (double)batches
                                                 : ceil(steps / 3);
    schedule->every_steps = every >= 1 ? (uint64_t)floor(every + 0.5) : 1;
    schedule->gamma = settings->lr_factor;
    return bp_schedule_check(schedule);
}

static bp_status open_network(struct bp_session *session) {
    const struct bp_settings *settings = &session->settings;
    struct bp_graph_config config;
    size_t side = input_side(settings, session->data);
    bp_session_graph_config(settings, side, side, session->data->train.c, session->data->classes,
                            &config);
    BP_TRY(bp_exec_create(&session->exec, settings->tier, settings->threads));
    BP_TRY(bp_graph_create(&session->graph, session->exec, &config));
    return bp_optim_create(&session->optim, session->graph->params, session->graph->n_params);
}

bp_status bp_session_open(struct bp_session *session, const bp_config *config,
                          struct bp_bad_files *bad) {
    memset(session, 0, sizeof *session);
    BP_TRY(bp_config_resolve(config, BP_COMMAND_TRAIN, &session->settings));
    bp_status status = open_data(session, bad);
    if (status == BP_OK)
        status = count_steps(session);
    if (status == BP_OK)
        status = open_network(session);
    if (status != BP_OK)
        bp_session_close(session);
    return status;
}

void bp_session_close(struct bp_session *session) {
    bp_loader_destroy(session->train);
    bp_loader_destroy(session->val);
    bp_optim_destroy(session->optim);
    bp_graph_destroy(session->graph);
    bp_exec_destroy(session->exec);
    bp_dataset_destroy(session->data);
    memset(session, 0, sizeof *session);
}

bp_status bp_session_start(struct bp_session *session, uint64_t step) {
    const struct bp_settings *settings = &session->settings;
    const struct bp_graph_config *config = &session->graph->config;
    struct bp_loader_options options = {.batch = settings->batch,
                                        .height = config->height,
                                        .width = config->width_px,
                                        .channels = config->channels,
                                        .seed = settings->seed,
                                        .ahead = 2};
    int threads = bp_threads_count(session->exec->threads);
    options.workers = bp_loader_workers(&session->data->val, &options.augment, threads);
    BP_TRY(bp_loader_create(&session->val, &session->data->val, &options));
    options.augment = settings->augment;
    options.workers = bp_loader_workers(&session->data->train, &options.augment, threads);
    options.shuffle = options.drop_last = 1;
    options.first_epoch = (uint32_t)(step / session->batches);
    options.first_batch = (size_t)(step % session->batches);
    return bp_loader_create(&session->train, &session->data->train, &options);
}

void bp_session_summary(const struct bp_session *session, char *quantizer, size_t quantizer_size,
                        bp_run_summary *out) {
    const struct bp_settings *settings = &session->settings;
    const struct bp_dataset *data = session->data;
    const struct bp_graph_config *config = &session->graph->config;
    bp_settings_quantizer_text(settings, quantizer, quantizer_size);
    *out = (bp_run_summary){.data = settings->data,
                            .data_kind = data->kind,
                            .train_count = data->train.count,
                            .val_count = data->val.count,
                            .classes = data->classes,
                            .image_height = data->train.h,
                            .image_width = data->train.w,
                            .image_channels = data->train.c,
                            .input_height = config->height,
                            .input_width = config->width_px,
                            .input_channels = config->channels,
                            .model = settings->model,
                            .width = settings->width,
                            .precision = bp_precision_name(settings->precision),
                            .stem = bp_settings_stem_text(settings),
                            .quantizer = quantizer,
                            .optimizer = bp_optim_name(settings->optim.kind),
                            .epochs = session->epochs,
                            .steps = (size_t)session->total_steps,
                            .batch = settings->batch,
                            .threads = bp_threads_count(session->exec->threads),
                            .tier = bp_tier_name(settings->tier),
                            .fp32 = bp_fp32_backend_name(config->backend),
                            .memory_bytes = bp_graph_planned_bytes(session->graph)};
    bp_graph_count_parameters(session->graph, &out->parameters, &out->binary_weights);
}
