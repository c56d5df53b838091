#define _POSIX_C_SOURCE 200809L
#include "data/loader.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/ahead.h"
#include "base/memory.h"
#include "base/rng.h"
#include "base/threads.h"
#include "data/sample.h"

#define LARGEST_SIDE 65536

struct slot {
    uint8_t *images;
    int32_t *labels;
    size_t n, index;
    uint32_t epoch;
    bp_status status;
    char message[BP_MESSAGE_BYTES]; /* of a failure */
};

/* What one of the workers needs for itself. */
struct helper {
    void *scratch; /* of bp_sample_prepare */
    bp_status status;
    char message[BP_MESSAGE_BYTES];
};

/* The caller holds one of the slots, the worker fills the others. */
struct bp_loader {
    struct bp_part part;
    struct bp_loader_options options;
    size_t batches; /* per epoch */
    size_t image_bytes;
    struct slot *slots;
    size_t n_slots;
    struct bp_ahead *ahead;
    /* The worker's: */
    uint32_t *order; /* sample numbers of its epoch */
    uint32_t epoch;  /* and batch in it, of the next slot */
    size_t index;
    int new_epoch;
    struct bp_threads *threads; /* the worker and its helpers */
    struct helper *helpers;     /* [threads] */
    struct slot *filling;
};

void bp_loader_permutation(uint64_t seed, uint32_t epoch, size_t count, uint32_t *order) {
    struct bp_stream stream = bp_stream_make(seed, BP_RANDOM_SHUFFLE, 0, epoch);
    for (size_t i = 0; i < count; i++)
        order[i] = (uint32_t)i;
    for (size_t i = count; i-- > 1;) {
        size_t other = bp_stream_below(&stream, i, (uint32_t)(i + 1));
        uint32_t swapped = order[i];
        order[i] = order[other];
        order[other] = swapped;
    }
}

static void fill_part(void *context, size_t first, size_t end, int thread) {
    struct bp_loader *loader = context;
    struct slot *slot = loader->filling;
    struct helper *helper = &loader->helpers[thread];
    const struct bp_sample_options options = {.height = loader->options.height,
                                              .width = loader->options.width,
                                              .channels = loader->options.channels,
                                              .augment = loader->options.augment,
                                              .seed = loader->options.seed,
                                              .epoch = slot->epoch};
    for (size_t i = first; i < end && helper->status == BP_OK; i++) {
        uint32_t sample = loader->order[slot->index * loader->options.batch + i];
        slot->labels[i] = loader->part.labels[sample];
        helper->status = bp_sample_prepare(&loader->part, sample, &options,
                                           slot->images + i * loader->image_bytes, helper->scratch);
        if (helper->status != BP_OK)
            snprintf(helper->message, sizeof helper->message, "%s", bp_status_message());
    }
}

static void fill(void *context, size_t number) {
    struct bp_loader *loader = context;
    struct slot *slot = loader->filling = &loader->slots[number];
    size_t left = loader->part.count - loader->index * loader->options.batch;
    if (loader->new_epoch && loader->options.shuffle)
        bp_loader_permutation(loader->options.seed, loader->epoch, loader->part.count,
                              loader->order);
    slot->n = left < loader->options.batch ? left : loader->options.batch;
    slot->epoch = loader->epoch;
    slot->index = loader->index;
    bp_parallel_for(loader->threads, slot->n, fill_part, loader);
    for (int i = bp_threads_count(loader->threads); i-- > 0;) {
        struct helper *helper = &loader->helpers[i];
        if (helper->status == BP_OK)
            continue;
        slot->status = helper->status; /* helpers keep it: the loader is spent */
        memcpy(slot->message, helper->message, sizeof slot->message);
    }
    loader->new_epoch = ++loader->index == loader->batches;
    if (loader->new_epoch) {
        loader->index = 0;
        loader->epoch++;
    }
}

static bp_status check_options(const struct bp_part *part, const struct bp_loader_options *o) {
    if (o->batch == 0 || o->ahead == 0 || o->ahead > 1024)
        return bp_fail(BP_USAGE,
                       "batch is %zu and ahead %zu; choose batch >= 1 and ahead 1 to 1024",
                       o->batch, o->ahead);
    if (part->count == 0 || part->count > UINT32_MAX)
        return bp_fail(BP_DATA, "the data set has %zu samples; 1 to %u are possible", part->count,
                       (unsigned)UINT32_MAX);
    if (o->height > LARGEST_SIDE || o->width > LARGEST_SIDE)
        return bp_fail(BP_USAGE, "image size %zux%zu is too large; choose at most %d", o->height,
                       o->width, LARGEST_SIDE);
    if (part->pictures == NULL && (part->h > o->height || part->w > o->width))
        return bp_fail(
            BP_DATA, "images of %zux%zu do not fit the network's input of %zux%zu; use --size %zu",
            part->h, part->w, o->height, o->width, part->h > part->w ? part->h : part->w);
    if (part->c != o->channels && (part->c != 1 || o->channels != 3))
        return bp_fail(BP_DATA,
                       "images with %zu channels do not fit a network with %zu; use a data set of "
                       "the kind that the network was made for",
                       part->c, o->channels);
    if (o->drop_last && part->count < o->batch)
        return bp_fail(BP_USAGE,
                       "a batch of %zu needs more than the %zu samples of the training part; use a "
                       "smaller --batch",
                       o->batch, part->count);
    int padding = o->augment.crop_padding;
    if (padding < 0 || (size_t)padding > o->height || (size_t)padding > o->width)
        return bp_fail(BP_USAGE, "crop padding %d is impossible for %zux%zu; choose 0 to %zu",
                       padding, o->height, o->width, o->height < o->width ? o->height : o->width);
    return BP_OK;
}

