/* Training, top to bottom: train_step is one step, finish_epoch what follows the last step of an
 * epoch, run_steps the whole; bp_trainer_train and bp_trainer_resume put a run together and take it
 * apart. All that a resume needs is in progress and the graph: both go into last.ckpt, and nothing
 * there depends on time, threads or interruptions. */
#include "train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/file_io.h"
#include "base/memory.h"
#include "train/checkpoint.h"
#include "train/config.h"
#include "train/evaluate.h"
#include "train/run_folder.h"
#include "train/session.h"

struct trainer {
    bp_config *config;
    char *recipe; /* the config as checkpoints hold it */
    struct bp_session session;
    struct bp_run_folder folder;
    struct bp_progress progress;
    bp_event_callback *callback;
    void *user;
    /* For reports only; none of it goes into a checkpoint. */
    uint64_t begin_ns;
    double train_seconds, epoch_seconds; /* spent in steps, validation not counted */
    size_t train_images, epoch_images;
    double step_seconds; /* smoothed */
    double eval_seconds; /* of the last validation */
    size_t first_step;
};

/* --- events ------------------------------------------------------------------------------------
 */

static double seconds_since(uint64_t begin_ns) {
    return (double)(bp_clock_ns() - begin_ns) * 1e-9;
}

static double rate(size_t images, double seconds) {
    return seconds > 0 ? (double)images / seconds : 0;
}

/* The learning rate of the last step; 0 before the first. */
static double last_lr(const struct trainer *t) {
    const struct bp_session *s = &t->session;
    uint64_t step = t->progress.step;
    if (step == 0)
        return 0;
    return s->settings.optim.lr * bp_schedule_factor(&s->schedule, step - 1, s->total_steps);
}

static double seconds_left(const struct trainer *t) {
    const struct bp_session *s = &t->session;
    if (t->step_seconds <= 0)
        return -1;
    double steps = (double)(s->total_steps - t->progress.step);
    double validations = (double)(s->epochs - t->progress.epoch);
    return steps * t->step_seconds + validations * t->eval_seconds;
}

static void fill_event(const struct trainer *t, bp_event_kind kind, bp_event *event) {
    const struct bp_session *s = &t->session;
    const struct bp_progress *p = &t->progress;
    *event = (bp_event){.kind = kind,
                        .text = "",
                        .epoch = p->epoch,
                        .epochs = s->epochs,
                        .step = (size_t)p->step,
                        .steps = (size_t)s->total_steps,
                        .batch = (size_t)p->step - p->epoch * s->batches,
                        .batches = s->batches,
                        .val_loss = p->loss,
                        .val_accuracy = p->accuracy,
                        .best_accuracy = p->best_accuracy,
                        .lr = last_lr(t),
                        .images_per_s = rate(s->settings.batch, t->step_seconds),
                        .seconds = seconds_since(t->begin_ns),
                        .seconds_left = seconds_left(t)};
    if (p->step < p->epoch * s->batches) /* the run ended within an epoch */
        event->batch = s->batches;
    if (p->seen > 0) {
        event->loss = p->loss_sum / (double)p->seen;
        event->accuracy = (double)p->correct / (double)p->seen;
    }
}

static void send(const struct trainer *t, const bp_event *event) {
    if (t->callback != NULL)
        t->callback(t->user, event);
}

static void send_text(const struct trainer *t, bp_event_kind kind, const char *text) {
    bp_event event;
    fill_event(t, kind, &event);
    event.text = text;
    send(t, &event);
}

static bp_status note(const struct trainer *t, const char *text) {
    send_text(t, BP_EVENT_NOTE, text);
    return bp_run_folder_log(&t->folder, text);
}

/* --- a step ------------------------------------------------------------------------------------
 */

static bp_status save(const struct trainer *t) {
    BP_TRY(bp_checkpoint_save(t->folder.last, t->session.graph, t->recipe,
                              t->session.data->class_names, &t->progress, 1));
    send_text(t, BP_EVENT_CHECKPOINT, t->folder.last);
    return BP_OK;
}

