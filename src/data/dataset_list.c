/* A list file: one picture a line, "path,label" or "path,label,split", as CSV (RFC 4180 quotes; no
 * line breaks inside quotes). Paths are relative to the file. A first line "path,label..." is a
 * heading. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/dir_list.h"
#include "base/file_io.h"
#include "base/memory.h"
#include "data/dataset_format.h"
#include "data/survey.h"

enum { PATH_BYTES = 4096, PEEK_BYTES = 1024 };

#define LARGEST_LIST ((size_t)1 << 30)

/* Ends a field that begins at *at with a zero byte; *at then is behind its comma or at `end`. */
static bp_status read_field(char **at, char *end, const char *name, size_t line, char **field,
                            int *more) {
    char *in = *at, *out = *at;
    *field = out;
    if (in < end && *in == '"') {
        for (in++; in < end && (*in != '"' || (in + 1 < end && in[1] == '"')); in++) {
            in += *in == '"';
            *out++ = *in;
        }
        if (in == end || (in + 1 < end && in[1] != ','))
            return bp_fail(BP_DATA,
                           "%s: line %zu: a quote is not closed, or text follows it; write \"a "
                           "\"\"b\"\" c\",label",
                           name, line);
        in++;
    } else {
        while (in < end && *in != ',')
            in++;
        out = in;
    }
    *more = in < end;
    *at = in < end ? in + 1 : end;
    *out = 0; /* at the latest on the comma, or on the end of the line */
    return BP_OK;
}

bp_status bp_list_parse_line(char *bytes, size_t count, size_t *offset, const char *name,
                             size_t line, char *fields[BP_LIST_FIELDS], size_t *n_fields) {
    char *begin = bytes + *offset, *stop = bytes + count;
    char *end = memchr(begin, '\n', (size_t)(stop - begin));
    end = end != NULL ? end : stop;
    *offset = end < stop ? (size_t)(end - bytes) + 1 : count;
    *n_fields = 0;
    if (memchr(begin, 0, (size_t)(end - begin)) != NULL)
        return bp_fail(BP_DATA, "%s: line %zu: holds a zero byte; this is not a text file", name,
                       line);
    if (end > begin && end[-1] == '\r')
        end--;
    *end = 0;
    int more = end > begin;
    for (char *at = begin; more;) {
        if (*n_fields == BP_LIST_FIELDS)
            return bp_fail(BP_DATA,
                           "%s: line %zu: more than %d fields; write path,label or "
                           "path,label,split, and quote what holds commas",
                           name, line, BP_LIST_FIELDS);
        BP_TRY(read_field(&at, end, name, line, &fields[(*n_fields)++], &more));
    }
    if (*n_fields == 1 || (*n_fields > 1 && (fields[0][0] == 0 || fields[1][0] == 0)))
        return bp_fail(BP_DATA, "%s: line %zu: the %s is missing; write path,label", name, line,
                       fields[0][0] == 0 ? "path" : "label");
    return BP_OK;
}

enum split { SPLIT_NONE, SPLIT_TRAIN, SPLIT_VAL, SPLIT_TEST, SPLIT_UNKNOWN };

static enum split split_of(const char *text) {
    static const struct {
        const char *name;
        enum split split;
    } names[] = {{"", SPLIT_NONE},     {"train", SPLIT_TRAIN},    {"val", SPLIT_VAL},
                 {"valid", SPLIT_VAL}, {"validation", SPLIT_VAL}, {"test", SPLIT_TEST}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcasecmp(text, names[i].name) == 0)
            return names[i].split;
    return SPLIT_UNKNOWN;
}

/* What is known while the lines are read. Sides hold enum split until all are. */
struct reader {
    const char *path;
    struct bp_survey *survey;
    char folder[PATH_BYTES];
    struct bp_picture_list pictures;
    size_t *lines; /* of the pictures */
    size_t room, with_split, val;
};

static bp_status add_line(struct reader *r, char *const *fields, size_t n_fields, size_t line) {
    char path[PATH_BYTES];
    enum split split = n_fields > 2 ? split_of(fields[2]) : SPLIT_NONE;
    if (split == SPLIT_UNKNOWN)
        return bp_fail(BP_DATA, "%.300s: line %zu: split '%.60s'; write train, val or test",
                       r->path, line, fields[2]);
    if (fields[0][0] == '/')
        snprintf(path, sizeof path, "%s", fields[0]);
    else
        BP_TRY(bp_path_join(path, sizeof path, r->folder, fields[0]));
    if (r->pictures.count == r->room) {
        size_t room = r->room == 0 ? 256 : 2 * r->room;
        BP_TRY(bp_grow(&r->lines, r->room * sizeof *r->lines, room * sizeof *r->lines,
                       "the list of pictures"));
        r->room = room;
    }
    struct bp_picture *item;
    BP_TRY(bp_picture_list_add(&r->pictures, path, 0, (enum bp_side)split, &item));
    r->lines[r->pictures.count - 1] = line;
    r->with_split += split != SPLIT_NONE;
    r->val += split == SPLIT_VAL;
    return bp_copy_string(&item->class_name, fields[1]);
}

static bp_status read_lines(struct reader *r, char *bytes, size_t count) {
    char *fields[BP_LIST_FIELDS];
    size_t n_fields, line = 0;
    size_t offset = count >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    while (offset < count) {
        line++;
        bp_status status =
            bp_list_parse_line(bytes, count, &offset, r->path, line, fields, &n_fields);
        int heading = line == 1 && n_fields > 1 && strcasecmp(fields[0], "path") == 0;
        if (status == BP_OK && n_fields > 0 && !heading)
            status = add_line(r, fields, n_fields, line);
        BP_TRY(bp_survey_excuse(r->survey, "line", status));
    }
    if (r->pictures.count == 0)
        return bp_fail(BP_DATA, "%.300s: the list is empty; write one picture a line: path,label",
                       r->path);
    return BP_OK;
}

