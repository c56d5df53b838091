#define _POSIX_C_SOURCE 200809L
#include "data/picture_walk.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/dir_list.h"
#include "base/file_io.h"
#include "base/memory.h"
#include "data/pictures.h"

enum { PATH_BYTES = 4096, DEEPEST = 64 };

/* A folder whose entries are being walked. */
struct level {
    char *path;
    struct bp_dir_list list;
    size_t next;
    struct stat identity;
};

struct bp_picture_walk {
    bp_path_source *source;
    void *user;
    struct level levels[DEEPEST]; /* the folders on the way down; 0: named by the source */
    size_t depth;
    size_t found; /* pictures below level 0 */
    size_t passed_over;
};

bp_status bp_picture_walk_open(struct bp_picture_walk **out, bp_path_source *source, void *user) {
    BP_TRY(bp_alloc(out, sizeof **out, "the way through the folders"));
    (*out)->source = source;
    (*out)->user = user;
    return BP_OK;
}

static void leave(struct bp_picture_walk *walk) {
    struct level *level = &walk->levels[--walk->depth];
    bp_dir_list_free(&level->list);
    bp_free(level->path);
    level->path = NULL;
}

void bp_picture_walk_close(struct bp_picture_walk *walk) {
    if (walk == NULL)
        return;
    while (walk->depth > 0)
        leave(walk);
    bp_free(walk);
}

size_t bp_picture_walk_passed_over(const struct bp_picture_walk *walk) {
    return walk->passed_over;
}

/* A folder that a link leads back to would be walked for ever. */
static bp_status check_way(const struct bp_picture_walk *walk, const char *path,
                           struct stat *identity) {
    if (walk->depth == DEEPEST)
        return bp_fail(BP_DATA, "%s: more than %d folders in one another; name a folder inside",
                       path, DEEPEST);
    memset(identity, 0, sizeof *identity);
    (void)stat(path, identity); /* reading the folder tells why it fails */
    for (size_t i = 0; i < walk->depth; i++)
        if (walk->levels[i].identity.st_dev == identity->st_dev &&
            walk->levels[i].identity.st_ino == identity->st_ino)
            return bp_fail(BP_DATA, "%s: a link to a folder that holds it; remove the link", path);
    return BP_OK;
}

/* BP_DATA: the folder's fault. */
static bp_status enter(struct bp_picture_walk *walk, const char *path) {
    struct bp_dir_list list = {0};
    struct stat identity;
    BP_TRY(check_way(walk, path, &identity));
    bp_status status = bp_dir_list(&list, path, BP_DATA);
    struct level *level = &walk->levels[walk->depth];
    if (status == BP_OK)
        status = bp_copy_string(&level->path, path);
    if (status != BP_OK) {
        bp_dir_list_free(&list);
        return status;
    }
    level->list = list;
    level->next = 0;
    level->identity = identity;
    if (walk->depth++ == 0)
        walk->found = 0;
    return BP_OK;
}

/* Pictures of kinds that cannot be read are reported, not passed over. */
static int is_worth_a_try(const char *path) {
    static const char *const others[] = {".gif",  ".bmp",  ".webp", ".tif",
                                         ".tiff", ".heic", ".heif", ".avif"};
    size_t length = strlen(path);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        size_t ending = strlen(others[i]);
        if (length > ending && strcasecmp(path + length - ending, others[i]) == 0)
            return 1;
    }
    return bp_picture_is_likely(path);
}

/* A path and, where the last failure is its fault, the reason. */
static bp_status give(const char *path, bp_status fault, char **out, char **reason) {
    if (fault != BP_OK && fault != BP_DATA)
        return fault;
    if (fault == BP_DATA)
        BP_TRY(bp_copy_string(reason, bp_status_message()));
    bp_status status = bp_copy_string(out, path);
    if (status != BP_OK) {
        bp_free(*reason);
        *reason = NULL;
    }
    return status;
}

/* Goes on in the deepest folder; *path stays NULL where nothing is to be reported. */
static bp_status step(struct bp_picture_walk *walk, char **path, char **reason) {
    struct level *level = &walk->levels[walk->depth - 1];
    char text[PATH_BYTES];
    bp_status status = BP_OK;
    if (level->next == level->list.count) {
        if (walk->depth == 1 && walk->found == 0)
            status = give(level->path,
                          bp_fail(BP_DATA, "%s: holds no JPEG or PNG picture; name another folder",
                                  level->path),
                          path, reason);
        leave(walk);
        return status;
    }
    const struct bp_dir_entry *entry = &level->list.entries[level->next++];
    int length = snprintf(text, sizeof text, "%s%s%s", level->path,
                          level->path[strlen(level->path) - 1] == '/' ? "" : "/", entry->name);
    if (length >= (int)sizeof text)
        status = bp_fail(BP_DATA, "%.200s...: the path is too long; name a folder inside", text);
    else if (entry->is_dir)
        status = enter(walk, text);
    else if (!is_worth_a_try(text)) {
        walk->passed_over++;
        return BP_OK;
    }
    if (status == BP_OK && entry->is_dir)
        return BP_OK;
    walk->found++;
    return give(text, status, path, reason);
}

bp_status bp_picture_walk_next(struct bp_picture_walk *walk, char **path, char **reason) {
    *path = *reason = NULL;
    while (*path == NULL) {
        if (walk->depth > 0) {
            BP_TRY(step(walk, path, reason));
            continue;
        }
        const char *named = walk->source(walk->user);
        if (named == NULL)
            return BP_OK;
        bp_status status = BP_OK;
        int is_dir = named[0] != 0 && bp_path_is_dir(named);
        if (is_dir)
            status = enter(walk, named);
        if (!is_dir || status != BP_OK)
            BP_TRY(give(named, status, path, reason));
    }
    return BP_OK;
}
