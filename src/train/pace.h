/* The arithmetic of a run's time: seconds from the times of its parts, and how many steps fit into
 * given seconds. Pure functions; measure.h finds the times. */
#ifndef BP_TRAIN_PACE_H
#define BP_TRAIN_PACE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A step that measures the variance takes about as long as this many. */
enum { BP_VARIANCE_STEPS = 15 };

/* Seconds. */
struct bp_pace {
    double step, qat_step; /* a training step with its data; one of the QAT warm-up */
    double validation;     /* all of the validation part */
    double save;           /* last.ckpt and best.ckpt: both after a validation */
    double data_wait;      /* share of the steps' time that was spent waiting for data */
};

/* What the steps of a run lead to. */
struct bp_course {
    uint64_t batches;                          /* steps of an epoch */
    double qat_share;                          /* of the steps that are left */
    uint64_t checkpoint_every, variance_every; /* steps; 0: off */
};

/* Seconds of a run of `steps` steps from behind step `done` on (0: all of it): steps, the
 * validations after each epoch and at the end, checkpoints. */
double bp_pace_seconds(const struct bp_pace *pace, const struct bp_course *course, uint64_t done,
                       uint64_t steps);

/* The most steps, done .. most, with which a run ends within `seconds` from behind step `done` on;
 * `done` if nothing fits. */
uint64_t bp_pace_steps(const struct bp_pace *pace, const struct bp_course *course, uint64_t done,
                       uint64_t most, double seconds);

#ifdef __cplusplus
}
#endif
#endif
