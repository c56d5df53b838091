/* Training, top to bottom: train_step is one step, finish_epoch what follows the last step of an
 * epoch, bp_trainer_run the whole. All that a resume needs is in progress and the graph: both go
 * into last.ckpt, and nothing there depends on time, threads or interruptions. */
#include "train/trainer.h"

#include <math.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/file_io.h"
#include "train/evaluate.h"
#include "train/step.h"

/* --- events ----------------------------------------------------------------------------------- */

static double seconds_since(uint64_t begin_ns) {
    return (double)(bp_clock_ns() - begin_ns) * 1e-9;
}

static double rate(size_t images, double seconds) {
    return seconds > 0 ? (double)images / seconds : 0;
}

/* The learning rate of the last step; 0 before the first. */
static double last_lr(const struct bp_trainer *t) {
    const struct bp_session *s = &t->session;
    uint64_t step = t->progress.step;
    if (step == 0)
        return 0;
    double position = bp_schedule_position(&s->cut, step - 1, s->planned_steps);
    return s->settings.optim.lr * bp_schedule_factor(&s->schedule, position, s->planned_steps);
}

static double seconds_left(const struct bp_trainer *t) {
    const struct bp_session *s = &t->session;
    if (t->step_seconds <= 0)
        return -1;
    double steps = (double)(s->total_steps - t->progress.step);
    double validations = (double)(s->epochs - t->progress.epoch);
    return steps * t->step_seconds + validations * t->eval_seconds;
}

