#include "train/step.h"

#include <math.h>

bp_status bp_session_step(struct bp_session *s, struct bp_average *average, uint64_t step,
                          struct bp_step_result *out) {
    struct bp_graph *graph = s->graph;
    struct bp_batch batch;
    struct bp_optim_result update;
    double position = bp_schedule_position(&s->cut, step, s->planned_steps);

    *out = (struct bp_step_result){0};
    BP_TRY(bp_loader_next(s->train, &batch));
    bp_graph_set_precision(graph, position < (double)s->qat_steps ? BP_PRECISION_QAT
                                                                  : s->settings.precision);
    graph->step = (uint32_t)step;
    bp_graph_set_input(graph, batch.n, batch.images);
    BP_TRY(bp_graph_forward(graph, 1));
    BP_TRY(bp_graph_loss(graph, batch.labels, 1, &out->loss, &out->correct));
    if (!isfinite(out->loss)) {
        out->infinite = "the loss";
        return BP_OK;
    }
    BP_TRY(bp_graph_backward(graph));

    double factor = bp_schedule_factor(&s->schedule, position, s->planned_steps);
    bp_optim_step(s->optim, s->exec, &s->settings.optim, factor, step + 1, &update);
    if (!update.finite) {
        out->infinite = "the gradient";
        return BP_OK;
    }
    bp_graph_weights_updated(graph);
    if (average != NULL)
        bp_average_update(average, s->exec, graph, s->settings.ema, step + 1);
    return BP_OK;
}