static bp_status diverged(const struct trainer *t, const char *what) {
    int saved = bp_path_exists(t->folder.last);
    return bp_fail(
        BP_DIVERGED,
        "%s became NaN or infinite in step %llu; lower --lr (now %g), or add --warmup or "
        "--clip-norm; %s%s",
        what, (unsigned long long)t->progress.step + 1, t->session.settings.optim.lr,
        saved ? "the last good state is in " : "nothing was saved yet",
        saved ? t->folder.last : "");
}

static bp_status train_step(struct trainer *t, double *loss, size_t *correct) {
    struct bp_session *s = &t->session;
    struct bp_graph *graph = s->graph;
    uint64_t step = t->progress.step;
    struct bp_batch batch;
    struct bp_optim_result update;

    BP_TRY(bp_loader_next(s->train, &batch));
    if (step < s->qat_steps)
        bp_graph_set_precision(graph, BP_PRECISION_QAT);
    else
        bp_graph_set_precision(graph, s->settings.precision);
    graph->step = (uint32_t)step;
    bp_graph_set_input(graph, batch.n, batch.images);
    BP_TRY(bp_graph_forward(graph, 1));
    BP_TRY(bp_graph_loss(graph, batch.labels, 1, loss, correct));
    if (!isfinite(*loss))
        return diverged(t, "the loss");
    BP_TRY(bp_graph_backward(graph));

    double factor = bp_schedule_factor(&s->schedule, step, s->total_steps);
    bp_optim_step(s->optim, s->exec->threads, &s->settings.optim, factor, step + 1, &update);
    if (!update.finite)
        return diverged(t, "the gradient");
    bp_graph_weights_changed(graph);
    return BP_OK;
}

static bp_status log_step(const struct trainer *t, double loss, size_t correct) {
    const struct bp_session *s = &t->session;
    const struct bp_metrics line = {.epoch = t->progress.epoch + 1,
                                    .step = t->progress.step,
                                    .loss = loss,
                                    .accuracy = (double)correct / (double)s->settings.batch,
                                    .lr = last_lr(t),
                                    .images_per_s = rate(s->settings.batch, t->step_seconds),
                                    .seconds = seconds_since(t->begin_ns)};
    return bp_run_folder_step(&t->folder, &line);
}

static int validation_due(const struct trainer *t) {
    const struct bp_progress *p = &t->progress;
    return p->step > 0 && p->eval_step != p->step &&
           (p->step % t->session.batches == 0 || p->step == t->session.total_steps);
}

static bp_status step_and_report(struct trainer *t) {
    const struct bp_settings *settings = &t->session.settings;
    struct bp_progress *p = &t->progress;
    uint64_t begin_ns = bp_clock_ns();
    double loss;
    size_t correct;
    BP_TRY(train_step(t, &loss, &correct));
    p->step++;
    p->loss_sum += loss * (double)settings->batch;
    p->correct += correct;
    p->seen += settings->batch;

    double seconds = seconds_since(begin_ns);
    t->train_seconds += seconds;
    t->epoch_seconds += seconds;
    t->train_images += settings->batch;
    t->epoch_images += settings->batch;
    t->step_seconds = t->step_seconds > 0 ? 0.9 * t->step_seconds + 0.1 * seconds : seconds;
    if (settings->log_every > 0 && p->step % settings->log_every == 0)
        BP_TRY(log_step(t, loss, correct));
    if (t->callback != NULL)
        send_text(t, BP_EVENT_STEP, "");
    /* The end of an epoch saves by itself. */
    if (settings->checkpoint_every > 0 && p->step % settings->checkpoint_every == 0 &&
        !validation_due(t))
        return save(t);
    return BP_OK;
}

/* --- an epoch ----------------------------------------------------------------------------------
 */

