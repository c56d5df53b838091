/* Whole training steps against results of PyTorch in float64, stored by
 * `tests/oracle/oracle.py PROGRAM --write-golden tests/golden`; golden.py there tells what the
 * files hold and how the limits came about. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "io/safetensors.h"
#include "oracle/oracle_case.h"

enum { SAMPLES = 16 };

struct golden {
    struct bp_safetensors *file;
    struct oracle_case c;
    struct bp_exec *exec;
    struct bp_graph *graph;
    uint8_t *images;
    int32_t *labels;
    size_t compared;
};

static void must(bp_status status) {
    if (status != BP_OK)
        fail_msg("%s", bp_status_message());
}

static const char *text(const struct golden *g, const char *key) {
    const char *value = bp_safetensors_text(g->file, key);
    if (!value)
        fail_msg("no metadata '%s'", key);
    return value;
}

static size_t number(const struct golden *g, const char *key) {
    return strtoul(text(g, key), NULL, 10);
}

/* The file's next name must be `name`; -> what follows it. */
static const char *next_name(const char *names, const char *name) {
    size_t n = strcspn(names, ",");
    if (strlen(name) != n || strncmp(name, names, n) != 0)
        fail_msg("the graph has %s where the file has %.*s", name, (int)n, names);
    return names + n + (names[n] == ',');
}

static void golden_open(struct golden *g, const char *name, enum bp_tier tier, int threads,
                        enum bp_fp32_backend backend) {
    char path[1024];
    memset(g, 0, sizeof *g);
    snprintf(path, sizeof path, "%s/%s.safetensors", BP_GOLDEN_DIR, name);
    must(bp_safetensors_open(&g->file, path));
    snprintf(g->c.model, sizeof g->c.model, "%s", text(g, "model"));
    int qat = strcmp(text(g, "precision"), "qat") == 0;
    g->c.precision = qat ? BP_PRECISION_QAT : BP_PRECISION_FP32;
    g->c.width = strtod(text(g, "width"), NULL);
    g->c.size = number(g, "size");
    g->c.channels = number(g, "channels");
    g->c.classes = number(g, "classes");
    g->c.batch = number(g, "batch");
    g->c.smoothing = strtof(text(g, "smoothing"), NULL);
    g->c.seed = number(g, "seed");
    g->c.backend = backend;
    must(bp_exec_create(&g->exec, tier, threads));
    must(oracle_case_create(&g->c, g->exec, &g->graph, &g->images, &g->labels));
    const char *params = text(g, "params"), *running = text(g, "running");
    for (size_t i = 0; i < g->graph->n_params; i++)
        params = next_name(params, g->graph->params[i]->name);
    for (size_t i = 0; i < g->graph->n_running; i++)
        running = next_name(running, g->graph->running[i]->name);
    assert_int_equal(*params, 0);
    assert_int_equal(*running, 0);
}

static void golden_close(struct golden *g) {
    bp_free(g->images);
    bp_free(g->labels);
    bp_graph_destroy(g->graph);
    bp_exec_destroy(g->exec);
    bp_safetensors_close(g->file);
}

/* The stored tensor prefix + name (NULL: there is none), its limits in *limits. */
static const float *find(const struct golden *g, const char *prefix, const char *name, size_t count,
                         const float **limits) {
    char key[128];
    snprintf(key, sizeof key, "%s%s", prefix, name);
    const struct bp_saved_tensor *stored = bp_safetensors_find(g->file, key);
    if (!stored)
        return NULL;
    assert_int_equal(stored->dtype, BP_DTYPE_F32);
    assert_int_equal(stored->bytes, count * sizeof(float));
    snprintf(key, sizeof key, "%s%s.limit", prefix, name);
    const struct bp_saved_tensor *limit = bp_safetensors_find(g->file, key);
    assert_non_null(limit);
    *limits = limit->data;
    return stored->data;
}

static void compare(struct golden *g, const char *what, const char *name, size_t index,
                    double value, float expected, float limit) {
    g->compared++;
    if (!(fabs(value - (double)expected) <= (double)limit))
        fail_msg("%s %s [%zu]: %.9g, expected %.9g within %.2g", what, name, index, value,
                 (double)expected, (double)limit);
}

static void compare_samples(struct golden *g, const char *what, size_t i, const char *name,
                            const float *values, size_t count, const float *expected,
                            const float *limits) {
    for (size_t j = 0; j < SAMPLES; j++) {
        size_t index = j * count / SAMPLES;
        compare(g, what, name, index, (double)values[index], expected[i * SAMPLES + j], limits[i]);
    }
}

