/* The 8-bit convolution and the normalisation behind it, with the convolution's output stored
 * between them and without: the same bytes forward, in evaluation and backward, on every tier,
 * whatever stands between them and the next convolution. Narrow outputs, which are stored: the same
 * bytes on every tier, and what the floats that they stand for give. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/rng.h"
#include "ops/byte_conv.h"
#include "ops/norm_act.h"
#include "unit/op_data.h"

enum { N = 3, K_MAX = 70, CLEAR = 0xa5, SEED = 20261129, STEP = 7 };

struct numbers { /* of all channels */
    float weight[K_MAX], bias[K_MAX], slope[K_MAX], mean[K_MAX], var[K_MAX];
};

/* What both operations write. */
struct results {
    size_t outputs, words, mask_words, weights;
    float *out, *dw; /* out and bits: of training, then of evaluation */
    uint64_t *bits, *mask;
    struct numbers learned; /* gradients, running statistics */
    double total[2 * K_MAX];
};

struct stem {
    struct bp_exec *exec;
    struct bp_plan *plan;
    struct bp_conv_shape shape;
    struct bp_norm_act_shape norm_shape;
    struct bp_byte_conv *conv;
    struct bp_norm_act *norm;
    uint8_t *pixels;
    float *w, *residual, *g;
    void *y;
    struct numbers numbers;
    struct results results;
};

/* h, w, c, k, r, stride; rows so wide that a chunk has two of them, and a block one */
static const size_t shapes[][6] = {
    {9, 11, 3, 20, 3, 1},  {17, 15, 3, 70, 3, 1}, {2, 3, 2, 7, 3, 1},
    {6, 300, 1, 16, 3, 1}, {19, 24, 3, 33, 7, 2}, {8, 9, 5, 18, 3, 1},
};
enum { SHAPES = sizeof shapes / sizeof shapes[0], FIRST_NARROW = 4 };

/* Those of VGG and ResNet first. */
static const struct kind {
    enum bp_activation activation;
    int max_pool, window_pool, sign_out, residual;
} kinds[] = {
    {BP_ACT_PRELU, 0, 0, 1, 0}, {BP_ACT_RELU, 0, 0, 0, 0}, {BP_ACT_PRELU, 1, 0, 1, 0},
    {BP_ACT_NONE, 1, 0, 0, 0},  {BP_ACT_RELU, 0, 1, 0, 0}, {BP_ACT_PRELU, 0, 0, 1, 1},
    {BP_ACT_PRELU, 0, 0, 0, 1},
};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

/* --- set-up ----------------------------------------------------------------------------------- */

static void fill(struct stem *s) {
    const struct bp_conv_shape *shape = &s->shape;
    size_t pixels = N * shape->h * shape->w * shape->c;
    s->pixels = op_data_soiled(pixels);
    for (size_t i = 0; i < pixels; i++)
        s->pixels[i] = (uint8_t)(127.5f + 127.5f * op_data_number(1, i));
    s->w = op_data_numbers(2, s->results.weights);
    s->g = op_data_numbers(3, s->results.outputs);
    s->residual = op_data_numbers(4, s->results.outputs);
    s->y = op_data_soiled(N * shape->oh * shape->ow * shape->k * sizeof(float));
    for (size_t j = 0; j < shape->k; j++) {
        s->numbers.weight[j] = j % 3 == 1 ? -0.7f : 1.2f;
        s->numbers.bias[j] = op_data_number(5, j);
        s->numbers.slope[j] = 0.3f;
        s->numbers.mean[j] = s->numbers.var[j] = 1.0f;
    }
}

