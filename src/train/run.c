#include "train/run.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/file_io.h"
#include "base/memory.h"
#include "train/advice.h"
#include "train/begin_record.h"
#include "train/data_record.h"
#include "train/evaluate.h"
#include "train/trainer.h"

/* --- a run ------------------------------------------------------------------------------------ */

/* A batch that was given is taken whatever --max-mem says. */
static bp_status note_memory(const struct bp_trainer *t) {
    const struct bp_session *s = &t->session;
    char line[200];
    if (s->settings.max_mem_bytes == 0 || s->memory.total <= s->memory_allowed)
        return BP_OK;
    snprintf(line, sizeof line,
             "--max-mem %zu: the run takes about %.0f MB with a batch of %zu; --batch auto would "
             "keep to it",
             s->settings.max_mem_bytes / 1000000, (double)s->memory.total / 1e6, s->settings.batch);
    return bp_trainer_note(t, line);
}

/* What a run that goes on keeps. */
static bp_status note_resumed(const struct bp_trainer *t) {
    enum { FILE_BYTES_MAX = 1 << 20 };
    const struct bp_session *s = &t->session;
    char path[BP_PATH_BYTES], time[BP_TIME_BYTES] = "", line[240];
    uint8_t *bytes;
    size_t count;
    BP_TRY(bp_path_join(path, sizeof path, t->folder.path, "settings.json"));
    if (bp_file_read(path, FILE_BYTES_MAX, BP_MODEL, &bytes, &count) == BP_OK) {
        bp_settings_record_time((const char *)bytes, count, time);
        bp_free(bytes);
    }
    int used = snprintf(line, sizeof line,
                        "goes on after step %zu of %llu, with the schedule that it began with",
                        t->first_step, (unsigned long long)s->total_steps);
    if (time[0] != 0)
        snprintf(line + used, sizeof line - (size_t)used,
                 ": the steps that were fitted to --time %s; how long they take now is not limited",
                 time);
    return bp_trainer_note(t, line);
}

static bp_status start(struct bp_trainer *t) {
    char quantizer[400], line[640];
    bp_run_summary summary;
    bp_event event;
    t->begin_ns = bp_clock_ns();
    BP_TRY(bp_session_start(&t->session, t->progress.step));
    BP_TRY(bp_run_report_open(&t->report, &t->session, &t->folder, t->progress.step));
    bp_session_summary(&t->session, quantizer, sizeof quantizer, &summary);
    summary.run = t->folder.path;
    summary.first_step = t->first_step;
    snprintf(line, sizeof line,
             "%s %s: %s width %g, %s%s%s%s, %zu of %zu steps, batch %zu, seed %llu",
             t->first_step > 0 ? "resumed" : "started", bp_version(), summary.model, summary.width,
             summary.precision, summary.stem, quantizer[0] != 0 ? ", " : "", quantizer,
             summary.steps - summary.first_step, summary.steps, summary.batch,
             (unsigned long long)t->session.settings.seed);
    BP_TRY(bp_run_folder_log(&t->folder, line));
    bp_trainer_fill_event(t, BP_EVENT_START, &event);
    event.start = &summary;
    bp_trainer_send(t, &event);
    if (t->first_step > 0)
        BP_TRY(note_resumed(t));
    BP_TRY(note_memory(t));
    for (size_t i = 0; t->init != NULL && bp_init_line(t->init, i) != NULL; i++)
        BP_TRY(bp_trainer_note(t, bp_init_line(t->init, i)));
    if (bp_fp32_default() == BP_FP32_PLAIN)
        return bp_trainer_note(
            t, "this build has no oneDNN: float convolutions run in plain C, slowly");
    return BP_OK;
}

/* Stopping on request is a failure to the callers up to here; now it becomes a saved state. */
static bp_status stop(struct bp_trainer *t, bp_status status) {
    bp_interrupt(0); /* answered */
    BP_TRY(bp_trainer_save(t));
    return bp_fail(status, "stopped after step %llu of %llu; saved; go on with: bitprop resume %s",
                   (unsigned long long)t->progress.step, (unsigned long long)t->session.total_steps,
                   t->folder.path);
}

static double largest_share(const struct bp_dataset *data) {
    size_t largest = 0;
    for (size_t i = 0; i < data->classes; i++) {
        size_t count = 0;
        for (size_t j = 0; j < data->val.count; j++)
            count += (size_t)data->val.labels[j] == i;
        largest = count > largest ? count : largest;
    }
    return data->val.count > 0 ? (double)largest / (double)data->val.count : 0;
}

static void advise(const struct bp_trainer *t, bp_train_result *result) {
    const struct bp_dataset *data = t->session.data;
    const struct bp_outcome outcome = {.train_accuracy = t->train_accuracy,
                                       .accuracy = t->progress.accuracy,
                                       .largest_share = largest_share(data),
                                       .validated = data->val.count};
    bp_advice(&t->session.settings, &outcome, result->advice, sizeof result->advice);
}

static const char *const endings[] = {"", "epochs", "steps", "patience", "time"};

