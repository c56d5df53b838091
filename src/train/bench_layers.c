/* bp_bench_layers: the products of the binary convolutions as they run in training steps on made-up
 * images, beside what loops of their instructions reach on registers alone. */
#include "train/bench_layers.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "kernels/peak.h"
#include "nn/layers.h"
#include "train/made_up.h"
#include "train/rounds.h"
#include "train/session.h"

enum { WARM_UP_STEPS = 2, PRODUCTS = BP_BCONV_PRODUCTS };
_Static_assert((int)PRODUCTS == (int)BP_BENCH_PRODUCTS, "the public struct holds all products");

/* Some milliseconds, beside which the start of the threads counts little. */
#define PEAK_ITERATIONS (1L << 18)

/* Learns how the time of the backward pass divides into layers: it is called before each of them,
 * the last one first. */
struct observer {
    struct bp_backward_observer base; /* first: cast back */
    struct bench *bench;
    const struct bp_layer *current; /* whose parts are being timed; NULL: none yet */
};

struct bench {
    bp_config *config;
    struct bp_session session;
    uint8_t *images;
    int32_t *labels;
    struct observer observer;
    size_t rounds, round;
    double *ms; /* [layers][PRODUCTS][rounds]: sums of the occurrences */
    enum bp_peak_kind kind[PRODUCTS];
    struct {
        double best, sum; /* 10^9 multiply-adds a second on all threads; 0: no loop */
        size_t runs;
    } peaks[BP_PEAK_KINDS];
    bp_bench_layers_result *out; /* layers: gmac and gmac_needed are sums until the end */
};

/* --- arithmetic ------------------------------------------------------------------------------- */

void bp_bench_product_rate(bp_bench_product *product) {
    product->gmac_per_s = product->ms > 0 ? 1e3 * product->gmac / product->ms : 0;
    product->share = product->ceiling > 0 ? product->gmac_per_s / product->ceiling : 0;
}

void bp_bench_layers_mean(const bp_bench_layer *layers, size_t count, size_t product,
                          bp_bench_product *out) {
    *out = (bp_bench_product){.method = count > 0 ? layers[0].products[product].method : ""};
    for (size_t i = 0; i < count; i++) {
        const bp_bench_product *of = &layers[i].products[product];
        if (strcmp(of->method, out->method) != 0)
            out->method = "mixed";
        double times = (double)layers[i].count, weight = times * of->gmac;
        out->ms += times * of->ms;
        out->gmac += weight;
        out->gmac_needed += times * of->gmac_needed;
        out->gmac_per_s += weight * of->gmac_per_s;
        out->ceiling += weight * of->ceiling;
        out->ceiling_mean += weight * of->ceiling_mean;
        out->share += weight * of->share;
    }
    if (out->gmac > 0) {
        out->gmac_per_s /= out->gmac;
        out->ceiling /= out->gmac;
        out->ceiling_mean /= out->gmac;
        out->share /= out->gmac;
    }
}

/* --- layers ----------------------------------------------------------------------------------- */

static int same_shape(const bp_bench_layer *layer, const struct bp_conv_shape *s) {
    return layer->h == s->h && layer->w == s->w && layer->c == s->c && layer->k == s->k &&
           layer->r == s->r && layer->stride == s->stride;
}

static size_t find_layer(const bp_bench_layers_result *out, const struct bp_conv_shape *shape) {
    size_t i = 0;
    while (i < out->n_layers && !same_shape(&out->layers[i], shape))
        i++;
    return i;
}

static bp_status list_layers(const struct bp_graph *graph, bp_bench_layers_result *out) {
    for (size_t i = 0; i < graph->n_layers; i++) {
        if (graph->layers[i]->binary_index < 0)
            continue;
        struct bp_bconv_parts parts = bp_layer_bconv_parts(graph->layers[i]);
        const struct bp_conv_shape *s = parts.shape;
        size_t at = find_layer(out, s);
        if (at == BP_BENCH_LAYERS_MAX)
            return bp_fail(BP_INTERNAL, "more than %d layers", BP_BENCH_LAYERS_MAX);
        bp_bench_layer *layer = &out->layers[at];
        if (at == out->n_layers) {
            *layer = (bp_bench_layer){
                .h = s->h, .w = s->w, .c = s->c, .k = s->k, .r = s->r, .stride = s->stride};
            out->n_layers++;
        }
        layer->count++;
    }
    return BP_OK;
}

/* --- a round ---------------------------------------------------------------------------------- */

static void count(struct bench *bench, const struct bp_layer *layer, enum bp_bconv_product product,
                  uint64_t ns) {
    struct bp_bconv_parts parts = bp_layer_bconv_parts(layer);
    size_t at = find_layer(bench->out, parts.shape);
    bp_bench_product *to = &bench->out->layers[at].products[product];
    struct bp_bconv_work work = bp_bconv_work(parts.op, product, bench->session.graph->n);
    bench->ms[(at * PRODUCTS + product) * bench->rounds + bench->round] += (double)ns * 1e-6;
    to->method = bp_product_method_name(bp_bconv_method(parts.op, product));
    to->gmac += 1e-9 * work.done;
    to->gmac_needed += 1e-9 * work.needed;
}

