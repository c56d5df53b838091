/* Codes of both products from the gradient's source at once: the same as from its rows. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "ops/act_norm.h"
#include "unit/bconv_fixture.h"
#include "unit/norm_act_fixture.h"
#include "unit/op_data.h"

static const struct bp_quant four_bits = {
    4, 1.0f, BP_SELECT_NONE, BP_WEIGHTS_RANGE, BP_GRID_ZERO, 0.0f, BP_GROUPS_CHANNEL};

/* --- what the source gives -------------------------------------------------------------------- */

enum { KINDS = 4 }; /* bit 0: the group's codes are wide, bit 1: the columns' are */

/* `both` of n rows of c, with drawn grids and bytes, and codes that were not written. */
static struct bp_rounding_both draw_both(size_t n, size_t c, unsigned kind) {
    static const struct bp_rounding of[2][2] = {{{-7, 7, 0}, {-127, 127, 1}},
                                                {{-3, 3, 0}, {-125, 125, 1}}};
    struct bp_rounding_both both = {.group = of[0][kind % 2], .columns = of[1][kind / 2]};
    struct bp_grid *grids = op_data_take(c * sizeof *grids);
    uint8_t *random[2], *codes[2];
    for (size_t j = 0; j < c; j++)
        grids[j] = (struct bp_grid){0.0f, 1.0f + (float)(j % 5)};
    for (int i = 0; i < 2; i++) {
        random[i] = op_data_take(2 * n * c);
        codes[i] = op_data_take(n * c);
        for (size_t e = 0; e < 2 * n * c; e++)
            random[i][e] = (uint8_t)((e + 7) * (size_t)(31 + 12 * i) >> 2);
        memset(codes[i], 0x55, n * c);
    }
    both.group_grid = (struct bp_grid){0.0f, 3.0f};
    both.column_grids = grids;
    both.group_random = random[0];
    both.column_random = random[1];
    both.group_codes = codes[0];
    both.column_codes = codes[1];
    return both;
}

static void free_both(const struct bp_rounding_both *both) {
    bp_free((void *)both->column_grids);
    bp_free((void *)both->group_random);
    bp_free((void *)both->column_random);
    bp_free(both->group_codes);
    bp_free(both->column_codes);
}

/* Codes are those of these rows. */
static void check_codes(const struct bp_kernels *kernels, const struct bp_rounding_both *both,
                        const float *rows, size_t n, size_t c) {
    uint8_t *codes = op_data_take(n * c);
    int32_t *column = op_data_take(c * sizeof *column);
    for (size_t j = 0; j < c; j++)
        column[j] = (int32_t)j;
    kernels->round_group(rows, n * c, both->group_random, &both->group, both->group_grid, codes);
    assert_memory_equal(both->group_codes, codes, n * c);
    kernels->round_columns(rows, n, c, column, c, both->column_random, &both->columns,
                           both->column_grids, codes);
    assert_memory_equal(both->column_codes, codes, n * c);
    bp_free(codes);
    bp_free(column);
}

/* Ranges of a sample are those of its rows. */
static void check_ranges(const struct norm_act_fixture *f, size_t n, const float *rows,
                         void *scratch) {
    enum { C = 64 };
    float numbers[2][3][C];
    struct bp_columns to[2];
    for (int i = 0; i < 2; i++) {
        for (size_t j = 0; j < C; j++) {
            numbers[i][0][j] = INFINITY;
            numbers[i][1][j] = -INFINITY;
            numbers[i][2][j] = 0.0f;
        }
        to[i] = (struct bp_columns){numbers[i][0], numbers[i][1], numbers[i][2]};
    }
    f->exec->kernels.range_columns(rows, f->shape.h * f->shape.w, C, to[0]);
    bp_norm_act_grad_ranges(f->op, n, to[1], scratch);
    for (size_t j = 0; j < 3 * C; j++)
        assert_true(numbers[0][j / C][j % C] == numbers[1][j / C][j % C]);
}

