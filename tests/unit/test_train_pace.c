/* The arithmetic of a run's time, and --time with a clock that the test holds: what fits, what is
 * cut, and that a cut run is resumed exactly. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "data_files.h"
#include "train/forecast.h"
#include "train/time_limit.h"
#include "train_files.h"

static void near(double value, double wanted) {
    if (!(value > wanted - 1e-9 * wanted - 1e-12 && value < wanted + 1e-9 * wanted + 1e-12))
        fail_msg("%.17g, not %.17g", value, wanted);
}

/* --- arithmetic ------------------------------------------------------------------------------- */

static const struct bp_pace pace = {.step = 2, .qat_step = 3, .validation = 10, .save = 1};

static void test_seconds(void **state) {
    (void)state;
    struct bp_course course = {.batches = 10};
    near(bp_pace_seconds(&pace, &course, 0, 10), 20 + 11);
    near(bp_pace_seconds(&pace, &course, 0, 1), 2 + 11); /* every run ends with a validation */
    near(bp_pace_seconds(&pace, &course, 0, 11), 22 + 2 * 11);
    near(bp_pace_seconds(&pace, &course, 0, 25), 50 + 3 * 11);
    near(bp_pace_seconds(&pace, &course, 12, 25), 26 + 2 * 11);
    near(bp_pace_seconds(&pace, &course, 10, 20), 20 + 11); /* that of step 10 is over */
    near(bp_pace_seconds(&pace, &course, 25, 25), 0);
    course.checkpoint_every = 4;
    near(bp_pace_seconds(&pace, &course, 0, 25), 50 + 3 * 11 + 6);
    near(bp_pace_seconds(&pace, &course, 8, 9), 2 + 11);
    course.checkpoint_every = 0;
    course.variance_every = 5;
    near(bp_pace_seconds(&pace, &course, 0, 10), 20 + 11 + 2 * 14 * 2);
    course.variance_every = 0;
    course.qat_share = 0.25;
    near(bp_pace_seconds(&pace, &course, 0, 20), 5 * 3 + 15 * 2 + 2 * 11);
}

static void test_steps(void **state) {
    (void)state;
    struct bp_course course = {.batches = 10, .qat_share = 0.1, .checkpoint_every = 7};
    for (uint64_t done = 0; done < 30; done += 6)
        for (double seconds = 0; seconds < 200; seconds += 3.7) {
            uint64_t steps = bp_pace_steps(&pace, &course, done, 60, seconds);
            assert_true(steps >= done && steps <= 60);
            if (steps > done)
                assert_true(bp_pace_seconds(&pace, &course, done, steps) <= seconds);
            if (steps < 60)
                assert_true(bp_pace_seconds(&pace, &course, done, steps + 1) > seconds);
        }
    assert_int_equal(bp_pace_steps(&pace, &course, 0, UINT32_MAX, 1e30), UINT32_MAX);
}

/* The margin and the end are left free, and less than a tenth of an epoch is not worth a run. */
static void test_limit(void **state) {
    (void)state;
    struct bp_course course = {.batches = 100};
    double needed;
    for (double limit = 20; limit < 2000; limit *= 1.3) {
        uint64_t steps = bp_time_limit_steps(&pace, &course, limit, 5, UINT32_MAX, &needed);
        double used = 5 + BP_FINISH_SECONDS + bp_pace_seconds(&pace, &course, 0, steps);
        if (steps == 0) {
            assert_true(needed > limit);
            near(needed * (1 - BP_TIME_MARGIN), 5 + BP_FINISH_SECONDS + 10 * 2 + 11);
            continue;
        }
        assert_true(steps >= 10 && used <= limit * (1 - BP_TIME_MARGIN) && needed <= limit);
        assert_true(used + 2 + 11 > limit * (1 - BP_TIME_MARGIN)); /* not a step more */
    }
    /* What is said to be needed is enough. */
    assert_int_equal(bp_time_limit_steps(&pace, &course, 20, 5, UINT32_MAX, &needed), 0);
    assert_true(bp_time_limit_steps(&pace, &course, needed + 1e-9, 5, UINT32_MAX, &needed) >= 10);
    assert_int_equal(bp_time_limit_steps(&pace, &course, 2000, 5, 12, &needed), 12);
    assert_int_equal(bp_time_limit_steps(&pace, &course, 2000, 5, 3, &needed), 3);
}

