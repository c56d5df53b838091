/* Forecasts of memory: their sums, their layers, and that creation takes what they say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "data_files.h"
#include "train/memory_fit.h"
#include "train/session.h"
#include "train_files.h"

static bp_config *options_of(const char *const *options) {
    bp_config *config;
    assert_int_equal(bp_config_create(&config), BP_OK);
    for (; options[0] != NULL; options += 2)
        assert_int_equal(bp_config_set(config, options[0], options[1], "command line"), BP_OK);
    return config;
}
#define OPTIONS(...) options_of((const char *const[]){__VA_ARGS__, NULL})

static bp_memory_info *memory_of(const char *model, const bp_config *options) {
    bp_memory_info *info;
    if (bp_memory(model, options, &info) != BP_OK)
        fail_msg("%s", bp_last_error());
    return info;
}

static size_t created_bytes(const bp_config *options) {
    struct bp_settings settings;
    struct bp_graph_config config;
    struct bp_exec *exec;
    struct bp_graph *graph;
    assert_int_equal(bp_config_resolve(options, BP_COMMAND_INFO, &settings), BP_OK);
    for (int c = 0; c < 3; c++)
        settings.deviation[c] = 1;
    bp_session_graph_config(&settings, settings.size, settings.size, settings.channels,
                            settings.classes, &config);
    assert_int_equal(bp_exec_create(&exec, settings.tier, settings.threads), BP_OK);
    assert_int_equal(bp_graph_create(&graph, exec, &config), BP_OK);
    size_t bytes = bp_graph_planned_bytes(graph);
    bp_graph_destroy(graph);
    bp_exec_destroy(exec);
    return bytes;
}

static void check_sums(const bp_memory_info *info) {
    const bp_memory_sums *s = &info->sums;
    size_t parameters = 0, gradients = 0, optimizer = 0, step = 0;
    for (size_t i = 0; i < info->n_layers; i++) {
        const bp_memory_layer *row = &info->layers[i];
        parameters += row->parameters;
        gradients += row->gradients;
        optimizer += row->optimizer;
        step += row->kept + row->forward + row->backward;
        assert_true(row->optimizer >= 2 * row->gradients && row->parameters >= row->gradients);
    }
    assert_true(parameters == s->parameters && gradients == s->gradients);
    assert_int_equal(optimizer, s->optimizer);
    assert_int_equal(step, s->step_unshared);
    assert_true(s->step < s->step_unshared);
    assert_int_equal(s->total, s->parameters + s->gradients + s->optimizer + s->averages +
                                   s->variance + s->step + s->scratch + s->batches + s->data +
                                   s->program);
}

static void test_sums(void **state) {
    (void)state;
    bp_config *options[] = {
        OPTIONS("model", "vgg16", "width", "0.1", "batch", "8", "size", "32", "threads", "2"),
        OPTIONS("model", "resnet18", "width", "0.1", "batch", "5", "size", "40", "threads", "1",
                "precision", "fp32", "classes", "7"),
        OPTIONS("model", "resnet18", "width", "0.07", "batch", "3", "size", "97", "threads", "3",
                "channels", "1", "qat-warmup", "0.2", "preset", "accurate"),
        OPTIONS("width", "0.1", "batch", "4", "size", "32", "threads", "2", "freeze", "body")};
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        bp_memory_info *info = memory_of(NULL, options[i]);
        const bp_memory_sums *s = &info->sums;
        check_sums(info);
        assert_int_equal(s->parameters + s->gradients + s->optimizer + s->step + s->scratch,
                         created_bytes(options[i]));
        assert_true(s->averages == 0 && s->data == 0 && s->batches > 0);
        assert_string_equal(info->layers[0].name, "input");
        assert_string_equal(info->layers[info->n_layers - 1].name, "loss");
        assert_true(info->layers[0].kept + info->layers[0].forward > 0);
        assert_int_equal(info->layers[0].parameters, 0);
        for (size_t j = 1; j + 1 < info->n_layers; j++) /* every layer owns something */
            assert_true(info->layers[j].kept + info->layers[j].forward > 0);
        bp_memory_free(info);
        bp_config_destroy(options[i]);
    }
}

/* Weights' gradients have a place of their own only where the norm of all is needed at once. */
static void test_gradients(void **state) {
    (void)state;
    bp_config *options = OPTIONS("model", "resnet18", "width", "0.5", "size", "32", "batch", "8");
    bp_memory_info *shared = memory_of(NULL, options);
    assert_int_equal(bp_config_set(options, "clip-norm", "1", "command line"), BP_OK);
    bp_memory_info *kept = memory_of(NULL, options);
    check_sums(kept);
    assert_int_equal(kept->sums.optimizer, 2 * kept->sums.gradients);
    assert_true(shared->sums.gradients < kept->sums.gradients / 100);
    /* Of the gradients, with its channels' scales: what the step may take more. */
    const size_t largest = 4 * 256 * (256 * 9 + 1);
    assert_true(shared->sums.step <= kept->sums.step + largest);
    bp_memory_free(shared);
    bp_memory_free(kept);
    bp_config_destroy(options);
}