/* floats: the normalisation takes floats, even if the convolution is narrow. */
static void set_up(struct stem *s, const size_t shape[6], const struct kind *kind,
                   enum bp_tier tier, int threads, int floats) {
    static const float mean[5] = {0.49f, 0.25f, 0.9f, 0.5f, 0.4f};
    static const float deviation[5] = {0.2f, 0.31f, 0.5f, 0.3f, 0.1f};
    memset(s, 0, sizeof *s);
    struct bp_conv_shape *conv = &s->shape;
    assert_int_equal(bp_conv_shape_set(conv, N, shape[0], shape[1], shape[2], shape[3], shape[4],
                                       shape[5], shape[4] / 2),
                     BP_OK);
    s->norm_shape = (struct bp_norm_act_shape){.n = N,
                                               .h = conv->oh,
                                               .w = conv->ow,
                                               .c = conv->k,
                                               .input_i16 = !floats && bp_byte_conv_is_narrow(conv),
                                               .activation = kind->activation,
                                               .max_pool = kind->max_pool,
                                               .window_pool = kind->window_pool,
                                               .sign_out = kind->sign_out};
    assert_int_equal(bp_exec_create(&s->exec, tier, threads), BP_OK);
    assert_int_equal(bp_plan_create(&s->plan), BP_OK);
    assert_int_equal(
        bp_byte_conv_create(&s->conv, s->exec, s->plan, conv, mean, deviation, "conv", 0, 3, 3),
        BP_OK);
    assert_int_equal(
        bp_norm_act_create(&s->norm, s->exec, s->plan, &s->norm_shape, "norm", 0, 1, 3), BP_OK);
    bp_exec_need_scratch(s->exec, bp_byte_conv_backward_scratch_bytes(
                                      conv, bp_norm_act_grad_scratch_bytes(&s->norm_shape)));
    assert_int_equal(bp_plan_allocate(s->plan, "a test"), BP_OK);
    assert_int_equal(bp_exec_allocate(s->exec), BP_OK);
    s->norm->norm.unit = floats ? NULL : bp_byte_conv_unit(s->conv);
    s->norm->y_source = (struct bp_value_source){bp_byte_conv_value_rows, s->conv};
    struct results *r = &s->results;
    size_t oh = s->norm->oh, ow = s->norm->ow, cw = s->norm->cw;
    r->outputs = N * oh * ow * conv->k;
    r->words = N * (oh + 2) * (ow + 2) * cw;
    r->mask_words = N * oh * ow * cw;
    r->weights = conv->k * conv->r * conv->r * conv->c;
    r->out = op_data_soiled(2 * r->outputs * sizeof *r->out);
    r->dw = op_data_soiled(r->weights * sizeof *r->dw);
    r->bits = op_data_soiled(2 * r->words * sizeof *r->bits);
    r->mask = op_data_soiled(r->mask_words * sizeof *r->mask);
    fill(s);
    bp_byte_conv_set_weights(s->conv, s->w);
}

static void tear_down(struct stem *s) {
    bp_byte_conv_destroy(s->conv);
    bp_norm_act_destroy(s->norm);
    bp_plan_destroy(s->plan);
    bp_exec_destroy(s->exec);
    struct results *r = &s->results;
    void *blocks[] = {s->pixels, s->w, s->g, s->residual, s->y, r->out, r->dw, r->bits, r->mask};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++)
        bp_free(blocks[i]);
}

/* --- passes ----------------------------------------------------------------------------------- */

static struct bp_norm_act_params params_of(struct stem *s) {
    struct numbers *v = &s->numbers;
    return (struct bp_norm_act_params){v->weight, v->bias, v->slope, v->mean, v->var};
}

static void forward(struct stem *s, size_t n, void *y, int training, int residual) {
    struct bp_norm_act_params params = params_of(s);
    struct bp_norm_act_out to = {.out = s->results.out, .bits = s->results.bits};
    to.mask = training ? s->results.mask : NULL;
    to.out = s->results.out + (training ? 0 : s->results.outputs);
    to.bits += training ? 0 : s->results.words;
    bp_byte_conv_forward(s->conv, s->exec, n, s->pixels, y, training ? &s->norm->sums : NULL);
    bp_norm_act_forward(s->norm, s->exec, n, y, residual ? s->residual : NULL, &params, training,
                        &to);
}

static void backward(struct stem *s, size_t n, const void *y, const uint8_t *kept) {
    struct bp_norm_act_params params = params_of(s);
    struct numbers *d = &s->results.learned;
    const struct bp_norm_act_grads grads = {d->weight, d->bias, d->slope};
    bp_norm_act_backward_sums(s->norm, s->exec, n, y,
                              &(struct bp_gradient){.floats = s->g, .kept = kept}, &params, &grads);
    const struct bp_grad_source source = {.rows = bp_norm_act_grad_rows,
                                          .context = s->norm,
                                          .scratch_bytes =
                                              bp_norm_act_grad_scratch_bytes(&s->norm_shape)};
    bp_byte_conv_backward(s->conv, s->exec, n, &source, SEED, STEP, s->results.dw);
}

