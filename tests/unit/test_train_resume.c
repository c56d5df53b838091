/* A run that stops and goes on equals one that does not, byte for byte, whatever the threads. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "data_files.h"
#include "train_files.h"

static void run_whole(const char *folder, const char *run, const char *const *options) {
    bp_config *config = train_config(folder, run, options);
    bp_train_result result;
    if (bp_train(config, NULL, NULL, &result) != BP_OK)
        fail_msg("%s", bp_last_error());
    assert_int_equal(result.status, BP_OK);
    assert_int_equal(result.step, TRAIN_STEPS);
    assert_int_equal(result.epoch, TRAIN_EPOCHS);
    assert_true(result.accuracy >= 0 && result.best_accuracy >= result.accuracy);
    bp_config_destroy(config);
}

/* Stops after `step` steps, then goes on with two threads. */
static void run_in_parts(const char *folder, const char *run, const char *const *options,
                         size_t step) {
    bp_config *config = train_config(folder, run, options), *overrides;
    bp_train_result result;
    char path[BP_PATH_BYTES], place[32];
    snprintf(path, sizeof path, "%s/%s", folder, run);
    assert_int_equal(bp_train(config, train_interrupt_at, &step, &result), BP_INTERRUPT);
    snprintf(place, sizeof place, "step %zu of 12", step);
    EXPECT_MESSAGE("stopped after", place, "bitprop resume", run);
    assert_string_equal(result.run, path);
    assert_int_equal(result.step, step);
    assert_int_equal(result.status, BP_INTERRUPT);
    size_t count;
    char *text = train_read(folder, run, "result.json", &count);
    assert_non_null(strstr(text, "\"status\": \"interrupted\""));
    assert_non_null(strstr(text, "\"exit_code\": 130"));
    bp_text_free(text);

    assert_int_equal(bp_config_create(&overrides), BP_OK);
    assert_int_equal(bp_config_set(overrides, "threads", "2", "command line"), BP_OK);
    if (bp_resume(path, overrides, NULL, NULL, &result) != BP_OK)
        fail_msg("%s", bp_last_error());
    assert_int_equal(result.step, TRAIN_STEPS);
    text = train_read(folder, run, "result.json", &count);
    assert_non_null(strstr(text, "\"status\": \"done\""));
    assert_non_null(strstr(text, "\"exit_code\": 0"));
    bp_text_free(text);
    bp_config_destroy(overrides);
    bp_config_destroy(config);
}

static void check(const char *folder, const char *const *options) {
    static const size_t steps[] = {1, 4, 6, 11, 12}; /* in an epoch, at its end, at the very end */
    char run[32];
    run_whole(folder, "whole", options);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        snprintf(run, sizeof run, "parts-%zu", steps[i]);
        run_in_parts(folder, run, options, steps[i]);
        train_expect_same_run(folder, "whole", run);
    }
}

static void test_fp32(void **state) {
    static const char *const options[] = {
        "precision", "fp32",     "optimizer", "sgd",      "lr",   "0.01",     "nesterov",
        "true",      "aug-crop", "2",         "aug-flip", "true", "schedule", "step",
        "clip-norm", "1",        "warmup",    "1.5",      NULL};
    check(*state, options);
}

static void test_qat(void **state) {
    static const char *const options[] = {"precision", "qat", "label-smoothing", "0.1", NULL};
    check(*state, options);
}

static void test_psq(void **state) {
    static const char *const options[] = {"precision", "psq", "optimizer", "adamw", NULL};
    check(*state, options);
}

static void test_fqt(void **state) {
    static const char *const options[] = {"precision", "fqt", "qat-warmup", "0.2", NULL};
    check(*state, options);
}

static void test_fqt_paper_resnet(void **state) {
    static const char *const options[] = {"model", "resnet18", "preset", "paper", NULL};
    check(*state, options);
}

static void test_averages(void **state) {
    static const char *const options[] = {"ema", "0.9", NULL};
    check(*state, options);
}

static void test_averages_frozen(void **state) {
    static const char *const options[] = {"ema",  "0.5",       "model", "resnet18", "freeze",
                                          "body", "precision", "qat",   NULL};
    check(*state, options);
}

/* best.ckpt has the averages, last.ckpt both. */
static void test_averages_are_saved(void **state) {
    const char *folder = *state;
    static const char *const plain[] = {NULL}, *const averaged[] = {"ema", "0.9", NULL};
    run_whole(folder, "plain", plain);
    run_whole(folder, "averaged", averaged);
    size_t count_plain, count_averaged;
    char *a = train_read(folder, "plain", "last.ckpt", &count_plain);
    char *b = train_read(folder, "averaged", "last.ckpt", &count_averaged);
    assert_true(count_averaged > count_plain);
    bp_text_free(a);
    bp_text_free(b);
    a = train_read(folder, "plain", "best.ckpt", &count_plain);
    b = train_read(folder, "averaged", "best.ckpt", &count_averaged);
    size_t tail = count_plain / 2; /* numbers, whatever the header */
    assert_memory_not_equal(a + count_plain - tail, b + count_averaged - tail, tail);
    bp_text_free(a);
    bp_text_free(b);
}

