/* Runs: what they leave, how they fail, and that a step takes no memory. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file_io.h"
#include "base/memory.h"
#include "data_files.h"
#include "train_files.h"

/* --- what a run leaves and tells -------------------------------------------------------------- */

struct seen {
    size_t start, steps, epochs, checkpoints, done, stopped;
    size_t last_step;
    char run[BP_PATH_BYTES];
};

static void watch(void *user, const bp_event *event) {
    struct seen *seen = user;
    assert_true(event->steps == TRAIN_STEPS && event->epochs == TRAIN_EPOCHS);
    assert_int_equal(event->batches, TRAIN_BATCHES);
    switch (event->kind) {
    case BP_EVENT_START:
        seen->start++;
        assert_non_null(event->start);
        assert_string_equal(event->start->model, "vgg16");
        assert_true(event->start->train_count == 18 && event->start->val_count == 6);
        assert_true(event->start->classes == 3 && event->start->image_height == 8);
        assert_true(event->start->input_height == 32 && event->start->input_channels == 1);
        assert_true(event->start->parameters > event->start->binary_weights);
        assert_true(event->start->binary_weights > 0 && event->start->memory_bytes > 0);
        assert_string_equal(event->start->precision, "fqt");
        assert_non_null(strstr(event->start->quantizer, "4-bit zero grid per sample"));
        snprintf(seen->run, sizeof seen->run, "%s", event->start->run);
        break;
    case BP_EVENT_STEP:
        assert_int_equal(event->step, seen->last_step + 1);
        seen->last_step = event->step;
        assert_int_equal(event->epoch, (event->step - 1) / TRAIN_BATCHES);
        assert_int_equal(event->batch, (event->step - 1) % TRAIN_BATCHES + 1);
        assert_true(event->loss > 0 && event->accuracy >= 0 && event->lr > 0);
        seen->steps++;
        break;
    case BP_EVENT_EPOCH:
        assert_int_equal(event->epoch, ++seen->epochs);
        assert_true(event->val_accuracy >= 0 && event->val_accuracy <= event->best_accuracy);
        break;
    case BP_EVENT_CHECKPOINT:
        assert_non_null(strstr(event->text, "last.ckpt"));
        assert_true(bp_path_exists(event->text));
        seen->checkpoints++;
        break;
    case BP_EVENT_STOPPED:
        seen->stopped++;
        break;
    case BP_EVENT_DONE:
        seen->done++;
        break;
    case BP_EVENT_NOTE:
        break;
    }
}

static void test_events_and_files(void **state) {
    static const char *const files[] = {
        "config.json",     "data.json",   "env.json",   "classes.txt", "settings.json",
        "log.txt",         "last.ckpt",   "best.ckpt",  "result.json", "metrics.jsonl",
        "validation.json", "layers.json", "report.html"};
    bp_config *config = TRAIN_CONFIG(*state, "run", "checkpoint-every", "2");
    struct seen seen = {0};
    bp_train_result result;
    size_t count;
    if (bp_train(config, watch, &seen, &result) != BP_OK)
        fail_msg("%s", bp_last_error());
    assert_true(seen.start == 1 && seen.steps == TRAIN_STEPS && seen.epochs == TRAIN_EPOCHS);
    assert_true(seen.done == 1 && seen.stopped == 0);
    assert_int_equal(seen.checkpoints, 6); /* after steps 2, 4 (with the epoch), 6, ... 12 */
    assert_string_equal(seen.run, result.run);
    assert_int_equal(data_files_in(result.run), sizeof files / sizeof files[0]);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        bp_free(train_read(*state, "run", files[i], &count));
    char *text = train_read(*state, "run", "classes.txt", &count);
    assert_string_equal(text, "0\n1\n2\n");
    bp_free(text);
    bp_config_destroy(config);
}

/* The number behind "key": in a line. */
static double number_in(const char *line, const char *key) {
    char pattern[32];
    double value;
    snprintf(pattern, sizeof pattern, "\"%s\": ", key);
    const char *found = strstr(line, pattern);
    assert_non_null(found);
    assert_int_equal(sscanf(found + strlen(pattern), "%lf", &value), 1);
    return value;
}

