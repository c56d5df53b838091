/* What the products of a binary convolution multiply, against counting one by one, and how often
 * their loops run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "ops/bconv.h"
#include "unit/op_data.h"

/* n, h, w, c, k, r, stride */
static const size_t shapes[][7] = {{5, 6, 4, 3, 7, 3, 1}, {9, 5, 5, 6, 5, 3, 2},
                                   {8, 6, 6, 2, 9, 3, 2}, {3, 4, 3, 5, 6, 1, 1},
                                   {9, 5, 4, 5, 8, 1, 2}, {10, 1, 1, 4, 6, 3, 1}};

static const struct bp_quant keeps_half = {
    4, 0.5f, BP_SELECT_SYSTEMATIC, BP_WEIGHTS_UNIFORM, BP_GRID_ZERO, 0, BP_GROUPS_CHANNEL};
static const struct bp_quant keeps_all = {
    1, 1, BP_SELECT_NONE, BP_WEIGHTS_RANGE, BP_GRID_MINMAX, 0, BP_GROUPS_SAMPLE};

static void rows_of_ones(const void *context, size_t n, size_t row, size_t rows, float *out,
                         void *scratch) {
    const struct bp_conv_shape *s = context;
    (void)scratch;
    for (size_t i = 0; i < rows * s->ow * s->k; i++)
        out[i] = 1.0f + (float)((n + row + i) % 3);
}

/* Pairs of pixels that a tap joins; with the halo: as if it were part of the input. */
static size_t joined(const struct bp_conv_shape *s, int with_halo) {
    size_t count = 0;
    for (long y = 0; y < (long)s->h + 2; y++) /* input rows, one of halo on each side */
        for (long x = 0; x < (long)s->w + 2; x++)
            for (size_t t = 0; t < s->r * s->r; t++) {
                /* the output pixel that sees this input pixel through tap t */
                long oy = y - 1 + (long)s->pad - (long)(t / s->r);
                long ox = x - 1 + (long)s->pad - (long)(t % s->r), stride = (long)s->stride;
                int inside = y > 0 && x > 0 && y <= (long)s->h && x <= (long)s->w;
                if (oy % stride != 0 || ox % stride != 0 || (!inside && !with_halo))
                    continue;
                int is_output =
                    oy >= 0 && ox >= 0 && oy / stride < (long)s->oh && ox / stride < (long)s->ow;
                count += (size_t)is_output;
            }
    return count;
}

static size_t kept_of(const struct bp_group *groups, size_t n) {
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        kept += groups[i].kept != 0;
    return kept;
}

/* most: what the products of tiles may multiply, every pixel of every tap. */
static void check(const struct bp_bconv *op, enum bp_bconv_product product, size_t n, size_t done,
                  size_t needed, size_t most) {
    struct bp_bconv_work work = bp_bconv_work(op, product, n);
    assert_int_equal((size_t)work.needed, needed);
    if (bp_bconv_method(op, product) == BP_PRODUCT_TILES)
        assert_in_range((size_t)work.done, needed, most);
    else
        assert_int_equal((size_t)work.done, done);
}

static void run_case(const size_t *dims, enum bp_tier tier, const struct bp_quant *quant) {
    struct bp_conv_shape s;
    struct bp_exec *exec;
    struct bp_plan *plan;
    struct bp_bconv *op;
    struct bp_quant da = *quant;
    da.groups = BP_GROUPS_SAMPLE;
    assert_int_equal(bp_conv_shape_set(&s, dims[0], dims[1], dims[2], dims[3], dims[4], dims[5],
                                       dims[6], dims[5] / 2),
                     BP_OK);
    assert_int_equal(bp_exec_create(&exec, tier, 1), BP_OK);
    assert_int_equal(bp_plan_create(&plan), BP_OK);
    assert_int_equal(bp_bconv_create(&op, exec, plan, &s, &da, quant, "test", 1, 2), BP_OK);
    bp_exec_need_scratch(exec, bp_bconv_backward_scratch_bytes(&s, 1));
    assert_int_equal(bp_plan_allocate(plan, "a test"), BP_OK);
    assert_int_equal(bp_exec_allocate(exec), BP_OK);
    size_t cw = bp_words(s.c), taps = s.r * s.r;
    uint64_t *x = op_data_take(s.n * (s.h + 2) * (s.w + 2) * cw * 8),
             *mask = op_data_take(s.n * s.h * s.w * cw * 8);
    float *w = op_data_take(s.k * taps * s.c * 4), *dw = op_data_take(s.k * taps * s.c * 4);
    float *dx = op_data_take(s.n * s.h * s.w * s.c * 4);
    bp_bconv_pack(op, exec, w);
    const struct bp_grad_source source = {.rows = rows_of_ones, .context = &s, .scratch_bytes = 1};
    size_t n = s.n - 1; /* less than was planned for */
    bp_bconv_backward(op, exec, n, x, mask, &source, 1, 0, 0, w, dx, dw, NULL, NULL, NULL);

    size_t inside = joined(&s, 0), channels = s.c * s.k;
    size_t whole = s.oh * s.ow * taps; /* where a quarter would be with zeros, they are left out */
    size_t forward = 4 * (whole - inside) >= whole ? inside : whole;
    check(op, BP_BCONV_FORWARD, n, n * channels * forward, n * channels * inside,
          n * channels * whole);
    assert_int_equal(joined(&s, 1), s.oh * s.ow * taps);
    size_t kept = kept_of(bp_bconv_groups_da(op), n);
    check(op, BP_BCONV_DA, n, kept * channels * inside, kept * channels * inside,
          kept * channels * s.stride * s.stride * whole);
    int by_sample = quant->groups == BP_GROUPS_SAMPLE;
    kept = kept_of(bp_bconv_groups_dw(op), by_sample ? n : s.k);
    if (quant == &keeps_half)
        assert_true(kept > 0 && kept < s.k);
    size_t rows = by_sample ? kept * channels : n * s.c * kept;
    int is_lookup = bp_bconv_method(op, BP_BCONV_DW) == BP_PRODUCT_LOOKUP;
    check(op, BP_BCONV_DW, n, rows * (is_lookup ? inside : whole), rows * inside, rows * whole);

    bp_free(x);
    bp_free(mask);
    bp_free(w);
    bp_free(dw);
    bp_free(dx);
    bp_bconv_destroy(op);
    bp_plan_destroy(plan);
    bp_exec_destroy(exec);
}

