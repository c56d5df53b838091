/* norm_act with tensors in halves, and their gradients in bfloat16, against the same in floats:
 * where these hold such numbers, what is stored are the same numbers, rounded once, and all sums
 * are the same bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "unit/norm_act_fixture.h"
#include "unit/op_data.h"

struct pair {
    struct norm_act_fixture f[2]; /* floats, halves */
    uint16_t *g;
};

/* x becomes what it is as halves, which also go to out unless that is NULL. */
static void settle(const struct norm_act_fixture *f, float *x, size_t count, uint16_t *out) {
    uint16_t *bits = op_data_take(count * sizeof *bits);
    f->exec->kernels.settle_f16(x, count, bits);
    if (out != NULL)
        memcpy(out, bits, count * sizeof *bits);
    bp_free(bits);
}

/* The same as bfloat16. */
static void settle_gradient(const struct norm_act_fixture *f, float *x, size_t count,
                            uint16_t *out) {
    f->exec->kernels.round_bf16(x, count, out);
    f->exec->kernels.widen_bf16(out, count, x);
}

static void set_up(struct pair *p, const struct bp_norm_act_shape *narrow, int residual,
                   enum bp_tier tier) {
    struct bp_norm_act_shape floats = *narrow;
    floats.input_f16 = floats.output_f16 = 0;
    norm_act_set_up(&p->f[0], &floats, narrow->n, residual, tier, 1);
    norm_act_set_up(&p->f[1], narrow, narrow->n, residual, tier, 2);
    struct norm_act_fixture *f = p->f;
    p->g = op_data_take(f->out_count * sizeof *p->g);
    settle_gradient(f, f->g, f->out_count, p->g);
    settle(f, f->branch, f->out_count, narrow->output_f16 ? (uint16_t *)f[1].branch : NULL);
    if (!narrow->input_i16)
        settle(f, f->y, f->in_count, narrow->input_f16 ? f[1].y : NULL);
    if (!narrow->input_i16 && !narrow->input_f16)
        memcpy(f[1].y, f->y, f->in_count * sizeof(float));
}

static void tear_down(struct pair *p) {
    bp_free(p->g);
    norm_act_tear_down(&p->f[0]);
    norm_act_tear_down(&p->f[1]);
}

/* Who makes a tensor in bfloat16 adds it up. */
static void fill_sums(const struct pair *p) {
    const struct norm_act_fixture *f = &p->f[1];
    size_t sample = f->in_count / f->n;
    bp_channel_sums_begin(&f->op->sums, f->exec, f->n);
    for (size_t n = 0; n < f->n; n++)
        bp_channel_sums_add_f32(&f->op->sums, &f->exec->kernels, n, (float *)p->f[0].y + n * sample,
                                sample / f->shape.c);
    bp_channel_sums_end(&f->op->sums);
}

static void run_forward(struct pair *p) {
    if (p->f[1].shape.input_f16 && p->f[1].shape.affine == BP_AFFINE_BATCH_NORM)
        fill_sums(p);
    for (int i = 0; i < 2; i++)
        norm_act_run_forward(&p->f[i], 1);
}

static void check_forward(struct pair *p) {
    struct norm_act_fixture *f = p->f;
    if (f->shape.sign_out) {
        assert_memory_equal(f[0].bits, f[1].bits, f->bits_count * sizeof *f->bits);
        assert_memory_equal(f[0].mask, f[1].mask, f->mask_count * sizeof *f->mask);
        return;
    }
    uint16_t *expected = op_data_take(f->out_count * sizeof *expected);
    settle(f, f->out, f->out_count, expected);
    assert_memory_equal(f[1].out, expected, f->out_count * sizeof *expected);
    bp_free(expected);
}

static void check_dx(struct pair *p) {
    struct norm_act_fixture *f = p->f;
    if (!f[1].shape.input_f16) {
        assert_memory_equal(f[0].dx, f[1].dx, f->in_count * sizeof(float));
        return;
    }
    uint16_t *expected = op_data_take(f->in_count * sizeof *expected);
    settle_gradient(f, f->dx, f->in_count, expected); /* and what the next pass adds to */
    assert_memory_equal(f[1].dx, expected, f->in_count * sizeof *expected);
    bp_free(expected);
}

static void check_backward(struct pair *p, const uint8_t *kept) {
    struct norm_act_fixture *f = p->f;
    size_t channels = f->shape.c * sizeof(float);
    const struct bp_gradient wide = {.floats = f->g, .kept = kept},
                             narrow = {.bf16 = p->g, .kept = kept};
    norm_act_run_backward_of(&f[0], &wide);
    norm_act_run_backward_of(&f[1], f[1].shape.output_f16 ? &narrow : &wide);
    assert_memory_equal(f[0].d_weight, f[1].d_weight, channels);
    assert_memory_equal(f[0].d_bias, f[1].d_bias, channels);
    assert_memory_equal(f[0].d_slope, f[1].d_slope, channels);
    check_dx(p);
    for (int i = 0; i < 2; i++)
        bp_norm_act_backward_all(f[i].op, f[i].exec, f[i].n, f[i].dx, 1);
    check_dx(p);
}

/* Who reads dx on the way: its rows as floats. */
struct seen {
    const struct norm_act_fixture *f;
    float *rows;
};

static void see_rows(void *context, size_t n, size_t row, size_t rows,
                     const struct bp_gradient_rows *g, void *scratch) {
    (void)scratch;
    const struct seen *seen = context;
    const struct bp_norm_act_shape *s = &seen->f->shape;
    size_t count = rows * s->w * s->c;
    float *to = seen->rows + (n * s->h + row) * s->w * s->c;
    if (g->floats != NULL)
        memcpy(to, g->floats, count * sizeof *to);
    else
        seen->f->exec->kernels.widen_bf16(g->bf16, count, to);
}

