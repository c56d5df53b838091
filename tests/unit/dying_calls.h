/* A process that dies, or whose disk is full, at its k-th call that changes a file: write, fsync,
 * rename, unlink, ftruncate or mkdir. The calls of the whole program go through here. */
#ifndef DYING_CALLS_H
#define DYING_CALLS_H

enum dying_kind {
    DYING_BEFORE, /* SIGKILL; the call does not happen */
    DYING_WITHIN, /* half of what was to be written is, then SIGKILL; other calls: as before */
    DYING_AFTER,  /* the call happens, then SIGKILL */
    DYING_FULL    /* from then on writes fail: half is written, then "no space left on device" */
};

/* Counts from 1, from now on; at 0: never. without_writes: they do not count, and so the moments
 * about a file's end, its rename, and the begin of the next file come often. */
void dying_arm(enum dying_kind kind, long at, int without_writes);
long dying_calls(void); /* that counted, since dying_arm */

#endif
