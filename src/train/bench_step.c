/* bp_bench_step: whole training steps on made-up images, one or two networks in alternation, so
 * that both see the same machine. Data loading is not part of it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "train/config.h"
#include "train/evaluate.h"
#include "train/made_up.h"
#include "train/session.h"

enum { WARM_UP_STEPS = 2, DEFAULT_SIDE = 32 };

enum stage {
    INPUT,
    STEM,
    FORWARD_PRODUCT,
    NORM_FORWARD,
    NORM_BACKWARD,
    GRADIENT_RANGES,
    GRADIENT_CODES,
    DA_PRODUCT,
    DW_PRODUCT,
    CONV,
    POOL,
    HEAD,
    OPTIMIZER,
    PACK,
    OTHER,
    STAGE_COUNT
};
static const char *const stage_names[STAGE_COUNT] = {
    "input",          "stem",          "forward_product",
    "norm_forward",   "norm_backward", "gradient_ranges",
    "gradient_codes", "da_product",    "dw_product",
    "conv",           "pool",          "head",
    "optimizer",      "pack",          "other"};
_Static_assert((int)STAGE_COUNT <= (int)BP_STAGES_MAX, "the public struct holds all stages");

struct side {
    bp_config *config;
    struct bp_settings settings;
    struct bp_exec *exec;
    struct bp_graph *graph;
    struct bp_optim *optim;
    uint64_t step;
    double *step_ms;           /* [rounds] */
    double *stage_ms;          /* [STAGE_COUNT][rounds] */
    double rss_before, rss_mb; /* resident before and after the warm-up */
};

struct bench {
    struct side sides[2];
    size_t n_sides, rounds, side_px;
    uint8_t *images;
    int32_t *labels;
};

static double resident_mb(void) {
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file != NULL) {
        if (fscanf(file, "%*s %ld", &pages) != 1)
            pages = 0;
        fclose(file);
    }
    if (pages == 0) /* a system without /proc: never too small */
        return (double)bp_clock_peak_rss_bytes() / 1e6;
    return (double)pages * (double)sysconf(_SC_PAGESIZE) / 1e6;
}

/* Where a layer's time counts. Quantized backward passes of binary convolutions tell their parts
 * themselves (bp_exec.spent_ns); that of qat is float products. */
static void count_layer(const struct bp_graph *graph, const struct bp_layer *layer,
                        double ms[STAGE_COUNT]) {
    double forward = (double)layer->forward_ns * 1e-6, backward = (double)layer->backward_ns * 1e-6;
    if (layer->binary_index >= 0) {
        ms[FORWARD_PRODUCT] += forward;
        ms[CONV] += graph->precision == BP_PRECISION_QAT ? backward : 0.0;
    } else if (layer->in == graph->input) {
        ms[STEM] += forward + backward;
    } else if (layer->out == graph->logits) {
        ms[HEAD] += forward + backward;
    } else if (strcmp(layer->type->name, "norm_act") == 0 ||
               strcmp(layer->type->name, "act_norm") == 0) {
        ms[NORM_FORWARD] += forward;
        ms[NORM_BACKWARD] += backward;
    } else {
        ms[strcmp(layer->type->name, "pool") == 0 ? POOL : CONV] += forward + backward;
    }
}

static void count_spent(const struct bp_exec *exec, double ms[STAGE_COUNT]) {
    static const struct {
        enum bp_spent part;
        enum stage stage;
    } parts[] = {{BP_SPENT_RANGES, GRADIENT_RANGES},
                 {BP_SPENT_CODES, GRADIENT_CODES},
                 {BP_SPENT_DGRAD, DA_PRODUCT},
                 {BP_SPENT_WGRAD, DW_PRODUCT}};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        ms[parts[i].stage] += (double)exec->spent_ns[parts[i].part] * 1e-6;
}

/* One training step as the trainer does it, with times in ms unless NULL. */
static bp_status step(const struct bench *bench, struct side *side, double *total_ms,
                      double ms[STAGE_COUNT]) {
    struct bp_graph *graph = side->graph;
    struct bp_optim_result update;
    double loss;
    size_t correct;
    memset(side->exec->spent_ns, 0, sizeof side->exec->spent_ns);
    uint64_t begin_ns = bp_clock_ns();
    graph->step = (uint32_t)side->step++;
    bp_graph_set_input(graph, side->settings.batch, bench->images);
    uint64_t input_ns = bp_clock_ns();
    BP_TRY(bp_graph_forward(graph, 1));
    BP_TRY(bp_graph_loss(graph, bench->labels, 1, &loss, &correct));
    BP_TRY(bp_graph_backward(graph));
    uint64_t optimizer_ns = bp_clock_ns();
    bp_optim_step(side->optim, side->exec, &side->settings.optim, 1, side->step, &update);
    uint64_t pack_ns = bp_clock_ns();
    bp_graph_weights_updated(graph);
    uint64_t end_ns = bp_clock_ns();
    *total_ms = (double)(end_ns - begin_ns) * 1e-6;
    memset(ms, 0, STAGE_COUNT * sizeof *ms);
    for (size_t i = 0; i < graph->n_layers; i++)
        count_layer(graph, graph->layers[i], ms);
    count_spent(side->exec, ms);
    ms[INPUT] = (double)(input_ns - begin_ns) * 1e-6;
    ms[OPTIMIZER] = (double)(pack_ns - optimizer_ns) * 1e-6;
    ms[PACK] = (double)(end_ns - pack_ns) * 1e-6;
    ms[OTHER] = *total_ms;
    for (int i = 0; i < OTHER; i++)
        ms[OTHER] -= ms[i];
    return BP_OK;
}

