/* Cross entropy with label smoothing: against numbers worked out by hand, against a naive double
 * formula, and its gradient against central differences. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "ops/head_loss.h"

enum { N = 7, CLASSES = 5 };

static float logits[N * CLASSES], probabilities[N * CLASSES], gradient[N * CLASSES];
static int32_t labels[N];

static void fill(float scale) {
    struct bp_stream s = bp_stream_make(3, BP_RANDOM_TEST, 6, 0);
    for (size_t i = 0; i < N * CLASSES; i++)
        logits[i] = scale * bp_stream_normal(&s, i);
    for (size_t i = 0; i < N; i++)
        labels[i] = (int32_t)bp_stream_below(&s, 1000 + i, CLASSES);
}

/* The definition, in double: mean of -sum q log softmax. */
static double reference(const double *values, double smoothing) {
    double loss = 0;
    for (size_t i = 0; i < N; i++) {
        double sum = 0;
        for (size_t j = 0; j < CLASSES; j++)
            sum += exp(values[i * CLASSES + j]);
        for (size_t j = 0; j < CLASSES; j++) {
            double q = smoothing / CLASSES + ((int32_t)j == labels[i] ? 1 - smoothing : 0);
            loss -= q * log(exp(values[i * CLASSES + j]) / sum);
        }
    }
    return loss / N;
}

static void check_smoothing(float smoothing) {
    double values[N * CLASSES];
    size_t correct, expected_correct = 0;
    fill(2.0f);
    for (size_t i = 0; i < N * CLASSES; i++)
        values[i] = (double)logits[i];
    double loss =
        bp_head_loss(logits, labels, N, CLASSES, smoothing, probabilities, gradient, &correct);
    assert_true(fabs(loss - reference(values, (double)smoothing)) < 1e-12);
    for (size_t i = 0; i < N; i++) {
        double sum = 0, row_gradient = 0;
        size_t best = 0;
        for (size_t j = 0; j < CLASSES; j++) {
            size_t at = i * CLASSES + j;
            double before = values[at];
            values[at] = before + 1e-5;
            double above = reference(values, (double)smoothing);
            values[at] = before - 1e-5;
            double slope = (above - reference(values, (double)smoothing)) / 2e-5;
            values[at] = before;
            assert_true(fabs((double)gradient[at] - slope) < 2e-8); /* float: |gradient| < 1/7 */
            sum += (double)probabilities[at];
            row_gradient += (double)gradient[at];
            best = logits[at] > logits[i * CLASSES + best] ? j : best;
        }
        assert_true(fabs(sum - 1) < 1e-6);
        assert_true(fabs(row_gradient) < 1e-7);
        expected_correct += (int32_t)best == labels[i];
    }
    assert_int_equal(correct, expected_correct);
}

static void test_definition(void **state) {
    (void)state;
    check_smoothing(0.0f);
    check_smoothing(0.1f);
    check_smoothing(1.0f);
}

static void test_by_hand(void **state) {
    (void)state;
    const float equal[4] = {3, 3, 3, 3};
    const int32_t label = 2, first = 0;
    float p[4], g[4];
    size_t correct;
    /* four equal logits: log 4 with any smoothing; the first of equals is the prediction */
    assert_true(fabs(bp_head_loss(equal, &label, 1, 4, 0.3f, p, g, &correct) - log(4)) < 1e-12);
    assert_int_equal(correct, 0);
    bp_head_loss(equal, &first, 1, 4, 0.0f, p, g, &correct);
    assert_int_equal(correct, 1);
    assert_true(g[0] == -0.75f && g[1] == 0.25f && p[3] == 0.25f);
}

static void test_no_overflow(void **state) {
    (void)state;
    const float far[3] = {1e30f, -1e30f, 0};
    const int32_t best = 0, worst = 1;
    float p[3], g[3];
    size_t correct;
    assert_true(bp_head_loss(far, &best, 1, 3, 0.0f, p, g, &correct) == 0);
    assert_true(p[0] == 1 && p[1] == 0 && g[0] == 0 && correct == 1);
    double loss = bp_head_loss(far, &worst, 1, 3, 0.0f, p, g, &correct);
    assert_true(fabs(loss / 2e30 - 1) < 1e-6 && correct == 0);
}

/* Training stops with an error when the loss is not a number, so it must become one. */
static void test_nan_reaches_the_loss(void **state) {
    (void)state;
    size_t correct;
    for (size_t at = 0; at < CLASSES; at++) {
        fill(1.0f);
        logits[3 * CLASSES + at] = NAN;
        assert_true(isnan(
            bp_head_loss(logits, labels, N, CLASSES, 0.0f, probabilities, gradient, &correct)));
    }
}

/* Without a gradient the rest is the same, and nothing is written where the gradient would be. */
static void test_without_gradient(void **state) {
    (void)state;
    size_t correct, correct_without;
    float without[N * CLASSES];
    fill(2.0f);
    double loss = bp_head_loss(logits, labels, N, CLASSES, 0.1f, probabilities, gradient, &correct);
    assert_true(bp_head_loss(logits, labels, N, CLASSES, 0.1f, without, NULL, &correct_without) ==
                loss);
    assert_memory_equal(without, probabilities, sizeof without);
    assert_int_equal(correct, correct_without);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_definition),       cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_no_overflow),      cmocka_unit_test(test_nan_reaches_the_loss),
        cmocka_unit_test(test_without_gradient),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
