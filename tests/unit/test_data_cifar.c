/* CIFAR files: content, names of classes, mistakes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "data/dataset_format.h"
#include "unit/data_files.h"
#include "unit/picture_sets.h"

enum { PLANE = 1024, PIXELS = 3 * PLANE };

/* Sample i of the data set: channel c of pixel p is i + 3 * p + 50 * c, its label i * 3. */
static uint8_t value(size_t i, size_t p, size_t c) {
    return (uint8_t)(i + 3 * p + 50 * c);
}

static void write_file(const char *folder, const char *name, size_t first, size_t n, size_t labels,
                       size_t classes) {
    uint8_t *bytes = malloc(n * (labels + PIXELS)), *at = bytes;
    for (size_t i = first; i < first + n; i++) {
        memset(at, 99, labels);
        at[labels - 1] = (uint8_t)(i * 3 % classes);
        for (size_t c = 0; c < 3; c++)
            for (size_t p = 0; p < PLANE; p++)
                at[labels + c * PLANE + p] = value(i, p, c);
        at += labels + PIXELS;
    }
    data_write(data_path(folder, name), bytes, (size_t)(at - bytes));
    free(bytes);
}

static void expect_part(const struct bp_part *part, size_t first, size_t n, size_t classes) {
    assert_int_equal(part->count, n);
    assert_true(part->h == 32 && part->w == 32 && part->c == 3 && part->pictures == NULL);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(part->labels[i], (first + i) * 3 % classes);
        for (size_t p = 0; p < PLANE; p++)
            for (size_t c = 0; c < 3; c++)
                assert_int_equal(part->images[i * PIXELS + 3 * p + c], value(first + i, p, c));
    }
}

static void test_cifar10(void **state) {
    for (size_t i = 0; i < 11; i++) { /* the tenth comes last, not after the first */
        char name[32];
        snprintf(name, sizeof name, "data_batch_%zu.bin", i + 1);
        write_file(*state, name, 3 * i, 3, 1, 10);
    }
    write_file(*state, "test_batch.bin", 40, 2, 1, 10);
    struct bp_dataset_options options = picture_options();
    struct bp_dataset *set = picture_open(*state, &options);
    assert_string_equal(set->kind, "cifar10");
    expect_part(&set->train, 0, 33, 10);
    expect_part(&set->val, 40, 2, 10);
    assert_int_equal(set->classes, 10);
    assert_string_equal(set->class_names[9], "9");
    bp_dataset_destroy(set);
    data_write(data_path(*state, "batches.meta.txt"),
               (const uint8_t *)"a\nb\nc\nd\r\ne\nf\ng\nh\ni\njet plane\n\n", 31);
    set = picture_open(*state, &options);
    assert_string_equal(set->class_names[0], "a");
    assert_string_equal(set->class_names[3], "d");
    assert_string_equal(set->class_names[9], "jet plane");
    bp_dataset_destroy(set);
    data_write(data_path(*state, "batches.meta.txt"), (const uint8_t *)"a\nb\n", 4);
    set = picture_open(*state, &options);
    assert_string_equal(set->class_names[0], "0");
    bp_dataset_destroy(set);
}

static void test_cifar100(void **state) {
    write_file(*state, "train.bin", 0, 12, 2, 100);
    write_file(*state, "test.bin", 30, 3, 2, 100);
    struct bp_dataset_options options = picture_options();
    options.limit_train = 5;
    struct bp_dataset *set = picture_open(*state, &options);
    assert_string_equal(set->kind, "cifar100");
    assert_int_equal(set->classes, 100);
    assert_int_equal(set->train.count, 5);
    expect_part(&set->val, 30, 3, 100);
    bp_dataset_destroy(set);
}

static void test_mistakes(void **state) {
    struct bp_dataset_options options = picture_options();
    char forced[1200];
    snprintf(forced, sizeof forced, "cifar10:%s", (const char *)*state);
    EXPECT_REFUSED(forced, &options, "no file data_batch_1.bin");
    write_file(*state, "data_batch_1.bin", 0, 2, 1, 10);
    EXPECT_REFUSED(*state, &options, "cannot read ", "test_batch.bin");
    write_file(*state, "test_batch.bin", 0, 2, 1, 20); /* labels 0, 3 */
    uint8_t bytes[PIXELS + 1] = {10};
    data_write(data_path(*state, "test_batch.bin"), bytes, sizeof bytes);
    EXPECT_REFUSED(*state, &options,
                   "test_batch.bin: offset 0: found label 10, expected at most 9");
    data_write(data_path(*state, "test_batch.bin"), bytes, PIXELS);
    EXPECT_REFUSED(*state, &options, "test_batch.bin: offset 0: found a file of 3072 bytes",
                   "truncated");
    data_write(data_path(*state, "test_batch.bin"), bytes, 0);
    EXPECT_REFUSED(*state, &options, "test_batch.bin: offset 0: ", "empty");
}

static void test_without_memory(void **state) {
    write_file(*state, "data_batch_1.bin", 0, 3, 1, 10);
    write_file(*state, "test_batch.bin", 40, 2, 1, 10);
    data_write(data_path(*state, "batches.meta.txt"), (const uint8_t *)"a\nb\n", 4);
    struct bp_dataset_options options = picture_options();
    bp_status status = BP_RESOURCE;
    for (long n = 0; status != BP_OK; n++) {
        struct bp_dataset *set;
        bp_memory_fail_after(n);
        status = bp_dataset_open(&set, *state, &options);
        bp_memory_fail_after(-1);
        assert_true(status == BP_OK || status == BP_RESOURCE);
        bp_dataset_destroy(set);
    }
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, data_folder_setup, data_folder_teardown)
    const struct CMUnitTest tests[] = {TEST(test_cifar10), TEST(test_cifar100), TEST(test_mistakes),
                                       TEST(test_without_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