static bp_status report_epoch(struct trainer *t, int is_best) {
    const struct bp_progress *p = &t->progress;
    bp_event event;
    char line[320];
    fill_event(t, BP_EVENT_EPOCH, &event);
    event.is_best = is_best;
    event.images_per_s = rate(t->epoch_images, t->epoch_seconds);
    const struct bp_metrics metrics = {.epoch = p->epoch,
                                       .step = p->step,
                                       .loss = event.loss,
                                       .accuracy = event.accuracy,
                                       .val_loss = p->loss,
                                       .val_accuracy = p->accuracy,
                                       .best_accuracy = p->best_accuracy,
                                       .lr = last_lr(t),
                                       .images_per_s = event.images_per_s,
                                       .seconds = event.seconds};
    BP_TRY(bp_run_folder_epoch(&t->folder, &metrics));
    snprintf(
        line, sizeof line,
        "epoch %zu/%zu: loss %.4f, accuracy %.2f %%, validation loss %.4f, accuracy %.2f %%%s, "
        "%.0f images/s",
        p->epoch, event.epochs, event.loss, 100 * event.accuracy, p->loss, 100 * p->accuracy,
        is_best ? " (best)" : "", event.images_per_s);
    BP_TRY(bp_run_folder_log(&t->folder, line));
    send(t, &event);
    return BP_OK;
}

/* Validates, keeps the best, reports, saves. The order matters when the process is killed in
 * between: last.ckpt comes last, so that a resumed run does all of it again. */
static bp_status finish_epoch(struct trainer *t) {
    struct bp_progress *p = &t->progress;
    struct bp_evaluation validation = {0};
    uint64_t begin_ns = bp_clock_ns();
    BP_TRY(bp_evaluate(t->session.graph, t->session.val, &validation));
    t->eval_seconds = seconds_since(begin_ns);
    if (!isfinite(validation.loss))
        return diverged(t, "the validation loss");
    p->epoch++;
    p->eval_step = p->step;
    p->accuracy = validation.accuracy;
    p->loss = validation.loss;
    int is_best = p->accuracy > p->best_accuracy;
    if (is_best) {
        p->best_accuracy = p->accuracy;
        p->best_epoch = p->epoch;
        BP_TRY(bp_checkpoint_save(t->folder.best, t->session.graph, t->recipe,
                                  t->session.data->class_names, p, 0));
    }
    BP_TRY(report_epoch(t, is_best));
    p->loss_sum = 0;
    p->correct = p->seen = 0;
    t->epoch_seconds = 0;
    t->epoch_images = 0;
    return save(t);
}

static bp_status run_steps(struct trainer *t) {
    for (;;) {
        if (validation_due(t))
            BP_TRY(finish_epoch(t));
        if (t->progress.step >= t->session.total_steps)
            return BP_OK;
        BP_TRY(bp_interrupt_requested());
        BP_TRY(step_and_report(t));
    }
}

/* --- a run -------------------------------------------------------------------------------------
 */

static bp_status start(struct trainer *t) {
    char quantizer[400], line[640];
    bp_run_summary summary;
    bp_event event;
    t->begin_ns = bp_clock_ns();
    BP_TRY(bp_session_start(&t->session, t->progress.step));
    bp_session_summary(&t->session, quantizer, sizeof quantizer, &summary);
    summary.run = t->folder.path;
    summary.first_step = t->first_step;
    snprintf(line, sizeof line,
             "%s %s: %s width %g, %s%s%s, %zu of %zu steps, batch %zu, seed %llu",
             t->first_step > 0 ? "resumed" : "started", bp_version(), summary.model, summary.width,
             summary.precision, quantizer[0] != 0 ? ", " : "", quantizer,
             summary.steps - summary.first_step, summary.steps, summary.batch,
             (unsigned long long)t->session.settings.seed);
    BP_TRY(bp_run_folder_log(&t->folder, line));
    fill_event(t, BP_EVENT_START, &event);
    event.start = &summary;
    send(t, &event);
    if (bp_fp32_default() == BP_FP32_PLAIN)
        return note(t, "this build has no oneDNN: float convolutions run in plain C, slowly");
    return BP_OK;
}

