#include "train/memory_need.h"

#include "base/memory.h"
#include "nn/grad_variance.h"
#include "train/session.h"

bp_status bp_planned_open(struct bp_planned *planned, const struct bp_settings *settings,
                          const struct bp_graph_config *config) {
    *planned = (struct bp_planned){0};
    BP_TRY(bp_exec_create(&planned->exec, settings->tier, settings->threads));
    bp_status status = bp_graph_plan(&planned->graph, planned->exec, config);
    if (status != BP_OK)
        bp_planned_close(planned);
    return status;
}

void bp_planned_close(struct bp_planned *planned) {
    bp_graph_destroy(planned->graph);
    bp_exec_destroy(planned->exec);
    *planned = (struct bp_planned){0};
}

/* As a plan places it. */
static size_t floats(size_t count) {
    return bp_round_up(count * sizeof(float), BP_ALIGN);
}

static size_t batch_bytes(const struct bp_graph_config *config, size_t count) {
    size_t batch = count > 0 ? bp_min_size(config->batch, count) : config->batch;
    size_t image = config->height * config->width_px * config->channels;
    return (BP_BATCHES_AHEAD + 1) * batch * (image + sizeof(int32_t)) + count * sizeof(uint32_t);
}

static void add_up(bp_memory_sums *sums) {
    sums->total = sums->parameters + sums->gradients + sums->optimizer + sums->averages +
                  sums->variance + sums->step + sums->scratch + sums->batches + sums->data +
                  sums->program;
}

bp_status bp_memory_sum(struct bp_graph *graph, const struct bp_settings *settings, size_t train,
                        size_t val, bp_memory_sums *out) {
    bp_memory_sums sums = {0};
    size_t values = 0;
    for (size_t i = 0; i < graph->n_params; i++) {
        const struct bp_param *param = graph->params[i];
        sums.parameters += floats(param->count);
        sums.gradients += param->grad_shared ? 0 : floats(param->count);
        values += param->count;
    }
    sums.optimizer = 2 * sums.parameters;
    for (size_t i = 0; i < graph->n_running; i++) {
        sums.parameters += floats(graph->running[i]->count);
        values += graph->running[i]->count;
    }
    sums.averages = settings->ema > 0 ? floats(values) : 0;
    sums.step = bp_plan_bytes(graph->step_plan);
    sums.step_unshared = bp_plan_unshared_bytes(graph->step_plan);
    sums.scratch = graph->exec->scratch_bytes * (size_t)bp_threads_count(graph->exec->threads);
    sums.batches = batch_bytes(&graph->config, train) + batch_bytes(&graph->config, val);
    sums.program = BP_MEMORY_PROGRAM;
    if (settings->report_variance > 0 && graph->n_binary > 0)
        BP_TRY(bp_grad_variance_bytes(graph, &sums.variance));
    add_up(&sums);
    *out = sums;
    return BP_OK;
}

bp_status bp_memory_forecast(const struct bp_settings *settings,
                             const struct bp_graph_config *config, size_t train, size_t val,
                             bp_memory_sums *out) {
    struct bp_planned planned;
    BP_TRY(bp_planned_open(&planned, settings, config));
    bp_status status = bp_memory_sum(planned.graph, settings, train, val, out);
    bp_planned_close(&planned);
    return status;
}

void bp_memory_set_data(bp_memory_sums *sums, size_t bytes) {
    sums->data = bytes;
    add_up(sums);
}

void bp_memory_write(const bp_memory_sums *sums, struct bp_json *json) {
    const struct {
        const char *name;
        size_t bytes;
    } members[] = {{"parameters", sums->parameters},
                   {"gradients", sums->gradients},
                   {"optimizer", sums->optimizer},
                   {"averages", sums->averages},
                   {"variance", sums->variance},
                   {"step", sums->step},
                   {"step_unshared", sums->step_unshared},
                   {"scratch", sums->scratch},
                   {"batches", sums->batches},
                   {"data", sums->data},
                   {"program", sums->program},
                   {"total", sums->total}};
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++)
        bp_json_int(json, members[i].name, (int64_t)members[i].bytes);
}
