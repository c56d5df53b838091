/* What a training run takes of memory, before it takes it: the network's plans without their blocks
 * (bp_graph_plan), and what stands beside the network. The numbers are those that creation really
 * takes, but for `program`, an allowance. */
#ifndef BP_TRAIN_MEMORY_NEED_H
#define BP_TRAIN_MEMORY_NEED_H

#include "train/config.h"

#ifdef __cplusplus
extern "C" {
#endif

/* For code, libraries, stacks, and what is too small to be counted: a run was seen to take 12 to 24
 * MB beside what is planned. */
#define BP_MEMORY_PROGRAM ((size_t)32000000)

/* Batches that each of the two loaders prepares ahead; it holds one more. */
enum { BP_BATCHES_AHEAD = 2 };

/* A network for training with its plans; no buffer has an address. */
struct bp_planned {
    struct bp_exec *exec;
    struct bp_graph *graph;
};
bp_status bp_planned_open(struct bp_planned *planned, const struct bp_settings *settings,
                          const struct bp_graph_config *config);
void bp_planned_close(struct bp_planned *planned);

/* The sums of a network that is trained as `settings` say, planned or created: all but data. train
 * and val are the numbers of images, for their batches; 0: many. */
bp_status bp_memory_sum(struct bp_graph *graph, const struct bp_settings *settings, size_t train,
                        size_t val, bp_memory_sums *out);
/* The same of a network that is not there yet. */
bp_status bp_memory_forecast(const struct bp_settings *settings,
                             const struct bp_graph_config *config, size_t train, size_t val,
                             bp_memory_sums *out);

/* Sets sums->data, and the total anew. */
void bp_memory_set_data(bp_memory_sums *sums, size_t bytes);

/* The members of a JSON object. */
void bp_memory_write(const bp_memory_sums *sums, struct bp_json *json);

#ifdef __cplusplus
}
#endif
#endif
