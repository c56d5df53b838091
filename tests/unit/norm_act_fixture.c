#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/rng.h"
#include "unit/norm_act_fixture.h"
#include "unit/op_data.h"

static void fill(struct norm_act_fixture *f) {
    for (size_t i = 0; i < f->in_count; i++) {
        float v = 300.0f * op_data_number(1, i) + 20.0f;
        size_t pixel = i / f->shape.c, corner = pixel / f->shape.w % f->shape.h % 2 * 2;
        corner += pixel % f->shape.w % 2; /* no ties in a pool, no zeros: no kinks */
        if (f->shape.input_i16)
            ((int16_t *)f->y)[i] = (int16_t)(((int)v / 4 == 0 ? 4 : (int)v / 4 * 4) + (int)corner);
        else
            ((float *)f->y)[i] = v / 100.0f;
        f->y_double[i] =
            f->shape.input_i16 ? (double)((int16_t *)f->y)[i] : (double)((float *)f->y)[i];
    }
    for (size_t i = 0; i < f->out_count; i++) {
        f->branch[i] = op_data_number(2, i);
        f->g[i] = op_data_number(3, i);
    }
    /* an affine that is alpha alone has to bring integers to the order of 1 */
    float unit = f->shape.affine == BP_AFFINE_SCALE && f->shape.input_i16 ? 0.01f : 1.0f;
    for (size_t j = 0; j < f->shape.c; j++) {
        f->weight[j] = unit * (1.0f + 0.5f * op_data_number(4, j)) * (j % 3 == 2 ? -1.0f : 1.0f);
        f->bias[j] = 0.5f * op_data_number(5, j);
        f->slope[j] = 0.25f + 0.2f * op_data_number(6, j);
        f->mean[j] = (20.0f + 20.0f * op_data_number(7, j)) / (f->shape.input_i16 ? 1.0f : 100.0f);
        f->var[j] = (3.0f + op_data_number(8, j)) * (f->shape.input_i16 ? 1e4f : 1.0f);
    }
}

void norm_act_set_up(struct norm_act_fixture *f, const struct bp_norm_act_shape *shape, size_t n,
                     int residual, enum bp_tier tier, int threads) {
    memset(f, 0, sizeof *f);
    f->shape = *shape;
    f->residual = residual;
    f->n = n;
    f->oh = shape->max_pool ? shape->h / 2 : shape->window_pool ? (shape->h + 1) / 2 : shape->h;
    f->ow = shape->max_pool ? shape->w / 2 : shape->window_pool ? (shape->w + 1) / 2 : shape->w;
    f->cw = bp_words(shape->c);
    f->in_count = n * shape->h * shape->w * shape->c;
    f->out_count = n * f->oh * f->ow * shape->c;
    f->bits_count = n * (f->oh + 2) * (f->ow + 2) * f->cw;
    f->mask_count = n * f->oh * f->ow * f->cw;
    assert_int_equal(bp_exec_create(&f->exec, tier, threads), BP_OK);
    assert_int_equal(bp_plan_create(&f->plan), BP_OK);
    assert_int_equal(bp_norm_act_create(&f->op, f->exec, f->plan, shape, "test", 0, 0, 1), BP_OK);
    assert_int_equal(bp_plan_allocate(f->plan, "a test"), BP_OK);
    assert_int_equal(bp_exec_allocate(f->exec), BP_OK);
    f->y = op_data_take(f->in_count * sizeof(float));
    f->y_double = op_data_take(f->in_count * sizeof(double));
    f->branch = op_data_take(f->out_count * sizeof(float));
    f->g = op_data_take(f->out_count * sizeof(float));
    f->out = op_data_take(f->out_count * sizeof(float));
    f->dx = op_data_take(f->in_count * sizeof(float));
    f->bits = op_data_take(f->bits_count * sizeof(uint64_t));
    f->mask = op_data_take(f->mask_count * sizeof(uint64_t));
    /* the buffers come from a shared arena: anything may stand there */
    memset(f->bits, 0xa5, f->bits_count * sizeof(uint64_t));
    memset(f->mask, 0xa5, f->mask_count * sizeof(uint64_t));
    fill(f);
}

void norm_act_tear_down(struct norm_act_fixture *f) {
    void *blocks[] = {f->y, f->y_double, f->branch, f->g, f->out, f->dx, f->bits, f->mask};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++)
        bp_free(blocks[i]);
    bp_norm_act_destroy(f->op);
    bp_plan_destroy(f->plan);
    bp_exec_destroy(f->exec);
}

static struct bp_norm_act_params params_of(struct norm_act_fixture *f) {
    return (struct bp_norm_act_params){.weight = f->weight,
                                       .bias = f->bias,
                                       .slope = f->slope,
                                       .running_mean = f->mean,
                                       .running_var = f->var};
}

void norm_act_run_forward(struct norm_act_fixture *f, int training) {
    struct bp_norm_act_params params = params_of(f);
    struct bp_norm_act_out out = {.out = f->out};
    if (f->shape.sign_out)
        out = (struct bp_norm_act_out){.bits = f->bits, .mask = f->mask};
    bp_norm_act_forward(f->op, f->exec, f->n, f->y, f->residual ? f->branch : NULL, &params,
                        training, &out);
}

void norm_act_run_backward_of(struct norm_act_fixture *f, const struct bp_gradient *g) {
    struct bp_norm_act_params params = params_of(f);
    struct bp_norm_act_grads grads = {f->d_weight, f->d_bias, f->d_slope};
    bp_norm_act_backward_sums(f->op, f->exec, f->n, f->y, g, &params, &grads);
    bp_norm_act_backward_all(f->op, f->exec, f->n, f->dx, 0);
}

void norm_act_run_backward(struct norm_act_fixture *f, const uint8_t *kept) {
    norm_act_run_backward_of(f, &(struct bp_gradient){.floats = f->g, .kept = kept});
}