/* Stopping on request is a failure to the callers up to here; now it becomes a saved state. */
static bp_status stop(struct trainer *t, bp_status status) {
    bp_interrupt(0); /* answered */
    BP_TRY(save(t));
    return bp_fail(status, "stopped after step %llu of %llu; saved; go on with: bitprop resume %s",
                   (unsigned long long)t->progress.step, (unsigned long long)t->session.total_steps,
                   t->folder.path);
}

static void fill_result(const struct trainer *t, bp_status status, bp_train_result *result) {
    const struct bp_progress *p = &t->progress;
    *result = (bp_train_result){.status = status,
                                .accuracy = p->accuracy,
                                .loss = p->loss,
                                .best_accuracy = p->best_accuracy,
                                .best_epoch = p->best_epoch,
                                .epoch = p->epoch,
                                .step = (size_t)p->step,
                                .seconds = seconds_since(t->begin_ns),
                                .images_per_s = rate(t->train_images, t->train_seconds),
                                .peak_rss_bytes = bp_clock_peak_rss_bytes()};
    memcpy(result->run, t->folder.path, sizeof result->run);
}

/* Leaves result.json and the last line of the log, whatever happened. */
static bp_status conclude(struct trainer *t, bp_status status, bp_train_result *result) {
    char message[BP_MESSAGE_BYTES];
    snprintf(message, sizeof message, "%s", status == BP_OK ? "done" : bp_status_message());
    fill_result(t, status, result);
    bp_status written = bp_run_folder_result(&t->folder, result);
    if (written == BP_OK)
        written = bp_run_folder_log(&t->folder, message);
    if (status == BP_OK && written != BP_OK) {
        result->status = written;
        return written;
    }
    if (status == BP_OK)
        send_text(t, BP_EVENT_DONE, "");
    if (status == BP_INTERRUPT || status == BP_TERMINATE)
        send_text(t, BP_EVENT_STOPPED, message);
    return status == BP_OK ? BP_OK : bp_fail(status, "%s", message);
}

static bp_status run(struct trainer *t, bp_train_result *result) {
    bp_status status = start(t);
    if (status == BP_OK)
        status = run_steps(t);
    if (status == BP_INTERRUPT || status == BP_TERMINATE)
        status = stop(t, status);
    return conclude(t, status, result);
}

static void trainer_init(struct trainer *t, bp_event_callback *callback, void *user) {
    memset(t, 0, sizeof *t);
    t->folder.lock = -1;
    t->progress.accuracy = t->progress.loss = t->progress.best_accuracy = -1;
    t->callback = callback;
    t->user = user;
    t->begin_ns = bp_clock_ns();
}

static void trainer_close(struct trainer *t) {
    bp_session_close(&t->session);
    bp_run_folder_close(&t->folder);
    bp_config_destroy(t->config);
    bp_free(t->recipe);
}

/* The network is built first: a mistake in data or options leaves no folder behind. */
static bp_status prepare_new(struct trainer *t, const bp_config *config) {
    BP_TRY(bp_config_copy(&t->config, config));
    BP_TRY(bp_config_recipe(t->config, &t->recipe));
    BP_TRY(bp_session_open(&t->session, t->config));
    const struct bp_settings *settings = &t->session.settings;
    BP_TRY(bp_run_folder_create(&t->folder, settings->run, settings->data, settings->model));
    return bp_run_folder_describe(&t->folder, t->config, t->session.exec,
                                  t->session.data->class_names, t->session.data->classes);
}

bp_status bp_trainer_train(const bp_config *config, bp_event_callback *callback, void *user,
                           bp_train_result *result) {
    struct trainer t;
    trainer_init(&t, callback, user);
    bp_status status = prepare_new(&t, config);
    if (status == BP_OK)
        status = run(&t, result);
    else
        fill_result(&t, status, result);
    trainer_close(&t);
    return status;
}

