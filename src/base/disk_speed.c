#define _GNU_SOURCE /* O_TMPFILE */
#include "base/disk_speed.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"

enum { BLOCK_BYTES = 1 << 20, BLOCKS = 16, PATH_BYTES = 1024 };

#ifdef O_TMPFILE
/* "a/b/c" becomes "a/b", "c" becomes ".", "/c" becomes "/"; 0 if there is nothing above. */
static int go_up(char *path) {
    char *slash = strrchr(path, '/');
    if (strcmp(path, ".") == 0 || strcmp(path, "/") == 0)
        return 0;
    if (slash == NULL)
        strcpy(path, ".");
    else
        slash[slash == path ? 1 : 0] = 0;
    return 1;
}

static int open_nameless(const char *path) {
    char folder[PATH_BYTES];
    int file = -1;
    if (strlen(path) >= sizeof folder)
        return -1;
    strcpy(folder, path);
    while (file < 0 && go_up(folder))
        file = open(folder, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
    return file;
}

/* Seconds, or 0. The bytes are none that a file system could leave out or compress. */
static double write_all(int file, uint32_t *block) {
    uint64_t begin_ns = bp_clock_ns();
    uint32_t state = 1;
    for (int i = 0; i < BLOCKS; i++) {
        for (size_t j = 0; j < BLOCK_BYTES / sizeof *block; j++)
            block[j] = state = state * 1664525u + 1013904223u;
        if (write(file, block, BLOCK_BYTES) != BLOCK_BYTES)
            return 0;
    }
    return fsync(file) == 0 ? (double)(bp_clock_ns() - begin_ns) * 1e-9 : 0;
}
#endif

double bp_disk_speed(const char *path) {
    double seconds = 0;
#ifdef O_TMPFILE
    uint32_t *block;
    int file = open_nameless(path);
    if (file >= 0 && bp_alloc(&block, BLOCK_BYTES, "a file") == BP_OK) {
        seconds = write_all(file, block);
        bp_free(block);
    }
    if (file >= 0)
        close(file);
#else
    (void)path;
#endif
    return seconds > 0 ? (double)BLOCK_BYTES * BLOCKS / seconds : 0;
}
