#include "base/cgroup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_BYTES = 8192, PATH_BYTES = 1024 };

/* The first TEXT_BYTES - 1 bytes of a file; 0 if it cannot be read. */
static int read_text(const char *path, char text[TEXT_BYTES]) {
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return 0;
    size_t count = fread(text, 1, TEXT_BYTES - 1, file);
    fclose(file);
    text[count] = 0;
    return count > 0;
}

static int list_has(const char *list, size_t length, const char *word) {
    size_t n = strlen(word);
    for (const char *at = list, *end = list + length; at < end;) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        size_t part = (size_t)((comma != NULL ? comma : end) - at);
        if (part == n && memcmp(at, word, n) == 0)
            return 1;
        at += part + 1;
    }
    return length == 0 && n == 0;
}

int bp_cgroup_find(const char *text, const char *controller, char *list, char *path, size_t size) {
    for (const char *line = text; *line != 0;) {
        size_t length = strcspn(line, "\n");
        const char *end = line + length, *first = memchr(line, ':', length);
        const char *second =
            first != NULL ? memchr(first + 1, ':', (size_t)(end - first - 1)) : NULL;
        if (second != NULL && list_has(first + 1, (size_t)(second - first - 1), controller)) {
            size_t list_bytes = (size_t)(second - first - 1),
                   path_bytes = (size_t)(end - second) - 1;
            if (list_bytes >= size || path_bytes >= size ||
                memchr(first + 1, '/', list_bytes) != NULL)
                return 0;
            snprintf(list, size, "%.*s", (int)list_bytes, first + 1);
            snprintf(path, size, "%.*s", (int)path_bytes, second + 1);
            if (path[0] != '/' || path[1] == 0 || strstr(path, "/..") != NULL)
                path[0] = 0;
            return 1;
        }
        line = end + (*end == '\n');
    }
    return 0;
}

double bp_cgroup_parse_quota(const char *text) {
    char *end, *last;
    long long quota = strtoll(text, &end, 10), period = strtoll(end, &last, 10);
    if (end == text || last == end || quota <= 0 || period <= 0)
        return 0;
    return (double)quota / (double)period;
}

uint64_t bp_cgroup_parse_bytes(const char *text) {
    const uint64_t no_limit = (uint64_t)1 << 62;
    if (text[0] < '0' || text[0] > '9')
        return 0;
    unsigned long long bytes = strtoull(text, NULL, 10);
    return bytes < no_limit ? bytes : 0;
}

static void lower_processors(struct bp_cgroup *out, double processors) {
    if (processors > 0 && (out->processors <= 0 || processors < out->processors))
        out->processors = processors;
}

static void lower_memory(struct bp_cgroup *out, uint64_t bytes) {
    if (bytes > 0 && (out->memory_bytes == 0 || bytes < out->memory_bytes))
        out->memory_bytes = bytes;
}

/* The file `name` of the group `folder`. */
static int read_in(const char *folder, const char *name, char text[TEXT_BYTES]) {
    char path[2 * PATH_BYTES];
    int length = snprintf(path, sizeof path, "%s/%s", folder, name);
    return length > 0 && (size_t)length < sizeof path && read_text(path, text);
}

/* The limits that one group has, whatever the version: the files differ in name. */
static void read_group(const char *folder, struct bp_cgroup *out) {
    char text[TEXT_BYTES], period[TEXT_BYTES];
    if (read_in(folder, "cpu.max", text))
        lower_processors(out, bp_cgroup_parse_quota(text));
    if (read_in(folder, "cpu.cfs_quota_us", text) && read_in(folder, "cpu.cfs_period_us", period)) {
        char both[64];
        snprintf(both, sizeof both, "%.30s %.30s", text, period);
        lower_processors(out, bp_cgroup_parse_quota(both));
    }
    if (read_in(folder, "memory.max", text) || read_in(folder, "memory.limit_in_bytes", text))
        lower_memory(out, bp_cgroup_parse_bytes(text));
}

/* A group and all above it, up to the mount point. A container that sees its own group as the mount
 * point has paths from outside, which do not exist there: then the mount point is what counts. */
static void read_groups(const char *mount, char *path, struct bp_cgroup *out) {
    char folder[2 * PATH_BYTES];
    for (;;) {
        snprintf(folder, sizeof folder, "%s%s", mount, path);
        read_group(folder, out);
        char *slash = strrchr(path, '/');
        if (slash == NULL)
            return;
        *slash = 0;
    }
}

void bp_cgroup_read(const char *root, struct bp_cgroup *out) {
    static const char *const controllers[] = {"", "cpu", "memory"};
    char text[TEXT_BYTES], file[PATH_BYTES], list[PATH_BYTES / 2], path[PATH_BYTES / 2];
    *out = (struct bp_cgroup){0};
    snprintf(file, sizeof file, "%s/proc/self/cgroup", root);
    if (!read_text(file, text))
        return;
    for (size_t i = 0; i < sizeof controllers / sizeof controllers[0]; i++) {
        if (!bp_cgroup_find(text, controllers[i], list, path, sizeof path))
            continue;
        char mount[PATH_BYTES];
        snprintf(mount, sizeof mount, "%.400s/sys/fs/cgroup%s%s", root, list[0] != 0 ? "/" : "",
                 list);
        read_groups(mount, path, out);
    }
}
