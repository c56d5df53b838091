/* Runs, from the config to result.json: bp_train and bp_resume of the public header are thin over
 * these. */
#ifndef BP_TRAIN_RUN_H
#define BP_TRAIN_RUN_H

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* See bp_train and bp_resume; result is not NULL. */
bp_status bp_run_new(const bp_config *config, bp_event_callback *callback, void *user,
                     bp_train_result *result);
bp_status bp_run_resume(const char *run, const bp_config *overrides, bp_event_callback *callback,
                        void *user, bp_train_result *result);

#ifdef __cplusplus
}
#endif
#endif
