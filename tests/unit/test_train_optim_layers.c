/* The optimizer along with the backward pass: layer by layer the same as all at once, and what a
 * gradient that is not finite leaves as it was. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "optim_fixture.h"

/* Each parameter is a layer; the gradients of the larger two are gone after their layer. */
static void make_layers(struct fixture *f, int share) {
    for (size_t p = 0; p < N_PARAMS; p++) {
        f->params[p].layer = p;
        f->params[p].grad_shared = share && (p == 0 || p == 2);
    }
}

static int update_layer(struct bp_param_updater *updater, size_t layer) {
    const struct bp_layer of = {.index = (int)layer};
    return updater->update(updater, &of);
}

static void expect_same_state(const struct fixture *a, const struct fixture *b, size_t p) {
    const struct bp_param *x = &a->params[p], *y = &b->params[p];
    assert_memory_equal(x->value, y->value, optim_counts[p] * sizeof(float));
    assert_memory_equal(x->moment1, y->moment1, optim_counts[p] * sizeof(float));
    assert_memory_equal(x->moment2, y->moment2, optim_counts[p] * sizeof(float));
}

static void compare_by_layer(const struct bp_optim_config *c) {
    struct bp_optim_result together, result;
    struct fixture whole, layers;
    fixture_init(&whole, 1);
    fixture_init(&layers, 2);
    make_layers(&layers, c->clip_norm <= 0);
    for (uint64_t t = 1; t <= 3; t++) {
        fixture_gradients(&whole, t);
        fixture_gradients(&layers, t);
        struct bp_param_updater *updater =
            bp_optim_begin(layers.optim, layers.exec, c, 0.5 * (double)t, t);
        for (size_t p = N_PARAMS; p-- > 0;) {
            const struct bp_param *param = &layers.params[p];
            assert_true(update_layer(updater, p));
            for (size_t i = 0; param->grad_shared && i < param->count; i++)
                param->grad[i] = NAN;
            if (!param->grad_shared) /* not yet updated */
                expect_same_state(&whole, &layers, p);
        }
        bp_optim_step(whole.optim, whole.exec, c, 0.5 * (double)t, t, &together);
        for (size_t p = 0; p < N_PARAMS; p++)
            if (layers.params[p].grad_shared)
                expect_same_state(&whole, &layers, p);
        bp_optim_end(layers.optim, &result);
        assert_true(result.finite && result.grad_norm == together.grad_norm);
        for (size_t p = 0; p < N_PARAMS; p++)
            expect_same_state(&whole, &layers, p);
    }
    fixture_free(&whole);
    fixture_free(&layers);
}

static void test_by_layer(void **state) {
    (void)state;
    for (int kind = BP_OPTIM_SGD; kind <= BP_OPTIM_ADAMW; kind++) {
        struct bp_optim_config c;
        bp_optim_config_default(&c, (enum bp_optim_kind)kind);
        c.weight_decay = 0.1;
        c.head_lr = 0.02;
        compare_by_layer(&c);
        c.clamp_latent = 1;
        compare_by_layer(&c);
        c.freeze_body = 1;
        compare_by_layer(&c);
        c.freeze_body = 0;
        c.clip_norm = 2; /* nothing may be updated before the norm is known */
        compare_by_layer(&c);
    }
}

/* Is the parameter as it was at the begin? */
static int is_untouched(const struct fixture *f, size_t p) {
    const struct bp_param *param = &f->params[p];
    int same = 1;
    for (size_t i = 0; i < optim_counts[p]; i++)
        same &= param->value[i] == fixture_normal(p, 0, i) && param->moment1[i] == 0 &&
                param->moment2[i] == 0;
    return same;
}

