/* The weight gradient's integers at their largest: every code -127, every activation of one sign,
 * batch 512 at 224 pixels. Their sum, -3.3e9, does not fit into 32 bits. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "ops/bconv.h"

enum { BATCH = 512, SIDE = 224 };

static void constant_rows(const void *context, size_t n, size_t row, size_t rows, float *out,
                          void *scratch) {
    const float *value = context;
    (void)n, (void)row, (void)scratch;
    for (size_t i = 0; i < rows * SIDE; i++)
        out[i] = *value;
}

static void check(enum bp_tier tier, uint64_t sign, float gradient) {
    struct bp_quant da = {
        4, 1.0f, BP_SELECT_NONE, BP_WEIGHTS_RMS, BP_GRID_ZERO, 0.0f, BP_GROUPS_SAMPLE};
    struct bp_quant dw = {
        8, 1.0f, BP_SELECT_NONE, BP_WEIGHTS_RMS, BP_GRID_ZERO, 0.0f, BP_GROUPS_CHANNEL};
    struct bp_conv_shape shape;
    struct bp_exec *exec;
    struct bp_plan *plan;
    struct bp_bconv *op;
    size_t words = (size_t)BATCH * (SIDE + 2) * (SIDE + 2);
    uint64_t *x;
    float w[9] = {0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0.5f}, dw_out[9];
    const struct bp_grad_source source = {.context = &gradient, .rows = constant_rows};
    assert_int_equal(bp_conv_shape_set(&shape, BATCH, SIDE, SIDE, 1, 1, 3, 1, 1), BP_OK);
    assert_int_equal(bp_exec_create(&exec, tier, 2), BP_OK);
    assert_int_equal(bp_plan_create(&plan), BP_OK);
    assert_int_equal(bp_bconv_create(&op, exec, plan, &shape, &da, &dw, "test", 1, 2), BP_OK);
    bp_exec_need_scratch(exec, bp_bconv_backward_scratch_bytes(&shape, 0));
    assert_int_equal(bp_plan_allocate(plan, "a test"), BP_OK);
    assert_int_equal(bp_exec_allocate(exec), BP_OK);
    assert_int_equal(bp_alloc_array(&x, words, sizeof *x, "a test"), BP_OK);
    for (size_t n = 0; n < BATCH; n++)
        for (size_t y = 1; y <= SIDE; y++)
            for (size_t i = 1; i <= SIDE; i++)
                x[(n * (SIDE + 2) + y) * (SIDE + 2) + i] = sign;
    bp_bconv_pack(op, exec, w);
    bp_bconv_backward(op, exec, BATCH, x, NULL, &source, 1, 0, 0, w, NULL, dw_out, NULL, NULL,
                      NULL);
    for (int t = 0; t < 9; t++) {
        double rows = t / 3 == 1 ? SIDE : SIDE - 1, columns = t % 3 == 1 ? SIDE : SIDE - 1;
        double exact = (sign ? -1.0 : 1.0) * (double)gradient * BATCH * rows * columns;
        /* -1 is the code -127 exactly, but for the rounding of 127 * (1 / 127) to float: then one
         * code in 2^16 may be its neighbour, 1 / 127 away. */
        assert_true(fabs(dw_out[t] - exact) <= 1e-6 * fabs(exact));
    }
    bp_free(x);
    bp_bconv_destroy(op);
    bp_plan_destroy(plan);
    bp_exec_destroy(exec);
}

static void sums_beyond_32_bits_are_exact(void **state) {
    (void)state;
    for (int tier = BP_TIER_C; tier < BP_TIER_COUNT; tier++) {
        if (!bp_cpu_has((enum bp_tier)tier))
            continue;
        check((enum bp_tier)tier, 0, -1.0f);
        check((enum bp_tier)tier, 1, -1.0f);
        check((enum bp_tier)tier, 1, 1.0f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(sums_beyond_32_bits_are_exact)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
