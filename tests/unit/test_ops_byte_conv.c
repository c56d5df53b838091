/* The first convolution in 8 bits: both products against the float64 products of what the codes
 * stand for, on every tier, with one to three workers; the same bytes on all; an unbiased weight
 * gradient; numbers that are none. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "ops/byte_conv.h"
#include "unit/op_data.h"
#include "unit/stat_bounds.h"

enum { SEED = 20261128, STEP = 5 };

struct fixture {
    struct bp_conv_shape shape;
    struct bp_exec *exec;
    struct bp_plan *plan;
    struct bp_byte_conv *op;
    size_t taps;
    uint8_t *pixels;
    float *w, *used, *g, *dw; /* used: the weights that the product stands for */
    void *y;
    size_t y_bytes;
};

static const float means[3] = {0.4914f, 0.25f, 0.9f}, deviations[3] = {0.2f, 0.31f, 0.05f};

/* --- set-up ----------------------------------------------------------------------------------- */

static void rows_of_g(const void *context, size_t n, size_t row, size_t rows, float *out,
                      void *scratch) {
    const struct fixture *f = context;
    size_t row_elements = f->shape.ow * f->shape.k;
    ((char *)scratch)[0] = 1; /* the promised scratch byte is there */
    assert_true(row % 2 == 0 && (rows % 2 == 0 || row + rows == f->shape.oh));
    memcpy(out, f->g + (n * f->shape.oh + row) * row_elements, rows * row_elements * sizeof(float));
}

static void fill_inputs(struct fixture *f) {
    const struct bp_conv_shape *s = &f->shape;
    struct bp_stream random = bp_stream_make(SEED, BP_RANDOM_TEST, 3, 0);
    for (size_t i = 0; i < s->n * s->h * s->w * s->c; i++)
        f->pixels[i] = (uint8_t)bp_stream_below(&random, i, 256);
    random = bp_stream_make(SEED, BP_RANDOM_TEST, 3, 1);
    for (size_t i = 0; i < s->k * f->taps; i++)
        f->w[i] = bp_stream_normal(&random, i) * (1.0f + (float)(i / f->taps % 4));
    random = bp_stream_make(SEED, BP_RANDOM_TEST, 3, 2);
    for (size_t i = 0; i < s->n * s->oh * s->ow * s->k; i++) {
        float v = bp_stream_normal(&random, i); /* heavy tails, channels of unequal weight */
        f->g[i] = i % s->k == 3 ? 0.0f : v * v * v * (1.0f + (float)(i % s->k % 5));
    }
}

static void set_up(struct fixture *f, const size_t shape[7], enum bp_tier tier, int threads) {
    memset(f, 0, sizeof *f);
    struct bp_conv_shape *s = &f->shape;
    assert_int_equal(bp_conv_shape_set(s, shape[0], shape[1], shape[2], shape[3], shape[4],
                                       shape[5], shape[6], shape[5] / 2),
                     BP_OK);
    f->taps = s->r * s->r * s->c;
    assert_int_equal(bp_exec_create(&f->exec, tier, threads), BP_OK);
    assert_int_equal(bp_plan_create(&f->plan), BP_OK);
    assert_int_equal(
        bp_byte_conv_create(&f->op, f->exec, f->plan, s, means, deviations, "test", 0, 0, 1),
        BP_OK);
    bp_exec_need_scratch(f->exec, bp_byte_conv_backward_scratch_bytes(s, 1));
    assert_int_equal(bp_plan_allocate(f->plan, "a test"), BP_OK);
    assert_int_equal(bp_exec_allocate(f->exec), BP_OK);
    size_t outputs = s->n * s->oh * s->ow * s->k, weights = s->k * f->taps;
    f->pixels = op_data_take(s->n * s->h * s->w * s->c);
    f->w = op_data_take(weights * sizeof(float));
    f->used = op_data_take(weights * sizeof(float));
    f->g = op_data_take(outputs * sizeof(float));
    f->y_bytes = outputs * (bp_byte_conv_is_narrow(s) ? sizeof(int16_t) : sizeof(float));
    f->y = op_data_take(f->y_bytes);
    f->dw = op_data_take(weights * sizeof(float));
    fill_inputs(f);
}

