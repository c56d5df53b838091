#define _POSIX_C_SOURCE 200809L
#include "base/clock.h"

#include <stdatomic.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <time.h>

static _Atomic(bp_clock_source *) other;

void bp_clock_replace(bp_clock_source *source) {
    atomic_store(&other, source);
}

uint64_t bp_clock_ns(void) {
    struct timespec now;
    bp_clock_source *source = atomic_load(&other);
    if (source != NULL)
        return source();
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

size_t bp_clock_peak_rss_bytes(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (size_t)usage.ru_maxrss * 1024;
}

static double seconds(struct timeval t) {
    return (double)t.tv_sec + 1e-6 * (double)t.tv_usec;
}

double bp_clock_cpu_seconds(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}
