/* Checkpoints: what is saved comes back, and files that do not fit are refused with the reason. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/file_io.h"
#include "base/memory.h"
#include "data_files.h"
#include "train/checkpoint.h"

enum { TEXTS_MAX = 6, CLASSES = 3 };

static char *class_names[CLASSES] = {"cat", "d\xc3\xb6g", "\"x\""};
static const struct bp_progress progress = {.step = 7,
                                            .eval_step = 4,
                                            .epoch = 1,
                                            .best_epoch = 1,
                                            .accuracy = 1.0 / 3,
                                            .loss = 1.0986122886681098,
                                            .best_accuracy = 0.7,
                                            .loss_sum = 0.1,
                                            .correct = 5,
                                            .seen = 12};

struct network {
    struct bp_exec *exec;
    struct bp_graph *graph;
};

static struct bp_graph_config small_config(void) {
    struct bp_graph_config config = {.model = "vgg16",
                                     .width = 0.05,
                                     .height = 32,
                                     .width_px = 32,
                                     .channels = 1,
                                     .classes = CLASSES,
                                     .batch = 2,
                                     .training = 1,
                                     .precision = BP_PRECISION_QAT,
                                     .backend = bp_fp32_default(),
                                     .mean = {0.1f, 0.2f, 0.3f},
                                     .deviation = {0.7f, 0.8f, 0.9f}};
    return config;
}

static struct network network_open(const struct bp_graph_config *config) {
    struct network n;
    assert_int_equal(bp_exec_create(&n.exec, BP_TIER_C, 1), BP_OK);
    if (bp_graph_create(&n.graph, n.exec, config) != BP_OK)
        fail_msg("%s", bp_last_error());
    return n;
}

static void network_close(struct network *n) {
    bp_graph_destroy(n->graph);
    bp_exec_destroy(n->exec);
}

/* Different numbers everywhere. */
static void fill(struct bp_graph *graph) {
    float next = 0.5f;
    for (size_t i = 0; i < graph->n_params; i++) {
        struct bp_param *p = graph->params[i];
        for (size_t j = 0; j < p->count; j++) {
            p->value[j] = next;
            p->moment1[j] = -next;
            p->moment2[j] = next * next;
            next += 0.125f;
        }
    }
    for (size_t i = 0; i < graph->n_running; i++)
        for (size_t j = 0; j < graph->running[i]->count; j++)
            graph->running[i]->value[j] = next += 0.125f;
}

static void expect_equal(const struct bp_graph *a, const struct bp_graph *b, int with_moments) {
    for (size_t i = 0; i < a->n_params; i++) {
        size_t bytes = a->params[i]->count * sizeof(float);
        assert_memory_equal(a->params[i]->value, b->params[i]->value, bytes);
        if (with_moments) {
            assert_memory_equal(a->params[i]->moment1, b->params[i]->moment1, bytes);
            assert_memory_equal(a->params[i]->moment2, b->params[i]->moment2, bytes);
        }
    }
    for (size_t i = 0; i < a->n_running; i++)
        assert_memory_equal(a->running[i]->value, b->running[i]->value,
                            a->running[i]->count * sizeof(float));
}

static const struct bp_preprocess preprocess = {.side = 32, .resize = 40, .channels = 1};

static const char *saved(const char *folder, const char *name, int with_moments) {
    const char *path = data_path(folder, name);
    struct bp_graph_config config = small_config();
    struct network n = network_open(&config);
    fill(n.graph);
    assert_int_equal(bp_checkpoint_save(path, n.graph, NULL, &preprocess, "{\"epochs\": 3}",
                                        class_names, &progress, with_moments),
                     BP_OK);
    network_close(&n);
    return path;
}

