/* What the control groups around this process (a container, a service) let it use. Linux only;
 * elsewhere nothing is limited. */
#ifndef BP_BASE_CGROUP_H
#define BP_BASE_CGROUP_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct bp_cgroup {
    double processors;     /* processors' worth of time; 0: no limit */
    uint64_t memory_bytes; /* 0: no limit */
};

/* Reads ROOT/proc/self/cgroup and the limits of this process' groups and of all above them under
 * ROOT/sys/fs/cgroup, versions 1 and 2; the smallest count. `root` is "" but in tests. What cannot
 * be read limits nothing. */
void bp_cgroup_read(const char *root, struct bp_cgroup *out);

/* The line of /proc/self/cgroup for a controller of version 1 ("cpu"), or for version 2 (""): its
 * list of controllers as a folder's name, and the group's path ("" for the top, or for one outside
 * of what can be seen). Returns 0 if there is none, or if it does not fit. */
int bp_cgroup_find(const char *text, const char *controller, char *list, char *path, size_t size);

/* "max 100000" or "150000 100000" (cpu.max) to processors; 0: no limit, or not understood. */
double bp_cgroup_parse_quota(const char *text);
/* "max" or "1048576" to bytes; 0: no limit (version 1 writes a number near 2^63), or not
 * understood. */
uint64_t bp_cgroup_parse_bytes(const char *text);

#ifdef __cplusplus
}
#endif
#endif
