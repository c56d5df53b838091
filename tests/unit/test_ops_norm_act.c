/* norm_act against a naive double reference: every combination of input, affine, activation,
 * pooling, residual and sgn. The backward pass is compared with central differences of the
 * reference. All tiers and any number of workers must give the same bytes. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/rng.h"
#include "ops/norm_act.h"

#define C_MAX 80

struct fixture {
    struct bp_norm_act_shape shape;
    int residual;
    size_t n, oh, ow, cw;
    size_t in_count, out_count, bits_count, mask_count; /* elements of n samples */
    struct bp_exec *exec;
    struct bp_plan *plan;
    struct bp_norm_act *op;
    void *y;          /* int16 or float */
    double *y_double; /* the same values */
    float *branch, *g, *out, *dx;
    uint64_t *bits, *mask;
    float weight[C_MAX], bias[C_MAX], slope[C_MAX], mean[C_MAX], var[C_MAX];
    float d_weight[C_MAX], d_bias[C_MAX], d_slope[C_MAX];
};

static void *take(size_t bytes) {
    void *block;
    assert_int_equal(bp_alloc(&block, bytes, "a test"), BP_OK);
    return block;
}

/* Uniform in (-scale, scale); `stream` keeps the arrays apart. */
static float number(uint32_t stream, size_t index, float scale) {
    struct bp_stream s = bp_stream_make(11, BP_RANDOM_TEST, 3, stream);
    return (2.0f * bp_stream_uniform(&s, index) - 1.0f) * scale;
}

static void fill(struct fixture *f) {
    for (size_t i = 0; i < f->in_count; i++) {
        float v = number(1, i, 300.0f) + 20.0f;
        size_t pixel = i / f->shape.c, corner = pixel / f->shape.w % f->shape.h % 2 * 2;
        corner += pixel % f->shape.w % 2; /* no ties in a pool, no zeros: no kinks */
        if (f->shape.input_i16)
            ((int16_t *)f->y)[i] = (int16_t)(((int)v / 4 == 0 ? 4 : (int)v / 4 * 4) + (int)corner);
        else
            ((float *)f->y)[i] = v / 100.0f;
        f->y_double[i] =
            f->shape.input_i16 ? (double)((int16_t *)f->y)[i] : (double)((float *)f->y)[i];
    }
    for (size_t i = 0; i < f->out_count; i++) {
        f->branch[i] = number(2, i, 1.0f);
        f->g[i] = number(3, i, 1.0f);
    }
    /* an affine that is alpha alone has to bring integers to the order of 1 */
    float unit = f->shape.affine == BP_AFFINE_SCALE && f->shape.input_i16 ? 0.01f : 1.0f;
    for (size_t j = 0; j < f->shape.c; j++) {
        f->weight[j] = unit * (1.0f + number(4, j, 0.5f)) * (j % 3 == 2 ? -1.0f : 1.0f);
        f->bias[j] = number(5, j, 0.5f);
        f->slope[j] = 0.25f + number(6, j, 0.2f);
        f->mean[j] = (20.0f + number(7, j, 20.0f)) / (f->shape.input_i16 ? 1.0f : 100.0f);
        f->var[j] = (3.0f + number(8, j, 1.0f)) * (f->shape.input_i16 ? 1e4f : 1.0f);
    }
}

static void set_up(struct fixture *f, const struct bp_norm_act_shape *shape, size_t n, int residual,
                   enum bp_tier tier, int threads) {
    memset(f, 0, sizeof *f);
    f->shape = *shape;
    f->residual = residual;
    f->n = n;
    f->oh = shape->max_pool ? shape->h / 2 : shape->h;
    f->ow = shape->max_pool ? shape->w / 2 : shape->w;
    f->cw = bp_words(shape->c);
    f->in_count = n * shape->h * shape->w * shape->c;
    f->out_count = n * f->oh * f->ow * shape->c;
    f->bits_count = n * (f->oh + 2) * (f->ow + 2) * f->cw;
    f->mask_count = n * f->oh * f->ow * f->cw;
    assert_int_equal(bp_exec_create(&f->exec, tier, threads), BP_OK);
    assert_int_equal(bp_plan_create(&f->plan), BP_OK);
    assert_int_equal(bp_norm_act_create(&f->op, f->exec, f->plan, shape, "test", 0, 0, 1), BP_OK);
    assert_int_equal(bp_plan_allocate(f->plan, "a test"), BP_OK);
    assert_int_equal(bp_exec_allocate(f->exec), BP_OK);
    f->y = take(f->in_count * sizeof(float));
    f->y_double = take(f->in_count * sizeof(double));
    f->branch = take(f->out_count * sizeof(float));
    f->g = take(f->out_count * sizeof(float));
    f->out = take(f->out_count * sizeof(float));
    f->dx = take(f->in_count * sizeof(float));
    f->bits = take(f->bits_count * sizeof(uint64_t));
    f->mask = take(f->mask_count * sizeof(uint64_t));
    /* the buffers come from a shared arena: anything may stand there */
    memset(f->bits, 0xa5, f->bits_count * sizeof(uint64_t));
    memset(f->mask, 0xa5, f->mask_count * sizeof(uint64_t));
    fill(f);
}

