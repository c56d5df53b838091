#define _GNU_SOURCE /* sched_getaffinity */
#include "base/threads.h"

#include <sched.h>

#include "base/memory.h"

#ifdef BP_OPENMP
#include <omp.h>
#else
#include <pthread.h>
#endif

int bp_threads_available(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    int count = CPU_COUNT(&set);
    return count < 1 ? 1 : count > BP_THREADS_MAX ? BP_THREADS_MAX : count;
}

static void part_of(size_t n, int count, int index, size_t *begin, size_t *end) {
    *begin = n * (size_t)index / (size_t)count;
    *end = n * (size_t)(index + 1) / (size_t)count;
}

#ifdef BP_OPENMP

struct bp_threads {
    int count;
};

bp_status bp_threads_create(struct bp_threads **out, int count) {
    *out = NULL;
    struct bp_threads *threads;
    BP_TRY(bp_alloc(&threads, sizeof *threads, "the thread pool"));
    threads->count = count == 0 ? bp_threads_available() : count;
    *out = threads;
    return BP_OK;
}

void bp_threads_destroy(struct bp_threads *threads) {
    bp_free(threads);
}

void bp_parallel_for(struct bp_threads *threads, size_t n, bp_parallel_body *body, void *context) {
    int count = threads->count;
    /* schedule(static, 1) over part numbers: every part is done even if the runtime grants fewer
     * threads than asked for. */
#pragma omp parallel for num_threads(count) schedule(static, 1)
    for (int i = 0; i < count; i++) {
        size_t begin, end;
        part_of(n, count, i, &begin, &end);
        if (begin < end)
            body(context, begin, end, i);
    }
}

#else

struct bp_threads {
    int count;
    pthread_t *workers; /* count - 1 of them; the caller is worker 0 */
    int started;
    pthread_mutex_t mutex;
    pthread_cond_t work_ready, work_done;
    unsigned long generation; /* rises with every parallel_for */
    int pending;              /* workers that have not finished this generation */
    int stop;
    size_t n;
    bp_parallel_body *body;
    void *context;
};

struct worker_start {
    struct bp_threads *threads;
    int index;
};

static void *worker_main(void *argument) {
    struct worker_start start = *(struct worker_start *)argument;
    bp_free(argument);
    struct bp_threads *t = start.threads;
    unsigned long seen = 0;
    pthread_mutex_lock(&t->mutex);
    for (;;) {
        while (!t->stop && t->generation == seen)
            pthread_cond_wait(&t->work_ready, &t->mutex);
        if (t->stop)
            break;
        seen = t->generation;
        size_t begin, end;
        part_of(t->n, t->count, start.index, &begin, &end);
        pthread_mutex_unlock(&t->mutex);
        if (begin < end)
            t->body(t->context, begin, end, start.index);
        pthread_mutex_lock(&t->mutex);
        if (--t->pending == 0)
            pthread_cond_signal(&t->work_done);
    }
    pthread_mutex_unlock(&t->mutex);
    return NULL;
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
    struct bp_threads *t;
    BP_TRY(bp_alloc(&t, sizeof *t, "the thread pool"));
    t->count = count == 0 ? bp_threads_available() : count;
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
    pthread_mutex_lock(&t->mutex);
    t->stop = 1;
    pthread_cond_broadcast(&t->work_ready);
    pthread_mutex_unlock(&t->mutex);
    for (int i = 1; i <= t->started; i++)
        pthread_join(t->workers[i], NULL);
    pthread_cond_destroy(&t->work_ready);
    pthread_cond_destroy(&t->work_done);
    pthread_mutex_destroy(&t->mutex);
    bp_free(t->workers);
    bp_free(t);
}

void bp_parallel_for(struct bp_threads *t, size_t n, bp_parallel_body *body, void *context) {
    if (t->count > 1) {
        pthread_mutex_lock(&t->mutex);
        t->n = n;
        t->body = body;
        t->context = context;
        t->pending = t->count - 1;
        t->generation++;
        pthread_cond_broadcast(&t->work_ready);
        pthread_mutex_unlock(&t->mutex);
    }
    size_t begin, end;
    part_of(n, t->count, 0, &begin, &end);
    if (begin < end)
        body(context, begin, end, 0);
    if (t->count > 1) {
        pthread_mutex_lock(&t->mutex);
        while (t->pending != 0)
            pthread_cond_wait(&t->work_done, &t->mutex);
        pthread_mutex_unlock(&t->mutex);
    }
}

#endif

int bp_threads_count(const struct bp_threads *threads) {
    return threads->count;
}
