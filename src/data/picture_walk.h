/* From the paths of pictures and folders to single pictures, one at a time: folders are walked
 * whole, in natural order, and only their names are kept in memory. */
#ifndef BP_DATA_PICTURE_WALK_H
#define BP_DATA_PICTURE_WALK_H

#include <stddef.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

struct bp_picture_walk;

/* `source` gives the paths (bp_path_source in the public header). */
bp_status bp_picture_walk_open(struct bp_picture_walk **out, bp_path_source *source, void *user);
void bp_picture_walk_close(struct bp_picture_walk *walk);

/* The next picture: *path (NULL behind the last one) and *reason (NULL, or why there is none: a
 * folder that cannot be read, or holds no picture). Both are the caller's (bp_free). Paths that the
 * source names count as pictures whatever they are; inside folders, what is neither by content nor
 * by name a picture is passed over, as are hidden files. */
bp_status bp_picture_walk_next(struct bp_picture_walk *walk, char **path, char **reason);

/* Files inside folders that were passed over so far, without hidden ones. */
size_t bp_picture_walk_passed_over(const struct bp_picture_walk *walk);

#ifdef __cplusplus
}
#endif
#endif
