/* The pictures of a data set, each read and decoded whole; and images that are in memory. */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/parallel_each.h"
#include "data/check.h"
#include "data/image.h"

/* What is known of a file of the list. */
struct looked {
    struct bp_checked checked;
    char *reason; /* why it cannot be decoded, found behind the header; NULL: it can */
};

struct job {
    struct bp_check *check;
    struct looked *looked; /* [of the list] */
    atomic_size_t done;
};

static struct bp_hash hash_pixels(size_t h, size_t w, size_t c, const uint8_t *pixels) {
    struct bp_hash hash = bp_hash_bytes(pixels, h * w * c);
    hash.words[0] ^= (uint64_t)h << 34 | (uint64_t)w << 2 | c;
    return hash;
}

static bp_status decode(struct job *job, size_t index, const uint8_t *bytes, size_t count) {
    struct bp_picture *item = &job->check->survey.list.items[index];
    struct looked *looked = &job->looked[index];
    const struct bp_image_request request = {0};
    struct bp_image image;
    bp_status status = bp_image_decode(bytes, count, item->path, &request, &image);
    if (status == BP_DATA)
        return bp_copy_string(&looked->reason, bp_status_message());
    BP_TRY(status);
    looked->checked =
        (struct bp_checked){.hash = hash_pixels(image.h, image.w, image.c, image.pixels),
                            .h = image.h,
                            .w = image.w,
                            .index = index,
                            .grey = image.c == 1,
                            .png = bytes[0] != 0xff};
    bp_free(image.pixels);
    return BP_OK;
}

static bp_status look(struct job *job, size_t index) {
    struct bp_picture *item = &job->check->survey.list.items[index];
    uint8_t *bytes;
    size_t count;
    if (item->reason != NULL)
        return BP_OK;
    bp_status status = bp_picture_read(item->path, &bytes, &count);
    if (status != BP_OK)
        return status == BP_DATA ? bp_copy_string(&item->reason, bp_status_message()) : status;
    status = bp_picture_look(item, bytes, count);
    if (status == BP_OK && item->reason == NULL)
        status = decode(job, index, bytes, count);
    bp_free(bytes);
    return status;
}

/* Thread 0 is the caller's. */
static bp_status look_and_tell(void *context, size_t index, int thread) {
    struct job *job = context;
    const struct bp_check *check = job->check;
    bp_status status = look(job, index);
    size_t done = atomic_fetch_add(&job->done, 1) + 1;
    if (thread == 0 && check->callback != NULL)
        check->callback(check->user, done, check->survey.list.count);
    return status;
}

static bp_status note_unreadable(struct bp_survey *survey, const struct bp_picture *item,
                                 const char *reason) {
    bp_finding *finding;
    BP_TRY(bp_survey_add(survey, &finding, "unreadable", 1, "%s", reason));
    return bp_finding_add_path(finding, item->path);
}

/* The split is that of training: it does not know what fails behind the header. */
static bp_status gather(struct job *job) {
    struct bp_check *check = job->check;
    struct bp_picture_list *list = &check->survey.list;
    BP_TRY(bp_picture_list_split(list, check->options->val_share, check->options->seed));
    BP_TRY(bp_alloc_array(&check->items, list->count, sizeof *check->items, "the pictures"));
    for (size_t i = 0; i < list->count; i++) {
        const struct bp_picture *item = &list->items[i];
        const char *reason = item->reason != NULL ? item->reason : job->looked[i].reason;
        if (reason != NULL) {
            BP_TRY(note_unreadable(&check->survey, item, reason));
            continue;
        }
        struct bp_checked *checked = &check->items[check->count++];
        *checked = job->looked[i].checked;
        checked->label = item->label;
        checked->side = item->side;
    }
    return BP_OK;
}

bp_status bp_check_pictures(struct bp_check *check) {
    struct job job = {.check = check};
    size_t count = check->survey.list.count;
    BP_TRY(bp_alloc_array(&job.looked, count, sizeof *job.looked, "the pictures"));
    bp_status status = bp_parallel_each(check->threads, count, look_and_tell, &job);
    if (status == BP_OK)
        status = gather(&job);
    for (size_t i = 0; i < count; i++)
        bp_free(job.looked[i].reason);
    bp_free(job.looked);
    return status;
}

/* --- images in memory ------------------------------------------------------------------------- */

static const struct bp_part *part_of(const struct bp_check *check, const struct bp_checked *item) {
    return item->side == BP_SIDE_VAL ? &check->set->val : &check->set->train;
}

static const uint8_t *image_of(const struct bp_check *check, const struct bp_checked *item) {
    const struct bp_part *part = part_of(check, item);
    return part->images + item->index * part->h * part->w * part->c;
}

static void add_part(struct bp_check *check, const struct bp_part *part, enum bp_side side) {
    for (size_t i = 0; i < part->count; i++) {
        struct bp_checked *item = &check->items[check->count++];
        *item = (struct bp_checked){.h = part->h,
                                    .w = part->w,
                                    .index = i,
                                    .label = part->labels[i],
                                    .side = side,
                                    .grey = part->c == 1};
        item->hash = hash_pixels(part->h, part->w, part->c, image_of(check, item));
    }
}

bp_status bp_check_images(struct bp_check *check) {
    const struct bp_dataset *set = check->set;
    BP_TRY(bp_alloc_array(&check->items, set->train.count + set->val.count, sizeof *check->items,
                          "the images"));
    add_part(check, &set->train, BP_SIDE_TRAIN);
    add_part(check, &set->val, BP_SIDE_VAL);
    return BP_OK;
}

/* --- names and equality ----------------------------------------------------------------------- */

const char *bp_check_name(const struct bp_check *check, const struct bp_checked *item) {
    static _Thread_local char texts[2][32];
    static _Thread_local int turn;
    if (check->survey.is_pictures)
        return check->survey.list.items[item->index].path;
    turn = !turn;
    snprintf(texts[turn], sizeof texts[turn], "%s %zu", item->side == BP_SIDE_VAL ? "val" : "train",
             item->index);
    return texts[turn];
}

static bp_status decode_again(const struct bp_check *check, const struct bp_checked *item,
                              struct bp_image *image) {
    const struct bp_image_request request = {0};
    const char *path = bp_check_name(check, item);
    uint8_t *bytes;
    size_t count;
    BP_TRY(bp_picture_read(path, &bytes, &count));
    bp_status status = bp_image_decode(bytes, count, path, &request, image);
    bp_free(bytes);
    return status;
}

bp_status bp_check_same(const struct bp_check *check, const struct bp_checked *a,
                        const struct bp_checked *b, int *same) {
    struct bp_image x = {0}, y = {0};
    *same = 0;
    if (!check->survey.is_pictures) {
        const struct bp_part *part = part_of(check, a);
        *same = memcmp(image_of(check, a), image_of(check, b), part->h * part->w * part->c) == 0;
        return BP_OK;
    }
    bp_status status = decode_again(check, a, &x);
    if (status == BP_OK)
        status = decode_again(check, b, &y);
    if (status == BP_OK)
        *same = x.h == y.h && x.w == y.w && x.c == y.c &&
                memcmp(x.pixels, y.pixels, x.h * x.w * x.c) == 0;
    bp_free(x.pixels);
    bp_free(y.pixels);
    return status;
}
