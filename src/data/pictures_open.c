/* From a list of files to parts, in two passes over the files, each on all threads: the first looks
 * at content and headers (and so allows the split and the choice of channels), the second decodes
 * what is wanted and keeps what fits into memory. */
#include "data/pictures.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/file_io.h"
#include "base/fnv.h"
#include "base/memory.h"
#include "base/memory_limit.h"
#include "base/parallel_each.h"
#include "data/dataset_format.h"
#include "data/survey.h"

#define LARGEST_FILE ((size_t)1 << 30)

/* What one thread found. */
struct worker {
    uint8_t *scratch; /* an image that is not kept */
    uint64_t histogram[3][256];
};

struct job {
    struct bp_picture_list *list;
    const struct bp_dataset_options *options;
    struct bp_threads *threads;
    struct worker *workers;
    struct bp_part *part; /* the second pass */
    size_t *chosen;       /* [part->count] items of the list */
};

bp_status bp_picture_read(const char *path, uint8_t **bytes, size_t *count) {
    return bp_file_read(path, LARGEST_FILE, BP_DATA, bytes, count);
}

/* A file's fault becomes the item's reason; anything else ends the pass. */
static bp_status note_reason(struct bp_picture *item, bp_status status) {
    if (status != BP_DATA)
        return status;
    return bp_copy_string(&item->reason, bp_status_message());
}

/* --- first pass ------------------------------------------------------------------------------- */

bp_status bp_picture_look(struct bp_picture *item, const uint8_t *bytes, size_t count) {
    const struct bp_image_request request = {0};
    struct bp_image header;
    item->hash = bp_fnv(BP_FNV_BEGIN, bytes, count);
    bp_status status = bp_image_probe(bytes, count, item->path, &request, &header);
    item->grey = header.c == 1;
    item->shorter_side = bp_min_size(header.h, header.w);
    return note_reason(item, status);
}

static bp_status look(void *context, size_t index, int thread) {
    struct job *job = context;
    struct bp_picture *item = &job->list->items[index];
    uint8_t *bytes;
    size_t count;
    (void)thread;
    if (item->reason != NULL || (job->options->val_only && item->side == BP_SIDE_TRAIN))
        return BP_OK;
    bp_status status = bp_picture_read(item->path, &bytes, &count);
    if (status != BP_OK)
        return note_reason(item, status);
    status = bp_picture_look(item, bytes, count);
    bp_free(bytes);
    return status;
}

static size_t choose_channels(const struct bp_picture_list *list,
                              const struct bp_dataset_options *options) {
    if (options->preprocess.channels > 0)
        return options->preprocess.channels;
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i].reason == NULL && !list->items[i].grey)
            return 3;
    return 1;
}

static int compare_sizes(const void *a, const void *b) {
    const size_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

/* The median of the pictures' shorter sides; 0 without pictures. */
static bp_status median_side(const struct bp_picture_list *list, size_t *median) {
    size_t *sides, n = 0;
    BP_TRY(bp_alloc_array(&sides, list->count, sizeof *sides, "the pictures' sizes"));
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i].reason == NULL && list->items[i].shorter_side > 0)
            sides[n++] = list->items[i].shorter_side;
    if (n > 0)
        qsort(sides, n, sizeof *sides, compare_sizes);
    *median = n > 0 ? sides[n / 2] : 0;
    bp_free(sides);
    return BP_OK;
}

static bp_status choose_preprocess(struct bp_dataset *set, const struct bp_picture_list *list,
                                   const struct bp_dataset_options *options) {
    set->preprocess = options->preprocess;
    if (set->preprocess.side == 0) {
        BP_TRY(median_side(list, &set->median_side));
        set->preprocess =
            bp_preprocess_choose(bp_picture_side(set->median_side), &options->augment);
    }
    set->preprocess.channels = choose_channels(list, options);
    return BP_OK;
}

/* --- parts ------------------------------------------------------------------------------------ */

static size_t bytes_of_image(const struct bp_part *part) {
    return part->h * part->w * part->c;
}

/* The items of a side, as a part without images; *chosen receives their numbers. */
static bp_status make_part(struct bp_part *part, struct bp_picture_list *list, enum bp_side side,
                           const struct bp_preprocess *preprocess, size_t **chosen) {
    size_t count = 0;
    for (size_t i = 0; i < list->count; i++)
        count += list->items[i].side == side && list->items[i].reason == NULL;
    part->h = part->w = preprocess->resize;
    part->c = preprocess->channels;
    BP_TRY(bp_alloc(&part->pictures, sizeof *part->pictures, "a list of pictures"));
    part->pictures->preprocess = *preprocess;
    BP_TRY(bp_alloc_array(&part->pictures->paths, count, sizeof(char *), "a list of pictures"));
    BP_TRY(bp_alloc_array(&part->labels, count, sizeof *part->labels, "labels"));
    BP_TRY(bp_alloc_array(chosen, count, sizeof **chosen, "a list of pictures"));
    for (size_t i = 0; i < list->count; i++) {
        struct bp_picture *item = &list->items[i];
        if (item->side != side || item->reason != NULL)
            continue;
        part->labels[part->count] = item->label;
        (*chosen)[part->count++] = i;
    }
    return BP_OK;
}

