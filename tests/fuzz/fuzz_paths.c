/* The list of paths on standard input. */
#define _POSIX_C_SOURCE 200809L
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/path_list.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

/* Each path is a line of the input, in order. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
    static char line[CLI_PATH_LINE];
    if (count == 0)
        return 0;
    FILE *file = fmemopen((void *)(uintptr_t)bytes, count, "rb");
    if (file == NULL)
        abort();
    struct cli_path_list list = {.file = file, .line = line};
    size_t at = 0;
    for (const char *path; (path = cli_path_list_next(&list)) != NULL;) {
        size_t length = strlen(path);
        if (length == 0 || length >= CLI_PATH_LINE || list.fault != NULL)
            abort();
        while (at < count && (count - at < length || memcmp(bytes + at, path, length) != 0 ||
                              (at > 0 && bytes[at - 1] != '\n')))
            at++;
        if (at == count)
            abort();
        at += length;
    }
    if (list.fault != NULL && cli_path_list_next(&list) != NULL)
        abort();
    fclose(file);
    return 0;
}
