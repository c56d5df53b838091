#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <float.h>
#include <jansson.h>
#include <locale.h>
#include <math.h>
#include <string.h>

#include "base/json_writer.h"
#include "base/memory.h"
#include "base/rng.h"

static char *write_sample(int pretty) {
    struct bp_json json;
    char *text;
    bp_json_begin(&json, pretty);
    bp_json_object(&json, NULL);
    bp_json_string(&json, "name", "vgg16");
    bp_json_array(&json, "list");
    bp_json_int(&json, NULL, -3);
    bp_json_object(&json, NULL);
    bp_json_end_object(&json);
    bp_json_array(&json, NULL);
    bp_json_end_array(&json);
    bp_json_bool(&json, NULL, 1);
    bp_json_end_array(&json);
    bp_json_string(&json, "none", NULL);
    bp_json_bool(&json, "off", 0);
    bp_json_end_object(&json);
    assert_int_equal(bp_json_finish(&json, &text), BP_OK);
    return text;
}

static void test_layout(void **state) {
    (void)state;
    char *text = write_sample(0);
    assert_string_equal(text, "{\"name\": \"vgg16\", \"list\": [-3, {}, [], true], \"none\": null, "
                              "\"off\": false}");
    bp_free(text);
    text = write_sample(1);
    assert_string_equal(text,
                        "{\n  \"name\": \"vgg16\",\n  \"list\": [\n    -3,\n    {},\n    [],\n"
                        "    true\n  ],\n  \"none\": null,\n  \"off\": false\n}");
    bp_free(text);
}

/* Writes {"v": value} with `write` and reads it back. */
static json_t *read_back(char *text) {
    json_error_t error;
    json_t *root = json_loads(text, 0, &error);
    if (root == NULL)
        fail_msg("%s: %s", text, error.text);
    bp_free(text);
    return root;
}

static json_t *round_trip_string(const char *value) {
    struct bp_json json;
    char *text;
    bp_json_begin(&json, 0);
    bp_json_object(&json, NULL);
    bp_json_string(&json, value, value);
    bp_json_end_object(&json);
    assert_int_equal(bp_json_finish(&json, &text), BP_OK);
    return read_back(text);
}

static void test_strings_round_trip(void **state) {
    (void)state;
    char all[128];
    for (int i = 1; i < 128; i++)
        all[i - 1] = (char)i;
    all[127] = 0;
    const char *const values[] = {"", all, "quote \" backslash \\ slash /",
                                  "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80",
                                  "\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf"};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        json_t *root = round_trip_string(values[i]);
        assert_string_equal(json_string_value(json_object_get(root, values[i])), values[i]);
        json_decref(root);
    }
}

