#include "train/session.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "train/checkpoint.h"
#include "train/made_up.h"
#include "train/memory_fit.h"

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
        .share_gradients = settings->optim.clip_norm <= 0, /* else all are needed at once */
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

/* --- data and memory -------------------------------------------------------------------------- */

static void describe_network(const struct bp_session *session, const struct bp_dataset *data,
                             struct bp_graph_config *out) {
    size_t side = input_side(&session->settings, data);
    bp_session_graph_config(&session->settings, side, side, data->train.c, data->classes, out);
}

/* Small data need many small steps more than they need speed. */
static size_t default_batch(size_t samples) {
    enum { MOST = 64, LEAST = 16, STEPS = 32 };
    size_t batch = MOST;
    while (batch > LEAST && samples / batch < STEPS)
        batch /= 2;
    return bp_min_size(batch, samples);
}

/* The batch, if it is to be chosen, and what the run takes. */
static bp_status forecast(struct bp_session *session, const struct bp_dataset *data) {
    struct bp_settings *settings = &session->settings;
    struct bp_graph_config config;
    size_t train = data->train.count, val = data->val.count, bytes = bp_dataset_bytes(data);
    if (!settings->batch_given)
        settings->batch = default_batch(train);
    describe_network(session, data, &config);
    if (session->batch_is_auto)
        return bp_batch_choose(settings, &config, train, val, bytes, session->memory_allowed,
                               &settings->batch, &session->memory);
    BP_TRY(bp_memory_forecast(settings, &config, train, val, &session->memory));
    bp_memory_set_data(&session->memory, bytes);
    return BP_OK;
}

/* Decoded pictures may take what the network leaves. */
static bp_status choose_cache(void *context, const struct bp_dataset *data, size_t *bytes) {
    struct bp_session *session = context;
    if (data->train.count == 0) /* refused later, with its reason */
        return BP_OK;
    BP_TRY(forecast(session, data));
    size_t needed = session->memory.total, allowed = session->memory_allowed;
    *bytes = allowed > needed ? allowed - needed : 0;
    return BP_OK;
}

static bp_status open_data(struct bp_session *session, struct bp_bad_files *bad) {
    struct bp_settings *settings = &session->settings;
    const struct bp_dataset_options options = {
        .limit_train = settings->limit_train,
        .limit_val = settings->limit_val,
        .seed = settings->seed,
        .preprocess = bp_preprocess_choose(settings->size, &settings->augment),
        .augment = settings->augment,
        .val_share = settings->val_share,
        .skip_bad = settings->skip_bad,
        .choose_cache = choose_cache,
        .context = session,
        .threads = settings->threads,
        .bad = bad};
    session->batch_is_auto = settings->batch == 0;
    session->memory_allowed = bp_memory_allowed(settings);
    BP_TRY(bp_dataset_open(&session->data, settings->data, &options));
    BP_TRY(bp_dataset_check_classes(session->data));
    const struct bp_part *train = &session->data->train;
    if (!settings->batch_given && train->count > 0)
        settings->batch = default_batch(train->count);
    if (train->count < settings->batch && !session->batch_is_auto)
        return bp_fail(BP_USAGE,
                       "%s: the training part has %zu images, fewer than one batch of %zu; use "
                       "--batch %zu or less",
                       settings->data, train->count, settings->batch, train->count);
    if (session->data->val.count == 0)
        return bp_fail(BP_DATA, "%s: the validation part is empty", settings->data);
    /* Files that were left out may have made the training part smaller than the batch chosen. */
    if (session->batch_is_auto && (settings->batch == 0 || settings->batch > train->count))
        BP_TRY(forecast(session, session->data));
    if (!settings->has_mean)
        bp_part_moments(train, settings->mean, settings->deviation);
    return BP_OK;
}

static bp_status record(bp_config *config, enum bp_option_id id, size_t value, const char *origin) {
    char text[32];
    snprintf(text, sizeof text, "%zu", value);
    return bp_config_set(config, bp_option_table[id].name, text, origin);
}

