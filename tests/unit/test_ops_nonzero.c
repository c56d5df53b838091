/* Gradient products from the codes that are not zero, against those of the C tier, which multiplies
 * all of them on words: the same bytes. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "ops/bconv.h"
#include "unit/op_data.h"

/* n, h, w, c, k, r, stride: large enough to pay for dW; and whether they are for dA. */
static const size_t shapes[][8] = {
    {9, 20, 20, 128, 64, 3, 1, 1},  /* rows of taps of 6 words; dA of 4 pixels at once */
    {64, 10, 8, 256, 37, 3, 1, 0},  /* of 12, channels that are no multiple of 16 */
    {130, 4, 4, 512, 166, 3, 1, 1}, /* of 24 */
    {24, 21, 17, 200, 48, 3, 2, 0}, /* channels that do not fill words, stride 2 */
    {40, 9, 9, 1024, 33, 1, 1, 0},  /* one tap */
    {60, 17, 9, 1000, 20, 1, 2, 0},  {60, 7, 6, 256, 270, 3, 1, 1},  /* dA of 2 pixels at once */
    {60, 7, 7, 192, 270, 3, 1, 1},                                   /* the last one alone */
    {20, 12, 21, 64, 150, 3, 1, 1},                                  /* of 8, at last 5 */
    {24, 13, 11, 512, 500, 3, 2, 0}, {100, 5, 5, 832, 130, 3, 1, 1}, /* 8 words and 5 */
};

static const struct bp_quant sample_quant = {
    4, 1, BP_SELECT_NONE, BP_WEIGHTS_RANGE, BP_GRID_ZERO, 0, BP_GROUPS_SAMPLE};

struct gradient {
    const struct bp_conv_shape *shape;
    float power; /* odd: 1 fills the range evenly, 49 leaves most far below the largest */
};

static void rows_of_gradient(const void *context, size_t n, size_t row, size_t rows, float *out,
                             void *scratch) {
    const struct gradient *g = context;
    const struct bp_conv_shape *s = g->shape;
    (void)scratch;
    for (size_t i = 0; i < rows * s->ow * s->k; i++) {
        float v = op_data_number(7, (n * s->oh + row) * s->ow * s->k + i), power = 1;
        for (int e = 0; e < (int)g->power; e++)
            power *= v;
        out[i] = power;
    }
}

struct results {
    void *dx; /* sums of 16 bits, or, where the codes' could be larger, floats */
    float *dw;
    size_t dx_bytes, dw_count;
    enum bp_product_method method_da, method_dw;
};

static int in_integers, in_multiples; /* how often dW was, of 4 bits and of 8 */

