#include "train/self_test.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "train/config.h"
#include "train/made_up.h"
#include "train/session.h"

/* Small enough for seconds, and yet with layers of one word of channels and of two, full vectors
 * and tails; the fewest samples whose weight gradient AVX-512 computes by lookup. */
#define WIDTH "0.128"
enum { SIDE_PX = 32, BATCH = 8, CHANNELS = 3, CLASSES = 10, STEPS = 2, MOST_THREADS = 2 };

/* One network, and what the C tier made of it with one thread. */
struct net {
    bp_config *config;
    struct bp_settings settings;
    char name[64]; /* "vgg16 fqt paper" */
    float *reference;
    size_t reference_count; /* floats */
};

struct self_test {
    bp_self_test_change *change;
    void *user;
    bp_self_test_result *out;
    uint8_t *images; /* [BATCH][SIDE_PX][SIDE_PX][CHANNELS] */
    int32_t *labels; /* [BATCH] */
};

/* --- what a graph has learned ----------------------------------------------------------------- */

struct learned {
    const char *name, *what;
    const float *values;
    size_t count;
};

/* The i-th array that training writes: values and moments of the parameters (the moments hold every
 * bit of the gradients), running statistics. Returns 0 behind the last. */
static int learned_at(const struct bp_graph *graph, size_t i, struct learned *out) {
    if (i < 3 * graph->n_params) {
        const struct bp_param *p = graph->params[i / 3];
        const float *values[] = {p->value, p->moment1, p->moment2};
        static const char *const what[] = {"", " (first moment)", " (second moment)"};
        *out = (struct learned){p->name, what[i % 3], values[i % 3], p->count};
        return 1;
    }
    i -= 3 * graph->n_params;
    if (i >= graph->n_running)
        return 0;
    const struct bp_running *r = graph->running[i];
    *out = (struct learned){r->name, "", r->value, r->count};
    return 1;
}

static bp_status keep_reference(struct net *net, const struct bp_graph *graph) {
    struct learned part;
    for (size_t i = 0; learned_at(graph, i, &part); i++)
        net->reference_count += part.count;
    BP_TRY(bp_alloc_array(&net->reference, net->reference_count, sizeof(float),
                          "the reference of the self-test"));
    float *to = net->reference;
    for (size_t i = 0; learned_at(graph, i, &part); i++) {
        memcpy(to, part.values, part.count * sizeof *to);
        to += part.count;
    }
    return BP_OK;
}

static void compare(const struct net *net, const struct bp_graph *graph, int threads,
                    bp_self_test_tier *out) {
    struct learned part;
    const float *wanted = net->reference;
    for (size_t i = 0; learned_at(graph, i, &part); i++) {
        for (size_t e = 0; e < part.count; e++) {
            if (memcmp(&part.values[e], &wanted[e], sizeof *wanted) == 0)
                continue;
            out->status = BP_CHECK;
            snprintf(out->difference, sizeof out->difference,
                     "%s, %d thread%s: %s%s [%zu] is %.9g instead of %.9g", net->name, threads,
                     threads == 1 ? "" : "s", part.name, part.what, e, (double)part.values[e],
                     (double)wanted[e]);
            return;
        }
        wanted += part.count;
    }
}

/* --- training --------------------------------------------------------------------------------- */

static bp_status train(const struct self_test *test, const struct net *net, struct bp_graph *graph,
                       struct bp_optim *optim) {
    struct bp_optim_result update;
    double loss;
    size_t correct;
    for (uint32_t step = 0; step < STEPS; step++) {
        graph->step = step;
        bp_graph_set_input(graph, BATCH, test->images);
        BP_TRY(bp_graph_forward(graph, 1));
        BP_TRY(bp_graph_loss(graph, test->labels, 1, &loss, &correct));
        BP_TRY(bp_graph_backward(
            graph, bp_optim_begin(optim, graph->exec, &net->settings.optim, 1, step + 1)));
        bp_optim_end(optim, &update);
        bp_graph_weights_updated(graph);
    }
    return BP_OK;
}

/* Trains a network on one tier; the first run of all becomes the reference. */
static bp_status train_on(const struct self_test *test, struct net *net, enum bp_tier tier,
                          int threads) {
    struct bp_exec *exec;
    struct bp_graph *graph = NULL;
    struct bp_optim *optim = NULL;
    struct bp_graph_config config;
    bp_session_graph_config(&net->settings, SIDE_PX, SIDE_PX, CHANNELS, CLASSES, &config);
    BP_TRY(bp_exec_create(&exec, tier, threads));
    if (test->change != NULL)
        test->change(test->user, tier, threads, &exec->kernels);
    bp_status status = bp_graph_create(&graph, exec, &config);
    if (status == BP_OK)
        status = bp_optim_create(&optim, graph->params, graph->n_params);
    if (status == BP_OK)
        status = train(test, net, graph, optim);
    if (status == BP_OK && net->reference == NULL)
        status = keep_reference(net, graph);
    else if (status == BP_OK)
        compare(net, graph, threads, &test->out->tiers[tier]);
    bp_optim_destroy(optim);
    bp_graph_destroy(graph);
    bp_exec_destroy(exec);
    return status;
}

