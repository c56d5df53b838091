#define _GNU_SOURCE /* sched_getaffinity */
#include "base/threads.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "base/cgroup.h"
#include "base/memory.h"

/* How often a waiting thread looks before it goes to sleep: some tens of microseconds, longer than
 * the gap between two layers of a step, much shorter than a scheduler's time slice, so that a busy
 * machine loses next to nothing to waiting. */
enum { SPINS = 2000 };

/* A task is published by raising `generation`; the workers answer by lowering `pending`. Sleepers
 * announce themselves before they look a last time, and the other side looks for sleepers after it
 * wrote (both sequentially consistent), so no wake-up is lost. */
struct bp_threads {
    int count;
    int started;
    pthread_t *workers; /* [count], of which 1 .. started run; the caller is worker 0 */
    atomic_ulong generation;
    atomic_int pending;  /* workers that have not finished this generation */
    atomic_int sleepers; /* workers that wait for `work_ready` */
    atomic_int caller_sleeps;
    atomic_int stop;
    pthread_mutex_t mutex;
    pthread_cond_t work_ready, work_done;
    size_t n;
    bp_parallel_body *body;
    void *context;
};

struct worker_start {
    struct bp_threads *threads;
    int index;
};

int bp_threads_processors(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    int count = CPU_COUNT(&set);
    return count < 1 ? 1 : count > BP_THREADS_MAX ? BP_THREADS_MAX : count;
}

int bp_threads_available(const char *root) {
    struct bp_cgroup groups;
    int count = bp_threads_processors();
    bp_cgroup_read(root, &groups);
    if (groups.processors <= 0 || groups.processors >= count)
        return count;
    int whole = (int)groups.processors;
    return whole < groups.processors ? whole + 1 : whole;
}

static void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void do_part(struct bp_threads *t, int index) {
    size_t count = (size_t)t->count, i = (size_t)index;
    size_t begin = t->n * i / count, end = t->n * (i + 1) / count;
    if (begin < end)
        t->body(t->context, begin, end, index);
}

/* Returns once the generation is another than `seen`. */
static void wait_for_work(struct bp_threads *t, unsigned long seen) {
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load(&t->generation) != seen)
            return;
        relax();
    }
    pthread_mutex_lock(&t->mutex);
    atomic_fetch_add(&t->sleepers, 1);
    while (atomic_load(&t->generation) == seen)
        pthread_cond_wait(&t->work_ready, &t->mutex);
    atomic_fetch_sub(&t->sleepers, 1);
    pthread_mutex_unlock(&t->mutex);
}

static void publish(struct bp_threads *t) {
    atomic_fetch_add(&t->generation, 1);
    if (atomic_load(&t->sleepers) == 0)
        return;
    pthread_mutex_lock(&t->mutex);
    pthread_cond_broadcast(&t->work_ready);
    pthread_mutex_unlock(&t->mutex);
}

static void finish_part(struct bp_threads *t) {
    if (atomic_fetch_sub(&t->pending, 1) != 1 || !atomic_load(&t->caller_sleeps))
        return;
    pthread_mutex_lock(&t->mutex);
    pthread_cond_signal(&t->work_done);
    pthread_mutex_unlock(&t->mutex);
}

static void wait_for_workers(struct bp_threads *t) {
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load(&t->pending) == 0)
            return;
        relax();
    }
    pthread_mutex_lock(&t->mutex);
    atomic_store(&t->caller_sleeps, 1);
    while (atomic_load(&t->pending) != 0)
        pthread_cond_wait(&t->work_done, &t->mutex);
    atomic_store(&t->caller_sleeps, 0);
    pthread_mutex_unlock(&t->mutex);
}

static void *worker_main(void *argument) {
    struct worker_start start = *(struct worker_start *)argument;
    bp_free(argument);
    struct bp_threads *t = start.threads;
    for (unsigned long seen = 0;; seen++) {
        wait_for_work(t, seen);
        if (atomic_load(&t->stop))
            return NULL;
        do_part(t, start.index);
        finish_part(t);
    }
}

static bp_status start_workers(struct bp_threads *t) {
    BP_TRY(bp_alloc_array(&t->workers, (size_t)t->count, sizeof *t->workers, "the thread pool"));
    for (int i = 1; i < t->count; i++) {
        struct worker_start *start;
        BP_TRY(bp_alloc(&start, sizeof *start, "a thread"));
        *start = (struct worker_start){t, i};
        if (pthread_create(&t->workers[i], NULL, worker_main, start) != 0) {
            bp_free(start);
            return bp_fail(BP_RESOURCE, "cannot start thread %d; use a smaller --threads", i);
        }
        t->started = i;
    }
    return BP_OK;
}

bp_status bp_threads_create(struct bp_threads **out, int count) {
    *out = NULL;
    if (count < 0 || count > BP_THREADS_MAX)
        return bp_fail(BP_USAGE, "%d threads asked for; give 0 (all processors) to %d", count,
                       BP_THREADS_MAX);
    struct bp_threads *t;
    BP_TRY(bp_alloc(&t, sizeof *t, "the thread pool"));
    t->count = count == 0 ? bp_threads_available("") : count;
    pthread_mutex_init(&t->mutex, NULL);
    pthread_cond_init(&t->work_ready, NULL);
    pthread_cond_init(&t->work_done, NULL);
    bp_status status = start_workers(t);
    if (status != BP_OK) {
        bp_threads_destroy(t);
        return status;
    }
    *out = t;
    return BP_OK;
}

void bp_threads_destroy(struct bp_threads *t) {
    if (t == NULL)
        return;
    atomic_store(&t->stop, 1);
    publish(t);
    for (int i = 1; i <= t->started; i++)
        pthread_join(t->workers[i], NULL);
    pthread_cond_destroy(&t->work_ready);
    pthread_cond_destroy(&t->work_done);
    pthread_mutex_destroy(&t->mutex);
    bp_free(t->workers);
    bp_free(t);
}

int bp_threads_count(const struct bp_threads *threads) {
    return threads->count;
}

void bp_parallel_for(struct bp_threads *t, size_t n, bp_parallel_body *body, void *context) {
    if (n < 2 || t->count == 1) {
        if (n > 0)
            body(context, 0, n, 0);
        return;
    }
    t->n = n;
    t->body = body;
    t->context = context;
    atomic_store(&t->pending, t->count - 1);
    publish(t);
    do_part(t, 0);
    wait_for_workers(t);
}
