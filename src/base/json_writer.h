/* Writes JSON text into a growing buffer. Failures of memory are remembered and reported once, by
 * bp_json_finish, so that writing reads straight through. Numbers are written so that they read
 * back as the same value (%.9g floats, %.17g doubles where needed); NaN and infinity become null.
 */
#ifndef BP_BASE_JSON_WRITER_H
#define BP_BASE_JSON_WRITER_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

struct bp_json {
    char *text;
    size_t length, capacity;
    int depth, first, pretty;
    bp_status status;
};

void bp_json_begin(struct bp_json *json, int pretty);
/* key NULL inside arrays and at the top. */
void bp_json_object(struct bp_json *json, const char *key);
void bp_json_array(struct bp_json *json, const char *key);
void bp_json_end_object(struct bp_json *json);
void bp_json_end_array(struct bp_json *json);
void bp_json_string(struct bp_json *json, const char *key, const char *value); /* NULL: null */
void bp_json_int(struct bp_json *json, const char *key, int64_t value);
void bp_json_double(struct bp_json *json, const char *key, double value);
void bp_json_float(struct bp_json *json, const char *key, float value);
void bp_json_bool(struct bp_json *json, const char *key, int value);
void bp_json_raw(struct bp_json *json, const char *key, const char *text); /* text is valid JSON */

/* *text is the caller's (bp_free); without a final newline. */
bp_status bp_json_finish(struct bp_json *json, char **text);

#ifdef __cplusplus
}
#endif
#endif