/* What comes after the parameter with the bad gradient stays as it is, and that one too. */
static void test_not_finite_by_layer(void **state) {
    (void)state;
    for (size_t bad = 0; bad < N_PARAMS; bad++) {
        struct bp_optim_config c;
        struct bp_optim_result result;
        struct fixture f;
        bp_optim_config_default(&c, BP_OPTIM_ADAM);
        fixture_init(&f, 2);
        make_layers(&f, 1);
        fixture_gradients(&f, 1);
        f.params[bad].grad[optim_counts[bad] - 1] = bad % 2 ? INFINITY : NAN;
        int shared = f.params[bad].grad_shared, good = 1;
        struct bp_param_updater *updater = bp_optim_begin(f.optim, f.exec, &c, 1, 1);
        for (size_t p = N_PARAMS; p-- > 0;) {
            good = good && !(shared && p == bad);
            assert_int_equal(update_layer(updater, p), good);
            assert_int_equal(is_untouched(&f, p), !good || !f.params[p].grad_shared);
        }
        bp_optim_end(f.optim, &result);
        assert_false(result.finite || isfinite(result.grad_norm));
        for (size_t p = 0; p < N_PARAMS; p++)
            assert_int_equal(is_untouched(&f, p), !f.params[p].grad_shared || (shared && p <= bad));
        for (size_t p = 0; p < N_PARAMS; p++)
            f.params[p].grad[optim_counts[p] - 1] = 0;
        bp_optim_begin(f.optim, f.exec, &c, 1, 1); /* the next step knows nothing of it */
        bp_optim_end(f.optim, &result);
        assert_true(result.finite);
        fixture_free(&f);
    }
}

/* The latent parameter's gradient as integers, five rows of which one is zero and not written, and
 * as the floats that they stand for. */
enum { ROWS = 5, ROW = LARGEST / ROWS };

static void make_sums(struct fixture *sums, struct fixture *floats, uint8_t zero[ROWS],
                      float scale[ROWS], size_t largest) {
    struct bp_param *of_sums = &sums->params[0], *of_floats = &floats->params[0];
    int16_t *sum = (int16_t *)(void *)of_sums->grad;
    for (size_t i = 0; i < LARGEST; i++)
        sum[i] = (int16_t)(lroundf(fixture_normal(0, 9, i) * 100) % (long)largest);
    of_sums->dims[0] = of_floats->dims[0] = ROWS;
    of_sums->count = of_floats->count = ROWS * ROW;
    of_sums->grad_zero = of_floats->grad_zero = zero;
    of_sums->grad_scale = scale;
    of_sums->grad_is_sums = 1;
    for (size_t i = 0; i < ROWS * ROW; i++)
        of_floats->grad[i] =
            fabsf(of_floats->value[i]) < 1.0f ? scale[i / ROW] * (float)sum[i] : 0.0f;
}

static void compare_sums(float largest_scale, size_t largest, int finite) {
    for (int kind = BP_OPTIM_SGD; kind <= BP_OPTIM_ADAMW; kind++) {
        uint8_t zero[ROWS] = {0, 0, 1, 0, 0};
        float scale[ROWS] = {0.01f, 1e-3f, NAN, -0.1f, largest_scale};
        struct bp_optim_config c;
        struct bp_optim_result of_sums, of_floats;
        struct fixture sums, floats;
        bp_optim_config_default(&c, (enum bp_optim_kind)kind);
        fixture_init(&sums, 2);
        fixture_init(&floats, 1);
        make_sums(&sums, &floats, zero, scale, largest);
        struct fixture *both[] = {&sums, &floats};
        struct bp_optim_result *results[] = {&of_sums, &of_floats};
        for (size_t i = 0; i < 2; i++) {
            make_layers(both[i], 1);
            bp_optim_destroy(both[i]->optim); /* made for other dimensions */
            assert_int_equal(bp_optim_create(&both[i]->optim, both[i]->list, N_PARAMS), BP_OK);
            struct bp_param_updater *updater =
                bp_optim_begin(both[i]->optim, both[i]->exec, &c, 1, 1);
            for (size_t p = N_PARAMS; p-- > 0;)
                assert_int_equal(update_layer(updater, p), finite || p != 0);
            bp_optim_end(both[i]->optim, results[i]);
        }
        assert_int_equal(of_sums.finite, finite);
        assert_true(!finite || of_sums.grad_norm == of_floats.grad_norm);
        for (size_t p = 0; p < N_PARAMS; p++)
            expect_same_state(&sums, &floats, p);
        fixture_free(&sums);
        fixture_free(&floats);
    }
}

static void test_sums(void **state) {
    (void)state;
    compare_sums(3.0f, 32767, 1);
    compare_sums(1e35f, 30, 1);       /* by its scale it could be too large, but it is not */
    compare_sums(1e35f, 32767, 1);    /* 300 at most */
    compare_sums(INFINITY, 32767, 0); /* found before anything is updated */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_layer),
        cmocka_unit_test(test_not_finite_by_layer),
        cmocka_unit_test(test_sums),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
