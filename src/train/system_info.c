/* What this build and this machine are, for reports. */
#define _DEFAULT_SOURCE /* sysconf's numbers of pages and processors */
#include <jansson.h>
#include <unistd.h>
#include <zlib.h>

#include "base/cgroup.h"
#include "base/cpu.h"
#include "base/threads.h"
#include "build_info.h"
#include "fp32/fp32_ops.h"
#include "kernels/kernels.h"

const char *bp_version(void) {
    return BP_BUILD_VERSION;
}

static uint64_t positive(long value) {
    return value > 0 ? (uint64_t)value : 0;
}

void bp_system(bp_system_info *out) {
#if defined(__clang__)
    out->compiler = "clang " __clang_version__;
#elif defined(__GNUC__)
    out->compiler = "gcc " __VERSION__;
#else
    out->compiler = "unknown";
#endif
    out->version = BP_BUILD_VERSION;
    out->commit = BP_BUILD_COMMIT;
    out->cpu = bp_cpu_model();
    out->best_tier = bp_tier_name(bp_cpu_best());
    out->fp32 = bp_fp32_backend_name(bp_fp32_default());
    out->zlib = zlibVersion();
    out->jansson = JANSSON_VERSION;
    out->processors = bp_threads_processors();
    out->threads = bp_threads_available("");
    out->processors_online = (int)positive(sysconf(_SC_NPROCESSORS_ONLN));
    out->memory_bytes = positive(sysconf(_SC_PHYS_PAGES)) * positive(sysconf(_SC_PAGESIZE));
    struct bp_cgroup limits;
    bp_cgroup_read("", &limits);
    out->processor_limit = limits.processors;
    out->memory_limit = limits.memory_bytes;
}

int bp_tier_at(size_t index, const char **name, int *present) {
    if (index >= BP_TIER_COUNT)
        return 0;
    *name = bp_tier_name((enum bp_tier)index);
    *present = bp_cpu_has((enum bp_tier)index);
    return 1;
}

int bp_kernel_at(size_t index, const char *cpu, const char **name, const char **tier) {
    enum bp_tier cap;
    struct bp_kernels kernels;
    if (index >= bp_kernels_count() || bp_tier_parse(cpu, &cap) != BP_OK)
        return 0;
    bp_kernels_init(&kernels, cap);
    *name = bp_kernels_name(index);
    *tier = bp_tier_name(kernels.tier[index]);
    return 1;
}