/* Paths move from the list to the part once the limits have been applied. */
static void take_paths(struct bp_part *part, struct bp_picture_list *list, const size_t *chosen) {
    for (size_t i = 0; i < part->count; i++) {
        part->pictures->paths[i] = list->items[chosen[i]].path;
        list->items[chosen[i]].path = NULL;
    }
}

/* --- second pass ------------------------------------------------------------------------------ */

static void count_pixels(uint64_t histogram[3][256], const uint8_t *image, size_t pixels,
                         size_t c) {
    for (size_t i = 0; i < pixels; i++)
        for (size_t j = 0; j < c; j++)
            histogram[j][image[i * c + j]]++;
}

static bp_status decode_file(const struct bp_pictures *pictures, size_t sample, uint8_t *out) {
    const char *path = pictures->paths[sample];
    uint8_t *bytes;
    size_t count;
    BP_TRY(bp_picture_read(path, &bytes, &count));
    bp_status status = bp_preprocess_picture(&pictures->preprocess, bytes, count, path, out);
    bp_free(bytes);
    return status;
}

static bp_status decode(void *context, size_t index, int thread) {
    struct job *job = context;
    struct worker *worker = &job->workers[thread];
    const struct bp_part *part = job->part;
    size_t bytes = bytes_of_image(part);
    int kept = index < part->pictures->cached;
    uint8_t *image = kept ? part->images + index * bytes : worker->scratch;
    bp_status status = decode_file(part->pictures, index, image);
    if (status != BP_OK)
        return note_reason(&job->list->items[job->chosen[index]], status);
    count_pixels(worker->histogram, image, part->h * part->w, part->c);
    return BP_OK;
}

/* Decodes a part; *budget bytes are there to keep images in. */
static bp_status decode_part(struct job *job, struct bp_part *part, size_t *chosen,
                             size_t *budget) {
    size_t bytes = bytes_of_image(part), workers = (size_t)bp_threads_count(job->threads);
    struct bp_pictures *pictures = part->pictures;
    pictures->cached = bp_min_size(part->count, *budget / bytes);
    *budget -= pictures->cached * bytes;
    BP_TRY(bp_alloc_array(&part->images, pictures->cached, bytes, "decoded pictures"));
    for (size_t i = 0; i < workers; i++) {
        memset(job->workers[i].histogram, 0, sizeof job->workers[i].histogram);
        if (job->workers[i].scratch == NULL)
            BP_TRY(bp_alloc(&job->workers[i].scratch, bytes, "a picture"));
    }
    job->part = part;
    job->chosen = chosen;
    BP_TRY(bp_parallel_each(job->threads, part->count, decode, job));
    for (size_t i = 0; i < workers; i++)
        for (size_t j = 0; j < 3; j++)
            for (size_t v = 0; v < 256; v++)
                pictures->histogram[j][v] += job->workers[i].histogram[j][v];
    return BP_OK;
}

/* Takes out what the second pass could not decode. */
static void drop_bad(struct bp_part *part, const struct bp_picture_list *list,
                     const size_t *chosen) {
    struct bp_pictures *pictures = part->pictures;
    size_t bytes = bytes_of_image(part), kept = 0, kept_cached = 0;
    pictures->hash = BP_FNV_BEGIN;
    for (size_t i = 0; i < part->count; i++) {
        if (list->items[chosen[i]].reason != NULL) {
            bp_free(pictures->paths[i]);
            continue;
        }
        if (i < pictures->cached && kept_cached++ != i)
            memmove(part->images + kept * bytes, part->images + i * bytes, bytes);
        const uint64_t *hash = &list->items[chosen[i]].hash;
        pictures->hash = bp_fnv(pictures->hash, hash, sizeof *hash);
        part->labels[kept] = part->labels[i];
        pictures->paths[kept++] = pictures->paths[i];
    }
    pictures->cached = kept_cached;
    part->count = kept;
}

/* --- reports ---------------------------------------------------------------------------------- */

