/* The binary convolution: forward against a naive sum, both gradient products against the float64
 * product of the dequantized operands, on every tier, with one to three workers. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "ops/bconv_internal.h"
#include "ops/product_method.h"
#include "unit/bconv_fixture.h"
#include "unit/op_data.h"

static int sign_of_x(const struct bconv_fixture *f, size_t n, size_t y, size_t x, size_t c) {
    return bp_bit(f->x + bconv_in_pixel(f, n, y, x), c) ? -1 : 1;
}

static int sign_of_w(const struct bconv_fixture *f, size_t k, size_t tap, size_t c) {
    return f->w[(k * f->taps + tap) * f->shape.c + c] < 0.0f ? -1 : 1;
}

/* --- references ------------------------------------------------------------------------------- */

/* Does tap t of output (oy, ox) lie inside the image, and where? */
static int tap_inside(const struct bp_conv_shape *s, size_t oy, size_t ox, size_t t, size_t *y,
                      size_t *x) {
    *y = oy * s->stride + t / s->r - s->pad;
    *x = ox * s->stride + t % s->r - s->pad;
    return *y < s->h && *x < s->w; /* a negative position wraps to a huge one */
}

static void check_forward(const struct bconv_fixture *f) {
    const struct bp_conv_shape *s = &f->shape;
    for (size_t n = 0; n < s->n; n++)
        for (size_t oy = 0; oy < s->oh; oy++)
            for (size_t ox = 0; ox < s->ow; ox++)
                for (size_t k = 0; k < s->k; k++) {
                    int sum = 0;
                    size_t y, x;
                    for (size_t t = 0; t < f->taps; t++)
                        for (size_t c = 0; tap_inside(s, oy, ox, t, &y, &x) && c < s->c; c++)
                            sum += sign_of_x(f, n, y, x, c) * sign_of_w(f, k, t, c);
                    size_t at = ((n * s->oh + oy) * s->ow + ox) * s->k + k;
                    assert_int_equal(f->y[at], sum);
                }
}

/* The code of one element, straight from the definitions in kernels.h and docs/KERNELS.md. */
static int code_of(float g, const struct bp_group *group, const struct bp_quant *quant,
                   struct bp_stream stream, uint64_t element) {
    int wide = quant->bits == 8, code_min, code_max, is_signed;
    uint8_t block[16];
    bp_quant_codes(quant, &code_min, &code_max, &is_signed);
    bp_stream_bytes(&stream, element / (wide ? 8 : 16), block);
    const uint8_t *byte = block + element % (wide ? 8 : 16) * (wide ? 2 : 1);
    unsigned bits = byte[0] + (wide ? 256u * byte[1] : 0);
    float parts = wide ? 65536.0f : 256.0f, by = group->grid.inv_step * parts;
    float t = (g - group->grid.lo) * by;
    double code = floor((rint((double)t) + bits) / (double)parts);
    return code < code_min ? code_min : code > code_max ? code_max : (int)code;
}

struct operand {
    double value, magnitude; /* of the dequantized gradient, and of its two terms */
};

static struct operand dequantize(const struct bp_group *group, int code) {
    double scaled = (double)group->scale * code, offset = (double)group->offset;
    struct operand operand = {scaled + offset, fabs(scaled) + fabs(offset)};
    return operand;
}

/* Codes of the whole gradient for one product; dropped groups give {0, 0}. */
static struct operand *operands_da(const struct bconv_fixture *f, const struct bp_quant *quant,
                                   uint64_t seed, unsigned layer, uint32_t step) {
    const struct bp_conv_shape *s = &f->shape;
    size_t image = s->oh * s->ow * s->k;
    struct bp_stream stream = bp_stream_make(seed, BP_RANDOM_ROUND_DA, layer, step);
    struct operand *all = op_data_take(s->n * image * sizeof *all);
    for (size_t i = 0; i < s->n * image; i++) {
        const struct bp_group *group = &bp_bconv_groups_da(f->op)[i / image];
        if (group->kept)
            all[i] = dequantize(group, code_of(f->g[i], group, quant, stream, i));
    }
    return all;
}

