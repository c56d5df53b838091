#include "train/evaluate.h"

#include <signal.h>

/* The only global state of the library: a signal handler has no other way to reach a run. */
static volatile sig_atomic_t requested;

void bp_interrupt(int signal) {
    requested = signal;
}

bp_status bp_interrupt_requested(void) {
    if (requested == 0)
        return BP_OK;
    return requested == SIGINT ? BP_INTERRUPT : BP_TERMINATE;
}

/* The first largest logit, the same rule as in the loss. */
static void count_predictions(const struct bp_graph *graph, const int32_t *labels,
                              size_t *confusion) {
    size_t classes = graph->config.classes;
    for (size_t i = 0; i < graph->n; i++) {
        const float *row = graph->logits->f32 + i * classes;
        size_t best = 0;
        for (size_t j = 1; j < classes; j++)
            if (row[j] > row[best])
                best = j;
        confusion[(size_t)labels[i] * classes + best]++;
    }
}

static bp_status run(struct bp_graph *graph, struct bp_loader *loader, struct bp_evaluation *out) {
    double loss, loss_sum = 0;
    size_t correct;
    struct bp_batch batch = {0};
    while (!batch.last) {
        BP_TRY(bp_interrupt_requested());
        BP_TRY(bp_loader_next(loader, &batch));
        bp_graph_set_input(graph, batch.n, batch.images);
        BP_TRY(bp_graph_forward(graph, 0));
        BP_TRY(bp_graph_loss(graph, batch.labels, 0, &loss, &correct));
        if (out->each != NULL)
            out->each(out->context, graph, batch.labels, out->n);
        loss_sum += loss * (double)batch.n;
        out->correct += correct;
        out->n += batch.n;
        if (out->confusion != NULL)
            count_predictions(graph, batch.labels, out->confusion);
    }
    out->loss = loss_sum / (double)out->n;
    out->accuracy = (double)out->correct / (double)out->n;
    return BP_OK;
}

bp_status bp_evaluate(struct bp_graph *graph, struct bp_loader *loader, struct bp_evaluation *out) {
    float smoothing = graph->config.label_smoothing;
    out->n = out->correct = 0;
    graph->config.label_smoothing = 0;
    bp_status status = run(graph, loader, out);
    graph->config.label_smoothing = smoothing;
    return status;
}