static void test_work(void **state) {
    (void)state;
    for (int tier = BP_TIER_C; tier < BP_TIER_COUNT; tier++)
        for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
            if (bp_cpu_has((enum bp_tier)tier)) {
                run_case(shapes[i], (enum bp_tier)tier, &keeps_half);
                run_case(shapes[i], (enum bp_tier)tier, &keeps_all);
            }
}

/* Tiles leave out what no position of a block sees: rows outside the image, and of 16 samples side
 * by side, where a block is one position, columns too. */
static void check_tiles(size_t n, size_t size, size_t joined_pixels) {
    struct bp_conv_shape s;
    struct bp_exec *exec;
    struct bp_plan *plan;
    struct bp_bconv *op;
    assert_int_equal(bp_conv_shape_set(&s, n, size, size, 64, 32, 3, 1, 1), BP_OK);
    assert_int_equal(bp_exec_create(&exec, BP_TIER_AMX, 1), BP_OK);
    assert_int_equal(bp_plan_create(&plan), BP_OK);
    assert_int_equal(bp_bconv_create(&op, exec, plan, &s, NULL, NULL, "test", 1, 2), BP_OK);
    struct bp_bconv_work work = bp_bconv_work(op, BP_BCONV_FORWARD, n);
    assert_int_equal((size_t)work.done, n * 64 * 32 * joined_pixels);
    bp_bconv_destroy(op);
    bp_plan_destroy(plan);
    bp_exec_destroy(exec);
}

static void test_tiles(void **state) {
    (void)state;
    if (!bp_cpu_has(BP_TIER_AMX))
        skip();
    check_tiles(16, 4, (2 + 3 + 3 + 2) * (2 + 3 + 3 + 2));
    check_tiles(2, 4, (2 + 3 + 3 + 2) * 4 * 3); /* a block is two positions and more */
    check_tiles(16, 8, (2 + 6 * 3 + 2) * 8 * 3);
}

/* Passes and the largest entry of a weight gradient in `bits` bits. */
static void check_passes(enum bp_tier tier, int bits, enum bp_quant_grid_kind grid, int passes,
                         int entry_max) {
    struct bp_conv_shape s;
    struct bp_exec *exec;
    struct bp_plan *plan;
    struct bp_bconv *op;
    struct bp_quant quant = keeps_half;
    int got;
    quant.bits = bits;
    quant.grid = grid;
    assert_int_equal(bp_conv_shape_set(&s, 16, 4, 4, 5, 6, 3, 1, 1), BP_OK);
    assert_int_equal(bp_exec_create(&exec, tier, 1), BP_OK);
    assert_int_equal(bp_plan_create(&plan), BP_OK);
    assert_int_equal(bp_bconv_create(&op, exec, plan, &s, &quant, &quant, "test", 1, 2), BP_OK);
    assert_int_equal(bp_bconv_passes(op, BP_BCONV_DW, &got), passes);
    assert_int_equal(got, entry_max);
    assert_int_equal(bp_bconv_passes(op, BP_BCONV_DA, &got), passes);
    assert_int_equal(got, entry_max);
    assert_int_equal(bp_bconv_passes(op, BP_BCONV_FORWARD, &got), 1);
    assert_int_equal(got, 4);
    bp_bconv_destroy(op);
    bp_plan_destroy(plan);
    bp_exec_destroy(exec);
}

static void test_passes(void **state) {
    (void)state;
    check_passes(BP_TIER_C, 1, BP_GRID_MINMAX, 1, 4);
    check_passes(BP_TIER_C, 3, BP_GRID_MINMAX, 3, 4);
    check_passes(BP_TIER_C, 8, BP_GRID_MINMAX, 8, 4);
    if (!bp_cpu_has(BP_TIER_AVX2))
        return;
    check_passes(BP_TIER_AVX2, 1, BP_GRID_MINMAX, 1, 4);
    check_passes(BP_TIER_AVX2, 2, BP_GRID_MINMAX, 1, 12);
    check_passes(BP_TIER_AVX2, 4, BP_GRID_MINMAX, 1, 60);
    check_passes(BP_TIER_AVX2, 4, BP_GRID_ZERO, 1, 56);
    check_passes(BP_TIER_AVX2, 8, BP_GRID_MINMAX, 2, 60);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_work),
        cmocka_unit_test(test_tiles),
        cmocka_unit_test(test_passes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
