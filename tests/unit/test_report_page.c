/* Readers of a run's files and whole pages: whatever the files hold, or lack, the page is sound. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file_io.h"
#include "base/json_writer.h"
#include "base/memory.h"
#include "data_files.h"
#include "report/page.h"
#include "report/report.h"
#include "unit/html_check.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* --- readers ---------------------------------------------------------------------------------- */

static void test_metrics(void **state) {
    (void)state;
    static const char text[] =
        "{\"kind\": \"step\", \"epoch\": 1, \"step\": 5, \"loss\": 2.5, \"accuracy\": 0.1}\n"
        "\n"
        "{\"kind\": \"epoch\", \"epoch\": 1, \"step\": 9, \"loss\": null, \"val_loss\": \"x\"}\n"
        "{\"kind\": \"other\", \"step\": 9}\n"
        "[1, 2]\n"
        "nonsense\n"
        "{\"kind\": \"epoch\", \"epoch\": 2, \"step\": 18, \"lo";
    struct bp_metrics_record metrics;
    assert_int_equal(bp_metrics_parse(text, sizeof text - 1, &metrics), BP_OK);
    assert_true(metrics.steps.count == 1 && metrics.epochs.count == 1 && metrics.bad_lines == 4);
    assert_true(metrics.steps.column[BP_COLUMN_LOSS][0] == 2.5);
    assert_true(metrics.epochs.column[BP_COLUMN_STEP][0] == 9);
    assert_true(isnan(metrics.epochs.column[BP_COLUMN_LOSS][0]));
    assert_true(isnan(metrics.epochs.column[BP_COLUMN_VAL_LOSS][0]));
    bp_metrics_free(&metrics);
    assert_int_equal(bp_metrics_parse("", 0, &metrics), BP_OK);
    assert_true(metrics.steps.count == 0 && metrics.bad_lines == 0);
    bp_metrics_free(&metrics);
}

static const char sound_validation[] =
    "{\"epoch\": 3, \"n\": 4, \"accuracy\": 0.5, \"loss\": 1.25, \"classes\": ["
    "{\"name\": \"<b>\", \"n\": 3, \"correct\": 1}, {\"name\": \"\", \"n\": 1, \"correct\": 1}],"
    "\"confusion\": [[0, 0, 1], [0, 1, 2], [1, 1, 1]], \"thumbnail_px\": 8, \"mistakes\": ["
    "{\"sample\": 7, \"label\": 0, \"predicted\": 1, \"loss\": 2, \"probability\": 0.9,"
    "\"probability_of_label\": 0.1, \"path\": \"a'b\", \"png\": \"Zm9v\"}]}";

/* `text` with the first `from` replaced; in one static buffer. */
static const char *changed(const char *text, const char *from, const char *to) {
    static char out[4096];
    const char *found = strstr(text, from);
    assert_non_null(found);
    snprintf(out, sizeof out, "%.*s%s%s", (int)(found - text), text, to, found + strlen(from));
    return out;
}

static void test_validation(void **state) {
    (void)state;
    static const char *const mistakes[][2] = {{"\"epoch\": 3", "\"epoch\": -3"},
                                              {"\"n\": 4", "\"n\": 4.5"},
                                              {"\"correct\": 1", "\"correct\": 4"},
                                              {"\"name\": \"<b>\"", "\"name\": 5"},
                                              {"[0, 1, 2]", "[0, 2, 2]"},
                                              {"[0, 1, 2]", "[0, 0, 2]"},
                                              {"[1, 1, 1]", "[1, 1]"},
                                              {"[0, 1, 2]", "[0, 1, 1e99]"},
                                              {"\"label\": 0", "\"label\": 2"},
                                              {"\"sample\": 7", "\"sample\": null"},
                                              {"Zm9v", "\\\"><script>"},
                                              {"\"mistakes\"", "\"mistake\""},
                                              {"\"confusion\"", "\"confused\""},
                                              {"\"classes\": [", "\"classes\": {}, \"x\": ["},
                                              {"\"accuracy\": 0.5", "\"epoch\": 0.5"},
                                              {"0.1,", "0.1,,"}};
    struct bp_validation_record v;
    assert_int_equal(bp_validation_parse(sound_validation, strlen(sound_validation), "v.json", &v),
                     BP_OK);
    assert_true(v.epoch == 3 && v.n == 4 && v.n_classes == 2 && v.n_pairs == 3);
    assert_true(v.pairs[1].predicted == 1 && v.pairs[1].count == 2 && v.n_mistakes == 1);
    assert_true(v.mistakes[0].probability == 0.9 && v.thumbnail_px == 8);
    bp_validation_free(&v);
    for (size_t i = 0; i < COUNT(mistakes); i++) {
        const char *text = changed(sound_validation, mistakes[i][0], mistakes[i][1]);
        if (bp_validation_parse(text, strlen(text), "v.json", &v) != BP_DATA)
            fail_msg("%s was accepted", mistakes[i][1]);
        assert_non_null(strstr(bp_status_message(), "v.json"));
        assert_null(v.root);
    }
    for (size_t length = 0; length < strlen(sound_validation); length++) /* cut off anywhere */
        assert_int_equal(bp_validation_parse(sound_validation, length, "v.json", &v), BP_DATA);
}

