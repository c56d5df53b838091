/* How much memory this process may use. */
#ifndef BP_BASE_MEMORY_LIMIT_H
#define BP_BASE_MEMORY_LIMIT_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes: the least of the machine's memory, the limits of the process's control groups (versions 1
 * and 2, those of enclosing groups included) and ulimit -v. `root` is "" outside of tests: the
 * folder under which proc and sys lie. */
size_t bp_memory_limit(const char *root);

#ifdef __cplusplus
}
#endif
#endif