static void unset_foreign(bp_config *config) {
    const char *precision = bp_config_get(config, "precision");
    if (strcmp(precision, "fqt") == 0)
        return;
    if (strcmp(precision, "psq") != 0)
        bp_config_unset(config, BP_OPT_STEM);
    for (int id = 0; id < BP_OPT_COUNT; id++)
        if (bp_option_is_quantizer((enum bp_option_id)id))
            bp_config_unset(config, (enum bp_option_id)id);
    if (strcmp(precision, "fp32") == 0)
        bp_config_unset(config, BP_OPT_CLAMP_LATENT);
}

/* "fqt:paper" -> precision and preset. */
static bp_status set_versus(bp_config *config, const char *versus) {
    char precision[32];
    const char *colon = strchr(versus, ':');
    size_t length = colon != NULL ? (size_t)(colon - versus) : strlen(versus);
    snprintf(precision, sizeof precision, "%.*s", (int)bp_min_size(length, 31), versus);
    BP_TRY(bp_config_set(config, "precision", precision, "--vs"));
    if (colon == NULL)
        return BP_OK;
    if (strcmp(precision, "fqt") != 0)
        return bp_fail(BP_USAGE, "--vs %.60s: only fqt has presets; use --vs %s", versus,
                       precision);
    return bp_config_set(config, "preset", colon + 1, "--vs");
}

static bp_status configure(struct bench *bench, const bp_config *config, const char *versus) {
    BP_TRY(bp_config_copy(&bench->sides[0].config, config));
    bench->n_sides = 1;
    if (versus != NULL) {
        bench->n_sides = 2;
        BP_TRY(bp_config_copy(&bench->sides[1].config, config));
        BP_TRY(set_versus(bench->sides[1].config, versus));
        int any_fqt = 0;
        for (int i = 0; i < 2; i++)
            any_fqt |= strcmp(bp_config_get(bench->sides[i].config, "precision"), "fqt") == 0;
        for (int i = 0; i < 2 && any_fqt; i++)
            unset_foreign(bench->sides[i].config);
        unset_foreign(bench->sides[1].config);
    }
    for (size_t i = 0; i < bench->n_sides; i++)
        BP_TRY(
            bp_config_resolve(bench->sides[i].config, BP_COMMAND_BENCH, &bench->sides[i].settings));
    const struct bp_settings *settings = &bench->sides[0].settings;
    bench->rounds = settings->rounds;
    bench->side_px = settings->size > 0 ? settings->size : DEFAULT_SIDE;
    return BP_OK;
}

static bp_status make_up_data(struct bench *bench) {
    const struct bp_settings *settings = &bench->sides[0].settings;
    size_t bytes = settings->batch * bench->side_px * bench->side_px * settings->channels;
    BP_TRY(bp_alloc(&bench->images, bytes, "made-up images"));
    BP_TRY(bp_alloc_array(&bench->labels, settings->batch, sizeof *bench->labels, "labels"));
    bp_made_up_images(bench->images, bytes, settings->seed);
    bp_made_up_labels(bench->labels, settings->batch, settings->classes);
    return BP_OK;
}

static bp_status open_side(const struct bench *bench, struct side *side) {
    struct bp_settings *settings = &side->settings;
    struct bp_graph_config config;
    for (int c = 0; c < 3; c++) {
        settings->mean[c] = 0.5f;
        settings->deviation[c] = 0.25f;
    }
    side->rss_before = resident_mb();
    BP_TRY(bp_alloc_array(&side->step_ms, bench->rounds, sizeof(double), "times"));
    BP_TRY(bp_alloc_array(&side->stage_ms, STAGE_COUNT * bench->rounds, sizeof(double), "times"));
    bp_session_graph_config(settings, bench->side_px, bench->side_px, settings->channels,
                            settings->classes, &config);
    BP_TRY(bp_exec_create(&side->exec, settings->tier, settings->threads));
    BP_TRY(bp_graph_create(&side->graph, side->exec, &config));
    BP_TRY(bp_optim_create(&side->optim, side->graph->params, side->graph->n_params));
    double total_ms, ms[STAGE_COUNT];
    for (int i = 0; i < WARM_UP_STEPS; i++)
        BP_TRY(step(bench, side, &total_ms, ms));
    side->rss_mb = resident_mb();
    return BP_OK;
}

