#define _POSIX_C_SOURCE 200809L
#include "data/picture_feed.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/ahead.h"
#include "base/memory.h"
#include "base/parallel_each.h"
#include "data/picture_walk.h"
#include "data/pictures.h"
#include "data/sample.h"

/* One batch is with the caller, the next one ready, the one after it being decoded. */
enum { SLOTS = 3 };

struct slot {
    struct bp_feed_item *items; /* [batch] */
    char **paths;               /* [batch], those of the items */
    uint8_t *images;
    size_t n_items, n, passed_over;
    int last;
    bp_status status;
    char message[BP_MESSAGE_BYTES]; /* of a failure */
};

struct bp_feed {
    struct bp_feed_options options;
    size_t image_bytes;
    struct slot slots[SLOTS];
    struct bp_ahead *ahead;
    /* The thread's: */
    struct bp_picture_walk *walk;
    struct bp_threads *threads;
    uint8_t **scratch; /* [threads], of bp_sample_prepare */
    struct bp_part part;
    struct bp_pictures pictures;
    struct slot *filling;
    int ended;
};

static void clear(struct slot *slot) {
    for (size_t i = 0; i < slot->n_items; i++) {
        bp_free(slot->items[i].path);
        bp_free(slot->items[i].reason);
    }
    slot->n_items = slot->n = 0;
}

static bp_status collect(struct bp_feed *feed, struct slot *slot) {
    while (slot->n_items < feed->options.batch && !feed->ended) {
        struct bp_feed_item item;
        BP_TRY(bp_picture_walk_next(feed->walk, &item.path, &item.reason));
        feed->ended = item.path == NULL;
        if (feed->ended)
            break;
        slot->paths[slot->n_items] = item.path;
        slot->items[slot->n_items++] = item;
    }
    slot->passed_over = bp_picture_walk_passed_over(feed->walk);
    slot->last = feed->ended;
    return BP_OK;
}

/* As a sample of a part of pictures, of which none is kept. */
static bp_status prepare(void *context, size_t index, int thread) {
    struct bp_feed *feed = context;
    struct slot *slot = feed->filling;
    struct bp_feed_item *item = &slot->items[index];
    const struct bp_sample_options options = {.height = feed->options.height,
                                              .width = feed->options.width,
                                              .channels = feed->options.channels};
    if (item->reason != NULL)
        return BP_OK;
    bp_status status =
        bp_sample_prepare(&feed->part, (uint32_t)index, &options,
                          slot->images + index * feed->image_bytes, feed->scratch[thread]);
    return status == BP_DATA ? bp_copy_string(&item->reason, bp_status_message()) : status;
}

/* Images without a gap. */
static void close_up(struct bp_feed *feed, struct slot *slot) {
    for (size_t i = 0; i < slot->n_items; i++) {
        if (slot->items[i].reason != NULL)
            continue;
        if (slot->n != i)
            memcpy(slot->images + slot->n * feed->image_bytes, slot->images + i * feed->image_bytes,
                   feed->image_bytes);
        slot->n++;
    }
}

static void fill(void *context, size_t number) {
    struct bp_feed *feed = context;
    struct slot *slot = feed->filling = &feed->slots[number];
    clear(slot);
    feed->pictures.paths = slot->paths;
    slot->status = collect(feed, slot);
    feed->part.count = slot->n_items;
    if (slot->status == BP_OK && slot->n_items > 0)
        slot->status = bp_parallel_each(feed->threads, slot->n_items, prepare, feed);
    if (slot->status == BP_OK)
        close_up(feed, slot);
    else
        snprintf(slot->message, sizeof slot->message, "%s", bp_status_message());
}

static bp_status take_memory(struct bp_feed *feed) {
    const struct bp_feed_options *o = &feed->options;
    struct bp_part *part = &feed->part;
    size_t workers = (size_t)bp_threads_count(feed->threads);
    part->h = part->w = o->preprocess.resize;
    part->c = o->preprocess.channels;
    part->pictures = &feed->pictures;
    feed->pictures.preprocess = o->preprocess;
    feed->image_bytes = o->height * o->width * o->channels;
    for (size_t i = 0; i < SLOTS; i++) {
        struct slot *slot = &feed->slots[i];
        BP_TRY(bp_alloc_array(&slot->items, o->batch, sizeof *slot->items, "a batch"));
        BP_TRY(bp_alloc_array(&slot->paths, o->batch, sizeof *slot->paths, "a batch"));
        BP_TRY(bp_alloc_array(&slot->images, o->batch, feed->image_bytes, "a batch"));
    }
    size_t bytes = bp_sample_scratch_bytes(part, o->height, o->width);
    BP_TRY(bp_alloc_array(&feed->scratch, workers, sizeof *feed->scratch, "decoding"));
    for (size_t i = 0; i < workers; i++)
        BP_TRY(bp_alloc(&feed->scratch[i], bytes, "decoding"));
    return bp_picture_walk_open(&feed->walk, o->source, o->user);
}

/* Signals go to the program's own threads. */
static bp_status start(struct bp_feed *feed) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bp_status status = bp_threads_create(&feed->threads, feed->options.threads);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (status == BP_OK)
        status = take_memory(feed);
    return status == BP_OK ? bp_ahead_start(&feed->ahead, SLOTS, fill, feed) : status;
}

bp_status bp_feed_open(struct bp_feed **out, const struct bp_feed_options *options) {
    struct bp_feed *feed;
    *out = NULL;
    BP_TRY(bp_alloc(&feed, sizeof *feed, "pictures"));
    feed->options = *options;
    bp_status status = start(feed);
    if (status != BP_OK) {
        bp_feed_close(feed);
        return status;
    }
    *out = feed;
    return BP_OK;
}

void bp_feed_close(struct bp_feed *feed) {
    if (feed == NULL)
        return;
    bp_ahead_stop(feed->ahead);
    for (size_t i = 0; i < SLOTS; i++) {
        struct slot *slot = &feed->slots[i];
        clear(slot);
        bp_free(slot->items);
        bp_free(slot->paths);
        bp_free(slot->images);
    }
    for (int i = 0; feed->scratch != NULL && i < bp_threads_count(feed->threads); i++)
        bp_free(feed->scratch[i]);
    bp_free(feed->scratch);
    bp_threads_destroy(feed->threads);
    bp_picture_walk_close(feed->walk);
    bp_free(feed);
}

bp_status bp_feed_next(struct bp_feed *feed, struct bp_feed_batch *out) {
    const struct slot *slot = &feed->slots[bp_ahead_next(feed->ahead)];
    if (slot->status != BP_OK)
        return bp_fail(slot->status, "%s", slot->message);
    *out = (struct bp_feed_batch){.items = slot->items,
                                  .n_items = slot->n_items,
                                  .images = slot->images,
                                  .n = slot->n,
                                  .passed_over = slot->passed_over,
                                  .last = slot->last};
    return BP_OK;
}
