/* The layers of a network for the report (layers.json, docs/FORMATS.md): how many bits each one
 * works with, and where the time of the training steps goes. */
#ifndef BP_TRAIN_LAYER_TIMES_H
#define BP_TRAIN_LAYER_TIMES_H

#include "base/json_writer.h"
#include "nn/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

struct bp_layer_times {
    uint64_t *forward_ns, *backward_ns; /* [layers] sums over the steps */
    uint64_t total_ns;
    size_t steps;
};

bp_status bp_layer_times_open(struct bp_layer_times *times, const struct bp_graph *graph);
void bp_layer_times_close(struct bp_layer_times *times);

/* Counts the step that the graph just made, which took step_ns in all. */
void bp_layer_times_add(struct bp_layer_times *times, const struct bp_graph *graph,
                        uint64_t step_ns);

/* One JSON object; `json` is begun here, the caller finishes it. */
void bp_layer_times_json(const struct bp_layer_times *times, const struct bp_graph *graph,
                         struct bp_json *json);

#ifdef __cplusplus
}
#endif
#endif
