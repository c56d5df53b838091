/* Finished models: evaluation and description (bp_eval and bp_info of the public header). */
#ifndef BP_TRAIN_MODEL_EVAL_H
#define BP_TRAIN_MODEL_EVAL_H

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The checkpoint that `path` means: itself, or of a run folder `preferred` ("best.ckpt"), else the
 * other one. */
bp_status bp_model_path(const char *path, const char *preferred, char out[BP_PATH_BYTES]);

/* Copies a list of class names; bp_names_free. */
bp_status bp_names_copy(char ***out, char *const *names, size_t count);
void bp_names_free(char **names, size_t count);

#ifdef __cplusplus
}
#endif
#endif
