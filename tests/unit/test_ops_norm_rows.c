/* norm_act with 3x3 pooling against norm_act and pooling one after the other: the same bytes. Rows
 * that are made again in the backward pass against tensors that are kept, and sums that are taken
 * while the gradient is written against sums of the written: the same bytes, on every tier. */
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
#include "unit/op_data.h"

#define C         37
#define N         3
#define CLEAR     0xa5
#define OF_READER (1 << 20) /* bytes: enough for each */

struct op {
    struct bp_exec *exec;
    struct bp_plan *plan;
    struct bp_norm_act *op;
    float weight[C], bias[C], slope[C], mean[C], var[C];
    float d_weight[C], d_bias[C], d_slope[C];
};

static void open_op(struct op *op, const struct bp_norm_act_shape *shape, enum bp_tier tier,
                    int threads) {
    assert_int_equal(bp_exec_create(&op->exec, tier, threads), BP_OK);
    assert_int_equal(bp_plan_create(&op->plan), BP_OK);
    assert_int_equal(bp_norm_act_create(&op->op, op->exec, op->plan, shape, "test", 0, 0, 1),
                     BP_OK);
    assert_int_equal(bp_plan_allocate(op->plan, "a test"), BP_OK);
    bp_exec_need_scratch(op->exec, bp_norm_act_backward_scratch_bytes(shape, OF_READER));
    assert_int_equal(bp_exec_allocate(op->exec), BP_OK);
    for (size_t j = 0; j < C; j++) {
        op->weight[j] = j % 3 == 1 ? -0.7f : 1.2f;
        op->bias[j] = op_data_number(7, j);
        op->slope[j] = 0.3f;
        op->mean[j] = op->var[j] = 1.0f;
        op->d_weight[j] = op->d_bias[j] = op->d_slope[j] = 0.0f;
    }
}

static void close_op(struct op *op) {
    bp_norm_act_destroy(op->op);
    bp_plan_destroy(op->plan);
    bp_exec_destroy(op->exec);
}

static struct bp_norm_act_params params_of(struct op *op) {
    return (struct bp_norm_act_params){op->weight, op->bias, op->slope, op->mean, op->var};
}

static void forward(struct op *op, const void *y, const float *residual, float *out) {
    struct bp_norm_act_params params = params_of(op);
    struct bp_norm_act_out to = {.out = out};
    bp_norm_act_forward(op->op, op->exec, N, y, residual, &params, 1, &to);
}

/* dx: written, or added to. */
static void backward(struct op *op, const void *y, const float *g, const uint8_t *kept, float *dx,
                     int accumulate) {
    struct bp_norm_act_params params = params_of(op);
    struct bp_norm_act_grads grads = {op->d_weight, op->d_bias, op->d_slope};
    bp_norm_act_backward_sums(op->op, op->exec, N, y,
                              &(struct bp_gradient){.floats = g, .kept = kept}, &params, &grads);
    bp_norm_act_backward_all(op->op, op->exec, N, dx, accumulate);
}

static void assert_same_gradients(const struct op *a, const struct op *b) {
    assert_memory_equal(a->d_weight, b->d_weight, sizeof a->d_weight);
    assert_memory_equal(a->d_bias, b->d_bias, sizeof a->d_bias);
}

/* --- 3x3 pooling ------------------------------------------------------------------------------ */

static void check_window_pool(size_t h, size_t w, enum bp_tier tier, int threads) {
    struct bp_norm_act_shape shape = {.n = N, .h = h, .w = w, .c = C, .activation = BP_ACT_RELU};
    struct bp_pool_shape pool = bp_pool_shape_make(BP_POOL_MAX_3X3_S2, h, w, C);
    size_t in = N * h * w * C, pooled = N * pool.oh * pool.ow * C;
    struct op two, one;
    open_op(&two, &shape, BP_TIER_C, 1);
    shape.window_pool = 1;
    open_op(&one, &shape, tier, threads);
    float *y = op_data_numbers(1, in), *g = op_data_numbers(2, pooled),
          *z = op_data_soiled(in * sizeof *z);
    float *dz = op_data_soiled(in * sizeof *dz), *dx[2], *out[2];
    uint8_t *winner = op_data_soiled(bp_pool_winner_bytes(&pool, N));
    for (int i = 0; i < 2; i++) {
        dx[i] = op_data_soiled(in * sizeof **dx);
        out[i] = op_data_soiled(pooled * sizeof **out);
    }
    forward(&two, y, NULL, z);
    bp_pool_forward(&pool, two.exec, N, z, out[0], winner);
    bp_pool_backward(&pool, two.exec, N, winner, g, dz, 0);
    backward(&two, y, dz, NULL, dx[0], 0);
    forward(&one, y, NULL, out[1]);
    backward(&one, y, g, NULL, dx[1], 0);
    assert_memory_equal(out[0], out[1], pooled * sizeof **out);
    assert_memory_equal(dx[0], dx[1], in * sizeof **dx);
    assert_same_gradients(&two, &one);
    void *blocks[] = {y, g, z, dz, winner, dx[0], dx[1], out[0], out[1]};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++)
        bp_free(blocks[i]);
    close_op(&one);
    close_op(&two);
}

