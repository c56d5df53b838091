#include "report/run_files.h"

#include <stdio.h>
#include <string.h>

#include "base/file_io.h"
#include "base/memory.h"
#include "report/json_read.h"

#define LINES_BYTES_MAX  ((size_t)256 << 20)
#define OBJECT_BYTES_MAX ((size_t)32 << 20)

/* What went wrong with a file is told in the report. Out of memory ends it. */
static bp_status forgive(struct bp_report_run *run, bp_status status) {
    if (status == BP_OK || status == BP_RESOURCE)
        return status;
    if (run->n_problems == BP_REPORT_PROBLEMS_MAX)
        return BP_OK;
    char message[BP_MESSAGE_BYTES];
    snprintf(message, sizeof message, "%s", bp_status_message());
    return bp_copy_string(&run->problems[run->n_problems++], message);
}

/* *bytes stays NULL where there is no such file, or it cannot be read. */
static bp_status read_file(struct bp_report_run *run, const char *name, size_t limit,
                           uint8_t **bytes, size_t *count) {
    char path[BP_PATH_BYTES];
    *bytes = NULL;
    *count = 0;
    BP_TRY(bp_path_join(path, sizeof path, run->path, name));
    if (!bp_path_exists(path))
        return BP_OK;
    return forgive(run, bp_file_read(path, limit, BP_DATA, bytes, count));
}

static bp_status read_json(struct bp_report_run *run, const char *name, json_type type,
                           json_t **out) {
    uint8_t *bytes;
    size_t count;
    BP_TRY(read_file(run, name, OBJECT_BYTES_MAX, &bytes, &count));
    if (bytes == NULL)
        return BP_OK;
    bp_status status = bp_report_json((const char *)bytes, count, name, out);
    bp_free(bytes);
    if (status == BP_OK && json_typeof(*out) != type) {
        json_decref(*out);
        *out = NULL;
        status = bp_fail(BP_DATA, "%s: not what a run writes", name);
    }
    return forgive(run, status);
}

static bp_status read_lines(struct bp_report_run *run) {
    uint8_t *bytes;
    size_t count;
    BP_TRY(read_file(run, "metrics.jsonl", LINES_BYTES_MAX, &bytes, &count));
    bp_status status = bp_metrics_parse((const char *)bytes, count, &run->metrics);
    bp_free(bytes);
    BP_TRY(status);
    BP_TRY(read_file(run, "variance.jsonl", LINES_BYTES_MAX, &bytes, &count));
    status = bp_variance_parse((const char *)bytes, count, &run->variance);
    bp_free(bytes);
    return status;
}

static bp_status read_objects(struct bp_report_run *run) {
    uint8_t *bytes;
    size_t count;
    BP_TRY(read_file(run, "validation.json", OBJECT_BYTES_MAX, &bytes, &count));
    bp_status status = BP_OK;
    if (bytes != NULL)
        status =
            bp_validation_parse((const char *)bytes, count, "validation.json", &run->validation);
    bp_free(bytes);
    BP_TRY(forgive(run, status));
    BP_TRY(read_file(run, "layers.json", OBJECT_BYTES_MAX, &bytes, &count));
    status = BP_OK;
    if (bytes != NULL)
        status = bp_layers_parse((const char *)bytes, count, "layers.json", &run->layers);
    bp_free(bytes);
    return forgive(run, status);
}

/* The rest may be missing, but without its options a folder is no run. */
static bp_status read_config(struct bp_report_run *run) {
    char path[BP_PATH_BYTES];
    uint8_t *bytes;
    size_t count;
    if (!bp_path_is_dir(run->path))
        return bp_fail(BP_MODEL, "%s: %s; give the folder of a run, such as runs/mnist-vgg16-1",
                       run->path, bp_path_exists(run->path) ? "not a folder" : "no such folder");
    BP_TRY(bp_path_join(path, sizeof path, run->path, "config.json"));
    if (!bp_path_exists(path))
        return bp_fail(
            BP_MODEL,
            "%s: not a run folder (it has no config.json); give one such as runs/mnist-vgg16-1",
            run->path);
    BP_TRY(bp_file_read(path, OBJECT_BYTES_MAX, BP_MODEL, &bytes, &count));
    bp_status status = bp_report_json((const char *)bytes, count, path, &run->config);
    bp_free(bytes);
    if (status == BP_DATA || (status == BP_OK && !json_is_object(run->config)))
        return bp_fail(BP_MODEL, "%s: not the options of a run; the file is damaged", path);
    return status;
}

bp_status bp_report_run_open(struct bp_report_run *run, const char *path) {
    *run = (struct bp_report_run){.name = ""};
    size_t length = strlen(path);
    if (length >= sizeof run->path)
        return bp_fail(BP_USAGE, "%.60s...: the path is too long", path);
    memcpy(run->path, path, length + 1);
    while (length > 1 && run->path[length - 1] == '/')
        run->path[--length] = 0;
    const char *slash = strrchr(run->path, '/');
    run->name = slash != NULL && slash[1] != 0 ? slash + 1 : run->path;
    bp_status status = read_config(run);
    if (status == BP_OK)
        status = read_json(run, "result.json", JSON_OBJECT, &run->result);
    if (status == BP_OK)
        status = read_json(run, "env.json", JSON_OBJECT, &run->env);
    if (status == BP_OK)
        status = read_json(run, "settings.json", JSON_ARRAY, &run->settings);
    if (status == BP_OK)
        status = read_lines(run);
    if (status == BP_OK)
        status = read_objects(run);
    if (status != BP_OK)
        bp_report_run_close(run);
    return status;
}

void bp_report_run_close(struct bp_report_run *run) {
    json_decref(run->config);
    json_decref(run->result);
    json_decref(run->env);
    json_decref(run->settings);
    bp_metrics_free(&run->metrics);
    bp_validation_free(&run->validation);
    bp_layers_free(&run->layers);
    bp_variance_free(&run->variance);
    for (size_t i = 0; i < run->n_problems; i++)
        bp_free(run->problems[i]);
    *run = (struct bp_report_run){.name = ""};
}
