/* What options come to beside the others (bp_config_explain). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "train/config.h"
#include "unit/train_options.h"

static void expect_explained(bp_config *config, const char *name, const char *value,
                             const char *origin) {
    static bp_config_value out;
    assert_int_equal(bp_config_explain(config, name, &out), BP_OK);
    assert_string_equal(out.value, value);
    assert_string_equal(out.origin, origin);
}

static void test_explained_values(void **state) {
    (void)state;
    bp_config *config = WITH("preset", "accurate", "grad-select-da", "systematic");
    assert_int_equal(bp_config_set(config, "grad-grid", "symmetric", "file.json"), BP_OK);
    expect_explained(config, "epochs", "60", "default");
    expect_explained(config, "batch", "", "from the data set");
    expect_explained(config, "lr", "0.01", "precision fqt");
    expect_explained(config, "head-lr", "0.01", "as lr");
    expect_explained(config, "momentum", "", "not used with optimizer adam");
    expect_explained(config, "lr-every", "", "not used with schedule cosine");
    expect_explained(config, "size", "", "from the data set");
    expect_explained(config, "preset", "accurate", COMMAND_LINE);
    expect_explained(config, "grad-bits", "8", "preset accurate");
    expect_explained(config, "grad-bits-dw", "8", "preset accurate");
    expect_explained(config, "grad-grid", "symmetric", "file.json");
    expect_explained(config, "grad-grid-da", "symmetric", "as grad-grid");
    expect_explained(config, "grad-select", "none", "preset accurate");
    expect_explained(config, "grad-select-da", "systematic", COMMAND_LINE);
    expect_explained(config, "grad-weights-da", "rms", "preset accurate");
    expect_explained(config, "grad-weights-dw", "", "not used with grad-select none");
    expect_explained(config, "grad-keep", "1", "preset accurate");
    expect_explained(config, "grad-keep-da", "0.125", "as grad-select-da");
    /* Where options do not fit together, nothing follows from them. */
    assert_int_equal(bp_config_set(config, "precision", "fp32", COMMAND_LINE), BP_OK);
    expect_explained(config, "preset", "accurate", COMMAND_LINE);
    expect_explained(config, "grad-bits", "", "default");
    static bp_config_value out;
    assert_int_equal(bp_config_explain(config, "epocs", &out), BP_USAGE);
    bp_config_destroy(config);
}

/* Whatever is explained as a value is one: setting all of them changes nothing. */
static void test_explained_values_are_values(void **state) {
    (void)state;
    static const char *const presets[] = {"one-bit", "balanced", "accurate", "paper", "paper-code"};
    static bp_config_value out;
    for (size_t p = 0; p < sizeof presets / sizeof presets[0]; p++) {
        bp_config *config = WITH("preset", presets[p], "grad-bits-dw", "2", "optimizer", "adamw");
        bp_config *spelled = WITH("preset", presets[p]);
        for (int id = 0; id < BP_OPT_COUNT; id++) {
            const char *name = bp_option_table[id].name;
            if (!(bp_option_table[id].commands & BP_COMMAND_TRAIN))
                continue;
            assert_int_equal(bp_config_explain(config, name, &out), BP_OK);
            if (out.value[0] != 0 && bp_config_set(spelled, name, out.value, "a file") != BP_OK)
                fail_msg("%s", bp_last_error());
        }
        struct bp_settings a = train_settings_of(config), b = train_settings_of(spelled);
        /* The chances' weights mean nothing where all groups or the largest are kept. */
        a.quant_da.weights = b.quant_da.weights = a.quant_dw.weights = b.quant_dw.weights = 0;
        assert_memory_equal(&a.quant_da, &b.quant_da, sizeof a.quant_da);
        assert_memory_equal(&a.quant_dw, &b.quant_dw, sizeof a.quant_dw);
        assert_true(a.optim.lr == b.optim.lr && a.optim.head_lr == b.optim.head_lr);
        assert_true(a.optim.weight_decay == b.optim.weight_decay && a.tier == b.tier);
        bp_config_destroy(config);
        bp_config_destroy(spelled);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_explained_values),
        cmocka_unit_test(test_explained_values_are_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
