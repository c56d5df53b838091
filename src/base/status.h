/* How failure travels: every function that can fail returns a bp_status; results leave through
 * pointers. The message is recorded once, where the failure happens (bp_fail / BP_FAIL), in a
 * record that belongs to the thread; callers only forward the status (BP_TRY). Nothing here prints.
 * bp_status itself stands in the public header; its values are the program's exit codes. */
#ifndef BP_BASE_STATUS_H
#define BP_BASE_STATUS_H

#include "bitprop.h"

#ifdef __cplusplus
extern "C" {
#endif

#define BP_MESSAGE_BYTES 1024

/* Records the message of a failure on this thread and returns `status`. A message says what, where,
 * why and what to do now, in one line. */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3), cold))
#endif
bp_status
bp_fail(bp_status status, const char *format, ...);

/* The message of the last failure on this thread ("" before any). Valid until the next failure. */
const char *bp_status_message(void);

/* Forwards a failure; the message stays the one that was recorded at its origin. */
#define BP_TRY(expression)                                                                         \
    do {                                                                                           \
        bp_status bp_try_status_ = (expression);                                                   \
        if (bp_try_status_ != BP_OK)                                                               \
            return bp_try_status_;                                                                 \
    } while (0)

#ifdef __cplusplus
}
#endif
#endif
