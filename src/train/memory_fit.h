/* Fitting a run into memory: what it may take, the batch of --batch auto, and what is left for
 * decoded pictures. */
#ifndef BP_TRAIN_MEMORY_FIT_H
#define BP_TRAIN_MEMORY_FIT_H

#include "data/dataset.h"
#include "train/memory_need.h"

#ifdef __cplusplus
extern "C" {
#endif

/* --batch auto takes one of the multiples of BP_BATCH_STEP from there to BP_BATCH_MOST. */
enum { BP_BATCH_STEP = 8, BP_BATCH_MOST = 128 };

/* Bytes that a run may take: --max-mem, or half of what the process may use; never more than all of
 * that. */
size_t bp_memory_allowed(const struct bp_settings *settings);

/* The largest batch, of at most `train` images, whose forecast with `data` bytes beside the network
 * fits into `allowed`; its sums in *sums. A training part smaller than BP_BATCH_STEP is one batch.
 * config->batch does not matter. BP_RESOURCE if none fits: says what the smallest one needs. */
bp_status bp_batch_choose(const struct bp_settings *settings, const struct bp_graph_config *config,
                          size_t train, size_t val, size_t data, size_t allowed, size_t *batch,
                          bp_memory_sums *sums);

#ifdef __cplusplus
}
#endif
#endif
