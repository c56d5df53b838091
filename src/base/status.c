#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>

static _Thread_local char message[BP_MESSAGE_BYTES];

bp_status bp_fail(bp_status status, const char *format, ...) {
    /* Formatted into a second buffer first: arguments may point into the old message. */
    char text[BP_MESSAGE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    for (char *c = text; *c != 0; c++)
        if ((unsigned char)*c < 32 || *c == 127)
            *c = '?'; /* one line, and no escape sequence from a file name reaches the terminal */
    snprintf(message, sizeof message, "%s", text);
    return status;
}

const char *bp_status_message(void) {
    return message;
}