static void tear_down(struct fixture *f) {
    bp_byte_conv_destroy(f->op);
    bp_plan_destroy(f->plan);
    bp_exec_destroy(f->exec);
    void *blocks[] = {f->pixels, f->w, f->used, f->g, f->y, f->dw};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++)
        bp_free(blocks[i]);
}

static void run(struct fixture *f, uint32_t step) {
    const struct bp_grad_source source = {.rows = rows_of_g, .context = f, .scratch_bytes = 1};
    bp_byte_conv_set_weights(f->op, f->w);
    bp_byte_conv_used_weights(f->op, f->used);
    bp_byte_conv_forward(f->op, f->exec, f->shape.n, f->pixels, f->y, NULL);
    bp_byte_conv_backward(f->op, f->exec, f->shape.n, &source, SEED, step, f->dw);
}

/* --- references ------------------------------------------------------------------------------- */

static double output_at(const struct fixture *f, size_t i) {
    const float *unit = bp_byte_conv_unit(f->op);
    return unit == NULL ? (double)((const float *)f->y)[i]
                        : (double)unit[i % f->shape.k] * ((const int16_t *)f->y)[i];
}

/* What the input of tap t of an output position stands for; zero outside the image. */
static double input_at(const struct fixture *f, size_t position, size_t t) {
    const struct bp_conv_shape *s = &f->shape;
    size_t n = position / (s->oh * s->ow), oy = position / s->ow % s->oh, ox = position % s->ow;
    size_t channel = t % s->c;
    size_t y = oy * s->stride + t / (s->r * s->c) - s->pad; /* a negative one wraps to a huge one */
    size_t x = ox * s->stride + t / s->c % s->r - s->pad;
    if (y >= s->h || x >= s->w)
        return 0.0;
    double zero = floor(255.0 * (double)means[channel] + 0.5);
    double pixel = f->pixels[((n * s->h + y) * s->w + x) * s->c + channel];
    return (pixel - zero) / (255.0 * (double)deviations[channel]);
}

static void check_close(double got, double want, double magnitude, const char *what, size_t at) {
    if (!(fabs(got - want) <= 1e-6 * magnitude))
        fail_msg("%s element %zu: got %.9g, want %.9g, terms %.3g", what, at, got, want, magnitude);
}

/* Each weight is used as one of the two nearest of 255 values whose largest is its channel's, and
 * the sum of an input channel's weights as the nearest. */
static void check_weights(const struct fixture *f) {
    const size_t c = f->shape.c;
    for (size_t j = 0; j < f->shape.k; j++) {
        double largest = 0.0, sums[3] = {0};
        for (size_t t = 0; t < f->taps; t++)
            largest =
                fmax(largest, fabs((double)f->w[j * f->taps + t]) / (double)deviations[t % c]);
        for (size_t t = 0; t < f->taps; t++) {
            double error = (double)f->used[j * f->taps + t] - (double)f->w[j * f->taps + t];
            assert_true(fabs(error) <= largest / 127.0 * (double)deviations[t % c] * 1.0001);
            sums[t % c] += error;
        }
        for (size_t channel = 0; channel < c; channel++)
            assert_true(fabs(sums[channel]) <=
                        largest / 254.0 * (double)deviations[channel] * 1.001);
    }
}

/* Units use 15 bits and more of the largest magnitude that a sum can have. */
static void check_units(const struct fixture *f) {
    const struct bp_conv_shape *s = &f->shape;
    const float *unit = bp_byte_conv_unit(f->op);
    for (size_t j = 0; unit != NULL && j < s->k; j++) {
        double largest = 0.0;
        for (size_t t = 0; t < f->taps; t++) {
            double zero = floor(255.0 * (double)means[t % s->c] + 0.5);
            largest += fabs((double)f->used[j * f->taps + t]) * fmax(zero, 255.0 - zero) /
                       (255.0 * (double)deviations[t % s->c]);
        }
        assert_true(largest <= 32768.0 * (double)unit[j]);
        assert_true(largest >= 16383.0 * (double)unit[j]);
    }
}

