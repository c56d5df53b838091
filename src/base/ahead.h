/* Work prepared ahead: a thread fills the slots of a ring while the caller uses one of them. */
#ifndef BP_BASE_AHEAD_H
#define BP_BASE_AHEAD_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Fills slot `slot` (0 .. slots - 1) on the thread. The slot's content belongs to the thread until
 * this returns, then to the caller of bp_ahead_next until its next call. */
typedef void bp_ahead_fill(void *context, size_t slot);

struct bp_ahead;

/* Starts to fill slots 0, 1, ..., 0, 1, ... The thread gets no signals: a handler of the program
 * must not run in the middle of our work. */
bp_status bp_ahead_start(struct bp_ahead **out, size_t slots, bp_ahead_fill *fill, void *context);

/* Waits for the slot that is being filled, and for nothing else. NULL is fine. */
void bp_ahead_stop(struct bp_ahead *ahead);

/* The next slot, in order; gives the one of the last call back. */
size_t bp_ahead_next(struct bp_ahead *ahead);

/* Nanoseconds that bp_ahead_next has waited so far. */
uint64_t bp_ahead_waited_ns(const struct bp_ahead *ahead);

#ifdef __cplusplus
}
#endif
#endif
