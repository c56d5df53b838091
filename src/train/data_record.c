#include "train/data_record.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/file_io.h"
#include "base/json_writer.h"
#include "base/memory.h"
#include "io/json_parse.h"

enum { FILE_BYTES_MAX = 1 << 16, FINGERPRINT_BYTES = 17 };

static void fingerprint_text(const struct bp_dataset *data, char out[FINGERPRINT_BYTES]) {
    snprintf(out, FINGERPRINT_BYTES, "%016" PRIx64, bp_dataset_fingerprint(data));
}

static bp_status path_of(const struct bp_run_folder *folder, char path[BP_PATH_BYTES]) {
    return bp_path_join(path, BP_PATH_BYTES, folder->path, "data.json");
}

bp_status bp_data_record_write(const struct bp_run_folder *folder, const struct bp_dataset *data) {
    char path[BP_PATH_BYTES], fingerprint[FINGERPRINT_BYTES], *text;
    struct bp_json json;
    BP_TRY(path_of(folder, path));
    fingerprint_text(data, fingerprint);
    bp_json_begin(&json, 1);
    bp_json_object(&json, NULL);
    bp_json_string(&json, "kind", data->kind);
    bp_json_int(&json, "train", (int64_t)data->train.count);
    bp_json_int(&json, "val", (int64_t)data->val.count);
    bp_json_int(&json, "classes", (int64_t)data->classes);
    bp_json_string(&json, "fingerprint", fingerprint);
    bp_json_end_object(&json);
    BP_TRY(bp_json_finish(&json, &text));
    const struct bp_chunk chunks[] = {{text, strlen(text)}, {"\n", 1}};
    bp_status status = bp_file_write(path, chunks, 2);
    bp_free(text);
    return status;
}

static bp_status read_record(const char *path, json_t **root) {
    uint8_t *bytes;
    size_t count;
    json_error_t error;
    BP_TRY(bp_file_read(path, FILE_BYTES_MAX, BP_MODEL, &bytes, &count));
    bp_status status = bp_json_parse(root, (const char *)bytes, count, path, &error);
    bp_free(bytes);
    if (status == BP_DATA)
        return bp_fail(BP_MODEL,
                       "%s: not valid JSON: %s; put it back, or remove it to go on "
                       "without this check",
                       path, error.text);
    return status;
}

static bp_status compare(const struct bp_run_folder *folder, const struct bp_dataset *data,
                         const json_t *root) {
    const struct {
        const char *key, *what;
        size_t now;
    } counts[] = {{"train", "training images", data->train.count},
                  {"val", "validation images", data->val.count},
                  {"classes", "classes", data->classes}};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        json_int_t then = json_integer_value(json_object_get(root, counts[i].key));
        if (then != (json_int_t)counts[i].now)
            return bp_fail(BP_DATA,
                           "%.300s: has %zu %s now, but %lld when %.300s began; put the data set "
                           "back to go on, or begin a new run",
                           data->path, counts[i].now, counts[i].what, (long long)then,
                           folder->path);
    }
    char fingerprint[FINGERPRINT_BYTES];
    fingerprint_text(data, fingerprint);
    const char *then = json_string_value(json_object_get(root, "fingerprint"));
    if (then == NULL || strcmp(then, fingerprint) != 0)
        return bp_fail(BP_DATA,
                       "%.300s: images, labels or names of classes are not those that %.300s began "
                       "with; put the data set back to go on, or begin a new run",
                       data->path, folder->path);
    return BP_OK;
}

bp_status bp_data_record_check(const struct bp_run_folder *folder, const struct bp_dataset *data) {
    char path[BP_PATH_BYTES];
    json_t *root;
    BP_TRY(path_of(folder, path));
    if (!bp_path_exists(path))
        return BP_OK;
    BP_TRY(read_record(path, &root));
    bp_status status = compare(folder, data, root);
    json_decref(root);
    return status;
}
