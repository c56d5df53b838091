#include "train/forecast.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/memory_limit.h"
#include "train/checkpoint.h"
#include "train/measure.h"
#include "train/memory_fit.h"
#include "train/time_limit.h"

#define MEASURE_SECONDS 2.0

void bp_forecast_times(const struct bp_pace *pace, const struct bp_course *course, size_t batch,
                       size_t steps, double read_seconds, bp_forecast_side *out) {
    out->timed = 1;
    out->step_seconds = pace->step;
    out->images_per_s = pace->step > 0 ? (double)batch / pace->step : 0;
    out->validation_seconds = pace->validation;
    out->save_seconds = pace->save;
    struct bp_course plain = *course; /* an epoch behind the QAT warm-up */
    plain.qat_share = 0;
    out->epoch_seconds = bp_pace_seconds(pace, &plain, 0, course->batches);
    out->run_seconds = read_seconds + BP_FINISH_SECONDS + bp_pace_seconds(pace, course, 0, steps);
}

/* --- sides ------------------------------------------------------------------------------------ */

static bp_status measure_side(struct bp_session *session, const bp_forecast *f, size_t steps,
                              bp_forecast_side *side, struct bp_pace *pace) {
    struct bp_course course = bp_session_course(session);
    BP_TRY(bp_measure(session, MEASURE_SECONDS, pace));
    bp_forecast_times(pace, &course, session->settings.batch, steps, f->read_seconds, side);
    return BP_OK;
}

/* The same network in floats: its memory, and its times where it fits into memory. */
static bp_status measure_fp32(struct bp_session *session, bp_forecast *f) {
    bp_forecast_side *side = &f->sides[1];
    struct bp_settings *settings = &session->settings;
    struct bp_graph_config config = session->graph->config;
    bp_memory_sums memory;
    struct bp_pace pace;
    config.precision = settings->precision = BP_PRECISION_FP32;
    config.stem = settings->stem = BP_STEM_FP32;
    config.also_qat = 0;
    settings->qat_warmup = 0;
    settings->report_variance = 0;
    settings->optim.clamp_latent = 0;
    session->qat_steps = 0;
    f->n_sides = 2;
    snprintf(side->precision, sizeof side->precision, "fp32");
    BP_TRY(bp_memory_forecast(settings, &config, f->train_count, f->val_count, &memory));
    bp_memory_set_data(&memory, f->memory.data);
    side->memory_bytes = memory.total;
    if (memory.total > bp_memory_limit(""))
        return BP_OK;
    BP_TRY(bp_session_renew(session));
    return measure_side(session, f, f->steps, side, &pace);
}

/* --- all -------------------------------------------------------------------------------------- */

static void describe(const struct bp_session *session, bp_forecast *f) {
    const struct bp_settings *settings = &session->settings;
    const struct bp_graph *graph = session->graph;
    int averages = settings->ema > 0;
    snprintf(f->data, sizeof f->data, "%s", settings->data);
    snprintf(f->data_kind, sizeof f->data_kind, "%s", session->data->kind);
    f->train_count = session->data->train.count;
    f->val_count = session->data->val.count;
    f->classes = session->data->classes;
    snprintf(f->model, sizeof f->model, "%s", settings->model);
    f->width = settings->width;
    f->median_side = session->data->median_side;
    f->input_height = graph->config.height;
    f->input_width = graph->config.width_px;
    f->input_channels = graph->config.channels;
    bp_graph_count_parameters(graph, &f->parameters, &f->binary_weights);
    f->batch = settings->batch;
    f->batches = session->batches;
    f->epochs = session->epochs;
    f->steps = (size_t)session->total_steps;
    f->threads = bp_threads_count(session->exec->threads);
    f->tier = bp_tier_name(settings->tier);
    f->memory = session->memory;
    f->memory_allowed = session->memory_allowed;
    f->best_bytes = bp_checkpoint_bytes(graph, averages, 0);
    f->last_bytes = bp_checkpoint_bytes(graph, averages, 1);
    f->packed_bytes =
        (f->parameters - f->binary_weights) * sizeof(float) + (f->binary_weights + 7) / 8;
    f->n_sides = 1;
    snprintf(f->sides[0].precision, sizeof f->sides[0].precision, "%s",
             bp_precision_name(settings->precision));
    f->sides[0].memory_bytes = session->memory.total;
}

/* Decoded pictures make room for the network: what a run needs beside them counts. */
static void find_largest(const struct bp_session *session, bp_forecast *f) {
    const struct bp_dataset *data = session->data;
    bp_memory_sums sums;
    size_t bytes = data->train.pictures == NULL ? bp_dataset_bytes(data) : 0;
    if (bp_batch_choose(&session->settings, &session->graph->config, f->train_count, f->val_count,
                        bytes, f->memory_allowed, &f->largest_batch, &sums) == BP_OK)
        f->largest_bytes = sums.total;
    else
        f->largest_batch = 0;
}

