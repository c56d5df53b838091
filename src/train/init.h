/* What a run begins with when --init names a checkpoint: which options follow from it, and which of
 * its tensors go into the new network and how. docs/METHOD.md has the mathematics, docs/FORMATS.md
 * init.json. */
#ifndef BP_TRAIN_INIT_H
#define BP_TRAIN_INIT_H

#include "train/checkpoint.h"
#include "train/config.h"

#ifdef __cplusplus
extern "C" {
#endif

struct bp_init;

/* Opens the checkpoint (of a run folder: its best one) that the config's `init` names, and gives
 * options that are not set the values that follow from it: model, width, the precision with its
 * quantizer, the size of a model of pictures, and recipe finetune. *out is NULL
 * without `init`. BP_MODEL: no checkpoint, or of another model, width or kind of precision. */
bp_status bp_init_open(struct bp_init **out, bp_config *config);
void bp_init_close(struct bp_init *init);

/* Copies what fits into a new network for `class_names` [graph->config.classes]:
 *   every tensor of the same name and shape, running statistics included;
 *   the head where the class names are the same (its rows in the new order), else it stays new;
 *   the first convolution with 1 instead of 3 input channels or 3 instead of 1, converted.
 * Anything else is another network: BP_MODEL, and the graph is as it was. */
bp_status bp_init_apply(struct bp_init *init, struct bp_graph *graph, char *const *class_names);

/* What was done, after bp_init_apply: a line each for the file and what was taken, changed, new and
 * left; NULL behind the last. */
const char *bp_init_line(const struct bp_init *init, size_t index);

/* init.json of a run folder: the same by tensor, and the content's identity. */
bp_status bp_init_write(const struct bp_init *init, const char *path);
/* BP_MODEL unless the checkpoint has the content that init.json tells. */
bp_status bp_init_check(const struct bp_init *init, const char *path);

#ifdef __cplusplus
}
#endif
#endif
