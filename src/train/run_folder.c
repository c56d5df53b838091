#define _DEFAULT_SOURCE /* flock */
#include "train/run_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "base/file_io.h"
#include "base/memory.h"

enum { RUNS_MAX = 9999 };

static bp_status fill_paths(struct bp_run_folder *folder) {
    const size_t size = BP_PATH_BYTES;
    BP_TRY(bp_path_join(folder->last, size, folder->path, "last.ckpt"));
    BP_TRY(bp_path_join(folder->best, size, folder->path, "best.ckpt"));
    BP_TRY(bp_path_join(folder->metrics, size, folder->path, "metrics.jsonl"));
    BP_TRY(bp_path_join(folder->variance, size, folder->path, "variance.jsonl"));
    BP_TRY(bp_path_join(folder->report, size, folder->path, "report.html"));
    return bp_path_join(folder->log, size, folder->path, "log.txt");
}

static bp_status lock(struct bp_run_folder *folder) {
    folder->lock = open(folder->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder->lock < 0)
        return bp_fail(BP_RESOURCE, "cannot open run folder %s: %s", folder->path, strerror(errno));
    if (flock(folder->lock, LOCK_EX | LOCK_NB) == 0)
        return BP_OK;
    /* Some network file systems have no locks: then nothing protects, and nothing fails. */
    if (errno != EWOULDBLOCK)
        return BP_OK;
    close(folder->lock);
    folder->lock = -1;
    return bp_fail(BP_RESOURCE, "run folder %s: another process is working on it; wait or stop it",
                   folder->path);
}

/* The last part of a path as a name: letters, digits, dot, dash, underscore; at most 40. */
static void short_name(const char *data, char out[41]) {
    size_t length = strlen(data), first;
    while (length > 1 && data[length - 1] == '/')
        length--;
    for (first = length; first > 0 && data[first - 1] != '/' && data[first - 1] != ':';)
        first--;
    size_t n = 0;
    for (size_t i = first; i < length && n < 40; i++) {
        char c = data[i];
        int plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                    (n > 0 && (c == '.' || c == '-' || c == '_'));
        if (plain)
            out[n++] = c;
        else if (n > 0)
            out[n++] = '-';
    }
    out[n] = 0;
    if (n == 0)
        strcpy(out, "data");
}

static bp_status create_numbered(struct bp_run_folder *folder, const char *data,
                                 const char *model) {
    char name[41];
    short_name(data, name);
    for (int n = 1; n <= RUNS_MAX; n++) {
        snprintf(folder->path, sizeof folder->path, "runs/%s-%s-%d", name, model, n);
        if (bp_path_exists(folder->path))
            continue;
        bp_status status = bp_dir_create(folder->path);
        if (status == BP_OK || !bp_path_exists(folder->path))
            return status; /* made, or impossible; else another process was faster */
    }
    return bp_fail(BP_RESOURCE, "runs/%s-%s-1 to -%d exist all; give --run DIR", name, model,
                   RUNS_MAX);
}

static bp_status create_named(struct bp_run_folder *folder, const char *path) {
    char config[BP_PATH_BYTES];
    if (bp_path_exists(path)) {
        BP_TRY(bp_path_join(config, sizeof config, path, "config.json"));
        if (bp_path_exists(config))
            return bp_fail(BP_RESOURCE,
                           "run folder %s exists and is never written over; choose another --run, "
                           "or go on with it: bitprop resume %s",
                           path, path);
        return bp_fail(BP_RESOURCE, "%s exists and is never written over; choose another --run",
                       path);
    }
    snprintf(folder->path, sizeof folder->path, "%s", path);
    bp_status status = fill_paths(folder); /* before there is anything to take away again */
    if (status == BP_OK)
        status = bp_dir_create(path);
    if (status != BP_OK)
        folder->path[0] = 0;
    return status;
}

bp_status bp_run_folder_create(struct bp_run_folder *folder, const char *path, const char *data,
                               const char *model) {
    *folder = (struct bp_run_folder){.lock = -1};
    if (path != NULL)
        BP_TRY(create_named(folder, path));
    else
        BP_TRY(create_numbered(folder, data, model));
    BP_TRY(fill_paths(folder));
    bp_status status = lock(folder);
    if (status != BP_OK)
        bp_run_folder_discard(folder);
    return status;
}

void bp_run_folder_discard(struct bp_run_folder *folder) {
    static const char *const described[] = {"env.json",      "classes.txt", "data.json",
                                            "settings.json", "init.json",   "bad_files.txt",
                                            "config.json"};
    char path[BP_PATH_BYTES];
    for (size_t i = 0; i < sizeof described / sizeof described[0]; i++)
        if (bp_path_join(path, sizeof path, folder->path, described[i]) == BP_OK)
            unlink(path);
    rmdir(folder->path);
    bp_run_folder_close(folder);
    folder->path[0] = 0;
}