static struct operand *operands_dw(const struct bconv_fixture *f, const struct bp_quant *quant,
                                   uint64_t seed, unsigned layer, uint32_t step) {
    const struct bp_conv_shape *s = &f->shape;
    size_t image = s->oh * s->ow * s->k, kept = 0;
    const struct bp_group *groups = bp_bconv_groups_dw(f->op);
    struct bp_stream stream = bp_stream_make(seed, BP_RANDOM_ROUND_DW, layer, step);
    struct operand *all = op_data_take(s->n * image * sizeof *all);
    size_t *column = op_data_take(s->k * sizeof *column);
    for (size_t k = 0; k < s->k; k++)
        column[k] = quant->groups == BP_GROUPS_CHANNEL && groups[k].kept ? kept++ : 0;
    for (size_t i = 0; i < s->n * image; i++) {
        int by_sample = quant->groups == BP_GROUPS_SAMPLE;
        const struct bp_group *group = &groups[by_sample ? i / image : i % s->k];
        uint64_t element = by_sample ? i : i / s->k * kept + column[i % s->k];
        if (group->kept)
            all[i] = dequantize(group, code_of(f->g[i], group, quant, stream, element));
    }
    bp_free(column);
    return all;
}

static void check_close(double got, double want, double magnitude, const char *what, size_t at) {
    if (!(fabs(got - want) <= 1e-6 * magnitude))
        fail_msg("%s element %zu: got %.9g, want %.9g, terms %.3g", what, at, got, want, magnitude);
}

/* What an element of dW is rounded to: sums of codes that 16 bits hold as multiples only. */
static double rounded(const struct bconv_fixture *f, const struct bp_quant *quant, size_t k,
                      double value) {
    const size_t positions = f->shape.n * f->shape.oh * f->shape.ow;
    const int shift = bp_bconv_sums_shift(quant, positions, BP_SUMS_SHIFT_DW);
    const struct bp_group *group = &bp_bconv_groups_dw(f->op)[k];
    const double scale = (double)group->scale;
    if (quant->groups != BP_GROUPS_CHANNEL || quant->bits < 8 || shift <= 0 || !group->kept)
        return value;
    return scale * ldexp(bp_shift_to_even((int32_t)lrint(value / scale), shift), shift);
}

static void check_backward(const struct bconv_fixture *f, const struct bp_quant *quant_dw,
                           const struct operand *da, const struct operand *dw,
                           const float *masked) {
    const struct bp_conv_shape *s = &f->shape;
    size_t pixels_in = s->n * s->h * s->w, weights = s->k * f->taps * s->c;
    struct operand *want_x = op_data_take(pixels_in * s->c * sizeof *want_x);
    struct operand *want_w = op_data_take(weights * sizeof *want_w);
    for (size_t p = 0; p < s->n * s->oh * s->ow; p++)
        for (size_t t = 0; t < f->taps; t++) {
            size_t n = p / (s->oh * s->ow), oy = p / s->ow % s->oh, ox = p % s->ow, y, x;
            if (!tap_inside(s, oy, ox, t, &y, &x))
                continue;
            for (size_t k = 0; k < s->k; k++)
                for (size_t c = 0; c < s->c; c++) {
                    size_t at_x = ((n * s->h + y) * s->w + x) * s->c + c;
                    size_t at_w = (k * f->taps + t) * s->c + c;
                    want_x[at_x].value += da[p * s->k + k].value * sign_of_w(f, k, t, c);
                    want_x[at_x].magnitude += da[p * s->k + k].magnitude;
                    want_w[at_w].value += dw[p * s->k + k].value * sign_of_x(f, n, y, x, c);
                    want_w[at_w].magnitude += dw[p * s->k + k].magnitude;
                }
        }
    for (size_t i = 0; i < pixels_in * s->c; i++)
        if (bp_bit(f->mask + i / s->c * f->cw, i % s->c))
            check_close((double)f->dx[i], want_x[i].value, want_x[i].magnitude, "dx", i);
        else
            assert_true(f->dx[i] == 0.0f);
    for (size_t i = 0; i < weights; i++)
        if (masked != NULL && !(fabsf(masked[i]) < 1.0f))
            assert_true(f->dw[i] == 0.0f);
        else
            check_close((double)f->dw[i],
                        rounded(f, quant_dw, i / (f->taps * s->c), want_w[i].value),
                        want_w[i].magnitude, "dw", i);
    bp_free(want_x);
    bp_free(want_w);
}