static void finish_layer(struct observer *observer) {
    struct bp_exec *exec = observer->bench->session.exec;
    if (observer->current != NULL) {
        count(observer->bench, observer->current, BP_BCONV_DA, exec->spent_ns[BP_SPENT_DGRAD]);
        count(observer->bench, observer->current, BP_BCONV_DW, exec->spent_ns[BP_SPENT_WGRAD]);
    }
    memset(exec->spent_ns, 0, sizeof exec->spent_ns);
}

static bp_status before_layer(struct bp_backward_observer *base, struct bp_graph *graph,
                              const struct bp_layer *layer) {
    struct observer *observer = (struct observer *)base;
    (void)graph;
    finish_layer(observer);
    observer->current = layer;
    return BP_OK;
}

/* Forward and backward; the weights stay as they are. */
static bp_status pass(struct bench *bench, uint32_t step) {
    struct bp_graph *graph = bench->session.graph;
    double loss;
    size_t correct;
    graph->step = step;
    bp_graph_set_input(graph, bench->session.settings.batch, bench->images);
    BP_TRY(bp_graph_forward(graph, 1));
    BP_TRY(bp_graph_loss(graph, bench->labels, 1, &loss, &correct));
    return bp_graph_backward(graph, NULL);
}

static bp_status time_pass(struct bench *bench) {
    struct bp_graph *graph = bench->session.graph;
    bench->observer = (struct observer){.base = {before_layer}, .bench = bench};
    graph->observer = &bench->observer.base;
    bp_status status = pass(bench, (uint32_t)(WARM_UP_STEPS + bench->round));
    graph->observer = NULL;
    if (status != BP_OK)
        return status;
    finish_layer(&bench->observer);
    for (size_t i = 0; i < graph->n_layers; i++)
        if (graph->layers[i]->binary_index >= 0)
            count(bench, graph->layers[i], BP_BCONV_FORWARD, graph->layers[i]->forward_ns);
    return BP_OK;
}

/* --- the ceiling ------------------------------------------------------------------------------ */

static void peak_part(void *context, size_t begin, size_t end, int thread) {
    const struct bp_peak *peak = context;
    (void)thread;
    for (size_t i = begin; i < end; i++)
        peak->run(PEAK_ITERATIONS);
}

/* All threads at once, which may share a core. The best of all rounds is the bound. Their mean is
 * another number: a processor that settles early which of its units an instruction goes to runs the
 * same loop at one of several speeds. */
static void time_peak(struct bench *bench, enum bp_peak_kind kind) {
    struct bp_exec *exec = bench->session.exec;
    size_t workers = (size_t)bp_threads_count(exec->threads);
    struct bp_peak peak;
    if (!bp_peak_find(exec->tier, kind, &peak))
        return;
    uint64_t begin_ns = bp_clock_ns();
    bp_parallel_for(exec->threads, workers, peak_part, &peak);
    double ns = (double)(bp_clock_ns() - begin_ns);
    double rate = (double)workers * (double)PEAK_ITERATIONS * peak.macs / ns;
    double *best = &bench->peaks[kind].best;
    *best = rate > *best ? rate : *best;
    bench->peaks[kind].sum += rate;
    bench->peaks[kind].runs++;
}

/* Beside tiles the loops that they stand in for. */
static void time_peaks(struct bench *bench) {
    for (int p = 0; p < PRODUCTS; p++)
        time_peak(bench, bench->kind[p]);
    if (bench->kind[0] != BP_PEAK_TILES)
        return;
    time_peak(bench, BP_PEAK_WORDS);
    time_peak(bench, BP_PEAK_FOURS);
}

/* Methods as planned, bits and thus loops are the same in all layers. */
static void find_kinds(struct bench *bench, const struct bp_bconv *op, int passes[PRODUCTS]) {
    for (int p = 0; p < PRODUCTS; p++) {
        enum bp_bconv_product product = (enum bp_bconv_product)p;
        int entry_max;
        passes[p] = bp_bconv_passes(op, product, &entry_max);
        enum bp_product_method method = bp_bconv_method(op, product);
        bench->kind[p] = method == BP_PRODUCT_LOOKUP  ? bp_peak_of_lookup(entry_max)
                         : method == BP_PRODUCT_TILES ? BP_PEAK_TILES
                                                      : BP_PEAK_WORDS;
    }
}

static const struct bp_bconv *first_op(const struct bp_graph *graph) {
    size_t i = 0;
    while (graph->layers[i]->binary_index < 0)
        i++;
    return bp_layer_bconv_parts(graph->layers[i]).op;
}

/* --- all together ----------------------------------------------------------------------------- */