static void test_deep_json(void **state) {
    (void)state;
    static char text[100000];
    struct bp_validation_record v;
    memset(text, '[', sizeof text);
    assert_int_equal(bp_validation_parse(text, sizeof text, "v.json", &v), BP_DATA);
    EXPECT_MESSAGE("v.json", "deeper");
}

static void test_variance(void **state) {
    (void)state;
    static const char text[] =
        "{\"step\": 5, \"layers\": []}\n"
        "{\"step\": 10, \"layers\": [{\"name\": \"a\", \"dA\": {\"exact\": 0.5}, \"flips\": "
        "null}]}\n"
        "{\"step\": 20, \"layers\": [{\"dW\": {\"empirical\": 2}, \"flips\": 0.25}]}\n"
        "{\"step\": 30, \"layers\": [{}, {}]}\n"
        "{\"layers\": [{}]}\n";
    struct bp_variance_record v;
    assert_int_equal(bp_variance_parse(text, sizeof text - 1, &v), BP_OK);
    assert_true(v.n_layers == 1 && v.count == 2 && v.bad_lines == 3);
    assert_string_equal(v.names[0], "a");
    assert_true(v.values[0].exact[0] == 0.5 && isnan(v.values[0].exact[1]));
    assert_true(v.values[1].empirical[1] == 2 && v.values[1].flips == 0.25);
    bp_variance_free(&v);
}

static void test_layers(void **state) {
    (void)state;
    static const char sound[] =
        "{\"steps\": 5, \"step_ms\": 2, \"other_ms\": 0.5, \"layers\": [{\"name\": \"conv1\","
        "\"kind\": \"convolution\", \"output\": [4, 4, 8], \"macs\": 1000, \"forward_ms\": 1}]}";
    static const char *const mistakes[][2] = {{"\"conv1\"", "1"},
                                              {"[4, 4, 8]", "[4, 4]"},
                                              {"[4, 4, 8]", "[4, 4, -8]"},
                                              {"\"layers\"", "\"layer\""}};
    struct bp_layers_record layers;
    assert_int_equal(bp_layers_parse(sound, strlen(sound), "l.json", &layers), BP_OK);
    assert_true(layers.n_layers == 1 && layers.layers[0].output[2] == 8);
    assert_true(isnan(layers.layers[0].weight_bits) && layers.layers[0].macs == 1000);
    bp_layers_free(&layers);
    for (size_t i = 0; i < COUNT(mistakes); i++) {
        const char *text = changed(sound, mistakes[i][0], mistakes[i][1]);
        assert_int_equal(bp_layers_parse(text, strlen(text), "l.json", &layers), BP_DATA);
    }
}

/* --- the classes' part ------------------------------------------------------------------------ */

/* A validation of so many classes with hostile names, each sample of class i taken for i or i + 1.
 */
