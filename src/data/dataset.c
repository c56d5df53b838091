#include "data/dataset.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file_io.h"
#include "base/fnv.h"
#include "base/memory.h"
#include "base/rng.h"
#include "data/dataset_format.h"
#include "data/pictures.h"

static const struct bp_format *const formats[] = {&bp_format_idx,      &bp_format_cifar10,
                                                  &bp_format_cifar100, &bp_format_list,
                                                  &bp_format_folder,   NULL};

/* The format that DATA forces ("idx:PATH") or shows; *path is DATA without the prefix. */
static bp_status find_format(const char *data, const struct bp_format **format, const char **path) {
    char supported[BP_MESSAGE_BYTES / 2];
    size_t used = 0;
    *path = data;
    for (size_t i = 0; formats[i] != NULL; i++) {
        size_t length = strlen(formats[i]->name);
        if (strncmp(data, formats[i]->name, length) == 0 && data[length] == ':') {
            *format = formats[i];
            *path = data + length + 1;
            return BP_OK;
        }
    }
    for (size_t i = 0; formats[i] != NULL; i++) {
        int recognised = formats[i]->recognise(data);
        if (recognised < 0)
            return BP_RESOURCE;
        if (recognised) {
            *format = formats[i];
            return BP_OK;
        }
        if (used < sizeof supported)
            used += (size_t)snprintf(supported + used, sizeof supported - used, "%s%s: %s",
                                     i == 0 ? "" : "; ", formats[i]->name, formats[i]->files);
    }
    if (!bp_path_exists(data))
        return bp_fail(BP_DATA, "no data set %.300s: no such file or folder; check the path", data);
    if (!bp_path_is_dir(data))
        return bp_fail(BP_DATA,
                       "no data set %.300s: the file is no list of pictures (%s); correct it, or "
                       "name the folder that holds the data set",
                       data, bp_format_list.files);
    int pictures = bp_dir_holds_pictures(data);
    if (pictures < 0)
        return BP_RESOURCE;
    if (pictures)
        return bp_fail(BP_DATA,
                       "no data set recognised in the folder %.300s: it has pictures, but no "
                       "folders of classes; put the pictures of each class into a folder of its "
                       "own",
                       data);
    return bp_fail(
        BP_DATA,
        "no data set recognised in the folder %.300s; supported: %s; force a format with "
        "%s:PATH",
        data, supported, bp_format_folder.name);
}

/* One size for all images; labels in range. */
static bp_status check_parts(const struct bp_dataset *set) {
    const struct bp_part *train = &set->train, *val = &set->val;
    if (train->h != val->h || train->w != val->w || train->c != val->c)
        return bp_fail(BP_DATA,
                       "%.300s: training images are %zux%zux%zu but validation images %zux%zux%zu; "
                       "both parts must come from one data set",
                       set->path, train->h, train->w, train->c, val->h, val->w, val->c);
    for (size_t i = 0; i < val->count; i++)
        if ((size_t)val->labels[i] >= set->classes)
            return bp_fail(
                BP_DATA,
                "%.300s: validation label %zu is %d, but the training labels end at %zu; "
                "both parts must have the same classes",
                set->path, i, val->labels[i], set->classes - 1);
    return BP_OK;
}

static bp_status number_classes(struct bp_dataset *set) {
    BP_TRY(bp_alloc_array(&set->class_names, set->classes, sizeof(char *), "class names"));
    for (size_t i = 0; i < set->classes; i++) {
        char name[32];
        snprintf(name, sizeof name, "%zu", i);
        BP_TRY(bp_copy_string(&set->class_names[i], name));
    }
    return BP_OK;
}

static bp_status find_classes(struct bp_dataset *set) {
    if (set->classes != 0)
        return BP_OK;
    int32_t largest = 0;
    for (size_t i = 0; i < set->train.count; i++)
        if (set->train.labels[i] > largest)
            largest = set->train.labels[i];
    set->classes = (size_t)largest + 1;
    return number_classes(set);
}

bp_status bp_dataset_check_classes(const struct bp_dataset *dataset) {
    if (dataset->classes != 1)
        return BP_OK;
    return bp_fail(BP_DATA,
                   "%.300s: has one class only ('%.100s'), and a network tells classes apart; add "
                   "another one (of pictures: a folder for each)",
                   dataset->path, dataset->class_names[0]);
}

/* Selection sampling (Knuth, TAOCP vol. 2, 3.4.2, algorithm S): sample i is taken with probability
 * (still needed) / (still to come), which gives every subset the same chance and keeps the order.
 */
void bp_part_choose(struct bp_part *part, size_t limit, uint64_t seed, unsigned which,
                    size_t *chosen) {
    if (limit == 0 || limit >= part->count)
        return;
    struct bp_stream stream = bp_stream_make(seed, BP_RANDOM_SHUFFLE, which, 0);
    size_t bytes = part->h * part->w * part->c, taken = 0;
    for (size_t i = 0; taken < limit; i++) {
        if (bp_stream_below(&stream, i, (uint32_t)(part->count - i)) >= limit - taken)
            continue;
        if (chosen != NULL)
            chosen[taken] = chosen[i];
        else
            memmove(part->images + taken * bytes, part->images + i * bytes, bytes);
        part->labels[taken++] = part->labels[i];
    }
    part->count = limit;
}