void bp_trainer_fill_event(const struct bp_trainer *t, bp_event_kind kind, bp_event *event) {
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

void bp_trainer_send(const struct bp_trainer *t, const bp_event *event) {
    if (t->callback != NULL)
        t->callback(t->user, event);
}

void bp_trainer_send_text(const struct bp_trainer *t, bp_event_kind kind, const char *text) {
    bp_event event;
    bp_trainer_fill_event(t, kind, &event);
    event.text = text;
    bp_trainer_send(t, &event);
}

void bp_trainer_report_failed(const struct bp_trainer *t) {
    char text[BP_MESSAGE_BYTES];
    snprintf(text, sizeof text, "the report is not complete: %.960s", bp_status_message());
    bp_trainer_send_text(t, BP_EVENT_NOTE, text);
    (void)bp_run_folder_log(&t->folder, text); /* a full disk may be what failed */
}

/* --- a step ----------------------------------------------------------------------------------- */

bp_status bp_trainer_save(const struct bp_trainer *t) {
    BP_TRY(bp_checkpoint_save(t->folder.last, t->session.graph, t->average,
                              &t->session.data->preprocess, t->recipe, t->session.data->class_names,
                              &t->progress, 1));
    bp_trainer_send_text(t, BP_EVENT_CHECKPOINT, t->folder.last);
    return BP_OK;
}

static bp_status diverged(const struct bp_trainer *t, const char *what) {
    int saved = bp_path_exists(t->folder.last);
    return bp_fail(
        BP_DIVERGED,
        "%s became NaN or infinite in step %llu; lower --lr (now %g), or add --warmup or "
        "--clip-norm; %s%s",
        what, (unsigned long long)t->progress.step + 1, t->session.settings.optim.lr,
        saved ? "the last good state is in " : "nothing was saved yet",
        saved ? t->folder.last : "");
}

bp_status bp_trainer_note(const struct bp_trainer *t, const char *text) {
    bp_trainer_send_text(t, BP_EVENT_NOTE, text);
    return bp_run_folder_log(&t->folder, text);
}

/* Cuts the run where its time is up before it would end. */
static bp_status keep_time(struct bp_trainer *t) {
    struct bp_session *s = &t->session;
    struct bp_progress *p = &t->progress;
    uint64_t steps, before = s->total_steps;
    char line[200];
    if (!bp_time_limit_passed(&t->limit, s, p->step, &steps))
        return BP_OK;
    bp_schedule_cut_to(&p->cut, p->step - 1, steps, s->planned_steps);
    bp_session_cut(s, &p->cut);
    snprintf(line, sizeof line,
             "slower than forecast: to end in time, the run has %llu steps now, not %llu, and its "
             "schedule ends with them",
             (unsigned long long)steps, (unsigned long long)before);
    return bp_trainer_note(t, line);
}

static bp_status train_step(struct bp_trainer *t, struct bp_step_result *result) {
    BP_TRY(bp_session_step(&t->session, t->average, t->progress.step, result));
    return result->infinite != NULL ? diverged(t, result->infinite) : BP_OK;
}

static bp_status log_step(const struct bp_trainer *t, double loss, size_t correct) {
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

static int validation_due(const struct bp_trainer *t) {
    const struct bp_progress *p = &t->progress;
    return p->step > 0 && p->eval_step != p->step &&
           (p->step % t->session.batches == 0 || p->step == t->session.total_steps);
}

static bp_status step_and_report(struct bp_trainer *t) {
    const struct bp_settings *settings = &t->session.settings;
    struct bp_progress *p = &t->progress;
    uint64_t begin_ns = bp_clock_ns();
    struct bp_step_result result;
    bp_run_report_before_step(&t->report, p->step);
    BP_TRY(train_step(t, &result));
    p->step++;
    BP_TRY(bp_run_report_after_step(&t->report, p->epoch + 1, p->step));
    p->loss_sum += result.loss * (double)settings->batch;
    p->correct += result.correct;
    p->seen += settings->batch;

    double seconds = seconds_since(begin_ns);
    t->train_seconds += seconds;
    t->epoch_seconds += seconds;
    t->train_images += settings->batch;
    t->epoch_images += settings->batch;
    t->step_seconds = t->step_seconds > 0 ? 0.9 * t->step_seconds + 0.1 * seconds : seconds;
    if (settings->log_every > 0 && p->step % settings->log_every == 0)
        BP_TRY(log_step(t, result.loss, result.correct));
    if (t->callback != NULL)
        bp_trainer_send_text(t, BP_EVENT_STEP, "");
    BP_TRY(keep_time(t));
    /* The end of an epoch saves by itself. */
    if (settings->checkpoint_every > 0 && p->step % settings->checkpoint_every == 0 &&
        !validation_due(t))
        return bp_trainer_save(t);
    return BP_OK;
}

/* Share of the epoch's training time in which no batch was ready. */
static double data_wait(const struct bp_trainer *t) {
    uint64_t waited_ns = bp_loader_waited_ns(t->session.train) - t->epoch_waited_ns;
    return t->epoch_seconds > 0 ? (double)waited_ns * 1e-9 / t->epoch_seconds : 0;
}

/* --- an epoch --------------------------------------------------------------------------------- */

static bp_status report_epoch(struct bp_trainer *t, int is_best) {
    const struct bp_progress *p = &t->progress;
    bp_event event;
    char line[320];
    bp_trainer_fill_event(t, BP_EVENT_EPOCH, &event);
    event.is_best = is_best;
    t->train_accuracy = event.accuracy;
    event.images_per_s = rate(t->epoch_images, t->epoch_seconds);
    event.data_wait = data_wait(t);
    const struct bp_metrics metrics = {.epoch = p->epoch,
                                       .step = p->step,
                                       .loss = event.loss,
                                       .accuracy = event.accuracy,
                                       .val_loss = p->loss,
                                       .val_accuracy = p->accuracy,
                                       .best_accuracy = p->best_accuracy,
                                       .lr = last_lr(t),
                                       .images_per_s = event.images_per_s,
                                       .data_wait = event.data_wait,
                                       .seconds = event.seconds};
    BP_TRY(bp_run_folder_epoch(&t->folder, &metrics));
    snprintf(
        line, sizeof line,
        "epoch %zu/%zu: loss %.4f, accuracy %.2f %%, validation loss %.4f, accuracy %.2f %%%s, "
        "%.0f images/s",
        p->epoch, event.epochs, event.loss, 100 * event.accuracy, p->loss, 100 * p->accuracy,
        is_best ? " (best)" : "", event.images_per_s);
    BP_TRY(bp_run_folder_log(&t->folder, line));
    bp_trainer_send(t, &event);
    return BP_OK;
}

/* With the averages in the network's place, if there are any. */
static bp_status validate(struct bp_trainer *t, struct bp_evaluation *out) {
    struct bp_graph *graph = t->session.graph;
    if (t->average != NULL)
        bp_average_swap(t->average, graph);
    bp_status status = bp_evaluate(graph, t->session.val, out);
    if (t->average != NULL)
        bp_average_swap(t->average, graph);
    return status;
}

/* Validates, keeps the best, reports, saves. The order matters when the process is killed in
 * between: last.ckpt comes last, so that a resumed run does all of it again. */
static bp_status finish_epoch(struct bp_trainer *t) {
    struct bp_progress *p = &t->progress;
    struct bp_evaluation validation = {0};
    uint64_t begin_ns = bp_clock_ns();
    bp_run_report_listen(&t->report, &validation);
    BP_TRY(validate(t, &validation));
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
        BP_TRY(bp_checkpoint_save(t->folder.best, t->session.graph, t->average,
                                  &t->session.data->preprocess, t->recipe,
                                  t->session.data->class_names, p, 0));
        if (bp_run_report_best(&t->report, &validation, p->epoch) != BP_OK)
            bp_trainer_report_failed(t);
    }
    BP_TRY(report_epoch(t, is_best));
    p->loss_sum = 0;
    p->correct = p->seen = 0;
    t->epoch_seconds = 0;
    t->epoch_waited_ns = bp_loader_waited_ns(t->session.train);
    t->epoch_images = 0;
    BP_TRY(bp_trainer_save(t));
    bp_time_limit_validated(&t->limit, t->eval_seconds, seconds_since(begin_ns) - t->eval_seconds);
    return BP_OK;
}

enum bp_ending bp_trainer_ending(const struct bp_trainer *t) {
    const struct bp_progress *p = &t->progress;
    const struct bp_session *s = &t->session;
    if (p->step == 0 || p->eval_step != p->step)
        return BP_ENDING_NONE;
    if (p->step >= s->total_steps && s->cut.steps > 0)
        return BP_ENDING_TIME;
    if (p->step >= s->total_steps)
        return p->step < s->settings.epochs * s->batches ? BP_ENDING_STEPS : BP_ENDING_EPOCHS;
    if (s->settings.patience > 0 && p->epoch - p->best_epoch >= s->settings.patience)
        return BP_ENDING_PATIENCE;
    return BP_ENDING_NONE;
}

bp_status bp_trainer_run(struct bp_trainer *t) {
    bp_time_limit_mark(&t->limit);
    for (;;) {
        if (validation_due(t))
            BP_TRY(finish_epoch(t));
        if (bp_trainer_ending(t) != BP_ENDING_NONE)
            return BP_OK;
        BP_TRY(bp_interrupt_requested());
        BP_TRY(step_and_report(t));
    }
}
