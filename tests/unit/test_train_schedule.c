/* Schedules of the learning rate, and runs that are cut, against their definitions. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "train/schedule.h"

static void assert_close(double value, double expected) {
    if (!(fabs(value - expected) <= 1e-14))
        fail_msg("%.17g, expected %.17g", value, expected);
}

static void test_schedules(void **state) {
    (void)state;
    struct bp_schedule_config c = {.kind = BP_SCHEDULE_COSINE};
    assert_int_equal(bp_schedule_check(&c), BP_OK);
    assert_close(bp_schedule_factor(&c, 0, 100), 1);
    assert_close(bp_schedule_factor(&c, 25, 100), 0.5 + sqrt(0.125));
    assert_close(bp_schedule_factor(&c, 50, 100), 0.5);
    assert_close(bp_schedule_factor(&c, 100, 100), 0);
    assert_close(bp_schedule_factor(&c, 150, 100), 0);
    c.warmup_steps = 4;
    c.min_factor = 0.2;
    for (uint64_t s = 0; s < 4; s++)
        assert_close(bp_schedule_factor(&c, (double)s, 24), 0.25 * (double)(s + 1));
    assert_close(bp_schedule_factor(&c, 4, 24), 1);
    assert_close(bp_schedule_factor(&c, 14, 24), 0.6);
    assert_close(bp_schedule_factor(&c, 24, 24), 0.2);
    assert_close(bp_schedule_factor(&c, 4, 4), 0.2); /* nothing after warm-up */
    assert_close(bp_schedule_factor(&c, 1, 2), 0.5); /* shorter than warm-up */
    c.kind = BP_SCHEDULE_CONSTANT;
    assert_close(bp_schedule_factor(&c, 0, 24), 0.25);
    assert_close(bp_schedule_factor(&c, 23, 24), 1);
}

static void test_step_schedule(void **state) {
    (void)state;
    struct bp_schedule_config c = {.kind = BP_SCHEDULE_STEP, .gamma = 0.1};
    assert_int_equal(bp_schedule_check(&c), BP_USAGE); /* no interval */
    c.every_steps = 10;
    assert_int_equal(bp_schedule_check(&c), BP_OK);
    assert_close(bp_schedule_factor(&c, 9, 100), 1);
    assert_close(bp_schedule_factor(&c, 10, 100), 0.1);
    assert_close(bp_schedule_factor(&c, 29, 100), 0.01);
    c.n_milestones = 2;
    c.milestones[0] = 5;
    c.milestones[1] = 70;
    assert_close(bp_schedule_factor(&c, 4, 100), 1);
    assert_close(bp_schedule_factor(&c, 5, 100), 0.1);
    assert_close(bp_schedule_factor(&c, 69, 100), 0.1);
    assert_close(bp_schedule_factor(&c, 70, 100), 0.01);
    c.warmup_steps = 2;
    assert_close(bp_schedule_factor(&c, 0, 100), 0.5);
    c.gamma = 0;
    assert_int_equal(bp_schedule_check(&c), BP_USAGE);
    c.gamma = 0.1;
    c.min_factor = 1.5;
    assert_int_equal(bp_schedule_check(&c), BP_USAGE);
    enum bp_schedule_kind kind;
    assert_int_equal(bp_schedule_parse("step", &kind), BP_OK);
    assert_int_equal(kind, BP_SCHEDULE_STEP);
    assert_int_equal(bp_schedule_parse("linear", &kind), BP_USAGE);
}

/* --- a run that is cut ------------------------------------------------------------------------ */

static void test_cut_schedule(void **state) {
    (void)state;
    struct bp_schedule_cut cut = {0};
    struct bp_schedule_config cosine = {.kind = BP_SCHEDULE_COSINE};
    const uint64_t planned = 1000;
    for (uint64_t step = 0; step < planned; step += 37)
        assert_true(bp_schedule_position(&cut, step, planned) == (double)step);
    /* After step 300 it is to end after 400 steps: the rest goes seven times as fast. */
    bp_schedule_cut_to(&cut, 300, 400, planned);
    assert_true(cut.step == 300 && cut.position == 300 && cut.steps == 400);
    assert_close(bp_schedule_position(&cut, 300, planned), 300);
    assert_close(bp_schedule_position(&cut, 301, planned), 307);
    assert_close(bp_schedule_position(&cut, 399, planned), 993);
    assert_close(bp_schedule_position(&cut, 400, planned), 1000);
    /* Again: from where it stands then. */
    bp_schedule_cut_to(&cut, 350, 375, planned);
    assert_close(cut.position, 650);
    assert_close(bp_schedule_position(&cut, 351, planned), 664);
    assert_close(bp_schedule_position(&cut, 375, planned), 1000);
    double before = 1;
    for (uint64_t step = 350; step < 375; step++) { /* it falls to its end, without a jump */
        double factor =
            bp_schedule_factor(&cosine, bp_schedule_position(&cut, step, planned), planned);
        assert_true(factor < before && (step == 350 || before - factor < 0.05));
        before = factor;
    }
    assert_true(before < 0.001);
    bp_schedule_cut_to(&cut, 360, 361, planned); /* to end now */
    assert_close(bp_schedule_position(&cut, 361, planned), 1000);
}

/* Whole numbers give what they gave when the function took them as such. */
static void test_step_positions(void **state) {
    (void)state;
    struct bp_schedule_config c = {.kind = BP_SCHEDULE_STEP, .gamma = 0.5};
    for (uint64_t every = 1; every < 200; every += 7) {
        c.every_steps = every;
        for (uint64_t step = 0; step < 1000; step++)
            assert_true(bp_schedule_factor(&c, (double)step, 1000) ==
                        pow(0.5, (double)(step / every)));
    }
    c.every_steps = 3;
    assert_true(bp_schedule_factor(&c, (double)UINT32_MAX - 1, UINT32_MAX) ==
                pow(0.5, (double)((UINT32_MAX - 1) / 3)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_schedules),
        cmocka_unit_test(test_step_schedule),
        cmocka_unit_test(test_cut_schedule),
        cmocka_unit_test(test_step_positions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
