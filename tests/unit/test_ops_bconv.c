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
#include "ops/bconv.h"
#include "unit/op_data.h"

struct fixture {
    struct bp_conv_shape shape;
    struct bp_exec *exec;
    struct bp_plan *plan;
    struct bp_bconv *op;
    size_t cw, taps;
    uint64_t *x, *mask;
    float *w, *g, *dx, *dw;
    int16_t *y;
};

static struct bp_stream random_stream(uint32_t step) {
    return bp_stream_make(20261124, BP_RANDOM_TEST, 7, step);
}

/* --- set-up ----------------------------------------------------------------------------------- */

static void rows_of_g(const void *context, size_t n, size_t row, size_t rows, float *out,
                      void *scratch) {
    const struct fixture *f = context;
    size_t row_elements = f->shape.ow * f->shape.k;
    ((char *)scratch)[0] = 1; /* the promised scratch byte is there */
    memcpy(out, f->g + (n * f->shape.oh + row) * row_elements, rows * row_elements * sizeof(float));
}

static size_t in_pixel(const struct fixture *f, size_t n, size_t y, size_t x) {
    return ((n * (f->shape.h + 2) + y + 1) * (f->shape.w + 2) + x + 1) * f->cw;
}

static int sign_of_x(const struct fixture *f, size_t n, size_t y, size_t x, size_t c) {
    return bp_bit(f->x + in_pixel(f, n, y, x), c) ? -1 : 1;
}

static int sign_of_w(const struct fixture *f, size_t k, size_t tap, size_t c) {
    return f->w[(k * f->taps + tap) * f->shape.c + c] < 0.0f ? -1 : 1;
}

static void fill_inputs(struct fixture *f, uint32_t seed) {
    const struct bp_conv_shape *s = &f->shape;
    struct bp_stream random = random_stream(seed);
    uint64_t at = 0;
    for (size_t n = 0; n < s->n; n++)
        for (size_t y = 0; y < s->h; y++)
            for (size_t x = 0; x < s->w; x++)
                for (size_t c = 0; c < s->c; c++) {
                    uint32_t r = bp_stream_u32(&random, at++);
                    f->x[in_pixel(f, n, y, x) + c / 64] |= (uint64_t)(r & 1) << c % 64;
                    f->mask[((n * s->h + y) * s->w + x) * f->cw + c / 64] |= (uint64_t)(r >> 1 & 1)
                                                                             << c % 64;
                }
    random = random_stream(seed + 1000);
    for (size_t i = 0; i < s->k * f->taps * s->c; i++)
        f->w[i] = bp_stream_normal(&random, i);
    random = random_stream(seed + 2000);
    size_t image = s->oh * s->ow * s->k;
    for (size_t i = 0; i < s->n * image; i++) {
        /* heavy tails, and samples and channels of unequal weight */
        float v = bp_stream_normal(&random, i);
        f->g[i] = v * v * v * (1.0f + (float)(i / image % 3)) * (1.0f + (float)(i % s->k % 5));
    }
}

/* Buffers begin with what an earlier owner left. */
static void leave_something(struct fixture *f) {
    for (size_t i = 0; i < bp_plan_count(f->plan); i++) {
        const struct bp_plan_entry *entry = bp_plan_entry_at(f->plan, i);
        memset(*entry->where, 0xa5, entry->bytes);
    }
    memset(f->exec->scratch, 0xa5,
           (size_t)bp_threads_count(f->exec->threads) * f->exec->scratch_bytes);
}