static void test_round_trip(void **state) {
    for (int with_moments = 0; with_moments < 2; with_moments++) {
        const char *path = saved(*state, "a.ckpt", with_moments);
        struct bp_graph_config config = small_config();
        struct network n = network_open(&config), filled = network_open(&config);
        struct bp_checkpoint *checkpoint;
        fill(filled.graph);
        if (bp_checkpoint_open(&checkpoint, path) != BP_OK)
            fail_msg("%s", bp_last_error());
        const struct bp_checkpoint_head *head = bp_checkpoint_head_of(checkpoint);
        assert_string_equal(head->model, "vgg16");
        assert_string_equal(head->precision, "qat");
        assert_true(head->width == 0.05 && head->height == 32 && head->width_px == 32);
        assert_true(head->channels == 1 && head->classes == CLASSES);
        for (int c = 0; c < 3; c++) {
            assert_string_equal(head->class_names[c], class_names[c]);
            assert_true(head->mean[c] == config.mean[c]);
            assert_true(head->deviation[c] == config.deviation[c]);
        }
        assert_string_equal(head->config, "{\"epochs\": 3}");
        const struct bp_progress *p = &head->progress;
        assert_true(p->step == progress.step && p->eval_step == progress.eval_step);
        assert_true(p->epoch == progress.epoch && p->best_epoch == progress.best_epoch);
        assert_true(p->accuracy == progress.accuracy && p->loss == progress.loss);
        assert_true(p->best_accuracy == progress.best_accuracy);
        assert_true(p->loss_sum == progress.loss_sum);
        assert_true(p->correct == progress.correct && p->seen == progress.seen);
        size_t all, binary;
        bp_graph_count_parameters(n.graph, &all, &binary);
        assert_true(head->parameters == all && head->binary_weights == binary);
        assert_true(binary > 0 && all > binary);
        if (bp_checkpoint_load(checkpoint, n.graph, NULL, with_moments) != BP_OK)
            fail_msg("%s", bp_last_error());
        expect_equal(n.graph, filled.graph, with_moments);
        if (!with_moments) {
            assert_int_equal(bp_checkpoint_load(checkpoint, n.graph, NULL, 1), BP_MODEL);
            EXPECT_MESSAGE("a.ckpt", "optimizer.moment1.", "missing", "no optimizer state");
        }
        bp_checkpoint_close(checkpoint);
        network_close(&n);
        network_close(&filled);
    }
}

static void test_same_state_same_bytes(void **state) {
    uint8_t *a, *b;
    size_t n_a, n_b;
    const char *folder = *state;
    assert_int_equal(bp_file_read(saved(folder, "a", 1), 1 << 30, BP_DATA, &a, &n_a), BP_OK);
    assert_int_equal(bp_file_read(saved(folder, "b", 1), 1 << 30, BP_DATA, &b, &n_b), BP_OK);
    assert_int_equal(n_a, n_b);
    assert_memory_equal(a, b, n_a);
    bp_free(a);
    bp_free(b);
}

/* --- other networks --------------------------------------------------------------------------- */

static void expect_refused_by(const char *path, const struct bp_graph_config *config,
                              const char *word) {
    struct network n = network_open(config), untouched = network_open(config);
    struct bp_checkpoint *checkpoint;
    assert_int_equal(bp_checkpoint_open(&checkpoint, path), BP_OK);
    assert_int_equal(bp_checkpoint_load(checkpoint, n.graph, NULL, 0), BP_MODEL);
    EXPECT_MESSAGE("a.ckpt", word);
    expect_equal(n.graph, untouched.graph, 1);
    bp_checkpoint_close(checkpoint);
    network_close(&n);
    network_close(&untouched);
}

static void test_other_networks(void **state) {
    const char *path = saved(*state, "a.ckpt", 0);
    struct bp_graph_config config = small_config();
    strcpy(config.model, "resnet18");
    expect_refused_by(path, &config, "made for model vgg16, not resnet18");
    config = small_config();
    config.width = 0.1;
    expect_refused_by(path, &config, "made for width 0.05, not 0.1");
    config = small_config();
    config.classes = 4;
    expect_refused_by(path, &config, "made for 3 classes, not 4");
    config = small_config();
    config.channels = 3;
    expect_refused_by(path, &config, "made for input of 32 x 32 x 1, not 32 x 32 x 3");
    config = small_config();
    config.precision = BP_PRECISION_FP32;
    expect_refused_by(path, &config, "made with precision qat, which is another network");
    config = small_config();
    config.stem = BP_STEM_8_BIT;
    expect_refused_by(path, &config, "made with --stem fp32, not 8-bit");
}

