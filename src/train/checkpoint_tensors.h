/* The inner seam of checkpoints: checkpoint_head.c reads descriptions, checkpoint.c tensors. */
#ifndef BP_TRAIN_CHECKPOINT_TENSORS_H
#define BP_TRAIN_CHECKPOINT_TENSORS_H

#include "train/checkpoint.h"

/* Copies the tensors of a file into a graph; `path` is for messages. */
bp_status bp_checkpoint_load_tensors(const struct bp_safetensors *file, const char *path,
                                     struct bp_graph *graph, int with_moments);

#endif
