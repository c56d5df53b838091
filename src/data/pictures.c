/* Lists of picture files: growing, classes, the split into training and validation. */
#define _POSIX_C_SOURCE 200809L
#include "data/pictures.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/file_io.h"
#include "base/memory.h"
#include "base/rng.h"
#include "data/survey.h"

int bp_picture_is_likely(const char *path) {
    static const char *const endings[] = {".jpg", ".jpeg", ".png"};
    uint8_t first[3];
    size_t count = bp_file_peek(path, first, sizeof first), length = strlen(path);
    if (count == sizeof first &&
        (memcmp(first, "\xff\xd8\xff", 3) == 0 || memcmp(first, "\x89PN", 3) == 0))
        return 1;
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        size_t ending = strlen(endings[i]);
        if (length > ending && strcasecmp(path + length - ending, endings[i]) == 0)
            return 1;
    }
    return 0;
}

bp_status bp_picture_list_add(struct bp_picture_list *list, const char *path, int32_t label,
                              enum bp_side side, struct bp_picture **out) {
    if (list->count == list->room) {
        size_t room = list->room == 0 ? 256 : 2 * list->room;
        BP_TRY(bp_grow(&list->items, list->count * sizeof *list->items, room * sizeof *list->items,
                       "the list of pictures"));
        list->room = room;
    }
    struct bp_picture *item = &list->items[list->count];
    *item = (struct bp_picture){.label = label, .side = side};
    BP_TRY(bp_copy_string(&item->path, path));
    list->count++;
    if (out != NULL)
        *out = item;
    return BP_OK;
}

void bp_picture_list_free(struct bp_picture_list *list) {
    for (size_t i = 0; i < list->count; i++) {
        bp_free(list->items[i].path);
        bp_free(list->items[i].reason);
        bp_free(list->items[i].class_name);
    }
    bp_free(list->items);
    *list = (struct bp_picture_list){0};
}

/* --- the split -------------------------------------------------------------------------------- */

struct draw {
    int32_t label;
    uint64_t key;
    size_t item;
};

static int compare_draws(const void *a, const void *b) {
    const struct draw *x = a, *y = b;
    if (x->label != y->label)
        return x->label < y->label ? -1 : 1;
    return x->key != y->key ? (x->key < y->key ? -1 : 1) : 0;
}

/* How many of n drawn files of a class become validation. A group of equal content that the border
 * would cut goes to training, unless that left nothing for validation. */
static size_t border(const struct draw *draws, size_t n, double share) {
    if (share >= 1)
        return n;
    if (share <= 0 || n < 2)
        return 0;
    size_t k = (size_t)(share * (double)n + 0.5);
    k = k < 1 ? 1 : k > n - 1 ? n - 1 : k;
    size_t low = k, high = k;
    while (low > 0 && draws[low - 1].key == draws[k].key)
        low--;
    while (high < n && draws[high].key == draws[k].key)
        high++;
    return low > 0 ? low : high < n ? high : 0;
}

bp_status bp_picture_list_split(struct bp_picture_list *list, double share, uint64_t seed) {
    struct bp_stream stream = bp_stream_make(seed, BP_RANDOM_SPLIT, 0, 0);
    struct draw *draws;
    size_t n = 0;
    BP_TRY(bp_alloc_array(&draws, list->count, sizeof *draws, "the split"));
    for (size_t i = 0; i < list->count; i++) {
        const struct bp_picture *item = &list->items[i];
        uint32_t words[4];
        if (item->side != BP_SIDE_OPEN || item->reason != NULL)
            continue;
        bp_stream_block(&stream, item->hash, words);
        draws[n++] = (struct draw){item->label, (uint64_t)words[0] << 32 | words[1], i};
    }
    if (n > 1)
        qsort(draws, n, sizeof *draws, compare_draws);
    for (size_t begin = 0, end; begin < n; begin = end) {
        for (end = begin; end < n && draws[end].label == draws[begin].label;)
            end++;
        size_t val = border(draws + begin, end - begin, share);
        for (size_t i = begin; i < end; i++)
            list->items[draws[i].item].side = i - begin < val ? BP_SIDE_VAL : BP_SIDE_TRAIN;
    }
    bp_free(draws);
    return BP_OK;
}

/* --- classes ---------------------------------------------------------------------------------- */

/* A name without case and spacing. */
static bp_status folded(const char *name, char **out) {
    BP_TRY(bp_copy_string(out, name));
    size_t n = 0;
    for (const char *c = name; *c != 0; c++) {
        if (*c != ' ' && *c != '\t')
            (*out)[n++] = *c >= 'A' && *c <= 'Z' ? (char)(*c - 'A' + 'a') : *c;
    }
    (*out)[n] = 0;
    return BP_OK;
}

struct fold {
    char *text;
    const char *name;
};

static int compare_folds(const void *a, const void *b) {
    return strcmp(((const struct fold *)a)->text, ((const struct fold *)b)->text);
}

/* "Cat" and "cat ", or "icecream" and "ice cream", are one class with a slip of the pen. */
static bp_status refuse_twins(const char *path, const char *const *names, size_t count,
                              struct bp_survey *survey) {
    struct fold *folds;
    BP_TRY(bp_alloc_array(&folds, count, sizeof *folds, "class names"));
    bp_status status = BP_OK;
    for (size_t i = 0; i < count && status == BP_OK; i++) {
        folds[i].name = names[i];
        status = folded(names[i], &folds[i].text);
    }
    if (status == BP_OK && count > 1) {
        qsort(folds, count, sizeof *folds, compare_folds);
        for (size_t i = 1; i < count && status == BP_OK; i++)
            if (strcmp(folds[i - 1].text, folds[i].text) == 0)
                status = bp_survey_excuse(
                    survey, "class_twins",
                    bp_fail(BP_DATA,
                            "%.300s: the classes '%.100s' and '%.100s' differ in case or "
                            "spacing only; rename one, or put their pictures together",
                            path, folds[i - 1].name, folds[i].name));
    }
    for (size_t i = 0; i < count; i++)
        bp_free(folds[i].text);
    bp_free(folds);
    return status;
}

bp_status bp_classes_set(struct bp_dataset *set, const char *const *found, size_t count,
                         const struct bp_dataset_options *options) {
    size_t classes = options->classes > 0 ? options->classes : count;
    BP_TRY(refuse_twins(set->path, found, count, options->survey));
    BP_TRY(bp_alloc_array(&set->class_names, classes, sizeof(char *), "class names"));
    set->classes = classes;
    if (options->survey != NULL)
        options->survey->training_classes = classes;
    for (size_t i = 0; i < classes; i++)
        BP_TRY(bp_copy_string(&set->class_names[i],
                              options->classes > 0 ? options->class_names[i] : found[i]));
    return BP_OK;
}

int32_t bp_class_find(const struct bp_dataset *set, const char *name) {
    for (size_t i = 0; i < set->classes; i++)
        if (strcmp(set->class_names[i], name) == 0)
            return (int32_t)i;
    return -1;
}
