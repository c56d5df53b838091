#include "train/step.h"

#include <math.h>

#include "base/clock.h"

static uint64_t since(uint64_t *begin_ns) {
    uint64_t now = bp_clock_ns(), spent = now - *begin_ns;
    *begin_ns = now;
    return spent;
}

bp_status bp_session_step_with(struct bp_session *s, struct bp_average *average, uint64_t step,
                               const struct bp_batch *batch, struct bp_step_result *out) {
    struct bp_graph *graph = s->graph;
    struct bp_optim_result update;
    double position = bp_schedule_position(&s->cut, step, s->planned_steps);

    *out = (struct bp_step_result){0};
    bp_graph_set_precision(graph, position < (double)s->qat_steps ? BP_PRECISION_QAT
                                                                  : s->settings.precision);
    graph->step = (uint32_t)step;
    uint64_t begin_ns = bp_clock_ns();
    bp_graph_set_input(graph, batch->n, batch->images);
    out->input_ns = since(&begin_ns);
    BP_TRY(bp_graph_forward(graph, 1));
    BP_TRY(bp_graph_loss(graph, batch->labels, 1, &out->loss, &out->correct));
    if (!isfinite(out->loss)) {
        out->infinite = "the loss";
        return BP_OK;
    }
    double factor = bp_schedule_factor(&s->schedule, position, s->planned_steps);
    BP_TRY(bp_graph_backward(
        graph, bp_optim_begin(s->optim, s->exec, &s->settings.optim, factor, step + 1)));
    bp_optim_end(s->optim, &update);
    out->optimizer_ns = update.spent_ns;
    if (!update.finite) {
        out->infinite = "the gradient";
        return BP_OK;
    }
    begin_ns = bp_clock_ns();
    bp_graph_weights_updated(graph);
    out->pack_ns = since(&begin_ns);
    if (average != NULL)
        bp_average_update(average, s->exec, graph, s->settings.ema, step + 1);
    return BP_OK;
}

bp_status bp_session_step(struct bp_session *s, struct bp_average *average, uint64_t step,
                          struct bp_step_result *out) {
    struct bp_batch batch;
    BP_TRY(bp_loader_next(s->train, &batch));
    return bp_session_step_with(s, average, step, &batch, out);
}