/* Pooled or not, a plain scale or batch norm, rows in pieces, an odd width. */
static void check_norm_act(enum bp_tier tier, unsigned variant, const uint8_t *kept) {
    enum { H = 6, C = 64 };
    const size_t w = 5 + (variant >> 3), from = 2 * w * C, pixels = (H - 2) * w;
    const struct bp_norm_act_shape shape = {.n = 2,
                                            .h = H,
                                            .w = w,
                                            .c = C,
                                            .input_i16 = 1,
                                            .affine = variant & 1 ? BP_AFFINE_SCALE
                                                                  : BP_AFFINE_BATCH_NORM,
                                            .activation = variant & 2 ? BP_ACT_PRELU : BP_ACT_NONE,
                                            .max_pool = variant >> 2 & 1};
    struct norm_act_fixture f;
    norm_act_set_up(&f, &shape, 2, 0, tier, 1);
    float *rows = op_data_take(H * w * C * sizeof *rows);
    void *scratch = op_data_take(bp_norm_act_grad_scratch_bytes(&shape));
    f.op->chunk_rows = 2; /* so that these rows are some pieces */
    norm_act_run_forward(&f, 1);
    norm_act_run_backward(&f, kept);
    for (size_t i = 0; i < 2 * KINDS; i++) {
        const size_t n = i % 2;
        struct bp_rounding_both both = draw_both(pixels, C, (unsigned)i / 2);
        bp_norm_act_grad_rows(f.op, n, 0, H, rows, scratch);
        bp_norm_act_grad_codes(f.op, n, 2, H - 2, &both, scratch);
        check_codes(&f.exec->kernels, &both, rows + from, pixels, C);
        check_ranges(&f, n, rows, scratch);
        free_both(&both);
    }
    bp_free(rows);
    bp_free(scratch);
    norm_act_tear_down(&f);
}

static void test_norm_act(void **state) {
    (void)state;
    static const uint8_t kept[2] = {1, 0};
    for (int tier = 0; tier < BP_TIER_COUNT; tier++)
        for (unsigned variant = 0; bp_cpu_has((enum bp_tier)tier) && variant < 16; variant++) {
            check_norm_act((enum bp_tier)tier, variant, NULL);
            check_norm_act((enum bp_tier)tier, variant, kept);
        }
}

static void check_act_norm(enum bp_tier tier, const uint8_t *kept) {
    enum { N = 2, H = 4, W = 3, C = 128, COUNT = N * H * W * C };
    struct bp_exec *exec;
    struct bp_plan *plan;
    struct bp_act_norm *op;
    assert_int_equal(bp_exec_create(&exec, tier, 1), BP_OK);
    assert_int_equal(bp_plan_create(&plan), BP_OK);
    assert_int_equal(bp_act_norm_create(&op, exec, plan, N, H, W, C, "norm", 0, 0, 1), BP_OK);
    assert_int_equal(bp_plan_allocate(plan, "a test"), BP_OK);
    assert_int_equal(bp_exec_allocate(exec), BP_OK);
    int16_t *y = op_data_take(COUNT * sizeof *y);
    float *g = op_data_take(COUNT * sizeof *g), *rows = op_data_take(H * W * C * sizeof *rows);
    float(*params)[C] = op_data_take(10 * sizeof *params);
    uint64_t *bits = op_data_take(N * (H + 2) * (W + 2) * (C / 64) * sizeof *bits);
    for (size_t i = 0; i < COUNT; i++) {
        y[i] = (int16_t)(20.0f * op_data_number(1, i));
        g[i] = op_data_number(2, i);
    }
    for (size_t i = 0; i < 6 * C; i++)
        params[i / C][i % C] = 0.5f + (float)(i % 3) * op_data_number(3, i) / 4.0f;
    const struct bp_act_norm_params of = {
        params[0], params[1], {params[2], params[3], params[4], params[5]}};
    const struct bp_act_norm_grads grads = {params[6], params[7], params[8], params[9]};
    bp_act_norm_forward(op, exec, N, y, &of, 1, bits, NULL);
    bp_act_norm_backward_sums(op, exec, N, y, &(struct bp_gradient){.floats = g, .kept = kept}, &of,
                              &grads);
    for (size_t i = 0; i < N * KINDS; i++) {
        const size_t n = i % N;
        struct bp_rounding_both both = draw_both((H - 2) * W, C, (unsigned)i / N);
        bp_act_norm_grad_rows(op, n, 2, H - 2, rows, NULL);
        bp_act_norm_grad_codes(op, n, 2, H - 2, &both, NULL);
        check_codes(&exec->kernels, &both, rows, (H - 2) * W, C);
        free_both(&both);
    }
    void *blocks[] = {y, g, rows, params, bits};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++)
        bp_free(blocks[i]);
    bp_act_norm_destroy(op);
    bp_plan_destroy(plan);
    bp_exec_destroy(exec);
}

