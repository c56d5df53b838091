/* Optimizers against references in double, written from the definitions. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/bits.h"
#include "base/memory.h"
#include "optim_fixture.h"

enum { STEPS = 12 };

/* The state of the reference. */
static double ref_value[N_PARAMS][LARGEST], ref_m[N_PARAMS][LARGEST], ref_v[N_PARAMS][LARGEST];

static double reference_norm(const struct fixture *f, int freeze_body) {
    double sum = 0;
    for (size_t p = 0; p < N_PARAMS; p++) {
        for (size_t i = 0; i < optim_counts[p]; i++)
            if (!freeze_body || (optim_flags[p] & BP_PARAM_HEAD))
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
        int head = (optim_flags[p] & BP_PARAM_HEAD) != 0;
        if (c->freeze_body && !head)
            continue;
        double lr = (head && c->head_lr > 0 ? c->head_lr : c->lr) * factor;
        double decay = (optim_flags[p] & BP_PARAM_NO_DECAY) ? 0 : c->weight_decay;
        for (size_t i = 0; i < optim_counts[p]; i++) {
            double *w = &ref_value[p][i];
            reference_element(c, lr, decay, clip * (double)f->params[p].grad[i], (double)t, w,
                              &ref_m[p][i], &ref_v[p][i]);
            if (c->clamp_latent && (optim_flags[p] & BP_PARAM_LATENT))
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
        for (size_t i = 0; i < optim_counts[p]; i++)
            ref_value[p][i] = (double)f.params[p].value[i];
    }
    long requests = bp_memory_requests();
    for (uint64_t t = 1; t <= STEPS; t++) {
        double factor = 1 - 0.05 * (double)t;
        struct bp_optim_result result;
        fixture_gradients(&f, t);
        bp_optim_step(f.optim, f.exec, c, factor, t, &result);
        reference_step(&f, c, factor, t);
        assert_true(result.finite);
        double norm = reference_norm(&f, c->freeze_body);
        assert_true(fabs(result.grad_norm - norm) <= 1e-12 * norm);
    }
    assert_int_equal(bp_memory_requests(), requests);
    for (size_t p = 0; p < N_PARAMS; p++) {
        for (size_t i = 0; i < optim_counts[p]; i++) {
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
                fixture_gradients(&f[known], t);
                for (size_t i = 0; i < optim_counts[0]; i++)
                    if (zero[i / ROW])
                        f[known].params[0].grad[i] = known ? NAN : 0.0f;
                bp_optim_step(f[known].optim, f[known].exec, &c, 1, t, &result[known]);
            }
        }
        assert_true(fabs(result[0].grad_norm - result[1].grad_norm) < 1e-12 * result[0].grad_norm);
        for (size_t p = 0; p < N_PARAMS; p++)
            assert_memory_equal(f[0].params[p].value, f[1].params[p].value,
                                optim_counts[p] * sizeof(float));
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
        fixture_gradients(&one, t);
        bp_optim_step(one.optim, one.exec, &c, 1, t, &a);
    }
    for (int threads = 2; threads <= 5; threads++) {
        struct fixture many;
        fixture_init(&many, threads);
        for (uint64_t t = 1; t <= 3; t++) {
            fixture_gradients(&many, t);
            bp_optim_step(many.optim, many.exec, &c, 1, t, &b);
        }
        assert_memory_equal(&a.grad_norm, &b.grad_norm, sizeof a.grad_norm);
        for (size_t p = 0; p < N_PARAMS; p++)
            assert_memory_equal(one.params[p].value, many.params[p].value,
                                optim_counts[p] * sizeof(float));
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
        assert_int_equal(bp_alloc_array(&p->signs, optim_counts[0] / row * words, 8, "test"),
                         BP_OK);
        p->sign_row = row;
        bp_optim_destroy(f.optim);
        assert_int_equal(bp_optim_create(&f.optim, f.list, N_PARAMS), BP_OK);
        bp_optim_config_default(&c, BP_OPTIM_ADAM);
        c.lr = 0.5;
        c.clamp_latent = 1;
        fixture_gradients(&f, 1);
        bp_optim_step(f.optim, f.exec, &c, 1, 1, &result);
        for (size_t i = 0; i < optim_counts[0]; i++)
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
        fixture_gradients(&f, 1);
        f.params[0].grad[9000] = bad[i];
        struct bp_optim_result result;
        bp_optim_step(f.optim, f.exec, &c, 1, 1, &result);
        assert_false(result.finite);
        for (size_t p = 0; p < N_PARAMS; p++) {
            for (size_t j = 0; j < optim_counts[p]; j++) {
                assert_true(f.params[p].value[j] == fixture_normal(p, 0, j));
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
    for (long n = 0; n < 3; n++) {
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_zero_rows),    cmocka_unit_test(test_formulas),
        cmocka_unit_test(test_options),      cmocka_unit_test(test_threads),
        cmocka_unit_test(test_signs),        cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_config_check), cmocka_unit_test(test_create_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
