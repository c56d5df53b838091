/* Optimizers and schedules against references in double, written from the definitions. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/bits.h"
#include "base/memory.h"
#include "base/rng.h"
#include "train/optim.h"
#include "train/schedule.h"

enum { N_PARAMS = 4, STEPS = 12 };
static const size_t counts[N_PARAMS] = {9002, 17, 4096, 5};
static const unsigned flags[N_PARAMS] = {BP_PARAM_LATENT, BP_PARAM_NO_DECAY, BP_PARAM_HEAD,
                                         BP_PARAM_HEAD | BP_PARAM_NO_DECAY};

struct fixture {
    struct bp_param params[N_PARAMS], *list[N_PARAMS];
    struct bp_exec *exec;
    struct bp_optim *optim;
};

static float normal(size_t param, uint64_t step, size_t i) {
    struct bp_stream s = bp_stream_make(7, BP_RANDOM_TEST, (unsigned)param, (uint32_t)step);
    return bp_stream_normal(&s, i);
}

static void fixture_init(struct fixture *f, int threads) {
    memset(f, 0, sizeof *f);
    for (size_t p = 0; p < N_PARAMS; p++) {
        struct bp_param *param = f->list[p] = &f->params[p];
        param->count = counts[p];
        param->flags = flags[p];
        float **arrays[] = {&param->value, &param->grad, &param->moment1, &param->moment2};
        for (size_t a = 0; a < 4; a++)
            assert_int_equal(bp_alloc_array(arrays[a], counts[p], sizeof(float), "test"), BP_OK);
        for (size_t i = 0; i < counts[p]; i++)
            param->value[i] = normal(p, 0, i);
    }
    assert_int_equal(bp_exec_create(&f->exec, bp_cpu_best(), threads), BP_OK);
    assert_int_equal(bp_optim_create(&f->optim, f->list, N_PARAMS), BP_OK);
}

static void fixture_free(struct fixture *f) {
    bp_optim_destroy(f->optim);
    bp_exec_destroy(f->exec);
    for (size_t p = 0; p < N_PARAMS; p++) {
        bp_free(f->params[p].value);
        bp_free(f->params[p].grad);
        bp_free(f->params[p].moment1);
        bp_free(f->params[p].moment2);
    }
}

static void set_gradients(struct fixture *f, uint64_t t) {
    for (size_t p = 0; p < N_PARAMS; p++) {
        for (size_t i = 0; i < counts[p]; i++)
            f->params[p].grad[i] = normal(p, t, i) * (p == 2 ? 1e-3f : 1.0f);
    }
}

/* The state of the reference. */
static double ref_value[N_PARAMS][9002], ref_m[N_PARAMS][9002], ref_v[N_PARAMS][9002];

static double reference_norm(const struct fixture *f, int freeze_body) {
    double sum = 0;
    for (size_t p = 0; p < N_PARAMS; p++) {
        for (size_t i = 0; i < counts[p]; i++)
            if (!freeze_body || (flags[p] & BP_PARAM_HEAD))
                sum += pow((double)f->params[p].grad[i], 2);
    }
    return sqrt(sum);
}

static void reference_element(const struct bp_optim_config *c, double lr, double decay, double g,
                              double t, double *w, double *m, double *v) {
    switch (c->kind) {
    case BP_OPTIM_SGD:
        g += decay * *w;
        *m = t > 1 ? c->momentum * *m + g : g;
        *w -= lr * (c->nesterov ? g + c->momentum * *m : *m);
        return;
    case BP_OPTIM_ADAM:
        g += decay * *w;
        break;
    case BP_OPTIM_ADAMW:
        *w -= lr * decay * *w;
        break;
    }
    *m = c->beta1 * *m + (1 - c->beta1) * g;
    *v = c->beta2 * *v + (1 - c->beta2) * g * g;
    double m_hat = *m / (1 - pow(c->beta1, t)), v_hat = *v / (1 - pow(c->beta2, t));
    *w -= lr * m_hat / (sqrt(v_hat) + c->eps);
}

