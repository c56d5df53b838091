/* A step of a run, whose gradients share their memory, against the same step with all of them kept;
 * and what a gradient that is not finite leaves. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "train/made_up.h"
#include "train/step.h"

enum { SIDE = 32, CHANNELS = 3, BATCH = 4, BYTES = BATCH * SIDE * SIDE * CHANNELS };
static uint8_t images[BYTES];
static int32_t labels[BATCH];
static const struct bp_batch batch = {.n = BATCH, .images = images, .labels = labels};

static void must(bp_status status) {
    if (status != BP_OK)
        fail_msg("%s", bp_status_message());
}

/* Names and values, ended by NULL. */
static void session_open(struct bp_session *session, const char *const *options) {
    bp_config *config;
    must(bp_config_create(&config));
    must(bp_config_set(config, "width", "0.1", "test"));
    must(bp_config_set(config, "batch", "4", "test"));
    must(bp_config_set(config, "threads", "2", "test"));
    for (; options[0] != NULL; options += 2)
        must(bp_config_set(config, options[0], options[1], "test"));
    must(bp_session_open_made_up(session, config, BP_COMMAND_BENCH));
    bp_config_destroy(config);
    bp_made_up_images(images, BYTES, 1);
    bp_made_up_labels(labels, BATCH, session->settings.classes);
}

/* The same network with a gradient for each parameter, updated after the backward pass. */
struct kept {
    struct bp_exec *exec;
    struct bp_graph *graph;
    struct bp_optim *optim;
};

static void kept_open(struct kept *kept, const struct bp_session *session) {
    struct bp_graph_config config = session->graph->config;
    config.share_gradients = 0;
    must(bp_exec_create(&kept->exec, session->exec->tier, 1));
    must(bp_graph_create(&kept->graph, kept->exec, &config));
    must(bp_optim_create(&kept->optim, kept->graph->params, kept->graph->n_params));
}

static void kept_close(struct kept *kept) {
    bp_optim_destroy(kept->optim);
    bp_graph_destroy(kept->graph);
    bp_exec_destroy(kept->exec);
}

static double kept_step(struct kept *kept, const struct bp_optim_config *config, uint32_t step) {
    struct bp_optim_result update;
    double loss;
    size_t correct;
    kept->graph->step = step;
    bp_graph_set_input(kept->graph, BATCH, images);
    must(bp_graph_forward(kept->graph, 1));
    must(bp_graph_loss(kept->graph, labels, 1, &loss, &correct));
    must(bp_graph_backward(kept->graph, NULL));
    bp_optim_step(kept->optim, kept->exec, config, 1, step + 1, &update);
    bp_graph_weights_updated(kept->graph);
    return loss;
}

static void expect_same(const char *name, const float *a, const float *b, size_t count) {
    if (memcmp(a, b, count * sizeof *a) != 0)
        fail_msg("%s differs", name);
}

static void expect_same_network(const struct bp_graph *a, const struct bp_graph *b) {
    assert_int_equal(a->n_params, b->n_params);
    for (size_t i = 0; i < a->n_params; i++) {
        const struct bp_param *x = a->params[i], *y = b->params[i];
        expect_same(x->name, x->value, y->value, x->count);
        expect_same(x->name, x->moment1, y->moment1, x->count);
        expect_same(x->name, x->moment2, y->moment2, x->count);
    }
    for (size_t i = 0; i < a->n_running; i++)
        expect_same(a->running[i]->name, a->running[i]->value, b->running[i]->value,
                    a->running[i]->count);
}

static void compare(int shares, const char *const *options) {
    struct bp_session session;
    struct bp_step_result result;
    struct kept kept;
    session_open(&session, options);
    kept_open(&kept, &session);
    assert_int_equal(session.graph->config.share_gradients, shares);
    for (uint32_t step = 0; step < 3; step++) {
        must(bp_session_step_with(&session, NULL, step, &batch, &result));
        assert_null(result.infinite);
        assert_true(result.loss == kept_step(&kept, &session.settings.optim, step));
        assert_true(result.optimizer_ns > 0);
    }
    expect_same_network(session.graph, kept.graph);
    kept_close(&kept);
    bp_session_close(&session);
}
#define COMPARE(shares, ...) compare(shares, (const char *const[]){__VA_ARGS__, NULL})

static void test_same_bytes(void **state) {
    (void)state;
    COMPARE(1, "preset", "one-bit");
    COMPARE(1, "model", "resnet18", "preset", "one-bit", "optimizer", "sgd", "nesterov", "true",
            "head-lr", "0.3", "weight-decay", "0.01", "clamp-latent", "true");
    COMPARE(1, "model", "resnet18", "preset", "paper", "optimizer", "adamw");
    COMPARE(1, "precision", "psq");
    COMPARE(1, "precision", "qat");
    COMPARE(1, "model", "resnet18", "precision", "fp32");
    COMPARE(0, "model", "resnet18", "preset", "one-bit", "clip-norm", "0.5");
}

/* A loss that is finite, but so steep that the gradient overflows behind the last convolution: its
 * output is next to nothing, so that batch norm multiplies by 1 / sqrt(eps), and the head is huge.
 */
static void test_infinite_gradient(void **state) {
    (void)state;
    struct bp_session session;
    struct bp_step_result result;
    session_open(&session, (const char *const[]){"precision", "fp32", NULL});
    struct bp_graph *graph = session.graph;
    struct bp_param *conv13 = NULL;
    for (size_t i = 0; i < graph->n_params; i++) {
        struct bp_param *param = graph->params[i];
        int head = (param->flags & BP_PARAM_HEAD) != 0;
        conv13 = strcmp(param->name, "conv13.weight") == 0 ? param : conv13;
        for (size_t j = 0; j < param->count; j++)
            param->value[j] *= head ? 1e37f : param == conv13 ? 1e-6f : 1.0f;
    }
    assert_non_null(conv13);
    float *before;
    must(bp_alloc_array(&before, conv13->count, sizeof *before, "test"));
    memcpy(before, conv13->value, conv13->count * sizeof *before);
    bp_graph_weights_changed(graph);
    must(bp_session_step_with(&session, NULL, 0, &batch, &result));
    assert_true(isfinite(result.loss));
    assert_string_equal(result.infinite, "the gradient");
    expect_same(conv13->name, before, conv13->value, conv13->count);
    for (size_t i = 0; i < graph->n_params; i++) {
        const struct bp_param *param = graph->params[i];
        for (size_t j = 0; j < param->count; j++) {
            assert_true(isfinite(param->value[j]));
            if (!(param->flags & BP_PARAM_HEAD) || param->n_dims == 1)
                assert_true(param->moment1[j] == 0.0f && param->moment2[j] == 0.0f);
        }
    }
    bp_free(before);
    bp_session_close(&session);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bytes),
        cmocka_unit_test(test_infinite_gradient),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