static void check_forward(const struct fixture *f) {
    const struct bp_conv_shape *s = &f->shape;
    for (size_t i = 0; i < s->n * s->oh * s->ow * s->k; i++) {
        double want = 0.0, magnitude = 0.0;
        for (size_t t = 0; t < f->taps; t++) {
            double term = input_at(f, i / s->k, t) * (double)f->used[i % s->k * f->taps + t];
            want += term;
            magnitude += fabs(term);
        }
        const float *unit = bp_byte_conv_unit(f->op);
        if (unit == NULL)
            check_close(output_at(f, i), want, magnitude, "y", i);
        else
            assert_true(fabs(output_at(f, i) - want) <=
                        0.5 * (double)unit[i % s->k] + 1e-6 * magnitude);
    }
}

/* Step of the chunk that a position lies in. */
static float step_of(const struct fixture *f, size_t position, size_t j) {
    const struct bp_conv_shape *s = &f->shape;
    size_t rows = bp_byte_conv_chunk_rows(s), row = position / s->ow % s->oh / rows * rows;
    size_t begin = (position / s->ow / s->oh * s->oh + row) * s->ow;
    size_t end = begin + (row + rows < s->oh ? rows : s->oh - row) * s->ow;
    float largest = 0.0f;
    for (size_t p = begin; p < end; p++)
        largest = fmaxf(largest, fabsf(f->g[p * s->k + j]));
    return largest / 126.875f;
}

/* The steps of all elements, [n][oh][ow][k]. */
static float *all_steps(const struct fixture *f) {
    const struct bp_conv_shape *s = &f->shape;
    size_t chunk = bp_byte_conv_chunk_rows(s) * s->ow, image = s->oh * s->ow;
    float *steps = op_data_take(s->n * image * s->k * sizeof *steps);
    for (size_t i = 0; i < s->n * image * s->k; i++) {
        size_t p = i / s->k; /* the first position of a chunk asks, the others copy */
        steps[i] = p % image % chunk == 0 ? step_of(f, p, i % s->k) : steps[i - s->k];
    }
    return steps;
}

static int code_of(float g, float step, uint64_t position, size_t j) {
    struct bp_stream stream = bp_stream_make(SEED, BP_RANDOM_ROUND_INPUT, 0, STEP);
    uint8_t bytes[32];
    bp_stream_bytes(&stream, 2 * position, bytes);
    bp_stream_bytes(&stream, 2 * position + 1, bytes + 16);
    unsigned u = bytes[j % 16 * 2] + 256u * bytes[j % 16 * 2 + 1];
    float r = g * (65536.0f / step);
    return (int)floor((rint((double)r) + u) / 65536.0);
}

static void check_backward(const struct fixture *f) {
    const struct bp_conv_shape *s = &f->shape;
    float *steps = all_steps(f);
    size_t positions = s->n * s->oh * s->ow;
    double *values = op_data_take(positions * s->k * sizeof *values);
    for (size_t i = 0; i < positions * s->k; i++)
        if (steps[i] > 0.0f)
            values[i] = (double)steps[i] * code_of(f->g[i], steps[i], i / s->k, i % s->k);
    for (size_t t = 0; t < f->taps; t++)
        for (size_t j = 0; j < s->k; j++) {
            double want = 0.0, magnitude = 0.0;
            for (size_t p = 0; p < positions; p++) {
                double term = values[p * s->k + j] * input_at(f, p, t);
                want += term;
                magnitude += fabs(term);
            }
            check_close((double)f->dw[j * f->taps + t], want, magnitude, "dw", j * f->taps + t);
        }
    bp_free(values);
    bp_free(steps);
}

/* --- tests ------------------------------------------------------------------------------------ */

static const size_t shapes[][7] = {
    /* n, h, w, c, k, r, stride */
    {2, 9, 9, 3, 5, 3, 1},    {3, 8, 8, 1, 16, 3, 1},   {2, 33, 35, 3, 18, 7, 2},
    {1, 40, 40, 1, 64, 7, 2}, {2, 41, 50, 3, 70, 3, 1}, {2, 1, 3, 2, 7, 3, 1},
    {1, 7, 600, 3, 4, 7, 2},
};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

static void test_products(void **state) {
    (void)state;
    for (size_t i = 0; i < SHAPES; i++) {
        struct fixture f;
        set_up(&f, shapes[i], bp_cpu_best(), 2);
        run(&f, STEP);
        check_weights(&f);
        check_units(&f);
        check_forward(&f);
        check_backward(&f);
        tear_down(&f);
    }
}

