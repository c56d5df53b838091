/* Fetching ahead, for all x86 tiers. */
#ifndef BP_KERNELS_X86_FETCH_X86_H
#define BP_KERNELS_X86_FETCH_X86_H

#include <immintrin.h>
#include <stddef.h>

/* Loops that go down columns touch a line here and a line there, which no prefetcher of a processor
 * follows from memory. So beside the step that has read bytes `at` .. of a block of rows, counted
 * in the order of the loop, they fetch the line as far behind the end of the block: callers go on
 * with the rows behind. Nothing is read, so that these bytes need not be there. */
static inline __attribute__((always_inline)) void fetch_behind(const void *end, size_t at) {
    _mm_prefetch((const char *)end + at, _MM_HINT_T1);
}

/* Loops along the rows a prefetcher does follow, but not over the end of a page, and anew in each
 * block of rows. Beside the step that has read `bytes` bytes, at most a line, from `at` on. */
static inline __attribute__((always_inline)) void fetch_line_behind(const void *end, size_t at,
                                                                    size_t bytes) {
    if (at % 64 < bytes)
        fetch_behind(end, at);
}

#endif
