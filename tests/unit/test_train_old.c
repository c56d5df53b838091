/* What versions wrote that did not name an option yet keeps its meaning. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "train/begin_record.h"
#include "unit/data_files.h"
#include "unit/train_options.h"

static void expect(const bp_config *config, const char *name, const char *value) {
    if (value == NULL)
        assert_false(bp_config_is_set(config, name));
    else
        assert_string_equal(bp_config_get(config, name), value);
}

static void test_fill(void **state) {
    (void)state;
    static const struct {
        const char *options[5];
        int pictures;
        const char *lr, *size, *stem;
    } cases[] = {
        {{NULL}, 0, "0.001", NULL, "fp32"},
        {{NULL}, 1, "0.001", "64", "fp32"},
        {{"lr", "0.02", "size", "48", NULL}, 1, "0.02", "48", "fp32"},
        {{"stem", "8-bit", "optimizer", "adamw", NULL}, 1, "0.001", "64", "8-bit"},
        {{"optimizer", "sgd", NULL}, 0, NULL, NULL, "fp32"}, /* 0.1 then and now */
        {{"precision", "qat", NULL}, 0, "0.001", NULL, NULL},
        {{"recipe", "finetune", NULL}, 0, NULL, NULL, "fp32"}, /* which says the rate */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bp_config *config = train_with(cases[i].options);
        assert_int_equal(bp_config_fill_old(config, cases[i].pictures, "old.json"), BP_OK);
        expect(config, "lr", cases[i].lr);
        expect(config, "size", cases[i].size);
        expect(config, "stem", cases[i].stem);
        bp_config_destroy(config);
    }
}

static void write(const char *folder, const char *name, const char *text) {
    data_write(data_path(folder, name), (const uint8_t *)text, strlen(text));
}

static bp_config *load(const char *folder) {
    bp_config *config;
    assert_int_equal(bp_config_create(&config), BP_OK);
    if (bp_config_load_json(config, data_path(folder, "config.json")) != BP_OK)
        fail_msg("%s", bp_last_error());
    return config;
}

/* A config.json is that of a run where env.json lies beside it; data.json says what data it had. */
static void test_file_of_a_run(void **state) {
    const char *folder = *state;
    static const struct {
        const char *data, *size;
    } cases[] = {{NULL, NULL},
                 {"{\"kind\": \"idx\"}", NULL},
                 {"{\"kind\": 7}", NULL},
                 {"{\"kind\": \"folder\"}", "64"},
                 {"{\"kind\": \"list\"}", "64"}};
    write(folder, "config.json", "{\"model\": \"vgg16\"}");
    bp_config *config = load(folder);
    expect(config, "lr", NULL);
    expect(config, "stem", "8-bit");
    bp_config_destroy(config);
    write(folder, "env.json", "{}");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (cases[i].data != NULL)
            write(folder, "data.json", cases[i].data);
        config = load(folder);
        expect(config, "lr", "0.001");
        expect(config, "stem", "fp32");
        expect(config, "size", cases[i].size);
        bp_config_destroy(config);
    }
    write(folder, "data.json", "{");
    assert_int_equal(bp_config_create(&config), BP_OK);
    assert_int_equal(bp_config_load_json(config, data_path(folder, "config.json")), BP_MODEL);
    EXPECT_MESSAGE("data.json", "not valid JSON");
    bp_config_destroy(config);
}

/* What settings.json says of --time; anything else than such a file says nothing. */
static void test_time_of_a_run(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"[{\"option\": \"lr\", \"origin\": \"--time 1h\"}, {\"option\": \"steps\", \"value\": "
         "\"9\", "
         "\"origin\": \"--time 30m\"}]",
         "30m"},
        {"[{\"option\": \"steps\", \"origin\": \"command line\"}]", ""},
        {"[{\"option\": \"steps\", \"origin\": 30}, 7, null]", ""},
        {"{\"option\": \"steps\", \"origin\": \"--time 30m\"}", ""},
        {"[{\"option\": ", ""},
        {"", ""}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char time[BP_TIME_BYTES] = "before";
        bp_settings_record_time(cases[i][0], strlen(cases[i][0]), time);
        assert_string_equal(time, cases[i][1]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fill),
        cmocka_unit_test(test_time_of_a_run),
        cmocka_unit_test_setup_teardown(test_file_of_a_run, data_folder_setup,
                                        data_folder_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
