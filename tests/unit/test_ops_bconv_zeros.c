/* What a binary convolution's backward pass leaves as it was: samples without a gradient, rows of
 * the weight's that are zero. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "unit/bconv_fixture.h"
#include "unit/op_data.h"

/* Who asks which samples were kept gets the others' part of dx back as it was. */
static void test_leaves_dropped_samples(void **state) {
    (void)state;
    struct bp_conv_shape shape;
    struct bconv_fixture f;
    const size_t of_sample = 25 * 12;
    assert_int_equal(bp_conv_shape_set(&shape, 9, 5, 5, 12, 8, 3, 1, 1), BP_OK);
    bconv_set_up(&f, &shape, &bconv_quants[0], &bconv_quants[0], bp_cpu_best(), 2);
    struct bp_grad_source source = bconv_source(&f);
    float *all = op_data_take(9 * of_sample * sizeof(float));
    uint8_t kept[9];
    bp_bconv_backward(f.op, f.exec, 9, f.x, f.mask, &source, 5, 0, 8, NULL, all, f.dw, NULL, NULL,
                      NULL);
    memset(f.dx, 0xa5, 9 * of_sample * sizeof(float));
    bp_bconv_backward(f.op, f.exec, 9, f.x, f.mask, &source, 5, 0, 8, NULL, f.dx, f.dw,
                      &(struct bp_bconv_zeros){kept, NULL}, NULL, NULL);
    size_t count = 0;
    for (size_t n = 0; n < 9; n++) {
        float *dx = f.dx + n * of_sample, zero = 0.0f;
        assert_int_equal(kept[n], bp_bconv_groups_da(f.op)[n].kept);
        count += kept[n];
        for (size_t i = 0; !kept[n] && i < of_sample; i++) {
            assert_memory_equal(&all[n * of_sample + i], &zero, sizeof zero);
            dx[i] = dx[i] == 0.0f ? 1.0f : 0.0f; /* what stood there was not zero */
        }
        assert_memory_equal(all + n * of_sample, dx, of_sample * sizeof(float));
    }
    assert_true(count > 0 && count < 9);
    bp_free(all);
    bconv_tear_down(&f);
}

/* Who asks which rows of dw are zero gets these back as they were; `all` is dw with the zeros. */
static size_t check_zero_rows(const struct bconv_fixture *f, const uint8_t *rows,
                              const float *all) {
    size_t row = f->taps * f->shape.c, count = 0;
    float *untouched = op_data_take(row * sizeof(float)),
          *zeros = op_data_take(row * sizeof(float));
    memset(untouched, 0xa5, row * sizeof(float));
    for (size_t k = 0; k < f->shape.k; k++) {
        const float *dw = f->dw + k * row;
        count += rows[k];
        assert_memory_equal(dw, rows[k] ? untouched : all + k * row, row * sizeof(float));
        if (rows[k])
            assert_memory_equal(all + k * row, zeros, row * sizeof(float));
    }
    bp_free(untouched);
    bp_free(zeros);
    return count;
}

static void test_leaves_zero_rows(void **state) {
    (void)state;
    struct bp_conv_shape shape;
    enum { ROW = 9 * 12, K = 16, STEPS = 4 };
    assert_int_equal(bp_conv_shape_set(&shape, 9, 5, 5, 12, K, 3, 1, 1), BP_OK);
    for (int i = 0; i < 2 * BP_TIER_COUNT; i++) { /* products on words and by lookup */
        struct bp_quant dw = bconv_quants[0];
        struct bconv_fixture f;
        int by_channel = i % 2;
        dw.groups = by_channel ? BP_GROUPS_CHANNEL : BP_GROUPS_SAMPLE;
        if (!bp_cpu_has((enum bp_tier)(i / 2)))
            continue;
        bconv_set_up(&f, &shape, &bconv_quants[0], &dw, (enum bp_tier)(i / 2), 2);
        struct bp_grad_source source = bconv_source(&f);
        uint8_t rows[K];
        const struct bp_bconv_zeros zeros = {NULL, rows};
        float *all = op_data_take(K * ROW * sizeof(float));
        size_t zero_rows = 0;
        for (uint32_t step = 0; step < STEPS; step++) {
            if (step == STEPS - 1) /* no group has a chance */
                memset(f.g, 0, 9 * 25 * K * sizeof(float));
            memset(all, 0xa5, K * ROW * sizeof(float));
            memset(f.dw, 0xa5, K * ROW * sizeof(float));
            memset(rows, 7, K);
            bp_bconv_backward(f.op, f.exec, 9, f.x, f.mask, &source, 5, 0, step, f.w, f.dx, all,
                              NULL, NULL, NULL);
            bp_bconv_backward(f.op, f.exec, 9, f.x, f.mask, &source, 5, 0, step, f.w, f.dx, f.dw,
                              &zeros, NULL, NULL);
            zero_rows += check_zero_rows(&f, rows, all);
            for (size_t k = 0; by_channel && k < K; k++)
                assert_int_equal(rows[k], !bp_bconv_groups_dw(f.op)[k].kept);
        }
        assert_true(by_channel ? zero_rows > K && zero_rows < STEPS * K : zero_rows == K);
        bp_free(all);
        bconv_tear_down(&f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_leaves_dropped_samples),
        cmocka_unit_test(test_leaves_zero_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
