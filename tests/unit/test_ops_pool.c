/* Pooling against naive loops, exactly: windows are found here by testing every pixel, values are
 * small integers so that float sums are exact, whatever their order. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/rng.h"
#include "ops/pool.h"
#include "unit/op_data.h"

static float small_integer(uint32_t stream, size_t index, uint32_t n) {
    struct bp_stream s = bp_stream_make(5, BP_RANDOM_TEST, 4, stream);
    return (float)bp_stream_below(&s, index, n) - (float)(n / 2);
}

/* Whether input pixel `in` of one axis lies in the window of output pixel `out`. */
static int covers(enum bp_pool_kind kind, size_t out, size_t in) {
    long distance = (long)in - 2 * (long)out;
    switch (kind) {
    case BP_POOL_MAX_3X3_S2:
        return distance >= -1 && distance <= 1;
    case BP_POOL_AVG_2X2:
        return distance == 0 || distance == 1;
    case BP_POOL_GLOBAL_AVG:
        break;
    }
    return 1;
}

/* One output element: its value, and where its gradient goes: share[pixel] of the image. */
static double reference(const struct bp_pool_shape *s, const float *image, size_t oy, size_t ox,
                        size_t j, double *share) {
    double sum = 0, count = 0;
    size_t winner = SIZE_MAX;
    for (size_t p = 0; p < s->h * s->w; p++) {
        share[p] = 0;
        if (!covers(s->kind, oy, p / s->w) || !covers(s->kind, ox, p % s->w))
            continue;
        sum += (double)image[p * s->c + j];
        count++;
        share[p] = 1;
        if (winner == SIZE_MAX || image[p * s->c + j] > image[winner * s->c + j])
            winner = p;
    }
    assert_true(count > 0);
    for (size_t p = 0; p < s->h * s->w; p++)
        share[p] = s->kind == BP_POOL_MAX_3X3_S2 ? p == winner : share[p] / count;
    return s->kind == BP_POOL_MAX_3X3_S2 ? (double)image[winner * s->c + j] : sum / count;
}

static void check_shape(enum bp_pool_kind kind, size_t h, size_t w, size_t c, int threads) {
    struct bp_pool_shape s = bp_pool_shape_make(kind, h, w, c);
    struct bp_exec *exec;
    size_t n = 3, in = h * w * c, out = s.oh * s.ow * c;
    float *x = op_data_take(n * in * sizeof *x), *z = op_data_take(n * out * sizeof *z);
    float *g = op_data_take(n * out * sizeof *g), *dx = op_data_take(n * in * sizeof *dx);
    float *added = op_data_take(n * in * sizeof *added);
    double *expected = op_data_take(n * in * sizeof *expected),
           *share = op_data_take(h * w * sizeof *share);
    assert_int_equal(bp_exec_create(&exec, BP_TIER_C, threads), BP_OK);
    for (size_t i = 0; i < n * in; i++) {
        x[i] = small_integer(1, i, 9); /* few values: ties */
        dx[i] = 77.0f;                 /* must be overwritten */
        added[i] = small_integer(3, i, 99);
    }
    for (size_t i = 0; i < n * out; i++)
        g[i] = small_integer(2, i, 99);
    uint8_t *winner = op_data_take(bp_pool_winner_bytes(&s, n));
    bp_pool_forward(&s, exec, n, x, z, winner);
    bp_pool_backward(&s, exec, n, winner, g, dx, 0);
    bp_pool_backward(&s, exec, n, winner, g, added, 1);
    for (size_t i = 0; i < n * out; i++) {
        size_t sample = i / out, j = i % c, pixel = i / c % (s.oh * s.ow);
        double value = reference(&s, x + sample * in, pixel / s.ow, pixel % s.ow, j, share);
        /* sums are exact; the division is a multiplication by a rounded reciprocal */
        assert_true(fabs((double)z[i] - value) <= 1.3e-7 * fabs(value));
        for (size_t p = 0; p < h * w; p++)
            expected[sample * in + p * c + j] += share[p] * (double)g[i];
    }
    for (size_t i = 0; i < n * in; i++) {
        double limit = 2e-7 * 50 * (kind == BP_POOL_MAX_3X3_S2 ? 0 : 1);
        assert_true(fabs((double)dx[i] - expected[i]) <= limit);
        /* the sum itself is rounded when it is added: up to 100, half a unit is 4e-6 */
        double sum = (double)small_integer(3, i, 99) + expected[i];
        assert_true(fabs((double)added[i] - sum) <= limit + (limit > 0 ? 4e-6 : 0));
    }
    void *blocks[] = {x, z, g, dx, added, expected, share, winner};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++)
        bp_free(blocks[i]);
    bp_exec_destroy(exec);
}

