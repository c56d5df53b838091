/* Beginning with a checkpoint: what goes where, what is refused, what follows for the options; and
 * the frozen body, which stays as it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "data_files.h"
#include "io/safetensors.h"
#include "train/init.h"
#include "train_files.h"

static char *const abc[] = {"a", "b", "c"};

struct network {
    struct bp_exec *exec;
    struct bp_graph *graph;
};

static struct bp_graph_config small(void) {
    return (struct bp_graph_config){.model = "vgg16",
                                    .width = 0.05,
                                    .height = 32,
                                    .width_px = 32,
                                    .channels = 1,
                                    .classes = 3,
                                    .batch = 2,
                                    .training = 1,
                                    .precision = BP_PRECISION_QAT,
                                    .backend = bp_fp32_default(),
                                    .seed = 1,
                                    .mean = {0.25f, 0.25f, 0.25f},
                                    .deviation = {0.5f, 0.5f, 0.5f}};
}

static struct network open_network(const struct bp_graph_config *config) {
    struct network n;
    assert_int_equal(bp_exec_create(&n.exec, BP_TIER_C, 1), BP_OK);
    if (bp_graph_create(&n.graph, n.exec, config) != BP_OK)
        fail_msg("%s", bp_last_error());
    return n;
}

static void close_network(struct network *n) {
    bp_graph_destroy(n->graph);
    bp_exec_destroy(n->exec);
}

/* A network with values of its own everywhere, saved as <folder>/old.ckpt. */
static struct network save_old(const char *folder, const struct bp_graph_config *config,
                               char path[BP_PATH_BYTES]) {
    struct network n = open_network(config);
    const struct bp_preprocess preprocess = {.side = config->height, .channels = config->channels};
    const struct bp_progress progress = {.step = 4,
                                         .eval_step = 4,
                                         .epoch = 2,
                                         .best_epoch = 2,
                                         .accuracy = 0.5,
                                         .best_accuracy = 0.5};
    for (size_t i = 0; i < n.graph->n_running; i++)
        for (size_t j = 0; j < n.graph->running[i]->count; j++)
            n.graph->running[i]->value[j] = (float)(i + 1) + 0.25f * (float)j;
    snprintf(path, BP_PATH_BYTES, "%s/old.ckpt", folder);
    assert_int_equal(bp_checkpoint_save(path, n.graph, NULL, &preprocess, "{}", abc, &progress, 1),
                     BP_OK);
    return n;
}

static struct bp_init *open_init(const char *path) {
    struct bp_init *init;
    bp_config *config;
    assert_int_equal(bp_config_create(&config), BP_OK);
    assert_int_equal(bp_config_set(config, "init", path, "command line"), BP_OK);
    if (bp_init_open(&init, config) != BP_OK)
        fail_msg("%s", bp_last_error());
    bp_config_destroy(config);
    return init;
}

static const struct bp_param *param_of(const struct bp_graph *graph, const char *name) {
    for (size_t i = 0; i < graph->n_params; i++)
        if (strcmp(graph->params[i]->name, name) == 0)
            return graph->params[i];
    fail_msg("no parameter %s", name);
    return NULL;
}

/* Everything but the first convolution and the head is as in the old network. */
static void expect_same_body(const struct bp_graph *a, const struct bp_graph *b) {
    assert_int_equal(a->n_params, b->n_params);
    for (size_t i = 1; i < a->n_params; i++)
        if (!(a->params[i]->flags & BP_PARAM_HEAD))
            assert_memory_equal(a->params[i]->value, b->params[i]->value,
                                a->params[i]->count * sizeof(float));
    for (size_t i = 0; i < a->n_running; i++)
        assert_memory_equal(a->running[i]->value, b->running[i]->value,
                            a->running[i]->count * sizeof(float));
    for (size_t i = 0; i < a->n_params; i++)
        for (size_t j = 0; j < b->params[i]->count; j++)
            assert_true(b->params[i]->moment1[j] == 0 && b->params[i]->moment2[j] == 0);
}

static int has_line(const struct bp_init *init, const char *text) {
    const char *line;
    for (size_t i = 0; (line = bp_init_line(init, i)) != NULL; i++)
        if (strstr(line, text) != NULL)
            return 1;
    return 0;
}

static void test_same_network(void **state) {
    char path[BP_PATH_BYTES];
    struct bp_graph_config config = small();
    struct network old = save_old(*state, &config, path);
    config.seed = 2;
    config.height = config.width_px = 48; /* the networks end in global pooling */
    struct network new = open_network(&config);
    struct bp_init *init = open_init(path);
    assert_int_equal(bp_init_apply(init, new.graph, abc), BP_OK);
    expect_same_body(old.graph, new.graph);
    for (size_t i = 0; i < old.graph->n_params; i++)
        assert_memory_equal(old.graph->params[i]->value, new.graph->params[i]->value,
                            old.graph->params[i]->count * sizeof(float));
    assert_true(has_line(init, "the head too"));
    assert_true(has_line(init, "left "));
    assert_false(has_line(init, "new "));
    bp_init_close(init);
    close_network(&new);
    close_network(&old);
}