/* Evaluation, then a step, of n samples. */
static void run(struct stem *s, size_t n, int stored, int residual, const uint8_t *kept) {
    void *y = stored ? s->y : NULL;
    forward(s, n, y, 0, residual);
    forward(s, n, y, 1, residual);
    memcpy(s->results.total, s->norm->sums.total, 2 * s->shape.k * sizeof(double));
    backward(s, n, y, kept);
    memcpy(s->results.learned.mean, s->numbers.mean, sizeof s->numbers.mean);
    memcpy(s->results.learned.var, s->numbers.var, sizeof s->numbers.var);
}

static void assert_same(const struct results *a, const struct results *b) {
    assert_memory_equal(a->total, b->total, sizeof a->total);
    assert_memory_equal(&a->learned, &b->learned, sizeof a->learned);
    assert_memory_equal(a->out, b->out, 2 * a->outputs * sizeof *a->out);
    assert_memory_equal(a->bits, b->bits, 2 * a->words * sizeof *a->bits);
    assert_memory_equal(a->mask, b->mask, a->mask_words * sizeof *a->mask);
    assert_memory_equal(a->dw, b->dw, a->weights * sizeof *a->dw);
}

/* --- tests ------------------------------------------------------------------------------------ */

static void check(const size_t shape[6], const struct kind *kind, size_t n, const uint8_t *kept) {
    struct stem want, got;
    set_up(&want, shape, kind, BP_TIER_C, 1, 0);
    run(&want, n, 1, kind->residual, kept);
    for (int tier = 0; tier < BP_TIER_COUNT; tier++)
        for (int threads = 1; threads <= 4 && bp_cpu_has((enum bp_tier)tier); threads *= 2) {
            set_up(&got, shape, kind, (enum bp_tier)tier, threads, 0);
            run(&got, n, got.norm_shape.input_i16, kind->residual, kept);
            assert_same(&want.results, &got.results);
            tear_down(&got);
        }
    tear_down(&want);
}

static void test_same_bytes(void **state) {
    (void)state;
    static const uint8_t kept[N] = {0, 1, 0};
    for (size_t i = 0; i < SHAPES; i++)
        for (size_t k = 0; k < KINDS; k++) {
            check(shapes[i], &kinds[k], N, k % 2 == 0 ? kept : NULL);
            if (k < 2)
                check(shapes[i], &kinds[k], 1, NULL); /* fewer than workers */
        }
}

/* Any rows that are asked for are those that are stored, the convolution's and its reader's; the
 * sums are those of reading them. */
static void test_rows(void **state) {
    (void)state;
    for (size_t i = 0; i < FIRST_NARROW; i++)
        for (int tier = 0; tier < BP_TIER_COUNT; tier++) {
            struct stem s;
            double total[2 * K_MAX];
            if (!bp_cpu_has((enum bp_tier)tier))
                continue;
            set_up(&s, shapes[i], &kinds[1], (enum bp_tier)tier, 2, 0);
            size_t oh = s.shape.oh, row = s.shape.ow * s.shape.k;
            float *rows = op_data_soiled(oh * row * sizeof *rows);
            forward(&s, N, NULL, 1, 0);
            memcpy(total, s.norm->sums.total, sizeof total);
            bp_byte_conv_forward(s.conv, s.exec, N, s.pixels, s.y, NULL);
            assert_int_equal(bp_channel_sums_finish(&s.norm->sums, s.exec, N, s.y, oh * s.shape.ow),
                             1);
            assert_memory_equal(total, s.norm->sums.total, 2 * s.shape.k * sizeof(double));
            for (size_t at = 0; at < N * oh; at++)
                for (size_t count = 1; count <= oh - at % oh; count += 1 + count / 2) {
                    size_t bytes = count * row * sizeof(float);
                    bp_byte_conv_value_rows(s.conv, at / oh, at % oh, count, rows);
                    assert_memory_equal(rows, (float *)s.y + at * row, bytes);
                    bp_norm_act_value_rows(s.norm, at / oh, at % oh, count, rows);
                    assert_memory_equal(rows, s.results.out + at * row, bytes);
                }
            bp_free(rows);
            tear_down(&s);
        }
}

