#define _DEFAULT_SOURCE /* _SC_PHYS_PAGES */
#include "base/memory_limit.h"

#include <stdint.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/cgroup.h"

size_t bp_memory_limit(const char *root) {
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    uint64_t limit = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : (uint64_t)1 << 32;
    struct rlimit address_space;
    struct bp_cgroup groups;
    if (getrlimit(RLIMIT_AS, &address_space) == 0 && address_space.rlim_cur != RLIM_INFINITY &&
        address_space.rlim_cur < limit)
        limit = address_space.rlim_cur;
    bp_cgroup_read(root, &groups);
    if (groups.memory_bytes > 0 && groups.memory_bytes < limit)
        limit = groups.memory_bytes;
    return limit > SIZE_MAX ? SIZE_MAX : (size_t)limit;
}
