/* fp32 convolutions: both backends against a naive convolution in double, for every kernel size,
 * stride and padding that networks here use, channel counts around the vector widths, and batches
 * that do not fill their blocks; and the promise of identical bytes whatever the threads. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/rng.h"
#include "fp32/fp32_ops.h"

struct shape_case {
    size_t n, h, w, c, k, r, stride, pad;
};

static const struct shape_case cases[] = {
    {13, 9, 7, 3, 17, 3, 1, 1},    {9, 8, 8, 1, 64, 3, 1, 1},    {17, 5, 5, 64, 64, 3, 1, 1},
    {3, 6, 5, 16, 17, 3, 2, 1},    {10, 15, 13, 3, 64, 7, 2, 3}, {2, 11, 9, 17, 16, 7, 1, 3},
    {16, 1, 1, 100, 10, 1, 1, 0},  {11, 7, 7, 64, 100, 1, 1, 0}, {9, 8, 7, 17, 16, 1, 2, 0},
    {8, 4, 4, 100, 64, 3, 1, 1},   {5, 1, 3, 16, 1, 3, 1, 1},    {9, 5, 6, 16, 16, 3, 1, 0},
    {19, 2, 2, 130, 960, 3, 1, 1}, /* weights above 2^20: sliced weight gradient */
};
#define CASES (sizeof cases / sizeof *cases)
#define ALL   (BP_FP32_FORWARD | BP_FP32_BACKWARD_DATA | BP_FP32_BACKWARD_WEIGHTS)

/* Inputs and results of one convolution, for the largest batch. */
struct tensors {
    struct bp_conv_shape shape;
    size_t image, map, kernel; /* floats of a sample of x, of a sample of y, of w */
    float *x, *w, *bias, *g, *base;
    float *y, *dx, *dx_sum, *dw, *dbias;
};

static float *floats(size_t count) {
    float *block = malloc(count * sizeof *block);
    assert_non_null(block);
    for (size_t i = 0; i < count; i++)
        block[i] = NAN; /* whatever is not overwritten shows */
    return block;
}

static float *random_floats(size_t count, unsigned seed) {
    struct bp_stream stream = bp_stream_make(seed, BP_RANDOM_TEST, seed, 0);
    float *block = floats(count);
    for (size_t i = 0; i < count; i++)
        block[i] = 2 * bp_stream_uniform(&stream, i) - 1;
    return block;
}

static struct tensors tensors_make(const struct shape_case *s) {
    struct tensors t;
    assert_int_equal(
        bp_conv_shape_set(&t.shape, s->n, s->h, s->w, s->c, s->k, s->r, s->stride, s->pad), BP_OK);
    t.image = s->h * s->w * s->c;
    t.map = t.shape.oh * t.shape.ow * s->k;
    t.kernel = s->k * s->r * s->r * s->c;
    t.x = random_floats(s->n * t.image, 1);
    t.w = random_floats(t.kernel, 2);
    t.bias = random_floats(s->k, 3);
    t.g = random_floats(s->n * t.map, 4);
    t.base = random_floats(s->n * t.image, 5);
    t.y = floats(s->n * t.map);
    t.dx = floats(s->n * t.image);
    t.dx_sum = floats(s->n * t.image);
    t.dw = floats(t.kernel);
    t.dbias = floats(s->k);
    return t;
}