static void test_an_epoch_reports_the_means_of_its_steps(void **state) {
    bp_config *config = TRAIN_CONFIG(*state, "run", "log-every", "1");
    size_t count, epochs = 0;
    double loss = 0, accuracy = 0;
    assert_int_equal(bp_train(config, NULL, NULL, NULL), BP_OK);
    char *text = train_read(*state, "run", "metrics.jsonl", &count);
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        if (strstr(line, "\"kind\": \"step\"") != NULL) {
            loss += number_in(line, "loss") / TRAIN_BATCHES;
            accuracy += number_in(line, "accuracy") / TRAIN_BATCHES;
            continue;
        }
        assert_int_equal((size_t)number_in(line, "epoch"), ++epochs);
        assert_float_equal(number_in(line, "loss"), loss, 1e-9);
        assert_float_equal(number_in(line, "accuracy"), accuracy, 1e-9);
        loss = accuracy = 0;
    }
    assert_int_equal(epochs, TRAIN_EPOCHS);
    bp_free(text);
    bp_config_destroy(config);
}

static void test_folders_are_never_written_over(void **state) {
    char path[BP_PATH_BYTES];
    bp_config *config = TRAIN_CONFIG(*state, "run", "steps", "1");
    assert_int_equal(bp_train(config, NULL, NULL, NULL), BP_OK);
    size_t before, after;
    char *a = train_read(*state, "run", "metrics.jsonl", &before);
    bp_train_result result;
    assert_int_equal(bp_train(config, NULL, NULL, &result), BP_RESOURCE);
    EXPECT_MESSAGE("run exists and is never written over", "bitprop resume");
    assert_string_equal(result.run, "");
    char *b = train_read(*state, "run", "metrics.jsonl", &after);
    assert_string_equal(a, b);
    bp_free(a);
    bp_free(b);
    bp_config_destroy(config);

    /* Without --run the folders are numbered. */
    snprintf(path, sizeof path, "%s/data", (const char *)*state);
    char here[BP_PATH_BYTES];
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(chdir(*state), 0);
    assert_int_equal(bp_config_create(&config), BP_OK);
    static const char *const options[][2] = {
        {"data", "idx:data/"}, {"width", "0.05"}, {"batch", "4"}, {"steps", "1"}};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(bp_config_set(config, options[i][0], options[i][1], "test"), BP_OK);
    for (int n = 1; n <= 2; n++) {
        if (bp_train(config, NULL, NULL, &result) != BP_OK)
            fail_msg("%s", bp_last_error());
        snprintf(path, sizeof path, "runs/data-vgg16-%d", n);
        assert_string_equal(result.run, path);
    }
    assert_int_equal(chdir(here), 0);
    bp_config_destroy(config);
}

/* --- failures --------------------------------------------------------------------------------- */

static void expect_train(bp_config *config, bp_status status, const char *word) {
    bp_train_result result;
    assert_int_equal(bp_train(config, NULL, NULL, &result), status);
    EXPECT_MESSAGE(word);
    assert_int_equal(result.status, status);
    assert_string_equal(result.run, ""); /* no folder is left */
    bp_config_destroy(config);
}

static void test_mistakes_leave_no_folder(void **state) {
    const char *folder = *state;
    size_t before = data_files_in(folder);
    expect_train(TRAIN_CONFIG(folder, "run", "batch", "32"), BP_USAGE,
                 "the training part has 18 images, fewer than one batch of 32; use --batch 18");
    expect_train(TRAIN_CONFIG(folder, "run", "warmup", "4"), BP_USAGE,
                 "16 steps, but the run has only 12");
    expect_train(TRAIN_CONFIG(folder, "run", "data", "/no/such/folder"), BP_DATA,
                 "/no/such/folder");
    expect_train(TRAIN_CONFIG(folder, "run", "grad-bits", "1"), BP_USAGE, "zero grid");
    assert_int_equal(data_files_in(folder), before);
}

/* last.ckpt as it was when it was last saved. */
struct saved {
    const char *folder;
    char *bytes;
    size_t count, times;
};

