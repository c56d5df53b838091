#define _DEFAULT_SOURCE /* madvise */
#include "base/memory.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* From LARGE bytes on, blocks begin with a huge page and ask for more of them: passes over tens of
 * megabytes spend less time on finding pages (docs/PERFORMANCE.md). */
#define HUGE_PAGE ((size_t)2 << 20)
#define LARGE     HUGE_PAGE

static atomic_long requests;
static atomic_long fail_from = -1; /* requests with a number >= this fail; -1: none */

void bp_memory_fail_after(long n) {
    atomic_store(&fail_from, n < 0 ? -1 : atomic_load(&requests) + n);
}

long bp_memory_requests(void) {
    return atomic_load(&requests);
}

static void *aligned_block(size_t bytes) {
    if (bytes < LARGE)
        return aligned_alloc(BP_ALIGN, bytes);
    size_t whole = (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    void *block = aligned_alloc(HUGE_PAGE, whole);
#ifdef MADV_HUGEPAGE
    if (block != NULL)
        (void)madvise(block, whole, MADV_HUGEPAGE); /* without, it is only slower */
#endif
    return block;
}

bp_status bp_alloc(void *out, size_t bytes, const char *what) {
    void **block = out;
    *block = NULL;
    long number = atomic_fetch_add(&requests, 1);
    long limit = atomic_load(&fail_from);
    if (bytes <= SIZE_MAX - HUGE_PAGE && (limit < 0 || number < limit)) {
        size_t rounded = bytes == 0 ? BP_ALIGN : (bytes + BP_ALIGN - 1) / BP_ALIGN * BP_ALIGN;
        *block = aligned_block(rounded);
        if (*block != NULL) {
            memset(*block, 0, rounded);
            return BP_OK;
        }
    }
    return bp_fail(BP_RESOURCE,
                   "out of memory: no %.1f MB for %s; use a smaller --batch, --size or --width",
                   (double)bytes / 1e6, what);
}

bp_status bp_alloc_array(void *out, size_t count, size_t size, const char *what) {
    size_t bytes = size != 0 && count > SIZE_MAX / size ? SIZE_MAX : count * size;
    return bp_alloc(out, bytes, what);
}

bp_status bp_grow(void *in_out, size_t old_bytes, size_t new_bytes, const char *what) {
    void **block = in_out;
    void *larger;
    BP_TRY(bp_alloc(&larger, new_bytes, what));
    if (*block != NULL)
        memcpy(larger, *block, old_bytes < new_bytes ? old_bytes : new_bytes);
    bp_free(*block);
    *block = larger;
    return BP_OK;
}

bp_status bp_copy_string(char **out, const char *text) {
    size_t bytes = strlen(text) + 1;
    BP_TRY(bp_alloc(out, bytes, "a string"));
    memcpy(*out, text, bytes);
    return BP_OK;
}

void bp_free(void *block) {
    free(block);
}
