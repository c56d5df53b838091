#include "report/json_read.h"

#include <math.h>
#include <string.h>

enum { DEPTH_MAX = 16 };
#define VALUES_MAX ((size_t)1 << 22) /* some 100 bytes each inside jansson */
#define COUNT_MAX  9007199254740991  /* 2^53 - 1, what JSON readers agree on */

/* Brackets and commas in strings do not count. */
static bp_status check_size(const char *text, size_t count, const char *name) {
    size_t values = 0;
    int depth = 0, in_string = 0;
    for (size_t i = 0; i < count; i++) {
        char c = text[i];
        if (in_string) {
            i += c == '\\';
            in_string = c != '"';
            continue;
        }
        in_string = c == '"';
        depth += c == '{' || c == '[';
        depth -= (c == '}' || c == ']') && depth > 0;
        values += c == ',' || c == '{' || c == '[';
        if (depth > DEPTH_MAX || values > VALUES_MAX)
            return bp_fail(BP_DATA, "%s: byte %zu: %s than any file of a run", name, i,
                           depth > DEPTH_MAX ? "nests deeper" : "has more values");
    }
    return BP_OK;
}

bp_status bp_report_json(const char *text, size_t count, const char *name, json_t **out) {
    json_error_t error;
    *out = NULL;
    BP_TRY(check_size(text, count, name));
    *out = json_loadb(text, count, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (*out != NULL)
        return BP_OK;
    /* Jansson does not always say so: then it says nothing at all. */
    if (json_error_code(&error) == json_error_out_of_memory || error.text[0] == 0)
        return bp_fail(BP_RESOURCE, "out of memory reading %s; close other programs", name);
    return bp_fail(BP_DATA, "%s: line %d: %s", name, error.line, error.text);
}

double bp_report_number(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    double number = json_number_value(value);
    return json_is_number(value) && isfinite(number) ? number : NAN;
}

const char *bp_report_string(const json_t *object, const char *key) {
    return json_string_value(json_object_get(object, key));
}

int bp_report_count(const json_t *value, size_t most, size_t *out) {
    json_int_t number = json_integer_value(value);
    *out = 0;
    if (!json_is_integer(value) || number < 0 || number > COUNT_MAX || (size_t)number > most)
        return 0;
    *out = (size_t)number;
    return 1;
}

int bp_report_next_line(const char *text, size_t count, size_t *at, const char **line,
                        size_t *length) {
    while (*at < count) {
        const char *begin = text + *at, *end = memchr(begin, '\n', count - *at);
        *length = end != NULL ? (size_t)(end - begin) : count - *at;
        *at += *length + (end != NULL);
        *line = begin;
        if (*length > 0)
            return 1;
    }
    return 0;
}
