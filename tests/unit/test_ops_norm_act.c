/* norm_act against a naive double reference: every combination of input, affine, activation,
 * pooling, residual and sgn. The backward pass is compared with central differences of the
 * reference. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "unit/norm_act_fixture.h"
#include "unit/op_data.h"

/* --- reference -------------------------------------------------------------------------------- */

/* The parameters as doubles, so that central differences can shift them. */
struct reference {
    double weight[NORM_ACT_C_MAX], bias[NORM_ACT_C_MAX], slope[NORM_ACT_C_MAX],
        mean[NORM_ACT_C_MAX], var[NORM_ACT_C_MAX];
};

static void reference_make(struct reference *r, const struct norm_act_fixture *f) {
    for (size_t j = 0; j < f->shape.c; j++) {
        r->weight[j] = (double)f->weight[j];
        r->bias[j] = (double)f->bias[j];
        r->slope[j] = (double)f->slope[j];
        r->mean[j] = (double)f->mean[j];
        r->var[j] = (double)f->var[j];
    }
}

/* Batch moments by two passes. */
static void moments(const struct norm_act_fixture *f, size_t j, double *mean, double *var) {
    size_t c = f->shape.c, count = f->in_count / c;
    *mean = *var = 0.0;
    for (size_t i = 0; i < count; i++)
        *mean += f->y_double[i * c + j] / (double)count;
    for (size_t i = 0; i < count; i++)
        *var += pow(f->y_double[i * c + j] - *mean, 2) / (double)count;
}

static double activated(const struct norm_act_fixture *f, const struct reference *r, size_t j,
                        double y, double mean, double var) {
    double v = y * r->weight[j];
    if (f->shape.affine == BP_AFFINE_BATCH_NORM)
        v = (y - mean) / sqrt(var + 1e-5) * r->weight[j] + r->bias[j];
    if (f->shape.activation == BP_ACT_RELU)
        return v < 0 ? 0 : v;
    return f->shape.activation == BP_ACT_PRELU && v < 0 ? v * r->slope[j] : v;
}

/* The value before sgn of channel j of all output pixels: z [n * oh * ow], strided by c. */
static void reference_channel(const struct norm_act_fixture *f, const struct reference *r,
                              int training, size_t j, double *z) {
    const struct bp_norm_act_shape *s = &f->shape;
    size_t window = s->max_pool ? 2 : 1;
    double mean = r->mean[j], var = r->var[j];
    if (training)
        moments(f, j, &mean, &var);
    for (size_t p = 0; p < f->n * f->oh * f->ow; p++) {
        size_t n = p / (f->oh * f->ow), row = p / f->ow % f->oh, column = p % f->ow;
        double best = -INFINITY;
        for (size_t d = 0; d < window * window; d++) {
            size_t y = window * row + d / window, x = window * column + d % window;
            double v = f->y_double[((n * s->h + y) * s->w + x) * s->c + j];
            best = fmax(best, activated(f, r, j, v, mean, var));
        }
        z[p * s->c + j] = best + (f->residual ? (double)f->branch[p * s->c + j] : 0.0);
    }
}

/* sum g z over channel j. */
static double reference_loss(const struct norm_act_fixture *f, const struct reference *r,
                             size_t j) {
    size_t c = f->shape.c;
    double *z = op_data_take(f->out_count * sizeof *z), loss = 0.0;
    reference_channel(f, r, 1, j, z);
    for (size_t i = j; i < f->out_count; i += c)
        loss += (double)f->g[i] * z[i];
    bp_free(z);
    return loss;
}

static double slope_of_loss(const struct norm_act_fixture *f, const struct reference *r, size_t j,
                            double *value, double step) {
    double before = *value;
    *value = before + step;
    double above = reference_loss(f, r, j);
    *value = before - step;
    double below = reference_loss(f, r, j);
    *value = before;
    return (above - below) / (2 * step);
}

/* --- comparisons ------------------------------------------------------------------------------ */

static void near(const char *what, size_t index, double value, double expected, double limit) {
    if (!(fabs(value - expected) <= limit))
        fail_msg("%s [%zu]: %.9g, expected %.9g within %.2g", what, index, value, expected, limit);
}

