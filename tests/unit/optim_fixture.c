#include "optim_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/rng.h"

const size_t optim_counts[N_PARAMS] = {LARGEST, 17, 4096, 5};
const unsigned optim_flags[N_PARAMS] = {BP_PARAM_LATENT, BP_PARAM_NO_DECAY, BP_PARAM_HEAD,
                                        BP_PARAM_HEAD | BP_PARAM_NO_DECAY};

float fixture_normal(size_t param, uint64_t t, size_t i) {
    struct bp_stream s = bp_stream_make(7, BP_RANDOM_TEST, (unsigned)param, (uint32_t)t);
    return bp_stream_normal(&s, i);
}

void fixture_init(struct fixture *f, int threads) {
    memset(f, 0, sizeof *f);
    for (size_t p = 0; p < N_PARAMS; p++) {
        struct bp_param *param = f->list[p] = &f->params[p];
        param->count = optim_counts[p];
        param->flags = optim_flags[p];
        float **arrays[] = {&param->value, &param->grad, &param->moment1, &param->moment2};
        for (size_t a = 0; a < 4; a++)
            assert_int_equal(bp_alloc_array(arrays[a], optim_counts[p], sizeof(float), "test"),
                             BP_OK);
        for (size_t i = 0; i < optim_counts[p]; i++)
            param->value[i] = fixture_normal(p, 0, i);
    }
    assert_int_equal(bp_exec_create(&f->exec, bp_cpu_best(), threads), BP_OK);
    assert_int_equal(bp_optim_create(&f->optim, f->list, N_PARAMS), BP_OK);
}

void fixture_free(struct fixture *f) {
    bp_optim_destroy(f->optim);
    bp_exec_destroy(f->exec);
    for (size_t p = 0; p < N_PARAMS; p++) {
        bp_free(f->params[p].value);
        bp_free(f->params[p].grad);
        bp_free(f->params[p].moment1);
        bp_free(f->params[p].moment2);
    }
}

void fixture_gradients(struct fixture *f, uint64_t t) {
    for (size_t p = 0; p < N_PARAMS; p++) {
        for (size_t i = 0; i < optim_counts[p]; i++)
            f->params[p].grad[i] = fixture_normal(p, t, i) * (p == 2 ? 1e-3f : 1.0f);
    }
}
