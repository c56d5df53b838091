/* Class folders: DATA/train/CLASS/picture and DATA/val/CLASS/picture, or DATA/CLASS/picture, which
 * is split by the seed. */
#define _POSIX_C_SOURCE 200809L
#include <string.h>
#include <strings.h>

#include "base/dir_list.h"
#include "base/file_io.h"
#include "base/memory.h"
#include "data/dataset_format.h"
#include "data/survey.h"

enum { PATH_BYTES = 4096 };

/* The first one that is there is the validation part. */
static const char *const val_names[] = {"val", "valid", "validation", "test"};

/* A folder of this name whatever its case, in `list`; NULL if there is none. */
static const char *find_dir(const struct bp_dir_list *list, const char *name) {
    for (size_t i = 0; i < list->count; i++)
        if (list->entries[i].is_dir && strcasecmp(list->entries[i].name, name) == 0)
            return list->entries[i].name;
    return NULL;
}

static const char *find_val(const struct bp_dir_list *list) {
    const char *found = NULL;
    for (size_t i = 0; i < sizeof val_names / sizeof val_names[0] && found == NULL; i++)
        found = find_dir(list, val_names[i]);
    return found;
}

int bp_dir_holds_pictures(const char *folder) {
    enum { LOOKS = 20 };
    char path[PATH_BYTES];
    struct bp_dir_list list = {0};
    int found = 0;
    if (bp_dir_list(&list, folder, BP_DATA) == BP_RESOURCE)
        found = -1;
    for (size_t i = 0; i < list.count && i < LOOKS && !found; i++)
        found = !list.entries[i].is_dir &&
                bp_path_join(path, sizeof path, folder, list.entries[i].name) == BP_OK &&
                bp_picture_is_likely(path);
    bp_dir_list_free(&list);
    return found;
}

static int class_holds_pictures(const char *parent, const char *name) {
    char folder[PATH_BYTES];
    return bp_path_join(folder, sizeof folder, parent, name) == BP_OK
               ? bp_dir_holds_pictures(folder)
               : 0;
}

static int recognise(const char *path) {
    struct bp_dir_list list = {0};
    int found = 0;
    if (bp_path_is_dir(path) && bp_dir_list(&list, path, BP_DATA) == BP_RESOURCE)
        found = -1;
    else
        found = find_dir(&list, "train") != NULL || find_val(&list) != NULL;
    for (size_t i = 0; i < list.count && !found; i++)
        found = list.entries[i].is_dir && class_holds_pictures(path, list.entries[i].name);
    bp_dir_list_free(&list);
    return found;
}

/* The class folders of `list` become the classes. */
static bp_status set_classes(struct bp_dataset *set, const char *path,
                             const struct bp_dir_list *list,
                             const struct bp_dataset_options *options) {
    const char **names;
    size_t count = 0;
    BP_TRY(bp_alloc_array(&names, list->count, sizeof *names, "class names"));
    for (size_t i = 0; i < list->count; i++)
        if (list->entries[i].is_dir)
            names[count++] = list->entries[i].name;
    bp_status status = BP_OK;
    if (count == 0)
        status =
            bp_fail(BP_DATA, "%.300s: no folder in it; each class needs a folder of its own", path);
    if (status == BP_OK)
        status = bp_classes_set(set, names, count, options);
    bp_free(names);
    return status;
}

static bp_status add_file(struct bp_picture_list *pictures, const char *folder,
                          const struct bp_dir_entry *entry, int32_t label, enum bp_side side) {
    char path[PATH_BYTES];
    struct bp_picture *item;
    BP_TRY(bp_path_join(path, sizeof path, folder, entry->name));
    BP_TRY(bp_picture_list_add(pictures, path, label, side, &item));
    if (!entry->is_dir)
        return BP_OK;
    (void)bp_fail(BP_DATA, "%s: a folder inside a class folder; put its pictures beside it", path);
    return bp_copy_string(&item->reason, bp_status_message());
}

static bp_status add_class(struct bp_picture_list *pictures, const char *folder, const char *name,
                           int32_t label, enum bp_side side, struct bp_survey *survey) {
    char path[PATH_BYTES];
    struct bp_dir_list list;
    BP_TRY(bp_path_join(path, sizeof path, folder, name));
    bp_status status = bp_survey_excuse(survey, "unreadable", bp_dir_list(&list, path, BP_DATA));
    if (status == BP_OK && list.count == 0 && side != BP_SIDE_VAL && survey == NULL)
        status =
            bp_fail(BP_DATA, "%.300s: class '%.100s' is empty; add pictures, or remove the folder",
                    folder, name);
    for (size_t i = 0; i < list.count && status == BP_OK; i++)
        status = add_file(pictures, path, &list.entries[i], label, side);
    bp_dir_list_free(&list);
    return status;
}

