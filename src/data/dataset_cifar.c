/* CIFAR-10 and CIFAR-100 in their binary versions: records of the labels (CIFAR-100: coarse, then
 * fine) and 32 x 32 pixels in three planes, red, green, blue. */
#include <stdio.h>
#include <string.h>

#include "base/dir_list.h"
#include "base/file_io.h"
#include "base/memory.h"
#include "data/dataset_format.h"

enum { SIDE = 32, PLANE = SIDE * SIDE, PIXELS = 3 * PLANE, PATH_BYTES = 1280 };

bp_status bp_cifar_parse(const uint8_t *bytes, size_t count, size_t label_bytes, size_t classes,
                         const char *name, uint8_t *images, int32_t *labels) {
    size_t record = label_bytes + PIXELS;
    if (count == 0 || count % record != 0)
        return bp_fail(BP_DATA,
                       "%s: offset %zu: found a file of %zu bytes, expected a multiple of %zu; the "
                       "file is %s, get it again",
                       name, count / record * record, count, record,
                       count == 0 ? "empty" : "truncated, or of another kind");
    for (size_t i = 0; i < count / record; i++) {
        const uint8_t *at = bytes + i * record;
        if (at[label_bytes - 1] >= classes)
            return bp_fail(BP_DATA,
                           "%s: offset %zu: found label %d, expected at most %zu; the file is "
                           "damaged or of another kind, get it again",
                           name, i * record + label_bytes - 1, at[label_bytes - 1], classes - 1);
        labels[i] = at[label_bytes - 1];
        for (size_t p = 0; p < PLANE; p++)
            for (size_t c = 0; c < 3; c++)
                images[i * PIXELS + 3 * p + c] = at[label_bytes + c * PLANE + p];
    }
    return BP_OK;
}

/* Appends a file's records to a part. */
static bp_status read_file(struct bp_part *part, const char *folder, const char *file,
                           size_t label_bytes, size_t classes) {
    char path[PATH_BYTES];
    uint8_t *bytes;
    size_t count;
    BP_TRY(bp_path_join(path, sizeof path, folder, file));
    BP_TRY(bp_file_read(path, SIZE_MAX / 4, BP_DATA, &bytes, &count));
    size_t records = count / (label_bytes + PIXELS), old = part->count, all = old + records;
    bp_status status = bp_grow(&part->images, old * PIXELS, all * PIXELS, "the images");
    if (status == BP_OK)
        status = bp_grow(&part->labels, old * sizeof *part->labels, all * sizeof *part->labels,
                         "the labels");
    if (status == BP_OK)
        status = bp_cifar_parse(bytes, count, label_bytes, classes, path,
                                part->images + old * PIXELS, part->labels + old);
    bp_free(bytes);
    if (status == BP_OK)
        part->count = all;
    part->h = part->w = SIDE;
    part->c = 3;
    return status;
}

/* Class names, one a line; without the file, or with another number of lines, numbers will do. */
static bp_status read_names(struct bp_dataset *set, const char *folder, const char *file,
                            size_t classes) {
    char path[PATH_BYTES];
    uint8_t *bytes;
    size_t count, found = 0;
    set->classes = classes;
    BP_TRY(bp_alloc_array(&set->class_names, classes, sizeof(char *), "class names"));
    BP_TRY(bp_path_join(path, sizeof path, folder, file));
    if (bp_path_exists(path)) {
        BP_TRY(bp_file_read(path, (size_t)1 << 20, BP_DATA, &bytes, &count));
        bp_status status = BP_OK;
        for (size_t at = 0; at < count && found < classes && status == BP_OK;) {
            char name[128];
            size_t length = 0;
            for (; at < count && bytes[at] != '\n'; at++)
                if (length + 1 < sizeof name && bytes[at] >= 32)
                    name[length++] = (char)bytes[at];
            at++;
            name[length] = 0;
            if (length > 0)
                status = bp_copy_string(&set->class_names[found++], name);
        }
        bp_free(bytes);
        BP_TRY(status);
    }
    for (size_t i = 0; i < classes && found < classes; i++) {
        char number[32];
        snprintf(number, sizeof number, "%zu", i);
        bp_free(set->class_names[i]);
        BP_TRY(bp_copy_string(&set->class_names[i], number));
    }
    return BP_OK;
}

static int is_batch(const char *name) {
    static const char before[] = "data_batch_", after[] = ".bin";
    size_t length = strlen(name);
    return strncmp(name, before, strlen(before)) == 0 && length > strlen(before) + strlen(after) &&
           strcmp(name + length - strlen(after), after) == 0;
}

static bp_status read_cifar10(struct bp_dataset *set, const char *path,
                              const struct bp_dataset_options *options) {
    (void)options;
    struct bp_dir_list list;
    bp_status status = bp_dir_list(&list, path, BP_DATA);
    for (size_t i = 0; i < list.count && status == BP_OK; i++)
        if (is_batch(list.entries[i].name))
            status = read_file(&set->train, path, list.entries[i].name, 1, 10);
    bp_dir_list_free(&list);
    BP_TRY(status);
    if (set->train.count == 0)
        return bp_fail(BP_DATA, "%.300s: no file data_batch_1.bin; name the folder that holds %s",
                       path, bp_format_cifar10.files);
    BP_TRY(read_file(&set->val, path, "test_batch.bin", 1, 10));
    return read_names(set, path, "batches.meta.txt", 10);
}

static bp_status read_cifar100(struct bp_dataset *set, const char *path,
                               const struct bp_dataset_options *options) {
    (void)options;
    BP_TRY(read_file(&set->train, path, "train.bin", 2, 100));
    BP_TRY(read_file(&set->val, path, "test.bin", 2, 100));
    return read_names(set, path, "fine_label_names.txt", 100);
}

static int has(const char *folder, const char *file) {
    char path[PATH_BYTES];
    return bp_path_join(path, sizeof path, folder, file) == BP_OK && bp_path_exists(path) &&
           !bp_path_is_dir(path);
}

static int recognise_cifar10(const char *path) {
    return has(path, "data_batch_1.bin") || has(path, "test_batch.bin");
}

static int recognise_cifar100(const char *path) {
    return has(path, "train.bin") && has(path, "test.bin");
}

const struct bp_format bp_format_cifar10 = {
    "cifar10",
    "data_batch_1.bin to data_batch_5.bin and test_batch.bin",
    recognise_cifar10,
    read_cifar10,
};

const struct bp_format bp_format_cifar100 = {
    "cifar100",
    "train.bin and test.bin",
    recognise_cifar100,
    read_cifar100,
};
