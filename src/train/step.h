/* One training step: the same for a run and for those who only time it. */
#ifndef BP_TRAIN_STEP_H
#define BP_TRAIN_STEP_H

#include "train/average.h"
#include "train/session.h"

#ifdef __cplusplus
extern "C" {
#endif

struct bp_step_result {
    double loss;
    size_t correct;
    const char *infinite; /* what became NaN or infinite, "the loss": nothing was updated; or NULL
                           */
};

/* Takes the next batch of session->train through step `step` (0, 1, ...). `average` may be NULL. */
bp_status bp_session_step(struct bp_session *session, struct bp_average *average, uint64_t step,
                          struct bp_step_result *out);

#ifdef __cplusplus
}
#endif
#endif