/* Two loaders of three batches each. */
static void test_batches_and_averages(void **state) {
    (void)state;
    bp_config *options = OPTIONS("width", "0.1", "batch", "8", "size", "32", "ema", "0.9");
    bp_memory_info *info = memory_of(NULL, options);
    assert_int_equal(info->sums.batches, 2 * 3 * 8 * (32 * 32 * 3 + 4));
    assert_true(info->sums.averages > 0 && info->sums.averages <= info->sums.parameters);
    bp_memory_free(info);
    bp_config_destroy(options);
}

/* A run's network, and what is changed about it. */
static void test_of_checkpoint(void **state) {
    const char *folder = *state;
    char run[BP_PATH_BYTES];
    bp_train_result result;
    bp_config *config =
        TRAIN_CONFIG(folder, "run", "steps", "2", "model", "resnet18", "precision", "qat");
    assert_int_equal(bp_train(config, NULL, NULL, &result), BP_OK);
    snprintf(run, sizeof run, "%s/run", folder);
    bp_memory_info *info = memory_of(run, NULL);
    check_sums(info);
    assert_true(strcmp(info->model, "resnet18") == 0 && strcmp(info->precision, "qat") == 0);
    assert_true(info->width == 0.05 && info->size == 32 && info->batch == 4);
    assert_true(info->channels == 1 && info->classes == 3);
    bp_config *options = OPTIONS("batch", "9", "precision", "fqt", "channels", "3");
    bp_memory_info *other = memory_of(run, options);
    assert_true(other->batch == 9 && other->channels == 3 && other->classes == 3);
    assert_string_equal(other->precision, "fqt");
    assert_true(other->width == 0.05 && other->sums.batches > info->sums.batches);
    bp_memory_free(other);
    bp_memory_free(info);
    bp_config_destroy(options);
    bp_config_destroy(config);
    assert_int_equal(bp_memory(folder, NULL, &info), BP_MODEL);
    assert_null(info);
}

/* --- the batch that fits ---------------------------------------------------------------------- */

struct fit {
    struct bp_settings settings;
    struct bp_graph_config config;
    bp_config *options;
};

static struct fit fit_setup(void) {
    struct fit fit = {.options = OPTIONS("width", "0.1", "size", "32", "threads", "2")};
    assert_int_equal(bp_config_resolve(fit.options, BP_COMMAND_INFO, &fit.settings), BP_OK);
    for (int c = 0; c < 3; c++)
        fit.settings.deviation[c] = 1;
    bp_session_graph_config(&fit.settings, 32, 32, 3, 10, &fit.config);
    return fit;
}

static size_t total_of(const struct fit *fit, size_t batch, size_t data) {
    struct bp_graph_config config = fit->config;
    bp_memory_sums sums;
    config.batch = batch;
    assert_int_equal(bp_memory_forecast(&fit->settings, &config, 1000, 100, &sums), BP_OK);
    bp_memory_set_data(&sums, data);
    return sums.total;
}

static size_t chosen(const struct fit *fit, size_t train, size_t data, size_t allowed) {
    size_t batch;
    bp_memory_sums sums;
    if (bp_batch_choose(&fit->settings, &fit->config, train, 100, data, allowed, &batch, &sums) !=
        BP_OK)
        return 0;
    assert_true(sums.total <= allowed && sums.data == data);
    return batch;
}

static void test_batch_choice(void **state) {
    (void)state;
    struct fit fit = fit_setup();
    const size_t data = 1234567;
    for (size_t batch = 8; batch <= 128; batch += 40) { /* 8, 48, 88, 128 */
        size_t total = total_of(&fit, batch, data);
        assert_int_equal(chosen(&fit, 1000, data, total), batch);
        assert_int_equal(chosen(&fit, 1000, data, total - 1), batch - 8);
        assert_int_equal(chosen(&fit, 1000, data + 1, total), batch - 8);
    }
    assert_int_equal(chosen(&fit, 1000, 0, SIZE_MAX), 128);
    assert_int_equal(chosen(&fit, 100, 0, SIZE_MAX), 96);
    assert_int_equal(chosen(&fit, 17, 0, SIZE_MAX), 16);
    assert_int_equal(chosen(&fit, 7, 0, SIZE_MAX), 7); /* fewer than the smallest */
    char needed[32];
    snprintf(needed, sizeof needed, "8 needs %.0f MB", (double)total_of(&fit, 8, 0) / 1e6);
    assert_int_equal(chosen(&fit, 1000, 0, 1000000), 0);
    assert_non_null(strstr(bp_last_error(), needed));
    assert_non_null(strstr(bp_last_error(), "may take 1 MB"));
    bp_config_destroy(fit.options);
}

