#include "oracle/oracle_case.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/rng.h"

/* Streams of BP_RANDOM_TEST: parameters use layers 0, 1, ...; the others are far above. */
enum { STREAM_RUNNING = 1000, STREAM_IMAGES = 2000, STREAM_LABELS = 2001 };

void oracle_recipe_get(struct oracle_recipe *recipe, int index) {
    static const char *const names[ORACLE_RECIPES] = {"sgd", "nesterov", "adam", "adamw"};
    memset(recipe, 0, sizeof *recipe);
    recipe->name = names[index];
    struct bp_optim_config *optim = &recipe->optim;
    bp_optim_config_default(optim, index < 2    ? BP_OPTIM_SGD
                                   : index == 2 ? BP_OPTIM_ADAM
                                                : BP_OPTIM_ADAMW);
    optim->nesterov = index == 1;
    optim->lr = index < 2 ? 0.003 : 1e-3;
    optim->head_lr = index < 2 ? 0.01 : 5e-3;
    optim->weight_decay = index < 2 ? 2e-2 : index == 2 ? 1e-3 : 0.2;
    optim->clip_norm = index < 3 ? 0.5 : 0;
    /* Adam divides by the size of the gradient: with PyTorch's 1e-8, elements whose gradient is
     * only rounding noise would move as fast as the others, and no two programs would agree. */
    optim->eps = 1e-3;
    recipe->schedule.kind = BP_SCHEDULE_COSINE;
    recipe->schedule.warmup_steps = index == 1 || index == 3 ? 3 : 0;
    recipe->schedule.min_factor = 0.1;
}

bp_status oracle_case_create(const struct oracle_case *c, struct bp_exec *exec,
                             struct bp_graph **graph, uint8_t **images, int32_t **labels) {
    struct bp_graph_config config = {.width = c->width,
                                     .height = c->size,
                                     .width_px = c->size,
                                     .channels = c->channels,
                                     .classes = c->classes,
                                     .batch = c->batch,
                                     .training = 1,
                                     .precision = c->precision,
                                     .backend = c->backend,
                                     .label_smoothing = c->smoothing,
                                     .seed = c->seed,
                                     .mean = {0.45f, 0.5f, 0.4f},
                                     .deviation = {0.25f, 0.3f, 0.2f}};
    memcpy(config.model, c->model, sizeof config.model);
    *graph = NULL;
    *images = NULL;
    *labels = NULL;
    size_t bytes = c->batch * c->size * c->size * c->channels;
    BP_TRY(bp_alloc(images, bytes, "images"));
    BP_TRY(bp_alloc_array(labels, c->batch, sizeof **labels, "labels"));
    struct bp_stream stream = bp_stream_make(c->seed, BP_RANDOM_TEST, STREAM_IMAGES, 0);
    for (size_t i = 0; i < bytes; i++)
        (*images)[i] = (uint8_t)(bp_stream_u32(&stream, i) >> 24);
    stream = bp_stream_make(c->seed, BP_RANDOM_TEST, STREAM_LABELS, 0);
    for (size_t i = 0; i < c->batch; i++)
        (*labels)[i] = (int32_t)bp_stream_below(&stream, i, (uint32_t)c->classes);
    return bp_graph_create(graph, exec, &config);
}

/* values[i] = from + (to - from) * u, u exact in [0, 1). */
static void fill(const struct oracle_case *c, unsigned layer, float *values, size_t count,
                 float from, float to) {
    struct bp_stream stream = bp_stream_make(c->seed, BP_RANDOM_TEST, layer, 0);
    for (size_t i = 0; i < count; i++)
        values[i] = from + (to - from) * bp_stream_uniform(&stream, i);
}

static int ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* Nothing stays at a value where a mistake would not show (scales 1, biases 0, slopes 0.25). */
static void fill_param(const struct oracle_case *c, unsigned index, struct bp_param *param) {
    float from = 0.5f, to = 1.5f; /* batch norm's weight, alpha */
    if (param->n_dims > 1) {
        float fan_in = (float)(param->count / param->dims[0]);
        to = param->flags & BP_PARAM_LATENT ? 1.25f : sqrtf(6 / fan_in);
        from = -to;
    } else if (ends_with(param->name, ".bias")) {
        from = -0.5f;
        to = 0.5f;
    } else if (ends_with(param->name, ".slope")) {
        from = 0.05f;
        to = 0.45f;
    }
    fill(c, index, param->value, param->count, from, to);
}

void oracle_case_reset(const struct oracle_case *c, struct bp_graph *graph) {
    for (size_t i = 0; i < graph->n_params; i++) {
        struct bp_param *param = graph->params[i];
        fill_param(c, (unsigned)i, param);
        memset(param->moment1, 0, param->count * sizeof(float));
        memset(param->moment2, 0, param->count * sizeof(float));
    }
    for (size_t i = 0; i < graph->n_running; i++) {
        struct bp_running *running = graph->running[i];
        int is_var = ends_with(running->name, "var");
        fill(c, STREAM_RUNNING + (unsigned)i, running->value, running->count, is_var ? 0.5f : -1.0f,
             is_var ? 2.0f : 1.0f);
    }
    bp_graph_weights_changed(graph);
}

bp_status oracle_case_run(const struct oracle_case *c, struct bp_graph *graph,
                          const uint8_t *images, const int32_t *labels, int training, float *logits,
                          double *loss, size_t *correct) {
    bp_graph_set_input(graph, c->batch, images);
    BP_TRY(bp_graph_forward(graph, training));
    if (logits)
        memcpy(logits, graph->logits->f32, c->batch * c->classes * sizeof *logits);
    BP_TRY(bp_graph_loss(graph, labels, training, loss, correct));
    return training ? bp_graph_backward(graph, NULL) : BP_OK;
}