static void set_up(struct fixture *f, const struct bp_conv_shape *shape, const struct bp_quant *da,
                   const struct bp_quant *dw, enum bp_tier tier, int threads) {
    memset(f, 0, sizeof *f);
    f->shape = *shape;
    f->cw = bp_words(shape->c);
    f->taps = shape->r * shape->r;
    assert_int_equal(bp_exec_create(&f->exec, tier, threads), BP_OK);
    assert_int_equal(bp_plan_create(&f->plan), BP_OK);
    assert_int_equal(bp_bconv_create(&f->op, f->exec, f->plan, shape, da, dw, "test", 1, 2), BP_OK);
    bp_exec_need_scratch(f->exec, bp_bconv_backward_scratch_bytes(shape, 1));
    assert_int_equal(bp_plan_allocate(f->plan, "a test"), BP_OK);
    assert_int_equal(bp_exec_allocate(f->exec), BP_OK);
    leave_something(f);
    size_t pixels_in = shape->n * shape->h * shape->w,
           pixels_out = shape->n * shape->oh * shape->ow;
    f->x = op_data_take(shape->n * (shape->h + 2) * (shape->w + 2) * f->cw * 8);
    f->mask = op_data_take(pixels_in * f->cw * 8);
    f->w = op_data_take(shape->k * f->taps * shape->c * sizeof(float));
    f->g = op_data_take(pixels_out * shape->k * sizeof(float));
    f->y = op_data_take(pixels_out * shape->k * sizeof(int16_t));
    f->dx = op_data_take(pixels_in * shape->c * sizeof(float));
    f->dw = op_data_take(shape->k * f->taps * shape->c * sizeof(float));
    fill_inputs(f, 1);
    bp_bconv_pack(f->op, f->exec, f->w);
}

static void tear_down(struct fixture *f) {
    bp_bconv_destroy(f->op);
    bp_plan_destroy(f->plan);
    bp_exec_destroy(f->exec);
    void *blocks[] = {f->x, f->mask, f->w, f->g, f->y, f->dx, f->dw};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++)
        bp_free(blocks[i]);
}

/* --- references ------------------------------------------------------------------------------- */

/* Does tap t of output (oy, ox) lie inside the image, and where? */
static int tap_inside(const struct bp_conv_shape *s, size_t oy, size_t ox, size_t t, size_t *y,
                      size_t *x) {
    *y = oy * s->stride + t / s->r - s->pad;
    *x = ox * s->stride + t % s->r - s->pad;
    return *y < s->h && *x < s->w; /* a negative position wraps to a huge one */
}

