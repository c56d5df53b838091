/* Reading JSON that nobody vouches for: bounded in depth and number of values before jansson sees
 * it, and read by accessors that take nothing for granted. */
#ifndef BP_REPORT_JSON_READ_H
#define BP_REPORT_JSON_READ_H

#include <jansson.h>
#include <stddef.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Reads one JSON value with nothing behind it. BP_DATA: "<name>: <reason>"; BP_RESOURCE: out of
 * memory. json_decref(*out). */
bp_status bp_report_json(const char *text, size_t count, const char *name, json_t **out);

/* A finite number; NaN if there is none. */
double bp_report_number(const json_t *object, const char *key);
/* NULL if there is none. */
const char *bp_report_string(const json_t *object, const char *key);
/* A whole number 0 .. most; 0 returned and *out 0 if there is none. */
int bp_report_count(const json_t *value, size_t most, size_t *out);

/* Walks over lines: the next one that is not empty, in *line and *length; 0 at the end. A last line
 * without its end counts too. */
int bp_report_next_line(const char *text, size_t count, size_t *at, const char **line,
                        size_t *length);

#ifdef __cplusplus
}
#endif
#endif