static void keep_saved(void *user, const bp_event *event) {
    struct saved *saved = user;
    if (event->kind != BP_EVENT_CHECKPOINT)
        return;
    bp_free(saved->bytes);
    saved->bytes = train_read(saved->folder, "run", "last.ckpt", &saved->count);
    saved->times++;
}

static void test_divergence(void **state) {
    struct saved saved = {.folder = *state};
    bp_config *config = TRAIN_CONFIG(*state, "run", "precision", "fp32", "optimizer", "sgd", "lr",
                                     "1e9", "epochs", "1000", "checkpoint-every", "1");
    bp_train_result result;
    size_t count;
    assert_int_equal(bp_train(config, keep_saved, &saved, &result), BP_DIVERGED);
    EXPECT_MESSAGE("became NaN or infinite in step", "lower --lr (now 1e+09)", "last.ckpt");
    char *text = train_read(*state, "run", "result.json", &count);
    assert_non_null(strstr(text, "\"status\": \"diverged\""));
    assert_non_null(strstr(text, "\"exit_code\": 6"));
    bp_free(text);
    text = train_read(*state, "run", "last.ckpt", &count);
    assert_true(saved.times > 0 && count == saved.count);
    assert_memory_equal(text, saved.bytes, count);
    bp_free(text);
    bp_free(saved.bytes);
    bp_config_destroy(config);
}

static void expect_resume(const char *folder, const char *run, bp_status status, const char *word) {
    char path[BP_PATH_BYTES];
    snprintf(path, sizeof path, "%s/%s", folder, run);
    assert_int_equal(bp_resume(path, NULL, NULL, NULL, NULL), status);
    EXPECT_MESSAGE(word);
}

static void test_resume_mistakes(void **state) {
    const char *folder = *state;
    size_t stop = 2, count;
    expect_resume(folder, "missing", BP_MODEL, "no such folder");
    expect_resume(folder, "data", BP_MODEL, "it has no config.json");
    bp_config *config = TRAIN_CONFIG(folder, "run", "seed", "5");
    assert_int_equal(bp_train(config, train_interrupt_at, &stop, NULL), BP_INTERRUPT);
    bp_config_destroy(config);

    char *text = train_read(folder, "run", "config.json", &count);
    char *seed = strstr(text, "\"seed\": 5");
    assert_non_null(seed);
    seed[8] = '6';
    train_write(folder, "run", "config.json", text);
    expect_resume(folder, "run", BP_MODEL, "says 'seed' 6, but last.ckpt was made with 5");
    seed[8] = '5';
    train_write(folder, "run", "config.json", "{");
    expect_resume(folder, "run", BP_USAGE, "not valid JSON");
    train_write(folder, "run", "config.json", text);
    bp_free(text);

    text = train_read(folder, "run", "last.ckpt", &count);
    train_write(folder, "run", "last.ckpt", "garbage");
    expect_resume(folder, "run", BP_MODEL, "last.ckpt");
    data_write(data_path(data_path(folder, "run"), "last.ckpt"), (uint8_t *)text, count);
    bp_free(text);

    bp_config *overrides = TRAIN_CONFIG(folder, "x", "lr", "1");
    char path[BP_PATH_BYTES];
    snprintf(path, sizeof path, "%s/run", folder);
    assert_int_equal(bp_resume(path, overrides, NULL, NULL, NULL), BP_USAGE);
    EXPECT_MESSAGE("does not belong to 'resume'");
    bp_config_destroy(overrides);

    assert_int_equal(bp_resume(path, NULL, NULL, NULL, NULL), BP_OK);
    expect_resume(folder, "run", BP_USAGE, "is finished (12 steps)");
}

static void resume_beside(void *user, const bp_event *event) {
    if (event->kind == BP_EVENT_STEP && event->step == 1) {
        expect_resume(user, "run", BP_RESOURCE, "another process is working on it");
        bp_interrupt(SIGTERM);
    }
}

static void test_a_run_is_locked_and_terminates(void **state) {
    bp_config *config = TRAIN_CONFIG(*state, "run", "seed", "5");
    size_t count;
    assert_int_equal(bp_train(config, resume_beside, *state, NULL), BP_TERMINATE);
    char *text = train_read(*state, "run", "result.json", &count);
    assert_non_null(strstr(text, "\"status\": \"terminated\""));
    assert_non_null(strstr(text, "\"exit_code\": 143"));
    bp_free(text);
    bp_config_destroy(config);
}