static void tear_down(struct fixture *f) {
    void *blocks[] = {f->y, f->y_double, f->branch, f->g, f->out, f->dx, f->bits, f->mask};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++)
        bp_free(blocks[i]);
    bp_norm_act_destroy(f->op);
    bp_plan_destroy(f->plan);
    bp_exec_destroy(f->exec);
}

static struct bp_norm_act_params params_of(struct fixture *f) {
    return (struct bp_norm_act_params){.weight = f->weight,
                                       .bias = f->bias,
                                       .slope = f->slope,
                                       .running_mean = f->mean,
                                       .running_var = f->var};
}

static void run_forward(struct fixture *f, int training) {
    struct bp_norm_act_params params = params_of(f);
    struct bp_norm_act_out out = {.out = f->out};
    if (f->shape.sign_out)
        out = (struct bp_norm_act_out){.bits = f->bits, .mask = f->mask};
    bp_norm_act_forward(f->op, f->exec, f->n, f->y, f->residual ? f->branch : NULL, &params,
                        training, &out);
}

static void run_backward(struct fixture *f, const uint8_t *kept) {
    struct bp_norm_act_params params = params_of(f);
    struct bp_norm_act_grads grads = {f->d_weight, f->d_bias, f->d_slope};
    bp_norm_act_backward_sums(f->op, f->exec, f->n, f->y, f->g, kept, &params, &grads);
    bp_norm_act_backward_all(f->op, f->exec, f->n, f->dx, 0);
}

/* --- reference -------------------------------------------------------------------------------- */

/* The parameters as doubles, so that central differences can shift them. */
struct reference {
    double weight[C_MAX], bias[C_MAX], slope[C_MAX], mean[C_MAX], var[C_MAX];
};

static void reference_make(struct reference *r, const struct fixture *f) {
    for (size_t j = 0; j < f->shape.c; j++) {
        r->weight[j] = (double)f->weight[j];
        r->bias[j] = (double)f->bias[j];
        r->slope[j] = (double)f->slope[j];
        r->mean[j] = (double)f->mean[j];
        r->var[j] = (double)f->var[j];
    }
}

/* Batch moments by two passes. */
static void moments(const struct fixture *f, size_t j, double *mean, double *var) {
    size_t c = f->shape.c, count = f->in_count / c;
    *mean = *var = 0.0;
    for (size_t i = 0; i < count; i++)
        *mean += f->y_double[i * c + j] / (double)count;
    for (size_t i = 0; i < count; i++)
        *var += pow(f->y_double[i * c + j] - *mean, 2) / (double)count;
}

static double activated(const struct fixture *f, const struct reference *r, size_t j, double y,
                        double mean, double var) {
    double v = y * r->weight[j];
    if (f->shape.affine == BP_AFFINE_BATCH_NORM)
        v = (y - mean) / sqrt(var + 1e-5) * r->weight[j] + r->bias[j];
    if (f->shape.activation == BP_ACT_RELU)
        return v < 0 ? 0 : v;
    return f->shape.activation == BP_ACT_PRELU && v < 0 ? v * r->slope[j] : v;
}