static bp_status report_bad(const struct bp_dataset *set, struct bp_picture_list *list,
                            const struct bp_dataset_options *options) {
    const struct bp_picture *first = NULL;
    size_t bad = 0;
    for (size_t i = 0; i < list->count; i++) {
        struct bp_picture *item = &list->items[i];
        if (item->reason == NULL)
            continue;
        if (first == NULL)
            first = item;
        bad++;
        char *line;
        if (options->bad == NULL)
            continue;
        BP_TRY(bp_copy_string(&line, item->reason));
        BP_TRY(bp_bad_files_add(options->bad, line));
    }
    if (bad == 0 || options->skip_bad)
        return BP_OK;
    return bp_fail(BP_DATA,
                   "%.200s: %zu of %zu files cannot be used (--skip-bad leaves them out): %s%.500s",
                   set->path, bad, list->count, bad > 1 ? "the first: " : "", first->reason);
}

/* Every class needs a training picture, at least before limits. */
static bp_status check_classes(const struct bp_dataset *set, const struct bp_picture_list *list) {
    size_t *counts;
    BP_TRY(bp_alloc_array(&counts, set->classes, sizeof *counts, "the sizes of the classes"));
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i].side == BP_SIDE_TRAIN && list->items[i].reason == NULL)
            counts[list->items[i].label]++;
    bp_status status = BP_OK;
    for (size_t i = 0; i < set->classes && status == BP_OK; i++)
        if (counts[i] == 0)
            status = bp_fail(BP_DATA,
                             "%.300s: class '%.100s' has no picture for training; add some, or "
                             "remove the class",
                             set->path, set->class_names[i]);
    bp_free(counts);
    return status;
}

/* --- all -------------------------------------------------------------------------------------- */

static bp_status start(struct job *job) {
    BP_TRY(bp_threads_create(&job->threads, job->options->threads));
    return bp_alloc_array(&job->workers, (size_t)bp_threads_count(job->threads),
                          sizeof *job->workers, "decoding");
}

static void finish(struct job *job) {
    for (int i = 0; job->workers != NULL && i < bp_threads_count(job->threads); i++)
        bp_free(job->workers[i].scratch);
    bp_free(job->workers);
    bp_threads_destroy(job->threads);
}

static bp_status open_parts(struct bp_dataset *set, struct job *job, size_t *chosen[2]) {
    struct bp_picture_list *list = job->list;
    const struct bp_dataset_options *options = job->options;
    BP_TRY(bp_parallel_each(job->threads, list->count, look, job));
    BP_TRY(bp_picture_list_split(list, options->val_share, options->seed));
    BP_TRY(choose_preprocess(set, list, options));
    BP_TRY(make_part(&set->train, list, BP_SIDE_TRAIN, &set->preprocess, &chosen[0]));
    BP_TRY(make_part(&set->val, list, BP_SIDE_VAL, &set->preprocess, &chosen[1]));
    bp_part_choose(&set->train, options->limit_train, options->seed, 1, chosen[0]);
    bp_part_choose(&set->val, options->limit_val, options->seed, 2, chosen[1]);
    if (options->val_only)
        set->train.count = 0;
    take_paths(&set->train, list, chosen[0]);
    take_paths(&set->val, list, chosen[1]);
    size_t budget = options->cache_bytes > 0 ? options->cache_bytes : bp_memory_limit("") / 2;
    if (options->choose_cache != NULL)
        BP_TRY(options->choose_cache(options->context, set, &budget));
    BP_TRY(decode_part(job, &set->val, chosen[1], &budget));
    BP_TRY(decode_part(job, &set->train, chosen[0], &budget));
    BP_TRY(report_bad(set, list, options));
    drop_bad(&set->train, list, chosen[0]);
    drop_bad(&set->val, list, chosen[1]);
    return options->val_only ? BP_OK : check_classes(set, list);
}

bp_status bp_pictures_open(struct bp_dataset *set, struct bp_picture_list *list,
                           const struct bp_dataset_options *options) {
    if (options->survey != NULL) {
        options->survey->list = *list;
        options->survey->is_pictures = 1;
        *list = (struct bp_picture_list){0};
        return BP_OK;
    }
    struct job job = {.list = list, .options = options};
    size_t *chosen[2] = {NULL, NULL};
    bp_status status = start(&job);
    if (status == BP_OK)
        status = open_parts(set, &job, chosen);
    finish(&job);
    bp_free(chosen[0]);
    bp_free(chosen[1]);
    return status;
}

void bp_pictures_free(struct bp_pictures *pictures, size_t count) {
    if (pictures == NULL)
        return;
    for (size_t i = 0; pictures->paths != NULL && i < count; i++)
        bp_free(pictures->paths[i]);
    bp_free(pictures->paths);
    bp_free(pictures);
}

int bp_part_in_memory(const struct bp_part *part) {
    return part->pictures == NULL || part->pictures->cached == part->count;
}

bp_status bp_part_image(const struct bp_part *part, size_t sample, uint8_t *scratch,
                        const uint8_t **image) {
    *image = scratch;
    if (part->pictures != NULL && sample >= part->pictures->cached)
        return decode_file(part->pictures, sample, scratch);
    *image = part->images + sample * bytes_of_image(part);
    return BP_OK;
}
