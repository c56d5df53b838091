#define _POSIX_C_SOURCE 200809L
#include "base/ahead.h"

#include <pthread.h>
#include <signal.h>

#include "base/clock.h"
#include "base/memory.h"

/* `filled` and `freed` count slots since the beginning; slot i of the ring serves number i,
 * i + slots, ... Both, and `stop`, belong to the mutex. */
struct bp_ahead {
    bp_ahead_fill *fill;
    void *context;
    size_t slots;
    uint64_t taken, waited_ns; /* the caller's */
    int started;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t slot_filled, slot_freed;
    uint64_t filled, freed;
    int stop;
};

/* Waits until a slot is free; 0 when all is to end. */
static int wait_for_slot(struct bp_ahead *ahead, uint64_t number) {
    pthread_mutex_lock(&ahead->mutex);
    while (!ahead->stop && number - ahead->freed >= ahead->slots)
        pthread_cond_wait(&ahead->slot_freed, &ahead->mutex);
    int stop = ahead->stop;
    pthread_mutex_unlock(&ahead->mutex);
    return !stop;
}

static void *thread_main(void *argument) {
    struct bp_ahead *ahead = argument;
    for (uint64_t number = 0; wait_for_slot(ahead, number); number++) {
        ahead->fill(ahead->context, (size_t)(number % ahead->slots));
        pthread_mutex_lock(&ahead->mutex);
        ahead->filled = number + 1;
        pthread_cond_signal(&ahead->slot_filled);
        pthread_mutex_unlock(&ahead->mutex);
    }
    return NULL;
}

bp_status bp_ahead_start(struct bp_ahead **out, size_t slots, bp_ahead_fill *fill, void *context) {
    struct bp_ahead *ahead;
    sigset_t all, before;
    *out = NULL;
    BP_TRY(bp_alloc(&ahead, sizeof *ahead, "work ahead"));
    ahead->fill = fill;
    ahead->context = context;
    ahead->slots = slots;
    pthread_mutex_init(&ahead->mutex, NULL);
    pthread_cond_init(&ahead->slot_filled, NULL);
    pthread_cond_init(&ahead->slot_freed, NULL);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    ahead->started = pthread_create(&ahead->thread, NULL, thread_main, ahead) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!ahead->started) {
        bp_ahead_stop(ahead);
        return bp_fail(BP_RESOURCE,
                       "cannot start the loader's thread; free some memory, or raise ulimit -u");
    }
    *out = ahead;
    return BP_OK;
}

void bp_ahead_stop(struct bp_ahead *ahead) {
    if (ahead == NULL)
        return;
    if (ahead->started) {
        pthread_mutex_lock(&ahead->mutex);
        ahead->stop = 1;
        pthread_cond_signal(&ahead->slot_freed);
        pthread_mutex_unlock(&ahead->mutex);
        pthread_join(ahead->thread, NULL);
    }
    pthread_cond_destroy(&ahead->slot_freed);
    pthread_cond_destroy(&ahead->slot_filled);
    pthread_mutex_destroy(&ahead->mutex);
    bp_free(ahead);
}

size_t bp_ahead_next(struct bp_ahead *ahead) {
    pthread_mutex_lock(&ahead->mutex);
    ahead->freed = ahead->taken; /* the slot of the last call */
    pthread_cond_signal(&ahead->slot_freed);
    if (ahead->filled == ahead->taken) {
        uint64_t begin = bp_clock_ns();
        while (ahead->filled == ahead->taken)
            pthread_cond_wait(&ahead->slot_filled, &ahead->mutex);
        ahead->waited_ns += bp_clock_ns() - begin;
    }
    pthread_mutex_unlock(&ahead->mutex);
    return (size_t)(ahead->taken++ % ahead->slots);
}

uint64_t bp_ahead_waited_ns(const struct bp_ahead *ahead) {
    return ahead->waited_ns;
}