static void test_same_bytes(void **state) {
    (void)state;
    for (size_t i = 0; i < SHAPES; i++) {
        struct fixture reference, f;
        set_up(&reference, shapes[i], BP_TIER_C, 1);
        run(&reference, STEP);
        const struct bp_conv_shape *s = &reference.shape;
        for (int tier = 0; tier < BP_TIER_COUNT; tier++)
            for (int threads = 1; threads <= 3 && bp_cpu_has((enum bp_tier)tier); threads++) {
                set_up(&f, shapes[i], (enum bp_tier)tier, threads);
                run(&f, STEP);
                assert_memory_equal(f.y, reference.y, f.y_bytes);
                assert_memory_equal(f.dw, reference.dw, s->k * f.taps * sizeof(float));
                tear_down(&f);
            }
        tear_down(&reference);
    }
}

/* A sample's result does not depend on the others. */
static void test_single_samples(void **state) {
    (void)state;
    const size_t single[7] = {1, 33, 35, 3, 18, 7, 2};
    struct fixture batch, one;
    set_up(&batch, shapes[2], bp_cpu_best(), 2);
    set_up(&one, single, bp_cpu_best(), 2);
    run(&batch, STEP);
    size_t pixels = 33 * 35 * 3;
    memcpy(one.pixels, batch.pixels + pixels, pixels);
    run(&one, STEP);
    assert_memory_equal(one.y, (char *)batch.y + one.y_bytes, one.y_bytes);
    tear_down(&batch);
    tear_down(&one);
}

/* The mean of dw over many steps is the product of the gradient itself; the bounds are those of a
 * sum of independent roundings. */
static void test_unbiased(void **state) {
    (void)state;
    enum { DRAWS = 400 };
    const size_t shape[7] = {2, 11, 9, 3, 21, 3, 1};
    struct fixture f;
    set_up(&f, shape, bp_cpu_best(), 1);
    const struct bp_conv_shape *s = &f.shape;
    float *steps = all_steps(&f);
    double *sums = op_data_take(s->k * f.taps * sizeof *sums);
    for (uint32_t draw = 0; draw < DRAWS; draw++) {
        run(&f, draw);
        for (size_t i = 0; i < s->k * f.taps; i++)
            sums[i] += (double)f.dw[i];
    }
    for (size_t i = 0; i < s->k * f.taps; i++) {
        struct stat_law law = {0};
        for (size_t p = 0; p < s->n * s->oh * s->ow; p++) {
            double x = input_at(&f, p, i % f.taps), g = (double)f.g[p * s->k + i / f.taps];
            double step = fabs((double)steps[p * s->k + i / f.taps] * x);
            law.mean += g * x;
            law.slack += step / 131072.0 + 1e-6 * fabs(g * x); /* 16 bits, floats */
            law.variance += step * step / 4.0;
            law.largest += step;
        }
        stat_check_mean("dw", i, sums[i], DRAWS, &law);
    }
    bp_free(sums);
    bp_free(steps);
    tear_down(&f);
}

/* Divergence shows: in its channel, and there alone. */
static void test_not_a_number(void **state) {
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct fixture f;
        int infinite = i % 2;
        set_up(&f, shapes[i / 2 * 2], bp_cpu_best(), 2);
        f.g[7 * f.shape.k + 2] = infinite ? INFINITY : NAN;
        f.w[1 * f.taps + 4] = infinite ? -INFINITY : NAN;
        run(&f, STEP);
        for (size_t t = 0; t < f.shape.k * f.taps; t++)
            assert_int_equal(isnan(f.dw[t]) != 0, t / f.taps == 2);
        for (size_t y = 0; y < f.shape.n * f.shape.oh * f.shape.ow * f.shape.k; y++)
            assert_int_equal(isnan(output_at(&f, y)) != 0, y % f.shape.k == 1);
        tear_down(&f);
    }
}