static void fill_result(const struct bp_trainer *t, bp_status status, bp_train_result *result) {
    const struct bp_progress *p = &t->progress;
    *result = (bp_train_result){
        .status = status,
        .accuracy = p->accuracy,
        .loss = p->loss,
        .best_accuracy = p->best_accuracy,
        .best_epoch = p->best_epoch,
        .epoch = p->epoch,
        .step = (size_t)p->step,
        .ended_by = t->session.graph != NULL ? endings[bp_trainer_ending(t)] : "",
        .seconds = (double)(bp_clock_ns() - t->begin_ns) * 1e-9,
        .images_per_s = t->train_seconds > 0 ? (double)t->train_images / t->train_seconds : 0,
        .peak_rss_bytes = bp_clock_peak_rss_bytes()};
    memcpy(result->run, t->folder.path, sizeof result->run);
    if (status == BP_OK)
        advise(t, result);
}

/* From the files that are there now: also of a run that was stopped or failed. */
static void draw_report(struct bp_trainer *t, bp_train_result *result) {
    if (!t->report.wanted)
        return;
    if (bp_run_report_draw(&t->report) == BP_OK)
        memcpy(result->report, t->folder.report, sizeof result->report);
    else
        bp_trainer_report_failed(t);
}

/* Leaves result.json, the last line of the log and the report, whatever happened. */
static bp_status conclude(struct bp_trainer *t, bp_status status, bp_train_result *result) {
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
    draw_report(t, result);
    if (status == BP_OK)
        bp_trainer_send_text(t, BP_EVENT_DONE, "");
    if (status == BP_INTERRUPT || status == BP_TERMINATE)
        bp_trainer_send_text(t, BP_EVENT_STOPPED, message);
    return status == BP_OK ? BP_OK : bp_fail(status, "%s", message);
}

static bp_status run(struct bp_trainer *t, bp_train_result *result) {
    bp_status status = start(t);
    if (status == BP_OK)
        status = bp_trainer_run(t);
    if (status == BP_INTERRUPT || status == BP_TERMINATE)
        status = stop(t, status);
    return conclude(t, status, result);
}

static void trainer_init(struct bp_trainer *t, bp_event_callback *callback, void *user) {
    memset(t, 0, sizeof *t);
    t->folder.lock = -1;
    t->progress.accuracy = t->progress.loss = t->progress.best_accuracy = t->train_accuracy = -1;
    t->callback = callback;
    t->user = user;
    t->begin_ns = bp_clock_ns();
}

static void trainer_close(struct bp_trainer *t) {
    bp_bad_files_free(&t->bad);
    bp_average_destroy(t->average);
    bp_init_close(t->init);
    bp_run_report_close(&t->report);
    bp_session_close(&t->session);
    bp_run_folder_close(&t->folder);
    bp_config_destroy(t->config);
    bp_free(t->recipe);
}

/* Shows the first of them; without a run folder, all are listed in a new file. */
static bp_status report_bad(const struct bp_trainer *t, bp_status status) {
    enum { SHOWN = 20 };
    char message[BP_MESSAGE_BYTES], file[BP_BAD_FILES_NAME_BYTES];
    snprintf(message, sizeof message, "%s", bp_status_message());
    for (size_t i = 0; i < t->bad.count && i < SHOWN; i++)
        bp_trainer_send_text(t, BP_EVENT_NOTE, t->bad.lines[i]);
    if (status == BP_OK && t->bad.count > 0) {
        snprintf(message, sizeof message,
                 "%zu files cannot be used and are left out: bad_files.txt", t->bad.count);
        bp_trainer_send_text(t, BP_EVENT_NOTE, message);
    }
    if (status == BP_OK)
        return BP_OK;
    if (t->bad.count > 1 && bp_bad_files_write_new(&t->bad, file) == BP_OK)
        return bp_fail(status, "%.940s; %s lists the files that cannot be used", message, file);
    return bp_fail(status, "%s", message);
}

/* The weights before the first step. */
static bp_status begin(struct bp_trainer *t) {
    if (t->init != NULL)
        BP_TRY(bp_init_apply(t->init, t->session.graph, t->session.data->class_names));
    if (t->session.settings.ema > 0)
        return bp_average_create(&t->average, t->session.graph);
    return BP_OK;
}

/* init.json, in which a resumed run sees what this one began with. */
static bp_status init_path(const struct bp_trainer *t, char path[BP_PATH_BYTES]) {
    return bp_path_join(path, BP_PATH_BYTES, t->folder.path, "init.json");
}

static bp_status describe(struct bp_trainer *t) {
    char path[BP_PATH_BYTES];
    if (t->init != NULL) {
        BP_TRY(init_path(t, path));
        BP_TRY(bp_init_write(t->init, path));
    }
    return bp_run_folder_describe(&t->folder, t->config, t->session.exec,
                                  t->session.data->class_names, t->session.data->classes);
}