bp_status bp_session_record(struct bp_session *session, bp_config *config) {
    struct bp_settings *settings = &session->settings;
    char origin[80];
    bp_config_value lr;
    if (session->data->median_side > 0) {
        snprintf(origin, sizeof origin, "pictures of %zu pixels", session->data->median_side);
        BP_TRY(record(config, BP_OPT_SIZE, session->data->preprocess.side, origin));
    }
    BP_TRY(bp_config_explain(config, "lr", &lr)); /* its default depends on other options */
    if (bp_config_get(config, "lr") == NULL)
        BP_TRY(bp_config_set(config, "lr", lr.value, lr.origin));
    snprintf(origin, sizeof origin, "%zu training images", session->data->train.count);
    if (session->batch_is_auto || !settings->batch_given)
        BP_TRY(record(config, BP_OPT_BATCH, settings->batch,
                      session->batch_is_auto ? "--batch auto" : origin));
    if (settings->time_text == NULL)
        return BP_OK;
    snprintf(origin, sizeof origin, "--time %s", settings->time_text);
    BP_TRY(record(config, BP_OPT_EPOCHS, settings->epochs, origin));
    BP_TRY(record(config, BP_OPT_STEPS, settings->max_steps, origin));
    bp_config_unset(config, BP_OPT_TIME);
    settings->time_text = NULL;
    return BP_OK;
}

/* --- steps and network ------------------------------------------------------------------------ */

/* Everything that is counted in epochs becomes steps. */
bp_status bp_session_count_steps(struct bp_session *session) {
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
    session->total_steps = session->planned_steps = (uint64_t)steps;
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

void bp_session_cut(struct bp_session *session, const struct bp_schedule_cut *cut) {
    session->cut = *cut;
    session->total_steps = cut->steps;
    session->epochs = (size_t)((cut->steps + session->batches - 1) / session->batches);
}

static bp_status build(struct bp_session *session, const struct bp_graph_config *config) {
    const struct bp_settings *settings = &session->settings;
    BP_TRY(bp_exec_create(&session->exec, settings->tier, settings->threads));
    BP_TRY(bp_graph_create(&session->graph, session->exec, config));
    return bp_optim_create(&session->optim, session->graph->params, session->graph->n_params);
}

static bp_status open_network(struct bp_session *session) {
    struct bp_graph_config config;
    describe_network(session, session->data, &config);
    BP_TRY(build(session, &config));
    BP_TRY(bp_memory_sum(session->graph, &session->settings, session->data->train.count,
                         session->data->val.count, &session->memory));
    bp_memory_set_data(&session->memory, bp_dataset_bytes(session->data));
    return BP_OK;
}

bp_status bp_session_open_made_up(struct bp_session *session, const bp_config *config,
                                  unsigned command) {
    struct bp_graph_config network;
    memset(session, 0, sizeof *session);
    struct bp_settings *settings = &session->settings;
    BP_TRY(bp_config_resolve(config, command, settings));
    size_t side = settings->size > 0 ? settings->size : SMALLEST_INPUT;
    bp_made_up_moments(settings->mean, settings->deviation);
    session->schedule.kind = BP_SCHEDULE_CONSTANT;
    session->total_steps = session->planned_steps = UINT32_MAX;
    bp_session_graph_config(settings, side, side, settings->channels, settings->classes, &network);
    bp_status status = build(session, &network);
    if (status != BP_OK)
        bp_session_close(session);
    return status;
}

bp_status bp_session_open(struct bp_session *session, const bp_config *config, unsigned command,
                          struct bp_bad_files *bad) {
    memset(session, 0, sizeof *session);
    BP_TRY(bp_config_resolve(config, command, &session->settings));
    bp_status status = open_data(session, bad);
    if (status == BP_OK)
        status = bp_session_count_steps(session);
    if (status == BP_OK)
        status = open_network(session);
    if (status != BP_OK)
        bp_session_close(session);
    return status;
}

static void close_network(struct bp_session *session) {
    bp_optim_destroy(session->optim);
    bp_graph_destroy(session->graph);
    bp_exec_destroy(session->exec);
    session->optim = NULL;
    session->graph = NULL;
    session->exec = NULL;
}

bp_status bp_session_renew(struct bp_session *session) {
    close_network(session);
    return open_network(session);
}

void bp_session_stop(struct bp_session *session) {
    bp_loader_destroy(session->train);
    bp_loader_destroy(session->val);
    session->train = session->val = NULL;
}

void bp_session_close(struct bp_session *session) {
    bp_session_stop(session);
    close_network(session);
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
                                        .ahead = BP_BATCHES_AHEAD};
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
                            .median_side = data->median_side,
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
                            .memory_bytes = bp_graph_planned_bytes(session->graph),
                            .memory_total = session->memory.total,
                            .memory_allowed = session->memory_allowed,
                            .batch_is_auto = session->batch_is_auto,
                            .time_allowed = settings->seconds,
                            .time_forecast = session->time_forecast};
    bp_graph_count_parameters(session->graph, &out->parameters, &out->binary_weights);
}