/* --- tests ------------------------------------------------------------------------------------ */

static const size_t shapes[][7] = {
    /* n, h, w, c, k, r, stride */
    {3, 5, 6, 5, 7, 3, 1},
    {2, 8, 8, 64, 64, 3, 1},
    {5, 2, 2, 130, 33, 3, 1},
    {3, 1, 1, 70, 40, 3, 1},
    {2, 7, 9, 20, 65, 3, 2},
    {3, 8, 6, 65, 12, 3, 2},
    {2, 5, 4, 64, 32, 1, 1},
    {2, 7, 6, 33, 40, 1, 2},
    {1, 20, 19, 3, 4, 3, 1},
    {5, 33, 35, 3, 4, 3, 2},
    {1, 4, 40, 6, 5, 3, 1},
    {17, 5, 6, 33, 20, 3, 1},
    {9, 9, 8, 20, 33, 3, 2},
    {40, 2, 2, 70, 9, 3, 1},
    {8, 20, 19, 3, 4, 3, 1},
    /* sums of dW that are too many for the second cache at once */
    {3, 2, 1, 512, 160, 3, 1},
    {3, 2, 1, 1030, 40, 3, 1},
};

/* As integers and scales the activation gradient is the same, but for their rounding; dw is. */
static void check_sums(struct bconv_fixture *f, const struct bp_quant *da, uint32_t step,
                       const float *masked) {
    const struct bp_conv_shape *s = &f->shape;
    struct bp_grad_source source = bconv_source(f);
    size_t elements = s->h * s->w * s->c, weights = s->k * f->taps * s->c;
    if (!bp_bconv_gives_sums(s, da))
        return;
    struct bp_bconv_sums sums;
    float *dw;
    assert_int_equal(bp_alloc_array(&sums.sums, s->n * elements, sizeof *sums.sums, "sums"), BP_OK);
    assert_int_equal(bp_alloc_array(&sums.scale, s->n, sizeof *sums.scale, "scales"), BP_OK);
    assert_int_equal(bp_alloc_array(&dw, weights, sizeof *dw, "dw"), BP_OK);
    memset(sums.sums, 0x5a, s->n * elements * sizeof *sums.sums);
    memset(sums.scale, 0x5a, s->n * sizeof *sums.scale);
    bp_bconv_backward(f->op, f->exec, s->n, f->x, f->mask, &source, 99, 3, step, masked, NULL, dw,
                      NULL, &sums, NULL);
    for (size_t n = 0; n < s->n; n++)
        op_data_check_narrow(sums.sums + n * elements, sums.scale[n], f->dx + n * elements,
                             bp_bconv_groups_da(f->op)[n].scale, elements);
    assert_memory_equal(dw, f->dw, weights * sizeof *dw);
    bp_free(sums.sums);
    bp_free(sums.scale);
    bp_free(dw);
}

