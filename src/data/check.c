#include "data/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/memory.h"

/* A class with so many times the pictures of another one is noted. */
enum { UNBALANCED = 10 };

/* --- files and sizes -------------------------------------------------------------------------- */

static int compare_areas(const void *a, const void *b) {
    const bp_picture_size *x = a, *y = b;
    size_t i = x->width * x->height, j = y->width * y->height;
    if (i != j)
        return i < j ? -1 : 1;
    return x->width < y->width ? -1 : x->width > y->width;
}

static bp_status measure(const struct bp_check *check, bp_data_report *report) {
    bp_picture_size *sizes;
    size_t n = check->count;
    BP_TRY(bp_alloc_array(&sizes, n, sizeof *sizes, "the sizes"));
    for (size_t i = 0; i < n; i++)
        sizes[i] = (bp_picture_size){check->items[i].w, check->items[i].h};
    if (n > 0) {
        qsort(sizes, n, sizeof *sizes, compare_areas);
        report->smallest = sizes[0];
        report->median = sizes[n / 2];
        report->largest = sizes[n - 1];
    }
    bp_free(sizes);
    return BP_OK;
}

static int ends_with(const char *name, const char *ending) {
    size_t length = strlen(name), n = strlen(ending);
    return length > n && strcasecmp(name + length - n, ending) == 0;
}

/* 1 if the name says that the file is something else; one without an ending says nothing. */
static int is_named_wrong(const char *path, int png) {
    const char *slash = strrchr(path, '/'), *name = slash != NULL ? slash + 1 : path;
    if (strchr(name, '.') == NULL)
        return 0;
    return png ? !ends_with(name, ".png")
               : !ends_with(name, ".jpg") && !ends_with(name, ".jpeg") &&
                     !ends_with(name, ".jpe") && !ends_with(name, ".jfif");
}

static bp_status note_names(struct bp_check *check, int png) {
    bp_finding *finding = NULL;
    size_t count = 0;
    for (size_t i = 0; i < check->count; i++)
        count += check->items[i].png == png &&
                 is_named_wrong(bp_check_name(check, &check->items[i]), png);
    for (size_t i = 0; i < check->count && count > 0; i++) {
        const char *path = bp_check_name(check, &check->items[i]);
        if (check->items[i].png != png || !is_named_wrong(path, png))
            continue;
        if (finding == NULL)
            BP_TRY(bp_survey_add(&check->survey, &finding, "wrong_name", 0,
                                 "%zu %s %s by content but not by name, and %s read all the same: "
                                 "%.300s%s",
                                 count, count == 1 ? "file is" : "files are", png ? "PNG" : "JPEG",
                                 count == 1 ? "is" : "are", path,
                                 count == 1 ? "" : " is the first"));
        BP_TRY(bp_finding_add_path(finding, path));
    }
    return BP_OK;
}

/* --- classes ---------------------------------------------------------------------------------- */

static bp_status count(const struct bp_check *check, bp_data_report *report) {
    size_t classes = check->set->classes;
    BP_TRY(bp_alloc_array(&report->train_count, classes, sizeof(size_t), "counts"));
    BP_TRY(bp_alloc_array(&report->val_count, classes, sizeof(size_t), "counts"));
    for (size_t i = 0; i < check->count; i++) {
        const struct bp_checked *item = &check->items[i];
        (item->side == BP_SIDE_VAL ? report->val_count : report->train_count)[item->label]++;
        report->val += item->side == BP_SIDE_VAL;
        report->grey += item->grey != 0;
        report->png += check->survey.is_pictures && item->png;
    }
    report->train = check->count - report->val;
    report->colour = check->count - report->grey;
    report->jpeg = check->survey.is_pictures ? check->count - report->png : 0;
    report->unusable = check->survey.list.count - (check->survey.is_pictures ? check->count : 0);
    return BP_OK;
}

