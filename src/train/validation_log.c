#include "train/validation_log.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/bits.h"
#include "base/memory.h"
#include "data/image_resize.h"
#include "data/image_write.h"
#include "data/pictures.h"

enum { MISTAKES = 24, THUMBNAIL_PX = 96 };

bp_status bp_validation_log_open(struct bp_validation_log *log, const struct bp_part *part) {
    return bp_alloc_array(&log->notes, part->count, sizeof *log->notes, "notes of the validation");
}

void bp_validation_log_close(struct bp_validation_log *log) {
    bp_free(log->notes);
    log->notes = NULL;
}

/* --- during a validation ---------------------------------------------------------------------- */

/* In double from the logits: a probability of 0 in float still has a finite loss. */
static struct bp_validation_note note_of(const float *logits, size_t classes, size_t label) {
    size_t best = 0;
    double sum = 0.0;
    for (size_t i = 1; i < classes; i++)
        if (logits[i] > logits[best])
            best = i;
    for (size_t i = 0; i < classes; i++)
        sum += exp((double)logits[i] - (double)logits[best]);
    double loss = log(sum) + (double)logits[best] - (double)logits[label];
    return (struct bp_validation_note){.predicted = (int32_t)best,
                                       .loss = (float)loss,
                                       .probability = (float)(1.0 / sum),
                                       .probability_of_label = (float)exp(-loss)};
}

static void take_notes(void *context, const struct bp_graph *graph, const int32_t *labels,
                       size_t first) {
    struct bp_validation_log *log = context;
    size_t classes = graph->config.classes;
    for (size_t i = 0; i < graph->n; i++)
        log->notes[first + i] =
            note_of(graph->logits->f32 + i * classes, classes, (size_t)labels[i]);
}

void bp_validation_log_listen(struct bp_validation_log *log, struct bp_evaluation *evaluation) {
    evaluation->each = take_notes;
    evaluation->context = log;
}

/* --- writing ---------------------------------------------------------------------------------- */

struct writer {
    struct bp_json *json;
    const struct bp_validation_note *notes;
    const struct bp_dataset *data;
    uint64_t *pairs; /* [count] label << 32 | prediction, sorted */
};