/* The network is built first: a mistake in data or options leaves no folder behind. */
static bp_status prepare_new(struct bp_trainer *t, const bp_config *config) {
    BP_TRY(bp_config_copy(&t->config, config));
    BP_TRY(bp_config_check(t->config, BP_COMMAND_TRAIN)); /* before anything is read */
    BP_TRY(bp_init_open(&t->init, t->config));
    BP_TRY(report_bad(t, bp_session_open(&t->session, t->config, BP_COMMAND_TRAIN, &t->bad)));
    BP_TRY(bp_time_limit_begin(&t->limit, &t->session, t->begin_ns));
    BP_TRY(bp_session_record(&t->session, t->config));
    BP_TRY(bp_config_recipe(t->config, &t->recipe));
    BP_TRY(begin(t));
    const struct bp_settings *settings = &t->session.settings;
    BP_TRY(bp_run_folder_create(&t->folder, settings->run, settings->data, settings->model));
    bp_status status = bp_data_record_write(&t->folder, t->session.data);
    if (status == BP_OK)
        status = describe(t);
    if (status == BP_OK)
        status = bp_run_folder_bad_files(&t->folder, &t->bad);
    if (status != BP_OK)
        bp_run_folder_discard(&t->folder); /* a folder without config.json is no run */
    return status;
}

bp_status bp_run_new(const bp_config *config, bp_event_callback *callback, void *user,
                     bp_train_result *result) {
    struct bp_trainer t;
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
static bp_status check_recipe(const struct bp_trainer *t, const struct bp_checkpoint_head *head) {
    bp_config *saved;
    BP_TRY(bp_config_create(&saved));
    bp_status status =
        bp_config_parse_json(saved, head->config, strlen(head->config), t->folder.last, BP_MODEL);
    if (status == BP_OK)
        status = bp_config_fill_old(saved, head->preprocess.resize > 0, t->folder.last);
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

static bp_status load_last(struct bp_trainer *t) {
    struct bp_checkpoint *checkpoint;
    BP_TRY(bp_checkpoint_open(&checkpoint, t->folder.last));
    const struct bp_checkpoint_head *head = bp_checkpoint_head_of(checkpoint);
    bp_status status = check_recipe(t, head);
    if (status == BP_OK)
        status = bp_checkpoint_load(checkpoint, t->session.graph, t->average, 1);
    const struct bp_schedule_cut *cut = &head->progress.cut;
    if (status == BP_OK && cut->steps > 0 && cut->steps < t->session.planned_steps)
        bp_session_cut(&t->session, cut);
    if (status == BP_OK && head->progress.step > t->session.total_steps)
        status = bp_fail(BP_MODEL, "%s: made after %llu steps, but the run has only %llu",
                         t->folder.last, (unsigned long long)head->progress.step,
                         (unsigned long long)t->session.total_steps);
    t->progress = head->progress;
    bp_checkpoint_close(checkpoint);
    return status;
}

/* A run that was killed before its first checkpoint begins again: the same seed, the same model to
 * begin with, the same run. */
static bp_status begin_again(struct bp_trainer *t) {
    char path[BP_PATH_BYTES];
    BP_TRY(bp_init_open(&t->init, t->config));
    if (t->init != NULL) {
        BP_TRY(init_path(t, path));
        BP_TRY(bp_init_check(t->init, path));
    }
    return begin(t);
}

static bp_status prepare_resumed(struct bp_trainer *t, const char *run,
                                 const bp_config *overrides) {
    BP_TRY(bp_run_folder_open(&t->folder, run));
    BP_TRY(bp_config_create(&t->config));
    BP_TRY(bp_run_folder_read_config(&t->folder, t->config));
    BP_TRY(apply_overrides(t->config, overrides));
    BP_TRY(bp_config_recipe(t->config, &t->recipe));
    BP_TRY(report_bad(t, bp_session_open(&t->session, t->config, BP_COMMAND_TRAIN, &t->bad)));
    BP_TRY(bp_data_record_check(&t->folder, t->session.data));
    int again = !bp_path_exists(t->folder.last);
    BP_TRY(again ? begin_again(t) : begin(t));
    if (!again)
        BP_TRY(load_last(t));
    const struct bp_progress *p = &t->progress;
    enum bp_ending ending = bp_trainer_ending(t);
    if (ending != BP_ENDING_NONE)
        return bp_fail(BP_USAGE, "run %s is finished (%llu steps%s); nothing is left to do", run,
                       (unsigned long long)p->step,
                       ending == BP_ENDING_PATIENCE ? ", ended by --patience" : "");
    t->first_step = (size_t)p->step;
    return bp_run_folder_rewind(&t->folder, p);
}

bp_status bp_run_resume(const char *run_path, const bp_config *overrides,
                        bp_event_callback *callback, void *user, bp_train_result *result) {
    struct bp_trainer t;
    trainer_init(&t, callback, user);
    bp_status status = prepare_resumed(&t, run_path, overrides);
    if (status == BP_OK)
        status = run(&t, result);
    else
        fill_result(&t, status, result);
    trainer_close(&t);
    return status;
}
