/* The files of a data set that cannot be used, with reasons: a run shows them all, not the first.
 */
#ifndef BP_DATA_BAD_FILES_H
#define BP_DATA_BAD_FILES_H

#include <stddef.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

struct bp_bad_files {
    char **lines; /* "path: offset N: reason; advice", in the order of the data set */
    size_t count, room;
};

/* Takes over `line` (of bp_copy_string); frees it on failure. */
bp_status bp_bad_files_add(struct bp_bad_files *bad, char *line);
void bp_bad_files_free(struct bp_bad_files *bad);

/* Writes all lines into a file. */
bp_status bp_bad_files_write(const struct bp_bad_files *bad, const char *path);

/* The same into a new file of the working folder, bad_files.txt, bad_files-2.txt, ...; `file`
 * receives its name. An older list is never written over. */
enum { BP_BAD_FILES_NAME_BYTES = 32 };
bp_status bp_bad_files_write_new(const struct bp_bad_files *bad,
                                 char file[BP_BAD_FILES_NAME_BYTES]);

#ifdef __cplusplus
}
#endif
#endif
