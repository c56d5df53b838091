/* /proc/self/cgroup and the numbers in the files of control groups. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cgroup.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

/* What was found must be a group below the mount point, and fit. */
static void find(const char *text, const char *controller, size_t size) {
    char list[64], path[64];
    if (!bp_cgroup_find(text, controller, list, path, size))
        return;
    if (strlen(list) >= size || strlen(path) >= size || strchr(list, '/') != NULL)
        abort();
    if (path[0] != 0 && (path[0] != '/' || strstr(path, "/..") != NULL))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
    char *text = malloc(count + 1);
    if (text == NULL)
        return 0;
    if (count > 0)
        memcpy(text, bytes, count);
    text[count] = 0;
    find(text, "", 64);
    find(text, "cpu", 64);
    find(text, "memory", 8);
    if (bp_cgroup_parse_quota(text) < 0 || bp_cgroup_parse_bytes(text) >> 62 != 0)
        abort();
    free(text);
    return 0;
}
