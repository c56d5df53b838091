/* Equal pictures: candidates by their hashes, then compared pixel by pixel. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "data/check.h"

static int compare(const void *a, const void *b) {
    const struct bp_checked *x = a, *y = b;
    int order = bp_hash_compare(&x->hash, &y->hash);
    if (order != 0)
        return order;
    if (x->side != y->side)
        return x->side < y->side ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* "a.jpg, b.jpg, c.jpg and 2 more" */
static void name_some(const struct bp_check *check, const struct bp_checked *group, size_t n,
                      char *text, size_t size) {
    enum { SOME = 3 };
    size_t used = 0;
    for (size_t i = 0; i < n && i < SOME && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%.200s",
                                 i == 0                    ? ""
                                 : i + 1 == n && n <= SOME ? " and "
                                                           : ", ",
                                 bp_check_name(check, &group[i]));
    if (n > SOME && used < size)
        snprintf(text + used, size - used, " and %zu more", n - SOME);
}

static bp_status note_group(struct bp_check *check, const struct bp_checked *group, size_t n) {
    char *const *names = check->set->class_names;
    char some[BP_MESSAGE_BYTES * 3 / 4];
    const struct bp_checked *other = NULL;
    bp_finding *finding;
    name_some(check, group, n, some, sizeof some);
    for (size_t i = 1; i < n && other == NULL; i++)
        if (group[i].label != group[0].label)
            other = &group[i];
    if (other != NULL)
        BP_TRY(bp_survey_add(&check->survey, &finding, "two_classes", 1,
                             "the same picture in the classes '%.60s' and '%.60s': %s; keep the "
                             "one with the right class",
                             names[group[0].label], names[other->label], some));
    else if (group[0].side != group[n - 1].side)
        BP_TRY(bp_survey_add(&check->survey, &finding, "both_parts", 1,
                             "the same picture for training and for validation: %s; keep one, as "
                             "the accuracy would be told too high",
                             some));
    else
        BP_TRY(bp_survey_add(&check->survey, &finding, "copies", 0,
                             "%zu times the same picture in class '%.60s': %s", n,
                             names[group[0].label], some));
    for (size_t i = 0; i < n; i++)
        BP_TRY(bp_finding_add_path(finding, bp_check_name(check, &group[i])));
    return BP_OK;
}

/* Items with one hash: those that equal the first one come to the front. */
static bp_status take_group(const struct bp_check *check, struct bp_checked *items, size_t n,
                            size_t *taken) {
    *taken = 1;
    for (size_t i = 1; i < n; i++) {
        int same;
        BP_TRY(bp_check_same(check, &items[0], &items[i], &same));
        if (!same)
            continue;
        struct bp_checked item = items[i];
        memmove(&items[*taken + 1], &items[*taken], (i - *taken) * sizeof item);
        items[(*taken)++] = item;
    }
    return BP_OK;
}

struct group {
    const struct bp_checked *items;
    size_t n;
};

/* In the order of the data set, by their first members. */
static int compare_groups(const void *a, const void *b) {
    const struct bp_checked *x = ((const struct group *)a)->items;
    const struct bp_checked *y = ((const struct group *)b)->items;
    if (x->side != y->side)
        return x->side < y->side ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static bp_status find_groups(struct bp_check *check, struct group *groups, size_t *n) {
    struct bp_checked *items = check->items;
    for (size_t begin = 0, end; begin < check->count; begin = end) {
        end = begin + 1;
        while (end < check->count && bp_hash_compare(&items[begin].hash, &items[end].hash) == 0)
            end++;
        for (size_t at = begin, taken; at < end; at += taken) {
            BP_TRY(take_group(check, items + at, end - at, &taken));
            if (taken > 1)
                groups[(*n)++] = (struct group){items + at, taken};
        }
    }
    return BP_OK;
}

bp_status bp_check_duplicates(struct bp_check *check) {
    struct group *groups;
    size_t n = 0;
    BP_TRY(bp_alloc_array(&groups, check->count / 2, sizeof *groups, "equal pictures"));
    if (check->count > 1)
        qsort(check->items, check->count, sizeof *check->items, compare);
    bp_status status = find_groups(check, groups, &n);
    if (n > 1)
        qsort(groups, n, sizeof *groups, compare_groups);
    for (size_t i = 0; i < n && status == BP_OK; i++)
        status = note_group(check, groups[i].items, groups[i].n);
    bp_free(groups);
    return status;
}
