/* Fetching ahead, for all x86 tiers. */
#ifndef BP_KERNELS_X86_FETCH_X86_H
#define BP_KERNELS_X86_FETCH_X86_H

#include <immintrin.h>
#include <stddef.h>

#include "kernels/kernels.h"
#include "kernels/value_type.h"

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

/* The same in elements of x, a block of `count` of them: beside the step that reads `lanes` when
 * `done` are read, in the order of the loop. */
static inline __attribute__((always_inline)) void fetch_elements_behind(const void *x,
                                                                        enum value_type type,
                                                                        size_t count, size_t done,
                                                                        size_t lanes) {
    const size_t size = type != VALUE_F32 ? sizeof(int16_t) : sizeof(float);
    fetch_line_behind((const char *)x + count * size, size * done, lanes * size);
}

/* Where a block of a product is stored, fetched when it begins: else its end waits for the memory.
 */
static inline __attribute__((always_inline)) void fetch_place(const void *at, size_t bytes) {
    for (size_t i = 0; i < bytes; i += 64)
        _mm_prefetch((const char *)at + i, _MM_HINT_T1);
}

/* To the next row, or to what comes then. Returns 0 if there is nothing more. */
static inline int fetch_next_row(struct bp_fetch *soon) {
    if (soon->rows > 0) {
        soon->at = soon->end - soon->row_bytes + soon->step;
        soon->end += soon->step;
        soon->rows--;
    } else if (soon->then != NULL)
        *soon = *soon->then;
    return soon->at < soon->end;
}

/* The next lines of what is needed soon, about `bytes` bytes. */
static inline __attribute__((always_inline)) void fetch_soon(struct bp_fetch *soon, size_t bytes) {
    for (size_t i = 0; soon != NULL && i < bytes; i += 64, soon->at += 64) {
        if (soon->at >= soon->end && !fetch_next_row(soon))
            return;
        _mm_prefetch(soon->at, _MM_HINT_T1);
    }
}

/* How many bytes of the first row that is a step, so that so many steps fetch all of it. */
static inline size_t fetch_share(const struct bp_fetch *soon, size_t steps) {
    return soon->at == NULL ? 0 : ((size_t)(soon->end - soon->at) + steps - 1) / steps;
}

#endif
