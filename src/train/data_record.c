#include "train/data_record.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/file_io.h"
#include "base/json_writer.h"
#include "base/memory.h"
#include "train/begin_record.h"

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

static bp_status compare(const struct bp_run_folder *folder, const struct bp_dataset *data,
                         const struct bp_data_record *record) {
    const struct {
        const char *what;
        size_t now;
        int64_t then;
    } counts[] = {{"training images", data->train.count, record->train},
                  {"validation images", data->val.count, record->val},
                  {"classes", data->classes, record->classes}};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        if (counts[i].then != (int64_t)counts[i].now)
            return bp_fail(BP_DATA,
                           "%.300s: has %zu %s now, but %lld when %.300s began; put the data set "
                           "back to go on, or begin a new run",
                           data->path, counts[i].now, counts[i].what, (long long)counts[i].then,
                           folder->path);
    char fingerprint[FINGERPRINT_BYTES];
    fingerprint_text(data, fingerprint);
    if (strcmp(record->fingerprint, fingerprint) != 0)
        return bp_fail(BP_DATA,
                       "%.300s: images, labels or names of classes are not those that %.300s began "
                       "with; put the data set back to go on, or begin a new run",
                       data->path, folder->path);
    return BP_OK;
}

bp_status bp_data_record_check(const struct bp_run_folder *folder, const struct bp_dataset *data) {
    char path[BP_PATH_BYTES];
    uint8_t *bytes;
    size_t count;
    struct bp_data_record record;
    BP_TRY(path_of(folder, path));
    if (!bp_path_exists(path))
        return BP_OK;
    BP_TRY(bp_file_read(path, FILE_BYTES_MAX, BP_MODEL, &bytes, &count));
    bp_status status = bp_data_record_parse((const char *)bytes, count, path, &record);
    bp_free(bytes);
    return status == BP_OK ? compare(folder, data, &record) : status;
}
