/* A trained network, ready for the forward pass: what evaluation and prediction share. */
#ifndef BP_TRAIN_MODEL_OPEN_H
#define BP_TRAIN_MODEL_OPEN_H

#include "base/cpu.h"
#include "train/checkpoint.h"

#ifdef __cplusplus
extern "C" {
#endif

struct bp_trained {
    struct bp_checkpoint *checkpoint;
    struct bp_exec *exec;
    struct bp_graph *graph;
};

/* Opens a checkpoint, or a run folder's best one; the network is not built yet. */
bp_status bp_trained_open(struct bp_trained *trained, const char *model);

/* Builds the network for up to `batch` samples and fills it. */
bp_status bp_trained_build(struct bp_trained *trained, enum bp_tier tier, int threads,
                           size_t batch);

/* Fine at any stage of a zeroed one. */
void bp_trained_close(struct bp_trained *trained);

#ifdef __cplusplus
}
#endif
#endif
