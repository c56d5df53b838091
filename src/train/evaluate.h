/* Validation: the forward pass over a part, in file order. */
#ifndef BP_TRAIN_EVALUATE_H
#define BP_TRAIN_EVALUATE_H

#include "data/loader.h"
#include "nn/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

struct bp_evaluation {
    double loss, accuracy; /* mean cross entropy without label smoothing; 0 .. 1 */
    size_t n, correct;
    size_t *confusion; /* [classes][classes], true class and prediction, added to; or NULL */
    /* Called after each batch with the graph as it is, the labels and the number of the batch's
     * first sample; or NULL. */
    void (*each)(void *context, const struct bp_graph *graph, const int32_t *labels, size_t first);
    void *context;
};

/* One pass over the loader's part. `loader` stands at the begin of an epoch and does so afterwards.
 * Returns BP_INTERRUPT or BP_TERMINATE (no message) if bp_interrupt asked for it; then the loader
 * is somewhere. */
bp_status bp_evaluate(struct bp_graph *graph, struct bp_loader *loader, struct bp_evaluation *out);

/* What bp_interrupt asked for: BP_OK, BP_INTERRUPT or BP_TERMINATE. */
bp_status bp_interrupt_requested(void);

#ifdef __cplusplus
}
#endif
#endif
