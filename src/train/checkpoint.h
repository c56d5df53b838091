/* Checkpoints: safetensors files with the parameters, the running statistics and, if they are made
 * to go on from, the optimizer's moments; the texts in the header describe the network and the
 * state of the run. They hold no times and no paths: the same training gives the same bytes.
 * docs/FORMATS.md has the format. */
#ifndef BP_TRAIN_CHECKPOINT_H
#define BP_TRAIN_CHECKPOINT_H

#include "data/preprocess.h"
#include "io/safetensors.h"
#include "nn/graph.h"
#include "train/average.h"
#include "train/schedule.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How far a run is. All that a bit-exact resume needs beside the tensors. */
struct bp_progress {
    uint64_t step;      /* finished training steps */
    uint64_t eval_step; /* the step after which the last validation took place; 0: none yet */
    size_t epoch;       /* validated epochs */
    size_t best_epoch;  /* 0: none yet */
    double accuracy, loss, best_accuracy; /* of validation; -1: none yet */
    /* Sums over the current epoch's training steps. */
    double loss_sum; /* of mean loss * samples */
    uint64_t correct, seen;
    struct bp_schedule_cut cut; /* of a run of --time that could not be kept */
};

/* What a checkpoint says about itself. */
struct bp_checkpoint_head {
    char model[16], precision[8], stem[8];
    double width;
    size_t height, width_px, channels, classes;
    size_t parameters, binary_weights; /* trained numbers; of these, used by sign only */
    float mean[3], deviation[3];
    struct bp_preprocess preprocess; /* what came before; resize 0: not from pictures */
    char **class_names;              /* [classes] */
    char *config;                    /* JSON of the options, without paths */
    struct bp_progress progress;
};

/* Writes a checkpoint atomically. `average` (may be NULL) takes the place of the graph's values;
 * `preprocess` is what came before the network's input; with_moments: the optimizer's state too,
 * and beside averages the values that are trained. */
bp_status bp_checkpoint_save(const char *path, const struct bp_graph *graph,
                             const struct bp_average *average,
                             const struct bp_preprocess *preprocess, const char *config,
                             char *const *class_names, const struct bp_progress *progress,
                             int with_moments);

/* About how large such a file is, from a network that may only be planned. */
size_t bp_checkpoint_bytes(const struct bp_graph *graph, int with_average, int with_moments);

struct bp_checkpoint; /* an opened one */

/* Opens and checks a checkpoint; failures are BP_MODEL. */
bp_status bp_checkpoint_open(struct bp_checkpoint **out, const char *path);
/* The same from memory (bytes must outlive it; for fuzzing). */
bp_status bp_checkpoint_parse(struct bp_checkpoint **out, const uint8_t *bytes, size_t count,
                              const char *name);
void bp_checkpoint_close(struct bp_checkpoint *checkpoint);
const struct bp_checkpoint_head *bp_checkpoint_head_of(const struct bp_checkpoint *checkpoint);

/* Copies the tensors into a graph of the same network and tells its layers. Every tensor of the
 * graph must be there with its shape, and no other. with_moments: the optimizer's state too, and
 * what belongs to `average` (NULL: the run has none). */
bp_status bp_checkpoint_load(const struct bp_checkpoint *checkpoint, struct bp_graph *graph,
                             struct bp_average *average, int with_moments);

/* Trained numbers of a graph; of these, latent weights of binary layers. */
void bp_graph_count_parameters(const struct bp_graph *graph, size_t *all, size_t *binary);

#ifdef __cplusplus
}
#endif
#endif