/* --- changed files ---------------------------------------------------------------------------- */

struct edit {
    const char *key, *value; /* a text of the header; value NULL: left out */
    const char *message;
};

/* Copies a checkpoint with one text changed. */
static void change_text(const char *from, const char *to, const char *key, const char *value) {
    static const char *const keys[TEXTS_MAX] = {"format",  "bitprop", "network",
                                                "classes", "config",  "progress"};
    struct bp_safetensors *file;
    struct bp_saved_text texts[TEXTS_MAX];
    size_t n_texts = 0, n = 0;
    assert_int_equal(bp_safetensors_open(&file, from), BP_OK);
    for (size_t i = 0; i < TEXTS_MAX; i++) {
        const char *text = strcmp(keys[i], key) == 0 ? value : bp_safetensors_text(file, keys[i]);
        if (text != NULL)
            texts[n_texts++] = (struct bp_saved_text){keys[i], text};
    }
    struct bp_saved_tensor *tensors;
    n = bp_safetensors_count(file);
    assert_int_equal(bp_alloc_array(&tensors, n, sizeof *tensors, "test"), BP_OK);
    for (size_t i = 0; i < n; i++)
        tensors[i] = *bp_safetensors_at(file, i);
    assert_int_equal(bp_safetensors_write(to, tensors, n, texts, n_texts), BP_OK);
    bp_free(tensors);
    bp_safetensors_close(file);
}

#define NETWORK(MODEL, WIDTH, HEIGHT, CLASSES, MEAN, STD)                                          \
    "{\"model\": " MODEL ", \"precision\": \"qat\", \"width\": " WIDTH ", \"height\": " HEIGHT     \
    ", \"width_px\": 32, \"channels\": 1, \"classes\": " CLASSES                                   \
    ", \"parameters\": 9, \"binary_weights\": 3, \"mean\": " MEAN ", \"std\": " STD "}"
#define PROGRESS(STEP, EVAL_STEP, ACCURACY)                                                        \
    "{\"step\": " STEP ", \"epoch\": 1, \"eval_step\": " EVAL_STEP                                 \
    ", \"best_epoch\": 1, \"accuracy\": " ACCURACY                                                 \
    ", \"loss\": 1, \"best_accuracy\": 1, \"epoch_loss_sum\": 0, \"epoch_correct\": 0, "           \
    "\"epoch_seen\": 0}"

static void test_changed_texts(void **state) {
    static const struct edit edits[] = {
        {"format", NULL, "names no format"},
        {"format", "something", "names no format"},
        {"format", "bitprop-checkpoint-2", "newer than this program"},
        {"network", NULL, "has no 'network'"},
        {"network", "{", "'network' is not valid JSON"},
        {"network", "[]", "'model' of 'network' is missing or impossible"},
        {"network", NETWORK("\"lenet\"", "1", "32", "3", "[1, 1, 1]", "[1, 1, 1]"), "'model' of"},
        {"network", NETWORK("7", "1", "32", "3", "[1, 1, 1]", "[1, 1, 1]"), "'model' of"},
        {"network", NETWORK("\"vgg16\"", "1e9", "32", "3", "[1, 1, 1]", "[1, 1, 1]"), "'width' of"},
        {"network", NETWORK("\"vgg16\"", "1", "-32", "3", "[1, 1, 1]", "[1, 1, 1]"), "'height' of"},
        {"network", NETWORK("\"vgg16\"", "1", "99999999999", "3", "[1, 1, 1]", "[1, 1, 1]"),
         "'height' of"},
        {"network", NETWORK("\"vgg16\"", "1", "32", "0", "[1, 1, 1]", "[1, 1, 1]"), "'classes' of"},
        {"network", NETWORK("\"vgg16\"", "1", "32", "4", "[1, 1, 1]", "[1, 1, 1]"),
         "'the list' of"},
        {"network", NETWORK("\"vgg16\"", "1", "32", "3", "[1, 1]", "[1, 1, 1]"), "'mean' of"},
        {"network", NETWORK("\"vgg16\"", "1", "32", "3", "[1, 1, 1]", "[1, 0, 1]"), "'std' of"},
        {"classes", NULL, "has no 'classes'"},
        {"classes", "[\"a\", \"b\", 3]", "'a name' of 'classes'"},
        {"classes", "{}", "'the list' of 'classes'"},
        {"progress", NULL, "has no 'progress'"},
        {"progress", PROGRESS("-1", "0", "1"), "'step' of"},
        {"progress", PROGRESS("5000000000", "0", "1"), "'step' of"},
        {"progress", PROGRESS("3", "4", "1"), "'eval_step' of"},
        {"progress", PROGRESS("3", "3", "2"), "'accuracy' of"},
        {"config", NULL, "has no 'config'"},
        {"config", "nonsense", "'config' is not valid JSON"},
    };
    const char *folder = *state, *from = saved(folder, "from.ckpt", 0);
    const char *path = data_path(folder, "changed.ckpt");
    struct bp_checkpoint *checkpoint;
    for (size_t i = 0; i < sizeof edits / sizeof edits[0]; i++) {
        change_text(from, path, edits[i].key, edits[i].value);
        if (bp_checkpoint_open(&checkpoint, path) != BP_MODEL)
            fail_msg("%s = %s was taken", edits[i].key, edits[i].value);
        EXPECT_MESSAGE("changed.ckpt", edits[i].message);
    }
}