static char *draw_classes(size_t classes, size_t n) {
    struct bp_json json;
    struct bp_html html;
    struct bp_validation_record v;
    char *text, name[64];
    bp_json_begin(&json, 0);
    bp_json_object(&json, NULL);
    bp_json_int(&json, "epoch", 1);
    bp_json_int(&json, "n", (int64_t)(n * classes));
    bp_json_array(&json, "classes");
    for (size_t i = 0; i < classes; i++) {
        bp_json_object(&json, NULL);
        snprintf(name, sizeof name, "<script>alert('%zu\")</script>&", i);
        bp_json_string(&json, "name", name);
        bp_json_int(&json, "n", (int64_t)n);
        bp_json_int(&json, "correct", (int64_t)(n / 2));
        bp_json_end_object(&json);
    }
    bp_json_end_array(&json);
    bp_json_array(&json, "confusion");
    for (size_t i = 0; i < 2 * classes; i++) {
        if (i / 2 + i % 2 == classes)
            continue;
        bp_json_array(&json, NULL);
        bp_json_int(&json, NULL, (int64_t)(i / 2));
        bp_json_int(&json, NULL, (int64_t)(i / 2 + i % 2));
        bp_json_int(&json, NULL, (int64_t)(n / 2));
        bp_json_end_array(&json);
    }
    bp_json_end_array(&json);
    bp_json_array(&json, "mistakes");
    bp_json_end_array(&json);
    bp_json_end_object(&json);
    assert_int_equal(bp_json_finish(&json, &text), BP_OK);
    if (bp_validation_parse(text, strlen(text), "v.json", &v) != BP_OK)
        fail_msg("%s", bp_status_message());
    bp_free(text);
    bp_html_begin(&html);
    assert_int_equal(bp_page_confusion(&html, &v), BP_OK);
    bp_page_mistakes(&html, &v);
    assert_int_equal(bp_html_finish(&html, &text), BP_OK);
    bp_validation_free(&v);
    html_expect_sound(text);
    return text;
}

static size_t count_of(const char *text, const char *part) {
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, part)) != NULL; at++)
        n++;
    return n;
}

static void test_classes(void **state) {
    (void)state;
    for (size_t classes = 1; classes <= 101; classes += classes < 24 ? 1 : 11) {
        char *text = draw_classes(classes, 10);
        int matrix = classes <= 100;
        assert_int_equal(count_of(text, "<rect class=\"r\""), matrix ? classes : 0);
        assert_int_equal(count_of(text, "<rect class=\"w\""), matrix ? classes - 1 : 0);
        assert_int_equal(count_of(text, "%\"></i>"), classes); /* bars */
        bp_free(text);
    }
    bp_free(draw_classes(3, 0)); /* classes without samples */
}

/* --- whole pages ------------------------------------------------------------------------------ */

static const char *run_file(const char *folder, const char *name) {
    static char path[2048];
    snprintf(path, sizeof path, "%s/run/%s", folder, name);
    return path;
}

static void write_run(const char *folder, const char *name, const char *text) {
    assert_int_equal(bp_file_write_text(run_file(folder, name), text), BP_OK);
}

static int write_run_setup(void **state) {
    if (data_folder_setup(state) != 0)
        return 1;
    const char *folder = *state;
    mkdir(data_path(folder, "run"), 0755);
    write_run(folder, "config.json", "{\"model\": \"<i>\", \"data\": \"a\\u0007&b\", \"lr\": 0.1}");
    write_run(folder, "settings.json",
              "[{\"option\": \"x\", \"value\": \"<y>\", \"origin\": \"z\"}, 5]");
    write_run(folder, "env.json", "{\"cpu\": \"<cpu>\", \"kernels\": {\"a\": \"c\", \"b\": 1}}");
    write_run(folder, "result.json",
              "{\"status\": \"diverged\", \"message\": \"<oh>\", \"accuracy\": -1}");
    write_run(folder, "metrics.jsonl",
              "{\"kind\": \"epoch\", \"epoch\": 1, \"step\": 9, \"loss\": 1}\n{\"kind");
    write_run(folder, "validation.json", sound_validation);
    write_run(folder, "layers.json",
              "{\"layers\": [{\"name\": \"<l>\", \"kind\": \"k\", \"output\": [1, 2, 3]}]}");
    write_run(folder, "variance.jsonl", "{\"step\": 1, \"layers\": [{\"name\": \"<v>\"}]}\n");
    return 0;
}

static const char *const run_files[] = {"config.json", "settings.json", "env.json",
                                        "result.json", "metrics.jsonl", "validation.json",
                                        "layers.json", "variance.jsonl"};