static bp_status open_network(struct bench *bench, const bp_config *config) {
    if (strcmp(bp_config_origin(config, "data"), "command line") == 0)
        return bp_fail(BP_USAGE, "--data is for 'bench step'; 'bench layers' makes its images up");
    BP_TRY(bp_config_copy(&bench->config, config));
    bp_config_unset(bench->config, BP_OPT_FREEZE); /* of a run's config file */
    BP_TRY(bp_session_open_made_up(&bench->session, bench->config, BP_COMMAND_BENCH));
    const struct bp_settings *settings = &bench->session.settings;
    const struct bp_graph_config *network = &bench->session.graph->config;
    if (settings->precision != BP_PRECISION_FQT && settings->precision != BP_PRECISION_PSQ)
        return bp_fail(BP_USAGE,
                       "--precision %s has no gradient products in few bits; 'bench layers' takes "
                       "fqt or psq",
                       bp_precision_name(settings->precision));
    size_t bytes = settings->batch * network->height * network->width_px * network->channels;
    BP_TRY(bp_alloc(&bench->images, bytes, "made-up images"));
    BP_TRY(bp_alloc_array(&bench->labels, settings->batch, sizeof *bench->labels, "labels"));
    bp_made_up_images(bench->images, bytes, settings->seed);
    bp_made_up_labels(bench->labels, settings->batch, settings->classes);
    bench->rounds = settings->rounds;
    return BP_OK;
}

static void describe(const struct bench *bench, bp_bench_layers_result *out) {
    const struct bp_settings *settings = &bench->session.settings;
    *out = (bp_bench_layers_result){.width = settings->width,
                                    .size = bench->session.graph->config.height,
                                    .batch = settings->batch,
                                    .threads = bp_threads_count(bench->session.exec->threads),
                                    .tier = bp_tier_name(settings->tier),
                                    .rounds = bench->rounds};
    snprintf(out->model, sizeof out->model, "%s", settings->model);
    snprintf(out->precision, sizeof out->precision, "%s", bp_precision_name(settings->precision));
    snprintf(out->preset, sizeof out->preset, "%s", settings->preset);
}

/* From sums over occurrences and rounds to one layer. */
static void finish(struct bench *bench, const int passes[PRODUCTS]) {
    bp_bench_layers_result *out = bench->out;
    for (size_t i = 0; i < out->n_layers; i++)
        for (size_t p = 0; p < PRODUCTS; p++) {
            bp_bench_product *product = &out->layers[i].products[p];
            double times = (double)out->layers[i].count;
            double *ms = bench->ms + (i * PRODUCTS + p) * bench->rounds;
            product->ms = bp_rounds_median(ms, bench->rounds) / times;
            product->gmac /= times * (double)bench->rounds;
            product->gmac_needed /= times * (double)bench->rounds;
            enum bp_peak_kind kind = bench->kind[p];
            double runs = bench->peaks[kind].runs > 0 ? (double)bench->peaks[kind].runs : 1;
            product->ceiling = bench->peaks[kind].best / passes[p];
            product->ceiling_mean = bench->peaks[kind].sum / runs / passes[p];
            bp_bench_product_rate(product);
        }
    for (size_t p = 0; p < PRODUCTS; p++)
        bp_bench_layers_mean(out->layers, out->n_layers, p, &out->mean[p]);
    if (bench->kind[0] != BP_PEAK_TILES)
        return;
    out->loop_words = bench->peaks[BP_PEAK_WORDS].best;
    out->loop_lookup = bench->peaks[BP_PEAK_FOURS].best;
}

static bp_status run(struct bench *bench, const bp_config *config) {
    int passes[PRODUCTS];
    BP_TRY(open_network(bench, config));
    describe(bench, bench->out);
    BP_TRY(list_layers(bench->session.graph, bench->out));
    BP_TRY(bp_alloc_array(&bench->ms, bench->out->n_layers * PRODUCTS * bench->rounds,
                          sizeof(double), "times"));
    memset(bench->ms, 0, bench->out->n_layers * PRODUCTS * bench->rounds * sizeof(double));
    find_kinds(bench, first_op(bench->session.graph), passes);
    for (uint32_t i = 0; i < WARM_UP_STEPS; i++)
        BP_TRY(pass(bench, i));
    for (bench->round = 0; bench->round < bench->rounds; bench->round++) {
        BP_TRY(bp_rounds_check_interrupt());
        time_peaks(bench);
        BP_TRY(time_pass(bench));
    }
    finish(bench, passes);
    return BP_OK;
}

bp_status bp_bench_layers(const bp_config *config, bp_bench_layers_result *out) {
    struct bench bench = {.out = out};
    bp_status status = run(&bench, config);
    bp_session_close(&bench.session);
    bp_config_destroy(bench.config);
    bp_free(bench.images);
    bp_free(bench.labels);
    bp_free(bench.ms);
    return status;
}