/* Batches that are too large to index are no mistake of the user's. */
static void test_large_inputs(void **state) {
    (void)state;
    struct fit fit = fit_setup();
    size_t batch;
    bp_memory_sums sums;
    fit.config.height = fit.config.width_px = 1024;
    bp_status status =
        bp_batch_choose(&fit.settings, &fit.config, 1000, 100, 0, SIZE_MAX, &batch, &sums);
    assert_int_equal(status, BP_OK);
    assert_true(batch >= 8 && batch <= 128);
    fit.config.height = fit.config.width_px = 8; /* but this is */
    status = bp_batch_choose(&fit.settings, &fit.config, 1000, 100, 0, SIZE_MAX, &batch, &sums);
    assert_int_equal(status, BP_USAGE);
    bp_config_destroy(fit.options);
}

/* The run is that of the number, and so are its repetition and its resumption. */
static void test_batch_auto(void **state) {
    const char *folder = *state;
    char path[BP_PATH_BYTES];
    bp_train_result result;
    bp_config *plain = TRAIN_CONFIG(folder, "plain", "batch", "16");
    bp_config *automatic = TRAIN_CONFIG(folder, "auto", "batch", "auto");
    bp_config *again = TRAIN_CONFIG(folder, "again", "batch", "3");
    assert_int_equal(bp_train(plain, NULL, NULL, &result), BP_OK);
    size_t stop = 2;
    assert_int_equal(bp_train(automatic, train_interrupt_at, &stop, &result), BP_INTERRUPT);
    snprintf(path, sizeof path, "%s/auto", folder);
    assert_int_equal(bp_resume(path, NULL, NULL, NULL, &result), BP_OK);
    train_expect_same_run(folder, "plain", "auto");
    snprintf(path, sizeof path, "%s/auto/config.json", folder);
    assert_int_equal(bp_config_load_json(again, path), BP_OK);
    assert_string_equal(bp_config_get(again, "batch"), "16");
    assert_int_equal(bp_train(again, NULL, NULL, &result), BP_OK);
    train_expect_same_run(folder, "plain", "again");
    bp_config_destroy(plain);
    bp_config_destroy(automatic);
    bp_config_destroy(again);
}

/* --- failures --------------------------------------------------------------------------------- */

/* Any failing request is one message, and leaks nothing (asan). */
static void test_no_memory(void **state) {
    (void)state;
    bp_config *options = OPTIONS("width", "0.05", "batch", "2", "size", "32", "threads", "1");
    bp_memory_info *info;
    long before = bp_memory_requests();
    bp_memory_free(memory_of(NULL, options));
    long all = bp_memory_requests() - before;
    for (long n = 0; n < all; n += 1 + n / 20) {
        bp_memory_fail_after(n);
        bp_status status = bp_memory(NULL, options, &info);
        bp_memory_fail_after(-1);
        assert_int_equal(status, BP_RESOURCE);
        assert_null(info);
    }
    bp_config_destroy(options);
}

/* The same for a forecast with its data; what stopped it is told once all is closed. */
static void test_no_memory_for_forecast(void **state) {
    const char *folder = *state;
    bp_config *config = TRAIN_CONFIG(folder, "none", "batch", "auto", "ema", "0.5", "steps", "2");
    bp_forecast *forecast;
    long before = bp_memory_requests();
    assert_int_equal(bp_forecast_run(config, &forecast), BP_OK);
    assert_int_equal(forecast->steps, 2);
    assert_int_equal(forecast->batch, 16);
    assert_int_equal(forecast->n_sides, 2);
    assert_true(forecast->sides[0].timed && forecast->sides[1].timed);
    assert_true(forecast->sides[0].memory_bytes == forecast->memory.total);
    size_t fp32_bytes = forecast->sides[1].memory_bytes;
    bp_forecast_free(forecast);
    long all = bp_memory_requests() - before;
    for (long n = 0; n < all; n += 1 + n / 8) {
        bp_memory_fail_after(n);
        bp_status status = bp_forecast_run(config, &forecast);
        bp_memory_fail_after(-1);
        if (status == BP_OK) /* a disk whose speed is not measured is no failure */
            bp_forecast_free(forecast);
        else
            assert_int_equal(status, BP_RESOURCE);
    }
    bp_config_destroy(config);

    /* What fp32 would need is what it does need. */
    config = TRAIN_CONFIG(folder, "none", "batch", "16", "ema", "0.5", "steps", "2", "precision",
                          "fp32");
    assert_int_equal(bp_forecast_run(config, &forecast), BP_OK);
    assert_int_equal(forecast->n_sides, 1);
    assert_int_equal(forecast->memory.total, fp32_bytes);
    bp_forecast_free(forecast);
    bp_config_destroy(config);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_batches_and_averages),
        cmocka_unit_test_setup_teardown(test_of_checkpoint, train_folder_setup,
                                        data_folder_teardown),
        cmocka_unit_test(test_batch_choice),
        cmocka_unit_test(test_large_inputs),
        cmocka_unit_test_setup_teardown(test_batch_auto, train_folder_setup, data_folder_teardown),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test_setup_teardown(test_no_memory_for_forecast, train_folder_setup,
                                        data_folder_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
