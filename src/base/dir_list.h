/* What a folder holds, in an order that does not depend on the file system. */
#ifndef BP_BASE_DIR_LIST_H
#define BP_BASE_DIR_LIST_H

#include <stddef.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

struct bp_dir_entry {
    char *name;
    int is_dir; /* links are followed; what is neither file nor folder counts as a file */
};

struct bp_dir_list {
    struct bp_dir_entry *entries; /* in natural order */
    size_t count;
};

/* Lists a folder without hidden entries (names that begin with a dot). A folder that is missing or
 * cannot be read is `failure`, or BP_RESOURCE for want of memory or file handles. Give the list
 * back with bp_dir_list_free, also after a failure. */
bp_status bp_dir_list(struct bp_dir_list *out, const char *path, bp_status failure);
void bp_dir_list_free(struct bp_dir_list *list);

/* Order of names as people count: runs of digits compare as numbers, all else as bytes: class2
 * before class10. 0 only for equal names. */
int bp_natural_order(const char *a, const char *b);

#ifdef __cplusplus
}
#endif
#endif
