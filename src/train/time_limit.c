#include "train/time_limit.h"

#include <stdio.h>

#include "base/clock.h"
#include "train/measure.h"

/* The least that is worth a run: this part of an epoch. */
enum { LEAST_PART = 10 };

/* Measuring takes this share of the time, at most MEASURE_MOST seconds. */
#define MEASURE_SHARE 0.03
#define MEASURE_MOST  3.0

/* Of slowness: weight of a new step, and the most that one step counts, since a pause is over when
 * it is over. */
#define WEIGHT 0.05
#define MOST   3.0

/* A cut leaves a share of the rest and of the whole, so that cuts are few; validations and
 * checkpoints to come are taken to be longer than the last ones. */
#define CUT_MARGIN   0.03
#define WHOLE_MARGIN 0.01
#define END_SAFETY   1.1

static double seconds_since(uint64_t begin_ns) {
    return (double)(bp_clock_ns() - begin_ns) * 1e-9;
}

/* --- the begin -------------------------------------------------------------------------------- */

uint64_t bp_time_limit_steps(const struct bp_pace *pace, const struct bp_course *course,
                             double limit, double spent, uint64_t most, double *needed) {
    uint64_t least = (course->batches + LEAST_PART - 1) / LEAST_PART;
    if (least > most)
        least = most;
    double left = limit * (1 - BP_TIME_MARGIN) - spent - BP_FINISH_SECONDS;
    uint64_t steps = bp_pace_steps(pace, course, 0, most, left);
    uint64_t counted = steps < least ? least : steps;
    *needed = (spent + BP_FINISH_SECONDS + bp_pace_seconds(pace, course, 0, counted)) /
              (1 - BP_TIME_MARGIN);
    return steps < least ? 0 : steps;
}

static bp_status too_short(const struct bp_session *session, const struct bp_pace *pace,
                           double spent, double needed) {
    return bp_fail(BP_USAGE,
                   "--time %s is too short: reading and measuring took %.1f s, a step takes %.0f "
                   "ms, a validation %.1f s; a tenth of an epoch needs --time %.0fs",
                   session->settings.time_text, spent, 1e3 * pace->step, pace->validation,
                   needed + 1);
}

/* Epochs and steps that were given are limits still. */
static uint64_t most_steps(const struct bp_session *session) {
    const struct bp_settings *settings = &session->settings;
    double most = (double)UINT32_MAX;
    double epochs = (double)settings->epochs * (double)session->batches;
    if (settings->epochs_given && epochs < most)
        most = epochs;
    if (settings->max_steps > 0 && (double)settings->max_steps < most)
        most = (double)settings->max_steps;
    return (uint64_t)most;
}

bp_status bp_time_limit_fit(struct bp_session *session, const struct bp_pace *pace,
                            const struct bp_course *course, double spent) {
    struct bp_settings *settings = &session->settings;
    double needed;
    uint64_t steps =
        bp_time_limit_steps(pace, course, settings->seconds, spent, most_steps(session), &needed);
    if (steps == 0)
        return too_short(session, pace, spent, needed);
    settings->epochs = (size_t)((steps + session->batches - 1) / session->batches);
    settings->max_steps = (size_t)steps;
    session->time_forecast = spent + BP_FINISH_SECONDS + bp_pace_seconds(pace, course, 0, steps);
    return bp_session_count_steps(session);
}

bp_status bp_time_limit_begin(struct bp_time_limit *limit, struct bp_session *session,
                              uint64_t begin_ns) {
    double seconds = session->settings.seconds, share = MEASURE_SHARE * seconds;
    *limit = (struct bp_time_limit){.seconds = seconds, .begin_ns = begin_ns, .slowness = 1};
    if (seconds <= 0)
        return BP_OK;
    BP_TRY(bp_measure(session, share < MEASURE_MOST ? share : MEASURE_MOST, &limit->pace));
    BP_TRY(bp_session_renew(session));
    limit->course = bp_session_course(session);
    return bp_time_limit_fit(session, &limit->pace, &limit->course, seconds_since(begin_ns));
}

/* --- on the way ------------------------------------------------------------------------------- */

void bp_time_limit_mark(struct bp_time_limit *limit) {
    limit->last_ns = bp_clock_ns();
}

void bp_time_limit_validated(struct bp_time_limit *limit, double validation, double save) {
    limit->pace.validation = validation;
    limit->pace.save = save;
    limit->validated = 1;
    bp_time_limit_mark(limit);
}

/* Steps that were forecast to take no time say nothing about slowness. */
static void notice(struct bp_time_limit *limit, double expected) {
    double seconds = seconds_since(limit->last_ns);
    double ratio = expected > 0 ? seconds / expected : 1;
    limit->slowness += WEIGHT * ((ratio < MOST ? ratio : MOST) - limit->slowness);
    bp_time_limit_mark(limit);
}

int bp_time_limit_passed(struct bp_time_limit *limit, const struct bp_session *session,
                         uint64_t done, uint64_t *steps) {
    struct bp_pace pace = limit->pace;
    struct bp_course course = limit->course;
    double planned = (double)session->planned_steps, qat = (double)session->qat_steps;
    double position = bp_schedule_position(&session->cut, done, session->planned_steps);
    if (limit->seconds <= 0 || done >= session->total_steps)
        return 0;
    course.qat_share = position < qat ? (qat - position) / (planned - position) : 0;
    int measured = course.variance_every > 0 && done % course.variance_every == 0;
    double expected = position <= qat && qat > 0 ? pace.qat_step : pace.step;
    notice(limit, measured ? expected * BP_VARIANCE_STEPS : expected);
    pace.step *= limit->slowness;
    pace.qat_step *= limit->slowness;
    pace.validation *= END_SAFETY * (limit->validated ? 1 : limit->slowness);
    pace.save *= END_SAFETY;
    double left = limit->seconds - seconds_since(limit->begin_ns) - BP_FINISH_SECONDS;
    if (done % course.batches == 0) /* this epoch's validation is still to come */
        left -= pace.validation + pace.save;
    if (bp_pace_seconds(&pace, &course, done, session->total_steps) <= left)
        return 0;
    left -= CUT_MARGIN * left + WHOLE_MARGIN * limit->seconds;
    *steps = bp_pace_steps(&pace, &course, done, session->total_steps - 1, left);
    return 1;
}
