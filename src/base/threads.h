/* The only place that knows about threads. Work is split into contiguous parts, and who is done
 * with its own takes over what another has not begun: processors are not equally fast at every
 * moment. Results depend neither on the number of threads nor on who did what, because callers
 * never sum across items except in integers or in a fixed order. Plain pthreads: who waits looks
 * around for some microseconds and then sleeps, so that a busy machine is not made busier. */
#ifndef BP_BASE_THREADS_H
#define BP_BASE_THREADS_H

#include <stddef.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define BP_THREADS_MAX 256

struct bp_threads; /* a pool of workers */

/* A pool of `count` workers (1 .. BP_THREADS_MAX; 0: bp_threads_available). */
bp_status bp_threads_create(struct bp_threads **out, int count);
void bp_threads_destroy(struct bp_threads *threads);
int bp_threads_count(const struct bp_threads *threads);

/* How many processors this process may run on (affinity). */
int bp_threads_processors(void);

/* How many threads this process can keep busy: one per processor, but no more than the processors'
 * worth of time that its control groups allow (rounded up), and at least 1. More would only wait
 * for each other when the groups are stopped. `root` is "" outside of tests: the folder under which
 * proc and sys lie. */
int bp_threads_available(const char *root);

/* body(context, begin, end, thread): does the items begin .. end - 1; `thread` (0 .. count - 1; 0
 * is the caller of bp_parallel_for) indexes per-thread scratch. It is called any number of times in
 * a thread, one after another. */
typedef void bp_parallel_body(void *context, size_t begin, size_t end, int thread);

/* Splits 0 .. n - 1 into pieces, shares them out and waits for all. A worker walks through a part
 * of its own, from its begin to its end. Not to be nested. */
void bp_parallel_for(struct bp_threads *threads, size_t n, bp_parallel_body *body, void *context);

/* The same, parts walked from their ends to their begins (within a piece the body decides): begin
 * with what was written last, which is still in the caches. */
void bp_parallel_for_down(struct bp_threads *threads, size_t n, bp_parallel_body *body,
                          void *context);

/* How many of `total` things make one item, a multiple of `step` of at most `most` (one too): the
 * largest with which the worker that has most to do has at most an eighth more than it must. */
size_t bp_item_size(const struct bp_threads *threads, size_t total, size_t most, size_t step);

#ifdef __cplusplus
}
#endif
#endif
