/* What the files of the graph share: graph.c (building, running) and graph_plan.c (memory). */
#ifndef BP_NN_GRAPH_INTERNAL_H
#define BP_NN_GRAPH_INTERNAL_H

#include "nn/graph.h"

/* Sets the times of the layers and how the tensors are kept, and adds all buffers of a step, those
 * of the layers too, to the plans. Once, when all layers have been added. */
bp_status bp_graph_plan_buffers(struct bp_graph *graph);

#endif
