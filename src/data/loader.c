#define _POSIX_C_SOURCE 200809L
#include "data/loader.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/rng.h"

#define LARGEST_SIDE 65536

struct slot {
    uint8_t *images;
    int32_t *labels;
    size_t n, index;
    uint32_t epoch;
};

/* A ring of ahead + 1 slots: the caller holds one, the worker fills the others. `filled` and
 * `freed` count slots since the beginning; slot i of the ring serves batch number i, i + slots, ...
 * Everything below the mutex belongs to it, except that a slot's content belongs to the worker
 * until it is counted in `filled`, then to the caller until it is counted in `freed`. */
struct bp_loader {
    struct bp_part part;
    struct bp_loader_options options;
    size_t batches; /* per epoch */
    size_t image_bytes;
    uint32_t *order; /* the worker's: sample numbers of its epoch */
    struct slot *slots;
    size_t n_slots;
    uint64_t taken, waited_ns; /* the caller's */
    int started;
    pthread_t worker;
    pthread_mutex_t mutex;
    pthread_cond_t slot_filled, slot_freed;
    uint64_t filled, freed;
    int stop;
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

/* n pixels of a row; grey ones are repeated to RGB, a mirrored row is written backwards. */
static void put_row(uint8_t *out, const uint8_t *in, size_t n, size_t in_c, size_t out_c,
                    int mirrored) {
    if (!mirrored && in_c == out_c) {
        memcpy(out, in, n * in_c);
        return;
    }
    for (size_t x = 0; x < n; x++) {
        uint8_t *pixel = out + (mirrored ? n - 1 - x : x) * out_c;
        for (size_t c = 0; c < out_c; c++)
            pixel[c] = in[x * in_c + (in_c == 1 ? 0 : c)];
    }
}

/* The part of 0 .. length - 1 of the source that is visible when it begins at `at` (may be
 * negative) of 0 .. room - 1. */
static void visible(long at, size_t length, size_t room, size_t *begin, size_t *end) {
    long last = (long)room - at;
    *begin = at < 0 ? (size_t)-at : 0;
    *end = last < 0 ? 0 : (size_t)last < length ? (size_t)last : length;
    if (*begin > *end)
        *begin = *end;
}

static void put_sample(const struct bp_loader *loader, uint8_t *out, uint32_t sample,
                       uint32_t epoch) {
    const struct bp_part *part = &loader->part;
    const struct bp_loader_options *o = &loader->options;
    const uint8_t *image = part->images + sample * (part->h * part->w * part->c);
    long top = (long)(o->height - part->h) / 2, left = (long)(o->width - part->w) / 2;
    int mirrored = 0;
    if (o->augment.crop_padding > 0 || o->augment.flip) {
        struct bp_stream stream = bp_stream_make(o->seed, BP_RANDOM_AUGMENT, 0, epoch);
        uint64_t word = 4 * (uint64_t)sample;
        uint32_t positions = 2 * (uint32_t)o->augment.crop_padding + 1;
        top += o->augment.crop_padding - (long)bp_stream_below(&stream, word, positions);
        left += o->augment.crop_padding - (long)bp_stream_below(&stream, word + 1, positions);
        mirrored = o->augment.flip && bp_stream_below(&stream, word + 2, 2);
    }
    size_t y0, y1, x0, x1;
    visible(top, part->h, o->height, &y0, &y1);
    visible(left, part->w, o->width, &x0, &x1);
    size_t column = (size_t)(left + (long)x0); /* of the first visible pixel in the output */
    if (mirrored)
        column = o->width - column - (x1 - x0);
    if (y1 - y0 != o->height || x1 - x0 != o->width)
        memset(out, 0, loader->image_bytes);
    for (size_t y = y0; y < y1 && x0 < x1; y++)
        put_row(out + (((size_t)(top + (long)y)) * o->width + column) * o->channels,
                image + (y * part->w + x0) * part->c, x1 - x0, part->c, o->channels, mirrored);
}

static void fill(struct bp_loader *loader, struct slot *slot, uint32_t epoch, size_t index) {
    size_t begin = index * loader->options.batch;
    size_t left = loader->part.count - begin;
    slot->n = left < loader->options.batch ? left : loader->options.batch;
    slot->epoch = epoch;
    slot->index = index;
    for (size_t i = 0; i < slot->n; i++) {
        uint32_t sample = loader->order[begin + i];
        put_sample(loader, slot->images + i * loader->image_bytes, sample, epoch);
        slot->labels[i] = loader->part.labels[sample];
    }
}

/* Waits until a slot is free; 0 when the loader is being destroyed. */
static int wait_for_slot(struct bp_loader *loader, uint64_t number) {
    pthread_mutex_lock(&loader->mutex);
    while (!loader->stop && number - loader->freed >= loader->n_slots)
        pthread_cond_wait(&loader->slot_freed, &loader->mutex);
    int stop = loader->stop;
    pthread_mutex_unlock(&loader->mutex);
    return !stop;
}

static void *worker_main(void *argument) {
    struct bp_loader *loader = argument;
    uint32_t epoch = loader->options.first_epoch;
    size_t index = loader->options.first_batch;
    int new_epoch = 1;
    for (uint64_t number = 0; wait_for_slot(loader, number); number++) {
        if (new_epoch && loader->options.shuffle)
            bp_loader_permutation(loader->options.seed, epoch, loader->part.count, loader->order);
        fill(loader, &loader->slots[number % loader->n_slots], epoch, index);
        new_epoch = ++index == loader->batches;
        if (new_epoch) {
            index = 0;
            epoch++;
        }
        pthread_mutex_lock(&loader->mutex);
        loader->filled = number + 1;
        pthread_cond_signal(&loader->slot_filled);
        pthread_mutex_unlock(&loader->mutex);
    }
    return NULL;
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
    if (part->h > o->height || part->w > o->width)
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
    return BP_OK;
}

/* Signals go to the program's own threads: a handler must not run in the middle of our worker. */
static bp_status start_worker(struct bp_loader *loader) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&loader->worker, NULL, worker_main, loader);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0)
        return bp_fail(BP_RESOURCE,
                       "cannot start the loader's thread; free some memory, or raise ulimit -u");
    loader->started = 1;
    return BP_OK;
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
    loader->options.first_epoch += (uint32_t)(options->first_batch / loader->batches);
    loader->options.first_batch = options->first_batch % loader->batches;
    pthread_mutex_init(&loader->mutex, NULL);
    pthread_cond_init(&loader->slot_filled, NULL);
    pthread_cond_init(&loader->slot_freed, NULL);
    bp_status status = take_memory(loader);
    if (status == BP_OK)
        status = start_worker(loader);
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
    if (loader->started) {
        pthread_mutex_lock(&loader->mutex);
        loader->stop = 1;
        pthread_cond_signal(&loader->slot_freed);
        pthread_mutex_unlock(&loader->mutex);
        pthread_join(loader->worker, NULL);
    }
    pthread_cond_destroy(&loader->slot_freed);
    pthread_cond_destroy(&loader->slot_filled);
    pthread_mutex_destroy(&loader->mutex);
    for (size_t i = 0; loader->slots != NULL && i < loader->n_slots; i++) {
        bp_free(loader->slots[i].images);
        bp_free(loader->slots[i].labels);
    }
    bp_free(loader->slots);
    bp_free(loader->order);
    bp_free(loader);
}

size_t bp_loader_batches(const struct bp_loader *loader) {
    return loader->batches;
}

bp_status bp_loader_next(struct bp_loader *loader, struct bp_batch *out) {
    pthread_mutex_lock(&loader->mutex);
    loader->freed = loader->taken; /* the batch of the last call */
    pthread_cond_signal(&loader->slot_freed);
    if (loader->filled == loader->taken) {
        uint64_t begin = bp_clock_ns();
        while (loader->filled == loader->taken)
            pthread_cond_wait(&loader->slot_filled, &loader->mutex);
        loader->waited_ns += bp_clock_ns() - begin;
    }
    pthread_mutex_unlock(&loader->mutex);
    const struct slot *slot = &loader->slots[loader->taken++ % loader->n_slots];
    *out = (struct bp_batch){.n = slot->n,
                             .images = slot->images,
                             .labels = slot->labels,
                             .epoch = slot->epoch,
                             .index = slot->index,
                             .last = slot->index + 1 == loader->batches};
    return BP_OK;
}

uint64_t bp_loader_waited_ns(const struct bp_loader *loader) {
    return loader->waited_ns;
}
