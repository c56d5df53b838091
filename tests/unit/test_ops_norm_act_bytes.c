/* norm_act's bytes and rows: the same on all tiers and any number of workers, rows in pieces,
 * samples without a gradient, no memory. The values are test_ops_norm_act's. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/bits.h"
#include "base/memory.h"
#include "unit/norm_act_fixture.h"
#include "unit/op_data.h"

static void test_rows_in_pieces(void **state) {
    (void)state;
    for (unsigned variant = 0; variant < 8; variant++) {
        size_t h = variant & 4 ? 7 : 6;
        struct bp_norm_act_shape shape = {.n = 2,
                                          .h = h,
                                          .w = 5,
                                          .c = 70,
                                          .input_i16 = variant & 1,
                                          .activation = BP_ACT_PRELU,
                                          .max_pool = variant >> 1 & 1};
        struct norm_act_fixture f;
        norm_act_set_up(&f, &shape, 2, 0, BP_TIER_C, 1);
        size_t row_elements = 5 * 70;
        float *rows = op_data_take(h * row_elements * sizeof(float));
        void *scratch = op_data_take(bp_norm_act_grad_scratch_bytes(&shape));
        norm_act_run_forward(&f, 1);
        norm_act_run_backward(&f, NULL);
        for (size_t step = 2; step <= 8; step += 2) {
            for (size_t row = 0; row < h; row += step)
                bp_norm_act_grad_rows(f.op, 1, row, bp_min_size(step, h - row),
                                      rows + row * row_elements, scratch);
            assert_memory_equal(rows, f.dx + h * row_elements, h * row_elements * sizeof(float));
        }
        float *sum = op_data_take(f.in_count * sizeof(float));
        for (size_t i = 0; i < f.in_count; i++)
            sum[i] = op_data_number(9, i);
        bp_norm_act_backward_all(f.op, f.exec, 2, sum, 1);
        for (size_t i = 0; i < f.in_count; i++)
            assert_true(sum[i] == op_data_number(9, i) + f.dx[i]);
        bp_free(sum);
        bp_free(rows);
        bp_free(scratch);
        norm_act_tear_down(&f);
    }
}

static void assert_same(const struct norm_act_fixture *a, const struct norm_act_fixture *b) {
    size_t channels = a->shape.c * sizeof(float);
    assert_memory_equal(a->out, b->out, a->out_count * sizeof(float));
    assert_memory_equal(a->bits, b->bits, a->bits_count * sizeof(uint64_t));
    assert_memory_equal(a->mask, b->mask, a->mask_count * sizeof(uint64_t));
    assert_memory_equal(a->dx, b->dx, a->in_count * sizeof(float));
    assert_memory_equal(a->mean, b->mean, channels);
    assert_memory_equal(a->var, b->var, channels);
    assert_memory_equal(a->d_weight, b->d_weight, channels);
    assert_memory_equal(a->d_bias, b->d_bias, channels);
    assert_memory_equal(a->d_slope, b->d_slope, channels);
}

static void test_same_bytes(void **state) {
    (void)state;
    for (unsigned variant = 0; variant < 8; variant++) {
        struct bp_norm_act_shape shape = {.n = 5,
                                          .h = 7,
                                          .w = 9,
                                          .c = 70,
                                          .input_i16 = variant & 1,
                                          .activation = BP_ACT_PRELU,
                                          .max_pool = variant >> 1 & 1,
                                          .sign_out = variant >> 2 & 1};
        struct norm_act_fixture reference;
        norm_act_set_up(&reference, &shape, 5, 1, BP_TIER_C, 1);
        norm_act_run_forward(&reference, 1);
        norm_act_run_backward(&reference, NULL);
        for (int tier = 0; tier < BP_TIER_COUNT; tier++)
            for (int threads = 1; threads <= 6 && bp_cpu_has((enum bp_tier)tier); threads++) {
                struct norm_act_fixture f;
                norm_act_set_up(&f, &shape, 5, 1, (enum bp_tier)tier, threads);
                norm_act_run_forward(&f, 1);
                norm_act_run_backward(&f, NULL);
                assert_same(&reference, &f);
                norm_act_tear_down(&f);
            }
        norm_act_tear_down(&reference);
    }
}

/* Ranges are those of the rows, whole or of samples that have no gradient; of the latter, chosen
 * columns are those of the rows. */
