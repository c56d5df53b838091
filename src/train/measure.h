/* Times of a run's parts, from a few steps and validation batches with the run's own data. They
 * train the session's network: what goes on with it afterwards needs a new one (bp_session_renew).
 */
#ifndef BP_TRAIN_MEASURE_H
#define BP_TRAIN_MEASURE_H

#include "train/pace.h"
#include "train/session.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How fast checkpoints are taken to be written where it cannot be measured. */
#define BP_WRITE_BYTES_PER_SECOND 1e8

/* Takes steps for about `seconds`, but at least two (of more than `seconds` each: one) after a
 * first one that does not count; the batches that were prepared ahead while nobody waited do not
 * count either, where there is time. A request of bp_interrupt is returned with a message. */
bp_status bp_measure(struct bp_session *session, double seconds, struct bp_pace *out);

/* What the steps of the session's run lead to. */
struct bp_course bp_session_course(const struct bp_session *session);

#ifdef __cplusplus
}
#endif
#endif
