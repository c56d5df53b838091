/* What a run folder holds, as far as reports show it. The files may be cut off, missing or hostile:
 * numbers that are not there are NaN, lines that are no records are counted and passed over, and
 * nothing is taken for granted that a reader here did not check. docs/FORMATS.md has the formats.
 */
#ifndef BP_REPORT_RECORDS_H
#define BP_REPORT_RECORDS_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

struct json_t; /* jansson's, so that this header needs none of its own */

/* --- rows of numbers -------------------------------------------------------------------------- */

enum bp_column {
    BP_COLUMN_EPOCH,
    BP_COLUMN_STEP,
    BP_COLUMN_LOSS,
    BP_COLUMN_ACCURACY,
    BP_COLUMN_VAL_LOSS,
    BP_COLUMN_VAL_ACCURACY,
    BP_COLUMN_LR,
    BP_COLUMN_IMAGES_PER_S,
    BP_COLUMN_SECONDS,
    BP_COLUMN_DATA_WAIT,
    BP_COLUMN_COUNT
};

struct bp_rows {
    size_t count, room;
    double *column[BP_COLUMN_COUNT]; /* [count]; NaN: not there */
};

/* metrics.jsonl */
struct bp_metrics_record {
    struct bp_rows steps, epochs;
    size_t bad_lines; /* that are no records of these kinds, such as one that was cut off */
};

/* `text` needs no zero byte at its end. BP_RESOURCE: out of memory. */
bp_status bp_metrics_parse(const char *text, size_t count, struct bp_metrics_record *out);
void bp_metrics_free(struct bp_metrics_record *metrics);

/* --- validation.json -------------------------------------------------------------------------- */

struct bp_class_record {
    const char *name;
    size_t n, correct;
};

/* `count` samples of class `label` were taken for class `predicted`. */
struct bp_pair_record {
    size_t label, predicted, count;
};

struct bp_mistake_record {
    size_t sample, label, predicted;
    double loss, probability, probability_of_label; /* NaN: not there */
    const char *path;                               /* of a picture; NULL: none */
    const char *png;                                /* Base64; NULL: none */
};

struct bp_validation_record {
    struct json_t *root; /* owns the strings */
    size_t epoch, n;
    size_t thumbnail_px; /* longer side of the thumbnails; 0: unknown */
    double accuracy, loss;
    struct bp_class_record *classes;
    struct bp_pair_record *pairs; /* each pair once at most */
    struct bp_mistake_record *mistakes;
    size_t n_classes, n_pairs, n_mistakes;
};

/* BP_DATA with the reason if the text is not such a record. */
bp_status bp_validation_parse(const char *text, size_t count, const char *name,
                              struct bp_validation_record *out);
void bp_validation_free(struct bp_validation_record *validation);

/* --- layers.json ------------------------------------------------------------------------------ */

struct bp_layer_record {
    const char *name, *kind;
    size_t output[3];                                           /* h, w, c */
    double weight_bits, input_bits, grad_bits_da, grad_bits_dw; /* NaN: has none */
    double macs;                                                /* of one image, forward */
    double forward_ms, backward_ms;                             /* of a step */
};

struct bp_layers_record {
    struct json_t *root;
    double steps, step_ms, other_ms;
    struct bp_layer_record *layers;
    size_t n_layers;
};

bp_status bp_layers_parse(const char *text, size_t count, const char *name,
                          struct bp_layers_record *out);
void bp_layers_free(struct bp_layers_record *layers);

/* --- variance.jsonl --------------------------------------------------------------------------- */

/* Relative variances of one layer at one step. */
struct bp_variance_value {
    double gradient[2], exact[2], empirical[2]; /* of dA, dW */
    double flips;
};

struct bp_variance_record {
    char **names;                     /* [n_layers] */
    double *steps;                    /* [count] */
    struct bp_variance_value *values; /* [count][n_layers] */
    size_t n_layers, count, room;
    size_t bad_lines;
};

bp_status bp_variance_parse(const char *text, size_t count, struct bp_variance_record *out);
void bp_variance_free(struct bp_variance_record *variance);

#ifdef __cplusplus
}
#endif
#endif
