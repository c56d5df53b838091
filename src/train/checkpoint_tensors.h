/* The inner seam of checkpoints: checkpoint_head.c reads descriptions, checkpoint.c tensors. */
#ifndef BP_TRAIN_CHECKPOINT_TENSORS_H
#define BP_TRAIN_CHECKPOINT_TENSORS_H

#include "train/checkpoint.h"

/* Copies the tensors of a file into a graph and its averages; `path` is for messages. */
bp_status bp_checkpoint_load_tensors(const struct bp_safetensors *file, const char *path,
                                     struct bp_graph *graph, struct bp_average *average,
                                     int with_moments);

const struct bp_safetensors *bp_checkpoint_file_of(const struct bp_checkpoint *checkpoint);
const char *bp_checkpoint_path_of(const struct bp_checkpoint *checkpoint);

#endif