static void check_bits(const struct norm_act_fixture *f, const double *z) {
    size_t c = f->shape.c, line = (f->ow + 2) * f->cw, decided = 0;
    for (size_t i = 0; i < f->bits_count; i++) {
        size_t word = i % f->cw, x = i / f->cw % (f->ow + 2), y = i / line % (f->oh + 2);
        size_t n = i / line / (f->oh + 2);
        if (x == 0 || y == 0 || x == f->ow + 1 || y == f->oh + 1) {
            assert_int_equal(f->bits[i], 0);
            continue;
        }
        size_t pixel = (n * f->oh + y - 1) * f->ow + x - 1;
        uint64_t mask = f->mask[pixel * f->cw + word];
        for (size_t b = 0; b < 64; b++) {
            size_t j = word * 64 + b;
            int bit = (int)(f->bits[i] >> b & 1), near_zero = (int)(mask >> b & 1);
            if (j >= c) {
                assert_int_equal(bit | near_zero, 0);
                continue;
            }
            double v = z[pixel * c + j];
            if (fabs(v) < 1e-5 || fabs(fabs(v) - 1) < 1e-5)
                continue; /* float rounding decides */
            decided++;
            assert_int_equal(bit, v < 0);
            assert_int_equal(near_zero, fabs(v) < 1);
        }
    }
    assert_true(decided > f->out_count * 9 / 10 || f->shape.activation == BP_ACT_RELU);
}

/* Forward values are of the order of 10 at most: eight float roundings at 4e-7 each. */
static void check_forward(struct norm_act_fixture *f, const struct reference *r, int training) {
    double *z = op_data_take(f->out_count * sizeof *z);
    for (size_t j = 0; j < f->shape.c; j++)
        reference_channel(f, r, training, j, z);
    if (f->shape.sign_out)
        check_bits(f, z);
    else
        for (size_t i = 0; i < f->out_count; i++)
            near("out", i, (double)f->out[i], z[i], 4e-6);
    bp_free(z);
}

static void check_running(const struct norm_act_fixture *f, const struct reference *r) {
    double count = (double)(f->in_count / f->shape.c);
    for (size_t j = 0; j < f->shape.c && f->shape.affine == BP_AFFINE_BATCH_NORM; j++) {
        double mean, var;
        moments(f, j, &mean, &var);
        mean = 0.9 * r->mean[j] + 0.1 * mean;
        var = 0.9 * r->var[j] + 0.1 * var * count / (count - 1);
        near("running mean", j, (double)f->mean[j], mean, 1e-6 * (1 + fabs(mean)));
        near("running var", j, (double)f->var[j], var, 1e-6 * (1 + var));
    }
}

/* Limits: float sums of `count` terms, relative to the sum of their magnitudes (|g| <= 1). */
static void check_backward(struct norm_act_fixture *f, struct reference *r) {
    size_t c = f->shape.c;
    double spread = f->shape.input_i16 ? 300.0 : 3.0;
    double count = (double)(f->out_count / c);
    int scale = f->shape.affine == BP_AFFINE_SCALE;
    for (size_t j = 0; j < c; j++) {
        double limit = 2e-6 * count;
        near("d weight", j, (double)f->d_weight[j],
             slope_of_loss(f, r, j, &r->weight[j], scale ? 1e-7 : 1e-5),
             limit * (scale ? spread : 1.0));
        if (!scale)
            near("d bias", j, (double)f->d_bias[j], slope_of_loss(f, r, j, &r->bias[j], 1e-6),
                 limit);
        if (f->shape.activation == BP_ACT_PRELU)
            near("d slope", j, (double)f->d_slope[j], slope_of_loss(f, r, j, &r->slope[j], 1e-5),
                 limit * 3.0);
    }
    /* dx is of the order of |weight| / deviation (batch norm) or alpha */
    double size = scale ? (f->shape.input_i16 ? 0.015 : 1.5) : 2.6 / spread;
    size_t stride = f->in_count > 2000 ? 97 : 1;
    for (size_t i = 0; i < f->in_count; i += stride)
        near("dx", i, (double)f->dx[i], slope_of_loss(f, r, i % c, &f->y_double[i], 1e-6 * spread),
             2e-6 * size);
}

/* --- tests ------------------------------------------------------------------------------------ */

struct dims {
    size_t planned, n, h, w, c;
};

static void check_case(const struct dims *d, unsigned combination) {
    struct bp_norm_act_shape shape = {.n = d->planned,
                                      .h = d->h,
                                      .w = d->w,
                                      .c = d->c,
                                      .input_i16 = combination & 1,
                                      .affine =
                                          combination & 2 ? BP_AFFINE_SCALE : BP_AFFINE_BATCH_NORM,
                                      .max_pool = combination >> 2 & 1,
                                      .sign_out = combination >> 3 & 1,
                                      .activation = (enum bp_activation)(combination >> 5)};
    struct norm_act_fixture f;
    struct reference r;
    norm_act_set_up(&f, &shape, d->n, combination >> 4 & 1, BP_TIER_C, 2);
    reference_make(&r, &f);
    norm_act_run_forward(&f, 0);
    check_forward(&f, &r, 0);
    norm_act_run_forward(&f, 1);
    check_forward(&f, &r, 1);
    check_running(&f, &r);
    norm_act_run_backward(&f, NULL);
    check_backward(&f, &r);
    norm_act_tear_down(&f);
}