static void test_classes_in_another_order(void **state) {
    static char *const order[] = {"c", "a", "b"};
    static const size_t rows[] = {2, 0, 1};
    char path[BP_PATH_BYTES];
    struct bp_graph_config config = small();
    struct network old = save_old(*state, &config, path);
    config.seed = 2;
    struct network new = open_network(&config);
    struct bp_init *init = open_init(path);
    assert_int_equal(bp_init_apply(init, new.graph, order), BP_OK);
    const struct bp_param *from = param_of(old.graph, "head.weight");
    const struct bp_param *to = param_of(new.graph, "head.weight");
    for (size_t i = 0; i < 3; i++)
        assert_memory_equal(to->value + i * to->dims[1], from->value + rows[i] * to->dims[1],
                            to->dims[1] * sizeof(float));
    assert_true(
        has_line(init, "changed  2 tensors: head.weight, head.bias (the classes in another"));
    bp_init_close(init);
    close_network(&new);
    close_network(&old);
}

static void expect_new_head(void **state, size_t classes, char *const *names, const char *why) {
    char path[BP_PATH_BYTES];
    struct bp_graph_config config = small();
    struct network old = save_old(*state, &config, path);
    config.seed = 2;
    config.classes = classes;
    struct network new = open_network(&config), untouched = open_network(&config);
    struct bp_init *init = open_init(path);
    assert_int_equal(bp_init_apply(init, new.graph, names), BP_OK);
    expect_same_body(old.graph, new.graph);
    const struct bp_param *head = param_of(new.graph, "head.weight");
    assert_memory_equal(head->value, param_of(untouched.graph, "head.weight")->value,
                        head->count * sizeof(float));
    assert_true(has_line(init, why));
    assert_true(has_line(init, "new      2 tensors: head.weight, head.bias"));
    bp_init_close(init);
    close_network(&untouched);
    close_network(&new);
    close_network(&old);
}

static void test_other_classes(void **state) {
    static char *const names[] = {"a", "b", "d"}, *const four[] = {"a", "b", "c", "d"};
    expect_new_head(state, 3, names, "the old ones have no 'd'");
    expect_new_head(state, 4, four, "4 classes, not 3");
}

/* A grey picture shown in three equal channels gives the same as before; three channels summed. */
static void test_other_channels(void **state) {
    for (size_t channels = 1; channels <= 3; channels += 2) {
        char path[BP_PATH_BYTES];
        struct bp_graph_config config = small();
        config.channels = channels;
        struct network old = save_old(*state, &config, path);
        config.channels = 4 - channels;
        struct network new = open_network(&config);
        struct bp_init *init = open_init(path);
        assert_int_equal(bp_init_apply(init, new.graph, abc), BP_OK);
        expect_same_body(old.graph, new.graph);
        const float *from = old.graph->params[0]->value, *to = new.graph->params[0]->value;
        for (size_t i = 0; i < old.graph->params[0]->count / channels; i++) {
            if (channels == 1)
                for (size_t c = 0; c < 3; c++)
                    assert_true(to[3 * i + c] == from[i] / 3);
            else
                assert_true(to[i] == from[3 * i] + from[3 * i + 1] + from[3 * i + 2]);
        }
        assert_true(has_line(init, "changed  1 tensor: conv1.weight ("));
        bp_init_close(init);
        close_network(&new);
        close_network(&old);
    }
}

static void expect_refused(const char *path, const struct bp_graph_config *config, const char *what,
                           const char *advice) {
    struct network new = open_network(config), untouched = open_network(config);
    struct bp_init *init = open_init(path);
    assert_int_equal(bp_init_apply(init, new.graph, abc), BP_MODEL);
    EXPECT_MESSAGE(path, what, advice);
    for (size_t i = 0; i < new.graph->n_params; i++)
        assert_memory_equal(new.graph->params[i]->value, untouched.graph->params[i]->value,
                            new.graph->params[i]->count * sizeof(float));
    bp_init_close(init);
    close_network(&untouched);
    close_network(&new);
}

static void test_another_network(void **state) {
    char path[BP_PATH_BYTES];
    struct bp_graph_config config = small(), other = small();
    struct network old = save_old(*state, &config, path);
    strcpy(other.model, "resnet18");
    expect_refused(path, &other, "not a resnet18", "--model vgg16");
    other = small();
    other.width = 0.1;
    expect_refused(path, &other, "width 0.05, not 0.1", "--width 0.05");
    other = small();
    other.precision = BP_PRECISION_FP32;
    expect_refused(path, &other, "trained with --precision qat", "--precision qat");
    other = small();
    other.channels = 2;
    expect_refused(path, &other, "'conv1.weight'", "another shape");
    close_network(&old);
    strcpy(config.model, "resnet18");
    old = save_old(*state, &config, path);
    other = config;
    other.height = other.width_px = 96;
    expect_refused(path, &other, "another stem from 96 pixels", "--size 32");
    close_network(&old);
}