/* With --time, the steps are those that train would choose; what was spent here it spends too. */
static bp_status fill(struct bp_session *session, uint64_t begin_ns, bp_forecast *f) {
    const struct bp_settings *settings = &session->settings;
    struct bp_pace pace;
    f->read_seconds = (double)(bp_clock_ns() - begin_ns) * 1e-9;
    describe(session, f);
    find_largest(session, f);
    BP_TRY(measure_side(session, f, f->steps, &f->sides[0], &pace));
    f->data_wait = pace.data_wait;
    if (settings->seconds > 0) {
        struct bp_course course = bp_session_course(session);
        BP_TRY(
            bp_time_limit_fit(session, &pace, &course, (double)(bp_clock_ns() - begin_ns) * 1e-9));
        f->epochs = session->epochs;
        f->steps = (size_t)session->total_steps;
        bp_forecast_times(&pace, &course, f->batch, f->steps, f->read_seconds, &f->sides[0]);
    }
    return settings->precision != BP_PRECISION_FP32 ? measure_fp32(session, f) : BP_OK;
}

static void write_side(const bp_forecast_side *side, struct bp_json *json) {
    bp_json_object(json, NULL);
    bp_json_string(json, "precision", side->precision);
    bp_json_bool(json, "timed", side->timed);
    bp_json_double(json, "step_seconds", side->step_seconds);
    bp_json_double(json, "images_per_s", side->images_per_s);
    bp_json_double(json, "validation_seconds", side->validation_seconds);
    bp_json_double(json, "save_seconds", side->save_seconds);
    bp_json_double(json, "epoch_seconds", side->epoch_seconds);
    bp_json_double(json, "run_seconds", side->run_seconds);
    bp_json_int(json, "memory_bytes", (int64_t)side->memory_bytes);
    bp_json_end_object(json);
}

static bp_status write_json(bp_forecast *f) {
    struct bp_json json;
    bp_json_begin(&json, 1);
    bp_json_object(&json, NULL);
    bp_json_string(&json, "data", f->data);
    bp_json_string(&json, "data_kind", f->data_kind);
    bp_json_int(&json, "train", (int64_t)f->train_count);
    bp_json_int(&json, "val", (int64_t)f->val_count);
    bp_json_int(&json, "classes", (int64_t)f->classes);
    bp_json_string(&json, "model", f->model);
    bp_json_double(&json, "width", f->width);
    bp_json_int(&json, "median_side", (int64_t)f->median_side);
    bp_json_int(&json, "input_height", (int64_t)f->input_height);
    bp_json_int(&json, "input_width", (int64_t)f->input_width);
    bp_json_int(&json, "input_channels", (int64_t)f->input_channels);
    bp_json_int(&json, "parameters", (int64_t)f->parameters);
    bp_json_int(&json, "binary_weights", (int64_t)f->binary_weights);
    bp_json_int(&json, "batch", (int64_t)f->batch);
    bp_json_int(&json, "batches", (int64_t)f->batches);
    bp_json_int(&json, "epochs", (int64_t)f->epochs);
    bp_json_int(&json, "steps", (int64_t)f->steps);
    bp_json_int(&json, "threads", f->threads);
    bp_json_string(&json, "tier", f->tier);
    bp_json_double(&json, "read_seconds", f->read_seconds);
    bp_json_double(&json, "data_wait", f->data_wait);
    bp_json_array(&json, "sides");
    for (size_t i = 0; i < f->n_sides; i++)
        write_side(&f->sides[i], &json);
    bp_json_end_array(&json);
    bp_json_object(&json, "bytes");
    bp_memory_write(&f->memory, &json);
    bp_json_end_object(&json);
    bp_json_int(&json, "memory_allowed", (int64_t)f->memory_allowed);
    bp_json_int(&json, "largest_batch", (int64_t)f->largest_batch);
    bp_json_int(&json, "largest_bytes", (int64_t)f->largest_bytes);
    bp_json_int(&json, "best_bytes", (int64_t)f->best_bytes);
    bp_json_int(&json, "last_bytes", (int64_t)f->last_bytes);
    bp_json_int(&json, "packed_bytes", (int64_t)f->packed_bytes);
    bp_json_end_object(&json);
    return bp_json_finish(&json, &f->json);
}

static bp_status forecast(bp_config *config, bp_forecast *f) {
    struct bp_session session;
    uint64_t begin_ns = bp_clock_ns();
    BP_TRY(bp_config_check(config, BP_COMMAND_TRAIN));
    BP_TRY(bp_config_load_init(config));
    BP_TRY(bp_session_open(&session, config, BP_COMMAND_TRAIN, NULL));
    bp_status status = fill(&session, begin_ns, f);
    if (status == BP_OK)
        status = write_json(f);
    bp_session_close(&session);
    return status;
}

bp_status bp_forecast_run(const bp_config *config, bp_forecast **out) {
    bp_forecast *f;
    bp_config *copy;
    *out = NULL;
    BP_TRY(bp_config_copy(&copy, config));
    bp_status status = bp_alloc(&f, sizeof *f, "a forecast");
    if (status == BP_OK)
        status = forecast(copy, f);
    bp_config_destroy(copy);
    if (status != BP_OK) {
        bp_forecast_free(f);
        return status;
    }
    *out = f;
    return BP_OK;
}

void bp_forecast_free(bp_forecast *forecast) {
    if (forecast == NULL)
        return;
    bp_free(forecast->json);
    bp_free(forecast);
}