static void compare_params(struct golden *g, const char *prefix, const char *what) {
    const float *limits, *expected = find(g, prefix, what, g->graph->n_params * SAMPLES, &limits);
    assert_non_null(expected);
    for (size_t i = 0; i < g->graph->n_params; i++) {
        const struct bp_param *p = g->graph->params[i];
        const float *values = strcmp(what, "grad") == 0 ? p->grad : p->value;
        compare_samples(g, what, i, p->name, values, p->count, expected, limits);
    }
}

static void compare_running(struct golden *g) {
    const float *limits, *expected = find(g, "", "after", g->graph->n_running * SAMPLES, &limits);
    assert_non_null(expected);
    for (size_t i = 0; i < g->graph->n_running; i++) {
        const struct bp_running *r = g->graph->running[i];
        compare_samples(g, "after", i, r->name, r->value, r->count, expected, limits);
    }
}

static void compare_pass(struct golden *g, const char *prefix, int training) {
    double loss;
    size_t correct, n_logits = g->c.batch * g->c.classes;
    float logits[64];
    assert_true(n_logits <= sizeof logits / sizeof *logits);
    must(oracle_case_run(&g->c, g->graph, g->images, g->labels, training, logits, &loss, &correct));
    const float *limits, *expected = find(g, prefix, "logits", n_logits, &limits);
    assert_non_null(expected);
    for (size_t i = 0; i < n_logits; i++)
        compare(g, prefix, "logits", i, (double)logits[i], expected[i], *limits);
    expected = find(g, prefix, "loss", 1, &limits);
    assert_non_null(expected);
    compare(g, prefix, "loss", 0, loss, *expected, *limits);
}

static void compare_recipe(struct golden *g, int index) {
    struct oracle_recipe recipe;
    oracle_recipe_get(&recipe, index);
    char prefix[32];
    snprintf(prefix, sizeof prefix, "%s.", recipe.name);
    const float *limits, *losses = find(g, prefix, "loss", ORACLE_STEPS, &limits);
    if (!losses)
        return;
    struct bp_optim *optim;
    must(bp_optim_create(&optim, g->graph->params, g->graph->n_params));
    oracle_case_reset(&g->c, g->graph);
    for (unsigned s = 0; s < ORACLE_STEPS; s++) {
        double loss;
        size_t correct;
        struct bp_optim_result result;
        must(oracle_case_run(&g->c, g->graph, g->images, g->labels, 1, NULL, &loss, &correct));
        compare(g, prefix, "loss", s, loss, losses[s], *limits);
        bp_optim_step(optim, g->exec, &recipe.optim,
                      bp_schedule_factor(&recipe.schedule, s, ORACLE_STEPS), s + 1, &result);
        assert_true(result.finite);
        bp_graph_weights_updated(g->graph);
    }
    compare_params(g, prefix, "param");
    bp_optim_destroy(optim);
}

static void compare_file(const char *name, enum bp_tier tier, int threads,
                         enum bp_fp32_backend backend) {
    struct golden g;
    golden_open(&g, name, tier, threads, backend);
    oracle_case_reset(&g.c, g.graph);
    compare_pass(&g, "eval.", 0);
    compare_pass(&g, "train.", 1);
    compare_params(&g, "", "grad");
    compare_running(&g);
    for (int i = 0; i < ORACLE_RECIPES; i++)
        compare_recipe(&g, i);
    assert_true(g.compared > 1000);
    golden_close(&g);
}

static void test_file(void **state) {
    const char *name = *state;
    compare_file(name, bp_cpu_best(), 1, bp_fp32_default());
    compare_file(name, BP_TIER_C, 1, BP_FP32_PLAIN);
}

/* Only where the file holds single passes: many short parallel regions crawl on a busy machine. */
static void test_threads(void **state) {
    compare_file(*state, bp_cpu_best(), 3, bp_fp32_default());
}

#define FILE_TEST(name)                                                                            \
    { name, test_file, NULL, NULL, name }
#define THREADS_TEST(name)                                                                         \
    { name " on three threads", test_threads, NULL, NULL, name }

int main(void) {
    const struct CMUnitTest tests[] = {
        FILE_TEST("vgg16_fp32_sgd"),     FILE_TEST("vgg16_fp32_nesterov"),
        FILE_TEST("vgg16_fp32_adam"),    FILE_TEST("vgg16_fp32_adamw"),
        FILE_TEST("vgg16_qat_sgd"),      FILE_TEST("vgg16_qat_nesterov"),
        FILE_TEST("vgg16_qat_adam"),     FILE_TEST("vgg16_qat_adamw"),
        FILE_TEST("resnet18_fp32"),      FILE_TEST("resnet18_qat_nesterov"),
        FILE_TEST("resnet18_qat_adamw"), FILE_TEST("resnet18_qat_96px"),
        THREADS_TEST("resnet18_fp32"),   THREADS_TEST("resnet18_qat_96px"),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