static void test_bytes_that_are_not_utf8(void **state) {
    (void)state;
    static const struct {
        const char *value, *expected;
    } cases[] = {
        {"a\xff"
         "b",
         "a\xef\xbf\xbd"
         "b"},
        {"\x80", "\xef\xbf\xbd"},
        {"\xc3", "\xef\xbf\xbd"},
        {"\xe2\x82", "\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xe0\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xf5", "\xef\xbf\xbd"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_t *root = round_trip_string(cases[i].value);
        assert_string_equal(json_string_value(json_object_get(root, cases[i].expected)),
                            cases[i].expected);
        json_decref(root);
    }
}

static double round_trip_double(double value) {
    struct bp_json json;
    char *text;
    bp_json_begin(&json, 0);
    bp_json_array(&json, NULL);
    bp_json_double(&json, NULL, value);
    bp_json_end_array(&json);
    assert_int_equal(bp_json_finish(&json, &text), BP_OK);
    json_t *root = read_back(text);
    assert_true(json_is_real(json_array_get(root, 0)));
    double back = json_real_value(json_array_get(root, 0));
    json_decref(root);
    return back;
}

static float round_trip_float(float value) {
    struct bp_json json;
    char *text;
    bp_json_begin(&json, 1);
    bp_json_array(&json, NULL);
    bp_json_float(&json, NULL, value);
    bp_json_end_array(&json);
    assert_int_equal(bp_json_finish(&json, &text), BP_OK);
    json_t *root = read_back(text);
    assert_true(json_is_real(json_array_get(root, 0)));
    float back = (float)json_real_value(json_array_get(root, 0));
    json_decref(root);
    return back;
}

static void expect_exact_numbers(void) {
    static const double doubles[] = {0,       -0.0,   1,     0.1,
                                     1.0 / 3, -2.5,   1e300, DBL_MAX,
                                     DBL_MIN, 5e-324, 1e15,  123456789012345678.0};
    for (size_t i = 0; i < sizeof doubles / sizeof doubles[0]; i++) {
        double back = round_trip_double(doubles[i]);
        assert_memory_equal(&back, &doubles[i], sizeof back);
    }
    struct bp_stream stream = bp_stream_make(3, BP_RANDOM_TEST, 0, 0);
    for (uint64_t i = 0; i < 2000; i++) {
        uint32_t words[4];
        double value, back;
        float small, small_back;
        bp_stream_block(&stream, i, words);
        memcpy(&value, words, sizeof value);
        memcpy(&small, words + 2, sizeof small);
        if (isfinite(value)) {
            back = round_trip_double(value);
            assert_memory_equal(&back, &value, sizeof back);
        }
        if (isfinite(small)) {
            small_back = round_trip_float(small);
            assert_memory_equal(&small_back, &small, sizeof small_back);
        }
    }
}

static void test_numbers_round_trip(void **state) {
    (void)state;
    expect_exact_numbers();
    static const int64_t integers[] = {0, 1, -1, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < sizeof integers / sizeof integers[0]; i++) {
        struct bp_json json;
        char *text;
        bp_json_begin(&json, 0);
        bp_json_array(&json, NULL);
        bp_json_int(&json, NULL, integers[i]);
        bp_json_end_array(&json);
        assert_int_equal(bp_json_finish(&json, &text), BP_OK);
        json_t *root = read_back(text);
        assert_true(json_integer_value(json_array_get(root, 0)) == integers[i]);
        json_decref(root);
    }
}

/* Skipped where the system has no locale with a decimal comma. */
static void test_decimal_comma(void **state) {
    (void)state;
    static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "de_DE"};
    const char *found = NULL;
    for (size_t i = 0; i < sizeof names / sizeof names[0] && found == NULL; i++)
        found = setlocale(LC_NUMERIC, names[i]);
    if (found == NULL)
        skip();
    expect_exact_numbers();
    setlocale(LC_NUMERIC, "C");
}

static void test_short_numbers(void **state) {
    (void)state;
    struct bp_json json;
    char *text;
    bp_json_begin(&json, 0);
    bp_json_array(&json, NULL);
    bp_json_float(&json, NULL, 0.1f);
    bp_json_double(&json, NULL, 0.1);
    bp_json_double(&json, NULL, 60);
    bp_json_double(&json, NULL, (double)NAN);
    bp_json_double(&json, NULL, -(double)INFINITY);
    bp_json_float(&json, NULL, NAN);
    bp_json_float(&json, NULL, INFINITY);
    bp_json_end_array(&json);
    assert_int_equal(bp_json_finish(&json, &text), BP_OK);
    assert_string_equal(text, "[0.1, 0.1, 60.0, null, null, null, null]");
    bp_free(text);
}

static void test_empty(void **state) {
    (void)state;
    struct bp_json json;
    char *text;
    bp_json_begin(&json, 0);
    assert_int_equal(bp_json_finish(&json, &text), BP_OK);
    assert_string_equal(text, "");
    bp_free(text);
}

/* Failures are remembered until the end, at whatever request they happen. */
static void test_memory_failures(void **state) {
    (void)state;
    bp_status status = BP_RESOURCE;
    long allowed = 0;
    for (; status != BP_OK; allowed++) {
        struct bp_json json;
        char *text;
        assert_true(allowed < 20);
        bp_memory_fail_after(allowed);
        bp_json_begin(&json, 1);
        bp_json_array(&json, NULL);
        for (int i = 0; i < 1000; i++)
            bp_json_string(&json, NULL, "a string");
        bp_json_end_array(&json);
        status = bp_json_finish(&json, &text);
        bp_memory_fail_after(-1);
        assert_true(status == BP_OK ? text != NULL : text == NULL);
        bp_free(text);
    }
    assert_true(allowed > 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_strings_round_trip),
        cmocka_unit_test(test_bytes_that_are_not_utf8),
        cmocka_unit_test(test_numbers_round_trip),
        cmocka_unit_test(test_decimal_comma),
        cmocka_unit_test(test_short_numbers),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_memory_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