bp_status bp_run_folder_open(struct bp_run_folder *folder, const char *path) {
    *folder = (struct bp_run_folder){.lock = -1};
    char config[BP_PATH_BYTES];
    BP_TRY(bp_path_join(config, sizeof config, path, "config.json"));
    if (!bp_path_is_dir(path))
        return bp_fail(BP_MODEL, "%s: %s; give the folder of a run, such as runs/mnist-vgg16-1",
                       path, bp_path_exists(path) ? "not a folder" : "no such folder");
    if (!bp_path_exists(config))
        return bp_fail(
            BP_MODEL,
            "%s: not a run folder (it has no config.json); give one such as runs/mnist-vgg16-1",
            path);
    snprintf(folder->path, sizeof folder->path, "%s", path);
    BP_TRY(fill_paths(folder));
    BP_TRY(lock(folder));
    bp_dir_remove_temporaries(path);
    return BP_OK;
}

void bp_run_folder_close(struct bp_run_folder *folder) {
    if (folder->lock >= 0)
        close(folder->lock);
    folder->lock = -1;
}

bp_status bp_run_folder_json(const struct bp_run_folder *folder, const char *name,
                             struct bp_json *json) {
    char path[BP_PATH_BYTES], *text;
    BP_TRY(bp_json_finish(json, &text));
    const struct bp_chunk chunks[] = {{text, strlen(text)}, {"\n", 1}};
    bp_status status = bp_path_join(path, sizeof path, folder->path, name);
    if (status == BP_OK)
        status = bp_file_write(path, chunks, 2);
    bp_free(text);
    return status;
}

static bp_status write_env(const struct bp_run_folder *folder, const struct bp_exec *exec) {
    bp_system_info system;
    struct bp_json json;
    bp_system(&system);
    bp_json_begin(&json, 1);
    bp_json_object(&json, NULL);
    bp_json_string(&json, "bitprop", system.version);
    bp_json_string(&json, "commit", system.commit[0] != 0 ? system.commit : NULL);
    bp_json_string(&json, "compiler", system.compiler);
    bp_json_string(&json, "cpu", system.cpu);
    bp_json_int(&json, "processors", system.processors);
    bp_json_int(&json, "threads", bp_threads_count(exec->threads));
    bp_json_string(&json, "fp32", system.fp32);
    bp_json_object(&json, "kernels");
    for (size_t i = 0; i < bp_kernels_count(); i++)
        bp_json_string(&json, bp_kernels_name(i), bp_tier_name(exec->kernels.tier[i]));
    bp_json_end_object(&json);
    bp_json_end_object(&json);
    return bp_run_folder_json(folder, "env.json", &json);
}

static bp_status write_classes(const struct bp_run_folder *folder, char *const *names,
                               size_t count) {
    char path[BP_PATH_BYTES];
    struct bp_chunk *chunks;
    BP_TRY(bp_path_join(path, sizeof path, folder->path, "classes.txt"));
    BP_TRY(bp_alloc_array(&chunks, 2 * count, sizeof *chunks, "class names"));
    for (size_t i = 0; i < count; i++) {
        chunks[2 * i] = (struct bp_chunk){names[i], strlen(names[i])};
        chunks[2 * i + 1] = (struct bp_chunk){"\n", 1};
    }
    bp_status status = bp_file_write(path, chunks, 2 * count);
    bp_free(chunks);
    return status;
}

bp_status bp_run_folder_describe(const struct bp_run_folder *folder, const bp_config *config,
                                 const struct bp_exec *exec, char *const *class_names,
                                 size_t classes) {
    struct bp_json json;
    BP_TRY(write_env(folder, exec));
    BP_TRY(write_classes(folder, class_names, classes));
    bp_json_begin(&json, 1);
    bp_config_write_origins(config, &json);
    BP_TRY(bp_run_folder_json(folder, "settings.json", &json));
    bp_json_begin(&json, 1);
    bp_json_object(&json, NULL);
    bp_config_write(config, &json, 0);
    bp_json_end_object(&json);
    return bp_run_folder_json(folder, "config.json", &json); /* last: with it the folder is a run */
}

bp_status bp_run_folder_read_config(const struct bp_run_folder *folder, bp_config *config) {
    char path[BP_PATH_BYTES];
    BP_TRY(bp_path_join(path, sizeof path, folder->path, "config.json"));
    return bp_config_load_json(config, path);
}

bp_status bp_run_folder_bad_files(const struct bp_run_folder *folder,
                                  const struct bp_bad_files *bad) {
    char path[BP_PATH_BYTES];
    if (bad->count == 0)
        return BP_OK;
    BP_TRY(bp_path_join(path, sizeof path, folder->path, "bad_files.txt"));
    return bp_bad_files_write(bad, path);
}

bp_status bp_run_folder_log(const struct bp_run_folder *folder, const char *text) {
    char line[BP_MESSAGE_BYTES + 64], when[32] = "";
    time_t now = time(NULL);
    struct tm local;
    if (localtime_r(&now, &local) != NULL)
        strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &local);
    snprintf(line, sizeof line, "%s %.*s\n", when, BP_MESSAGE_BYTES, text);
    return bp_file_append(folder->log, line);
}