/* Odd and even sizes, and rows so wide that a chunk has two of them. */
static void test_window_pool(void **state) {
    (void)state;
    static const size_t sizes[][2] = {{1, 1}, {2, 3}, {7, 6}, {6, 7}, {13, 61}, {12, 130}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (int tier = 0; tier < BP_TIER_COUNT; tier++)
            for (int threads = 1; threads <= 4 && bp_cpu_has((enum bp_tier)tier); threads += 3)
                check_window_pool(sizes[i][0], sizes[i][1], (enum bp_tier)tier, threads);
}

/* The sums that are asked for are those of the pooled output. */
static void test_window_pool_sums(void **state) {
    (void)state;
    struct bp_norm_act_shape shape = {
        .n = N, .h = 9, .w = 70, .c = C, .activation = BP_ACT_RELU, .window_pool = 1};
    size_t in = N * 9 * 70 * C, pooled = N * 5 * 35 * C;
    struct op op;
    open_op(&op, &shape, bp_cpu_best(), 2);
    float *y = op_data_numbers(1, in), *out = op_data_soiled(pooled * sizeof *out);
    struct bp_plan *plan;
    struct bp_channel_sums sums;
    double total[2 * C];
    assert_int_equal(bp_plan_create(&plan), BP_OK);
    assert_int_equal(bp_channel_sums_plan(&sums, op.exec, plan, BP_SUMS_F32, N, C, "test", 0, 0),
                     BP_OK);
    assert_int_equal(bp_plan_allocate(plan, "a test"), BP_OK);
    struct bp_norm_act_params params = params_of(&op);
    struct bp_norm_act_out to = {.out = out, .sums = &sums};
    bp_norm_act_forward(op.op, op.exec, N, y, NULL, &params, 1, &to);
    assert_int_equal(bp_channel_sums_finish(&sums, op.exec, N, out, 5 * 35), 0);
    memcpy(total, sums.total, sizeof total);
    assert_int_equal(bp_channel_sums_finish(&sums, op.exec, N, out, 5 * 35), 1);
    assert_memory_equal(total, sums.total, sizeof total);
    bp_plan_destroy(plan);
    bp_free(y);
    bp_free(out);
    close_op(&op);
}

/* --- the gradient of an average pooling, added on the way ----------------------------------- */

static void check_pooled_gradient(size_t h, size_t w, int accumulate, enum bp_tier tier,
                                  int threads) {
    const struct bp_norm_act_shape shape = {.n = N, .h = h, .w = w, .c = C};
    const struct bp_pool_shape pool = bp_pool_shape_make(BP_POOL_AVG_2X2, h, w, C);
    static const uint8_t kept[N] = {1};
    size_t in = N * h * w * C;
    struct op op;
    open_op(&op, &shape, tier, threads);
    float *y = op_data_numbers(1, in), *g = op_data_numbers(2, in),
          *z = op_data_soiled(in * sizeof *z);
    float *pooled = op_data_numbers(3, N * pool.oh * pool.ow * C), *dx[2];
    for (int i = 0; i < 2; i++)
        dx[i] = op_data_numbers(4, in);
    forward(&op, y, NULL, z);
    bp_pool_backward(&pool, op.exec, N, NULL, pooled, dx[0], accumulate);
    backward(&op, y, g, kept, dx[0], 1);
    op.op->pooled = (struct bp_pooled_gradient){pool, pooled};
    backward(&op, y, g, kept, dx[1], accumulate);
    assert_memory_equal(dx[0], dx[1], in * sizeof **dx);
    void *blocks[] = {y, g, z, pooled, dx[0], dx[1]};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++)
        bp_free(blocks[i]);
    close_op(&op);
}

