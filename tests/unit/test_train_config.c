/* Options: the table itself, every message, precedence of the quantizer's options. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "train/config.h"
#include "unit/train_options.h"

/* --- the table -------------------------------------------------------------------------------- */

static void test_table_is_complete(void **state) {
    (void)state;
    size_t count;
    const bp_option *options = bp_options(&count);
    bp_config *config;
    assert_int_equal(bp_config_create(&config), BP_OK);
    for (size_t i = 0; i < count; i++) {
        const bp_option *option = &options[i];
        assert_non_null(option->name);
        assert_true(strlen(option->help) > 0 && strchr(option->help, '\n') == NULL);
        assert_true(option->group != NULL && option->commands != 0);
        assert_ptr_equal(bp_option_find(option->name), option); /* names are unique */
        if (option->type != BP_OPTION_INT) /* a number may have words beside it */
            assert_int_equal(option->type == BP_OPTION_CHOICE, option->choices != NULL);
        if (option->type == BP_OPTION_INT || option->type == BP_OPTION_FLOAT)
            assert_true(option->maximum > option->minimum && option->placeholder != NULL);
        if (option->fallback != NULL) /* the default is a possible value */
            assert_int_equal(bp_config_set(config, option->name, option->fallback, "test"), BP_OK);
        /* Options of a group stand together. */
        for (size_t j = i + 2; j < count; j++)
            if (strcmp(options[j].group, option->group) == 0)
                assert_string_equal(options[j - 1].group, option->group);
    }
    assert_null(bp_option_find("no-such-option"));
    bp_config_destroy(config);
}

/* The quantizer's options stand three times in the same order: settings.c counts on it. */
static void test_options_of_one_product_follow_the_common_ones(void **state) {
    (void)state;
    for (int i = 0; i <= BP_OPT_GRAD_CLIP - BP_OPT_GRAD_BITS; i++) {
        char name[64];
        const char *common = bp_option_table[BP_OPT_GRAD_BITS + i].name;
        snprintf(name, sizeof name, "%s-da", common);
        assert_string_equal(bp_option_table[BP_OPT_GRAD_BITS_DA + i].name, name);
        snprintf(name, sizeof name, "%s-dw", common);
        assert_string_equal(bp_option_table[BP_OPT_GRAD_BITS_DW + i].name, name);
    }
}

/* --- single values ---------------------------------------------------------------------------- */

static void test_bad_values(void **state) {
    (void)state;
    static const struct {
        const char *name, *value, *message;
    } cases[] = {
        {"epocs", "3", "unknown option '--epocs'; did you mean '--epochs'?"},
        {"zzzzzzzz", "3", "unknown option '--zzzzzzzz'; --help lists all"},
        {"batch", "0", "--batch 0: must be a whole number from 1 to 65536, or auto"},
        {"batch", "1.5", "--batch 1.5: must be a whole number from 1 to 65536, or auto"},
        {"batch", "1e2", "--batch 1e2: must be a whole number from 1 to 65536, or auto"},
        {"batch", "", "--batch: must not be empty"},
        {"batch", "twelve", "--batch twelve: must be a whole number from 1 to 65536, or auto"},
        {"batch", "99999999999999999999",
         "--batch 99999999999999999999: must be a whole number "
         "from 1 to 65536, or auto"},
        {"seed", "-1", "--seed -1: must be a whole number from 0 to 9007199254740991"},
        {"lr", "nan", "--lr nan: must be a number from 0 to 1000000000"},
        {"lr", "inf", "--lr inf: must be a number from 0 to 1000000000"},
        {"lr", "0x10", "--lr 0x10: must be a number from 0 to 1000000000"},
        {"lr", "-1", "--lr -1: must be a number from 0 to 1000000000"},
        {"lr", "1.", "--lr 1.: must be a number from 0 to 1000000000"},
        {"lr", "1e", "--lr 1e: must be a number from 0 to 1000000000"},
        {"lr", " 1", "--lr  1: must be a number from 0 to 1000000000"},
        {"width", "0", "--width 0: must be a number from 0.001 to 16"},
        {"grad-keep", "0", "--grad-keep 0: must be a number from 0.0001 to 1"},
        {"grad-keep", "1.1", "--grad-keep 1.1: must be a number from 0.0001 to 1"},
        {"grad-bits", "5", "--grad-bits 5: must be one of 1, 2, 3, 4, 8"},
        {"qat-warmup", "0.5", "--qat-warmup 0.5: must be a number from 0 to 0.3333333333333333"},
        {"threads", "257", "--threads 257: must be a whole number from 0 to 256"},
        {"model", "vgg", "--model vgg: must be one of vgg16, resnet18; did you mean 'vgg16'?"},
        {"precision", "fp16",
         "--precision fp16: must be one of fqt, psq, qat, fp32; did you mean 'fp32'?"},
        {"preset", "xyzzy",
         "--preset xyzzy: must be one of one-bit, balanced, accurate, paper, paper-code"},
        {"aug-flip", "maybe", "--aug-flip maybe: must be true or false"},
        {"run", "", "--run: must not be empty"},
    };
    bp_config *config = train_with((const char *const[]){NULL});
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(bp_config_set(config, cases[i].name, cases[i].value, COMMAND_LINE),
                         BP_USAGE);
        assert_string_equal(bp_last_error(), cases[i].message);
        assert_int_equal(bp_config_is_set(config, cases[i].name), 0);
    }
    char long_path[1100];
    memset(long_path, 'a', sizeof long_path);
    long_path[sizeof long_path - 1] = 0;
    assert_int_equal(bp_config_set(config, "run", long_path, COMMAND_LINE), BP_USAGE);
    assert_string_equal(bp_last_error(), "--run: longer than 1023 bytes");
    /* From elsewhere, messages name the place. */
    assert_int_equal(bp_config_set(config, "batch", "0", "BITPROP_BATCH"), BP_USAGE);
    assert_string_equal(
        bp_last_error(),
        "batch (in BITPROP_BATCH) 0: must be a whole number from 1 to 65536, or auto");
    bp_config_destroy(config);
}