static void reference_step(const struct fixture *f, const struct bp_optim_config *c, double factor,
                           uint64_t t) {
    double clip = 1, norm = reference_norm(f, c->freeze_body);
    if (c->clip_norm > 0 && norm + 1e-6 > c->clip_norm)
        clip = c->clip_norm / (norm + 1e-6);
    for (size_t p = 0; p < N_PARAMS; p++) {
        int head = (flags[p] & BP_PARAM_HEAD) != 0;
        if (c->freeze_body && !head)
            continue;
        double lr = (head && c->head_lr > 0 ? c->head_lr : c->lr) * factor;
        double decay = (flags[p] & BP_PARAM_NO_DECAY) ? 0 : c->weight_decay;
        for (size_t i = 0; i < counts[p]; i++) {
            double *w = &ref_value[p][i];
            reference_element(c, lr, decay, clip * (double)f->params[p].grad[i], (double)t, w,
                              &ref_m[p][i], &ref_v[p][i]);
            if (c->clamp_latent && (flags[p] & BP_PARAM_LATENT))
                *w = fmax(-1, fmin(1, *w));
        }
    }
}

static void compare_with_reference(const struct bp_optim_config *c) {
    struct fixture f;
    fixture_init(&f, 2);
    memset(ref_m, 0, sizeof ref_m);
    memset(ref_v, 0, sizeof ref_v);
    for (size_t p = 0; p < N_PARAMS; p++) {
        for (size_t i = 0; i < counts[p]; i++)
            ref_value[p][i] = (double)f.params[p].value[i];
    }
    long requests = bp_memory_requests();
    for (uint64_t t = 1; t <= STEPS; t++) {
        double factor = 1 - 0.05 * (double)t;
        struct bp_optim_result result;
        set_gradients(&f, t);
        bp_optim_step(f.optim, f.exec, c, factor, t, &result);
        reference_step(&f, c, factor, t);
        assert_true(result.finite);
        double norm = reference_norm(&f, c->freeze_body);
        assert_true(fabs(result.grad_norm - norm) <= 1e-12 * norm);
    }
    assert_int_equal(bp_memory_requests(), requests);
    for (size_t p = 0; p < N_PARAMS; p++) {
        for (size_t i = 0; i < counts[p]; i++) {
            /* STEPS roundings of values up to about 5, plus those of the steps themselves. */
            double difference = fabs((double)f.params[p].value[i] - ref_value[p][i]);
            if (difference > STEPS * 1e-6)
                fail_msg("%s: parameter %zu, element %zu: %.9g, reference %.9g",
                         bp_optim_name(c->kind), p, i, (double)f.params[p].value[i],
                         ref_value[p][i]);
        }
    }
    fixture_free(&f);
}

static void test_formulas(void **state) {
    (void)state;
    struct bp_optim_config c;
    bp_optim_config_default(&c, BP_OPTIM_SGD);
    c.momentum = 0;
    compare_with_reference(&c);
    c.momentum = 0.9;
    c.weight_decay = 0.05;
    c.head_lr = 0.02;
    compare_with_reference(&c);
    c.nesterov = 1;
    compare_with_reference(&c);
    for (int kind = BP_OPTIM_ADAM; kind <= BP_OPTIM_ADAMW; kind++) {
        bp_optim_config_default(&c, (enum bp_optim_kind)kind);
        c.lr = 0.02;
        compare_with_reference(&c);
        c.weight_decay = 0.3;
        c.head_lr = 0.1;
        c.eps = 1e-3;
        compare_with_reference(&c);
    }
}

static void test_options(void **state) {
    (void)state;
    for (int kind = BP_OPTIM_SGD; kind <= BP_OPTIM_ADAMW; kind++) {
        struct bp_optim_config c;
        bp_optim_config_default(&c, (enum bp_optim_kind)kind);
        c.weight_decay = 0.1;
        c.clip_norm = 2; /* far below the norm of about 95 */
        compare_with_reference(&c);
        c.clip_norm = 1e6; /* above: no effect */
        compare_with_reference(&c);
        c.clip_norm = 0.03; /* below the head's norm alone of about 2 */
        c.freeze_body = 1;
        compare_with_reference(&c);
        c.freeze_body = 0;
        c.clip_norm = 0;
        c.clamp_latent = 1;
        compare_with_reference(&c);
    }
}