/* The options that may change between sittings: they do not touch the result. */
static bp_status apply_overrides(bp_config *config, const bp_config *overrides) {
    if (overrides == NULL)
        return BP_OK;
    BP_TRY(bp_config_check(overrides, BP_COMMAND_RESUME));
    for (int id = 0; id < BP_OPT_COUNT; id++) {
        const char *name = bp_option_table[id].name;
        if ((bp_option_table[id].commands & BP_COMMAND_RESUME) && bp_config_is_set(overrides, name))
            BP_TRY(bp_config_set(config, name, bp_config_get(overrides, name),
                                 bp_config_origin(overrides, name)));
    }
    return BP_OK;
}

/* A run goes on as it began: config.json must say what the checkpoint was made with. */
static bp_status check_recipe(const struct trainer *t, const struct bp_checkpoint_head *head) {
    bp_config *saved;
    BP_TRY(bp_config_create(&saved));
    bp_status status =
        bp_config_parse_json(saved, head->config, strlen(head->config), t->folder.last, BP_MODEL);
    for (int id = 0; id < BP_OPT_COUNT && status == BP_OK; id++) {
        const char *name = bp_option_table[id].name;
        const char *now = bp_config_get(t->config, name), *then = bp_config_get(saved, name);
        if (bp_option_is_local((enum bp_option_id)id) || (now == NULL && then == NULL))
            continue;
        if (now == NULL || then == NULL || strcmp(now, then) != 0)
            status = bp_fail(BP_MODEL,
                             "%s/config.json says '%s' %s, but last.ckpt was made with %s; put it "
                             "back to go on, or begin a new run",
                             t->folder.path, name, now != NULL ? now : "(nothing)",
                             then != NULL ? then : "(nothing)");
    }
    bp_config_destroy(saved);
    return status;
}

static bp_status load_last(struct trainer *t) {
    struct bp_checkpoint *checkpoint;
    BP_TRY(bp_checkpoint_open(&checkpoint, t->folder.last));
    const struct bp_checkpoint_head *head = bp_checkpoint_head_of(checkpoint);
    bp_status status = check_recipe(t, head);
    if (status == BP_OK)
        status = bp_checkpoint_load(checkpoint, t->session.graph, 1);
    if (status == BP_OK && head->progress.step > t->session.total_steps)
        status = bp_fail(BP_MODEL, "%s: made after %llu steps, but the run has only %llu",
                         t->folder.last, (unsigned long long)head->progress.step,
                         (unsigned long long)t->session.total_steps);
    t->progress = head->progress;
    bp_checkpoint_close(checkpoint);
    return status;
}

/* A run that was killed before its first checkpoint begins again: the same seed, the same run. */
static bp_status prepare_resumed(struct trainer *t, const char *run, const bp_config *overrides) {
    BP_TRY(bp_run_folder_open(&t->folder, run));
    BP_TRY(bp_config_create(&t->config));
    BP_TRY(bp_run_folder_read_config(&t->folder, t->config));
    BP_TRY(apply_overrides(t->config, overrides));
    BP_TRY(bp_config_recipe(t->config, &t->recipe));
    BP_TRY(bp_session_open(&t->session, t->config));
    if (bp_path_exists(t->folder.last))
        BP_TRY(load_last(t));
    const struct bp_progress *p = &t->progress;
    if (p->step == t->session.total_steps && p->eval_step == p->step)
        return bp_fail(BP_USAGE, "run %s is finished (%llu steps); nothing is left to do", run,
                       (unsigned long long)p->step);
    t->first_step = (size_t)p->step;
    return bp_run_folder_rewind(&t->folder, p);
}

bp_status bp_trainer_resume(const char *run_path, const bp_config *overrides,
                            bp_event_callback *callback, void *user, bp_train_result *result) {
    struct trainer t;
    trainer_init(&t, callback, user);
    bp_status status = prepare_resumed(&t, run_path, overrides);
    if (status == BP_OK)
        status = run(&t, result);
    else
        fill_result(&t, status, result);
    trainer_close(&t);
    return status;
}