static void test_values_and_origins(void **state) {
    (void)state;
    bp_config *config = train_with((const char *const[]){NULL});
    assert_string_equal(bp_config_get(config, "epochs"), "60");
    assert_string_equal(bp_config_origin(config, "epochs"), "default");
    assert_null(bp_config_get(config, "lr"));
    assert_null(bp_config_get(config, "batch")); /* both depend on others */
    assert_null(bp_config_get(config, "no-such-option"));
    assert_int_equal(bp_config_set(config, "batch", "64", "file.json"), BP_OK);
    assert_int_equal(bp_config_set(config, "batch", "32", "BITPROP_BATCH"), BP_OK);
    assert_string_equal(bp_config_get(config, "batch"), "32");
    assert_string_equal(bp_config_origin(config, "batch"), "BITPROP_BATCH");
    assert_int_equal(bp_config_set(config, "batch", "0", COMMAND_LINE), BP_USAGE);
    assert_string_equal(bp_config_get(config, "batch"), "32"); /* as it was */
    assert_int_equal(bp_config_set(config, "aug-flip", "yes", COMMAND_LINE), BP_OK);
    assert_string_equal(bp_config_get(config, "aug-flip"), "true");
    assert_int_equal(bp_config_set(config, "aug-flip", "off", COMMAND_LINE), BP_OK);
    assert_string_equal(bp_config_get(config, "aug-flip"), "false");
    bp_config_destroy(config);
}

static void test_closest(void **state) {
    (void)state;
    static const char *const names[] = {"train", "resume", "eval", "bench"};
    assert_string_equal(bp_closest("trian", names, 4), "train");
    assert_string_equal(bp_closest("evl", names, 4), "eval");
    assert_string_equal(bp_closest("resu", names, 4), "resume");
    assert_null(bp_closest("xylophone", names, 4));
    assert_null(bp_closest("", names, 4));
}

/* --- combinations ----------------------------------------------------------------------------- */

static void expect_refused(bp_config *config, unsigned command, const char *message) {
    assert_int_equal(bp_config_check(config, command), BP_USAGE);
    assert_string_equal(bp_last_error(), message);
    bp_config_destroy(config);
}

