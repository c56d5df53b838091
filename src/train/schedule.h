/* Learning rate schedules: pure functions of the step number, so that nothing has to be saved to
 * resume a run. */
#ifndef BP_TRAIN_SCHEDULE_H
#define BP_TRAIN_SCHEDULE_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum bp_schedule_kind { BP_SCHEDULE_CONSTANT, BP_SCHEDULE_COSINE, BP_SCHEDULE_STEP };

#define BP_SCHEDULE_MILESTONES_MAX 16

struct bp_schedule_config {
    enum bp_schedule_kind kind;
    uint64_t warmup_steps; /* the rate grows linearly: 1 / warmup, 2 / warmup, ..., 1 */
    double min_factor;     /* cosine: the end value, min lr / lr */
    double gamma;          /* step: multiplied at every milestone, or every `every_steps` steps */
    uint64_t every_steps;  /* step: used if there are no milestones */
    uint64_t milestones[BP_SCHEDULE_MILESTONES_MAX]; /* step: step numbers, counted with warm-up */
    size_t n_milestones;
};

/* "constant", "cosine", "step". An unknown name is BP_USAGE. */
const char *bp_schedule_name(enum bp_schedule_kind kind);
bp_status bp_schedule_parse(const char *name, enum bp_schedule_kind *out);

/* BP_USAGE if a value is impossible. */
bp_status bp_schedule_check(const struct bp_schedule_config *config);

/* What the learning rate is multiplied by in step `step` of 0 .. total_steps - 1 (the optimizer's t
 * is step + 1). After warm-up the cosine starts at 1 and would reach min_factor at step
 * total_steps; it stays there if the run goes on. Of a run that was cut, `step` is the position of
 * bp_schedule_position. */
double bp_schedule_factor(const struct bp_schedule_config *config, double step,
                          uint64_t total_steps);

/* A run that ends earlier than planned goes through all that is left of its schedule, faster: from
 * step `step` on, where the schedule stood at `position` (both count planned steps), evenly to its
 * end, which comes after `steps` steps. */
struct bp_schedule_cut {
    uint64_t step;
    double position;
    uint64_t steps; /* > step; 0: nothing was cut */
};

/* Where a run of `planned` steps stands in its schedule in step `step`; the step itself where
 * nothing was cut. Steps before cut->step must not be asked for. */
double bp_schedule_position(const struct bp_schedule_cut *cut, uint64_t step, uint64_t planned);

/* Cuts a run, again maybe, that has taken step `step` to `steps` > step steps. */
void bp_schedule_cut_to(struct bp_schedule_cut *cut, uint64_t step, uint64_t steps,
                        uint64_t planned);

#ifdef __cplusplus
}
#endif
#endif