/* Validation lines are those of "val", or of "test" where there are none; then the others of the
 * two do not take part. */
static bp_status settle_sides(struct reader *r) {
    struct bp_picture_list *list = &r->pictures;
    size_t kept = 0;
    for (size_t i = 0; i < list->count; i++) {
        struct bp_picture *item = &list->items[i];
        enum split split = (enum split)item->side;
        if (split == SPLIT_NONE && r->with_split > 0) {
            BP_TRY(bp_survey_excuse(
                r->survey, "line",
                bp_fail(BP_DATA,
                        "%.300s: line %zu: has no split, but other lines have; write train, val "
                        "or test behind all labels, or behind none",
                        r->path, r->lines[i])));
            split = SPLIT_TRAIN;
        }
        item->side = split == SPLIT_NONE    ? BP_SIDE_OPEN
                     : split == SPLIT_TRAIN ? BP_SIDE_TRAIN
                                            : BP_SIDE_VAL;
        if (split == SPLIT_TEST && r->val > 0) {
            bp_free(item->path);
            bp_free(item->class_name);
            continue;
        }
        r->lines[kept] = r->lines[i];
        list->items[kept++] = *item;
    }
    list->count = kept;
    return BP_OK;
}

static int compare_names(const void *a, const void *b) {
    return bp_natural_order(*(const char *const *)a, *(const char *const *)b);
}

/* The labels of the training lines, each once, in natural order. */
static size_t training_names(const struct bp_picture_list *list, const char **names) {
    size_t count = 0, unique = 0;
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i].side != BP_SIDE_VAL)
            names[count++] = list->items[i].class_name;
    if (count > 1)
        qsort(names, count, sizeof *names, compare_names);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || strcmp(names[unique - 1], names[i]) != 0)
            names[unique++] = names[i];
    return unique;
}

static bp_status settle_classes(struct bp_dataset *set, struct reader *r, const char **names,
                                const struct bp_dataset_options *options) {
    struct bp_picture_list *list = &r->pictures;
    size_t count = training_names(list, names);
    if (count == 0 && options->classes == 0)
        return bp_fail(BP_DATA, "%.300s: no line is for training; write train behind some labels",
                       r->path);
    BP_TRY(bp_classes_set(set, names, count, options));
    for (size_t i = 0; i < list->count; i++) {
        struct bp_picture *item = &list->items[i];
        const char *const *found = options->classes > 0 ? NULL
                                                        : bsearch(&item->class_name, names, count,
                                                                  sizeof *names, compare_names);
        item->label =
            found != NULL ? (int32_t)(found - names) : bp_class_find(set, item->class_name);
        if (item->label < 0) {
            BP_TRY(bp_survey_excuse(
                r->survey, "unknown_class",
                bp_fail(BP_DATA,
                        "%.300s: line %zu: class '%.100s' is unknown to the %s; correct it, or "
                        "add the class there",
                        r->path, r->lines[i], item->class_name,
                        options->classes > 0 ? "model" : "training lines")));
            BP_TRY(bp_survey_join_class(set, item->class_name, &item->label));
        }
    }
    return BP_OK;
}

static bp_status read_all(struct bp_dataset *set, struct reader *r,
                          const struct bp_dataset_options *options) {
    uint8_t *bytes;
    char *text;
    size_t count;
    const char **names;
    const char *slash = strrchr(r->path, '/');
    snprintf(r->folder, sizeof r->folder, "%.*s", slash != NULL ? (int)(slash - r->path) + 1 : 0,
             r->path);
    BP_TRY(bp_file_read(r->path, LARGEST_LIST, BP_DATA, &bytes, &count));
    bp_status status = bp_alloc(&text, count + 1, "the list of pictures");
    if (status == BP_OK) {
        memcpy(text, bytes, count);
        status = read_lines(r, text, count);
        bp_free(text);
    }
    bp_free(bytes);
    BP_TRY(status);
    BP_TRY(settle_sides(r));
    BP_TRY(bp_alloc_array(&names, r->pictures.count, sizeof *names, "class names"));
    status = settle_classes(set, r, names, options);
    bp_free(names);
    return status == BP_OK ? bp_pictures_open(set, &r->pictures, options) : status;
}

static bp_status read_list(struct bp_dataset *set, const char *path,
                           const struct bp_dataset_options *options) {
    struct reader *r;
    BP_TRY(bp_alloc(&r, sizeof *r, "the list of pictures"));
    r->path = path;
    r->survey = options->survey;
    bp_status status = read_all(set, r, options);
    bp_picture_list_free(&r->pictures);
    bp_free(r->lines);
    bp_free(r);
    return status;
}

/* A text file whose first line has two or three fields. */
static int recognise(const char *path) {
    char text[PEEK_BYTES + 1], *fields[BP_LIST_FIELDS];
    size_t offset = 0, n_fields = 0, count = bp_file_peek(path, (uint8_t *)text, PEEK_BYTES);
    const char *end = memchr(text, '\n', count);
    if (end == NULL && count == PEEK_BYTES)
        return 0;
    return count > 0 &&
           bp_list_parse_line(text, count, &offset, path, 1, fields, &n_fields) == BP_OK &&
           n_fields > 1;
}

const struct bp_format bp_format_list = {
    "list",
    "a CSV file of lines path,label or path,label,split",
    recognise,
    read_list,
};