static void test_pooled_gradient(void **state) {
    (void)state;
    static const size_t sizes[][2] = {{1, 1}, {2, 3}, {7, 6}, {13, 61}, {12, 130}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (int tier = 0; tier < BP_TIER_COUNT; tier++)
            for (int run = 0; run < 4 && bp_cpu_has((enum bp_tier)tier); run++)
                check_pooled_gradient(sizes[i][0], sizes[i][1], run % 2, (enum bp_tier)tier,
                                      1 + run / 2);
}

/* --- rows made again -------------------------------------------------------------------------- */

/* A chain as in ResNet: x1 = act(y0), x2 = act(y1) + x1, and batch norm of x2. Made again are none,
 * x2, or both. */
struct chain {
    struct op first, second, norm;
    float *x1, *x2, *out, *dx;
};

static void run_chain(struct chain *chain, const float *y0, const int16_t *y1, const float *g,
                      const uint8_t *kept, size_t h, size_t w, int remade, enum bp_tier tier,
                      int threads) {
    struct bp_norm_act_shape shape = {.n = N, .h = h, .w = w, .c = C, .activation = BP_ACT_RELU};
    size_t bytes = N * h * w * C * sizeof(float);
    open_op(&chain->first, &shape, tier, threads);
    shape.activation = BP_ACT_NONE;
    open_op(&chain->norm, &shape, tier, threads);
    shape.activation = BP_ACT_PRELU;
    shape.affine = BP_AFFINE_SCALE;
    shape.input_i16 = 1;
    open_op(&chain->second, &shape, tier, threads);
    float **of_chain[] = {&chain->x1, &chain->x2, &chain->out};
    for (int i = 0; i < 3; i++)
        *of_chain[i] = op_data_soiled(bytes);
    chain->dx = op_data_numbers(9, N * h * w * C);
    forward(&chain->first, y0, NULL, chain->x1);
    forward(&chain->second, y1, chain->x1, chain->x2);
    forward(&chain->norm, chain->x2, NULL, chain->out);
    if (remade > 0) {
        chain->norm.op->y_source =
            (struct bp_value_source){bp_norm_act_value_rows, chain->second.op};
        memset(chain->x2, CLEAR, bytes);
    }
    if (remade > 1) {
        chain->second.op->residual_source =
            (struct bp_value_source){bp_norm_act_value_rows, chain->first.op};
        memset(chain->x1, CLEAR, bytes);
    }
    backward(&chain->norm, remade > 0 ? NULL : chain->x2, g, kept, chain->dx, remade != 0);
    if (remade == 0) /* the same by hand */
        for (size_t i = 0; i < N * h * w * C; i++)
            chain->dx[i] += op_data_number(9, i);
}

static void close_chain(struct chain *chain) {
    close_op(&chain->first);
    close_op(&chain->second);
    close_op(&chain->norm);
    bp_free(chain->x1);
    bp_free(chain->x2);
    bp_free(chain->out);
    bp_free(chain->dx);
}

static void check_remade(size_t h, size_t w, const uint8_t *kept, enum bp_tier tier, int threads) {
    size_t count = N * h * w * C;
    float *y0 = op_data_numbers(1, count), *g = op_data_numbers(2, count);
    int16_t *y1 = op_data_soiled(count * sizeof *y1);
    for (size_t i = 0; i < count; i++)
        y1[i] = (int16_t)(op_data_number(3, i) * 500.0f);
    struct chain want, got;
    run_chain(&want, y0, y1, g, kept, h, w, 0, BP_TIER_C, 1);
    for (int remade = 1; remade <= 2; remade++) {
        run_chain(&got, y0, y1, g, kept, h, w, remade, tier, threads);
        assert_memory_equal(want.out, got.out, count * sizeof(float));
        assert_memory_equal(want.dx, got.dx, count * sizeof(float));
        assert_same_gradients(&want.norm, &got.norm);
        close_chain(&got);
    }
    close_chain(&want);
    bp_free(y0);
    bp_free(y1);
    bp_free(g);
}

static void test_remade(void **state) {
    (void)state;
    static const size_t sizes[][2] = {{1, 1}, {5, 6}, {30, 33}};
    static const uint8_t kept[N] = {0, 1, 0};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (int tier = 0; tier < BP_TIER_COUNT; tier++)
            for (int threads = 1; threads <= 4 && bp_cpu_has((enum bp_tier)tier); threads += 3) {
                check_remade(sizes[i][0], sizes[i][1], NULL, (enum bp_tier)tier, threads);
                check_remade(sizes[i][0], sizes[i][1], kept, (enum bp_tier)tier, threads);
            }
}

/* --- sums on the way -------------------------------------------------------------------------- */

/* What ResNet has before its norms: the end of a block, the stem at 32 px, the stem at 96 px and
 * more, and the last with a gain that forbids sums from the output. */
enum reader_kind { READER_ACT, READER_STEM, READER_POOLED_STEM, READER_SMALL_GAIN, READER_KINDS };

static struct bp_norm_act_shape reader_shape(enum reader_kind kind, size_t h, size_t w) {
    struct bp_norm_act_shape shape = {.n = N, .h = h, .w = w, .c = C, .activation = BP_ACT_RELU};
    if (kind == READER_ACT) {
        shape.affine = BP_AFFINE_SCALE;
        shape.activation = BP_ACT_PRELU;
        shape.input_i16 = 1;
    } else if (kind >= READER_POOLED_STEM) {
        shape.h = 2 * h;
        shape.w = 2 * w;
        shape.window_pool = 1;
    }
    return shape;
}

/* before -> norm, whose backward pass writes dx of `before`'s output; on the way `before` takes its
 * sums, or reads dx afterwards. Then its gradient rows. */
struct pair {
    struct op before, norm;
    float *dx, *rows;
};

static void run_pair(struct pair *pair, enum reader_kind kind, size_t h, size_t w,
                     const uint8_t *kept, int on_the_way, enum bp_tier tier, int threads) {
    const struct bp_norm_act_shape shape = reader_shape(kind, h, w);
    const struct bp_norm_act_shape norm = {.n = N, .h = h, .w = w, .c = C};
    size_t in = N * shape.h * shape.w * C, count = N * h * w * C;
    open_op(&pair->before, &shape, tier, threads);
    open_op(&pair->norm, &norm, tier, threads);
    struct op *before = &pair->before;
    struct bp_norm_act_params params = params_of(before);
    if (kind == READER_SMALL_GAIN)
        before->weight[2] = 1e-3f * before->bias[2];
    float *y = op_data_numbers(1, in), *x = op_data_soiled(count * sizeof *x),
          *out = op_data_soiled(count * sizeof *out);
    float *g = op_data_numbers(2, count);
    int16_t *integers = op_data_soiled(in * sizeof *integers);
    for (size_t i = 0; i < in; i++)
        integers[i] = (int16_t)(y[i] * 500.0f);
    const void *data = shape.input_i16 ? (const void *)integers : y;
    pair->dx = op_data_numbers(9, count);
    pair->rows = op_data_soiled(in * sizeof(float));
    forward(before, data, NULL, x);
    forward(&pair->norm, x, NULL, out);
    if (on_the_way)
        pair->norm.op->reader = bp_norm_act_reader(before->op);
    backward(&pair->norm, x, g, kept, pair->dx, 1);
    const struct bp_norm_act_grads grads = {before->d_weight, before->d_bias, before->d_slope};
    bp_norm_act_backward_sums(before->op, before->exec, N, data,
                              &(struct bp_gradient){.floats = pair->dx}, &params, &grads);
    bp_norm_act_backward_all(before->op, before->exec, N, pair->rows, 0);
    void *blocks[] = {y, x, out, g, integers};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++)
        bp_free(blocks[i]);
}