/* The value before sgn of channel j of all output pixels: z [n * oh * ow], strided by c. */
static void reference_channel(const struct fixture *f, const struct reference *r, int training,
                              size_t j, double *z) {
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
static double reference_loss(const struct fixture *f, const struct reference *r, size_t j) {
    size_t c = f->shape.c;
    double *z = take(f->out_count * sizeof *z), loss = 0.0;
    reference_channel(f, r, 1, j, z);
    for (size_t i = j; i < f->out_count; i += c)
        loss += (double)f->g[i] * z[i];
    bp_free(z);
    return loss;
}

static double slope_of_loss(const struct fixture *f, const struct reference *r, size_t j,
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

static void check_bits(const struct fixture *f, const double *z) {
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
static void check_forward(struct fixture *f, const struct reference *r, int training) {
    double *z = take(f->out_count * sizeof *z);
    for (size_t j = 0; j < f->shape.c; j++)
        reference_channel(f, r, training, j, z);
    if (f->shape.sign_out)
        check_bits(f, z);
    else
        for (size_t i = 0; i < f->out_count; i++)
            near("out", i, (double)f->out[i], z[i], 4e-6);
    bp_free(z);
}

static void check_running(const struct fixture *f, const struct reference *r) {
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
static void check_backward(struct fixture *f, struct reference *r) {
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
    struct fixture f;
    struct reference r;
    set_up(&f, &shape, d->n, combination >> 4 & 1, BP_TIER_C, 2);
    reference_make(&r, &f);
    run_forward(&f, 0);
    check_forward(&f, &r, 0);
    run_forward(&f, 1);
    check_forward(&f, &r, 1);
    check_running(&f, &r);
    run_backward(&f, NULL);
    check_backward(&f, &r);
    tear_down(&f);
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

static void test_eval_leaves_running_statistics(void **state) {
    (void)state;
    struct bp_norm_act_shape shape = {.n = 2, .h = 3, .w = 3, .c = 4};
    struct fixture f;
    set_up(&f, &shape, 2, 0, BP_TIER_C, 1);
    float mean[4], var[4];
    memcpy(mean, f.mean, sizeof mean);
    memcpy(var, f.var, sizeof var);
    run_forward(&f, 0);
    assert_memory_equal(f.mean, mean, sizeof mean);
    assert_memory_equal(f.var, var, sizeof var);
    run_forward(&f, 1);
    assert_memory_not_equal(f.mean, mean, sizeof mean);
    tear_down(&f);
}

/* The rows asked for in pieces are the rows asked for at once; accumulating adds the same rows. */
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
        struct fixture f;
        set_up(&f, &shape, 2, 0, BP_TIER_C, 1);
        size_t row_elements = 5 * 70;
        float *rows = take(h * row_elements * sizeof(float));
        void *scratch = take(bp_norm_act_grad_scratch_bytes(&shape));
        run_forward(&f, 1);
        run_backward(&f, NULL);
        for (size_t step = 2; step <= 8; step += 2) {
            for (size_t row = 0; row < h; row += step)
                bp_norm_act_grad_rows(f.op, 1, row, bp_min_size(step, h - row),
                                      rows + row * row_elements, scratch);
            assert_memory_equal(rows, f.dx + h * row_elements, h * row_elements * sizeof(float));
        }
        float *sum = take(f.in_count * sizeof(float));
        for (size_t i = 0; i < f.in_count; i++)
            sum[i] = number(9, i, 1.0f);
        bp_norm_act_backward_all(f.op, f.exec, 2, sum, 1);
        for (size_t i = 0; i < f.in_count; i++)
            assert_true(sum[i] == number(9, i, 1.0f) + f.dx[i]);
        bp_free(sum);
        bp_free(rows);
        bp_free(scratch);
        tear_down(&f);
    }
}

static void assert_same(const struct fixture *a, const struct fixture *b) {
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
        struct fixture reference;
        set_up(&reference, &shape, 5, 1, BP_TIER_C, 1);
        run_forward(&reference, 1);
        run_backward(&reference, NULL);
        for (int tier = 0; tier < BP_TIER_COUNT; tier++)
            for (int threads = 1; threads <= 6 && bp_cpu_has((enum bp_tier)tier); threads++) {
                struct fixture f;
                set_up(&f, &shape, 5, 1, (enum bp_tier)tier, threads);
                run_forward(&f, 1);
                run_backward(&f, NULL);
                assert_same(&reference, &f);
                tear_down(&f);
            }
        tear_down(&reference);
    }
}

/* Ranges are those of the rows, whole or of samples that have no gradient; of the latter, chosen
 * columns are those of the rows. */
static void check_ranges_and_columns(struct fixture *f, const uint8_t *kept) {
    size_t c = f->shape.c, pixels = f->shape.h * f->shape.w;
    void *scratch = take(bp_norm_act_grad_scratch_bytes(&f->shape));
    float *some = take(pixels * 2 * sizeof(float));
    float numbers[2][3][C_MAX];
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
        struct fixture f[2];
        for (int i = 0; i < 2; i++) {
            set_up(&f[i], &shape, 5, 0, bp_cpu_best(), 1 + i);
            size_t of_sample = f[i].out_count / 5;
            for (size_t n = 0; n < 5; n++)
                for (size_t j = 0; !kept[n] && j < of_sample; j++)
                    f[i].g[n * of_sample + j] = i == 0 ? 0.0f : NAN;
            run_forward(&f[i], 1);
            run_backward(&f[i], i == 0 ? NULL : kept);
        }
        for (size_t i = 0; i < f[0].in_count; i++)
            assert_true(f[0].dx[i] == f[1].dx[i]); /* a zero may have either sign */
        if (shape.input_i16)
            check_ranges_and_columns(&f[1], kept);
        assert_memory_equal(f[0].d_weight, f[1].d_weight, 70 * sizeof(float));
        assert_memory_equal(f[0].d_bias, f[1].d_bias, 70 * sizeof(float));
        assert_memory_equal(f[0].d_slope, f[1].d_slope, 70 * sizeof(float));
        tear_down(&f[0]);
        tear_down(&f[1]);
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
        cmocka_unit_test(test_combinations),
        cmocka_unit_test(test_large_maps),
        cmocka_unit_test(test_rows_in_pieces),
        cmocka_unit_test(test_eval_leaves_running_statistics),
        cmocka_unit_test(test_same_bytes),
        cmocka_unit_test(test_kept_samples),
        cmocka_unit_test(test_allocation_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