static void test_forecast_times(void **state) {
    (void)state;
    struct bp_course course = {.batches = 10, .qat_share = 0.2};
    bp_forecast_side side = {0};
    bp_forecast_times(&pace, &course, 64, 50, 7, &side);
    assert_int_equal(side.timed, 1);
    near(side.step_seconds, 2);
    near(side.images_per_s, 32);
    near(side.epoch_seconds, 31);
    near(side.run_seconds, 7 + BP_FINISH_SECONDS + 10 * 3 + 40 * 2 + 5 * 11);
}

/* --- a clock in the test's hand --------------------------------------------------------------- */

#define SECOND 1000000000ull

/* Every look takes a millisecond while it is not frozen. */
static _Atomic uint64_t now_ns;
static _Atomic int frozen;

static uint64_t held_clock(void) {
    return atomic_load(&frozen) ? atomic_load(&now_ns)
                                : atomic_fetch_add(&now_ns, SECOND / 1000) + SECOND / 1000;
}

static void hold_clock(void) {
    atomic_store(&now_ns, SECOND);
    atomic_store(&frozen, 0);
    bp_clock_replace(held_clock);
}

struct watch {
    const char *folder;
    size_t first_steps, last_steps, slow_step, cuts, copied;
    uint64_t pause_ns; /* after slow_step */
    int freeze;        /* at the start: the run then never falls behind */
};

/* A pause after slow_step; then time stands still. The run's folder is copied with the first
 * checkpoint after the cut. */
static void watch(void *user, const bp_event *event) {
    struct watch *w = user;
    char command[3 * BP_PATH_BYTES];
    if (event->kind == BP_EVENT_START)
        w->first_steps = event->steps;
    if (event->kind == BP_EVENT_START && w->freeze)
        atomic_store(&frozen, 1);
    if (event->kind == BP_EVENT_STEP && event->step == w->slow_step)
        atomic_fetch_add(&now_ns, w->pause_ns);
    if (event->kind == BP_EVENT_NOTE && event->step >= w->slow_step &&
        strstr(event->text, "slower than forecast") != NULL) {
        w->cuts++;
        atomic_store(&frozen, 1);
    }
    if (event->kind == BP_EVENT_CHECKPOINT && w->cuts > 0 && w->copied == 0 &&
        event->step < event->steps) {
        snprintf(command, sizeof command, "cp -r %s/run %s/copy", w->folder, w->folder);
        assert_int_equal(system(command), 0);
        w->copied = event->step;
    }
    w->last_steps = event->steps;
}

static bp_config *time_config(const char *folder, const char *run, const char *time) {
    return TRAIN_CONFIG(folder, run, "time", time, "epochs", "1000", "checkpoint-every", "1",
                        "log-every", "1", "ema", "0.9", "qat-warmup", "0.3", "report", "false",
                        "width", "0.03");
}

static double last_lr(const char *folder, const char *run) {
    size_t count;
    char *text = train_read(folder, run, "metrics.jsonl", &count), *lr = NULL;
    for (char *next = text; (next = strstr(next, "\"lr\": ")) != NULL; next++)
        lr = next + 6;
    double value = strtod(lr, NULL);
    bp_text_free(text);
    return value;
}

static void test_cut_run(void **state) {
    const char *folder = *state;
    char path[BP_PATH_BYTES];
    bp_train_result result;
    struct watch w = {.folder = folder, .slow_step = 6, .pause_ns = 12 * SECOND};
    hold_clock();
    bp_config *config = time_config(folder, "run", "30s");
    if (bp_train(config, watch, &w, &result) != BP_OK)
        fail_msg("%s", bp_last_error());
    assert_true(w.first_steps >= 20); /* else the pause takes too much */
    assert_true(w.cuts == 1 && w.copied >= 6 && w.last_steps < w.first_steps);
    assert_int_equal(result.step, w.last_steps);
    assert_true(result.step > w.copied);
    assert_string_equal(result.ended_by, "time");
    assert_true(last_lr(folder, "run") < 0.15e-3); /* the schedule came to its end */
    /* The copy goes on without a clock, in two parts. */
    bp_clock_replace(NULL);
    snprintf(path, sizeof path, "%s/copy", folder);
    size_t stop = w.copied + 1;
    bp_status status = bp_resume(path, NULL, train_interrupt_at, &stop, &result);
    if (status == BP_INTERRUPT)
        status = bp_resume(path, NULL, NULL, NULL, &result);
    if (status != BP_OK)
        fail_msg("%s", bp_last_error());
    assert_string_equal(result.ended_by, "time");
    train_expect_same_run(folder, "run", "copy");
    bp_config_destroy(config);
}