/* Rows whose gradient is known to be zero are updated as with zeros, which are not read. */
static void test_zero_rows(void **state) {
    (void)state;
    enum { ROWS = 7, ROW = 9002 / ROWS };
    static uint8_t zero[ROWS] = {1, 1, 0, 1, 0, 0, 1};
    for (int kind = BP_OPTIM_SGD; kind <= BP_OPTIM_ADAMW; kind++) {
        struct bp_optim_config c;
        struct bp_optim_result result[2];
        struct fixture f[2];
        bp_optim_config_default(&c, (enum bp_optim_kind)kind);
        c.weight_decay = 0.1;
        for (int known = 0; known < 2; known++) {
            fixture_init(&f[known], 1 + known);
            f[known].params[0].dims[0] = ROWS;
            f[known].params[0].grad_zero = known ? zero : NULL;
            for (uint64_t t = 1; t <= 3; t++) {
                set_gradients(&f[known], t);
                for (size_t i = 0; i < counts[0]; i++)
                    if (zero[i / ROW])
                        f[known].params[0].grad[i] = known ? NAN : 0.0f;
                bp_optim_step(f[known].optim, f[known].exec, &c, 1, t, &result[known]);
            }
        }
        assert_true(fabs(result[0].grad_norm - result[1].grad_norm) < 1e-12 * result[0].grad_norm);
        for (size_t p = 0; p < N_PARAMS; p++)
            assert_memory_equal(f[0].params[p].value, f[1].params[p].value,
                                counts[p] * sizeof(float));
        fixture_free(&f[0]);
        fixture_free(&f[1]);
    }
}

/* Same bytes for any number of threads. */
static void test_threads(void **state) {
    (void)state;
    struct bp_optim_config c;
    bp_optim_config_default(&c, BP_OPTIM_ADAMW);
    c.clip_norm = 1;
    struct fixture one;
    fixture_init(&one, 1);
    struct bp_optim_result a, b;
    for (uint64_t t = 1; t <= 3; t++) {
        set_gradients(&one, t);
        bp_optim_step(one.optim, one.exec, &c, 1, t, &a);
    }
    for (int threads = 2; threads <= 5; threads++) {
        struct fixture many;
        fixture_init(&many, threads);
        for (uint64_t t = 1; t <= 3; t++) {
            set_gradients(&many, t);
            bp_optim_step(many.optim, many.exec, &c, 1, t, &b);
        }
        assert_memory_equal(&a.grad_norm, &b.grad_norm, sizeof a.grad_norm);
        for (size_t p = 0; p < N_PARAMS; p++)
            assert_memory_equal(one.params[p].value, many.params[p].value,
                                counts[p] * sizeof(float));
        fixture_free(&many);
    }
    fixture_free(&one);
}

/* Latent parameters leave with their signs packed: rows that are shorter and longer than a block,
 * clamped values included. */
static void test_signs(void **state) {
    (void)state;
    static const size_t rows[] = {1, 7, 643, 4501};
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        struct fixture f;
        struct bp_optim_config c;
        struct bp_optim_result result;
        fixture_init(&f, 3);
        struct bp_param *p = &f.params[0];
        size_t row = rows[r], words = bp_words(row);
        assert_int_equal(bp_alloc_array(&p->signs, counts[0] / row * words, 8, "test"), BP_OK);
        p->sign_row = row;
        bp_optim_destroy(f.optim);
        assert_int_equal(bp_optim_create(&f.optim, f.list, N_PARAMS), BP_OK);
        bp_optim_config_default(&c, BP_OPTIM_ADAM);
        c.lr = 0.5;
        c.clamp_latent = 1;
        set_gradients(&f, 1);
        bp_optim_step(f.optim, f.exec, &c, 1, 1, &result);
        for (size_t i = 0; i < counts[0]; i++)
            assert_int_equal(bp_bit(p->signs + i / row * words, i % row), p->value[i] < 0);
        bp_free(p->signs);
        fixture_free(&f);
    }
}

static void test_not_finite(void **state) {
    (void)state;
    const float bad[] = {NAN, INFINITY, -INFINITY};
    struct bp_optim_config c;
    bp_optim_config_default(&c, BP_OPTIM_ADAM);
    for (size_t i = 0; i < 3; i++) {
        struct fixture f;
        fixture_init(&f, 2);
        set_gradients(&f, 1);
        f.params[0].grad[9000] = bad[i];
        struct bp_optim_result result;
        bp_optim_step(f.optim, f.exec, &c, 1, 1, &result);
        assert_false(result.finite);
        for (size_t p = 0; p < N_PARAMS; p++) {
            for (size_t j = 0; j < counts[p]; j++) {
                assert_true(f.params[p].value[j] == normal(p, 0, j));
                assert_true(f.params[p].moment1[j] == 0 && f.params[p].moment2[j] == 0);
            }
        }
        c.freeze_body = 1; /* the bad parameter is not trained */
        bp_optim_step(f.optim, f.exec, &c, 1, 1, &result);
        assert_true(result.finite);
        c.freeze_body = 0;
        fixture_free(&f);
    }
}