/* A rate of 0 changes nothing: no epoch is better than the first. */
static void test_patience(void **state) {
    const char *folder = *state;
    static const size_t stops[] = {1, 5, 8};
    char path[BP_PATH_BYTES], run[32];
    bp_train_result result;
    bp_config *config = TRAIN_CONFIG(folder, "whole", "patience", "2", "freeze", "body", "lr", "0",
                                     "epochs", "9", "schedule", "constant");
    if (bp_train(config, NULL, NULL, &result) != BP_OK)
        fail_msg("%s", bp_last_error());
    bp_config_destroy(config);
    assert_int_equal(result.epoch, 3);
    assert_int_equal(result.best_epoch, 1);
    assert_string_equal(result.ended_by, "patience");
    for (size_t i = 0; i < sizeof stops / sizeof stops[0]; i++) {
        size_t step = stops[i];
        snprintf(run, sizeof run, "parts-%zu", step);
        config = TRAIN_CONFIG(folder, run, "patience", "2", "freeze", "body", "lr", "0", "epochs",
                              "9", "schedule", "constant");
        assert_int_equal(bp_train(config, train_interrupt_at, &step, &result), BP_INTERRUPT);
        assert_string_equal(result.ended_by, "");
        bp_config_destroy(config);
        snprintf(path, sizeof path, "%s/%s", folder, run);
        if (bp_resume(path, NULL, NULL, NULL, &result) != BP_OK)
            fail_msg("%s", bp_last_error());
        assert_string_equal(result.ended_by, "patience");
        train_expect_same_run(folder, "whole", run);
    }
    assert_int_equal(bp_resume(path, NULL, NULL, NULL, NULL), BP_USAGE);
    EXPECT_MESSAGE("finished", "12 steps", "patience");
}

/* A run with a step limit ends within an epoch and is validated there. */
static void test_step_limit(void **state) {
    const char *folder = *state;
    char path[BP_PATH_BYTES];
    bp_config *config = TRAIN_CONFIG(folder, "short", "steps", "6");
    bp_train_result result;
    assert_int_equal(bp_train(config, NULL, NULL, &result), BP_OK);
    assert_int_equal(result.step, 6);
    assert_int_equal(result.epoch, 2);
    snprintf(path, sizeof path, "%s/short", folder);
    assert_int_equal(bp_resume(path, NULL, NULL, NULL, NULL), BP_USAGE);
    EXPECT_MESSAGE("short", "finished", "6 steps");
    bp_config_destroy(config);
}

/* config.json alone makes the same run. */
static void test_config_json_repeats_the_run(void **state) {
    const char *folder = *state;
    static const char *const options[] = {"preset", "balanced", "grad-bits-dw", "2", NULL};
    char path[BP_PATH_BYTES];
    bp_config *config;
    run_whole(folder, "first", options);
    assert_int_equal(bp_config_create(&config), BP_OK);
    snprintf(path, sizeof path, "%s/first/config.json", folder);
    if (bp_config_load_json(config, path) != BP_OK)
        fail_msg("%s", bp_last_error());
    snprintf(path, sizeof path, "%s/second", folder);
    assert_int_equal(bp_config_set(config, "run", path, "command line"), BP_OK);
    if (bp_train(config, NULL, NULL, NULL) != BP_OK)
        fail_msg("%s", bp_last_error());
    bp_config_destroy(config);
    train_expect_same_run(folder, "first", "second");
    train_expect_same_file(folder, "first", "second", "config.json");
}

/* Overwrites every `word` of a file by `other`, of the same length; at least one is there. */
static void replace_all(const char *folder, const char *run, const char *file, const char *word,
                        const char *other) {
    size_t count, length = strlen(word), found = 0;
    char *bytes = train_read(folder, run, file, &count), path[BP_PATH_BYTES];
    for (size_t i = 0; i + length <= count; i++)
        if (memcmp(bytes + i, word, length) == 0) {
            memcpy(bytes + i, other, length);
            found++;
        }
    assert_true(found > 0);
    snprintf(path, sizeof path, "%s/%s", run, file);
    data_write(data_path(folder, path), (const uint8_t *)bytes, count);
    bp_text_free(bytes);
}

/* Versions before --stem wrote neither the option nor the checkpoint's "stem": theirs is fp32. */
static void test_before_stem(void **state) {
    const char *folder = *state;
    static const char *const options[] = {"stem", "fp32", NULL};
    char path[BP_PATH_BYTES];
    size_t step = 6;
    run_whole(folder, "whole", options);
    bp_config *config = train_config(folder, "old", options);
    assert_int_equal(bp_train(config, train_interrupt_at, &step, NULL), BP_INTERRUPT);
    bp_config_destroy(config);
    replace_all(folder, "old", "config.json", "\"stem\": \"fp32\",", "                ");
    replace_all(folder, "old", "last.ckpt", "\"stem\\\"", "\"----\\\"");
    snprintf(path, sizeof path, "%s/old", folder);
    if (bp_resume(path, NULL, NULL, NULL, NULL) != BP_OK)
        fail_msg("%s", bp_last_error());
    train_expect_same_run(folder, "whole", "old");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, train_folder_setup, data_folder_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_fp32),
        TEST(test_qat),
        TEST(test_psq),
        TEST(test_fqt),
        TEST(test_fqt_paper_resnet),
        TEST(test_averages),
        TEST(test_averages_frozen),
        TEST(test_averages_are_saved),
        TEST(test_patience),
        TEST(test_step_limit),
        TEST(test_config_json_repeats_the_run),
        TEST(test_before_stem),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
