/* data check: equal pictures are found by their pixels, not by their hashes alone; whatever request
 * for memory fails, it says so. The findings themselves are in tests/cli/cases/data_check*.case. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "data/check.h"
#include "unit/data_files.h"
#include "unit/picture_sets.h"

static void test_hash(void **state) {
    (void)state;
    enum { MOST = 67 };
    uint8_t bytes[MOST] = {0};
    struct bp_hash all[MOST * 8 + MOST];
    size_t n = 0;
    for (size_t length = 0; length < MOST; length++) /* zeros of every length */
        all[n++] = bp_hash_bytes(bytes, length);
    for (size_t bit = 0; bit < 8 * MOST; bit++) { /* every single bit */
        bytes[bit / 8] = (uint8_t)(1u << bit % 8);
        all[n++] = bp_hash_bytes(bytes, MOST);
        bytes[bit / 8] = 0;
    }
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            assert_int_equal(bp_hash_compare(&all[i], &all[j]), -bp_hash_compare(&all[j], &all[i]));
            if (i == j)
                continue;
            assert_int_not_equal(bp_hash_compare(&all[i], &all[j]), 0);
            assert_true(all[i].words[0] != all[j].words[0]); /* each word for itself */
            assert_true(all[i].words[1] != all[j].words[1]);
        }
}

/* Ten images of one hash, of which three and two are equal. */
static void test_equal_hashes(void **state) {
    (void)state;
    enum { N = 10, BYTES = 12 };
    static const uint8_t kinds[N] = {0, 1, 2, 1, 3, 4, 5, 4, 1, 6};
    uint8_t images[N * BYTES];
    int32_t labels[N] = {0};
    char one[] = "one", two[] = "two", *names[] = {one, two};
    struct bp_checked items[N];
    struct bp_dataset set = {
        .train = {.count = N, .h = 2, .w = 2, .c = 3, .images = images, .labels = labels},
        .classes = 2,
        .class_names = names};
    struct bp_check check = {.set = &set, .items = items, .count = N};
    for (size_t i = 0; i < N; i++) {
        memset(images + i * BYTES, 7, BYTES);
        images[i * BYTES + BYTES - 1] = kinds[i];
        items[i] = (struct bp_checked){.index = i, .side = BP_SIDE_TRAIN, .label = i == 7};
    }
    assert_int_equal(bp_check_duplicates(&check), BP_OK);
    assert_int_equal(check.survey.count, 2);
    assert_string_equal(check.survey.findings[0].kind, "copies");
    assert_int_equal(check.survey.findings[0].n_paths, 3);
    assert_string_equal(check.survey.findings[0].paths[2], "train 8");
    assert_string_equal(check.survey.findings[1].kind, "two_classes");
    assert_string_equal(check.survey.findings[1].text,
                        "the same picture in the classes 'one' and 'two': train 5 and train 7; "
                        "keep the one with the right class");
    bp_survey_free(&check.survey);
}

static void write_folder(const char *folder) {
    picture_write_class(folder, "p/train/a", 0, 4);
    picture_write_class(folder, "p/train/b", 1, 3);
    picture_write_class(folder, "p/train/B", 2, 1);
    picture_write_class(folder, "p/val/a", 0, 2); /* in both parts */
    picture_write_class(folder, "p/val/c", 1, 1);
    picture_write(folder, "p/train/a/5.png", 0, 1);
    picture_write(folder, "p/train/beside.png", 0, 1);
    picture_write_bytes(folder, "p/train/b/broken.jpg", "\xff\xd8\xff", 3);
    picture_write_bytes(folder, "p/val/a/none.png", "x", 1);
}

static void expect_report_or_refusal(const char *data, const char *kind) {
    bp_status status = BP_RESOURCE;
    for (long n = 0; status == BP_RESOURCE; n++) {
        struct bp_dataset_options options = picture_options();
        bp_data_report report = {0};
        options.threads = 2;
        bp_memory_fail_after(n);
        status = bp_check_data(data, &options, NULL, NULL, &report);
        bp_memory_fail_after(-1);
        if (status != BP_OK && status != BP_RESOURCE)
            fail_msg("after %ld requests: status %d: %s", n, status, bp_status_message());
        int found = 0;
        for (size_t i = 0; i < report.n_findings; i++) {
            found |= strcmp(report.findings[i].kind, kind) == 0;
            for (size_t j = 0; j < report.findings[i].n_paths; j++)
                bp_free(report.findings[i].paths[j]);
            bp_free(report.findings[i].paths);
            bp_free(report.findings[i].text);
        }
        if (status == BP_OK)
            assert_true(found);
        for (size_t i = 0; i < report.classes; i++)
            bp_free(report.class_names[i]);
        bp_free(report.class_names);
        bp_free(report.findings);
        bp_free(report.train_count);
        bp_free(report.val_count);
    }
}

static void test_without_memory(void **state) {
    write_folder(*state);
    expect_report_or_refusal(data_path(*state, "p"), "both_parts");
    const char list[] = "p/train/a/0.jpg,a,train\np/train/b/0.jpg,b,train\nx,c,val\nbad\n"
                        "p/train/b/0.jpg,a,train\n";
    picture_write_bytes(*state, "list.csv", list, sizeof list - 1);
    expect_report_or_refusal(data_path(*state, "list.csv"), "line");
    const struct data_set set = {.train = 9, .val = 3, .h = 4, .w = 4, .classes = 3};
    data_write_set(*state, &set);
    expect_report_or_refusal(*state, "both_parts");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hash), cmocka_unit_test(test_equal_hashes),
        cmocka_unit_test_setup_teardown(test_without_memory, data_folder_setup,
                                        data_folder_teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
