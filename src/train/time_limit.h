/* --time: a run that is over in time. At its begin it is given as many steps as fit, by times that
 * are measured; these become its options, so that a resumed or repeated run does not depend on a
 * clock. If the machine turns out slower, the run is cut: it ends earlier, and its schedule with it
 * (schedule.h). What was cut is part of the checkpoint. */
#ifndef BP_TRAIN_TIME_LIMIT_H
#define BP_TRAIN_TIME_LIMIT_H

#include "train/pace.h"
#include "train/session.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Share of the time that the first choice leaves, and seconds for the report and the end. */
#define BP_TIME_MARGIN    0.04
#define BP_FINISH_SECONDS 0.5

struct bp_time_limit {
    double seconds;      /* 0: no limit, and nothing below matters */
    uint64_t begin_ns;   /* of the limit */
    struct bp_pace pace; /* measured at the begin; validation and save: the last ones since */
    struct bp_course course;
    int validated;    /* since the begin */
    double slowness;  /* seconds of the last steps to those of `pace` */
    uint64_t last_ns; /* when the last step ended, or what followed it */
};

/* How many steps fit into the seconds that are left of `limit` after `spent`, at most `most`; 0 if
 * not even a tenth of an epoch does. *needed receives the seconds that this would take in all. */
uint64_t bp_time_limit_steps(const struct bp_pace *pace, const struct bp_course *course,
                             double limit, double spent, uint64_t most, double *needed);

/* Sets the session's steps and epochs to those; `spent` seconds are gone. BP_USAGE: too short. */
bp_status bp_time_limit_fit(struct bp_session *session, const struct bp_pace *pace,
                            const struct bp_course *course, double spent);

/* Measures the session, sets its steps and epochs to what fits into settings.seconds since
 * begin_ns, and makes its network anew. BP_USAGE: too short. Nothing happens without a limit. */
bp_status bp_time_limit_begin(struct bp_time_limit *limit, struct bp_session *session,
                              uint64_t begin_ns);

/* Starts the clock of the steps, before the first one and after whatever came between two. */
void bp_time_limit_mark(struct bp_time_limit *limit);
/* After a validation with its checkpoints. */
void bp_time_limit_validated(struct bp_time_limit *limit, double validation, double save);

/* After a step, `done` of them so far: 1 if the run cannot be kept any more; then *steps is where
 * to cut it, `done` at least. */
int bp_time_limit_passed(struct bp_time_limit *limit, const struct bp_session *session,
                         uint64_t done, uint64_t *steps);

#ifdef __cplusplus
}
#endif
#endif
