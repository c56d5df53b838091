#define _GNU_SOURCE /* sched_getaffinity */
#include "base/threads.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "base/bits.h"
#include "base/cgroup.h"
#include "base/memory.h"

/* How often a waiting thread looks before it goes to sleep: 0.1 to 0.4 ms, longer
 * than what one thread does alone between two layers of a step, much shorter than a scheduler's
 * time slice, so that a busy machine loses next to nothing to waiting. */
enum { SPINS = 10000 };

/* The parts of the workers are counted in units of items: up to LARGE of them, of ALIGNED items
 * each or a multiple of it where there are more items, so that vectors find whole cache lines. */
enum { LARGE = 1 << 16, ALIGNED = 64 };

/* A worker takes a quarter of what is left of a part at a time, so that there is something for
 * others to take over and the last pieces are small. */
enum { PIECES = 4 };

/* What is left of a worker's part: units `begin` (upper 32 bits) to `end` - 1. Its own line of the
 * cache: the worker asks for it often, the others when they have nothing else to do. */
struct rest {
    _Alignas(64) atomic_uint_least64_t units;
};

/* A task is published by raising `generation`; the workers answer by lowering `pending`. Sleepers
 * announce themselves before they look a last time, and the other side looks for sleepers after it
 * wrote (both sequentially consistent), so no wake-up is lost. */
struct bp_threads {
    int count;
    int started;
    pthread_t *workers; /* [count], of which 1 .. started run; the caller is worker 0 */
    struct rest *rests; /* [count] */
    atomic_ulong generation;
    atomic_int pending;  /* workers that have not finished this generation */
    atomic_int sleepers; /* workers that wait for `work_ready` */
    atomic_int caller_sleeps;
    atomic_int stop;
    pthread_mutex_t mutex;
    pthread_cond_t work_ready, work_done;
    size_t n, unit; /* items; of a unit */
    int down;       /* workers walk their parts from the end */
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

/* --- parts ------------------------------------------------------------------------------------ */

static uint64_t pack(uint64_t begin, uint64_t end) {
    return begin << 32 | end;
}

static uint64_t units_left(uint64_t units) {
    uint64_t begin = units >> 32, end = units & UINT32_MAX;
    return end - begin;
}

static void cut_parts(struct bp_threads *t, size_t n) {
    t->unit = n <= LARGE ? 1 : bp_round_up((n + LARGE - 1) / LARGE, ALIGNED);
    uint64_t units = (n + t->unit - 1) / t->unit, count = (uint64_t)t->count;
    for (uint64_t i = 0; i < count; i++)
        atomic_store(&t->rests[i].units, pack(units * i / count, units * (i + 1) / count));
}

/* Takes a piece of what is left of a part, from its begin or its end; 0 if nothing is left. */
static int take_piece(struct rest *rest, int from_end, uint64_t *begin, uint64_t *end) {
    uint64_t units = atomic_load(&rest->units), left, piece, others;
    do {
        left = units_left(units);
        if (left == 0)
            return 0;
        piece = (left + PIECES - 1) / PIECES;
        *begin = from_end ? (units & UINT32_MAX) - piece : units >> 32;
        *end = *begin + piece;
        others = from_end ? pack(units >> 32, *begin) : pack(*end, units & UINT32_MAX);
    } while (!atomic_compare_exchange_weak(&rest->units, &units, others));
    return 1;
}

/* The part of another worker of which most is left, or the own one if there is none. */
static int fullest(struct bp_threads *t, int own) {
    uint64_t most = 0;
    int found = own;
    for (int i = 0; i < t->count; i++) {
        uint64_t left = units_left(atomic_load(&t->rests[i].units));
        if (left > most) {
            most = left;
            found = i;
        }
    }
    return found;
}

static void do_piece(struct bp_threads *t, int index, uint64_t begin, uint64_t end) {
    size_t last = (size_t)end * t->unit;
    t->body(t->context, (size_t)begin * t->unit, last < t->n ? last : t->n, index);
}

/* The own part, then pieces from the far ends of the others'. */
static void work(struct bp_threads *t, int index) {
    uint64_t begin, end;
    while (take_piece(&t->rests[index], t->down, &begin, &end))
        do_piece(t, index, begin, end);
    for (int other = fullest(t, index); other != index; other = fullest(t, index))
        if (take_piece(&t->rests[other], !t->down, &begin, &end))
            do_piece(t, index, begin, end);
}

/* --- waiting ---------------------------------------------------------------------------------- */

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

static void finish_work(struct bp_threads *t) {
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
        work(t, start.index);
        finish_work(t);
    }
}

static bp_status start_workers(struct bp_threads *t) {
    BP_TRY(bp_alloc_array(&t->workers, (size_t)t->count, sizeof *t->workers, "the thread pool"));
    BP_TRY(bp_alloc_array(&t->rests, (size_t)t->count, sizeof *t->rests, "the thread pool"));
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
    bp_free(t->rests);
    bp_free(t);
}

int bp_threads_count(const struct bp_threads *threads) {
    return threads->count;
}

static void share_out(struct bp_threads *t, size_t n, int down, bp_parallel_body *body,
                      void *context) {
    if (n < 2 || t->count == 1) {
        if (n > 0)
            body(context, 0, n, 0);
        return;
    }
    cut_parts(t, n);
    t->n = n;
    t->down = down;
    t->body = body;
    t->context = context;
    atomic_store(&t->pending, t->count - 1);
    publish(t);
    work(t, 0);
    wait_for_workers(t);
}

void bp_parallel_for(struct bp_threads *t, size_t n, bp_parallel_body *body, void *context) {
    share_out(t, n, 0, body, context);
}

void bp_parallel_for_down(struct bp_threads *t, size_t n, bp_parallel_body *body, void *context) {
    share_out(t, n, 1, body, context);
}

/* What the worker with most items has to do; the last item may be smaller. */
static size_t longest_work(size_t total, size_t size, size_t workers) {
    size_t whole = total == 0 ? 0 : (total - 1) / size, last = total - whole * size;
    return whole / workers * size + (whole % workers == 0 ? last : size);
}

size_t bp_item_size(const struct bp_threads *t, size_t total, size_t most, size_t step) {
    size_t least = SIZE_MAX, size, workers = (size_t)t->count;
    for (size = most; size >= step; size -= step)
        least = bp_min_size(least, longest_work(total, size, workers));
    for (size = most; size > step; size -= step)
        if (8 * longest_work(total, size, workers) <= 9 * least)
            break;
    return size;
}