/* Pictures among the class folders: no class is known for them. */
static bp_status note_beside(const char *folder, const struct bp_dir_list *list,
                             struct bp_survey *survey) {
    char path[PATH_BYTES];
    bp_finding *finding = NULL;
    for (size_t i = 0; i < list->count; i++) {
        if (list->entries[i].is_dir)
            continue;
        BP_TRY(bp_path_join(path, sizeof path, folder, list->entries[i].name));
        if (!bp_picture_is_likely(path))
            continue;
        if (finding == NULL)
            BP_TRY(
                bp_survey_add(survey, &finding, "beside", 0,
                              "%.300s: has pictures that are in no class, and do not count, such "
                              "as %.200s; move them into the folders of their classes",
                              folder, list->entries[i].name));
        BP_TRY(bp_finding_add_path(finding, path));
    }
    return BP_OK;
}

static bp_status add_part(struct bp_dataset *set, struct bp_picture_list *pictures,
                          const char *folder, const struct bp_dir_list *list, enum bp_side side,
                          const struct bp_dataset_options *options) {
    if (options->survey != NULL)
        BP_TRY(note_beside(folder, list, options->survey));
    for (size_t i = 0; i < list->count; i++) {
        const char *name = list->entries[i].name;
        if (!list->entries[i].is_dir)
            continue;
        int32_t label = bp_class_find(set, name);
        if (label < 0) {
            BP_TRY(bp_survey_excuse(
                options->survey, "unknown_class",
                bp_fail(BP_DATA,
                        "%.300s: class '%.100s' is unknown to the %s; rename or remove the "
                        "folder, or add the class there",
                        folder, name, options->classes > 0 ? "model" : "training part")));
            BP_TRY(bp_survey_join_class(set, name, &label));
        }
        BP_TRY(add_class(pictures, folder, name, label, side, options->survey));
    }
    return BP_OK;
}

/* DATA/train and, under one of several names, DATA/val. The training part alone makes classes. */
static bp_status read_two(struct bp_dataset *set, const char *path, const char *train,
                          const char *val, struct bp_picture_list *pictures,
                          const struct bp_dataset_options *options) {
    char train_path[PATH_BYTES], val_path[PATH_BYTES];
    struct bp_dir_list list = {0};
    BP_TRY(bp_path_join(train_path, sizeof train_path, path, train));
    bp_status status = bp_dir_list(&list, train_path, BP_DATA);
    if (status == BP_OK)
        status = set_classes(set, train_path, &list, options);
    if (status == BP_OK && (val == NULL || !options->val_only))
        status = add_part(set, pictures, train_path, &list,
                          val != NULL ? BP_SIDE_TRAIN : BP_SIDE_OPEN, options);
    bp_dir_list_free(&list);
    if (status != BP_OK || val == NULL)
        return status;
    BP_TRY(bp_path_join(val_path, sizeof val_path, path, val));
    status = bp_dir_list(&list, val_path, BP_DATA);
    if (status == BP_OK)
        status = add_part(set, pictures, val_path, &list, BP_SIDE_VAL, options);
    bp_dir_list_free(&list);
    return status;
}

static bp_status read_list(struct bp_dataset *set, const char *path,
                           struct bp_picture_list *pictures,
                           const struct bp_dataset_options *options) {
    struct bp_dir_list list;
    bp_status status = bp_dir_list(&list, path, BP_DATA);
    const char *train = find_dir(&list, "train"), *val = find_val(&list);
    if (status == BP_OK && train == NULL && val != NULL) {
        status = bp_fail(BP_DATA,
                         "%.300s: has a folder '%s' but no folder 'train'; add it, or name the "
                         "folder inside",
                         path, val);
    } else if (status == BP_OK && train != NULL) {
        status = read_two(set, path, train, val, pictures, options);
    } else if (status == BP_OK) {
        status = set_classes(set, path, &list, options);
        if (status == BP_OK)
            status = add_part(set, pictures, path, &list, BP_SIDE_OPEN, options);
    }
    bp_dir_list_free(&list);
    return status;
}

static bp_status read_folder(struct bp_dataset *set, const char *path,
                             const struct bp_dataset_options *options) {
    struct bp_picture_list pictures = {0};
    bp_status status = read_list(set, path, &pictures, options);
    if (status == BP_OK)
        status = bp_pictures_open(set, &pictures, options);
    bp_picture_list_free(&pictures);
    return status;
}

const struct bp_format bp_format_folder = {
    "folder",
    "a folder of JPEG and PNG pictures for each class, in DATA or in DATA/train and DATA/val",
    recognise,
    read_folder,
};