/* Versions before --stem knew the fp32 stem only. */
static void test_stem(void **state) {
    static const char *const stems[][2] = {{"fp32", "\"stem\": \"fp32\", "},
                                           {"8-bit", "\"stem\": \"8-bit\", "},
                                           {"fp32", ""},
                                           {NULL, "\"stem\": \"7-bit\", "},
                                           {NULL, "\"stem\": 8, "}};
    const char *folder = *state, *from = saved(folder, "from.ckpt", 0);
    const char *path = data_path(folder, "stem.ckpt"), *network;
    struct bp_checkpoint *checkpoint;
    struct bp_safetensors *file;
    assert_int_equal(bp_safetensors_open(&file, from), BP_OK);
    assert_non_null(network = strstr(bp_safetensors_text(file, "network"), "\"stem\""));
    const char *behind = strchr(network, ',') + 2;
    for (size_t i = 0; i < sizeof stems / sizeof stems[0]; i++) {
        char text[1000];
        const char *begin = bp_safetensors_text(file, "network");
        snprintf(text, sizeof text, "%.*s%s%s", (int)(network - begin), begin, stems[i][1], behind);
        change_text(from, path, "network", text);
        bp_status status = bp_checkpoint_open(&checkpoint, path);
        if (stems[i][0] == NULL) {
            assert_int_equal(status, BP_MODEL);
            EXPECT_MESSAGE("stem.ckpt", "'stem' of 'network'");
            continue;
        }
        assert_int_equal(status, BP_OK);
        assert_string_equal(bp_checkpoint_head_of(checkpoint)->stem, stems[i][0]);
        bp_checkpoint_close(checkpoint);
    }
    bp_safetensors_close(file);
}

/* Writes a copy in which one tensor is missing, renamed, of another shape or type. */
static void change_tensor(const char *from, const char *to, const char *what) {
    struct bp_safetensors *file;
    struct bp_saved_tensor *tensors;
    assert_int_equal(bp_safetensors_open(&file, from), BP_OK);
    size_t n = bp_safetensors_count(file), kept = 0;
    assert_int_equal(bp_alloc_array(&tensors, n + 1, sizeof *tensors, "test"), BP_OK);
    for (size_t i = 0; i < n; i++)
        tensors[kept++] = *bp_safetensors_at(file, i);
    struct bp_saved_tensor *last = &tensors[kept - 1];
    if (strcmp(what, "missing") == 0)
        kept--;
    else if (strcmp(what, "renamed") == 0)
        strcpy(last->name, "stranger");
    else if (strcmp(what, "added") == 0) {
        tensors[kept] = *last;
        strcpy(tensors[kept++].name, "stranger");
    } else if (strcmp(what, "shape") == 0) {
        last->n_dims = 2;
        last->dims[1] = last->dims[0];
        last->dims[0] = 1;
    } else
        last->dtype = BP_DTYPE_I32;
    static const char *const keys[TEXTS_MAX] = {"format",  "bitprop", "network",
                                                "classes", "config",  "progress"};
    struct bp_saved_text texts[TEXTS_MAX];
    for (size_t i = 0; i < TEXTS_MAX; i++)
        texts[i] = (struct bp_saved_text){keys[i], bp_safetensors_text(file, keys[i])};
    assert_int_equal(bp_safetensors_write(to, tensors, kept, texts, TEXTS_MAX), BP_OK);
    bp_free(tensors);
    bp_safetensors_close(file);
}