static void run_case(const size_t *dims, const struct bp_quant *quant, enum bp_tier tier,
                     int threads) {
    struct bp_conv_shape shape;
    struct bp_quant da = *quant;
    da.groups = BP_GROUPS_SAMPLE;
    assert_int_equal(bp_conv_shape_set(&shape, dims[0], dims[1], dims[2], dims[3], dims[4], dims[5],
                                       dims[6], dims[5] / 2),
                     BP_OK);
    struct bconv_fixture f;
    bconv_set_up(&f, &shape, &da, quant, tier, threads);
    bp_bconv_forward(f.op, f.exec, shape.n, f.x, f.y, NULL);
    check_forward(&f);
    struct bp_grad_source source = bconv_source(&f);
    for (uint32_t step = 0; step < 2; step++) {
        const float *masked = step == 1 ? f.w : NULL;
        bp_bconv_backward(f.op, f.exec, shape.n, f.x, f.mask, &source, 99, 3, step, masked, f.dx,
                          f.dw, NULL, NULL, NULL);
        struct operand *want_da = operands_da(&f, &da, 99, 3, step);
        struct operand *want_dw = operands_dw(&f, quant, 99, 3, step);
        check_backward(&f, quant, want_da, want_dw, masked);
        check_sums(&f, &da, step, masked);
        bp_free(want_da);
        bp_free(want_dw);
    }
    bconv_tear_down(&f);
}

static void test_products(void **state) {
    (void)state;
    for (int tier = 0; tier < BP_TIER_COUNT; tier++) {
        if (!bp_cpu_has((enum bp_tier)tier))
            continue;
        for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
            for (size_t j = 0; j < BCONV_QUANTS; j++)
                run_case(shapes[i], &bconv_quants[j], (enum bp_tier)tier, 1 + (int)((i + j) % 3));
    }
}

/* Only what 16 bits hold of a sum, on a grid whose codes need no offset. */
static void test_where_sums_are_given(void **state) {
    (void)state;
    const struct bp_quant four = {.bits = 4, .grid = BP_GRID_ZERO};
    const struct bp_quant eight = {.bits = 8, .grid = BP_GRID_ZERO};
    const struct bp_quant offset = {.bits = 4, .grid = BP_GRID_MINMAX};
    const struct bp_quant symmetric = {.bits = 1, .grid = BP_GRID_SYMMETRIC};
    struct bp_conv_shape shape = {.k = 917, .r = 3}; /* 917 * 9 * 127 = 32754 * 32 + 3 */
    assert_true(bp_bconv_gives_sums(&shape, &four));
    assert_true(bp_bconv_gives_sums(&shape, &eight));
    assert_false(bp_bconv_gives_sums(&shape, &offset));
    assert_false(bp_bconv_gives_sums(&shape, &symmetric));
    shape.k = 918;
    assert_true(bp_bconv_gives_sums(&shape, &four));
    assert_false(bp_bconv_gives_sums(&shape, &eight));
    shape.k = 1 << 14; /* 16384 * 9 * 7 = 32256 * 32 */
    assert_true(bp_bconv_gives_sums(&shape, &four));
    shape.k = (size_t)1 << 60;
    assert_false(bp_bconv_gives_sums(&shape, &four));
}

/* The smallest power of two; as large as it may be, no sum leaves 16 bits. */
static void test_shift_of_sums(void **state) {
    (void)state;
    const struct bp_quant four = {.bits = 4, .grid = BP_GRID_ZERO};
    const struct bp_quant eight = {.bits = 8, .grid = BP_GRID_ZERO};
    assert_int_equal(bp_bconv_sums_shift(&four, 4681, 0), 0); /* 32767 / 7 */
    assert_int_equal(bp_bconv_sums_shift(&four, 4682, 0), -1);
    assert_int_equal(bp_bconv_sums_shift(&four, 4682, 3), 1);
    assert_int_equal(bp_bconv_sums_shift(&eight, 258, 5), 0); /* 32767 / 127 */
    assert_int_equal(bp_bconv_sums_shift(&eight, 259, 5), 1);
    assert_int_equal(bp_bconv_sums_shift(&eight, 516, 5), 1); /* 65532, rounded 32766 */
    assert_int_equal(bp_bconv_sums_shift(&eight, 517, 5), 2); /* 65659 */
    for (int shift = 0; shift < 9; shift++)
        for (int32_t i = -1000; i <= 1000; i++) {
            const double whole = rint(ldexp(i, -shift)); /* to nearest, ties to even */
            assert_int_equal(bp_shift_to_even(i, shift), (int32_t)whole);
        }
}

/* Fewer samples than planned, and the same bytes for any number of workers, those that have to
 * share a few channels too. */
