/* Time and the process's own resource use. */
#ifndef BP_BASE_CLOCK_H
#define BP_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A monotonic clock. */
uint64_t bp_clock_ns(void);
/* Tests: another clock in its place, called from any thread; NULL: the real one again. */
typedef uint64_t bp_clock_source(void);
void bp_clock_replace(bp_clock_source *source);
/* Peak resident size of this process. */
size_t bp_clock_peak_rss_bytes(void);
/* Processor time of all threads of this process. */
double bp_clock_cpu_seconds(void);

#ifdef __cplusplus
}
#endif
#endif