/* --- memory ----------------------------------------------------------------------------------- */

struct requests {
    long first, last;
};

static void count_requests(void *user, const bp_event *event) {
    struct requests *requests = user;
    if (event->kind != BP_EVENT_STEP)
        return;
    if (event->batch == 1)
        requests->first = bp_memory_requests();
    if (event->batch == TRAIN_BATCHES)
        assert_int_equal(bp_memory_requests(), requests->first);
    requests->last = bp_memory_requests();
}

static void test_steps_take_no_memory(void **state) {
    static const char *const precisions[] = {"fp32", "qat", "psq", "fqt"};
    for (size_t i = 0; i < 4; i++) {
        struct requests requests = {0, 0};
        bp_config *config =
            TRAIN_CONFIG(*state, precisions[i], "precision", precisions[i], "log-every", "0");
        assert_int_equal(bp_train(config, count_requests, &requests, NULL), BP_OK);
        assert_true(requests.last > 0);
        bp_config_destroy(config);
    }
}

/* Every request of a run's beginning, middle and end fails once: an error, no crash, no leak. */
static void test_without_memory(void **state) {
    bp_status status = BP_RESOURCE;
    long stride = 7, tries = 0;
    for (long n = 0; status != BP_OK; n += stride, tries++) {
        char run[32];
        snprintf(run, sizeof run, "run-%ld", n);
        bp_config *config = TRAIN_CONFIG(*state, run, "steps", "2", "checkpoint-every", "1");
        bp_memory_fail_after(n);
        status = bp_train(config, NULL, NULL, NULL);
        bp_memory_fail_after(-1);
        if (status != BP_OK && status != BP_RESOURCE)
            fail_msg("request %ld: status %d, %s", n, (int)status, bp_last_error());
        bp_config_destroy(config);
    }
    assert_true(tries > 10);
}

/* --- finished models -------------------------------------------------------------------------- */

static void test_eval_and_info(void **state) {
    const char *folder = *state;
    char path[BP_PATH_BYTES + 16], data[BP_PATH_BYTES];
    bp_config *config = TRAIN_CONFIG(folder, "run", "label-smoothing", "0.1");
    bp_train_result result;
    bp_eval_result *eval;
    bp_model_info *info;
    assert_int_equal(bp_train(config, NULL, NULL, &result), BP_OK);
    snprintf(data, sizeof data, "%s/data", folder);
    /* The run folder stands for its best checkpoint; the accuracy is the one of training. */
    if (bp_eval(result.run, data, NULL, &eval) != BP_OK)
        fail_msg("%s", bp_last_error());
    assert_true(eval->accuracy == result.best_accuracy);
    assert_true(eval->n == 6 && eval->classes == 3);
    size_t n = 0, correct = 0;
    for (size_t i = 0; i < 3; i++) {
        n += eval->class_count[i];
        correct += eval->class_correct[i];
        assert_int_equal(eval->class_correct[i], eval->confusion[4 * i]);
    }
    assert_int_equal(n, 6);
    assert_true((double)correct / 6 == eval->accuracy);
    bp_eval_free(eval);
    snprintf(path, sizeof path, "%s/last.ckpt", result.run);
    bp_config *options; /* the sum of the losses is rounded batch by batch */
    assert_int_equal(bp_config_create(&options), BP_OK);
    assert_int_equal(bp_config_set(options, "batch", "4", "test"), BP_OK);
    assert_int_equal(bp_eval(path, data, options, &eval), BP_OK);
    bp_config_destroy(options);
    assert_true(eval->accuracy == result.accuracy && eval->loss == result.loss);
    bp_eval_free(eval);

    assert_int_equal(bp_info(result.run, &info), BP_OK);
    assert_string_equal(info->path, path);
    assert_true(info->step == TRAIN_STEPS && info->epoch == TRAIN_EPOCHS);
    assert_true(info->accuracy == result.accuracy && info->classes == 3);
    assert_non_null(strstr(info->json, "\"model\": \"vgg16\""));
    assert_null(strstr(info->config_json, folder)); /* no paths */
    bp_info_free(info);

    assert_int_equal(bp_eval(data, data, NULL, &eval), BP_MODEL);
    EXPECT_MESSAGE("has no best.ckpt or last.ckpt");
    assert_null(eval);
    assert_int_equal(bp_eval(path, "/no/such/data", NULL, &eval), BP_DATA);
    assert_int_equal(bp_info("/no/such/file", &info), BP_MODEL);
    assert_int_equal(bp_eval(path, data, config, &eval), BP_USAGE); /* training options */
    bp_config_destroy(config);
}