static void close_side(struct side *side) {
    bp_optim_destroy(side->optim);
    bp_graph_destroy(side->graph);
    bp_exec_destroy(side->exec);
    bp_free(side->step_ms);
    bp_free(side->stage_ms);
    bp_config_destroy(side->config);
}

/* A B A B ...; who begins changes each round. */
static bp_status run_rounds(struct bench *bench) {
    double ms[STAGE_COUNT];
    for (size_t round = 0; round < bench->rounds; round++) {
        for (size_t i = 0; i < bench->n_sides; i++) {
            struct side *side = &bench->sides[(i + round) % bench->n_sides];
            bp_status stopped = bp_interrupt_requested();
            if (stopped != BP_OK) {
                bp_interrupt(0);
                return bp_fail(stopped, "timing stopped on request");
            }
            BP_TRY(step(bench, side, &side->step_ms[round], ms));
            for (size_t s = 0; s < STAGE_COUNT; s++)
                side->stage_ms[s * bench->rounds + round] = ms[s];
        }
    }
    return BP_OK;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts the values. */
static double median(double *values, size_t count) {
    qsort(values, count, sizeof *values, compare);
    return count % 2 == 1 ? values[count / 2] : 0.5 * (values[count / 2 - 1] + values[count / 2]);
}

static void report_side(const struct bench *bench, size_t index, bp_bench_side *out) {
    const struct side *side = &bench->sides[index];
    *out = (bp_bench_side){.n_stages = STAGE_COUNT};
    snprintf(out->precision, sizeof out->precision, "%s",
             bp_precision_name(side->settings.precision));
    snprintf(out->preset, sizeof out->preset, "%s", side->settings.preset);
    out->step_ms = median(side->step_ms, bench->rounds);
    out->step_ms_min = side->step_ms[0];
    out->images_per_s = 1e3 * (double)side->settings.batch / out->step_ms;
    out->peak_rss_mb = bench->n_sides == 1
                           ? (double)bp_clock_peak_rss_bytes() / 1e6
                           : bench->sides[0].rss_before + (side->rss_mb - side->rss_before);
    out->planned_mb = (double)bp_graph_planned_bytes(side->graph) / 1e6;
    for (size_t s = 0; s < STAGE_COUNT; s++) {
        out->stages[s].name = stage_names[s];
        out->stages[s].ms = median(side->stage_ms + s * bench->rounds, bench->rounds);
    }
}

static bp_status report(struct bench *bench, bp_bench_result *out) {
    const struct bp_settings *settings = &bench->sides[0].settings;
    *out = (bp_bench_result){.width = settings->width,
                             .size = bench->side_px,
                             .batch = settings->batch,
                             .classes = settings->classes,
                             .threads = bp_threads_count(bench->sides[0].exec->threads),
                             .tier = bp_tier_name(settings->tier),
                             .rounds = bench->rounds,
                             .n_sides = bench->n_sides};
    snprintf(out->model, sizeof out->model, "%s", settings->model);
    if (bench->n_sides == 2) {
        double *ratios;
        BP_TRY(bp_alloc_array(&ratios, bench->rounds, sizeof *ratios, "ratios"));
        for (size_t i = 0; i < bench->rounds; i++)
            ratios[i] = bench->sides[1].step_ms[i] / bench->sides[0].step_ms[i];
        out->ratio = median(ratios, bench->rounds);
        bp_free(ratios);
    }
    for (size_t i = 0; i < bench->n_sides; i++) /* sorts the times: after the ratios */
        report_side(bench, i, &out->sides[i]);
    return BP_OK;
}

bp_status bp_bench_step(const bp_config *config, const char *versus, bp_bench_result *out) {
    struct bench bench = {0};
    bp_status status = configure(&bench, config, versus);
    if (status == BP_OK)
        status = make_up_data(&bench);
    for (size_t i = 0; i < bench.n_sides && status == BP_OK; i++)
        status = open_side(&bench, &bench.sides[i]);
    if (status == BP_OK)
        status = run_rounds(&bench);
    if (status == BP_OK)
        status = report(&bench, out);
    for (size_t i = 0; i < 2; i++)
        close_side(&bench.sides[i]);
    bp_free(bench.images);
    bp_free(bench.labels);
    return status;
}