static void test_threads_and_partial_batch(void **state) {
    (void)state;
    static const int threads[] = {1, 2, 3, 8};
    enum { RUNS = sizeof threads / sizeof threads[0] };
    for (size_t q = 0; q < 2; q++) {
        struct bp_conv_shape shape;
        assert_int_equal(bp_conv_shape_set(&shape, 9, 6, 6, 40, 48, 3, 1, 1), BP_OK);
        struct bconv_fixture f[RUNS];
        for (size_t i = 0; i < RUNS; i++) {
            bconv_set_up(&f[i], &shape, &bconv_quants[q], &bconv_quants[q], bp_cpu_best(),
                         threads[i]);
            struct bp_grad_source source = bconv_source(&f[i]);
            bp_bconv_backward(f[i].op, f[i].exec, 7, f[i].x, f[i].mask, &source, 5, 0, 8, NULL,
                              f[i].dx, f[i].dw, NULL, NULL, NULL);
        }
        for (size_t i = 1; i < RUNS; i++) {
            assert_memory_equal(f[0].dx, f[i].dx, 7 * 36 * 40 * sizeof(float));
            assert_memory_equal(f[0].dw, f[i].dw, 48 * 9 * 40 * sizeof(float));
        }
        for (size_t i = 0; i < RUNS; i++)
            bconv_tear_down(&f[i]);
    }
}

/* A gradient of zeros, and one with a single constant group, are exact. */
static void test_degenerate_gradients(void **state) {
    (void)state;
    struct bp_conv_shape shape;
    assert_int_equal(bp_conv_shape_set(&shape, 4, 4, 4, 16, 8, 3, 1, 1), BP_OK);
    for (size_t j = 0; j < BCONV_QUANTS; j++) {
        struct bconv_fixture f;
        struct bp_quant da = bconv_quants[j];
        da.groups = BP_GROUPS_SAMPLE;
        bconv_set_up(&f, &shape, &da, &bconv_quants[j], bp_cpu_best(), 2);
        struct bp_grad_source source = bconv_source(&f);
        memset(f.g, 0, 4 * 16 * 8 * sizeof(float));
        bp_bconv_backward(f.op, f.exec, 4, f.x, f.mask, &source, 5, 0, 8, NULL, f.dx, f.dw, NULL,
                          NULL, NULL);
        for (size_t i = 0; i < 4 * 16 * 16; i++)
            assert_true(f.dx[i] == 0.0f);
        for (size_t i = 0; i < 8 * 9 * 16; i++)
            assert_true(f.dw[i] == 0.0f);
        for (size_t i = 0; i < 16 * 8; i++)
            f.g[2 * 16 * 8 + i] = 0.5f; /* sample 2 is constant */
        bp_bconv_backward(f.op, f.exec, 4, f.x, f.mask, &source, 5, 0, 9, NULL, f.dx, f.dw, NULL,
                          NULL, NULL);
        struct operand *da_operands = operands_da(&f, &da, 5, 0, 9);
        for (size_t i = 0; bconv_quants[j].clip == 0.0f && i < 16 * 8; i++)
            assert_true(fabs(da_operands[2 * 16 * 8 + i].value - 0.5) < 1e-6);
        bp_free(da_operands);
        bconv_tear_down(&f);
    }
}

static void test_refuses(void **state) {
    (void)state;
    struct bp_conv_shape shape;
    struct bp_exec *exec;
    struct bp_plan *plan;
    struct bp_bconv *op;
    assert_int_equal(bp_exec_create(&exec, BP_TIER_C, 1), BP_OK);
    assert_int_equal(bp_plan_create(&plan), BP_OK);
    assert_int_equal(bp_conv_shape_set(&shape, 1, 4, 4, 3700, 8, 3, 1, 1), BP_OK);
    assert_int_equal(bp_bconv_create(&op, exec, plan, &shape, NULL, NULL, "wide", 0, 0), BP_USAGE);
    assert_non_null(strstr(bp_status_message(), "--width"));
    bp_plan_destroy(plan);
    bp_exec_destroy(exec);
}