static void check_forward(const struct fixture *f) {
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

/* The code of one element, straight from the definition in kernels.h. */
static int code_of(float g, const struct bp_group *group, const struct bp_quant *quant,
                   struct bp_stream stream, uint64_t element) {
    int wide = quant->bits == 8, code_min, code_max, is_signed;
    uint32_t block[4];
    bp_quant_codes(quant, &code_min, &code_max, &is_signed);
    bp_stream_block(&stream, element / (wide ? 8 : 16), block);
    unsigned byte = (unsigned)(element % (wide ? 8 : 16)) * (wide ? 2 : 1);
    uint32_t bits = block[byte / 4] >> (byte % 4 * 8) & (wide ? 0xffffu : 0xffu);
    float u = ((float)bits + 0.5f) / (wide ? 65536.0f : 256.0f);
    float t = (g - group->grid.lo) * group->grid.inv_step;
    t = t + u;
    float floored = floorf(t);
    return floored < (float)code_min   ? code_min
           : floored > (float)code_max ? code_max
                                       : (int)floored;
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
static struct operand *operands_da(const struct fixture *f, const struct bp_quant *quant,
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

static struct operand *operands_dw(const struct fixture *f, const struct bp_quant *quant,
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

static void check_backward(const struct fixture *f, const struct operand *da,
                           const struct operand *dw, const float *masked) {
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
            check_close((double)f->dw[i], want_w[i].value, want_w[i].magnitude, "dw", i);
    bp_free(want_x);
    bp_free(want_w);
}

/* --- tests ------------------------------------------------------------------------------------ */

static const struct bp_quant quants[] = {
    {4, 0.25f, BP_SELECT_SYSTEMATIC, BP_WEIGHTS_RMS, BP_GRID_ZERO, 0, BP_GROUPS_CHANNEL},
    {4, 0.25f, BP_SELECT_BERNOULLI, BP_WEIGHTS_RANGE, BP_GRID_MINMAX, 0, BP_GROUPS_CHANNEL},
    {1, 1.0f, BP_SELECT_NONE, BP_WEIGHTS_RANGE, BP_GRID_MINMAX, 0, BP_GROUPS_SAMPLE},
    {8, 1.0f, BP_SELECT_NONE, BP_WEIGHTS_RANGE, BP_GRID_ZERO, 0, BP_GROUPS_CHANNEL},
    {8, 0.5f, BP_SELECT_TOPK, BP_WEIGHTS_RANGE, BP_GRID_MINMAX, 0, BP_GROUPS_SAMPLE},
    {2, 0.5f, BP_SELECT_SYSTEMATIC, BP_WEIGHTS_UNIFORM, BP_GRID_SYMMETRIC, 2.5f, BP_GROUPS_CHANNEL},
    {3, 1.0f, BP_SELECT_NONE, BP_WEIGHTS_RMS, BP_GRID_ZERO, 3.0f, BP_GROUPS_SAMPLE},
};

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

/* As integers and scales the activation gradient is the same floats, and so is dw. */
static void check_sums(struct fixture *f, const struct bp_quant *da, uint32_t step,
                       const float *masked) {
    const struct bp_conv_shape *s = &f->shape;
    struct bp_grad_source source = {.rows = rows_of_g, .context = f, .scratch_bytes = 1};
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
                      NULL, &sums);
    for (size_t i = 0; i < s->n * elements; i++) {
        float value = sums.scale[i / elements] * (float)sums.sums[i];
        assert_memory_equal(&value, &f->dx[i], sizeof value);
    }
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
    struct fixture f;
    set_up(&f, &shape, &da, quant, tier, threads);
    bp_bconv_forward(f.op, f.exec, shape.n, f.x, f.y, NULL);
    check_forward(&f);
    struct bp_grad_source source = {.rows = rows_of_g, .context = &f, .scratch_bytes = 1};
    for (uint32_t step = 0; step < 2; step++) {
        const float *masked = step == 1 ? f.w : NULL;
        bp_bconv_backward(f.op, f.exec, shape.n, f.x, f.mask, &source, 99, 3, step, masked, f.dx,
                          f.dw, NULL, NULL);
        struct operand *want_da = operands_da(&f, &da, 99, 3, step);
        struct operand *want_dw = operands_dw(&f, quant, 99, 3, step);
        check_backward(&f, want_da, want_dw, masked);
        check_sums(&f, &da, step, masked);
        bp_free(want_da);
        bp_free(want_dw);
    }
    tear_down(&f);
}

static void test_products(void **state) {
    (void)state;
    for (int tier = 0; tier < BP_TIER_COUNT; tier++) {
        if (!bp_cpu_has((enum bp_tier)tier))
            continue;
        for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
            for (size_t j = 0; j < sizeof quants / sizeof quants[0]; j++)
                run_case(shapes[i], &quants[j], (enum bp_tier)tier, 1 + (int)((i + j) % 3));
    }
}

/* Only what 16 bits hold, on a grid whose codes need no offset. */
static void test_where_sums_are_given(void **state) {
    (void)state;
    const struct bp_quant four = {.bits = 4, .grid = BP_GRID_ZERO};
    const struct bp_quant eight = {.bits = 8, .grid = BP_GRID_ZERO};
    const struct bp_quant offset = {.bits = 4, .grid = BP_GRID_MINMAX};
    const struct bp_quant symmetric = {.bits = 1, .grid = BP_GRID_SYMMETRIC};
    struct bp_conv_shape shape = {.k = 520, .r = 3}; /* 520 * 9 * 7 = 32760 */
    assert_true(bp_bconv_gives_sums(&shape, &four));
    assert_false(bp_bconv_gives_sums(&shape, &eight));
    assert_false(bp_bconv_gives_sums(&shape, &offset));
    assert_false(bp_bconv_gives_sums(&shape, &symmetric));
    shape.k = 521;
    assert_false(bp_bconv_gives_sums(&shape, &four));
    shape.k = 28; /* 28 * 9 * 127 = 32004 */
    assert_true(bp_bconv_gives_sums(&shape, &eight));
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
        struct fixture f[RUNS];
        for (size_t i = 0; i < RUNS; i++) {
            set_up(&f[i], &shape, &quants[q], &quants[q], bp_cpu_best(), threads[i]);
            struct bp_grad_source source = {
                .rows = rows_of_g, .context = &f[i], .scratch_bytes = 1};
            bp_bconv_backward(f[i].op, f[i].exec, 7, f[i].x, f[i].mask, &source, 5, 0, 8, NULL,
                              f[i].dx, f[i].dw, NULL, NULL);
        }
        for (size_t i = 1; i < RUNS; i++) {
            assert_memory_equal(f[0].dx, f[i].dx, 7 * 36 * 40 * sizeof(float));
            assert_memory_equal(f[0].dw, f[i].dw, 48 * 9 * 40 * sizeof(float));
        }
        for (size_t i = 0; i < RUNS; i++)
            tear_down(&f[i]);
    }
}

/* Who asks which samples were kept gets the others' part of dx back as it was. */
static void test_leaves_dropped_samples(void **state) {
    (void)state;
    struct bp_conv_shape shape;
    struct fixture f;
    const size_t of_sample = 25 * 12;
    assert_int_equal(bp_conv_shape_set(&shape, 9, 5, 5, 12, 8, 3, 1, 1), BP_OK);
    set_up(&f, &shape, &quants[0], &quants[0], bp_cpu_best(), 2);
    struct bp_grad_source source = {.rows = rows_of_g, .context = &f, .scratch_bytes = 1};
    float *all = op_data_take(9 * of_sample * sizeof(float));
    uint8_t kept[9];
    bp_bconv_backward(f.op, f.exec, 9, f.x, f.mask, &source, 5, 0, 8, NULL, all, f.dw, NULL, NULL);
    memset(f.dx, 0xa5, 9 * of_sample * sizeof(float));
    bp_bconv_backward(f.op, f.exec, 9, f.x, f.mask, &source, 5, 0, 8, NULL, f.dx, f.dw,
                      &(struct bp_bconv_zeros){kept, NULL}, NULL);
    size_t count = 0;
    for (size_t n = 0; n < 9; n++) {
        float *dx = f.dx + n * of_sample, zero = 0.0f;
        assert_int_equal(kept[n], bp_bconv_groups_da(f.op)[n].kept);
        count += kept[n];
        for (size_t i = 0; !kept[n] && i < of_sample; i++) {
            assert_memory_equal(&all[n * of_sample + i], &zero, sizeof zero);
            dx[i] = dx[i] == 0.0f ? 1.0f : 0.0f; /* what stood there was not zero */
        }
        assert_memory_equal(all + n * of_sample, dx, of_sample * sizeof(float));
    }
    assert_true(count > 0 && count < 9);
    bp_free(all);
    tear_down(&f);
}

/* Who asks which rows of dw are zero gets these back as they were; `all` is dw with the zeros. */
static size_t check_zero_rows(const struct fixture *f, const uint8_t *rows, const float *all) {
    size_t row = f->taps * f->shape.c, count = 0;
    float *untouched = op_data_take(row * sizeof(float)),
          *zeros = op_data_take(row * sizeof(float));
    memset(untouched, 0xa5, row * sizeof(float));
    for (size_t k = 0; k < f->shape.k; k++) {
        const float *dw = f->dw + k * row;
        count += rows[k];
        assert_memory_equal(dw, rows[k] ? untouched : all + k * row, row * sizeof(float));
        if (rows[k])
            assert_memory_equal(all + k * row, zeros, row * sizeof(float));
    }
    bp_free(untouched);
    bp_free(zeros);
    return count;
}

static void test_leaves_zero_rows(void **state) {
    (void)state;
    struct bp_conv_shape shape;
    enum { ROW = 9 * 12, K = 16, STEPS = 4 };
    assert_int_equal(bp_conv_shape_set(&shape, 9, 5, 5, 12, K, 3, 1, 1), BP_OK);
    for (int i = 0; i < 2 * BP_TIER_COUNT; i++) { /* products on words and by lookup */
        struct bp_quant dw = quants[0];
        struct fixture f;
        int by_channel = i % 2;
        dw.groups = by_channel ? BP_GROUPS_CHANNEL : BP_GROUPS_SAMPLE;
        if (!bp_cpu_has((enum bp_tier)(i / 2)))
            continue;
        set_up(&f, &shape, &quants[0], &dw, (enum bp_tier)(i / 2), 2);
        struct bp_grad_source source = {.rows = rows_of_g, .context = &f, .scratch_bytes = 1};
        uint8_t rows[K];
        const struct bp_bconv_zeros zeros = {NULL, rows};
        float *all = op_data_take(K * ROW * sizeof(float));
        size_t zero_rows = 0;
        for (uint32_t step = 0; step < STEPS; step++) {
            if (step == STEPS - 1) /* no group has a chance */
                memset(f.g, 0, 9 * 25 * K * sizeof(float));
            memset(all, 0xa5, K * ROW * sizeof(float));
            memset(f.dw, 0xa5, K * ROW * sizeof(float));
            memset(rows, 7, K);
            bp_bconv_backward(f.op, f.exec, 9, f.x, f.mask, &source, 5, 0, step, f.w, f.dx, all,
                              NULL, NULL);
            bp_bconv_backward(f.op, f.exec, 9, f.x, f.mask, &source, 5, 0, step, f.w, f.dx, f.dw,
                              &zeros, NULL);
            zero_rows += check_zero_rows(&f, rows, all);
            for (size_t k = 0; by_channel && k < K; k++)
                assert_int_equal(rows[k], !bp_bconv_groups_dw(f.op)[k].kept);
        }
        assert_true(by_channel ? zero_rows > K && zero_rows < STEPS * K : zero_rows == K);
        bp_free(all);
        tear_down(&f);
    }
}

/* A gradient of zeros, and one with a single constant group, are exact. */
static void test_degenerate_gradients(void **state) {
    (void)state;
    struct bp_conv_shape shape;
    assert_int_equal(bp_conv_shape_set(&shape, 4, 4, 4, 16, 8, 3, 1, 1), BP_OK);
    for (size_t j = 0; j < sizeof quants / sizeof quants[0]; j++) {
        struct fixture f;
        struct bp_quant da = quants[j];
        da.groups = BP_GROUPS_SAMPLE;
        set_up(&f, &shape, &da, &quants[j], bp_cpu_best(), 2);
        struct bp_grad_source source = {.rows = rows_of_g, .context = &f, .scratch_bytes = 1};
        memset(f.g, 0, 4 * 16 * 8 * sizeof(float));
        bp_bconv_backward(f.op, f.exec, 4, f.x, f.mask, &source, 5, 0, 8, NULL, f.dx, f.dw, NULL,
                          NULL);
        for (size_t i = 0; i < 4 * 16 * 16; i++)
            assert_true(f.dx[i] == 0.0f);
        for (size_t i = 0; i < 8 * 9 * 16; i++)
            assert_true(f.dw[i] == 0.0f);
        for (size_t i = 0; i < 16 * 8; i++)
            f.g[2 * 16 * 8 + i] = 0.5f; /* sample 2 is constant */
        bp_bconv_backward(f.op, f.exec, 4, f.x, f.mask, &source, 5, 0, 9, NULL, f.dx, f.dw, NULL,
                          NULL);
        struct operand *da_operands = operands_da(&f, &da, 5, 0, 9);
        for (size_t i = 0; quants[j].clip == 0.0f && i < 16 * 8; i++)
            assert_true(fabs(da_operands[2 * 16 * 8 + i].value - 0.5) < 1e-6);
        bp_free(da_operands);
        tear_down(&f);
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_where_sums_are_given),
        cmocka_unit_test(test_products),
        cmocka_unit_test(test_threads_and_partial_batch),
        cmocka_unit_test(test_leaves_dropped_samples),
        cmocka_unit_test(test_leaves_zero_rows),
        cmocka_unit_test(test_degenerate_gradients),
        cmocka_unit_test(test_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
