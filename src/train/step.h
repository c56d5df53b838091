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
    /* What became NaN or infinite, or NULL. "the loss": nothing was updated. "the gradient": some
     * weights may be updated, some not; the network must neither be used nor saved any more. */
    const char *infinite;
    /* Nanoseconds of parts: input to floats, optimizer, weights packed for the next step. */
    uint64_t input_ns, optimizer_ns, pack_ns;
};

/* Takes the next batch of session->train through step `step` (0, 1, ...). `average` may be NULL. */
bp_status bp_session_step(struct bp_session *session, struct bp_average *average, uint64_t step,
                          struct bp_step_result *out);
/* The same with a batch of the caller's. */
bp_status bp_session_step_with(struct bp_session *session, struct bp_average *average,
                               uint64_t step, const struct bp_batch *batch,
                               struct bp_step_result *out);

#ifdef __cplusplus
}
#endif
#endif