/* --- rows of three taps ----------------------------------------------------------------------- */

static struct bp_kernels tier_kernels;
static size_t pixels_in_threes;

static void counted_triples(const uint64_t *x, const uint64_t *parity, const int32_t *pixel,
                            const int32_t *to, size_t n, const int32_t *row, const int32_t *row_w,
                            size_t rows, size_t w_rows, size_t cw, const uint64_t *w, size_t k,
                            int bias, const int16_t *add, const uint8_t *add_row, int16_t *y) {
    pixels_in_threes += n;
    tier_kernels.product_triples(x, parity, pixel, to, n, row, row_w, rows, w_rows, cw, w, k, bias,
                                 add, add_row, y);
}

/* Where a tier has them, 3x3 kernels take all pixels so, or, class by class, those whose rows of
 * taps are whole. */
static void test_rows_of_three(void **state) {
    (void)state;
    static const struct {
        size_t dims[7], pixels; /* n, h, w, c, k, r, stride */
    } cases[] = {{{2, 8, 9, 70, 35, 3, 1}, 144}, {{1, 20, 40, 5, 33, 3, 1}, 800},
                 {{3, 9, 8, 64, 16, 3, 2}, 60},  {{2, 4, 4, 130, 40, 3, 1}, 16},
                 {{2, 2, 2, 9, 8, 3, 1}, 0},     {{2, 8, 8, 9, 8, 1, 1}, 0}};
    for (int i = 0; i < BP_TIER_COUNT; i++)
        for (size_t j = 0; bp_cpu_has((enum bp_tier)i) && j < sizeof cases / sizeof cases[0]; j++) {
            const size_t *d = cases[j].dims;
            struct bp_conv_shape shape;
            struct bconv_fixture f;
            assert_int_equal(
                bp_conv_shape_set(&shape, d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[5] / 2),
                BP_OK);
            bconv_set_up(&f, &shape, NULL, NULL, (enum bp_tier)i, 1);
            int in_threes = bp_product_method_forward((enum bp_tier)i) == BP_PRODUCT_BITS &&
                            f.exec->kernels.in_triples;
            tier_kernels = f.exec->kernels;
            f.exec->kernels.product_triples = counted_triples;
            pixels_in_threes = 0;
            bp_bconv_forward(f.op, f.exec, shape.n, f.x, f.y, NULL);
            check_forward(&f);
            assert_int_equal(pixels_in_threes, in_threes ? cases[j].pixels : 0);
            bconv_tear_down(&f);
        }
}

/* --- wide tables ------------------------------------------------------------------------------ */

static size_t wide_of_codes, wide_of_samples, left_out_da, left_out_dw;

static size_t counted_wide_of_codes(const uint8_t *codes, size_t n, size_t k, size_t together,
                                    uint8_t *tables, int32_t *total, struct bp_left_out *left_out) {
    const size_t length =
        tier_kernels.wide_tables_of_codes(codes, n, k, together, tables, total, left_out);
    wide_of_codes++;
    left_out_da += length;
    return length;
}

static size_t counted_wide_of_samples(const uint8_t *codes, const int32_t *offset, size_t samples,
                                      size_t together, size_t n, size_t code_step, size_t k,
                                      uint8_t *out, size_t column_bytes, size_t position_bytes,
                                      const uint8_t *kind, int32_t *total,
                                      struct bp_left_out *left_out) {
    const size_t length =
        tier_kernels.wide_tables_of_samples(codes, offset, samples, together, n, code_step, k, out,
                                            column_bytes, position_bytes, kind, total, left_out);
    wide_of_samples++;
    left_out_dw += length;
    return length;
}

/* Small numbers, and at the first and the last position, and one between, samples of which 4 each
 * have the same 4 channels large: codes that tables leave out, of dA and of dW. many: all are
 * large. */
