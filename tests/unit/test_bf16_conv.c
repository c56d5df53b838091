/* Convolutions of bfloat16: both backends against the double product of the rounded operands, and
 * against that of the operands themselves within what rounding them may do; and the promises that
 * fp32 convolutions make too: identical bytes whatever threads, tier and batch. */
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
#include "fp32/bf16_conv.h"
#include "fp32/bf16_pointwise.h"

struct shape_case {
    size_t n, h, w, c, k;
};

/* Full vectors, tails, odd channels, batches that fill their blocks and that do not. */
static const struct shape_case cases[] = {
    {16, 4, 4, 64, 128}, {13, 5, 3, 17, 33}, {9, 2, 7, 6, 13},   {3, 8, 8, 32, 64},
    {17, 1, 1, 3, 1},    {8, 3, 3, 1, 16},   {11, 6, 6, 48, 96}, {5, 1, 4, 100, 7},
    {9, 13, 17, 32, 64}, {2, 5, 40, 96, 32},
};
#define CASES (sizeof cases / sizeof *cases)
#define ALL   (BP_FP32_FORWARD | BP_FP32_BACKWARD_DATA | BP_FP32_BACKWARD_WEIGHTS)
enum { SOURCE_SCRATCH = 256 };

struct tensors {
    struct bp_conv_shape shape;
    size_t image, map, kernel; /* elements of a sample of x, of a sample of y, of w */
    float *x, *w, *g, *base;
    uint16_t *x16;
    uint16_t *y16;
    float *y, *dx, *dx_sum, *dw, *dw_alone; /* y: the numbers of y16 */
    double *sums;                           /* [2][k] of y */
};

static void *take(size_t bytes) {
    void *block = malloc(bytes);
    assert_non_null(block);
    return memset(block, 0xff, bytes); /* NaN: whatever is not overwritten shows */
}

static float *random_floats(size_t count, unsigned seed) {
    struct bp_stream stream = bp_stream_make(seed, BP_RANDOM_TEST, seed, 0);
    float *block = take(count * sizeof *block);
    for (size_t i = 0; i < count; i++)
        block[i] = 2 * bp_stream_uniform(&stream, i) - 1;
    return block;
}

static struct tensors tensors_make(const struct shape_case *s) {
    struct tensors t;
    struct bp_kernels kernels;
    bp_kernels_init(&kernels, BP_TIER_C);
    assert_int_equal(bp_conv_shape_set(&t.shape, s->n, s->h, s->w, s->c, s->k, 1, 1, 0), BP_OK);
    t.image = s->h * s->w * s->c;
    t.map = s->h * s->w * s->k;
    t.kernel = s->k * s->c;
    t.x = random_floats(s->n * t.image, 1);
    t.w = random_floats(t.kernel, 2);
    t.g = random_floats(s->n * t.map, 3);
    t.base = random_floats(s->n * t.image, 4);
    t.x16 = take(s->n * t.image * sizeof *t.x16);
    kernels.round_bf16(t.x, s->n * t.image, t.x16);
    t.y16 = take(s->n * t.map * sizeof *t.y16);
    t.y = take(s->n * t.map * sizeof *t.y);
    t.dx = take(s->n * t.image * sizeof *t.dx);
    t.dx_sum = take(s->n * t.image * sizeof *t.dx_sum);
    t.dw = take(t.kernel * sizeof *t.dw);
    t.dw_alone = take(t.kernel * sizeof *t.dw_alone);
    t.sums = take(2 * s->k * sizeof *t.sums);
    return t;
}