bp_status bp_run_folder_json_line(const char *path, struct bp_json *json) {
    char *text, *line;
    BP_TRY(bp_json_finish(json, &text));
    size_t length = strlen(text);
    bp_status status = bp_alloc(&line, length + 2, "a line of metrics");
    if (status == BP_OK) {
        memcpy(line, text, length);
        line[length] = '\n';
        status = bp_file_append(path, line);
        bp_free(line);
    }
    bp_free(text);
    return status;
}

static bp_status append_metrics(const struct bp_run_folder *folder,
                                const struct bp_metrics *metrics, int is_epoch) {
    struct bp_json json;
    bp_json_begin(&json, 0);
    bp_json_object(&json, NULL);
    bp_json_string(&json, "kind", is_epoch ? "epoch" : "step");
    bp_json_int(&json, "epoch", (int64_t)metrics->epoch);
    bp_json_int(&json, "step", (int64_t)metrics->step);
    bp_json_double(&json, "loss", metrics->loss);
    bp_json_double(&json, "accuracy", metrics->accuracy);
    if (is_epoch) {
        bp_json_double(&json, "val_loss", metrics->val_loss);
        bp_json_double(&json, "val_accuracy", metrics->val_accuracy);
        bp_json_double(&json, "best_accuracy", metrics->best_accuracy);
    }
    bp_json_double(&json, "lr", metrics->lr);
    bp_json_double(&json, "images_per_s", metrics->images_per_s);
    bp_json_double(&json, "seconds", metrics->seconds);
    if (is_epoch)
        bp_json_double(&json, "data_wait", metrics->data_wait);
    bp_json_end_object(&json);
    return bp_run_folder_json_line(folder->metrics, &json);
}

bp_status bp_run_folder_step(const struct bp_run_folder *folder, const struct bp_metrics *metrics) {
    return append_metrics(folder, metrics, 0);
}

bp_status bp_run_folder_epoch(const struct bp_run_folder *folder,
                              const struct bp_metrics *metrics) {
    return append_metrics(folder, metrics, 1);
}

/* Lines are our own (append_metrics), in order of the steps; the first that is cut off, or belongs
 * to work that the checkpoint does not know, ends what is kept. */
static size_t known_bytes(const char *text, size_t count, const struct bp_progress *progress) {
    static const char step_key[] = "\"step\": ";
    size_t kept = 0;
    while (kept < count) {
        const char *line = text + kept;
        const char *end = memchr(line, '\n', count - kept);
        const char *found = strstr(line, step_key);
        if (end == NULL || found == NULL || found > end)
            return kept;
        unsigned long long step = strtoull(found + sizeof step_key - 1, NULL, 10);
        int is_epoch = strncmp(line, "{\"kind\": \"epoch\"", 16) == 0;
        if (step > (is_epoch ? progress->eval_step : progress->step))
            return kept;
        kept = (size_t)(end - text) + 1;
    }
    return kept;
}

static bp_status rewind_lines(const char *path, const struct bp_progress *progress) {
    uint8_t *bytes;
    char *text;
    size_t count;
    if (!bp_path_exists(path))
        return BP_OK;
    BP_TRY(bp_file_read(path, (size_t)1 << 30, BP_RESOURCE, &bytes, &count));
    bp_status status = bp_alloc(&text, count + 1, path);
    if (status == BP_OK) {
        memcpy(text, bytes, count);
        status = bp_file_truncate(path, known_bytes(text, count, progress));
        bp_free(text);
    }
    bp_free(bytes);
    return status;
}

bp_status bp_run_folder_rewind(const struct bp_run_folder *folder,
                               const struct bp_progress *progress) {
    BP_TRY(rewind_lines(folder->metrics, progress));
    return rewind_lines(folder->variance, progress);
}

bp_status bp_run_folder_result(const struct bp_run_folder *folder, const bp_train_result *result) {
    static const struct {
        bp_status status;
        const char *name;
    } names[] = {{BP_OK, "done"},
                 {BP_DIVERGED, "diverged"},
                 {BP_INTERRUPT, "interrupted"},
                 {BP_TERMINATE, "terminated"}};
    const char *name = "failed";
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (names[i].status == result->status)
            name = names[i].name;
    struct bp_json json;
    bp_json_begin(&json, 1);
    bp_json_object(&json, NULL);
    bp_json_string(&json, "status", name);
    if (result->status != BP_OK)
        bp_json_string(&json, "message", bp_status_message());
    else
        bp_json_string(&json, "ended_by", result->ended_by);
    if (result->advice[0] != 0)
        bp_json_string(&json, "advice", result->advice);
    bp_json_double(&json, "accuracy", result->accuracy);
    bp_json_double(&json, "best_accuracy", result->best_accuracy);
    bp_json_int(&json, "best_epoch", (int64_t)result->best_epoch);
    bp_json_int(&json, "epoch", (int64_t)result->epoch);
    bp_json_int(&json, "step", (int64_t)result->step);
    bp_json_double(&json, "seconds", result->seconds);
    bp_json_double(&json, "images_per_s", result->images_per_s);
    bp_json_double(&json, "peak_rss_mb", (double)result->peak_rss_bytes / 1e6);
    bp_json_int(&json, "exit_code", result->status);
    bp_json_end_object(&json);
    return bp_run_folder_json(folder, "result.json", &json);
}