static void test_options_that_follow(void **state) {
    char path[BP_PATH_BYTES];
    struct bp_graph_config network = small();
    struct network old = save_old(*state, &network, path);
    bp_config *config;
    assert_int_equal(bp_config_create(&config), BP_OK);
    assert_int_equal(bp_config_load_init(config), BP_OK); /* nothing to follow */
    assert_false(bp_config_is_set(config, "model"));
    assert_int_equal(bp_config_set(config, "init", path, "command line"), BP_OK);
    assert_int_equal(bp_config_set(config, "recipe", "scratch", "command line"), BP_OK);
    assert_int_equal(bp_config_load_init(config), BP_OK);
    static const char *const expected[][3] = {{"model", "vgg16", "--init"},
                                              {"width", "0.05", "--init"},
                                              {"precision", "qat", "--init"},
                                              {"recipe", "scratch", "command line"}};
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        assert_string_equal(bp_config_get(config, expected[i][0]), expected[i][1]);
        assert_string_equal(bp_config_origin(config, expected[i][0]), expected[i][2]);
    }
    assert_false(bp_config_is_set(config, "mean")); /* the new data's */
    assert_false(bp_config_is_set(config, "size")); /* not a model of pictures */
    bp_config_destroy(config);
    close_network(&old);
}

/* --- runs ------------------------------------------------------------------------------------- */

static void train(bp_config *config) {
    if (bp_train(config, NULL, NULL, NULL) != BP_OK)
        fail_msg("%s", bp_last_error());
    bp_config_destroy(config);
}

/* Averages of what does not change do not change either. */
static void test_frozen_body(void **state) {
    const char *folder = *state;
    static const char *const models[] = {"vgg16", "resnet18"};
    char path[BP_PATH_BYTES], run[32], frozen[32];
    for (size_t m = 0; m < 2; m++) {
        snprintf(run, sizeof run, "old-%s", models[m]);
        train(TRAIN_CONFIG(folder, run, "model", models[m], "epochs", "1"));
        snprintf(path, sizeof path, "%s/%s", folder, run);
        snprintf(frozen, sizeof frozen, "frozen-%s", models[m]);
        train(TRAIN_CONFIG(folder, frozen, "init", path, "freeze", "body", "ema", "0.9"));
        struct bp_safetensors *a, *b;
        snprintf(path, sizeof path, "%s/%s/best.ckpt", folder, run);
        assert_int_equal(bp_safetensors_open(&a, path), BP_OK);
        snprintf(path, sizeof path, "%s/%s/last.ckpt", folder, frozen);
        assert_int_equal(bp_safetensors_open(&b, path), BP_OK);
        for (size_t i = 0; i < bp_safetensors_count(a); i++) {
            const struct bp_saved_tensor *x = bp_safetensors_at(a, i);
            const struct bp_saved_tensor *y = bp_safetensors_find(b, x->name);
            assert_non_null(y);
            int same = memcmp(x->data, y->data, x->bytes) == 0;
            if (same != (strncmp(x->name, "head.", 5) != 0 || strncmp(x->name, "head.n", 6) == 0))
                fail_msg("%s: %s", models[m], x->name);
        }
        bp_safetensors_close(a);
        bp_safetensors_close(b);
    }
}

/* Before its first checkpoint a run needs the file again, after it no more. */
static void test_killed_run_begins_again(void **state) {
    const char *folder = *state;
    char old[BP_PATH_BYTES], path[BP_PATH_BYTES];
    snprintf(old, sizeof old, "%s/old", folder);
    train(TRAIN_CONFIG(folder, "old", "epochs", "1"));
    train(TRAIN_CONFIG(folder, "whole", "init", old, "epochs", "3"));
    train(TRAIN_CONFIG(folder, "cut", "init", old, "epochs", "3"));
    snprintf(path, sizeof path, "%s/cut/last.ckpt", folder);
    assert_int_equal(remove(path), 0);
    snprintf(path, sizeof path, "%s/cut", folder);
    if (bp_resume(path, NULL, NULL, NULL, NULL) != BP_OK)
        fail_msg("%s", bp_last_error());
    train_expect_same_run(folder, "whole", "cut");
    /* another content under the same name */
    snprintf(path, sizeof path, "%s/cut/last.ckpt", folder);
    assert_int_equal(remove(path), 0);
    train(TRAIN_CONFIG(folder, "other", "epochs", "1", "seed", "7"));
    char from[BP_PATH_BYTES], to[BP_PATH_BYTES];
    snprintf(from, sizeof from, "%s/other/best.ckpt", folder);
    snprintf(to, sizeof to, "%s/old/best.ckpt", folder);
    assert_int_equal(rename(from, to), 0);
    snprintf(path, sizeof path, "%s/cut", folder);
    assert_int_equal(bp_resume(path, NULL, NULL, NULL, NULL), BP_MODEL);
    EXPECT_MESSAGE("old/best.ckpt", "has changed", "put the file back");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, train_folder_setup, data_folder_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_same_network),    TEST(test_classes_in_another_order),
        TEST(test_other_classes),   TEST(test_other_channels),
        TEST(test_another_network), TEST(test_options_that_follow),
        TEST(test_frozen_body),     TEST(test_killed_run_begins_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
