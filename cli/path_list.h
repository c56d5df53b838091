/* A list of paths, one a line, read as it arrives: what `find` writes into a pipe. */
#ifndef BP_CLI_PATH_LIST_H
#define BP_CLI_PATH_LIST_H

#include <stdio.h>

enum { CLI_PATH_LINE = 65536 }; /* longest line, with its end */

struct cli_path_list {
    FILE *file;
    char *line;        /* [CLI_PATH_LINE], the caller's */
    size_t number;     /* of the line, from 1 */
    const char *fault; /* why the list ends early; NULL: it does not */
};

/* The next path, without its line break (with or without a carriage return), valid until the next
 * call. Empty lines are passed over. NULL at the end, or behind a fault: a zero byte, a line that
 * is too long, a failure of reading. */
const char *cli_path_list_next(struct cli_path_list *list);

#endif
