/* The files of one JSON object: validation.json and layers.json. */
#include <math.h>
#include <string.h>

#include "base/base64.h"
#include "base/memory.h"
#include "report/json_read.h"
#include "report/records.h"

enum { CLASSES_MAX = 100000, LAYERS_MAX = 10000, MISTAKES_MAX = 1000 };

static bp_status wrong(const char *name, const char *what) {
    return bp_fail(BP_DATA, "%s: '%s' is missing or impossible", name, what);
}

/* --- validation.json -------------------------------------------------------------------------- */

static bp_status read_classes(struct bp_validation_record *out, const char *name) {
    const json_t *classes = json_object_get(out->root, "classes");
    out->n_classes = json_array_size(classes);
    if (out->n_classes == 0 || out->n_classes > CLASSES_MAX)
        return wrong(name, "classes");
    BP_TRY(bp_alloc_array(&out->classes, out->n_classes, sizeof *out->classes, "classes"));
    for (size_t i = 0; i < out->n_classes; i++) {
        const json_t *item = json_array_get(classes, i);
        struct bp_class_record *record = &out->classes[i];
        record->name = bp_report_string(item, "name");
        if (record->name == NULL ||
            !bp_report_count(json_object_get(item, "n"), SIZE_MAX, &record->n) ||
            !bp_report_count(json_object_get(item, "correct"), record->n, &record->correct))
            return wrong(name, "classes");
    }
    return BP_OK;
}

static bp_status read_pairs(struct bp_validation_record *out, const char *name) {
    const json_t *pairs = json_object_get(out->root, "confusion");
    if (!json_is_array(pairs))
        return wrong(name, "confusion");
    size_t last = out->n_classes - 1;
    out->n_pairs = json_array_size(pairs);
    BP_TRY(bp_alloc_array(&out->pairs, out->n_pairs, sizeof *out->pairs, "confusions"));
    for (size_t i = 0; i < out->n_pairs; i++) {
        const json_t *item = json_array_get(pairs, i);
        struct bp_pair_record *pair = &out->pairs[i], *before = i > 0 ? pair - 1 : NULL;
        if (json_array_size(item) != 3 ||
            !bp_report_count(json_array_get(item, 0), last, &pair->label) ||
            !bp_report_count(json_array_get(item, 1), last, &pair->predicted) ||
            !bp_report_count(json_array_get(item, 2), SIZE_MAX, &pair->count))
            return wrong(name, "confusion");
        if (before != NULL &&
            (before->label > pair->label ||
             (before->label == pair->label && before->predicted >= pair->predicted)))
            return wrong(name, "confusion"); /* in order, so none stands there twice */
    }
    return BP_OK;
}

static bp_status read_mistakes(struct bp_validation_record *out, const char *name) {
    const json_t *mistakes = json_object_get(out->root, "mistakes");
    size_t last = out->n_classes - 1;
    out->n_mistakes = json_array_size(mistakes);
    if (!json_is_array(mistakes) || out->n_mistakes > MISTAKES_MAX)
        return wrong(name, "mistakes");
    BP_TRY(bp_alloc_array(&out->mistakes, out->n_mistakes, sizeof *out->mistakes, "mistakes"));
    for (size_t i = 0; i < out->n_mistakes; i++) {
        const json_t *item = json_array_get(mistakes, i);
        struct bp_mistake_record *mistake = &out->mistakes[i];
        if (!bp_report_count(json_object_get(item, "sample"), SIZE_MAX, &mistake->sample) ||
            !bp_report_count(json_object_get(item, "label"), last, &mistake->label) ||
            !bp_report_count(json_object_get(item, "predicted"), last, &mistake->predicted))
            return wrong(name, "mistakes");
        mistake->loss = bp_report_number(item, "loss");
        mistake->probability = bp_report_number(item, "probability");
        mistake->probability_of_label = bp_report_number(item, "probability_of_label");
        mistake->path = bp_report_string(item, "path");
        mistake->png = bp_report_string(item, "png");
        if (mistake->png != NULL && !bp_base64_is_valid(mistake->png))
            return wrong(name, "png");
    }
    return BP_OK;
}

bp_status bp_validation_parse(const char *text, size_t count, const char *name,
                              struct bp_validation_record *out) {
    *out = (struct bp_validation_record){0};
    bp_status status = bp_report_json(text, count, name, &out->root);
    if (status == BP_OK &&
        (!bp_report_count(json_object_get(out->root, "epoch"), SIZE_MAX, &out->epoch) ||
         !bp_report_count(json_object_get(out->root, "n"), SIZE_MAX, &out->n)))
        status = wrong(name, "epoch");
    if (status == BP_OK)
        status = read_classes(out, name);
    if (status == BP_OK)
        status = read_pairs(out, name);
    if (status == BP_OK)
        status = read_mistakes(out, name);
    if (status != BP_OK) {
        bp_validation_free(out);
        return status;
    }
    bp_report_count(json_object_get(out->root, "thumbnail_px"), SIZE_MAX, &out->thumbnail_px);
    out->accuracy = bp_report_number(out->root, "accuracy");
    out->loss = bp_report_number(out->root, "loss");
    return BP_OK;
}

void bp_validation_free(struct bp_validation_record *validation) {
    json_decref(validation->root);
    bp_free(validation->classes);
    bp_free(validation->pairs);
    bp_free(validation->mistakes);
    *validation = (struct bp_validation_record){0};
}

/* --- layers.json ------------------------------------------------------------------------------ */

static int read_layer(const json_t *item, struct bp_layer_record *out) {
    const json_t *output = json_object_get(item, "output");
    out->name = bp_report_string(item, "name");
    out->kind = bp_report_string(item, "kind");
    int valid = out->name != NULL && out->kind != NULL && json_array_size(output) == 3;
    for (size_t i = 0; i < 3; i++)
        valid &= bp_report_count(json_array_get(output, i), SIZE_MAX, &out->output[i]);
    out->weight_bits = bp_report_number(item, "weight_bits");
    out->input_bits = bp_report_number(item, "input_bits");
    out->grad_bits_da = bp_report_number(item, "grad_bits_da");
    out->grad_bits_dw = bp_report_number(item, "grad_bits_dw");
    out->macs = bp_report_number(item, "macs");
    out->forward_ms = bp_report_number(item, "forward_ms");
    out->backward_ms = bp_report_number(item, "backward_ms");
    return valid;
}

bp_status bp_layers_parse(const char *text, size_t count, const char *name,
                          struct bp_layers_record *out) {
    *out = (struct bp_layers_record){0};
    BP_TRY(bp_report_json(text, count, name, &out->root));
    const json_t *layers = json_object_get(out->root, "layers");
    out->n_layers = json_array_size(layers);
    out->steps = bp_report_number(out->root, "steps");
    out->step_ms = bp_report_number(out->root, "step_ms");
    out->other_ms = bp_report_number(out->root, "other_ms");
    bp_status status = BP_OK;
    if (!json_is_array(layers) || out->n_layers > LAYERS_MAX)
        status = wrong(name, "layers");
    else
        status = bp_alloc_array(&out->layers, out->n_layers, sizeof *out->layers, "layers");
    for (size_t i = 0; status == BP_OK && i < out->n_layers; i++)
        if (!read_layer(json_array_get(layers, i), &out->layers[i]))
            status = wrong(name, "layers");
    if (status != BP_OK)
        bp_layers_free(out);
    return status;
}

void bp_layers_free(struct bp_layers_record *layers) {
    json_decref(layers->root);
    bp_free(layers->layers);
    *layers = (struct bp_layers_record){0};
}
