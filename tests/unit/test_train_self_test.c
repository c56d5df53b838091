/* The self-test passes on this machine, and sees kernels that are wrong by one unit, on one tier or
 * with several threads only. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/c/tier_c.h"
#include "train/self_test.h"

/* --- planted mistakes ------------------------------------------------------------------------- */

/* Products are planted for all of their methods: a tier uses one of them. */

static void product_off_by_two(const uint64_t *x, const int32_t *pixel, const int32_t *to, size_t n,
                               const int32_t *tap, const int32_t *tap_w, size_t taps, size_t w_taps,
                               size_t cw, const uint64_t *w, size_t k, int bias, int16_t *y) {
    bp_product_xor_c(x, pixel, to, n, tap, tap_w, taps, w_taps, cw, w, k, bias, y);
    y[n * k - 1] = (int16_t)(y[n * k - 1] + 2);
}

static void signs_off_by_two(const uint8_t *x, const int32_t *pixel, const int32_t *to, size_t n,
                             const int32_t *tap, const int32_t *tap_w, size_t taps, size_t w_taps,
                             size_t quads, const uint8_t *index, size_t k, int bias, int16_t *y) {
    bp_product_signs_c(x, pixel, to, n, tap, tap_w, taps, w_taps, quads, index, k, bias, y);
    y[n * k - 1] = (int16_t)(y[n * k - 1] + 2);
}

static void tables_off_by_one(const uint8_t *tables, const int32_t *pixel, size_t n,
                              const int32_t *tap, const int32_t *tap_w, size_t taps, size_t w_taps,
                              size_t quads, size_t together, int entry_max, const uint8_t *index,
                              size_t c, const int32_t *base, int shift, int32_t *y,
                              struct bp_fetch *soon) {
    bp_product_tables_c(tables, pixel, n, tap, tap_w, taps, w_taps, quads, together, entry_max,
                        index, c, base, shift, y, soon);
    y[0]++;
}

static void planes_off_by_one(const uint64_t *x, const int32_t *pixel, size_t n, const int32_t *tap,
                              const int32_t *tap_w, size_t taps, size_t w_taps, size_t kw,
                              int planes, int is_signed, const uint64_t *w, size_t c, int32_t *y) {
    bp_product_planes_c(x, pixel, n, tap, tap_w, taps, w_taps, kw, planes, is_signed, w, c, y);
    y[0]++;
}

/* Of the first row of a call that is wanted. */
static size_t first_row(const struct bp_tile_blocks *blocks) {
    size_t i = 0;
    while (blocks->to[i] < 0)
        i++;
    return (size_t)blocks->to[i];
}

static void tiles_off_by_two(const int8_t *x, const struct bp_tile_blocks *blocks,
                             const int32_t *tap, const int32_t *tap_w, size_t taps, size_t steps,
                             const int8_t *w, const int32_t *start, size_t lanes, int16_t *y,
                             size_t y_stride, const struct bp_lane_mask *mask) {
    bp_product_tiles_i16_c(x, blocks, tap, tap_w, taps, steps, w, start, lanes, y, y_stride, mask);
    y[first_row(blocks) * y_stride] = (int16_t)(y[first_row(blocks) * y_stride] + 2);
}

static void tiles_off_by_one(const uint8_t *x, int is_signed, const struct bp_tile_blocks *blocks,
                             const int32_t *tap, const int32_t *tap_w, size_t taps, size_t steps,
                             const int8_t *w, size_t lanes, int32_t *y, size_t y_stride,
                             struct bp_fetch *soon) {
    bp_product_tiles_i32_c(x, is_signed, blocks, tap, tap_w, taps, steps, w, lanes, y, y_stride,
                           soon);
    y[first_row(blocks) * y_stride]++;
}

static void last_code_up(const float *g, size_t n, size_t g_stride, const int32_t *column, size_t k,
                         const uint8_t *random, const struct bp_rounding *rounding,
                         const struct bp_grid *grid, uint8_t *codes) {
    bp_round_columns_c(g, n, g_stride, column, k, random, rounding, grid, codes);
    codes[n * k - 1] ^= 1;
}

/* A range's sum of squares, one rounding off: matters to the quantizer's probabilities only. */
static void sum_one_rounding_off(const struct bp_gradient_rows *g, const int16_t *y, size_t n,
                                 size_t c, const float *scale, const float *shift,
                                 const float *slope, const float *ka, const float *kb,
                                 const float *kc, struct bp_columns to) {
    bp_act_range_i16_c(g, y, n, c, scale, shift, slope, ka, kb, kc, to);
    to.sum_squares[0] *= 1.0000002f;
}

