/* Scale, PReLU, batch norm and sign in one operation against two operations after one another, on
 * every tier: the same bytes forward and backward where the sums of h are exact (alpha and slope
 * are powers of two) or not taken; else statistics, and always the gradients of alpha and slope, as
 * close as floats are. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "ops/act_norm.h"
#include "ops/norm_act.h"
#include "unit/op_data.h"

enum { PARAMS = 6, ALPHA = 0, SLOPE, WEIGHT, BIAS, MEAN, VARIANCE };

struct fixture {
    size_t n, h, w, c, elements, bit_words, mask_words;
    int fill; /* the first of two operations fills in the sums of the second */
    struct bp_exec *exec;
    struct bp_plan *plan;
    struct bp_act_norm *fused;
    struct bp_norm_act *act, *norm;
    int16_t *y;
    float *params[2][PARAMS], *grads[2][PARAMS]; /* 0: two operations, 1: one */
    float *z, *g, *gz, *dy[2];
    uint64_t *bits[2], *mask[2];
};

/* A power of two from 1/16 to 1 that depends on v, with its sign. */
static float dyadic(float v) {
    return copysignf(ldexpf(1.0f, -((int)(4.0f * fabsf(v)) % 5)), v);
}

static void fill(struct fixture *f, int exact) {
    struct bp_stream random = bp_stream_make(3, BP_RANDOM_TEST, 1, (uint32_t)f->c);
    for (size_t i = 0; i < f->elements; i++) {
        f->y[i] = (int16_t)(20.0f * bp_stream_normal(&random, i));
        f->g[i] = bp_stream_normal(&random, f->elements + i);
    }
    for (size_t j = 0; j < f->c; j++)
        for (int p = 0; p < PARAMS; p++) {
            float v = bp_stream_normal(&random, 2 * f->elements + j * PARAMS + (size_t)p);
            v = p == VARIANCE ? 1.0f + v * v : p == ALPHA ? 0.1f * v : v;
            if (exact && (p == ALPHA || p == SLOPE))
                v = dyadic(p == ALPHA ? 10.0f * v : v);
            f->params[0][p][j] = f->params[1][p][j] = v;
        }
}

static void set_up(struct fixture *f, const size_t *dims, enum bp_tier tier, int threads,
                   int exact) {
    memset(f, 0, sizeof *f);
    f->n = dims[0];
    f->h = dims[1];
    f->w = dims[2];
    f->c = dims[3];
    f->elements = f->n * f->h * f->w * f->c;
    f->bit_words = f->n * (f->h + 2) * (f->w + 2) * bp_words(f->c);
    f->mask_words = f->n * f->h * f->w * bp_words(f->c);
    struct bp_norm_act_shape shape = {.n = f->n, .h = f->h, .w = f->w, .c = f->c, .input_i16 = 1};
    shape.affine = BP_AFFINE_SCALE;
    shape.activation = BP_ACT_PRELU;
    assert_int_equal(bp_exec_create(&f->exec, tier, threads), BP_OK);
    assert_int_equal(bp_plan_create(&f->plan), BP_OK);
    assert_int_equal(bp_norm_act_create(&f->act, f->exec, f->plan, &shape, "act", 0, 0, 3), BP_OK);
    shape.input_i16 = 0;
    shape.affine = BP_AFFINE_BATCH_NORM;
    shape.activation = BP_ACT_NONE;
    shape.sign_out = 1;
    assert_int_equal(bp_norm_act_create(&f->norm, f->exec, f->plan, &shape, "norm", 0, 1, 2),
                     BP_OK);
    assert_int_equal(
        bp_act_norm_create(&f->fused, f->exec, f->plan, f->n, f->h, f->w, f->c, "both", 0, 0, 3),
        BP_OK);
    assert_int_equal(bp_plan_allocate(f->plan, "a test"), BP_OK);
    assert_int_equal(bp_exec_allocate(f->exec), BP_OK);
    f->y = op_data_take(f->elements * sizeof(int16_t));
    float **floats[] = {&f->z, &f->g, &f->gz, &f->dy[0], &f->dy[1]};
    for (size_t i = 0; i < 5; i++)
        *floats[i] = op_data_take(f->elements * sizeof(float));
    for (int i = 0; i < 2; i++) {
        f->bits[i] = op_data_take(f->bit_words * 8);
        f->mask[i] = op_data_take(f->mask_words * 8);
        memset(f->bits[i], 0xa5, f->bit_words * 8);
        for (int p = 0; p < PARAMS; p++) {
            f->params[i][p] = op_data_take(f->c * sizeof(float));
            f->grads[i][p] = op_data_take(f->c * sizeof(float));
        }
    }
    fill(f, exact);
}