/* What was fitted is recorded: the same run again, and resumed, without a clock. */
static void test_recorded(void **state) {
    const char *folder = *state;
    char path[BP_PATH_BYTES];
    bp_train_result result;
    struct watch w = {.folder = folder, .freeze = 1};
    hold_clock();
    bp_config *config = time_config(folder, "run", "0.5m");
    assert_int_equal(bp_train(config, watch, &w, &result), BP_OK);
    bp_clock_replace(NULL);
    assert_true(w.cuts == 0 && w.first_steps == w.last_steps && w.first_steps == result.step);
    size_t count;
    char *text = train_read(folder, "run", "config.json", &count);
    assert_null(strstr(text, "\"time\""));
    bp_text_free(text);
    bp_config *again = TRAIN_CONFIG(folder, "again", "seed", "1");
    snprintf(path, sizeof path, "%s/run/config.json", folder);
    assert_int_equal(bp_config_load_json(again, path), BP_OK);
    size_t stop = 7;
    assert_int_equal(bp_train(again, train_interrupt_at, &stop, &result), BP_INTERRUPT);
    snprintf(path, sizeof path, "%s/again", folder);
    assert_int_equal(bp_resume(path, NULL, NULL, NULL, &result), BP_OK);
    train_expect_same_run(folder, "run", "again");
    bp_config_destroy(again);
    bp_config_destroy(config);
}

/* Time that is up ends the run at once, with its validation. */
static void test_out_of_time(void **state) {
    const char *folder = *state;
    bp_train_result result;
    struct watch w = {.folder = folder, .slow_step = 6, .pause_ns = 100 * SECOND};
    hold_clock();
    bp_config *config = time_config(folder, "run", "30s");
    assert_int_equal(bp_train(config, watch, &w, &result), BP_OK);
    bp_clock_replace(NULL);
    assert_int_equal(result.step, 6);
    assert_string_equal(result.ended_by, "time");
    assert_true(result.accuracy >= 0);
    bp_config_destroy(config);
}

static void test_too_short(void **state) {
    const char *folder = *state;
    bp_train_result result;
    hold_clock();
    bp_config *config = time_config(folder, "run", "1s");
    assert_int_equal(bp_train(config, NULL, NULL, &result), BP_USAGE);
    bp_clock_replace(NULL);
    assert_non_null(strstr(bp_last_error(), "--time 1s is too short: reading and measuring took"));
    assert_string_equal(result.run, "");
    bp_config_destroy(config);
}

/* --- times as options ------------------------------------------------------------------------- */

static void test_times(void **state) {
    (void)state;
    static const struct {
        const char *text;
        double seconds; /* 0: none */
    } cases[] = {{"90s", 90},    {"30m", 1800},  {"2h", 7200}, {"1h30m", 5400}, {"1h1m1s", 3661},
                 {"1.5h", 5400}, {"2h5s", 7205}, {"0.5m", 30}, {"90", 0},       {"s", 0},
                 {"", 0},        {"30m1h", 0},   {"5m5m", 0},  {"-5s", 0},      {"5 m", 0},
                 {"1e3s", 0},    {"1..5s", 0},   {"5sx", 0},   {"h5", 0},       {"1d", 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        double seconds = 0;
        int valid = bp_parse_time(cases[i].text, &seconds);
        if (valid != (cases[i].seconds > 0) || (valid && seconds != cases[i].seconds))
            fail_msg("'%s': %d, %g", cases[i].text, valid, seconds);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_seconds),
        cmocka_unit_test(test_steps),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_forecast_times),
        cmocka_unit_test(test_times),
        cmocka_unit_test_setup_teardown(test_cut_run, train_folder_setup, data_folder_teardown),
        cmocka_unit_test_setup_teardown(test_recorded, train_folder_setup, data_folder_teardown),
        cmocka_unit_test_setup_teardown(test_out_of_time, train_folder_setup, data_folder_teardown),
        cmocka_unit_test_setup_teardown(test_too_short, train_folder_setup, data_folder_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