static void test_config_check(void **state) {
    (void)state;
    struct bp_optim_config good, c;
    bp_optim_config_default(&good, BP_OPTIM_SGD);
    assert_int_equal(bp_optim_config_check(&good), BP_OK);
    double *const fields[] = {&c.lr,    &c.head_lr, &c.momentum,     &c.beta1,
                              &c.beta2, &c.eps,     &c.weight_decay, &c.clip_norm};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        const double bad[] = {-0.5, (double)NAN, (double)INFINITY};
        for (size_t j = 0; j < 3; j++) {
            c = good;
            *fields[i] = bad[j];
            assert_int_equal(bp_optim_config_check(&c), BP_USAGE);
        }
    }
    c = good;
    c.momentum = 0;
    c.nesterov = 1;
    assert_int_equal(bp_optim_config_check(&c), BP_USAGE);
    enum bp_optim_kind kind;
    assert_int_equal(bp_optim_parse("adamw", &kind), BP_OK);
    assert_int_equal(kind, BP_OPTIM_ADAMW);
    assert_int_equal(bp_optim_parse("lion", &kind), BP_USAGE);
}

static void test_create_failures(void **state) {
    (void)state;
    struct fixture f;
    fixture_init(&f, 1);
    struct bp_optim *optim;
    for (long n = 0; n < 2; n++) {
        bp_memory_fail_after(n);
        assert_int_equal(bp_optim_create(&optim, f.list, N_PARAMS), BP_RESOURCE);
        assert_null(optim);
    }
    bp_memory_fail_after(-1);
    float *moment2 = f.params[3].moment2;
    f.params[3].moment2 = NULL;
    assert_int_equal(bp_optim_create(&optim, f.list, N_PARAMS), BP_INTERNAL);
    f.params[3].moment2 = moment2;
    fixture_free(&f);
}

static void assert_close(double value, double expected) {
    if (!(fabs(value - expected) <= 1e-14))
        fail_msg("%.17g, expected %.17g", value, expected);
}

static void test_schedules(void **state) {
    (void)state;
    struct bp_schedule_config c = {.kind = BP_SCHEDULE_COSINE};
    assert_int_equal(bp_schedule_check(&c), BP_OK);
    assert_close(bp_schedule_factor(&c, 0, 100), 1);
    assert_close(bp_schedule_factor(&c, 25, 100), 0.5 + sqrt(0.125));
    assert_close(bp_schedule_factor(&c, 50, 100), 0.5);
    assert_close(bp_schedule_factor(&c, 100, 100), 0);
    assert_close(bp_schedule_factor(&c, 150, 100), 0);
    c.warmup_steps = 4;
    c.min_factor = 0.2;
    for (uint64_t s = 0; s < 4; s++)
        assert_close(bp_schedule_factor(&c, (double)s, 24), 0.25 * (double)(s + 1));
    assert_close(bp_schedule_factor(&c, 4, 24), 1);
    assert_close(bp_schedule_factor(&c, 14, 24), 0.6);
    assert_close(bp_schedule_factor(&c, 24, 24), 0.2);
    assert_close(bp_schedule_factor(&c, 4, 4), 0.2); /* nothing after warm-up */
    assert_close(bp_schedule_factor(&c, 1, 2), 0.5); /* shorter than warm-up */
    c.kind = BP_SCHEDULE_CONSTANT;
    assert_close(bp_schedule_factor(&c, 0, 24), 0.25);
    assert_close(bp_schedule_factor(&c, 23, 24), 1);
}