static int ascending(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Runs over equal pairs. */
static size_t pairs_equal(const struct writer *w, size_t begin) {
    size_t end = begin + 1;
    while (end < w->data->val.count && w->pairs[end] == w->pairs[begin])
        end++;
    return end - begin;
}

static void write_classes(struct writer *w) {
    size_t at = 0, count = w->data->val.count;
    bp_json_array(w->json, "classes");
    for (size_t label = 0; label < w->data->classes; label++) {
        size_t n = 0, correct = 0;
        for (; at < count && w->pairs[at] >> 32 == label; at++, n++)
            correct += (uint32_t)w->pairs[at] == label;
        bp_json_object(w->json, NULL);
        bp_json_string(w->json, "name", w->data->class_names[label]);
        bp_json_int(w->json, "n", (int64_t)n);
        bp_json_int(w->json, "correct", (int64_t)correct);
        bp_json_end_object(w->json);
    }
    bp_json_end_array(w->json);
}

static void write_confusion(struct writer *w) {
    bp_json_array(w->json, "confusion");
    for (size_t i = 0, n; i < w->data->val.count; i += n) {
        n = pairs_equal(w, i);
        bp_json_array(w->json, NULL);
        bp_json_int(w->json, NULL, (int64_t)(w->pairs[i] >> 32));
        bp_json_int(w->json, NULL, (int64_t)(uint32_t)w->pairs[i]);
        bp_json_int(w->json, NULL, (int64_t)n);
        bp_json_end_array(w->json);
    }
    bp_json_end_array(w->json);
}

/* The wrong samples of largest loss, the largest first, of equal ones the earlier; returns how
 * many. */
static size_t find_mistakes(const struct writer *w, size_t found[MISTAKES]) {
    const struct bp_part *part = &w->data->val;
    size_t n = 0;
    for (size_t i = 0; i < part->count; i++) {
        if (w->notes[i].predicted == part->labels[i])
            continue;
        size_t at = n;
        while (at > 0 && w->notes[found[at - 1]].loss < w->notes[i].loss)
            at--;
        if (at == MISTAKES)
            continue;
        n += n < MISTAKES;
        memmove(found + at + 1, found + at, (n - at - 1) * sizeof *found);
        found[at] = i;
    }
    return n;
}

static size_t thumbnail_px(const struct bp_part *part) {
    return bp_min_size(part->h > part->w ? part->h : part->w, THUMBNAIL_PX);
}

/* The sample's image, smaller where it is large, as Base64 of a PNG. */
static bp_status make_thumbnail(const struct bp_part *part, size_t sample, char **text) {
    size_t longer = part->h > part->w ? part->h : part->w, px = thumbnail_px(part);
    struct bp_image small = {.h = (part->h * px + longer - 1) / longer,
                             .w = (part->w * px + longer - 1) / longer,
                             .c = part->c};
    uint8_t *decoded, *scratch = NULL, *png = NULL;
    const uint8_t *image;
    size_t count;
    BP_TRY(bp_alloc(&decoded, part->h * part->w * part->c, "a thumbnail"));
    bp_status status = bp_alloc(&small.pixels, small.h * small.w * small.c, "a thumbnail");
    if (status == BP_OK)
        status =
            bp_alloc(&scratch, bp_resize_scratch_bytes(part->h, part->w, part->c, small.h, small.w),
                     "a thumbnail");
    if (status == BP_OK)
        status = bp_part_image(part, sample, decoded, &image);
    if (status == BP_OK) {
        const struct bp_view view = {image, part->h, part->w, part->c, part->w};
        bp_resize(&view, small.h, small.w, small.pixels, scratch);
        status = bp_image_write_png(&small, &png, &count);
    }
    if (status == BP_OK)
        status = bp_base64_encode(png, count, text);
    bp_free(png);
    bp_free(scratch);
    bp_free(small.pixels);
    bp_free(decoded);
    return status;
}

/* A picture that cannot be read any more has no thumbnail. */
static void write_mistake(struct writer *w, size_t sample) {
    const struct bp_part *part = &w->data->val;
    const struct bp_validation_note *note = &w->notes[sample];
    char *thumbnail = NULL;
    bp_json_object(w->json, NULL);
    bp_json_int(w->json, "sample", (int64_t)sample);
    if (part->pictures != NULL)
        bp_json_string(w->json, "path", part->pictures->paths[sample]);
    bp_json_int(w->json, "label", part->labels[sample]);
    bp_json_int(w->json, "predicted", note->predicted);
    bp_json_float(w->json, "loss", note->loss);
    bp_json_float(w->json, "probability", note->probability);
    bp_json_float(w->json, "probability_of_label", note->probability_of_label);
    if (make_thumbnail(part, sample, &thumbnail) == BP_OK)
        bp_json_string(w->json, "png", thumbnail);
    bp_free(thumbnail);
    bp_json_end_object(w->json);
}

static void write_all(struct writer *w, const struct bp_evaluation *evaluation, size_t epoch) {
    size_t found[MISTAKES], n = find_mistakes(w, found);
    bp_json_begin(w->json, 0);
    bp_json_object(w->json, NULL);
    bp_json_int(w->json, "epoch", (int64_t)epoch);
    bp_json_int(w->json, "n", (int64_t)evaluation->n);
    bp_json_double(w->json, "accuracy", evaluation->accuracy);
    bp_json_double(w->json, "loss", evaluation->loss);
    write_classes(w);
    write_confusion(w);
    bp_json_int(w->json, "thumbnail_px", (int64_t)thumbnail_px(&w->data->val));
    bp_json_array(w->json, "mistakes");
    for (size_t i = 0; i < n; i++)
        write_mistake(w, found[i]);
    bp_json_end_array(w->json);
    bp_json_end_object(w->json);
}

bp_status bp_validation_log_json(const struct bp_validation_log *log, const struct bp_dataset *data,
                                 const struct bp_evaluation *evaluation, size_t epoch,
                                 struct bp_json *json) {
    struct writer w = {.json = json, .notes = log->notes, .data = data};
    const struct bp_part *part = &data->val;
    BP_TRY(bp_alloc_array(&w.pairs, part->count, sizeof *w.pairs, "confusions"));
    for (size_t i = 0; i < part->count; i++)
        w.pairs[i] = (uint64_t)part->labels[i] << 32 | (uint32_t)log->notes[i].predicted;
    qsort(w.pairs, part->count, sizeof *w.pairs, ascending);
    write_all(&w, evaluation, epoch);
    bp_free(w.pairs);
    return BP_OK;
}
