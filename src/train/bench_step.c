/* bp_bench_step: whole training steps on made-up images or on a data set, one or two networks in
 * alternation, so that both see the same machine. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "train/made_up.h"
#include "train/rounds.h"
#include "train/step.h"

/* With data, until the batches that were prepared before the first step are used up. */
enum { WARM_UP_STEPS = 2, WARM_UP_DATA = BP_BATCHES_AHEAD + 1 };

enum stage {
    DATA,
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
static const char *const stage_names[STAGE_COUNT] = {"data",
                                                     "input",
                                                     "stem",
                                                     "forward_product",
                                                     "norm_forward",
                                                     "norm_backward",
                                                     "gradient_ranges",
                                                     "gradient_codes",
                                                     "da_product",
                                                     "dw_product",
                                                     "conv",
                                                     "pool",
                                                     "head",
                                                     "optimizer",
                                                     "pack",
                                                     "other"};
_Static_assert((int)STAGE_COUNT <= (int)BP_STAGES_MAX, "the public struct holds all stages");

struct side {
    bp_config *config;
    struct bp_session session;
    uint64_t step;
    double *step_ms;           /* [rounds] */
    double *stage_ms;          /* [STAGE_COUNT][rounds] */
    double rss_before, rss_mb; /* resident before and after the warm-up */
};

struct bench {
    struct side sides[2];
    size_t n_sides, rounds;
    struct bp_batch made_up; /* no images: with data */
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

/* One training step as the trainer does it, with times in ms. */
static bp_status step(const struct bench *bench, struct side *side, double *total_ms,
                      double ms[STAGE_COUNT]) {
    struct bp_session *session = &side->session;
    struct bp_batch batch = bench->made_up;
    struct bp_step_result result;
    memset(session->exec->spent_ns, 0, sizeof session->exec->spent_ns);
    uint64_t begin_ns = bp_clock_ns();
    if (session->train != NULL)
        BP_TRY(bp_loader_next(session->train, &batch));
    uint64_t data_ns = session->train != NULL ? bp_clock_ns() - begin_ns : 0;
    BP_TRY(bp_session_step_with(session, NULL, side->step++, &batch, &result));
    *total_ms = (double)(bp_clock_ns() - begin_ns) * 1e-6;
    if (result.infinite != NULL)
        return bp_fail(BP_DIVERGED, "%s became NaN or infinite in a timed step; lower --lr",
                       result.infinite);
    memset(ms, 0, STAGE_COUNT * sizeof *ms);
    for (size_t i = 0; i < session->graph->n_layers; i++)
        count_layer(session->graph, session->graph->layers[i], ms);
    count_spent(session->exec, ms);
    ms[DATA] = (double)data_ns * 1e-6;
    ms[INPUT] = (double)result.input_ns * 1e-6;
    ms[OPTIMIZER] = (double)result.optimizer_ns * 1e-6;
    ms[PACK] = (double)result.pack_ns * 1e-6;
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
        BP_TRY(bp_config_check(bench->sides[i].config, BP_COMMAND_BENCH));
    return BP_OK;
}

static bp_status make_up_data(struct bench *bench, const struct bp_session *session) {
    const struct bp_settings *settings = &session->settings;
    const struct bp_graph_config *config = &session->graph->config;
    size_t bytes = settings->batch * config->height * config->width_px * config->channels;
    BP_TRY(bp_alloc(&bench->images, bytes, "made-up images"));
    BP_TRY(bp_alloc_array(&bench->labels, settings->batch, sizeof *bench->labels, "labels"));
    bp_made_up_images(bench->images, bytes, settings->seed);
    bp_made_up_labels(bench->labels, settings->batch, settings->classes);
    bench->made_up =
        (struct bp_batch){.n = settings->batch, .images = bench->images, .labels = bench->labels};
    return BP_OK;
}

/* A session whose steps are those of a run, but with the same learning rate for all. */
static bp_status open_with_data(struct bp_session *session, const bp_config *config) {
    static const char *const made_up[] = {"classes", "channels"};
    for (size_t i = 0; i < sizeof made_up / sizeof made_up[0]; i++)
        if (bp_config_is_set(config, made_up[i]))
            return bp_fail(BP_USAGE, "--%s is for made-up images; with --data, leave it out",
                           made_up[i]);
    BP_TRY(bp_session_open(session, config, BP_COMMAND_BENCH, NULL));
    session->schedule = (struct bp_schedule_config){.kind = BP_SCHEDULE_CONSTANT};
    session->qat_steps = 0;
    return bp_session_start(session, 0);
}

static bp_status open_side(struct bench *bench, struct side *side) {
    int with_data = bp_config_is_set(side->config, "data");
    double total_ms, ms[STAGE_COUNT];
    side->rss_before = resident_mb();
    if (with_data)
        BP_TRY(open_with_data(&side->session, side->config));
    else
        BP_TRY(bp_session_open_made_up(&side->session, side->config, BP_COMMAND_BENCH));
    bench->rounds = side->session.settings.rounds;
    BP_TRY(bp_alloc_array(&side->step_ms, bench->rounds, sizeof(double), "times"));
    BP_TRY(bp_alloc_array(&side->stage_ms, STAGE_COUNT * bench->rounds, sizeof(double), "times"));
    if (!with_data && bench->images == NULL)
        BP_TRY(make_up_data(bench, &side->session));
    for (int i = 0; i < (with_data ? WARM_UP_DATA : WARM_UP_STEPS); i++)
        BP_TRY(step(bench, side, &total_ms, ms));
    side->rss_mb = resident_mb();
    return BP_OK;
}

static void close_side(struct side *side) {
    bp_session_close(&side->session);
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
            BP_TRY(bp_rounds_check_interrupt());
            BP_TRY(step(bench, side, &side->step_ms[round], ms));
            for (size_t s = 0; s < STAGE_COUNT; s++)
                side->stage_ms[s * bench->rounds + round] = ms[s];
        }
    }
    return BP_OK;
}

