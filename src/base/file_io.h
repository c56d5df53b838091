/* Files: whole reads with a size limit, atomic writes (temporary file in the same folder, fsync,
 * rename, fsync of the folder), appending lines, exclusive creation of folders. Messages name the
 * path and the system's reason. */
#ifndef BP_BASE_FILE_IO_H
#define BP_BASE_FILE_IO_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Reads a whole file (bp_free it). A missing, unreadable or larger file is `failure`. */
bp_status bp_file_read(const char *path, size_t limit, bp_status failure, uint8_t **bytes,
                       size_t *count);

/* The first bytes of a regular file: returns how many were read, 0 where there is none. */
size_t bp_file_peek(const char *path, uint8_t *bytes, size_t count);

/* Writes a file so that a reader, or a crash at any moment, sees either the old or the new content.
 * The chunks are written one after another. On failure (full disk, no permission) the old file
 * stays and the temporary one is removed. */
struct bp_chunk {
    const void *bytes;
    size_t count;
};
bp_status bp_file_write(const char *path, const struct bp_chunk *chunks, size_t n_chunks);
bp_status bp_file_write_text(const char *path, const char *text);

/* Removes the temporary files that processes killed during bp_file_write left in a folder. Only for
 * a folder that nobody else writes to. */
void bp_dir_remove_temporaries(const char *path);

/* Appends text and flushes it to the system (no fsync). */
bp_status bp_file_append(const char *path, const char *text);

/* Cuts a file to `bytes` bytes (resuming a log); a shorter file stays as it is. */
bp_status bp_file_truncate(const char *path, size_t bytes);

/* Makes a folder that must not exist yet (BP_RESOURCE if it does), and its parents. */
bp_status bp_dir_create(const char *path);
int bp_path_exists(const char *path);
int bp_path_is_dir(const char *path);

/* "folder/name" into out; BP_USAGE if it does not fit. */
bp_status bp_path_join(char *out, size_t size, const char *folder, const char *name);

#ifdef __cplusplus
}
#endif
#endif
