#include "cli/path_list.h"

#include <string.h>

/* One line without its end; 0 at the end of the list. */
static int read_line(struct cli_path_list *list, size_t *length) {
    int c;
    *length = 0;
    while ((c = getc(list->file)) != EOF && c != '\n') {
        if (c == 0)
            list->fault = "holds a zero byte; write one path a line (find without -print0)";
        else if (*length + 1 == CLI_PATH_LINE)
            list->fault = "is longer than any path; write one path a line";
        if (list->fault != NULL)
            return 0;
        list->line[(*length)++] = (char)c;
    }
    if (ferror(list->file)) {
        list->fault = "cannot be read";
        return 0;
    }
    list->line[*length] = 0;
    return c == '\n' || *length > 0;
}

const char *cli_path_list_next(struct cli_path_list *list) {
    size_t length;
    while (list->fault == NULL) {
        list->number++;
        if (!read_line(list, &length))
            return NULL;
        if (length > 0 && list->line[length - 1] == '\r')
            list->line[--length] = 0;
        if (length > 0)
            return list->line;
    }
    return NULL;
}
