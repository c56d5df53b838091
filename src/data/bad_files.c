#include "data/bad_files.h"

#include <stdio.h>
#include <string.h>

#include "base/file_io.h"
#include "base/memory.h"

bp_status bp_bad_files_add(struct bp_bad_files *bad, char *line) {
    if (bad->count == bad->room) {
        size_t room = bad->room == 0 ? 16 : 2 * bad->room;
        bp_status status = bp_grow(&bad->lines, bad->count * sizeof *bad->lines,
                                   room * sizeof *bad->lines, "the list of bad files");
        if (status != BP_OK) {
            bp_free(line);
            return status;
        }
        bad->room = room;
    }
    bad->lines[bad->count++] = line;
    return BP_OK;
}

void bp_bad_files_free(struct bp_bad_files *bad) {
    for (size_t i = 0; i < bad->count; i++)
        bp_free(bad->lines[i]);
    bp_free(bad->lines);
    *bad = (struct bp_bad_files){0};
}

bp_status bp_bad_files_write(const struct bp_bad_files *bad, const char *path) {
    struct bp_chunk *chunks;
    BP_TRY(bp_alloc_array(&chunks, 2 * bad->count, sizeof *chunks, "the list of bad files"));
    for (size_t i = 0; i < bad->count; i++) {
        chunks[2 * i] = (struct bp_chunk){bad->lines[i], strlen(bad->lines[i])};
        chunks[2 * i + 1] = (struct bp_chunk){"\n", 1};
    }
    bp_status status = bp_file_write(path, chunks, 2 * bad->count);
    bp_free(chunks);
    return status;
}

bp_status bp_bad_files_write_new(const struct bp_bad_files *bad,
                                 char file[BP_BAD_FILES_NAME_BYTES]) {
    enum { LISTS_MAX = 9999 };
    snprintf(file, BP_BAD_FILES_NAME_BYTES, "bad_files.txt");
    for (int n = 2; bp_path_exists(file) && n <= LISTS_MAX; n++)
        snprintf(file, BP_BAD_FILES_NAME_BYTES, "bad_files-%d.txt", n);
    if (bp_path_exists(file))
        return bp_fail(BP_RESOURCE, "bad_files.txt to %s exist all; remove old ones", file);
    return bp_bad_files_write(bad, file);
}