static void test_step_schedule(void **state) {
    (void)state;
    struct bp_schedule_config c = {.kind = BP_SCHEDULE_STEP, .gamma = 0.1};
    assert_int_equal(bp_schedule_check(&c), BP_USAGE); /* no interval */
    c.every_steps = 10;
    assert_int_equal(bp_schedule_check(&c), BP_OK);
    assert_close(bp_schedule_factor(&c, 9, 100), 1);
    assert_close(bp_schedule_factor(&c, 10, 100), 0.1);
    assert_close(bp_schedule_factor(&c, 29, 100), 0.01);
    c.n_milestones = 2;
    c.milestones[0] = 5;
    c.milestones[1] = 70;
    assert_close(bp_schedule_factor(&c, 4, 100), 1);
    assert_close(bp_schedule_factor(&c, 5, 100), 0.1);
    assert_close(bp_schedule_factor(&c, 69, 100), 0.1);
    assert_close(bp_schedule_factor(&c, 70, 100), 0.01);
    c.warmup_steps = 2;
    assert_close(bp_schedule_factor(&c, 0, 100), 0.5);
    c.gamma = 0;
    assert_int_equal(bp_schedule_check(&c), BP_USAGE);
    c.gamma = 0.1;
    c.min_factor = 1.5;
    assert_int_equal(bp_schedule_check(&c), BP_USAGE);
    enum bp_schedule_kind kind;
    assert_int_equal(bp_schedule_parse("step", &kind), BP_OK);
    assert_int_equal(kind, BP_SCHEDULE_STEP);
    assert_int_equal(bp_schedule_parse("linear", &kind), BP_USAGE);
}

/* --- a run that is cut ------------------------------------------------------------------------ */

static void test_cut_schedule(void **state) {
    (void)state;
    struct bp_schedule_cut cut = {0};
    struct bp_schedule_config cosine = {.kind = BP_SCHEDULE_COSINE};
    const uint64_t planned = 1000;
    for (uint64_t step = 0; step < planned; step += 37)
        assert_true(bp_schedule_position(&cut, step, planned) == (double)step);
    /* After step 300 it is to end after 400 steps: the rest goes seven times as fast. */
    bp_schedule_cut_to(&cut, 300, 400, planned);
    assert_true(cut.step == 300 && cut.position == 300 && cut.steps == 400);
    assert_close(bp_schedule_position(&cut, 300, planned), 300);
    assert_close(bp_schedule_position(&cut, 301, planned), 307);
    assert_close(bp_schedule_position(&cut, 399, planned), 993);
    assert_close(bp_schedule_position(&cut, 400, planned), 1000);
    /* Again: from where it stands then. */
    bp_schedule_cut_to(&cut, 350, 375, planned);
    assert_close(cut.position, 650);
    assert_close(bp_schedule_position(&cut, 351, planned), 664);
    assert_close(bp_schedule_position(&cut, 375, planned), 1000);
    double before = 1;
    for (uint64_t step = 350; step < 375; step++) { /* it falls to its end, without a jump */
        double factor =
            bp_schedule_factor(&cosine, bp_schedule_position(&cut, step, planned), planned);
        assert_true(factor < before && (step == 350 || before - factor < 0.05));
        before = factor;
    }
    assert_true(before < 0.001);
    bp_schedule_cut_to(&cut, 360, 361, planned); /* to end now */
    assert_close(bp_schedule_position(&cut, 361, planned), 1000);
}

/* Whole numbers give what they gave when the function took them as such. */
static void test_step_positions(void **state) {
    (void)state;
    struct bp_schedule_config c = {.kind = BP_SCHEDULE_STEP, .gamma = 0.5};
    for (uint64_t every = 1; every < 200; every += 7) {
        c.every_steps = every;
        for (uint64_t step = 0; step < 1000; step++)
            assert_true(bp_schedule_factor(&c, (double)step, 1000) ==
                        pow(0.5, (double)(step / every)));
    }
    c.every_steps = 3;
    assert_true(bp_schedule_factor(&c, (double)UINT32_MAX - 1, UINT32_MAX) ==
                pow(0.5, (double)((UINT32_MAX - 1) / 3)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_zero_rows),    cmocka_unit_test(test_formulas),
        cmocka_unit_test(test_options),      cmocka_unit_test(test_threads),
        cmocka_unit_test(test_signs),        cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_config_check), cmocka_unit_test(test_create_failures),
        cmocka_unit_test(test_schedules),    cmocka_unit_test(test_step_schedule),
        cmocka_unit_test(test_cut_schedule), cmocka_unit_test(test_step_positions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
