#include "train/begin_record.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "io/json_parse.h"

/* Sixteen digits, or "". */
static void read_hash(const json_t *root, const char *key, char out[BP_HASH_DIGITS + 1]) {
    const char *text = json_string_value(json_object_get(root, key));
    out[0] = 0;
    if (text != NULL && strlen(text) == BP_HASH_DIGITS &&
        strspn(text, "0123456789abcdef") == BP_HASH_DIGITS)
        memcpy(out, text, BP_HASH_DIGITS + 1);
}

static int64_t read_count(const json_t *root, const char *key) {
    return json_integer_value(json_object_get(root, key));
}

bp_status bp_data_record_parse(const char *text, size_t count, const char *name,
                               struct bp_data_record *out) {
    json_error_t error;
    json_t *root;
    bp_status status = bp_json_parse(&root, text, count, name, &error);
    if (status == BP_DATA)
        return bp_fail(BP_MODEL,
                       "%s: not valid JSON: %s; put it back, or remove it to go on without this "
                       "check",
                       name, error.text);
    BP_TRY(status);
    *out = (struct bp_data_record){.train = read_count(root, "train"),
                                   .val = read_count(root, "val"),
                                   .classes = read_count(root, "classes")};
    read_hash(root, "fingerprint", out->fingerprint);
    const char *kind = json_string_value(json_object_get(root, "kind"));
    snprintf(out->kind, sizeof out->kind, "%s", kind != NULL ? kind : "");
    json_decref(root);
    return BP_OK;
}

bp_status bp_init_record_parse(const char *text, size_t count, const char *name,
                               char content[BP_HASH_DIGITS + 1]) {
    json_error_t error;
    json_t *root;
    bp_status status = bp_json_parse(&root, text, count, name, &error);
    if (status == BP_RESOURCE)
        return status;
    read_hash(root, "content", content);
    json_decref(root);
    if (content[0] != 0)
        return BP_OK;
    return bp_fail(BP_MODEL,
                   "%s: does not tell the content that the run began with; begin a new run", name);
}

void bp_settings_record_time(const char *text, size_t count, char time[BP_TIME_BYTES]) {
    static const char by_time[] = "--time ";
    json_error_t error;
    json_t *root, *item;
    size_t index;
    time[0] = 0;
    if (bp_json_parse(&root, text, count, "settings.json", &error) != BP_OK)
        return;
    json_array_foreach(root, index, item) {
        const char *option = json_string_value(json_object_get(item, "option"));
        const char *origin = json_string_value(json_object_get(item, "origin"));
        if (option != NULL && origin != NULL && strcmp(option, "steps") == 0 &&
            strncmp(origin, by_time, strlen(by_time)) == 0)
            snprintf(time, BP_TIME_BYTES, "%s", origin + strlen(by_time));
    }
    json_decref(root);
}