static bp_status note_empty(struct bp_check *check, const bp_data_report *report, size_t known) {
    for (size_t i = 0; i < known; i++)
        if (report->train_count[i] == 0)
            BP_TRY(bp_survey_add(&check->survey, NULL, "no_training", 1,
                                 "class '%.200s' has no picture for training; add some, or remove "
                                 "the class",
                                 check->set->class_names[i]));
    if (report->val == 0)
        return bp_survey_add(&check->survey, NULL, "no_validation", 1,
                             "no picture is for validation; add some, or raise --val");
    for (size_t i = 0; i < known; i++)
        if (report->val_count[i] == 0 && report->train_count[i] > 0)
            BP_TRY(bp_survey_add(&check->survey, NULL, "unvalidated", 0,
                                 "class '%.200s' has no picture for validation: its accuracy will "
                                 "not be known",
                                 check->set->class_names[i]));
    return BP_OK;
}

static bp_status note_balance(struct bp_check *check, const bp_data_report *report, size_t known) {
    size_t least = SIZE_MAX, most = 0; /* numbers of classes */
    for (size_t i = 0; i < known; i++) {
        size_t n = report->train_count[i];
        if (n > 0 && (least == SIZE_MAX || n < report->train_count[least]))
            least = i;
        if (n > report->train_count[most])
            most = i;
    }
    if (least == SIZE_MAX || report->train_count[most] < UNBALANCED * report->train_count[least])
        return BP_OK;
    return bp_survey_add(&check->survey, NULL, "unbalanced", 0,
                         "class '%.200s' has %zu pictures for training, class '%.200s' only %zu: "
                         "the network will favour the large ones",
                         check->set->class_names[most], report->train_count[most],
                         check->set->class_names[least], report->train_count[least]);
}

/* --- all -------------------------------------------------------------------------------------- */

/* Errors first, else in order. The findings move into the report. */
static bp_status take_findings(struct bp_survey *survey, bp_data_report *report) {
    BP_TRY(
        bp_alloc_array(&report->findings, survey->count, sizeof *report->findings, "the findings"));
    for (int errors = 1; errors >= 0; errors--)
        for (size_t i = 0; i < survey->count; i++)
            if (survey->findings[i].is_error == errors)
                report->findings[report->n_findings++] = survey->findings[i];
    for (size_t i = 0; i < survey->count; i++)
        report->errors += survey->findings[i].is_error != 0;
    survey->count = 0;
    return BP_OK;
}

static bp_status look_at_all(struct bp_check *check, bp_data_report *report) {
    const struct bp_dataset *set = check->set;
    size_t known = check->survey.is_pictures ? check->survey.training_classes : set->classes;
    for (size_t i = 0; i < check->survey.list.count; i++)
        report->is_split |= check->survey.list.items[i].side == BP_SIDE_OPEN;
    snprintf(report->data, sizeof report->data, "%s", set->path);
    snprintf(report->kind, sizeof report->kind, "%s", set->kind);
    BP_TRY(check->survey.is_pictures ? bp_check_pictures(check) : bp_check_images(check));
    BP_TRY(count(check, report));
    BP_TRY(measure(check, report));
    BP_TRY(bp_survey_excuse(&check->survey, "one_class", bp_dataset_check_classes(set)));
    BP_TRY(note_empty(check, report, known));
    if (check->survey.is_pictures) { /* while the items are in the data set's order */
        BP_TRY(note_names(check, 0));
        BP_TRY(note_names(check, 1));
    }
    BP_TRY(bp_check_duplicates(check));
    return note_balance(check, report, known);
}

/* The names move into the report. */
static void take_classes(struct bp_dataset *set, bp_data_report *report) {
    report->class_names = set->class_names;
    report->classes = set->classes;
    set->class_names = NULL;
}

bp_status bp_check_data(const char *data, const struct bp_dataset_options *options,
                        bp_check_callback *callback, void *user, bp_data_report *report) {
    struct bp_check check = {.callback = callback, .user = user};
    struct bp_dataset_options all = *options;
    all.survey = &check.survey;
    check.options = &all;
    bp_status status = bp_dataset_open(&check.set, data, &all);
    if (status == BP_OK)
        status = bp_threads_create(&check.threads, options->threads);
    if (status == BP_OK)
        status = look_at_all(&check, report);
    if (status == BP_OK)
        status = take_findings(&check.survey, report);
    if (status == BP_OK)
        take_classes(check.set, report);
    bp_free(check.items);
    bp_threads_destroy(check.threads);
    bp_dataset_destroy(check.set);
    bp_survey_free(&check.survey);
    return status;
}