static float *gradient_rows(const struct stem *s) {
    size_t row = s->shape.ow * s->shape.k, rows = s->shape.oh;
    float *g = op_data_soiled(N * rows * row * sizeof *g);
    void *scratch = op_data_soiled(bp_norm_act_grad_scratch_bytes(&s->norm_shape));
    for (size_t n = 0; n < N; n++)
        bp_norm_act_grad_rows(s->norm, n, 0, rows, g + n * rows * row, scratch);
    bp_free(scratch);
    return g;
}

/* Narrow outputs against a normalisation of the floats that they stand for: evaluation, training,
 * running statistics, gradients. */
static void check_unit(const size_t shape[6], const struct kind *kind) {
    struct stem narrow, wide;
    set_up(&narrow, shape, kind, bp_cpu_best(), 2, 0);
    set_up(&wide, shape, kind, bp_cpu_best(), 2, 1);
    const int16_t *y = narrow.y;
    const float *unit = bp_byte_conv_unit(narrow.conv);
    size_t k = narrow.shape.k, count = N * narrow.shape.oh * narrow.shape.ow * k;
    bp_byte_conv_forward(narrow.conv, narrow.exec, N, narrow.pixels, narrow.y, NULL);
    for (size_t i = 0; i < count; i++)
        ((float *)wide.y)[i] = unit[i % k] * (float)y[i];
    run(&narrow, N, 1, kind->residual, NULL);
    struct bp_norm_act_params params = params_of(&wide);
    struct bp_norm_act_out to = {.out = wide.results.out, .bits = wide.results.bits};
    for (int training = 0; training < 2; training++) {
        to.out = wide.results.out + (training ? 0 : wide.results.outputs);
        bp_norm_act_forward(wide.norm, wide.exec, N, wide.y, kind->residual ? wide.residual : NULL,
                            &params, training, &to);
    }
    backward(&wide, N, wide.y, NULL);
    float *rows[2] = {gradient_rows(&narrow), gradient_rows(&wide)};
    if (!kind->sign_out)
        op_data_assert_near(wide.results.out, narrow.results.out, 2 * wide.results.outputs, 1e-5f);
    op_data_assert_near(rows[1], rows[0], count, 1e-5f);
    op_data_assert_near(wide.numbers.mean, narrow.numbers.mean, k, 1e-5f);
    op_data_assert_near(wide.numbers.var, narrow.numbers.var, k, 1e-5f);
    op_data_assert_near(wide.results.learned.weight, narrow.results.learned.weight, k, 1e-5f);
    op_data_assert_near(wide.results.learned.bias, narrow.results.learned.bias, k, 1e-5f);
    bp_free(rows[0]);
    bp_free(rows[1]);
    tear_down(&narrow);
    tear_down(&wide);
}

static void test_unit(void **state) {
    (void)state;
    for (size_t i = FIRST_NARROW; i < SHAPES; i++)
        for (size_t k = 0; k < KINDS; k++)
            check_unit(shapes[i], &kinds[k]);
}

/* Which convolutions are made again, and which are narrow. */
static void test_choice(void **state) {
    (void)state;
    struct bp_conv_shape shape;
    for (size_t c = 1; c <= 3; c++)
        for (int tier = 0; tier < BP_TIER_COUNT; tier++) {
            assert_int_equal(bp_conv_shape_set(&shape, 1, 32, 32, c, 64, 3, 1, 1), BP_OK);
            assert_int_equal(bp_byte_conv_is_cheap(&shape, (enum bp_tier)tier),
                             tier == BP_TIER_AVX512 || tier == BP_TIER_AMX);
            assert_false(bp_byte_conv_is_narrow(&shape));
            assert_int_equal(bp_conv_shape_set(&shape, 1, 96, 96, c, 64, 7, 2, 3), BP_OK);
            assert_false(bp_byte_conv_is_cheap(&shape, (enum bp_tier)tier));
            assert_true(bp_byte_conv_is_narrow(&shape));
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bytes),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_unit),
        cmocka_unit_test(test_choice),
    };
    return cmocka_run_group_tests_name("stem", tests, NULL, NULL);
}
