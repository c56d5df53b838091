/* The self-test of a machine (bp_self_test in the public header): every tier must train to the
 * bytes of the C tier with one thread. Here with a way to break a kernel, so that tests see that
 * the self-test sees it. */
#ifndef BP_TRAIN_SELF_TEST_H
#define BP_TRAIN_SELF_TEST_H

#include "base/cpu.h"
#include "kernels/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Called with the table of a tier before a network is built on it; may change entries. */
typedef void bp_self_test_change(void *user, enum bp_tier tier, int threads,
                                 struct bp_kernels *kernels);

/* bp_self_test; `change` may be NULL. */
bp_status bp_self_test_run(bp_self_test_change *change, void *user, bp_self_test_result *out);

#ifdef __cplusplus
}
#endif
#endif
