#define _DEFAULT_SOURCE /* _SC_PHYS_PAGES */
#include "base/memory_limit.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { PATH_ROOM = 4096 };

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

/* The number in a file of one line; SIZE_MAX where there is none ("max", no such file). */
static size_t read_number(const char *path) {
    char text[64] = "";
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return SIZE_MAX;
    if (fgets(text, sizeof text, file) == NULL)
        text[0] = 0;
    fclose(file);
    if (text[0] < '0' || text[0] > '9')
        return SIZE_MAX;
    unsigned long long number = strtoull(text, NULL, 10);
    return number > SIZE_MAX ? SIZE_MAX : (size_t)number;
}

/* A group's limit and those of the groups around it. In a container the path that the kernel names
 * may not be visible; then the groups that are visible count. */
static size_t group_limit(const char *root, const char *mount, const char *group,
                          const char *limit_file) {
    char inner[PATH_ROOM], path[2 * PATH_ROOM];
    size_t limit = SIZE_MAX;
    snprintf(inner, sizeof inner, "%s", group);
    for (;;) {
        int length = snprintf(path, sizeof path, "%s%s%s/%s", root, mount, inner, limit_file);
        if (length > 0 && (size_t)length < sizeof path)
            limit = least(limit, read_number(path));
        char *slash = strrchr(inner, '/');
        if (slash == NULL)
            return limit;
        *slash = 0;
    }
}

/* One line of /proc/self/cgroup: "0::/path" (version 2) or "4:memory,cpu:/path" (version 1). */
static size_t line_limit(const char *root, char *line) {
    line[strcspn(line, "\n")] = 0;
    char *controllers = strchr(line, ':');
    char *group = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
    if (group == NULL)
        return SIZE_MAX;
    *group++ = 0;
    controllers++;
    char *rest;
    if (*controllers == 0)
        return group_limit(root, "/sys/fs/cgroup", group, "memory.max");
    for (char *name = strtok_r(controllers, ",", &rest); name != NULL;
         name = strtok_r(NULL, ",", &rest))
        if (strcmp(name, "memory") == 0)
            return group_limit(root, "/sys/fs/cgroup/memory", group, "memory.limit_in_bytes");
    return SIZE_MAX;
}

static size_t groups_limit(const char *root) {
    char path[PATH_ROOM], line[PATH_ROOM];
    size_t limit = SIZE_MAX;
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return SIZE_MAX;
    while (fgets(line, sizeof line, file) != NULL)
        limit = least(limit, line_limit(root, line));
    fclose(file);
    return limit;
}

size_t bp_memory_limit(const char *root) {
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    size_t limit = pages > 0 && page > 0 ? (size_t)pages * (size_t)page : (size_t)1 << 32;
    struct rlimit address_space;
    if (getrlimit(RLIMIT_AS, &address_space) == 0 && address_space.rlim_cur != RLIM_INFINITY)
        limit = least(limit, (size_t)address_space.rlim_cur);
    return least(limit, groups_limit(root));
}
