/* Options in JSON: written and read back, and every mistake in a file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "unit/data_files.h"
#include "unit/train_options.h"

static void test_json_round_trip(void **state) {
    (void)state;
    bp_config *config = WITH("lr", "1e-3", "batch", "32", "preset", "paper", "grad-bits", "2",
                             "aug-flip", "true", "seed", "9007199254740991", "run", "x"),
              *again;
    char *text, *second;
    assert_int_equal(bp_config_to_json(config, &text), BP_OK);
    assert_non_null(strstr(text, "\"lr\": 0.001"));
    assert_non_null(strstr(text, "\"aug-flip\": true"));
    assert_non_null(strstr(text, "\"grad-bits\": 2"));
    assert_non_null(strstr(text, "\"seed\": 9007199254740991"));
    assert_null(strstr(text, "\"run\""));      /* a folder is never used twice */
    assert_null(strstr(text, "\"momentum\"")); /* means nothing with adam */
    assert_int_equal(bp_config_create(&again), BP_OK);
    assert_int_equal(bp_config_parse_json(again, text, strlen(text), "test", BP_USAGE), BP_OK);
    if (bp_config_check(again, BP_COMMAND_TRAIN) != BP_OK)
        fail_msg("%s", bp_last_error());
    assert_int_equal(bp_config_to_json(again, &second), BP_OK);
    assert_string_equal(text, second);
    bp_text_free(text);
    bp_text_free(second);
    bp_config_destroy(again);
    bp_config_destroy(config);
}

static void test_json_mistakes(void **state) {
    static const struct {
        const char *text, *word;
    } cases[] = {
        {"{\"epocs\": 3}", "did you mean 'epochs'?"},
        {"{\"epochs\": 0}", "must be a whole number"},
        {"{\"epochs\": 1.5}", "must be a whole number"},
        {"{\"epochs\": [3]}", "must be a number, a text, true or false"},
        {"{\"epochs\": 3", "line 1"},
        {"{\"batch\": 3, \"batch\": 4}", "duplicate"},
        {"[3]", "one JSON object"},
        {"", "not valid JSON"},
        {"{\"run\": \"a\\u0000b\"}", "config.json"},
    };
    const char *path = data_path(*state, "config.json");
    bp_config *config = WITH("lr", "0.5");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        data_write(path, (const uint8_t *)cases[i].text, strlen(cases[i].text));
        assert_int_equal(bp_config_load_json(config, path), BP_USAGE);
        EXPECT_MESSAGE("config.json", cases[i].word);
        assert_false(bp_config_is_set(config, "batch")); /* all or nothing */
    }
    data_write(path, (const uint8_t *)"{\"batch\": 7, \"lr\": null}", 24);
    assert_int_equal(bp_config_load_json(config, path), BP_OK);
    assert_string_equal(bp_config_get(config, "batch"), "7");
    assert_string_equal(bp_config_get(config, "lr"), "0.5");
    assert_string_equal(bp_config_origin(config, "batch"), path);
    assert_int_equal(bp_config_load_json(config, data_path(*state, "missing.json")), BP_USAGE);
    EXPECT_MESSAGE("missing.json");
    bp_config_destroy(config);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_round_trip),
        cmocka_unit_test_setup_teardown(test_json_mistakes, data_folder_setup,
                                        data_folder_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
