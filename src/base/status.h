/* How failure travels: every function that can fail returns a bp_status; results leave through
 * pointers. The message is recorded once, where the failure happens (bp_fail / BP_FAIL), in a record
 * that belongs to the thread; callers only forward the status (BP_TRY). Nothing here prints.
 * The values of bp_status are the program's exit codes. */
#ifndef BP_BASE_STATUS_H
#define BP_BASE_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

typedef enum bp_status {
    BP_OK = 0,
    BP_INTERNAL = 1,    /* a broken invariant: our mistake */
    BP_USAGE = 2,       /* unknown option, impossible value or combination */
    BP_DATA = 3,        /* data set missing, truncated, malformed */
    BP_MODEL = 4,       /* checkpoint missing, malformed, of another network */
    BP_RESOURCE = 5,    /* memory, disk, permission, existing folder */
    BP_DIVERGED = 6,    /* the loss became NaN or infinite */
    BP_CHECK = 7,       /* a check ran and found something wrong */
    BP_INTERRUPT = 130, /* stopped by SIGINT after saving */
    BP_TERMINATE = 143  /* stopped by SIGTERM after saving */
} bp_status;

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