static void test_eval_refuses_other_classes(void **state) {
    const char *folder = *state;
    char other[BP_PATH_BYTES];
    const struct data_set set = {.train = 4, .val = 4, .h = 8, .w = 8, .classes = 2};
    bp_config *config = TRAIN_CONFIG(folder, "run", "steps", "1");
    bp_train_result result;
    bp_eval_result *eval;
    assert_int_equal(bp_train(config, NULL, NULL, &result), BP_OK);
    snprintf(other, sizeof other, "%s/other", folder);
    assert_int_equal(bp_dir_create(other), BP_OK);
    data_write_set(other, &set);
    assert_int_equal(bp_eval(result.run, other, NULL, &eval), BP_DATA);
    EXPECT_MESSAGE("has 2 classes, the model was trained for 3");
    bp_config_destroy(config);
}

/* --- timing ----------------------------------------------------------------------------------- */

static void test_bench(void **state) {
    (void)state;
    static const char *const options[][2] = {
        {"width", "0.05"}, {"batch", "2"}, {"rounds", "3"}, {"threads", "1"}, {"grad-bits", "2"}};
    bp_config *config;
    bp_bench_result result;
    assert_int_equal(bp_config_create(&config), BP_OK);
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
        assert_int_equal(bp_config_set(config, options[i][0], options[i][1], "command line"),
                         BP_OK);
    if (bp_bench_step(config, NULL, &result) != BP_OK)
        fail_msg("%s", bp_last_error());
    assert_true(result.n_sides == 1 && result.ratio == 0 && result.rounds == 3);
    if (bp_bench_step(config, "fp32", &result) != BP_OK)
        fail_msg("%s", bp_last_error());
    assert_true(result.n_sides == 2 && result.ratio > 0);
    assert_string_equal(result.sides[0].precision, "fqt");
    assert_string_equal(result.sides[1].precision, "fp32");
    for (size_t i = 0; i < 2; i++) {
        const bp_bench_side *side = &result.sides[i];
        assert_true(side->step_ms_min > 0 && side->step_ms_min <= side->step_ms);
        assert_true(side->planned_mb > 0 && side->peak_rss_mb > 0);
        assert_int_equal(side->n_stages, 16);
        for (size_t s = 0; s < side->n_stages; s++)
            assert_true(side->stages[s].name != NULL && side->stages[s].ms >= 0);
    }
    assert_true(result.sides[0].stages[3].ms > 0);  /* forward_product */
    assert_true(result.sides[1].stages[3].ms == 0); /* no binary layers in fp32 */
    assert_int_equal(bp_bench_step(config, "fqt:paper", &result), BP_OK);
    assert_string_equal(result.sides[1].preset, "paper");
    assert_int_equal(bp_bench_step(config, "qat:paper", &result), BP_USAGE);
    EXPECT_MESSAGE("only fqt has presets");
    assert_int_equal(bp_bench_step(config, "fp23", &result), BP_USAGE);
    EXPECT_MESSAGE("--vs", "did you mean 'fp32'?");
    bp_config_destroy(config);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, train_folder_setup, data_folder_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_events_and_files),
        TEST(test_an_epoch_reports_the_means_of_its_steps),
        TEST(test_folders_are_never_written_over),
        TEST(test_mistakes_leave_no_folder),
        TEST(test_divergence),
        TEST(test_resume_mistakes),
        TEST(test_a_run_is_locked_and_terminates),
        TEST(test_steps_take_no_memory),
        TEST(test_without_memory),
        TEST(test_eval_and_info),
        TEST(test_eval_refuses_other_classes),
        TEST(test_bench),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