/* Gradients and weights that are all zero, or too small to divide by. */
static void test_nothing_to_code(void **state) {
    (void)state;
    for (int set = 0; set < 4; set++) {
        struct fixture f;
        int tiny = set % 2;
        set_up(&f, shapes[set / 2 * 2], bp_cpu_best(), 1);
        for (size_t i = 0; i < f.shape.n * f.shape.oh * f.shape.ow * f.shape.k; i++)
            f.g[i] = tiny ? 1e-44f : 0.0f;
        for (size_t i = 0; i < f.shape.k * f.taps; i++)
            f.w[i] = tiny ? 1e-44f : 0.0f;
        run(&f, STEP);
        for (size_t i = 0; i < f.shape.k * f.taps; i++)
            assert_true(f.dw[i] == 0.0f);
        for (size_t i = 0; i < f.shape.n * f.shape.oh * f.shape.ow * f.shape.k; i++)
            assert_true(output_at(&f, i) == 0.0);
        tear_down(&f);
    }
}

/* Means outside of the pixels' range give the grey level next to them. */
static void test_input_grid(void **state) {
    (void)state;
    const struct bp_conv_shape shape = {1, 4, 4, 3, 1, 3, 1, 1, 4, 4};
    const float mean[3] = {-2.0f, 0.501f, 7.0f}, deviation[3] = {0.5f, 1.0f, 2.0f};
    const int zeros[3] = {0, 128, 255};
    struct bp_exec *exec;
    struct bp_plan *plan;
    struct bp_byte_conv *op;
    assert_int_equal(bp_exec_create(&exec, BP_TIER_C, 1), BP_OK);
    assert_int_equal(bp_plan_create(&plan), BP_OK);
    assert_int_equal(
        bp_byte_conv_create(&op, exec, plan, &shape, mean, deviation, "test", 0, 0, -1), BP_OK);
    for (size_t c = 0; c < 3; c++) {
        int zero;
        float step;
        bp_byte_conv_input_grid(op, c, &zero, &step);
        assert_int_equal(zero, zeros[c]);
        assert_true(fabs((double)step * 255.0 * (double)deviation[c] - 1.0) < 1e-6);
    }
    bp_byte_conv_destroy(op);
    bp_plan_destroy(plan);
    bp_exec_destroy(exec);
}

/* The sums that the forward pass takes are those that reading y again gives. */
static void test_sums(void **state) {
    (void)state;
    static const size_t sizes[2][7] = {{5, 19, 23, 3, 20, 3, 2}, {5, 19, 23, 3, 20, 7, 2}};
    for (int i = 0; i < 6; i++) {
        int narrow = i % 2, threads = 1 + i / 2 * 3; /* 7: more than samples; floats take none */
        struct fixture f;
        struct bp_plan *plan;
        struct bp_channel_sums sums;
        double total[40];
        set_up(&f, sizes[narrow], bp_cpu_best(), threads);
        const struct bp_conv_shape *s = &f.shape;
        assert_int_equal(bp_plan_create(&plan), BP_OK);
        assert_int_equal(bp_channel_sums_plan(&sums, f.exec, plan,
                                              narrow ? BP_SUMS_I16 : BP_SUMS_F32, s->n, s->k,
                                              "test", 0, 0),
                         BP_OK);
        assert_int_equal(bp_plan_allocate(plan, "a test"), BP_OK);
        bp_byte_conv_set_weights(f.op, f.w);
        bp_byte_conv_forward(f.op, f.exec, s->n, f.pixels, f.y, &sums);
        assert_int_equal(bp_channel_sums_finish(&sums, f.exec, s->n, f.y, s->oh * s->ow),
                         threads > 5 && !narrow);
        memcpy(total, sums.total, sizeof total);
        assert_int_equal(bp_channel_sums_finish(&sums, f.exec, s->n, f.y, s->oh * s->ow), 1);
        assert_memory_equal(total, sums.total, sizeof total);
        bp_plan_destroy(plan);
        tear_down(&f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_products),
        cmocka_unit_test(test_same_bytes),
        cmocka_unit_test(test_single_samples),
        cmocka_unit_test(test_unbiased),
        cmocka_unit_test(test_not_a_number),
        cmocka_unit_test(test_nothing_to_code),
        cmocka_unit_test(test_input_grid),
        cmocka_unit_test(stat_finish),
    };
    return cmocka_run_group_tests_name("byte convolution", tests, NULL, NULL);
}