static void close_pair(struct pair *pair) {
    close_op(&pair->before);
    close_op(&pair->norm);
    bp_free(pair->dx);
    bp_free(pair->rows);
}

static void check_reader(enum reader_kind kind, size_t h, size_t w, const uint8_t *kept,
                         enum bp_tier tier, int threads) {
    struct pair want, got;
    run_pair(&want, kind, h, w, kept, 0, BP_TIER_C, 1);
    run_pair(&got, kind, h, w, kept, 1, tier, threads);
    const struct bp_norm_act_shape *shape = &want.before.op->shape;
    size_t in = N * shape->h * shape->w * C;
    assert_memory_equal(want.dx, got.dx, N * h * w * C * sizeof(float));
    if (kind == READER_POOLED_STEM) { /* sums from the output */
        op_data_assert_near(want.rows, got.rows, in, 4e-6f);
        op_data_assert_near(want.before.d_weight, got.before.d_weight, C, 4e-6f);
        op_data_assert_near(want.before.d_bias, got.before.d_bias, C, 4e-6f);
    } else {
        assert_memory_equal(want.rows, got.rows, in * sizeof(float));
        assert_same_gradients(&want.before, &got.before);
    }
    if (kind == READER_ACT) {
        assert_memory_equal(want.before.d_slope, got.before.d_slope, sizeof want.before.d_slope);
        assert_memory_equal(want.before.op->ranges, got.before.op->ranges,
                            N * 3 * C * sizeof(float));
    }
    close_pair(&want);
    close_pair(&got);
}

static void test_reader(void **state) {
    (void)state;
    static const size_t sizes[][2] = {{1, 1}, {7, 6}, {13, 61}, {12, 130}};
    static const uint8_t kept[N] = {0, 1, 0};
    for (int kind = 0; kind < READER_KINDS; kind++)
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
            for (int tier = 0; tier < BP_TIER_COUNT; tier++)
                for (int threads = 1; threads <= 4 && bp_cpu_has((enum bp_tier)tier); threads += 3)
                    check_reader((enum reader_kind)kind, sizes[i][0], sizes[i][1],
                                 threads > 1 ? kept : NULL, (enum bp_tier)tier, threads);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_window_pool),      cmocka_unit_test(test_pooled_gradient),
        cmocka_unit_test(test_window_pool_sums), cmocka_unit_test(test_remade),
        cmocka_unit_test(test_reader),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
