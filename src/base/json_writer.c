#include "base/json_writer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/utf8.h"

void bp_json_begin(struct bp_json *json, int pretty) {
    *json = (struct bp_json){.first = 1, .pretty = pretty, .status = BP_OK};
}

/* Appends bytes and keeps one byte for the final zero. */
static void put(struct bp_json *json, const char *bytes, size_t count) {
    if (json->status != BP_OK)
        return;
    if (json->length + count + 1 > json->capacity) {
        size_t larger = json->capacity == 0 ? 1024 : 2 * json->capacity;
        while (larger < json->length + count + 1)
            larger *= 2;
        json->status = bp_grow(&json->text, json->length, larger, "JSON text");
        if (json->status != BP_OK)
            return;
        json->capacity = larger;
    }
    memcpy(json->text + json->length, bytes, count);
    json->length += count;
    json->text[json->length] = 0;
}

static void put_text(struct bp_json *json, const char *text) {
    put(json, text, strlen(text));
}

static void new_line(struct bp_json *json) {
    if (!json->pretty)
        return;
    put(json, "\n", 1);
    for (int i = 0; i < json->depth; i++)
        put(json, "  ", 2);
}

static void put_escaped(struct bp_json *json, unsigned char c) {
    static const char letters[] = "\"\\\b\f\n\r\t", names[] = "\"\\bfnrt";
    const char *found = strchr(letters, c);
    char text[8];
    if (found != NULL)
        snprintf(text, sizeof text, "\\%c", names[found - letters]);
    else
        snprintf(text, sizeof text, "\\u%04x", c);
    put_text(json, text);
}

/* Bytes that are not UTF-8 (file names may hold any) become U+FFFD, so that every reader takes it.
 */
static void put_quoted(struct bp_json *json, const char *value) {
    put(json, "\"", 1);
    while (*value != 0) {
        size_t length = bp_utf8_length(value);
        unsigned char c = (unsigned char)*value;
        if (length == 0) {
            put_text(json, BP_UTF8_REPLACEMENT);
            length = 1;
        } else if (c < 0x20 || c == '"' || c == '\\' || c == 0x7f) {
            put_escaped(json, c);
        } else {
            put(json, value, length);
        }
        value += length;
    }
    put(json, "\"", 1);
}

/* What stands before a value: a comma after an earlier one, a new line, the key. */
static void before_value(struct bp_json *json, const char *key) {
    if (!json->first)
        put(json, ", ", json->pretty ? 1 : 2); /* no space before a new line */
    if (json->depth > 0)
        new_line(json);
    json->first = 0;
    if (key != NULL) {
        put_quoted(json, key);
        put(json, ": ", 2);
    }
}

static void open_group(struct bp_json *json, const char *key, const char *bracket) {
    before_value(json, key);
    put(json, bracket, 1);
    json->depth++;
    json->first = 1;
}

static void close_group(struct bp_json *json, const char *bracket) {
    json->depth--;
    if (!json->first)
        new_line(json);
    put(json, bracket, 1);
    json->first = 0;
}

void bp_json_object(struct bp_json *json, const char *key) {
    open_group(json, key, "{");
}

void bp_json_array(struct bp_json *json, const char *key) {
    open_group(json, key, "[");
}

void bp_json_end_object(struct bp_json *json) {
    close_group(json, "}");
}

void bp_json_end_array(struct bp_json *json) {
    close_group(json, "]");
}

void bp_json_string(struct bp_json *json, const char *key, const char *value) {
    before_value(json, key);
    if (value == NULL)
        put(json, "null", 4);
    else
        put_quoted(json, value);
}

void bp_json_int(struct bp_json *json, const char *key, int64_t value) {
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)value);
    before_value(json, key);
    put_text(json, text);
}

/* The program around us may have set a locale with a decimal comma; JSON knows the point only. A
 * number without point and exponent gets ".0": it stays a real number for readers, and -0.0 keeps
 * its sign. */
static void put_real(struct bp_json *json, const char *text) {
    char out[48];
    size_t n = 0;
    int real = 0;
    for (const char *c = text; *c != 0 && n < sizeof out - 3; c++) {
        int digit = strchr("0123456789+-e", *c) != NULL;
        real |= !digit || *c == 'e';
        if (digit)
            out[n++] = *c;
        else if (n > 0 && out[n - 1] != '.')
            out[n++] = '.';
    }
    if (!real) {
        out[n++] = '.';
        out[n++] = '0';
    }
    put(json, out, n);
}

/* The shortest of the given precisions that reads back as the same value. */
void bp_json_double(struct bp_json *json, const char *key, double value) {
    before_value(json, key);
    if (!isfinite(value)) {
        put(json, "null", 4);
        return;
    }
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    put_real(json, text);
}

void bp_json_float(struct bp_json *json, const char *key, float value) {
    before_value(json, key);
    if (!isfinite(value)) {
        put(json, "null", 4);
        return;
    }
    char text[40];
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if ((float)strtod(text, NULL) == value)
            break;
    }
    put_real(json, text);
}

void bp_json_bool(struct bp_json *json, const char *key, int value) {
    before_value(json, key);
    put_text(json, value ? "true" : "false");
}

void bp_json_raw(struct bp_json *json, const char *key, const char *text) {
    before_value(json, key);
    put_text(json, text);
}

bp_status bp_json_finish(struct bp_json *json, char **text) {
    put(json, "", 0); /* so that there is a text even when nothing was written */
    bp_status status = json->status;
    if (status != BP_OK) {
        bp_free(json->text);
        json->text = NULL;
    }
    *text = json->text;
    json->text = NULL;
    return status;
}