static void tear_down(struct fixture *f) {
    bp_act_norm_destroy(f->fused);
    bp_norm_act_destroy(f->act);
    bp_norm_act_destroy(f->norm);
    bp_plan_destroy(f->plan);
    bp_exec_destroy(f->exec);
    void *blocks[] = {f->y,     f->z,       f->g,       f->gz,      f->dy[0],
                      f->dy[1], f->bits[0], f->bits[1], f->mask[0], f->mask[1]};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++)
        bp_free(blocks[i]);
    for (int i = 0; i < 2; i++)
        for (int p = 0; p < PARAMS; p++) {
            bp_free(f->params[i][p]);
            bp_free(f->grads[i][p]);
        }
}

static void run_two(struct fixture *f, int batch) {
    float **v = f->params[0], **d = f->grads[0];
    struct bp_norm_act_params act = {.weight = v[ALPHA], .slope = v[SLOPE]};
    struct bp_norm_act_params norm = {v[WEIGHT], v[BIAS], NULL, v[MEAN], v[VARIANCE]};
    struct bp_norm_act_grads act_grads = {d[ALPHA], NULL, d[SLOPE]};
    struct bp_norm_act_grads norm_grads = {d[WEIGHT], d[BIAS], NULL};
    struct bp_norm_act_out z = {.out = f->z, .sums = f->fill ? &f->norm->sums : NULL},
                           bits = {.bits = f->bits[0], .mask = f->mask[0]};
    bp_norm_act_forward(f->act, f->exec, f->n, f->y, NULL, &act, batch, &z);
    bp_norm_act_forward(f->norm, f->exec, f->n, f->z, NULL, &norm, batch, &bits);
    if (!batch)
        return;
    bp_norm_act_backward_sums(f->norm, f->exec, f->n, f->z, &(struct bp_gradient){.floats = f->g},
                              &norm, &norm_grads);
    bp_norm_act_backward_all(f->norm, f->exec, f->n, f->gz, 0);
    bp_norm_act_backward_sums(f->act, f->exec, f->n, f->y, &(struct bp_gradient){.floats = f->gz},
                              &act, &act_grads);
    bp_norm_act_backward_all(f->act, f->exec, f->n, f->dy[0], 0);
}

static void run_one_of(struct fixture *f, int batch, const struct bp_gradient *g) {
    float **v = f->params[1], **d = f->grads[1];
    struct bp_act_norm_params params = {
        v[ALPHA], v[SLOPE], {v[WEIGHT], v[BIAS], v[MEAN], v[VARIANCE]}};
    struct bp_act_norm_grads grads = {d[ALPHA], d[SLOPE], d[WEIGHT], d[BIAS]};
    bp_act_norm_forward(f->fused, f->exec, f->n, f->y, &params, batch, f->bits[1], f->mask[1]);
    if (!batch)
        return;
    bp_act_norm_backward_sums(f->fused, f->exec, f->n, f->y, g, &params, &grads);
    size_t row = f->w * f->c, step = f->h > 4 ? 4 : f->h; /* pieces of some rows */
    for (size_t n = 0; n < f->n; n++)
        for (size_t y = 0; y < f->h; y += step)
            bp_act_norm_grad_rows(f->fused, n, y, bp_min_size(step, f->h - y),
                                  f->dy[1] + (n * f->h + y) * row, NULL);
}

static void run_one(struct fixture *f, int batch, const uint8_t *kept) {
    run_one_of(f, batch, &(struct bp_gradient){.floats = f->g, .kept = kept});
}

/* The gradients of alpha and slope of two operations are sums of floats, gu * y and gh * u; those
 * of one follow from other sums. Both are near the sum in double of the two operations' gz = gh. */