/* In bfloat16: that of the float result of the same numbers, which is exact here. */
static void check_bf16(size_t h, size_t w, size_t c, int threads) {
    struct bp_pool_shape s = bp_pool_shape_make(BP_POOL_AVG_2X2, h, w, c);
    struct bp_exec *exec;
    size_t n = 3, in = h * w * c, out = s.oh * s.ow * c;
    float *x = op_data_take(n * in * sizeof *x), *z = op_data_take(n * out * sizeof *z);
    uint16_t *x16 = op_data_take(n * in * sizeof *x16);
    uint16_t *z16 = op_data_take((n * out + 1) * sizeof *z16),
             *expected = op_data_take(n * out * sizeof *z16);
    assert_int_equal(bp_exec_create(&exec, bp_cpu_best(), threads), BP_OK);
    for (size_t i = 0; i < n * in; i++)
        x[i] = small_integer(1, i, 255); /* of 8 bits */
    exec->kernels.settle_f16(x, n * in, x16);
    bp_exec_need_scratch(exec, bp_pool_bf16_scratch_bytes(&s));
    assert_int_equal(bp_exec_allocate(exec), BP_OK);
    z16[n * out] = 0x1234;
    bp_pool_forward(&s, exec, n, x, z, NULL);
    bp_pool_forward_bf16(&s, exec, n, x16, z16);
    exec->kernels.round_bf16(z, n * out, expected);
    assert_memory_equal(z16, expected, n * out * sizeof *z16);
    assert_int_equal(z16[n * out], 0x1234);
    void *blocks[] = {x, z, x16, z16, expected};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++)
        bp_free(blocks[i]);
    bp_exec_destroy(exec);
}

static void check_kind(enum bp_pool_kind kind) {
    static const size_t sizes[][3] = {{1, 1, 3}, {2, 2, 1}, {3, 2, 70}, {4, 7, 5},
                                      {5, 5, 2}, {8, 6, 4}, {1, 6, 3},  {9, 1, 2}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (int threads = 1; threads <= 4; threads++)
            check_shape(kind, sizes[i][0], sizes[i][1], sizes[i][2], threads);
}

static void test_max(void **state) {
    (void)state;
    check_kind(BP_POOL_MAX_3X3_S2);
}

static void test_average(void **state) {
    (void)state;
    check_kind(BP_POOL_AVG_2X2);
}

static void test_average_in_bf16(void **state) {
    (void)state;
    for (size_t h = 1; h < 7; h++)
        for (size_t w = 1; w < 7; w++)
            for (int threads = 1; threads <= 4; threads += 3)
                check_bf16(h, w, h == 3 ? 64 : 5 * w, threads);
}

static void test_global(void **state) {
    (void)state;
    check_kind(BP_POOL_GLOBAL_AVG);
}

/* The shortcut's pooling must have the size of the strided convolution beside it. */
static void test_average_matches_strided_convolution(void **state) {
    (void)state;
    for (size_t size = 1; size < 20; size++) {
        struct bp_conv_shape conv;
        assert_int_equal(bp_conv_shape_set(&conv, 1, size, size + 1, 4, 4, 3, 2, 1), BP_OK);
        struct bp_pool_shape pool = bp_pool_shape_make(BP_POOL_AVG_2X2, size, size + 1, 4);
        assert_int_equal(pool.oh, conv.oh);
        assert_int_equal(pool.ow, conv.ow);
    }
}

/* A NaN must not be lost on the way to the loss, where training stops. */
static void test_nan_passes(void **state) {
    (void)state;
    struct bp_exec *exec;
    assert_int_equal(bp_exec_create(&exec, BP_TIER_C, 1), BP_OK);
    for (int kind = BP_POOL_MAX_3X3_S2; kind <= BP_POOL_GLOBAL_AVG; kind++)
        for (size_t at = 0; at < 9; at++) {
            struct bp_pool_shape s = bp_pool_shape_make((enum bp_pool_kind)kind, 3, 3, 1);
            float x[9] = {5, 1, 4, 1, 9, 2, 6, 5, 3}, z[4];
            x[at] = NAN;
            bp_pool_forward(&s, exec, 1, x, z, NULL);
            int found = 0;
            for (size_t i = 0; i < s.oh * s.ow; i++)
                found |= isnan(z[i]);
            assert_true(found);
        }
    bp_exec_destroy(exec);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_max),
        cmocka_unit_test(test_average),
        cmocka_unit_test(test_average_in_bf16),
        cmocka_unit_test(test_global),
        cmocka_unit_test(test_average_matches_strided_convolution),
        cmocka_unit_test(test_nan_passes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