static void test_combinations(void **state) {
    (void)state;
    static const struct dims all[] = {{3, 3, 4, 6, 5}, {3, 2, 5, 7, 3}, {2, 2, 3, 2, 66}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        for (unsigned combination = 0; combination < 96; combination++)
            check_case(&all[i], combination);
}

/* More than one block of 1024 pixels, more than one chunk of rows, rows wider than a chunk. */
static void test_large_maps(void **state) {
    (void)state;
    static const struct dims all[] = {{2, 2, 71, 67, 3}, {1, 1, 6, 1500, 4}};
    static const unsigned combinations[] = {64, 65, 69, 64 + 8 + 4, 67, 71};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        for (size_t k = 0; k < sizeof combinations / sizeof combinations[0]; k++)
            check_case(&all[i], combinations[k]);
}

/* A gradient as integers and scales is the same floats: the same bytes of all that follows. */
static void check_sums(const struct bp_norm_act_shape *shape, enum bp_tier tier) {
    struct norm_act_fixture f[2];
    size_t channels = shape->c * sizeof(float);
    for (int i = 0; i < 2; i++) {
        norm_act_set_up(&f[i], shape, shape->n, 0, tier, 1 + i);
        norm_act_run_forward(&f[i], 1);
    }
    int16_t *sums = op_data_take(f[0].out_count * sizeof *sums);
    float scale[4];
    for (size_t n = 0; n < shape->n; n++)
        scale[n] = 0.01f + 0.003f * (float)n;
    for (size_t i = 0; i < f[0].out_count; i++) {
        sums[i] = (int16_t)(300.0f * op_data_number(9, i));
        f[0].g[i] = scale[i / (f[0].out_count / shape->n)] * (float)sums[i];
    }
    norm_act_run_backward(&f[0], NULL);
    norm_act_run_backward_of(&f[1], &(struct bp_gradient){.sums = sums, .scale = scale});
    assert_memory_equal(f[0].dx, f[1].dx, f[0].in_count * sizeof(float));
    assert_memory_equal(f[0].d_weight, f[1].d_weight, channels);
    if (shape->affine == BP_AFFINE_BATCH_NORM)
        assert_memory_equal(f[0].d_bias, f[1].d_bias, channels);
    if (shape->activation == BP_ACT_PRELU)
        assert_memory_equal(f[0].d_slope, f[1].d_slope, channels);
    bp_free(sums);
    for (int i = 0; i < 2; i++)
        norm_act_tear_down(&f[i]);
}

static void test_gradients_as_sums(void **state) {
    (void)state;
    for (int tier = 0; tier < BP_TIER_COUNT; tier++)
        for (int kind = 0; kind < 8 && bp_cpu_has((enum bp_tier)tier); kind++)
            check_sums(
                &(struct bp_norm_act_shape){.n = 3,
                                            .h = 7,
                                            .w = 10,
                                            .c = 70,
                                            .input_i16 = kind % 2,
                                            .affine = BP_AFFINE_BATCH_NORM,
                                            .activation = kind & 2 ? BP_ACT_PRELU : BP_ACT_NONE,
                                            .max_pool = kind / 4,
                                            .sign_out = 1},
                (enum bp_tier)tier);
}

static void test_eval_leaves_running_statistics(void **state) {
    (void)state;
    struct bp_norm_act_shape shape = {.n = 2, .h = 3, .w = 3, .c = 4};
    struct norm_act_fixture f;
    norm_act_set_up(&f, &shape, 2, 0, BP_TIER_C, 1);
    float mean[4], var[4];
    memcpy(mean, f.mean, sizeof mean);
    memcpy(var, f.var, sizeof var);
    norm_act_run_forward(&f, 0);
    assert_memory_equal(f.mean, mean, sizeof mean);
    assert_memory_equal(f.var, var, sizeof var);
    norm_act_run_forward(&f, 1);
    assert_memory_not_equal(f.mean, mean, sizeof mean);
    norm_act_tear_down(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_combinations),
        cmocka_unit_test(test_large_maps),
        cmocka_unit_test(test_gradients_as_sums),
        cmocka_unit_test(test_eval_leaves_running_statistics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
