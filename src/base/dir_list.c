#define _POSIX_C_SOURCE 200809L
#include "base/dir_list.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/memory.h"

static int is_digit(char c) {
    return c >= '0' && c <= '9';
}

int bp_natural_order(const char *a, const char *b) {
    const char *x = a, *y = b;
    while (*x != 0 && *y != 0) {
        if (!is_digit(*x) || !is_digit(*y)) {
            if (*x != *y)
                return (unsigned char)*x < (unsigned char)*y ? -1 : 1;
            x++;
            y++;
            continue;
        }
        while (*x == '0')
            x++;
        while (*y == '0')
            y++;
        size_t nx = 0, ny = 0;
        while (is_digit(x[nx]))
            nx++;
        while (is_digit(y[ny]))
            ny++;
        int order = nx != ny ? (nx < ny ? -1 : 1) : memcmp(x, y, nx);
        if (order != 0)
            return order;
        x += nx;
        y += ny;
    }
    if (*x != *y)
        return *x == 0 ? -1 : 1;
    return strcmp(a, b); /* equal but for leading zeros */
}

static int compare(const void *a, const void *b) {
    const struct bp_dir_entry *x = a, *y = b;
    return bp_natural_order(x->name, y->name);
}

static bp_status add(struct bp_dir_list *list, size_t *room, DIR *folder, const char *name) {
    if (list->count == *room) {
        size_t more = *room == 0 ? 64 : 2 * *room;
        BP_TRY(bp_grow(&list->entries, list->count * sizeof *list->entries,
                       more * sizeof *list->entries, "a list of files"));
        *room = more;
    }
    struct bp_dir_entry *entry = &list->entries[list->count];
    struct stat info;
    BP_TRY(bp_copy_string(&entry->name, name));
    entry->is_dir = fstatat(dirfd(folder), name, &info, 0) == 0 && S_ISDIR(info.st_mode);
    list->count++;
    return BP_OK;
}

static bp_status fail_reading(bp_status failure, const char *path, int error) {
    char reason[128] = "unknown reason";
    if (strerror_r(error, reason, sizeof reason) != 0)
        strcpy(reason, "unknown reason");
    if (error == ENOMEM || error == EMFILE || error == ENFILE)
        return bp_fail(BP_RESOURCE, "cannot read the folder %s: %s", path, reason);
    return bp_fail(failure, "cannot read the folder %s: %s; check the path and its permissions",
                   path, reason);
}

bp_status bp_dir_list(struct bp_dir_list *out, const char *path, bp_status failure) {
    *out = (struct bp_dir_list){0};
    DIR *folder = opendir(path);
    if (folder == NULL)
        return fail_reading(failure, path, errno);
    bp_status status = BP_OK;
    size_t room = 0;
    errno = 0;
    for (struct dirent *entry; status == BP_OK && (entry = readdir(folder)) != NULL; errno = 0)
        if (entry->d_name[0] != '.')
            status = add(out, &room, folder, entry->d_name);
    if (status == BP_OK && errno != 0)
        status = fail_reading(failure, path, errno);
    closedir(folder);
    if (out->count > 1)
        qsort(out->entries, out->count, sizeof *out->entries, compare);
    return status;
}

void bp_dir_list_free(struct bp_dir_list *list) {
    for (size_t i = 0; i < list->count; i++)
        bp_free(list->entries[i].name);
    bp_free(list->entries);
    *list = (struct bp_dir_list){0};
}
