/* The files of lines: metrics.jsonl and variance.jsonl. */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "report/json_read.h"
#include "report/records.h"

static const char *const column_keys[BP_COLUMN_COUNT] = {
    "epoch",        "step", "loss",         "accuracy", "val_loss",
    "val_accuracy", "lr",   "images_per_s", "seconds",  "data_wait"};

/* --- metrics.jsonl ---------------------------------------------------------------------------- */

static void rows_free(struct bp_rows *rows) {
    for (int i = 0; i < BP_COLUMN_COUNT; i++)
        bp_free(rows->column[i]);
    *rows = (struct bp_rows){0};
}

static bp_status rows_add(struct bp_rows *rows, const json_t *object) {
    if (rows->count == rows->room) {
        size_t room = rows->room == 0 ? 64 : 2 * rows->room;
        for (int i = 0; i < BP_COLUMN_COUNT; i++)
            BP_TRY(bp_grow(&rows->column[i], rows->room * sizeof(double), room * sizeof(double),
                           "metrics"));
        rows->room = room;
    }
    for (int i = 0; i < BP_COLUMN_COUNT; i++)
        rows->column[i][rows->count] = bp_report_number(object, column_keys[i]);
    rows->count++;
    return BP_OK;
}

/* The line as an object, or NULL: it is no JSON. */
static bp_status line_object(const char *line, size_t length, const char *name, json_t **out) {
    bp_status status = bp_report_json(line, length, name, out);
    return status == BP_DATA ? BP_OK : status;
}

static bp_status add_metrics_line(struct bp_metrics_record *out, const char *line, size_t length) {
    json_t *object;
    BP_TRY(line_object(line, length, "metrics.jsonl", &object));
    const char *kind = bp_report_string(object, "kind");
    struct bp_rows *rows = kind == NULL                 ? NULL
                           : strcmp(kind, "epoch") == 0 ? &out->epochs
                           : strcmp(kind, "step") == 0  ? &out->steps
                                                        : NULL;
    bp_status status = BP_OK;
    if (rows == NULL || isnan(bp_report_number(object, "step")))
        out->bad_lines++;
    else
        status = rows_add(rows, object);
    json_decref(object);
    return status;
}

bp_status bp_metrics_parse(const char *text, size_t count, struct bp_metrics_record *out) {
    const char *line;
    size_t at = 0, length;
    bp_status status = BP_OK;
    *out = (struct bp_metrics_record){0};
    while (status == BP_OK && bp_report_next_line(text, count, &at, &line, &length))
        status = add_metrics_line(out, line, length);
    if (status != BP_OK)
        bp_metrics_free(out);
    return status;
}

void bp_metrics_free(struct bp_metrics_record *metrics) {
    rows_free(&metrics->steps);
    rows_free(&metrics->epochs);
}

/* --- variance.jsonl --------------------------------------------------------------------------- */

static struct bp_variance_value variance_value(const json_t *layer) {
    static const char *const products[] = {"dA", "dW"};
    struct bp_variance_value value = {.flips = bp_report_number(layer, "flips")};
    for (int i = 0; i < 2; i++) {
        const json_t *product = json_object_get(layer, products[i]);
        value.gradient[i] = bp_report_number(product, "gradient");
        value.exact[i] = bp_report_number(product, "exact");
        value.empirical[i] = bp_report_number(product, "empirical");
    }
    return value;
}

/* The first line that has layers names them for all. */
static bp_status name_layers(struct bp_variance_record *out, const json_t *layers) {
    size_t count = json_array_size(layers);
    BP_TRY(bp_alloc_array(&out->names, count, sizeof(char *), "names of layers"));
    out->n_layers = count;
    for (size_t i = 0; i < count; i++) {
        const char *name = bp_report_string(json_array_get(layers, i), "name");
        BP_TRY(bp_copy_string(&out->names[i], name != NULL ? name : "?"));
    }
    return BP_OK;
}

static bp_status variance_room(struct bp_variance_record *out) {
    if (out->count < out->room)
        return BP_OK;
    size_t room = out->room == 0 ? 16 : 2 * out->room, row = out->n_layers * sizeof *out->values;
    if (row > SIZE_MAX / 4 / room)
        return bp_fail(BP_RESOURCE, "variance.jsonl: too many layers; take the file away");
    BP_TRY(bp_grow(&out->steps, out->room * sizeof *out->steps, room * sizeof *out->steps,
                   "variances"));
    BP_TRY(bp_grow(&out->values, out->room * row, room * row, "variances"));
    out->room = room;
    return BP_OK;
}

static bp_status add_variance_line(struct bp_variance_record *out, const char *line,
                                   size_t length) {
    json_t *object;
    BP_TRY(line_object(line, length, "variance.jsonl", &object));
    const json_t *layers = json_object_get(object, "layers");
    double step = bp_report_number(object, "step");
    bp_status status = BP_OK;
    if (out->names == NULL && json_array_size(layers) > 0 && isfinite(step))
        status = name_layers(out, layers);
    if (isnan(step) || out->n_layers == 0 || json_array_size(layers) != out->n_layers) {
        out->bad_lines++;
    } else if (status == BP_OK && (status = variance_room(out)) == BP_OK) {
        for (size_t i = 0; i < out->n_layers; i++)
            out->values[out->count * out->n_layers + i] = variance_value(json_array_get(layers, i));
        out->steps[out->count++] = step;
    }
    json_decref(object);
    return status;
}

bp_status bp_variance_parse(const char *text, size_t count, struct bp_variance_record *out) {
    const char *line;
    size_t at = 0, length;
    bp_status status = BP_OK;
    *out = (struct bp_variance_record){0};
    while (status == BP_OK && bp_report_next_line(text, count, &at, &line, &length))
        status = add_variance_line(out, line, length);
    if (status != BP_OK)
        bp_variance_free(out);
    return status;
}

void bp_variance_free(struct bp_variance_record *variance) {
    for (size_t i = 0; variance->names != NULL && i < variance->n_layers; i++)
        bp_free(variance->names[i]);
    bp_free(variance->names);
    bp_free(variance->steps);
    bp_free(variance->values);
    *variance = (struct bp_variance_record){0};
}