static struct results run(const struct bp_conv_shape *s, const struct bp_quant *da,
                          const struct bp_quant *dw, enum bp_tier tier, int threads, float power) {
    struct bp_exec *exec;
    struct bp_plan *plan;
    struct bp_bconv *op;
    size_t cw = bp_words(s->c), taps = s->r * s->r, pixels = s->n * s->h * s->w;
    assert_int_equal(bp_exec_create(&exec, tier, threads), BP_OK);
    assert_int_equal(bp_plan_create(&plan), BP_OK);
    assert_int_equal(bp_bconv_create(&op, exec, plan, s, da, dw, "test", 1, 2), BP_OK);
    bp_exec_need_scratch(exec, bp_bconv_backward_scratch_bytes(s, 1));
    assert_int_equal(bp_plan_allocate(plan, "a test"), BP_OK);
    assert_int_equal(bp_exec_allocate(exec), BP_OK);
    uint64_t *x = op_data_take(s->n * (s->h + 2) * (s->w + 2) * cw * 8);
    uint64_t *mask = op_data_take(pixels * cw * 8);
    for (size_t n = 0; n < s->n; n++)
        for (size_t y = 0; y < s->h; y++)
            for (size_t i = 0; i < s->w * s->c; i++) {
                size_t word = i / s->c * cw + i % s->c / 64;
                uint64_t bit = (uint64_t)1 << i % s->c % 64;
                float v = op_data_number(3, (n * s->h + y) * s->w * s->c + i);
                if (v < 0)
                    x[((n * (s->h + 2) + y + 1) * (s->w + 2) + 1) * cw + word] |= bit;
                if (v < 0.5f)
                    mask[(n * s->h + y) * s->w * cw + word] |= bit;
            }
    const int in_sums = bp_bconv_gives_sums(s, da);
    struct results r = {.dx_bytes = pixels * s->c * (in_sums ? sizeof(int16_t) : sizeof(float)),
                        .dw_count = s->k * taps * s->c};
    float *w = op_data_numbers(5, r.dw_count), *scale = op_data_numbers(6, s->n);
    r.dx = op_data_soiled(r.dx_bytes);
    r.dw = op_data_soiled(r.dw_count * sizeof(float));
    bp_bconv_pack(op, exec, w);
    const struct gradient gradient = {s, power};
    const struct bp_grad_source source = {
        .rows = rows_of_gradient, .context = &gradient, .scratch_bytes = 1};
    const struct bp_bconv_sums sums = {r.dx, scale};
    bp_bconv_backward(op, exec, s->n, x, mask, &source, 1, 2, 3, w, in_sums ? NULL : r.dx, r.dw,
                      NULL, in_sums ? &sums : NULL, NULL);
    const struct bp_bconv_dw_sums dw_sums = {op_data_soiled(r.dw_count * sizeof(int16_t)),
                                             op_data_soiled(s->k * sizeof(float))};
    if (bp_bconv_gives_dw_sums(op, exec)) { /* the same floats, made later */
        bp_bconv_backward(op, exec, s->n, x, mask, &source, 1, 2, 3, w, in_sums ? NULL : r.dx, NULL,
                          NULL, in_sums ? &sums : NULL, &dw_sums);
        for (size_t i = 0; i < r.dw_count; i++) {
            const float by = dw_sums.scale[i / (taps * s->c)];
            assert_true(r.dw[i] == (fabsf(w[i]) < 1.0f ? by * (float)dw_sums.sums[i] : 0.0f));
        }
        in_integers += da->bits == 4;
        in_multiples += da->bits == 8;
    }
    bp_free(dw_sums.sums);
    bp_free(dw_sums.scale);
    r.method_da = bp_bconv_method(op, BP_BCONV_DA);
    r.method_dw = bp_bconv_method(op, BP_BCONV_DW);
    bp_free(x);
    bp_free(mask);
    bp_free(w);
    bp_free(scale);
    bp_bconv_destroy(op);
    bp_plan_destroy(plan);
    bp_exec_destroy(exec);
    return r;
}

static int instead_of_tiles; /* how often the codes that are not zero were taken on amx */

/* method_dw: as it must be; with_da: dA must leave out zeros. */
static void compare(const size_t *dims, int bits, float keep, float power, int with_da,
                    enum bp_product_method method_dw) {
    struct bp_quant da = sample_quant, dw;
    da.bits = bits;
    da.keep = keep;
    da.select = keep < 1 ? BP_SELECT_SYSTEMATIC : BP_SELECT_NONE;
    dw = da;
    dw.groups = BP_GROUPS_CHANNEL;
    struct bp_conv_shape s;
    assert_int_equal(bp_conv_shape_set(&s, dims[0], dims[1], dims[2], dims[3], dims[4], dims[5],
                                       dims[6], dims[5] / 2),
                     BP_OK);
    struct results want = run(&s, &da, &dw, BP_TIER_C, 2, power);
    for (int i = 0; i < 4; i++) {
        enum bp_tier tier = i % 2 ? BP_TIER_AMX : BP_TIER_AVX512;
        if (!bp_cpu_has(tier))
            continue;
        struct results got = run(&s, &da, &dw, tier, 1 + i / 2 * 2, power);
        if (tier == BP_TIER_AVX512)
            assert_int_equal(got.method_dw, method_dw);
        else /* tiles are faster, so that they stay more often */
            assert_true(got.method_dw == method_dw || got.method_dw == BP_PRODUCT_TILES);
        instead_of_tiles += tier == BP_TIER_AMX && got.method_dw == BP_PRODUCT_NONZERO;
        assert_int_equal(got.method_da == BP_PRODUCT_NONZERO, tier == BP_TIER_AVX512 && with_da);
        assert_memory_equal(got.dw, want.dw, want.dw_count * sizeof(float));
        assert_memory_equal(got.dx, want.dx, want.dx_bytes);
        bp_free(got.dx);
        bp_free(got.dw);
    }
    bp_free(want.dx);
    bp_free(want.dw);
}