static bp_status configure(struct net *net, const char *model, const char *precision,
                           const char *preset) {
    char batch[16];
    snprintf(net->name, sizeof net->name, "%s %s%s%s", model, precision, preset != NULL ? " " : "",
             preset != NULL ? preset : "");
    snprintf(batch, sizeof batch, "%d", BATCH);
    BP_TRY(bp_config_create(&net->config));
    const char *const options[][2] = {{"model", model},
                                      {"precision", precision},
                                      {"preset", preset},
                                      {"width", WIDTH},
                                      {"batch", batch}};
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
        if (options[i][1] != NULL)
            BP_TRY(bp_config_set(net->config, options[i][0], options[i][1], "self-test"));
    BP_TRY(bp_config_resolve(net->config, BP_COMMAND_BENCH, &net->settings));
    bp_made_up_moments(net->settings.mean, net->settings.deviation);
    return BP_OK;
}

/* A tier that differed once is not tried again: its first difference is what counts. */
static bp_status test_net(const struct self_test *test, const char *model, const char *precision,
                          const char *preset) {
    struct net net = {0};
    bp_status status = configure(&net, model, precision, preset);
    for (int t = 0; t < BP_TIER_COUNT; t++)
        for (int threads = 1; threads <= MOST_THREADS && status == BP_OK; threads++)
            if (test->out->tiers[t].present && test->out->tiers[t].status == BP_OK)
                status = train_on(test, &net, (enum bp_tier)t, threads);
    test->out->networks++;
    bp_config_destroy(net.config);
    bp_free(net.reference);
    return status;
}

/* Every model with every precision that the options know, and fqt with every preset. */
static bp_status test_nets(const struct self_test *test) {
    const char *const *models = bp_option_table[BP_OPT_MODEL].choices;
    const char *const *precisions = bp_option_table[BP_OPT_PRECISION].choices;
    const char *const *presets = bp_option_table[BP_OPT_PRESET].choices;
    for (size_t m = 0; models[m] != NULL; m++)
        for (size_t p = 0; precisions[p] != NULL; p++) {
            if (strcmp(precisions[p], "fqt") != 0)
                BP_TRY(test_net(test, models[m], precisions[p], NULL));
            for (size_t i = 0; strcmp(precisions[p], "fqt") == 0 && presets[i] != NULL; i++)
                BP_TRY(test_net(test, models[m], precisions[p], presets[i]));
        }
    return BP_OK;
}

static bp_status verdict(const bp_self_test_result *out) {
    for (size_t t = 0; t < out->n_tiers; t++)
        if (out->tiers[t].status != BP_OK)
            return bp_fail(BP_CHECK,
                           "the %s kernels do not give what the C ones give with one thread: %s; "
                           "use another --cpu, and report this with the output of 'bitprop doctor'",
                           out->tiers[t].tier, out->tiers[t].difference);
    return BP_OK;
}

bp_status bp_self_test_run(bp_self_test_change *change, void *user, bp_self_test_result *out) {
    struct self_test test = {.change = change, .user = user, .out = out};
    uint64_t begin_ns = bp_clock_ns();
    *out = (bp_self_test_result){.n_tiers = BP_TIER_COUNT};
    for (int t = 0; t < BP_TIER_COUNT; t++) {
        out->tiers[t].tier = bp_tier_name((enum bp_tier)t);
        out->tiers[t].present = bp_cpu_has((enum bp_tier)t);
    }
    const size_t bytes = (size_t)BATCH * SIDE_PX * SIDE_PX * CHANNELS;
    bp_status status = bp_alloc(&test.images, bytes, "made-up images");
    if (status == BP_OK)
        status = bp_alloc_array(&test.labels, BATCH, sizeof *test.labels, "labels");
    if (status == BP_OK) {
        bp_made_up_images(test.images, bytes, 1);
        bp_made_up_labels(test.labels, BATCH, CLASSES);
        status = test_nets(&test);
    }
    bp_free(test.images);
    bp_free(test.labels);
    out->seconds = (double)(bp_clock_ns() - begin_ns) * 1e-9;
    return status == BP_OK ? verdict(out) : status;
}

bp_status bp_self_test(bp_self_test_result *out) {
    return bp_self_test_run(NULL, NULL, out);
}
