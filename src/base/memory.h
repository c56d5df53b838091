/* The only place that asks the system for memory, so that tests can make any request fail
 * (bp_memory_fail_after) and so that every block is 64-byte aligned for the kernels.
 *
 * Steps allocate nothing: sizes are planned first (base/plan.h), then one block is taken. */
#ifndef BP_BASE_MEMORY_H
#define BP_BASE_MEMORY_H

#include <stddef.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define BP_ALIGN ((size_t)64)

/* Takes `bytes` (0 is allowed) of zeroed, 64-byte aligned memory, in huge pages where it is much.
 * `what` names it in the message: BP_RESOURCE "out of memory: 123 MB for <what>; ...". *out is NULL
 * on failure. */
bp_status bp_alloc(void *out, size_t bytes, const char *what);

/* count * size with an overflow check. */
bp_status bp_alloc_array(void *out, size_t count, size_t size, const char *what);

/* Grows a block of bp_alloc to `new_bytes`, keeping the first `old_bytes`; on failure the old block
 * stays valid. */
bp_status bp_grow(void *in_out, size_t old_bytes, size_t new_bytes, const char *what);

/* Copies a string. */
bp_status bp_copy_string(char **out, const char *text);

void bp_free(void *block);

/* Tests: the (n+1)-th request from now fails, and all later ones; n < 0 switches it off. */
void bp_memory_fail_after(long n);
/* Tests: how many requests were made so far (to see that a training step makes none). */
long bp_memory_requests(void);

#ifdef __cplusplus
}
#endif
#endif
