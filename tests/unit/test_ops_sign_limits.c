/* Limits of signs and masks against the float formulas, on every integer of 16 bits. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "ops/sign_limits.h"

enum { CHANNELS = 400, COEFFICIENTS = 4 };

static struct bp_exec *exec;
static struct bp_plan *plan;
static struct bp_sign_limits limits;
static float coefficient[COEFFICIENTS][CHANNELS];

static int set_up(void **state) {
    (void)state;
    assert_int_equal(bp_exec_create(&exec, BP_TIER_C, 2), BP_OK);
    assert_int_equal(bp_plan_create(&plan), BP_OK);
    assert_int_equal(bp_sign_limits_plan(&limits, plan, 1, "test", 0, 0), BP_OK);
    return bp_plan_allocate(plan, "a test") == BP_OK ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    bp_plan_destroy(plan);
    bp_exec_destroy(exec);
    return 0;
}

/* Numbers of all magnitudes, and special ones. */
static float number(size_t i) {
    static const float special[] = {0.0f, -0.0f, 1.0f, -1.0f, 0.25f, 1e-44f, -1e-40f, 1e9f, -1e9f};
    struct bp_stream s = bp_stream_make(5, BP_RANDOM_TEST, 7, 1);
    float draw = bp_stream_uniform(&s, 2 * i);
    if (draw < 0.2f)
        return special[(size_t)(draw * 45.0f) % 9];
    float normal = bp_stream_normal(&s, 100000 + i);
    return draw < 0.7f ? normal
                       : ldexpf(normal, (int)(60.0f * bp_stream_uniform(&s, 2 * i + 1)) - 50);
}

static void draw(void) {
    for (size_t k = 0; k < COEFFICIENTS; k++)
        for (size_t j = 0; j < CHANNELS; j++)
            coefficient[k][j] = number(k * CHANNELS + j);
}

/* Each operation by itself. */
static float times(float a, float b) {
    volatile float product = a * b;
    return product;
}

static float plus(float a, float b) {
    volatile float sum = a + b;
    return sum;
}

static float affine(int y, size_t j) {
    float v = plus(times((float)y, coefficient[0][j]), coefficient[1][j]);
    return v < 0.0f ? times(v, coefficient[2][j]) : v;
}

static float act_norm(int y, size_t j) {
    float u = times((float)y, coefficient[3][j]);
    float h = u < 0.0f ? times(u, coefficient[2][j]) : u;
    return plus(times(h, coefficient[0][j]), coefficient[1][j]);
}

static void check_all_integers(float (*value)(int, size_t), size_t j) {
    const struct bp_limit_rows at = bp_sign_limits_rows(&limits);
    for (int y = INT16_MIN; y <= INT16_MAX; y++) {
        float v = value(y, j);
        int sign = at.sign_low[0] <= y && y <= at.sign_high[0];
        int mask = at.mask_low[0] <= y && y <= at.mask_high[0];
        if (sign != (v < 0.0f) || mask != (fabsf(v) < 1.0f))
            fail_msg("channel %zu, y %d: value %g, sign %d, mask %d", j, y, (double)v, sign, mask);
    }
}

static struct bp_affine_rows affine_rows(size_t j) {
    return (struct bp_affine_rows){&coefficient[0][j], &coefficient[1][j], &coefficient[2][j]};
}

static void test_affine(void **state) {
    (void)state;
    draw();
    for (size_t j = 0; j < CHANNELS; j++) {
        const struct bp_affine_rows a = affine_rows(j);
        assert_true(bp_sign_limits_of_affine(&limits, exec, &a, 0));
        check_all_integers(affine, j);
    }
}

static void test_order(void **state) {
    (void)state;
    size_t ordered = 0;
    draw();
    for (size_t j = 0; j < CHANNELS; j++) {
        const struct bp_affine_rows a = affine_rows(j);
        if (!bp_sign_limits_of_affine(&limits, exec, &a, 1))
            continue;
        ordered++;
        check_all_integers(affine, j);
        int flip = bp_sign_limits_rows(&limits).flip[0];
        for (int key = INT16_MIN; key < INT16_MAX; key++)
            assert_true(affine(key ^ flip, j) < affine((key + 1) ^ flip, j));
    }
    assert_in_range(ordered, CHANNELS / 10, CHANNELS / 2);
}

static void test_act_norm(void **state) {
    (void)state;
    draw();
    for (size_t j = 0; j < CHANNELS; j++) {
        const struct bp_act_norm_rows a = {.alpha = &coefficient[3][j],
                                           .slope = &coefficient[2][j],
                                           .scale = &coefficient[0][j],
                                           .shift = &coefficient[1][j]};
        assert_int_equal(bp_sign_limits_of_act_norm(&limits, exec, &a),
                         !(coefficient[2][j] < 0.0f));
        if (!(coefficient[2][j] < 0.0f))
            check_all_integers(act_norm, j);
    }
}

static void test_none(void **state) {
    (void)state;
    const float bad[] = {NAN, INFINITY, -INFINITY, 2e9f};
    for (size_t i = 0; i < 12; i++) {
        float v[3] = {1.0f, 0.0f, 0.25f};
        v[i / 4] = bad[i % 4];
        const struct bp_affine_rows a = {&v[0], &v[1], &v[2]};
        assert_false(bp_sign_limits_of_affine(&limits, exec, &a, 0));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_affine),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_act_norm),
        cmocka_unit_test(test_none),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