static char *draw_run(const char *folder) {
    char run[1024], *text;
    uint8_t *bytes;
    size_t count;
    snprintf(run, sizeof run, "%s/run/", folder);
    const char *const runs[] = {run, run};
    for (size_t n = 2; n > 0; n--) { /* the comparison first */
        if (bp_report_write(runs, n, data_path(folder, "page.html")) != BP_OK)
            fail_msg("%s", bp_status_message());
        assert_int_equal(
            bp_file_read(data_path(folder, "page.html"), 1 << 20, BP_DATA, &bytes, &count), BP_OK);
        assert_int_equal(bp_alloc(&text, count + 1, "a test"), BP_OK);
        memcpy(text, bytes, count);
        bp_free(bytes);
        html_expect_sound(text);
        if (n > 1)
            bp_free(text);
    }
    return text;
}

static void test_whole(void **state) {
    static const char *const wanted[] = {
        "&lt;i&gt;", "a\xef\xbf\xbd&amp;b", "&lt;y&gt;",   "&lt;cpu&gt;", "&lt;oh&gt;",
        "&lt;l&gt;", "&lt;v&gt;",           "&lt;b&gt;",   "a&#39;b",     "1 line of",
        "diverged",  "base64,Zm9v",         "<h1>run</h1>"};
    char *text = draw_run(*state);
    for (size_t i = 0; i < COUNT(wanted); i++)
        if (strstr(text, wanted[i]) == NULL)
            fail_msg("%s is not on the page", wanted[i]);
    assert_null(strstr(text, "http://"));
    assert_null(strstr(text, "https://"));
    bp_free(text);
}

/* Each file missing, empty, of another kind, and of bytes. */
static void test_damaged_files(void **state) {
    static const char *const contents[] = {NULL, "", "[]", "{}", "5", "\"", "\xff\xfe{", "null\n"};
    for (size_t i = 1; i < COUNT(run_files); i++)
        for (size_t j = 0; j < COUNT(contents); j++) {
            uint8_t *kept;
            size_t count;
            const char *path = run_file(*state, run_files[i]);
            assert_int_equal(bp_file_read(path, 1 << 20, BP_DATA, &kept, &count), BP_OK);
            if (contents[j] == NULL)
                unlink(path);
            else
                write_run(*state, run_files[i], contents[j]);
            bp_free(draw_run(*state));
            data_write(run_file(*state, run_files[i]), kept, count);
            bp_free(kept);
        }
}

static void test_no_run(void **state) {
    char run[1024];
    snprintf(run, sizeof run, "%s/run", (const char *)*state);
    const char *const runs[] = {run};
    const char *page = "/nowhere/page.html";
    assert_int_equal(bp_report_write(runs, 1, page), BP_RESOURCE);
    write_run(*state, "config.json", "[]");
    assert_int_equal(bp_report_write(runs, 1, page), BP_MODEL);
    EXPECT_MESSAGE("config.json", "damaged");
    unlink(run_file(*state, "config.json"));
    assert_int_equal(bp_report_write(runs, 1, page), BP_MODEL);
    EXPECT_MESSAGE("not a run folder");
    snprintf(run, sizeof run, "%s/other", (const char *)*state);
    assert_int_equal(bp_report_write(runs, 1, page), BP_MODEL);
    EXPECT_MESSAGE("no such folder");
}

static void test_memory(void **state) {
    char run[1024];
    snprintf(run, sizeof run, "%s/run", (const char *)*state);
    const char *const runs[] = {run, run};
    for (size_t n = 1; n <= 2; n++) {
        long failures = 0;
        for (;; failures++) {
            unlink(data_path(*state, "page.html"));
            bp_memory_fail_after(failures);
            bp_status status = bp_report_write(runs, n, data_path(*state, "page.html"));
            bp_memory_fail_after(-1);
            if (status == BP_OK)
                break;
            assert_int_equal(status, BP_RESOURCE);
            assert_false(bp_path_exists(data_path(*state, "page.html")));
        }
        assert_true(failures > 20);
    }
}

#define WITH_RUN(test) cmocka_unit_test_setup_teardown(test, write_run_setup, data_folder_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_metrics),
        cmocka_unit_test(test_validation),
        cmocka_unit_test(test_deep_json),
        cmocka_unit_test(test_variance),
        cmocka_unit_test(test_layers),
        cmocka_unit_test(test_classes),
        WITH_RUN(test_whole),
        WITH_RUN(test_damaged_files),
        WITH_RUN(test_no_run),
        WITH_RUN(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
