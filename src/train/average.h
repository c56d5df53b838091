/* Exponential moving averages of everything that a network learned: parameters and running
 * statistics. After step t = 1, 2, ... with decay d:
 *     average = average + (1 - d_t) (value - average),  d_t = min(d, (1 + t) / (10 + t))
 * so that the first values fade quickly. Values that do not change keep their averages bit for bit;
 * every element stands alone, so threads do not matter. docs/METHOD.md says what it means for
 * binary layers. */
#ifndef BP_TRAIN_AVERAGE_H
#define BP_TRAIN_AVERAGE_H

#include "nn/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

struct bp_average {
    float **params;  /* [graph->n_params], each [count] */
    float **running; /* [graph->n_running] */
    float *block;    /* their memory */
};

/* Begins with the graph's values as they are now. */
bp_status bp_average_create(struct bp_average **out, const struct bp_graph *graph);
void bp_average_destroy(struct bp_average *average);

/* After step t, the first is 1. */
void bp_average_update(struct bp_average *average, struct bp_exec *exec,
                       const struct bp_graph *graph, double decay, uint64_t t);

/* Exchanges values and averages, and tells the layers. */
void bp_average_swap(struct bp_average *average, struct bp_graph *graph);

#ifdef __cplusplus
}
#endif
#endif