/* The gradient of an average pooling (or none) is added before dx is rounded, and who reads dx sees
 * the numbers that are stored. After check_backward. */
static void check_dx_read(struct pair *p, const float *pooled, int accumulate) {
    struct norm_act_fixture *f = p->f;
    const struct bp_pool_shape pool =
        bp_pool_shape_make(BP_POOL_AVG_2X2, f->shape.h, f->shape.w, f->shape.c);
    struct seen seen = {&f[1], op_data_soiled(f->in_count * sizeof(float))};
    f[1].op->reader = (struct bp_grad_reader){.rows = see_rows, .context = &seen};
    for (int i = 0; i < 2; i++) {
        f[i].op->pooled = (struct bp_pooled_gradient){pool, pooled};
        bp_norm_act_backward_all(f[i].op, f[i].exec, f[i].n, f[i].dx, accumulate);
        f[i].op->pooled.g = NULL;
    }
    f[1].op->reader.rows = NULL;
    check_dx(p);
    float *stored = op_data_take(f->in_count * sizeof *stored);
    f->exec->kernels.widen_bf16((const uint16_t *)(const void *)f[1].dx, f->in_count, stored);
    assert_memory_equal(seen.rows, stored, f->in_count * sizeof *stored);
    bp_free(stored);
    bp_free(seen.rows);
}

static void check_all_dx_read(struct pair *p) {
    const struct norm_act_fixture *f = p->f;
    float *pooled = op_data_numbers(11, f->in_count);
    for (int accumulate = 0; accumulate < 2; accumulate++) {
        check_dx_read(p, NULL, accumulate);
        check_dx_read(p, pooled, accumulate);
    }
    bp_free(pooled);
}

/* Gradient rows in bfloat16 are those in floats, rounded; more of them at once than are walked. */
static void check_narrow_rows(const struct norm_act_fixture *f) {
    const struct bp_norm_act_shape *s = &f->shape;
    size_t row = s->w * s->c, image = s->h * row;
    float *rows = op_data_soiled(image * sizeof *rows);
    uint16_t *expected = op_data_soiled(image * sizeof *expected);
    uint16_t *narrow = op_data_soiled(image * sizeof *narrow);
    void *scratch = op_data_soiled(bp_norm_act_grad_scratch_bytes(s));
    f->op->chunk_rows = 2;
    for (size_t n = 0; n < f->n; n++) {
        bp_norm_act_grad_rows(f->op, n, 0, s->h, rows, scratch);
        f->exec->kernels.round_bf16(rows, image, expected);
        bp_norm_act_grad_rows_bf16(f->op, n, 0, s->h, narrow, scratch);
        assert_memory_equal(narrow, expected, image * sizeof *narrow);
        bp_norm_act_grad_rows_bf16(f->op, n, 2, 3, narrow, scratch);
        assert_memory_equal(narrow, expected + 2 * row, 3 * row * sizeof *narrow);
    }
    bp_free(rows);
    bp_free(expected);
    bp_free(narrow);
    bp_free(scratch);
}

static void check(const struct bp_norm_act_shape *shape, int residual, enum bp_tier tier) {
    static const uint8_t all[] = {1, 1, 1}, some[] = {1, 0, 1};
    struct pair p;
    set_up(&p, shape, residual, tier);
    run_forward(&p);
    check_forward(&p);
    check_backward(&p, all);
    if (!shape->window_pool)
        check_backward(&p, some);
    if (shape->input_f16) {
        check_all_dx_read(&p);
        check_narrow_rows(&p.f[1]);
    }
    tear_down(&p);
}

static void for_all_tiers(const struct bp_norm_act_shape *shape, int residual) {
    for (int tier = 0; tier < BP_TIER_COUNT; tier++)
        if (bp_cpu_has((enum bp_tier)tier))
            check(shape, residual, (enum bp_tier)tier);
}

/* As at the end of a block, and behind a shortcut's convolution. */
static void test_output(void **state) {
    (void)state;
    for (int i = 0; i < 16; i++) {
        struct bp_norm_act_shape shape = {.n = 3, .h = 7, .w = 10, .c = 70, .output_f16 = 1};
        shape.input_i16 = i & 1;
        shape.affine = i & 2 ? BP_AFFINE_SCALE : BP_AFFINE_BATCH_NORM;
        shape.activation = i & 4 ? BP_ACT_PRELU : BP_ACT_NONE;
        for_all_tiers(&shape, i >> 3);
    }
}

/* As at the beginning of a block, and before the head. */
static void test_input(void **state) {
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct bp_norm_act_shape shape = {.n = 3, .h = 7, .w = 10, .c = 70, .input_f16 = 1};
        shape.activation = i & 1 ? BP_ACT_PRELU : BP_ACT_NONE;
        shape.sign_out = i >> 1;
        shape.output_f16 = !shape.sign_out;
        for_all_tiers(&shape, 0);
    }
}

/* As behind a large stem: rows that are wide and many, odd sizes. */
static void test_windows(void **state) {
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct bp_norm_act_shape shape = {
            .n = 3, .h = 9, .w = 70, .c = 20, .window_pool = 1, .output_f16 = 1};
        shape.input_i16 = i & 1;
        shape.activation = i & 2 ? BP_ACT_PRELU : BP_ACT_RELU;
        for_all_tiers(&shape, 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_output),
        cmocka_unit_test(test_input),
        cmocka_unit_test(test_windows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