static void tensors_free(struct tensors *t) {
    float *all[] = {t->x, t->w, t->bias, t->g, t->base, t->y, t->dx, t->dx_sum, t->dw, t->dbias};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

/* --- running --------------------------------------------------------------- */

struct runner {
    struct bp_exec *exec;
    struct bp_plan *plan;
    struct bp_fp32_conv *conv;
};

static bp_status runner_open(struct runner *r, enum bp_fp32_backend backend, int threads,
                             const struct bp_conv_shape *shape, unsigned passes) {
    BP_TRY(bp_exec_create(&r->exec, BP_TIER_C, threads));
    BP_TRY(bp_plan_create(&r->plan));
    BP_TRY(bp_fp32_conv_create(&r->conv, r->exec, r->plan, backend, shape, passes, "conv", 0, 1));
    BP_TRY(bp_plan_allocate(r->plan, "a test"));
    return bp_exec_allocate(r->exec);
}

static void runner_close(struct runner *r) {
    bp_fp32_conv_destroy(r->conv);
    bp_plan_destroy(r->plan);
    bp_exec_destroy(r->exec);
    memset(r, 0, sizeof *r);
}

static bp_status run_all(struct runner *r, struct tensors *t, size_t n) {
    BP_TRY(bp_fp32_conv_forward(r->conv, r->exec, n, t->x, t->w, t->bias, t->y));
    BP_TRY(bp_fp32_conv_backward_data(r->conv, r->exec, n, t->g, t->w, t->dx, 0));
    memcpy(t->dx_sum, t->base, n * t->image * sizeof(float));
    BP_TRY(bp_fp32_conv_backward_data(r->conv, r->exec, n, t->g, t->w, t->dx_sum, 1));
    return bp_fp32_conv_backward_weights(r->conv, r->exec, n, t->x, t->g, t->dw, t->dbias);
}

static void compute(struct tensors *t, enum bp_fp32_backend backend, int threads, size_t n) {
    struct runner r = {0};
    assert_int_equal(runner_open(&r, backend, threads, &t->shape, ALL), BP_OK);
    assert_int_equal(run_all(&r, t, n), BP_OK);
    runner_close(&r);
}

/* --- reference ------------------------------------------------------------- */

/* A result in double, and the sum of the absolute values of what was added. */
struct exact {
    double *value, *size;
    size_t count;
};

static struct exact exact_make(size_t count) {
    struct exact e = {calloc(count, sizeof(double)), calloc(count, sizeof(double)), count};
    assert_true(e.value != NULL && e.size != NULL);
    return e;
}

static void exact_free(struct exact *e) {
    free(e->value);
    free(e->size);
}

static void add(struct exact *e, size_t i, double term) {
    e->value[i] += term;
    e->size[i] += fabs(term);
}

/* A float sum of N products, in whatever order, with or without fused multiply-add, is off by at
 * most about N * 2^-24 * (sum of |terms|). Further additions (bias, base, partial sums): counted in
 * terms. */
static void check(const char *what, const struct exact *e, const float *result, size_t terms) {
    for (size_t i = 0; i < e->count; i++) {
        double allowed = (double)(terms + 2) * ldexp(1.0, -24) * e->size[i];
        if (!(fabs((double)result[i] - e->value[i]) <= allowed))
            fail_msg("%s[%zu] = %.9g, expected %.9g +- %.3g", what, i, (double)result[i],
                     e->value[i], allowed);
    }
}

static void multiply_add_all(const struct tensors *t, size_t n, struct exact *y, struct exact *dx,
                             struct exact *dw) {
    const struct bp_conv_shape *s = &t->shape;
    for (size_t i = 0; i < n; i++)
        for (size_t oy = 0; oy < s->oh; oy++)
            for (size_t ox = 0; ox < s->ow; ox++)
                for (size_t o = 0; o < s->k; o++)
                    for (size_t a = 0; a < s->r; a++)
                        for (size_t b = 0; b < s->r; b++) {
                            size_t iy = oy * s->stride + a, ix = ox * s->stride + b;
                            if (iy < s->pad || iy >= s->h + s->pad || ix < s->pad ||
                                ix >= s->w + s->pad)
                                continue;
                            size_t at = ((i * s->h + iy - s->pad) * s->w + ix - s->pad) * s->c;
                            size_t out = ((i * s->oh + oy) * s->ow + ox) * s->k + o;
                            size_t tap = ((o * s->r + a) * s->r + b) * s->c;
                            for (size_t c = 0; c < s->c; c++) {
                                double x = (double)t->x[at + c], w = (double)t->w[tap + c];
                                double g = (double)t->g[out];
                                add(y, out, x * w);
                                add(dx, at + c, g * w);
                                add(dw, tap + c, x * g);
                            }
                        }
}

static void check_all(const struct tensors *t, size_t n) {
    const struct bp_conv_shape *s = &t->shape;
    struct exact y = exact_make(n * t->map), dx = exact_make(n * t->image);
    struct exact dw = exact_make(t->kernel), dbias = exact_make(s->k);
    size_t taps = s->r * s->r, positions = n * s->oh * s->ow;
    multiply_add_all(t, n, &y, &dx, &dw);
    for (size_t i = 0; i < n * t->map; i++) {
        add(&y, i, (double)t->bias[i % s->k]);
        add(&dbias, i % s->k, (double)t->g[i]);
    }
    check("y", &y, t->y, taps * s->c + 1);
    check("dx", &dx, t->dx, taps * s->k);
    check("dw", &dw, t->dw, positions);
    check("dbias", &dbias, t->dbias, 1); /* summed in double */
    for (size_t i = 0; i < n * t->image; i++)
        add(&dx, i, (double)t->base[i]);
    check("accumulated dx", &dx, t->dx_sum, taps * s->k + 1);
    exact_free(&y);
    exact_free(&dx);
    exact_free(&dw);
    exact_free(&dbias);
}

/* The smaller batches come later: nothing of the larger ones may show in their last block, nor what
 * other operations left in the scratch memory (here NaN). */
static void check_backend(enum bp_fp32_backend backend) {
    for (size_t i = 0; i < CASES; i++) {
        struct tensors t = tensors_make(&cases[i]);
        struct runner r = {0};
        size_t n = t.shape.n, batches[] = {n, n - 1, n / 2 + 1};
        assert_int_equal(runner_open(&r, backend, 2, &t.shape, ALL), BP_OK);
        for (size_t j = 0; j < sizeof batches / sizeof *batches; j++) {
            memset(r.exec->scratch, 0xff, 2 * r.exec->scratch_bytes);
            assert_int_equal(run_all(&r, &t, batches[j]), BP_OK);
            check_all(&t, batches[j]);
        }
        runner_close(&r);
        tensors_free(&t);
    }
}

/* --- tests ----------------------------------------------------------------- */

static void plain_matches_reference(void **state) {
    (void)state;
    check_backend(BP_FP32_PLAIN);
}

static void onednn_matches_reference(void **state) {
    (void)state;
    if (bp_fp32_default() != BP_FP32_ONEDNN)
        skip();
    check_backend(BP_FP32_ONEDNN);
}

static void assert_same_results(const struct tensors *a, const struct tensors *b, size_t n) {
    assert_memory_equal(a->y, b->y, n * a->map * sizeof(float));
    assert_memory_equal(a->dx, b->dx, n * a->image * sizeof(float));
    assert_memory_equal(a->dx_sum, b->dx_sum, n * a->image * sizeof(float));
    assert_memory_equal(a->dw, b->dw, a->kernel * sizeof(float));
    assert_memory_equal(a->dbias, b->dbias, a->shape.k * sizeof(float));
}

static void threads_do_not_change_a_bit(void **state) {
    (void)state;
    for (int backend = BP_FP32_PLAIN; backend <= (int)bp_fp32_default(); backend++)
        for (size_t i = 0; i < CASES; i++) {
            struct tensors one = tensors_make(&cases[i]), many = tensors_make(&cases[i]);
            for (size_t n = one.shape.n; n > 0; n = n / 2) {
                compute(&one, (enum bp_fp32_backend)backend, 1, n);
                for (int threads = 2; threads <= 3; threads++) {
                    compute(&many, (enum bp_fp32_backend)backend, threads, n);
                    assert_same_results(&one, &many, n);
                }
            }
            tensors_free(&one);
            tensors_free(&many);
        }
}

/* Samples first .. first + n - 1 as a batch of their own give the bytes that they gave in the
 * batch. */
static void check_cut(struct runner *r, struct tensors *t, size_t first, size_t n) {
    float *y = floats(n * t->map), *dx = floats(n * t->image);
    assert_int_equal(
        bp_fp32_conv_forward(r->conv, r->exec, n, t->x + first * t->image, t->w, t->bias, y),
        BP_OK);
    assert_int_equal(
        bp_fp32_conv_backward_data(r->conv, r->exec, n, t->g + first * t->map, t->w, dx, 0), BP_OK);
    assert_memory_equal(y, t->y + first * t->map, n * t->map * sizeof(float));
    assert_memory_equal(dx, t->dx + first * t->image, n * t->image * sizeof(float));
    free(y);
    free(dx);
}

static void a_sample_does_not_depend_on_its_batch(void **state) {
    (void)state;
    for (int backend = BP_FP32_PLAIN; backend <= (int)bp_fp32_default(); backend++)
        for (size_t i = 0; i < CASES; i++) {
            struct tensors t = tensors_make(&cases[i]);
            struct runner r = {0};
            assert_int_equal(runner_open(&r, (enum bp_fp32_backend)backend, 2, &t.shape, ALL),
                             BP_OK);
            assert_int_equal(run_all(&r, &t, t.shape.n), BP_OK);
            check_cut(&r, &t, 0, t.shape.n - 1);
            check_cut(&r, &t, 1, t.shape.n - 1);
            check_cut(&r, &t, t.shape.n - 1, 1);
            runner_close(&r);
            tensors_free(&t);
        }
}

static void bias_may_be_left_out(void **state) {
    (void)state;
    for (int backend = BP_FP32_PLAIN; backend <= (int)bp_fp32_default(); backend++) {
        struct tensors t = tensors_make(&cases[0]);
        struct runner r = {0};
        size_t n = t.shape.n;
        assert_int_equal(runner_open(&r, (enum bp_fp32_backend)backend, 2, &t.shape, ALL), BP_OK);
        float *y = floats(n * t.map);
        assert_int_equal(bp_fp32_conv_forward(r.conv, r.exec, n, t.x, t.w, t.bias, t.y), BP_OK);
        assert_int_equal(bp_fp32_conv_forward(r.conv, r.exec, n, t.x, t.w, NULL, y), BP_OK);
        memset(t.bias, 0, t.shape.k * sizeof(float));
        assert_int_equal(bp_fp32_conv_forward(r.conv, r.exec, n, t.x, t.w, t.bias, t.y), BP_OK);
        assert_memory_equal(y, t.y, n * t.map * sizeof(float));
        assert_int_equal(bp_fp32_conv_backward_weights(r.conv, r.exec, n, t.x, t.g, t.dw, NULL),
                         BP_OK);
        assert_true(isnan(t.dbias[0])); /* untouched */
        free(y);
        runner_close(&r);
        tensors_free(&t);
    }
}

static void blocks_depend_on_the_batch_only(void **state) {
    (void)state;
    size_t expected[][2] = {{1, 1}, {8, 1}, {9, 2}, {16, 2}, {17, 3}, {100, 13}, {128, 16}};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        assert_int_equal(bp_fp32_block_samples(expected[i][0]), expected[i][1]);
}

static void steps_allocate_nothing(void **state) {
    (void)state;
    for (int backend = BP_FP32_PLAIN; backend <= (int)bp_fp32_default(); backend++)
        for (size_t i = 0; i < CASES; i++) {
            struct tensors t = tensors_make(&cases[i]);
            struct runner r = {0};
            assert_int_equal(runner_open(&r, (enum bp_fp32_backend)backend, 2, &t.shape, ALL),
                             BP_OK);
            assert_int_equal(run_all(&r, &t, t.shape.n), BP_OK);
            long before = bp_memory_requests();
            assert_int_equal(run_all(&r, &t, t.shape.n), BP_OK);
            assert_int_equal(bp_memory_requests(), before);
            runner_close(&r);
            tensors_free(&t);
        }
}

/* Every request for memory fails once; asan sees whether anything stays behind. */
static void out_of_memory_is_an_error(void **state) {
    (void)state;
    struct tensors t = tensors_make(&cases[0]);
    for (int backend = BP_FP32_PLAIN; backend <= (int)bp_fp32_default(); backend++) {
        bp_status status = BP_RESOURCE;
        long requests = 0;
        for (; status != BP_OK; requests++) {
            struct runner r = {0};
            bp_memory_fail_after(requests);
            status = runner_open(&r, (enum bp_fp32_backend)backend, 2, &t.shape, ALL);
            if (status == BP_OK)
                status = run_all(&r, &t, t.shape.n);
            bp_memory_fail_after(-1);
            runner_close(&r);
            assert_true(status == BP_OK || status == BP_RESOURCE);
            assert_true(requests < 100);
        }
        assert_true(requests > 5);
    }
    tensors_free(&t);
}

static void unplanned_products_are_errors(void **state) {
    (void)state;
    for (int backend = BP_FP32_PLAIN; backend <= (int)bp_fp32_default(); backend++) {
        struct tensors t = tensors_make(&cases[0]);
        struct runner r = {0};
        assert_int_equal(
            runner_open(&r, (enum bp_fp32_backend)backend, 1, &t.shape, BP_FP32_FORWARD), BP_OK);
        size_t n = t.shape.n;
        assert_int_equal(bp_fp32_conv_forward(r.conv, r.exec, n, t.x, t.w, NULL, t.y), BP_OK);
        assert_int_equal(bp_fp32_conv_forward(r.conv, r.exec, n + 1, t.x, t.w, NULL, t.y),
                         BP_INTERNAL);
        assert_int_equal(bp_fp32_conv_backward_data(r.conv, r.exec, n, t.g, t.w, t.dx, 0),
                         BP_INTERNAL);
        assert_int_equal(bp_fp32_conv_backward_weights(r.conv, r.exec, n, t.x, t.g, t.dw, NULL),
                         BP_INTERNAL);
        runner_close(&r);
        tensors_free(&t);
    }
}

static void backends_have_names(void **state) {
    (void)state;
    assert_string_equal(bp_fp32_backend_name(BP_FP32_PLAIN), "plain C");
    if (bp_fp32_default() == BP_FP32_ONEDNN)
        assert_int_equal(strncmp(bp_fp32_backend_name(BP_FP32_ONEDNN), "oneDNN ", 7), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_matches_reference),
        cmocka_unit_test(onednn_matches_reference),
        cmocka_unit_test(threads_do_not_change_a_bit),
        cmocka_unit_test(a_sample_does_not_depend_on_its_batch),
        cmocka_unit_test(bias_may_be_left_out),
        cmocka_unit_test(blocks_depend_on_the_batch_only),
        cmocka_unit_test(steps_allocate_nothing),
        cmocka_unit_test(out_of_memory_is_an_error),
        cmocka_unit_test(unplanned_products_are_errors),
        cmocka_unit_test(backends_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
