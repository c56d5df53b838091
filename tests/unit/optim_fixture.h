/* Four parameters with an optimizer, for its tests. Include after cmocka.h. */
#ifndef BP_TESTS_OPTIM_FIXTURE_H
#define BP_TESTS_OPTIM_FIXTURE_H

#include "train/optim.h"

enum { N_PARAMS = 4, LARGEST = 9002 };
extern const size_t optim_counts[N_PARAMS];
extern const unsigned optim_flags[N_PARAMS]; /* latent; no decay; head; head without decay */

struct fixture {
    struct bp_param params[N_PARAMS], *list[N_PARAMS];
    struct bp_exec *exec;
    struct bp_optim *optim;
};

/* Element i of the gradient of step t = 1, 2, ... (before fixture_gradients scales it); t = 0: of
 * the first values. */
float fixture_normal(size_t param, uint64_t t, size_t i);

/* Fails the test on errors. Moments are zero. */
void fixture_init(struct fixture *f, int threads);
void fixture_free(struct fixture *f);

/* The gradients of step t. */
void fixture_gradients(struct fixture *f, uint64_t t);

#endif