static void check_near(const struct fixture *f, const float *const grads[PARAMS]) {
    for (size_t j = 0; j < f->c; j++) {
        double sums[2] = {0}, sizes[2] = {0};
        double alpha = (double)f->params[0][ALPHA][j], slope = (double)f->params[0][SLOPE][j];
        for (size_t i = j; i < f->elements; i += f->c) {
            double y = (double)f->y[i], gh = (double)f->gz[i];
            double of_g = (double)f->fused->norm.ka[j] * (double)f->g[i]; /* gh may cancel it */
            double factors[2] = {alpha * y < 0 ? slope * y : y, alpha * y < 0 ? alpha * y : 0};
            for (int s = 0; s < 2; s++) {
                sums[s] += gh * factors[s];
                sizes[s] += (fabs(gh) + fabs(of_g)) * fabs(factors[s]);
            }
        }
        for (int s = 0; s < 2; s++)
            assert_true(fabs((double)grads[s == 0 ? ALPHA : SLOPE][j] - sums[s]) <=
                        2e-6 * sizes[s]);
    }
}

static void check_grads(const struct fixture *f) {
    for (int i = 0; i < 2; i++)
        check_near(f, (const float *const *)f->grads[i]);
    for (int p = WEIGHT; p < PARAMS; p++)
        assert_memory_equal(f->grads[0][p], f->grads[1][p], f->c * sizeof(float));
}

static void test_same_bytes(void **state) {
    (void)state;
    static const size_t shapes[][4] = {{3, 5, 6, 7},   {2, 32, 32, 16}, {2, 9, 40, 33},
                                       {5, 1, 1, 130}, {1, 3, 70, 64},  {2, 2, 2, 512}};
    for (int tier = 0; tier < BP_TIER_COUNT; tier++)
        for (size_t i = 0; bp_cpu_has((enum bp_tier)tier) && i < 6; i++)
            for (int batch = 0; batch < 2; batch++) {
                struct fixture f;
                set_up(&f, shapes[i], (enum bp_tier)tier, 1 + (int)(i % 3), batch);
                run_two(&f, batch);
                run_one(&f, batch, NULL);
                assert_memory_equal(f.bits[0], f.bits[1], f.bit_words * 8);
                assert_memory_equal(f.mask[0], f.mask[1], f.mask_words * 8);
                assert_memory_equal(f.dy[0], f.dy[1], f.elements * sizeof(float));
                for (int p = 0; p < PARAMS; p++)
                    assert_memory_equal(f.params[0][p], f.params[1][p], f.c * sizeof(float));
                if (batch)
                    check_grads(&f);
                tear_down(&f);
            }
}

/* Ranges are those of the rows; of samples that have no gradient, chosen columns are those of the
 * rows. */
static void check_ranges_and_columns(const struct fixture *f, const uint8_t *kept) {
    size_t pixels = f->h * f->w;
    float *numbers = op_data_take(6 * f->c * sizeof(float)),
          *some = op_data_take(pixels * 2 * sizeof(float));
    for (size_t n = 0; n < f->n; n++) {
        const float *rows = f->dy[1] + n * pixels * f->c;
        const int32_t column[2] = {3, 68};
        struct bp_columns to[2];
        for (int i = 0; i < 2; i++) {
            float *at = numbers + (size_t)i * 3 * f->c;
            to[i] = (struct bp_columns){at, at + f->c, at + 2 * f->c};
            for (size_t j = 0; j < 3 * f->c; j++)
                at[j] = j < f->c ? INFINITY : j < 2 * f->c ? -INFINITY : 0.0f;
        }
        f->exec->kernels.range_columns(rows, pixels, f->c, to[0]);
        bp_act_norm_grad_ranges(f->fused, n, to[1], NULL);
        for (size_t j = 0; j < 3 * f->c; j++)
            assert_true(numbers[j] == numbers[3 * f->c + j]);
        assert_int_equal(bp_act_norm_grad_columns(f->fused, n, 2, 3, column, 2, some), !kept[n]);
        for (size_t i = 0; !kept[n] && i < 3 * f->w * 2; i++)
            assert_true(some[i] == rows[(2 * f->w + i / 2) * f->c + (size_t)column[i % 2]]);
    }
    bp_free(numbers);
    bp_free(some);
}