static bp_status limit_part(struct bp_part *part, size_t limit, uint64_t seed, unsigned which) {
    if (part->pictures != NULL || limit == 0 || limit >= part->count)
        return BP_OK; /* pictures were chosen before they were decoded */
    bp_part_choose(part, limit, seed, which, NULL);
    size_t bytes = limit * part->h * part->w * part->c;
    BP_TRY(bp_grow(&part->images, bytes, bytes, "the chosen images"));
    return bp_grow(&part->labels, limit * sizeof *part->labels, limit * sizeof *part->labels,
                   "the chosen labels");
}

static bp_status open_as(struct bp_dataset *set, const struct bp_format *format, const char *path,
                         const struct bp_dataset_options *options) {
    snprintf(set->kind, sizeof set->kind, "%s", format->name);
    if (strlen(path) >= sizeof set->path)
        return bp_fail(BP_USAGE, "path too long: %.80s...; choose a shorter one", path);
    snprintf(set->path, sizeof set->path, "%s", path);
    BP_TRY(format->read(set, path, options));
    BP_TRY(find_classes(set));
    BP_TRY(check_parts(set));
    if (set->train.pictures == NULL)
        set->preprocess.image_side = set->train.h > set->train.w ? set->train.h : set->train.w;
    BP_TRY(limit_part(&set->train, options->limit_train, options->seed, 1));
    return limit_part(&set->val, options->limit_val, options->seed, 2);
}

bp_status bp_dataset_open(struct bp_dataset **out, const char *data,
                          const struct bp_dataset_options *options) {
    *out = NULL;
    const struct bp_format *format;
    const char *path;
    BP_TRY(find_format(data, &format, &path));
    struct bp_dataset *set;
    BP_TRY(bp_alloc(&set, sizeof *set, "a data set"));
    bp_status status = open_as(set, format, path, options);
    if (status != BP_OK) {
        bp_dataset_destroy(set);
        return status;
    }
    *out = set;
    return BP_OK;
}

static void part_free(struct bp_part *part) {
    bp_free(part->images);
    bp_free(part->labels);
    bp_pictures_free(part->pictures, part->count);
}

void bp_dataset_destroy(struct bp_dataset *dataset) {
    if (dataset == NULL)
        return;
    part_free(&dataset->train);
    part_free(&dataset->val);
    for (size_t i = 0; dataset->class_names != NULL && i < dataset->classes; i++)
        bp_free(dataset->class_names[i]);
    bp_free(dataset->class_names);
    bp_free(dataset);
}

static size_t part_bytes(const struct bp_part *part) {
    enum { FILE_BYTES = 128 }; /* a path, and where it stands */
    size_t kept = part->pictures != NULL ? part->pictures->cached : part->count;
    size_t files = part->pictures != NULL ? part->count * FILE_BYTES : 0;
    return kept * part->h * part->w * part->c + part->count * sizeof *part->labels + files;
}

size_t bp_dataset_bytes(const struct bp_dataset *dataset) {
    return part_bytes(&dataset->train) + part_bytes(&dataset->val);
}

static uint64_t hash_part(uint64_t hash, const struct bp_part *part) {
    const uint64_t sizes[] = {part->count, part->h, part->w, part->c};
    hash = bp_fnv(hash, sizes, sizeof sizes);
    hash = bp_fnv(hash, part->labels, part->count * sizeof *part->labels);
    if (part->pictures != NULL)
        return bp_fnv(hash, &part->pictures->hash, sizeof part->pictures->hash);
    return bp_fnv(hash, part->images, part->count * part->h * part->w * part->c);
}

uint64_t bp_dataset_fingerprint(const struct bp_dataset *dataset) {
    uint64_t hash = hash_part(BP_FNV_BEGIN, &dataset->train);
    hash = hash_part(hash, &dataset->val);
    for (size_t i = 0; i < dataset->classes; i++)
        hash = bp_fnv(hash, dataset->class_names[i], strlen(dataset->class_names[i]) + 1);
    return hash;
}

/* From a histogram of the 256 values: its counts are exact, and the variance is a sum of squares
 * without cancellation. */
void bp_part_moments(const struct bp_part *part, float mean[3], float deviation[3]) {
    uint64_t histogram[3][256] = {{0}};
    size_t pixels = part->count * part->h * part->w;
    if (part->pictures != NULL)
        memcpy(histogram, part->pictures->histogram, sizeof histogram);
    for (size_t i = 0; part->pictures == NULL && i < pixels; i++)
        for (size_t c = 0; c < part->c; c++)
            histogram[c][part->images[i * part->c + c]]++;
    for (size_t c = 0; c < 3; c++) {
        mean[c] = 0;
        deviation[c] = 1;
        if (c >= part->c || pixels == 0)
            continue;
        uint64_t sum = 0;
        for (uint64_t v = 0; v < 256; v++)
            sum += histogram[c][v] * v;
        double average = (double)sum / (double)pixels, squares = 0;
        int values = 0;
        for (int v = 0; v < 256; v++) {
            double distance = v - average;
            squares += (double)histogram[c][v] * distance * distance;
            values += histogram[c][v] != 0;
        }
        mean[c] = (float)(average / 255);
        if (values > 1)
            deviation[c] = (float)(sqrt(squares / (double)pixels) / 255);
    }
}