static void test_bad_combinations(void **state) {
    (void)state;
    const unsigned train = BP_COMMAND_TRAIN;
    expect_refused(train_with((const char *const[]){NULL}), train,
                   "train needs DATA, the path of a data set");
    expect_refused(WITH("rounds", "3"), train, "--rounds does not belong to 'train'; leave it out");
    expect_refused(WITH("threads", "3"), BP_COMMAND_RESUME,
                   "--data does not belong to 'resume'; leave it out");
    expect_refused(WITH("precision", "psq", "grad-bits", "2"), train,
                   "--grad-bits belongs to --precision fqt, not to psq; leave it out or change "
                   "--precision");
    expect_refused(WITH("precision", "fp32", "preset", "paper"), train,
                   "--preset belongs to --precision fqt, not to fp32; leave it out or change "
                   "--precision");
    expect_refused(WITH("precision", "fp32", "qat-warmup", "0.1"), train,
                   "--qat-warmup belongs to --precision psq or fqt, not to fp32; leave it out or "
                   "change --precision");
    expect_refused(WITH("precision", "qat", "qat-warmup", "0.1"), train,
                   "--qat-warmup belongs to --precision psq or fqt, not to qat; leave it out or "
                   "change --precision");
    expect_refused(WITH("precision", "fp32", "clamp-latent", "true"), train,
                   "--clamp-latent belongs to --precision qat, psq or fqt, not to fp32; leave it "
                   "out or change --precision");
    expect_refused(WITH("momentum", "0.5"), train,
                   "--momentum belongs to --optimizer sgd, not to adam; leave it out or change "
                   "--optimizer");
    expect_refused(WITH("nesterov", "true"), train,
                   "--nesterov belongs to --optimizer sgd, not to adam; leave it out or change "
                   "--optimizer");
    expect_refused(WITH("optimizer", "sgd", "nesterov", "true", "momentum", "0"), train,
                   "nesterov needs a momentum greater than 0");
    expect_refused(WITH("lr-every", "2"), train,
                   "--lr-every belongs to --schedule step, not to cosine; leave it out or change "
                   "--schedule");
    expect_refused(WITH("mean", "0.5"), train, "--mean and --std go together; --std is missing");
    expect_refused(
        WITH("mean", "0.5,0.5", "std", "0.2"), train,
        "--mean 0.5,0.5: must be one number, or three with commas, from -10 to 10, or imagenet");
    expect_refused(WITH("mean", "0.5", "std", "0"), train,
                   "--std 0: must be one number, or three with commas, from 0.0001 to 10");
    expect_refused(WITH("grad-bits", "1"), train,
                   "the zero grid of the activation gradient needs at least 2 gradient bits; use "
                   "--grad-bits 2 or --grad-grid minmax");
    expect_refused(
        WITH("preset", "balanced", "grad-keep", "0.5"), train,
        "--grad-keep 0.5 with --grad-select none (the activation gradient): 'none' keeps "
        "every group; add --grad-select systematic");
}

static void test_foreign_options_of_files_are_passed_over(void **state) {
    (void)state;
    struct bp_settings settings;
    bp_config *config = WITH("precision", "fp32");
    assert_int_equal(bp_config_set(config, "preset", "paper", "config.json"), BP_OK);
    assert_int_equal(bp_config_set(config, "rounds", "3", "config.json"), BP_OK);
    assert_int_equal(bp_config_resolve(config, BP_COMMAND_TRAIN, &settings), BP_OK);
    assert_string_equal(settings.preset, "");
    bp_config_destroy(config);
}

/* --- meaning ---------------------------------------------------------------------------------- */

static void expect_quant(const struct bp_quant *q, int bits, double keep,
                         enum bp_quant_select select, enum bp_quant_weights weights,
                         enum bp_quant_grid_kind grid, enum bp_quant_groups groups) {
    assert_int_equal(q->bits, bits);
    assert_true((double)q->keep == keep);
    assert_int_equal(q->select, select);
    assert_int_equal(q->weights, weights);
    assert_int_equal(q->grid, grid);
    assert_int_equal(q->groups, groups);
}

static void test_presets(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int bits;
        double keep;
        enum bp_quant_select select;
        enum bp_quant_weights weights;
        enum bp_quant_grid_kind grid;
    } cases[] = {
        {"one-bit", 4, 0.25, BP_SELECT_SYSTEMATIC, BP_WEIGHTS_RMS, BP_GRID_ZERO},
        {"balanced", 4, 1, BP_SELECT_NONE, BP_WEIGHTS_RMS, BP_GRID_ZERO},
        {"accurate", 8, 1, BP_SELECT_NONE, BP_WEIGHTS_RMS, BP_GRID_ZERO},
        {"paper", 4, 0.25, BP_SELECT_BERNOULLI, BP_WEIGHTS_RANGE, BP_GRID_MINMAX},
        {"paper-code", 4, 0.25, BP_SELECT_TOPK, BP_WEIGHTS_RANGE, BP_GRID_MINMAX},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bp_config *config = WITH("preset", cases[i].name);
        struct bp_settings s = train_settings_of(config);
        assert_int_equal(s.precision, BP_PRECISION_FQT);
        expect_quant(&s.quant_da, cases[i].bits, cases[i].keep, cases[i].select, cases[i].weights,
                     cases[i].grid, BP_GROUPS_SAMPLE);
        expect_quant(&s.quant_dw, cases[i].bits, cases[i].keep, cases[i].select, cases[i].weights,
                     cases[i].grid, BP_GROUPS_CHANNEL);
        bp_config_destroy(config);
    }
    bp_config *config = WITH("precision", "psq");
    struct bp_settings s = train_settings_of(config);
    expect_quant(&s.quant_da, 1, 1, BP_SELECT_NONE, BP_WEIGHTS_RANGE, BP_GRID_MINMAX,
                 BP_GROUPS_SAMPLE);
    expect_quant(&s.quant_dw, 1, 1, BP_SELECT_NONE, BP_WEIGHTS_RANGE, BP_GRID_MINMAX,
                 BP_GROUPS_SAMPLE);
    bp_config_destroy(config);
}