static void tensors_free(struct tensors *t) {
    void *all[] = {t->x, t->w,  t->g,      t->base, t->x16,      t->y16,
                   t->y, t->dx, t->dx_sum, t->dw,   t->dw_alone, t->sums};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

/* --- running ---------------------------------------------------------------------------------- */

struct runner {
    struct bp_exec *exec;
    struct bp_plan *plan;
    struct bp_bf16_conv *conv;
    struct bp_channel_sums sums;
};

static bp_status runner_open(struct runner *r, enum bp_fp32_backend backend, enum bp_tier tier,
                             int threads, const struct bp_conv_shape *shape, unsigned passes) {
    BP_TRY(bp_exec_create(&r->exec, tier, threads));
    BP_TRY(bp_plan_create(&r->plan));
    BP_TRY(bp_channel_sums_plan(&r->sums, r->exec, r->plan, BP_SUMS_F32, shape->n, shape->k, "y", 0,
                                1));
    BP_TRY(bp_bf16_conv_create(&r->conv, r->exec, r->plan, backend, shape, passes, SOURCE_SCRATCH,
                               "conv", 0, 1));
    BP_TRY(bp_plan_allocate(r->plan, "a test"));
    return bp_exec_allocate(r->exec);
}

static void runner_close(struct runner *r) {
    bp_bf16_conv_destroy(r->conv);
    bp_plan_destroy(r->plan);
    bp_exec_destroy(r->exec);
    memset(r, 0, sizeof *r);
}

/* A gradient source that keeps to the letter of its contract. */
static void rows_of_g(const void *context, size_t n, size_t row, size_t rows, float *out,
                      void *scratch) {
    const struct tensors *t = context;
    const struct bp_conv_shape *s = &t->shape;
    assert_true(row % 2 == 0 && row + rows <= s->oh);
    assert_true(rows % 2 == 0 || row + rows == s->oh);
    memset(scratch, 0xff, SOURCE_SCRATCH);
    memcpy(out, t->g + n * t->map + row * s->ow * s->k, rows * s->ow * s->k * sizeof *out);
}

/* The same as bfloat16. */
static void rows_of_g16(const void *context, size_t n, size_t row, size_t rows, uint16_t *out,
                        void *scratch) {
    const struct tensors *t = context;
    struct bp_kernels kernels;
    size_t width = t->shape.ow * t->shape.k;
    bp_kernels_init(&kernels, BP_TIER_C);
    memset(scratch, 0xff, SOURCE_SCRATCH);
    kernels.round_bf16(t->g + n * t->map + row * width, rows * width, out);
}

static bp_status run_all(struct runner *r, struct tensors *t, size_t n) {
    const struct bp_grad_source source = {
        .rows = rows_of_g, .rows_bf16 = rows_of_g16, .context = t, .scratch_bytes = SOURCE_SCRATCH};
    const struct bp_conv_shape *s = &t->shape;
    BP_TRY(bp_bf16_conv_forward(r->conv, r->exec, n, t->x16, t->w, t->y16, &r->sums));
    r->exec->kernels.widen_f16(t->y16, n * t->map, t->y);
    assert_false(bp_channel_sums_finish(&r->sums, r->exec, n, NULL, s->oh * s->ow));
    memcpy(t->sums, r->sums.total, 2 * s->k * sizeof(double));
    BP_TRY(bp_bf16_conv_backward(r->conv, r->exec, n, t->x16, &source, t->w, t->dw, t->dx, 0));
    memcpy(t->dx_sum, t->base, n * t->image * sizeof(float));
    BP_TRY(bp_bf16_conv_backward(r->conv, r->exec, n, t->x16, &source, t->w, t->dw, t->dx_sum, 1));
    return bp_bf16_conv_backward(r->conv, r->exec, n, t->x16, &source, t->w, t->dw_alone, NULL, 0);
}

static void compute(struct tensors *t, enum bp_fp32_backend backend, enum bp_tier tier, int threads,
                    size_t n) {
    struct runner r = {0};
    assert_int_equal(runner_open(&r, backend, tier, threads, &t->shape, ALL), BP_OK);
    assert_int_equal(run_all(&r, t, n), BP_OK);
    runner_close(&r);
}

/* --- reference -------------------------------------------------------------------------------- */

/* A result in double, of rounded operands and of the operands themselves, and the sums of the
 * absolute values of what was added. */
struct exact {
    double *rounded, *value, *size;
};

static struct exact exact_make(size_t count) {
    struct exact e = {calloc(count, sizeof(double)), calloc(count, sizeof(double)),
                      calloc(count, sizeof(double))};
    assert_true(e.rounded != NULL && e.value != NULL && e.size != NULL);
    return e;
}

static void exact_free(struct exact *e) {
    free(e->rounded);
    free(e->value);
    free(e->size);
}

/* By the definition: 8 bits of significand, halves to even. */
static double to_bf16(float x) {
    int exponent;
    double significand = frexp((double)x, &exponent);
    return ldexp(nearbyint(ldexp(significand, 8)), exponent - 8);
}

static void add(struct exact *e, size_t i, float a, float b) {
    e->rounded[i] += to_bf16(a) * to_bf16(b);
    e->value[i] += (double)a * (double)b;
    e->size[i] += fabs((double)a * (double)b);
}

/* A float sum of N terms, in whatever order, is off by at most about N * 2^-24 * (sum of |terms|).
 * Rounding an operand changes it by at most 2^-8 of itself, and so a product by 2 * 2^-8 + 2^-16.
 * halves: results are rounded to these, by 2^-12 of themselves or 2^-25 of their unit.
 */
static void check(const char *what, const struct exact *e, const float *result, size_t count,
                  size_t terms, int halves) {
    const double operands = ldexp(1.0, -7) + ldexp(1.0, -16);
    for (size_t i = 0; i < count; i++) {
        double sum = (double)(terms + 2) * ldexp(1.0, -24) * e->size[i] * (1 + operands);
        if (halves)
            sum += fabs((double)result[i]) * ldexp(1.0, -11) + ldexp((double)BP_HALF_UNIT, -25);
        if (!(fabs((double)result[i] - e->rounded[i]) <= sum))
            fail_msg("%s[%zu] = %.9g, expected %.9g +- %.3g", what, i, (double)result[i],
                     e->rounded[i], sum);
        double all = sum + operands * e->size[i];
        if (!(fabs((double)result[i] - e->value[i]) <= all))
            fail_msg("%s[%zu] = %.9g, of unrounded operands %.9g +- %.3g", what, i,
                     (double)result[i], e->value[i], all);
    }
}

static void check_all(const struct tensors *t, size_t n) {
    const struct bp_conv_shape *s = &t->shape;
    struct exact y = exact_make(n * t->map), dx = exact_make(n * t->image);
    struct exact dw = exact_make(t->kernel);
    for (size_t p = 0; p < n * s->h * s->w; p++)
        for (size_t o = 0; o < s->k; o++)
            for (size_t c = 0; c < s->c; c++) {
                float x = t->x[p * s->c + c], w = t->w[o * s->c + c], g = t->g[p * s->k + o];
                add(&y, p * s->k + o, x, w);
                add(&dx, p * s->c + c, g, w);
                add(&dw, o * s->c + c, x, g);
            }
    check("y", &y, t->y, n * t->map, s->c, 1);
    check("dx", &dx, t->dx, n * t->image, s->k, 0);
    check("dw", &dw, t->dw, t->kernel, n * s->h * s->w, 0);
    assert_memory_equal(t->dw, t->dw_alone, t->kernel * sizeof(float));
    for (size_t i = 0; i < n * t->image; i++) { /* one term more */
        double base = (double)t->base[i];
        double allowed = (double)(s->k + 3) * ldexp(1.0, -23) * (dx.size[i] + fabs(base));
        assert_true(fabs((double)t->dx_sum[i] - dx.rounded[i] - base) <= allowed);
    }
    for (size_t j = 0; j < s->k; j++) {
        double sum = 0, squares = 0, size = 0;
        for (size_t p = 0; p < n * s->h * s->w; p++) {
            double v = (double)t->y[p * s->k + j];
            sum += v;
            size += fabs(v);
            squares += v * v;
        }
        assert_true(fabs(t->sums[j] - sum) <= 1e-12 * size);
        assert_true(fabs(t->sums[s->k + j] - squares) <= 1e-12 * squares);
    }
    exact_free(&y);
    exact_free(&dx);
    exact_free(&dw);
}

/* --- tests ------------------------------------------------------------------------------------ */

#define FOR_ALL_BACKENDS(backend)                                                                  \
    for (enum bp_fp32_backend backend = BP_FP32_PLAIN; backend <= bp_fp32_default(); backend++)

/* The smaller batches come later: nothing of the larger ones may show in their last block, nor what
 * other operations left in the scratch memory (here NaN). */
static void matches_reference(void **state) {
    (void)state;
    FOR_ALL_BACKENDS(backend)
    for (size_t i = 0; i < CASES; i++) {
        struct tensors t = tensors_make(&cases[i]);
        struct runner r = {0};
        size_t n = t.shape.n, batches[] = {n, n - 1, n / 2 + 1};
        assert_int_equal(runner_open(&r, backend, bp_cpu_best(), 2, &t.shape, ALL), BP_OK);
        for (size_t j = 0; j < sizeof batches / sizeof *batches; j++) {
            memset(r.exec->scratch, 0xff, 2 * r.exec->scratch_bytes);
            assert_int_equal(run_all(&r, &t, batches[j]), BP_OK);
            check_all(&t, batches[j]);
        }
        runner_close(&r);
        tensors_free(&t);
    }
}

static void assert_same_results(const struct tensors *a, const struct tensors *b, size_t n) {
    assert_memory_equal(a->y, b->y, n * a->map * sizeof(float));
    assert_memory_equal(a->dx, b->dx, n * a->image * sizeof(float));
    assert_memory_equal(a->dx_sum, b->dx_sum, n * a->image * sizeof(float));
    assert_memory_equal(a->dw, b->dw, a->kernel * sizeof(float));
    assert_memory_equal(a->sums, b->sums, 2 * a->shape.k * sizeof(double));
}

struct pointwise_runner {
    struct bp_exec *exec;
    struct bp_plan *plan;
    struct bp_bf16_pointwise *op;
    struct bp_channel_sums sums;
};

static void pointwise_open(struct pointwise_runner *r, enum bp_tier tier, int threads,
                           const struct bp_conv_shape *shape) {
    assert_int_equal(bp_exec_create(&r->exec, BP_TIER_C, threads), BP_OK);
    assert_int_equal(bp_plan_create(&r->plan), BP_OK);
    assert_int_equal(bp_channel_sums_plan(&r->sums, r->exec, r->plan, BP_SUMS_F32, shape->n,
                                          shape->k, "y", 0, 1),
                     BP_OK);
    assert_int_equal(bp_bf16_pointwise_create(&r->op, r->exec, r->plan, tier, shape, ALL,
                                              SOURCE_SCRATCH, "conv", 0, 1),
                     BP_OK);
    assert_int_equal(bp_plan_allocate(r->plan, "a test"), BP_OK);
    assert_int_equal(bp_exec_allocate(r->exec), BP_OK);
}

static void pointwise_close(struct pointwise_runner *r) {
    bp_bf16_pointwise_destroy(r->op);
    bp_plan_destroy(r->plan);
    bp_exec_destroy(r->exec);
}

static void run_pointwise(struct pointwise_runner *r, struct tensors *t, size_t n) {
    const struct bp_conv_shape *s = &t->shape;
    const struct bp_grad_source source = {
        .rows = rows_of_g, .rows_bf16 = rows_of_g16, .context = t, .scratch_bytes = SOURCE_SCRATCH};
    memset(r->exec->scratch, 0xff,
           (size_t)bp_threads_count(r->exec->threads) * r->exec->scratch_bytes);
    bp_bf16_pointwise_forward(r->op, r->exec, n, t->x16, t->w, t->y16, &r->sums);
    r->exec->kernels.widen_f16(t->y16, n * t->map, t->y);
    assert_false(bp_channel_sums_finish(&r->sums, r->exec, n, NULL, s->oh * s->ow));
    memcpy(t->sums, r->sums.total, 2 * s->k * sizeof(double));
    bp_bf16_pointwise_backward(r->op, r->exec, n, t->x16, &source, t->w, t->dw, t->dx, 0);
    memcpy(t->dx_sum, t->base, n * t->image * sizeof(float));
    bp_bf16_pointwise_backward(r->op, r->exec, n, t->x16, &source, t->w, t->dw, t->dx_sum, 1);
    bp_bf16_pointwise_backward(r->op, r->exec, n, t->x16, &source, t->w, t->dw_alone, NULL, 0);
}

/* By the kernels of every tier that the processor has: all give the bits of C's. */
static void pointwise_matches_reference(void **state) {
    (void)state;
    size_t served = 0;
    for (size_t i = 0; i < CASES; i++) {
        struct tensors one = tensors_make(&cases[i]), other = tensors_make(&cases[i]);
        size_t n = one.shape.n, batches[] = {n, n - 1, n / 2 + 1};
        for (int tier = BP_TIER_C; tier < BP_TIER_COUNT; tier++) {
            struct pointwise_runner a, b;
            if (!bp_bf16_pointwise_serves(&one.shape) || !bp_cpu_has((enum bp_tier)tier))
                continue;
            pointwise_open(&a, BP_TIER_C, 1, &one.shape);
            pointwise_open(&b, (enum bp_tier)tier, 3, &other.shape);
            for (size_t j = 0; j < sizeof batches / sizeof *batches; j++) {
                run_pointwise(&a, &one, batches[j]);
                run_pointwise(&b, &other, batches[j]);
                check_all(&one, batches[j]);
                assert_same_results(&one, &other, batches[j]);
            }
            pointwise_close(&a);
            pointwise_close(&b);
            served += tier == BP_TIER_C;
        }
        tensors_free(&one);
        tensors_free(&other);
    }
    assert_true(served >= 4);
}

static void neither_threads_nor_tier_change_a_bit(void **state) {
    (void)state;
    FOR_ALL_BACKENDS(backend)
    for (size_t i = 0; i < CASES; i++) {
        struct tensors one = tensors_make(&cases[i]), other = tensors_make(&cases[i]);
        for (size_t n = one.shape.n; n > 0; n = n / 2) {
            compute(&one, backend, BP_TIER_C, 1, n);
            for (int threads = 1; threads <= 3; threads++) {
                compute(&other, backend, bp_cpu_best(), threads, n);
                assert_same_results(&one, &other, n);
            }
        }
        tensors_free(&one);
        tensors_free(&other);
    }
}

static void a_sample_does_not_depend_on_its_batch(void **state) {
    (void)state;
    FOR_ALL_BACKENDS(backend)
    for (size_t i = 0; i < CASES; i++) {
        struct tensors t = tensors_make(&cases[i]);
        struct runner r = {0};
        size_t n = t.shape.n, cuts[][2] = {{0, n - 1}, {1, n - 1}, {n - 1, 1}};
        assert_int_equal(runner_open(&r, backend, BP_TIER_C, 2, &t.shape, ALL), BP_OK);
        assert_int_equal(run_all(&r, &t, n), BP_OK);
        uint16_t *y = take(n * t.map * sizeof *y);
        for (size_t j = 0; j < sizeof cuts / sizeof *cuts; j++) {
            size_t first = cuts[j][0], count = cuts[j][1];
            assert_int_equal(
                bp_bf16_conv_forward(r.conv, r.exec, count, t.x16 + first * t.image, t.w, y, NULL),
                BP_OK);
            assert_memory_equal(y, t.y16 + first * t.map, count * t.map * sizeof *y);
        }
        free(y);
        runner_close(&r);
        tensors_free(&t);
    }
}

static void steps_allocate_nothing(void **state) {
    (void)state;
    FOR_ALL_BACKENDS(backend)
    for (size_t i = 0; i < CASES; i++) {
        struct tensors t = tensors_make(&cases[i]);
        struct runner r = {0};
        assert_int_equal(runner_open(&r, backend, BP_TIER_C, 2, &t.shape, ALL), BP_OK);
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
    struct tensors t = tensors_make(&cases[1]);
    FOR_ALL_BACKENDS(backend) {
        bp_status status = BP_RESOURCE;
        long requests = 0;
        for (; status != BP_OK; requests++) {
            struct runner r = {0};
            bp_memory_fail_after(requests);
            status = runner_open(&r, backend, BP_TIER_C, 2, &t.shape, ALL);
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
    FOR_ALL_BACKENDS(backend) {
        struct tensors t = tensors_make(&cases[0]);
        struct runner r = {0};
        const struct bp_grad_source source = {.rows = rows_of_g, .context = &t};
        size_t n = t.shape.n;
        assert_int_equal(runner_open(&r, backend, BP_TIER_C, 1, &t.shape, BP_FP32_FORWARD), BP_OK);
        assert_int_equal(bp_bf16_conv_forward(r.conv, r.exec, n, t.x16, t.w, t.y16, NULL), BP_OK);
        assert_int_equal(bp_bf16_conv_forward(r.conv, r.exec, n + 1, t.x16, t.w, t.y16, NULL),
                         BP_INTERNAL);
        assert_int_equal(
            bp_bf16_conv_backward(r.conv, r.exec, n, t.x16, &source, t.w, t.dw, t.dx, 0),
            BP_INTERNAL);
        runner_close(&r);
        tensors_free(&t);
    }
}

static void plain_c_is_never_native(void **state) {
    (void)state;
    assert_false(bp_bf16_is_native(BP_FP32_PLAIN));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_reference),
        cmocka_unit_test(pointwise_matches_reference),
        cmocka_unit_test(neither_threads_nor_tier_change_a_bit),
        cmocka_unit_test(a_sample_does_not_depend_on_its_batch),
        cmocka_unit_test(steps_allocate_nothing),
        cmocka_unit_test(out_of_memory_is_an_error),
        cmocka_unit_test(unplanned_products_are_errors),
        cmocka_unit_test(plain_c_is_never_native),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
