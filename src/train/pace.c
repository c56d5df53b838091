#include "train/pace.h"

/* How often a multiple of `every` was passed between two steps. */
static double passed(uint64_t every, uint64_t done, uint64_t steps) {
    return every > 0 ? (double)(steps / every - done / every) : 0;
}

double bp_pace_seconds(const struct bp_pace *pace, const struct bp_course *course, uint64_t done,
                       uint64_t steps) {
    if (steps <= done)
        return 0;
    double left = (double)(steps - done), qat = course->qat_share * left;
    double validations = passed(course->batches, done, steps) + (steps % course->batches != 0);
    double measured = passed(course->variance_every, done, steps) * (1 - course->qat_share);
    return qat * pace->qat_step + (left - qat) * pace->step +
           measured * (BP_VARIANCE_STEPS - 1) * pace->step +
           validations * (pace->validation + pace->save) +
           passed(course->checkpoint_every, done, steps) * pace->save;
}

/* Seconds never fall with the number of steps, so halving finds the last that fits. */
uint64_t bp_pace_steps(const struct bp_pace *pace, const struct bp_course *course, uint64_t done,
                       uint64_t most, double seconds) {
    uint64_t fits = done, too_many = most + 1;
    while (too_many - fits > 1) {
        uint64_t middle = fits + (too_many - fits) / 2;
        if (bp_pace_seconds(pace, course, done, middle) <= seconds)
            fits = middle;
        else
            too_many = middle;
    }
    return fits;
}