int bp_loader_workers(const struct bp_part *part, const struct bp_augment *augment, int threads) {
    return !bp_part_in_memory(part) || augment->rrc_area > 0 || augment->jitter > 0 ? threads : 1;
}

static bp_status take_memory(struct bp_loader *loader) {
    const struct bp_loader_options *o = &loader->options;
    size_t batch = o->batch < loader->part.count ? o->batch : loader->part.count;
    BP_TRY(bp_alloc_array(&loader->order, loader->part.count, sizeof *loader->order,
                          "the order of the samples"));
    for (size_t i = 0; i < loader->part.count; i++)
        loader->order[i] = (uint32_t)i;
    BP_TRY(bp_alloc_array(&loader->slots, loader->n_slots, sizeof *loader->slots, "batches"));
    for (size_t i = 0; i < loader->n_slots; i++) {
        BP_TRY(bp_alloc_array(&loader->slots[i].images, batch, loader->image_bytes, "a batch"));
        BP_TRY(bp_alloc_array(&loader->slots[i].labels, batch, sizeof(int32_t), "a batch"));
    }
    size_t workers = (size_t)bp_threads_count(loader->threads);
    size_t bytes = bp_sample_scratch_bytes(&loader->part, o->height, o->width);
    BP_TRY(bp_alloc_array(&loader->helpers, workers, sizeof *loader->helpers, "the loader"));
    for (size_t i = 0; i < workers; i++)
        BP_TRY(bp_alloc(&loader->helpers[i].scratch, bytes, "the loader"));
    return BP_OK;
}

/* Signals go to the program's own threads: a handler must not run in the middle of ours. */
static bp_status start(struct bp_loader *loader) {
    sigset_t all, before;
    int workers = loader->options.workers > 0 ? loader->options.workers : 1;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bp_status status = bp_threads_create(&loader->threads, workers);
    if (status == BP_OK)
        status = take_memory(loader);
    if (status == BP_OK)
        status = bp_ahead_start(&loader->ahead, loader->n_slots, fill, loader);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return status;
}

bp_status bp_loader_create(struct bp_loader **out, const struct bp_part *part,
                           const struct bp_loader_options *options) {
    *out = NULL;
    BP_TRY(check_options(part, options));
    struct bp_loader *loader;
    BP_TRY(bp_alloc(&loader, sizeof *loader, "the loader"));
    loader->part = *part;
    loader->options = *options;
    loader->image_bytes = options->height * options->width * options->channels;
    loader->n_slots = options->ahead + 1;
    loader->batches = part->count / options->batch;
    if (!options->drop_last && part->count % options->batch != 0)
        loader->batches++;
    /* The end of an epoch is the begin of the next one. */
    loader->epoch = options->first_epoch + (uint32_t)(options->first_batch / loader->batches);
    loader->index = options->first_batch % loader->batches;
    loader->new_epoch = 1;
    bp_status status = start(loader);
    if (status != BP_OK) {
        bp_loader_destroy(loader);
        return status;
    }
    *out = loader;
    return BP_OK;
}

void bp_loader_destroy(struct bp_loader *loader) {
    if (loader == NULL)
        return;
    bp_ahead_stop(loader->ahead);
    for (size_t i = 0; loader->slots != NULL && i < loader->n_slots; i++) {
        bp_free(loader->slots[i].images);
        bp_free(loader->slots[i].labels);
    }
    for (int i = 0; loader->helpers != NULL && i < bp_threads_count(loader->threads); i++)
        bp_free(loader->helpers[i].scratch);
    bp_free(loader->helpers);
    bp_threads_destroy(loader->threads);
    bp_free(loader->slots);
    bp_free(loader->order);
    bp_free(loader);
}

size_t bp_loader_batches(const struct bp_loader *loader) {
    return loader->batches;
}

bp_status bp_loader_next(struct bp_loader *loader, struct bp_batch *out) {
    const struct slot *slot = &loader->slots[bp_ahead_next(loader->ahead)];
    if (slot->status != BP_OK)
        return bp_fail(slot->status, "%s", slot->message);
    *out = (struct bp_batch){.n = slot->n,
                             .images = slot->images,
                             .labels = slot->labels,
                             .epoch = slot->epoch,
                             .index = slot->index,
                             .last = slot->index + 1 == loader->batches};
    return BP_OK;
}

uint64_t bp_loader_waited_ns(const struct bp_loader *loader) {
    return bp_ahead_waited_ns(loader->ahead);
}