/* Samples that are said to have no gradient are as if theirs were zero; it is not read. */
static void test_kept_samples(void **state) {
    (void)state;
    static const size_t shape[4] = {3, 5, 6, 70};
    static const uint8_t kept[3] = {0, 1, 0};
    for (int tier = 0; tier < BP_TIER_COUNT; tier++) {
        if (!bp_cpu_has((enum bp_tier)tier))
            continue;
        struct fixture f;
        set_up(&f, shape, (enum bp_tier)tier, 2, 1);
        size_t of_sample = f.elements / 3;
        memset(f.g, 0, of_sample * sizeof(float));
        memset(f.g + 2 * of_sample, 0, of_sample * sizeof(float));
        run_two(&f, 1);
        f.g[0] = f.g[2 * of_sample] = NAN;
        run_one(&f, 1, kept);
        f.g[0] = f.g[2 * of_sample] = 0.0f;
        check_grads(&f);
        for (size_t i = 0; i < f.elements; i++)
            assert_true(f.dy[0][i] == f.dy[1][i]); /* a zero may have either sign */
        check_ranges_and_columns(&f, kept);
        tear_down(&f);
    }
}

/* A gradient as integers and scales is the same floats: the same bytes of all that follows. */
static void test_gradients_as_sums(void **state) {
    (void)state;
    static const size_t shape[4] = {3, 5, 6, 70};
    static const float scale[3] = {0.01f, 0.003f, 0.0007f};
    static const uint8_t all[3] = {1, 1, 1};
    for (int tier = 0; tier < BP_TIER_COUNT; tier++) {
        if (!bp_cpu_has((enum bp_tier)tier))
            continue;
        struct fixture f[2];
        for (int i = 0; i < 2; i++)
            set_up(&f[i], shape, (enum bp_tier)tier, 1 + i, 0);
        int16_t *sums = op_data_take(f[0].elements * sizeof *sums);
        for (size_t i = 0; i < f[0].elements; i++) {
            sums[i] = (int16_t)(300.0f * f[0].g[i]);
            f[0].g[i] = scale[i / (f[0].elements / 3)] * (float)sums[i];
        }
        run_one(&f[0], 1, NULL);
        run_one_of(&f[1], 1, &(struct bp_gradient){.sums = sums, .scale = scale});
        assert_memory_equal(f[0].dy[1], f[1].dy[1], f[0].elements * sizeof(float));
        for (int p = 0; p <= BIAS; p++)
            assert_memory_equal(f[0].grads[1][p], f[1].grads[1][p], f[0].c * sizeof(float));
        for (int i = 0; i < 2; i++)
            check_ranges_and_columns(&f[i], all);
        bp_free(sums);
        for (int i = 0; i < 2; i++)
            tear_down(&f[i]);
    }
}

/* Any alpha and slope: the running statistics, which began at the same values, agree with those of
 * sums of rounded h; and with sums that a producer filled in, piece by piece, nothing changes. */
static void test_statistics(void **state) {
    (void)state;
    static const size_t shape[] = {3, 7, 9, 70};
    for (int tier = 0; tier < BP_TIER_COUNT; tier++) {
        if (!bp_cpu_has((enum bp_tier)tier))
            continue;
        struct fixture f, filled;
        set_up(&f, shape, (enum bp_tier)tier, 1, 0);
        set_up(&filled, shape, (enum bp_tier)tier, 2, 0);
        run_two(&f, 1);
        run_one(&f, 1, NULL);
        for (int p = MEAN; p <= VARIANCE; p++)
            for (size_t j = 0; j < f.c; j++)
                assert_float_equal(f.params[0][p][j], f.params[1][p][j],
                                   1e-6f * (1.0f + fabsf(f.params[0][p][j])));
        filled.fill = 1;
        run_two(&filled, 1); /* first: the plan gives later operations the memory of those sums */
        bp_channel_sums_begin(&filled.fused->sums, filled.exec, filled.n);
        for (size_t done = 0, some = 50; done < filled.elements / filled.c; done += some) {
            some = bp_min_size(50, filled.elements / filled.c - done);
            bp_channel_sums_add_i16(&filled.fused->sums, &filled.exec->kernels, (int)(done % 2),
                                    filled.y + done * filled.c, some, 32768);
        }
        bp_channel_sums_end(&filled.fused->sums);
        run_one(&filled, 1, NULL);
        for (int i = 0; i < 2; i++) {
            assert_memory_equal(f.bits[i], filled.bits[i], f.bit_words * 8);
            for (int p = 0; p < PARAMS; p++)
                assert_memory_equal(f.params[i][p], filled.params[i][p], f.c * sizeof(float));
        }
        tear_down(&f);
        tear_down(&filled);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bytes),
        cmocka_unit_test(test_kept_samples),
        cmocka_unit_test(test_gradients_as_sums),
        cmocka_unit_test(test_statistics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