static void fill_few_large(struct bconv_fixture *f, int many) {
    const struct bp_conv_shape *s = &f->shape;
    const size_t pixels = s->oh * s->ow, places[] = {0, pixels / 2 + 1, pixels - 1};
    for (size_t i = 0; i < s->n * pixels * s->k; i++)
        f->g[i] =
            copysignf(many ? 1.0f : 0.8f, f->g[i]);   /* 0.8 / 9 * 127: too many digits to list */
    for (size_t i = 0; !many && i < s->n + s->k; i++) /* for the scale of each sample and channel */
        f->g[(i % s->n * pixels + 5 * i % pixels) * s->k + i % s->k] = 9.0f;
    for (size_t i = 0; !many && i < s->n / 4 * 4; i++)
        for (size_t e = 0; e < 4; e++)
            f->g[(i * pixels + places[i / 4 % 3]) * s->k + i / 4 * 4 % (s->k / 4 * 4) + e] =
                e % 2 == 0 ? 9.0f : -8.0f;
}

/* Where a tier has them, codes of 8 bits go by wide tables unless too many would be left out. */
static void test_wide_tables(void **state) {
    (void)state;
    static const size_t dims[][7] = {/* n, h, w, c, k, r, stride */
                                     {17, 12, 12, 70, 64, 3, 1}, {12, 9, 14, 33, 40, 3, 2},
                                     {16, 10, 40, 64, 20, 3, 1}, {36, 4, 4, 130, 128, 3, 1},
                                     {13, 9, 9, 64, 64, 1, 2},   {40, 2, 2, 64, 256, 3, 1}};
    const struct bp_quant dw = {
        .bits = 8, .keep = 1, .grid = BP_GRID_ZERO, .groups = BP_GROUPS_CHANNEL};
    struct bp_quant da = dw;
    da.groups = BP_GROUPS_SAMPLE;
    for (int tier = 0; tier < BP_TIER_COUNT; tier++)
        for (size_t i = 0; bp_cpu_has((enum bp_tier)tier) && i < 2 * sizeof dims / sizeof dims[0];
             i++) {
            const size_t *d = dims[i / 2];
            const int many = i % 2;
            struct bp_conv_shape shape;
            struct bconv_fixture f;
            assert_int_equal(
                bp_conv_shape_set(&shape, d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[5] / 2),
                BP_OK);
            bconv_set_up(&f, &shape, &da, &dw, (enum bp_tier)tier, 2);
            fill_few_large(&f, many);
            tier_kernels = f.exec->kernels;
            f.exec->kernels.wide_tables_of_codes = counted_wide_of_codes;
            f.exec->kernels.wide_tables_of_samples = counted_wide_of_samples;
            wide_of_codes = wide_of_samples = left_out_da = left_out_dw = 0;
            struct bp_grad_source source = bconv_source(&f);
            bp_bconv_backward(f.op, f.exec, shape.n, f.x, f.mask, &source, 99, 3, 0, NULL, f.dx,
                              f.dw, NULL, NULL, NULL);
            struct operand *want_da = operands_da(&f, &da, 99, 3, 0);
            struct operand *want_dw = operands_dw(&f, &dw, 99, 3, 0);
            check_backward(&f, &dw, want_da, want_dw, NULL);
            check_sums(&f, &da, 0, NULL);
            const int wide = tier == BP_TIER_AVX512 && !many;
            assert_int_equal(wide_of_codes > 0, wide && d[5] == 3); /* one tap: zeros left out */
            assert_int_equal(left_out_da > 0, wide && d[5] == 3);
            assert_int_equal(wide_of_samples > 0, wide);
            assert_int_equal(left_out_dw > 0, wide);
            bp_free(want_da);
            bp_free(want_dw);
            bconv_tear_down(&f);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wide_tables),
        cmocka_unit_test(test_rows_of_three),
        cmocka_unit_test(test_where_sums_are_given),
        cmocka_unit_test(test_shift_of_sums),
        cmocka_unit_test(test_products),
        cmocka_unit_test(test_threads_and_partial_batch),
        cmocka_unit_test(test_degenerate_gradients),
        cmocka_unit_test(test_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