static void test_changed_tensors(void **state) {
    static const char *const cases[][2] = {
        {"missing", "is missing; the file is of another network"},
        {"renamed", "is missing; the file is of another network"},
        {"added", "tensor 'stranger' is not part of this network"},
        {"shape", "has shape [1, "},
        {"type", "is not of type F32"},
    };
    struct bp_graph_config config = small_config();
    const char *from = saved(*state, "from.ckpt", 0), *path = data_path(*state, "a.ckpt");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        change_tensor(from, path, cases[i][0]);
        expect_refused_by(path, &config, cases[i][1]);
    }
}

static void test_not_a_checkpoint(void **state) {
    struct bp_checkpoint *checkpoint;
    const char *path = data_path(*state, "x.ckpt");
    assert_int_equal(bp_checkpoint_open(&checkpoint, path), BP_MODEL);
    EXPECT_MESSAGE("x.ckpt");
    data_write(path, (const uint8_t *)"hello", 5);
    assert_int_equal(bp_checkpoint_open(&checkpoint, path), BP_MODEL);
    EXPECT_MESSAGE("x.ckpt");
    assert_null(checkpoint);
}

/* Cut short anywhere (in steps), a checkpoint is refused, never half taken. */
static void test_cut_files(void **state) {
    uint8_t *bytes;
    size_t count;
    struct bp_checkpoint *checkpoint;
    const char *from = saved(*state, "from.ckpt", 1), *path = data_path(*state, "cut.ckpt");
    assert_int_equal(bp_file_read(from, (size_t)1 << 30, BP_DATA, &bytes, &count), BP_OK);
    for (size_t n = 0; n < count; n += count / 50 + 1) {
        data_write(path, bytes, n);
        assert_int_equal(bp_checkpoint_open(&checkpoint, path), BP_MODEL);
    }
    bp_free(bytes);
}

static void test_without_memory(void **state) {
    const char *path = saved(*state, "a.ckpt", 1), *copy = data_path(*state, "copy.ckpt");
    struct bp_graph_config config = small_config();
    struct network n = network_open(&config);
    bp_status status = BP_RESOURCE;
    for (long after = 0; status != BP_OK; after++) {
        struct bp_checkpoint *checkpoint = NULL;
        bp_memory_fail_after(after);
        status = bp_checkpoint_open(&checkpoint, path);
        if (status == BP_OK)
            status = bp_checkpoint_load(checkpoint, n.graph, NULL, 1);
        if (status == BP_OK)
            status = bp_checkpoint_save(copy, n.graph, NULL, &preprocess, "{}", class_names,
                                        &progress, 1);
        bp_memory_fail_after(-1);
        assert_true(status == BP_OK || status == BP_RESOURCE);
        assert_true(after < 1000);
        assert_int_equal(bp_path_exists(copy), status == BP_OK);
        bp_checkpoint_close(checkpoint);
    }
    network_close(&n);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, data_folder_setup, data_folder_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_round_trip),    TEST(test_same_state_same_bytes), TEST(test_other_networks),
        TEST(test_changed_texts), TEST(test_changed_tensors),       TEST(test_not_a_checkpoint),
        TEST(test_cut_files),     TEST(test_without_memory),        TEST(test_stem),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