static void test_act_norm(void **state) {
    (void)state;
    static const uint8_t kept[2] = {0, 1};
    for (int tier = 0; tier < BP_TIER_COUNT; tier++)
        if (bp_cpu_has((enum bp_tier)tier)) {
            check_act_norm((enum bp_tier)tier, NULL);
            check_act_norm((enum bp_tier)tier, kept);
        }
}

/* --- what the convolution asks for ------------------------------------------------------------ */

static int calls; /* of one worker */

static void codes_of_g(const void *context, size_t n, size_t row, size_t rows,
                       const struct bp_rounding_both *both, void *scratch) {
    const struct bconv_fixture *f = context;
    const struct bp_kernels *kernels = &f->exec->kernels;
    size_t k = f->shape.k, pixels = rows * f->shape.ow;
    const float *g = f->g + (n * f->shape.oh + row) * f->shape.ow * k;
    int32_t *column = op_data_take(k * sizeof *column);
    ((char *)scratch)[0] = 1; /* the promised scratch byte is there */
    for (size_t j = 0; j < k; j++)
        column[j] = (int32_t)j;
    kernels->round_group(g, pixels * k, both->group_random, &both->group, both->group_grid,
                         both->group_codes);
    kernels->round_columns(g, pixels, k, column, k, both->column_random, &both->columns,
                           both->column_grids, both->column_codes);
    bp_free(column);
    calls++;
}

/* Samples of which `zero` is without a gradient, so that dA drops it, and some or no calls. */
static void check_products(enum bp_tier tier, size_t k, const struct bp_quant *quant, size_t zero,
                           int at_once) {
    enum { N = 9, H = 9, W = 6, C = 40 }; /* AVX-512 looks up from 8 samples on */
    struct bp_conv_shape shape;
    struct bconv_fixture f;
    assert_int_equal(bp_conv_shape_set(&shape, N, H, W, C, k, 3, 1, 1), BP_OK);
    bconv_set_up(&f, &shape, quant, quant, tier, 1);
    memset(f.g + zero * H * W * k, 0, H * W * k * sizeof(float));
    float *dx = op_data_take(N * H * W * C * sizeof *dx),
          *dw = op_data_take(k * 9 * C * sizeof *dw);
    struct bp_grad_source source = bconv_source(&f);
    bp_bconv_backward(f.op, f.exec, N, f.x, f.mask, &source, 5, 1, 2, NULL, dx, dw, NULL, NULL,
                      NULL);
    calls = 0;
    source.codes = codes_of_g;
    bp_bconv_backward(f.op, f.exec, N, f.x, f.mask, &source, 5, 1, 2, NULL, f.dx, f.dw, NULL, NULL,
                      NULL);
    assert_memory_equal(dx, f.dx, N * H * W * C * sizeof *dx);
    assert_memory_equal(dw, f.dw, k * 9 * C * sizeof *dw);
    assert_int_equal(calls > 0, at_once && f.exec->kernels.codes_at_once);
    bp_free(dx);
    bp_free(dw);
    bconv_tear_down(&f);
}

/* Only where nothing is pruned, on grids with zero, of codes in bytes. */
static void test_products(void **state) {
    (void)state;
    struct bp_quant pruned = four_bits, wide = four_bits, offset = four_bits, sample = four_bits;
    pruned.select = BP_SELECT_SYSTEMATIC;
    pruned.keep = 0.5f;
    wide.bits = 8;
    offset.grid = BP_GRID_MINMAX;
    sample.groups = BP_GROUPS_SAMPLE;
    for (int i = 0; i < BP_TIER_COUNT; i++) {
        enum bp_tier tier = (enum bp_tier)i;
        if (!bp_cpu_has(tier))
            continue;
        for (size_t zero = 0; zero < 9; zero += 4) {
            check_products(tier, 64, &four_bits, zero, 1);
            check_products(tier, 192, &four_bits, zero, 1);
        }
        check_products(tier, 96, &four_bits, 0, 0);
        check_products(tier, 64, &pruned, 0, 0);
        check_products(tier, 64, &wide, 4, 1);
        check_products(tier, 64, &offset, 0, 0);
        check_products(tier, 64, &sample, 0, 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_norm_act),
                                       cmocka_unit_test(test_act_norm),
                                       cmocka_unit_test(test_products)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
