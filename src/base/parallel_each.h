/* Work on items that take very different times, such as files: each thread takes the next item when
 * it is ready, and items may fail. */
#ifndef BP_BASE_PARALLEL_EACH_H
#define BP_BASE_PARALLEL_EACH_H

#include "base/threads.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Does one item; `thread` (0 .. count - 1) indexes per-thread scratch. */
typedef bp_status bp_each_body(void *context, size_t index, int thread);

/* Does the items 0 .. n - 1, each once, in any order. A thread whose item fails takes no more; the
 * failure of the first thread that had one is returned. Not to be nested. */
bp_status bp_parallel_each(struct bp_threads *threads, size_t n, bp_each_body *body, void *context);

#ifdef __cplusplus
}
#endif
#endif
