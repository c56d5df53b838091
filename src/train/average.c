#include "train/average.h"

#include <string.h>

#include "base/memory.h"

/* Everything in a row, so that threads share the work evenly: parameters, then running statistics.
 */
static size_t part_count(const struct bp_graph *graph) {
    return graph->n_params + graph->n_running;
}

static float *part_value(const struct bp_graph *graph, size_t i, size_t *count) {
    if (i < graph->n_params) {
        *count = graph->params[i]->count;
        return graph->params[i]->value;
    }
    *count = graph->running[i - graph->n_params]->count;
    return graph->running[i - graph->n_params]->value;
}

static float *part_average(const struct bp_average *average, const struct bp_graph *graph,
                           size_t i) {
    return i < graph->n_params ? average->params[i] : average->running[i - graph->n_params];
}

bp_status bp_average_create(struct bp_average **out, const struct bp_graph *graph) {
    struct bp_average *average;
    size_t all = 0, count;
    *out = NULL;
    for (size_t i = 0; i < part_count(graph); i++) {
        part_value(graph, i, &count);
        all += count;
    }
    BP_TRY(bp_alloc(&average, sizeof *average, "averages of the weights"));
    bp_status status = bp_alloc_array(&average->params, graph->n_params, sizeof *average->params,
                                      "averages of the weights");
    if (status == BP_OK)
        status = bp_alloc_array(&average->running, graph->n_running, sizeof *average->running,
                                "averages of the weights");
    if (status == BP_OK)
        status = bp_alloc_array(&average->block, all, sizeof(float), "averages of the weights");
    if (status != BP_OK) {
        bp_average_destroy(average);
        return status;
    }
    float *next = average->block;
    for (size_t i = 0; i < part_count(graph); i++) {
        const float *value = part_value(graph, i, &count);
        if (i < graph->n_params)
            average->params[i] = next;
        else
            average->running[i - graph->n_params] = next;
        memcpy(next, value, count * sizeof(float));
        next += count;
    }
    *out = average;
    return BP_OK;
}

void bp_average_destroy(struct bp_average *average) {
    if (average == NULL)
        return;
    bp_free(average->params);
    bp_free(average->running);
    bp_free(average->block);
    bp_free(average);
}

struct update_job {
    const float *value;
    float *average;
    float rate;
};

static void update_part(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    const struct update_job *job = context;
    for (size_t i = begin; i < end; i++)
        job->average[i] += job->rate * (job->value[i] - job->average[i]);
}

void bp_average_update(struct bp_average *average, struct bp_exec *exec,
                       const struct bp_graph *graph, double decay, uint64_t t) {
    double early = (1 + (double)t) / (10 + (double)t);
    float rate = (float)(1 - (early < decay ? early : decay));
    for (size_t i = 0; i < part_count(graph); i++) {
        size_t count;
        const float *value = part_value(graph, i, &count);
        struct update_job job = {value, part_average(average, graph, i), rate};
        bp_parallel_for(exec->threads, count, update_part, &job);
    }
}

void bp_average_swap(struct bp_average *average, struct bp_graph *graph) {
    for (size_t i = 0; i < part_count(graph); i++) {
        size_t count;
        float *value = part_value(graph, i, &count), *other = part_average(average, graph, i);
        for (size_t j = 0; j < count; j++) {
            float kept = value[j];
            value[j] = other[j];
            other[j] = kept;
        }
    }
    bp_graph_weights_changed(graph);
}