static void last_rounding_off(const struct bp_gradient_rows *g, const float *y, size_t n, size_t c,
                              const float *scale, const float *shift, const float *slope,
                              const float *ka, const float *kb, const float *kc, int add,
                              float *out) {
    bp_act_grad_f32_c(g, y, n, c, scale, shift, slope, ka, kb, kc, add, out);
    out[n * c - 1] *= 1.0000002f;
}

enum mistake { FORWARD, GRADIENT, CODES, RANGE, ACT_GRAD };

static void break_forward(struct bp_kernels *kernels) {
    kernels->product_xor = product_off_by_two;
    kernels->product_signs = signs_off_by_two;
    kernels->product_tiles_i16 = tiles_off_by_two;
}

static void plant(enum mistake mistake, struct bp_kernels *kernels) {
    if (mistake == FORWARD) {
        break_forward(kernels);
    } else if (mistake == GRADIENT) {
        kernels->product_planes = planes_off_by_one;
        kernels->product_tables = tables_off_by_one;
        kernels->product_tiles_i32 = tiles_off_by_one;
    } else if (mistake == CODES) {
        kernels->round_columns = last_code_up;
    } else if (mistake == RANGE) {
        kernels->act_range_i16 = sum_one_rounding_off;
    } else {
        kernels->act_grad_f32 = last_rounding_off;
    }
}

/* --- tests ------------------------------------------------------------------------------------ */

static size_t choices_of(const char *option) {
    size_t count = 0;
    while (bp_option_find(option)->choices[count] != NULL)
        count++;
    return count;
}

static void test_this_machine(void **state) {
    (void)state;
    static bp_self_test_result result;
    if (bp_self_test(&result) != BP_OK)
        fail_msg("%s", bp_last_error());
    assert_int_equal(result.networks,
                     choices_of("model") * (choices_of("precision") - 1 + choices_of("preset")));
    assert_int_equal(result.n_tiers, BP_TIER_COUNT);
    assert_true(result.seconds > 0);
    for (size_t i = 0; i < result.n_tiers; i++) {
        const char *name;
        int present;
        assert_int_equal(bp_tier_at(i, &name, &present), 1);
        assert_string_equal(result.tiers[i].tier, name);
        assert_int_equal(result.tiers[i].present, present);
        assert_int_equal(result.tiers[i].status, BP_OK);
        assert_string_equal(result.tiers[i].difference, "");
    }
}

/* The reference keeps its kernels: all other runs have the mistake. */
static void break_all_but_reference(void *user, enum bp_tier tier, int threads,
                                    struct bp_kernels *kernels) {
    if (tier != BP_TIER_C || threads != 1)
        plant(*(const enum mistake *)user, kernels);
}

static void test_mistakes_are_seen(void **state) {
    (void)state;
    static bp_self_test_result result;
    for (enum mistake mistake = FORWARD; mistake <= ACT_GRAD; mistake++) {
        assert_int_equal(bp_self_test_run(break_all_but_reference, &mistake, &result), BP_CHECK);
        for (size_t i = 0; i < result.n_tiers; i++)
            assert_int_equal(result.tiers[i].status, result.tiers[i].present ? BP_CHECK : BP_OK);
    }
}

/* Broken with two threads of the best tier: that one is named, with the network and the tensor. */
static void break_best_with_two(void *user, enum bp_tier tier, int threads,
                                struct bp_kernels *kernels) {
    (void)user;
    if (tier == bp_cpu_best() && threads == 2)
        break_forward(kernels);
}

static void test_difference_is_named(void **state) {
    (void)state;
    static bp_self_test_result result;
    char head[128];
    assert_int_equal(bp_self_test_run(break_best_with_two, NULL, &result), BP_CHECK);
    for (size_t i = 0; i < result.n_tiers; i++) {
        int broken = i == (size_t)bp_cpu_best();
        assert_int_equal(result.tiers[i].status, broken ? BP_CHECK : BP_OK);
        assert_int_equal(strlen(result.tiers[i].difference) > 0, broken);
    }
    const char *difference = result.tiers[bp_cpu_best()].difference;
    assert_ptr_equal(strstr(difference, "vgg16 fqt one-bit, 2 threads: "), difference);
    assert_non_null(strstr(difference, " instead of "));
    snprintf(head, sizeof head, "the %s kernels do not give what the C ones give with one thread: ",
             bp_tier_name(bp_cpu_best()));
    assert_ptr_equal(strstr(bp_last_error(), head), bp_last_error());
    assert_non_null(strstr(bp_last_error(), difference));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_this_machine),
        cmocka_unit_test(test_mistakes_are_seen),
        cmocka_unit_test(test_difference_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