/* preset < both products < one product, in whatever order they were given. */
static void test_precedence(void **state) {
    (void)state;
    bp_config *config = WITH("grad-bits-dw", "8", "grad-bits", "2", "grad-clip-da", "3",
                             "grad-groups", "sample", "preset", "paper");
    struct bp_settings s = train_settings_of(config);
    expect_quant(&s.quant_da, 2, 0.5, BP_SELECT_BERNOULLI, BP_WEIGHTS_RANGE, BP_GRID_MINMAX,
                 BP_GROUPS_SAMPLE);
    expect_quant(&s.quant_dw, 8, 0.125, BP_SELECT_BERNOULLI, BP_WEIGHTS_RANGE, BP_GRID_MINMAX,
                 BP_GROUPS_SAMPLE);
    assert_true(s.quant_da.clip == 3.0f && s.quant_dw.clip == 0.0f);
    bp_config_destroy(config);

    config = WITH("preset", "one-bit", "grad-select", "none"); /* then all groups are kept */
    s = train_settings_of(config);
    assert_true(s.quant_da.keep == 1.0f);
    bp_config_destroy(config);

    config = WITH("preset", "balanced", "grad-select-dw", "topk"); /* then 1 / bits */
    s = train_settings_of(config);
    assert_true(s.quant_da.keep == 1.0f && s.quant_dw.keep == 0.25f);
    char text[400];
    bp_settings_quantizer_text(&s, text, sizeof text);
    assert_string_equal(text, "dA: 4-bit zero grid per sample, all kept; dW: 4-bit zero grid per "
                              "channel, topk keeps 0.25 by largest");
    bp_config_destroy(config);
}

static void test_settings(void **state) {
    (void)state;
    bp_config *config = WITH("optimizer", "sgd", "lr", "1e-2", "mean", "0.5", "std", "0.1,0.2,0.3");
    struct bp_settings s = train_settings_of(config);
    assert_int_equal(s.optim.kind, BP_OPTIM_SGD);
    assert_true(s.optim.lr == 1e-2 && s.optim.head_lr == 1e-2 && s.optim.momentum == 0.9);
    assert_true(s.mean[2] == 0.5f && s.deviation[1] == 0.2f && s.has_mean && s.has_deviation);
    bp_config_destroy(config);
    config = WITH("optimizer", "adamw", "head-lr", "0");
    s = train_settings_of(config);
    assert_true(s.optim.lr == 0.01 && s.optim.weight_decay == 0.01);
    bp_config_destroy(config);
    config = WITH("precision", "fp32");
    s = train_settings_of(config);
    assert_true(s.optim.lr == 1e-3 && !s.batch_given);
    bp_config_destroy(config);
    config = WITH("precision", "qat", "optimizer", "sgd", "batch", "auto");
    s = train_settings_of(config);
    assert_true(s.optim.lr == 0.1 && s.batch_given && s.batch == 0);
    bp_config_destroy(config);
}

static void test_without_memory(void **state) {
    (void)state;
    bp_status status = BP_RESOURCE;
    for (long n = 0; status != BP_OK; n++) {
        bp_config *config = NULL, *copy = NULL;
        char *text = NULL;
        bp_memory_fail_after(n);
        status = bp_config_create(&config);
        if (status == BP_OK)
            status = bp_config_set(config, "batch", "3", "test");
        if (status == BP_OK)
            status = bp_config_copy(&copy, config);
        if (status == BP_OK)
            status = bp_config_to_json(copy, &text);
        bp_memory_fail_after(-1);
        assert_true(status == BP_OK || status == BP_RESOURCE);
        assert_true(n < 100);
        bp_text_free(text);
        bp_config_destroy(copy);
        bp_config_destroy(config);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table_is_complete),
        cmocka_unit_test(test_options_of_one_product_follow_the_common_ones),
        cmocka_unit_test(test_bad_values),
        cmocka_unit_test(test_values_and_origins),
        cmocka_unit_test(test_closest),
        cmocka_unit_test(test_bad_combinations),
        cmocka_unit_test(test_foreign_options_of_files_are_passed_over),
        cmocka_unit_test(test_presets),
        cmocka_unit_test(test_precedence),
        cmocka_unit_test(test_settings),
        cmocka_unit_test(test_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