static void check_ranges_and_columns(struct norm_act_fixture *f, const uint8_t *kept) {
    size_t c = f->shape.c, pixels = f->shape.h * f->shape.w;
    void *scratch = op_data_take(bp_norm_act_grad_scratch_bytes(&f->shape));
    float *some = op_data_take(pixels * 2 * sizeof(float));
    float numbers[2][3][NORM_ACT_C_MAX];
    for (size_t n = 0; n < f->n; n++) {
        const float *rows = f->dx + n * pixels * c;
        const int32_t column[2] = {3, 68};
        struct bp_columns to[2];
        for (int i = 0; i < 2; i++) {
            for (size_t j = 0; j < c; j++) {
                numbers[i][0][j] = INFINITY;
                numbers[i][1][j] = -INFINITY;
                numbers[i][2][j] = 0.0f;
            }
            to[i] = (struct bp_columns){numbers[i][0], numbers[i][1], numbers[i][2]};
        }
        f->exec->kernels.range_columns(rows, pixels, c, to[0]);
        bp_norm_act_grad_ranges(f->op, n, to[1], scratch);
        for (int i = 0; i < 3; i++)
            for (size_t j = 0; j < c; j++)
                assert_true(numbers[0][i][j] == numbers[1][i][j]);
        assert_int_equal(bp_norm_act_grad_columns(f->op, n, 2, 3, column, 2, some), !kept[n]);
        for (size_t i = 0; !kept[n] && i < 3 * f->shape.w * 2; i++)
            assert_true(some[i] == rows[(2 * f->shape.w + i / 2) * c + (size_t)column[i % 2]]);
    }
    bp_free(some);
    bp_free(scratch);
}

/* Samples that are said to have no gradient are as if theirs were zero; it is not read. */
static void test_kept_samples(void **state) {
    (void)state;
    for (unsigned variant = 0; variant < 8; variant++) {
        static const uint8_t kept[5] = {0, 1, 0, 0, 1};
        struct bp_norm_act_shape shape = {.n = 5,
                                          .h = 7,
                                          .w = 5,
                                          .c = 70,
                                          .input_i16 = variant & 1,
                                          .activation = BP_ACT_PRELU,
                                          .max_pool = variant >> 1 & 1};
        shape.affine = variant & 4 ? BP_AFFINE_SCALE : BP_AFFINE_BATCH_NORM;
        struct norm_act_fixture f[2];
        for (int i = 0; i < 2; i++) {
            norm_act_set_up(&f[i], &shape, 5, 0, bp_cpu_best(), 1 + i);
            size_t of_sample = f[i].out_count / 5;
            for (size_t n = 0; n < 5; n++)
                for (size_t j = 0; !kept[n] && j < of_sample; j++)
                    f[i].g[n * of_sample + j] = i == 0 ? 0.0f : NAN;
            norm_act_run_forward(&f[i], 1);
            norm_act_run_backward(&f[i], i == 0 ? NULL : kept);
        }
        for (size_t i = 0; i < f[0].in_count; i++)
            assert_true(f[0].dx[i] == f[1].dx[i]); /* a zero may have either sign */
        if (shape.input_i16)
            check_ranges_and_columns(&f[1], kept);
        assert_memory_equal(f[0].d_weight, f[1].d_weight, 70 * sizeof(float));
        assert_memory_equal(f[0].d_bias, f[1].d_bias, 70 * sizeof(float));
        assert_memory_equal(f[0].d_slope, f[1].d_slope, 70 * sizeof(float));
        norm_act_tear_down(&f[0]);
        norm_act_tear_down(&f[1]);
    }
}

static void test_allocation_failure(void **state) {
    (void)state;
    struct bp_norm_act_shape shape = {.n = 2, .h = 4, .w = 4, .c = 3, .max_pool = 1};
    struct bp_exec *exec;
    assert_int_equal(bp_exec_create(&exec, BP_TIER_C, 1), BP_OK);
    int failures = 0;
    for (long allowed = 0;; allowed++) {
        struct bp_plan *plan;
        struct bp_norm_act *op;
        assert_int_equal(bp_plan_create(&plan), BP_OK);
        bp_memory_fail_after(allowed);
        bp_status status = bp_norm_act_create(&op, exec, plan, &shape, "test", 0, 0, 1);
        bp_memory_fail_after(-1);
        bp_norm_act_destroy(op);
        bp_plan_destroy(plan);
        if (status == BP_OK)
            break;
        assert_int_equal(status, BP_RESOURCE);
        assert_null(op);
        failures++;
    }
    assert_true(failures >= 2);
    bp_exec_destroy(exec);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_in_pieces),
        cmocka_unit_test(test_same_bytes),
        cmocka_unit_test(test_kept_samples),
        cmocka_unit_test(test_allocation_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