static double sum(const double *values, size_t count) {
    double total = 0;
    for (size_t i = 0; i < count; i++)
        total += values[i];
    return total;
}

static void report_side(const struct bench *bench, size_t index, bp_bench_side *out) {
    const struct side *side = &bench->sides[index];
    *out = (bp_bench_side){.n_stages = STAGE_COUNT};
    snprintf(out->precision, sizeof out->precision, "%s",
             bp_precision_name(side->session.settings.precision));
    snprintf(out->preset, sizeof out->preset, "%s", side->session.settings.preset);
    out->data_share = sum(side->stage_ms + DATA * bench->rounds, bench->rounds) /
                      sum(side->step_ms, bench->rounds);
    out->step_ms = bp_rounds_median(side->step_ms, bench->rounds);
    out->step_ms_min = side->step_ms[0];
    out->images_per_s = 1e3 * (double)side->session.settings.batch / out->step_ms;
    out->peak_rss_mb = bench->n_sides == 1
                           ? (double)bp_clock_peak_rss_bytes() / 1e6
                           : bench->sides[0].rss_before + (side->rss_mb - side->rss_before);
    out->planned_mb = (double)bp_graph_planned_bytes(side->session.graph) / 1e6;
    for (size_t s = 0; s < STAGE_COUNT; s++) {
        out->stages[s].name = stage_names[s];
        out->stages[s].ms = bp_rounds_median(side->stage_ms + s * bench->rounds, bench->rounds);
    }
}

static bp_status report(struct bench *bench, bp_bench_result *out) {
    const struct bp_session *session = &bench->sides[0].session;
    const struct bp_settings *settings = &session->settings;
    const struct bp_graph_config *config = &session->graph->config;
    *out = (bp_bench_result){.width = settings->width,
                             .size = config->height,
                             .batch = settings->batch,
                             .classes = config->classes,
                             .threads = bp_threads_count(session->exec->threads),
                             .tier = bp_tier_name(settings->tier),
                             .rounds = bench->rounds,
                             .n_sides = bench->n_sides};
    if (session->data != NULL)
        snprintf(out->data, sizeof out->data, "%s", settings->data);
    snprintf(out->model, sizeof out->model, "%s", settings->model);
    if (bench->n_sides == 2) {
        double *ratios;
        BP_TRY(bp_alloc_array(&ratios, bench->rounds, sizeof *ratios, "ratios"));
        for (size_t i = 0; i < bench->rounds; i++)
            ratios[i] = bench->sides[1].step_ms[i] / bench->sides[0].step_ms[i];
        out->ratio = bp_rounds_median(ratios, bench->rounds);
        bp_free(ratios);
    }
    for (size_t i = 0; i < bench->n_sides; i++) /* sorts the times: after the ratios */
        report_side(bench, i, &out->sides[i]);
    return BP_OK;
}

bp_status bp_bench_step(const bp_config *config, const char *versus, bp_bench_result *out) {
    struct bench bench = {0};
    bp_status status = configure(&bench, config, versus);
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