static void test_few_codes(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        compare(shapes[i], 4, 1, 49, shapes[i][7] != 0, BP_PRODUCT_NONZERO);
    assert_true(instead_of_tiles > 0 || !bp_cpu_has(BP_TIER_AMX));
    assert_true(in_integers > 0);
}

/* Lists that are multiplied several times, larger magnitudes, dropped channels. */
static void test_more_codes(void **state) {
    (void)state;
    compare((const size_t[]){64, 16, 16, 256, 40, 3, 1}, 4, 1, 13, 0, BP_PRODUCT_NONZERO);
    compare((const size_t[]){32, 16, 16, 256, 40, 3, 1}, 4, 0.5f, 13, 0, BP_PRODUCT_NONZERO);
    compare((const size_t[]){96, 5, 4, 512, 300, 3, 1}, 4, 0.5f, 13, 1, BP_PRODUCT_NONZERO);
    compare((const size_t[]){64, 8, 8, 128, 64, 3, 1}, 2, 1, 49, 1, BP_PRODUCT_NONZERO);
    compare((const size_t[]){64, 8, 8, 128, 64, 3, 1}, 3, 1, 49, 1, BP_PRODUCT_NONZERO);
}

/* The digits of 8 bits: sums of 32 bits, to 16; of few output channels, 16 at once. */
static void test_bytes(void **state) {
    (void)state;
    compare((const size_t[]){40, 12, 9, 128, 130, 3, 1}, 8, 1, 149, 1, BP_PRODUCT_NONZERO);
    compare((const size_t[]){70, 5, 7, 256, 200, 3, 1}, 8, 0.5f, 149, 1, BP_PRODUCT_NONZERO);
    compare((const size_t[]){129, 4, 4, 640, 200, 3, 1}, 8, 1, 149, 1, BP_PRODUCT_NONZERO);
    compare((const size_t[]){300, 16, 16, 256, 28, 3, 1}, 8, 1, 149, 0, BP_PRODUCT_NONZERO);
    assert_true(in_multiples > 0);
}

/* Where most codes are not zero lookups stay. */
static void test_many_codes(void **state) {
    (void)state;
    compare((const size_t[]){16, 16, 16, 128, 32, 3, 1}, 4, 1, 1, 0, BP_PRODUCT_LOOKUP);
    /* dW of few positions; dA of one tap, with rows that fill up their 64s. */
    compare((const size_t[]){16, 2, 2, 512, 2500, 1, 1}, 4, 1, 25, 1, BP_PRODUCT_LOOKUP);
    compare((const size_t[]){16, 8, 8, 128, 32, 3, 1}, 8, 1, 9, 0, BP_PRODUCT_LOOKUP);
}

#define SKIPPED 77 /* as CMakeLists.txt says */

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_few_codes),
        cmocka_unit_test(test_more_codes),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_many_codes),
    };
    if (!bp_cpu_has(BP_TIER_AVX512))
        return SKIPPED;
    return cmocka_run_group_tests_name("products of codes that are not zero", tests, NULL, NULL);
}
