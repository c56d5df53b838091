/* Opening data sets: content, limits, moments, failing memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file_io.h"
#include "base/memory.h"
#include "data/dataset.h"
#include "unit/data_files.h"

static struct bp_dataset *open_set(const char *folder, size_t limit_train, size_t limit_val,
                                   uint64_t seed) {
    struct bp_dataset *set;
    struct bp_dataset_options options = {
        .limit_train = limit_train, .limit_val = limit_val, .seed = seed};
    if (bp_dataset_open(&set, folder, &options) != BP_OK)
        fail_msg("%s", bp_status_message());
    return set;
}

static void expect_part(const struct bp_part *part, size_t count, const struct data_set *made) {
    assert_int_equal(part->count, count);
    assert_int_equal(part->h, made->h);
    assert_int_equal(part->w, made->w);
    assert_int_equal(part->c, 1);
    for (size_t i = 0; i < count * made->h * made->w; i++)
        assert_int_equal(part->images[i], data_pixel(i));
    for (size_t i = 0; i < count; i++)
        assert_int_equal(part->labels[i], i % made->classes);
}

static void test_content(void **state) {
    for (int form = 0; form < 4; form++) {
        struct data_set made = {.train = 60, .val = 25, .h = 5, .w = 7, .classes = 12};
        made.gz = form & 1;
        made.dots = form >> 1;
        char folder[1100];
        assert_int_equal(bp_path_join(folder, sizeof folder, *state, "abcd"), BP_OK);
        folder[strlen(folder) - 1] = (char)('0' + form);
        assert_int_equal(bp_dir_create(folder), BP_OK);
        data_write_set(folder, &made);
        struct bp_dataset *set = open_set(folder, 0, 0, 0);
        expect_part(&set->train, 60, &made);
        expect_part(&set->val, 25, &made);
        assert_int_equal(set->classes, 12);
        assert_string_equal(set->class_names[0], "0");
        assert_string_equal(set->class_names[11], "11");
        assert_string_equal(set->kind, "idx");
        assert_string_equal(set->path, folder);
        bp_dataset_destroy(set);
    }
    bp_dataset_destroy(NULL);
}

static void test_packed_content_under_a_plain_name(void **state) {
    data_write_set(*state, &(struct data_set){.train = 9, .val = 3, .h = 2, .w = 2, .classes = 3});
    uint8_t bytes[64], pixels[12] = {9, 8, 7};
    size_t count = data_idx(bytes, 3, (size_t[]){3, 2, 2}, pixels);
    data_write_gz(data_path(*state, "t10k-images-idx3-ubyte"), bytes, count);
    struct bp_dataset *set = open_set(*state, 0, 0, 0);
    assert_memory_equal(set->val.images, pixels, 12);
    bp_dataset_destroy(set);
}

/* Images of one pixel whose value is their number, so that a choice can be read off. */
static void write_numbered(const char *folder) {
    uint8_t bytes[512], elements[250], labels[250];
    for (size_t i = 0; i < 250; i++) {
        elements[i] = (uint8_t)i;
        labels[i] = (uint8_t)(i == 3 ? 9 : i % 5); /* one sample only has the largest label */
    }
    static const char *const parts[] = {"train", "t10k"};
    for (size_t p = 0; p < 2; p++) {
        char name[64];
        size_t count = data_idx(bytes, 3, (size_t[]){250, 1, 1}, elements);
        snprintf(name, sizeof name, "%s-images-idx3-ubyte", parts[p]);
        data_write(data_path(folder, name), bytes, count);
        count = data_idx(bytes, 1, (size_t[]){250}, labels);
        snprintf(name, sizeof name, "%s-labels-idx1-ubyte", parts[p]);
        data_write(data_path(folder, name), bytes, count);
    }
}

static void expect_choice(const struct bp_part *part, size_t count) {
    assert_int_equal(part->count, count);
    for (size_t i = 0; i < count; i++) {
        int number = part->images[i];
        assert_int_equal(part->labels[i], number == 3 ? 9 : number % 5);
        if (i > 0) /* the order of the file, none twice */
            assert_true(part->images[i] > part->images[i - 1]);
    }
}

static void test_limits(void **state) {
    write_numbered(*state);
    for (size_t limit = 1; limit < 250; limit += 31) {
        struct bp_dataset *set = open_set(*state, limit, 251 - limit, limit);
        expect_choice(&set->train, limit);
        expect_choice(&set->val, 251 - limit);
        assert_int_equal(set->classes, 10); /* of the whole part, whatever was chosen */
        bp_dataset_destroy(set);
    }
    struct bp_dataset *all = open_set(*state, 250, 5000, 1);
    assert_int_equal(all->train.count, 250);
    assert_int_equal(all->val.count, 250);
    bp_dataset_destroy(all);
}

static void test_limits_depend_on_the_seed_only(void **state) {
    write_numbered(*state);
    struct bp_dataset *a = open_set(*state, 50, 50, 7), *b = open_set(*state, 50, 0, 7);
    struct bp_dataset *c = open_set(*state, 50, 50, 8);
    assert_memory_equal(a->train.images, b->train.images, 50);
    assert_memory_not_equal(a->train.images, c->train.images, 50);
    assert_memory_not_equal(a->train.images, a->val.images, 50);
    bp_dataset_destroy(a);
    bp_dataset_destroy(b);
    bp_dataset_destroy(c);
}

/* Each sample is chosen about as often; the bound is six standard errors. */
static void test_limits_are_spread(void **state) {
    write_numbered(*state);
    enum { RUNS = 400, LIMIT = 50 };
    int chosen[250] = {0};
    for (uint64_t seed = 0; seed < RUNS; seed++) {
        struct bp_dataset *set = open_set(*state, LIMIT, 1, seed);
        for (size_t i = 0; i < LIMIT; i++)
            chosen[set->train.images[i]]++;
        bp_dataset_destroy(set);
    }
    double p = LIMIT / 250.0;
    for (size_t i = 0; i < 250; i++)
        assert_true(fabs(chosen[i] - RUNS * p) < 6 * sqrt(RUNS * p * (1 - p)));
}

static void test_moments(void **state) {
    (void)state;
    /* Channel 0: 0 and 255 equally often; channel 1: constant; channel 2: 10, 20, 30, 40. */
    uint8_t images[] = {0, 77, 10, 255, 77, 20, 255, 77, 30, 0, 77, 40};
    struct bp_part part = {.count = 2, .h = 1, .w = 2, .c = 3, .images = images};
    float mean[3], deviation[3];
    bp_part_moments(&part, mean, deviation);
    assert_true(mean[0] == 0.5f && deviation[0] == 0.5f);
    assert_true(mean[1] == (float)(77.0 / 255) && deviation[1] == 1.0f);
    assert_true(mean[2] == (float)(25.0 / 255));
    assert_true(fabs((double)deviation[2] - sqrt(125.0) / 255) < 1e-8);
    part.c = 1;
    part.count = 6;
    bp_part_moments(&part, mean, deviation);
    double sum = 0, squares = 0;
    for (size_t i = 0; i < sizeof images; i++) {
        sum += images[i];
        squares += images[i] * images[i];
    }
    double average = sum / 12, variance = squares / 12 - average * average;
    assert_true(fabs((double)mean[0] - average / 255) < 1e-7);
    assert_true(fabs((double)deviation[0] - sqrt(variance) / 255) < 1e-7);
    assert_true(mean[1] == 0.0f && deviation[2] == 1.0f); /* channels that are not there */
}

static void fail_everywhere(const char *folder) {
    bp_status status = BP_RESOURCE;
    long allowed = 0;
    for (; status != BP_OK; allowed++) {
        struct bp_dataset *set;
        struct bp_dataset_options options = {.limit_train = 4, .limit_val = 2};
        assert_true(allowed < 500);
        bp_memory_fail_after(allowed);
        status = bp_dataset_open(&set, folder, &options);
        bp_memory_fail_after(-1);
        if (status != BP_OK) {
            assert_int_equal(status, BP_RESOURCE);
            assert_null(set);
            EXPECT_MESSAGE("out of memory");
        }
        bp_dataset_destroy(set);
    }
    assert_true(allowed > 15);
}

static void test_memory_failures(void **state) {
    struct data_set made = {.train = 6, .val = 3, .h = 2, .w = 2, .classes = 3};
    char folder[1100];
    for (made.gz = 0; made.gz < 2; made.gz++) {
        assert_int_equal(bp_path_join(folder, sizeof folder, *state, made.gz ? "gz" : "plain"),
                         BP_OK);
        assert_int_equal(bp_dir_create(folder), BP_OK);
        data_write_set(folder, &made);
        fail_everywhere(folder);
    }
}

static void test_fashion_mnist(void **state) {
    (void)state;
    const char *folder = "/usr/share/datasets/fashion-mnist"; /* Debian: dataset-fashion-mnist */
    if (!bp_path_is_dir(folder))
        skip();
    struct bp_dataset *set = open_set(folder, 0, 1000, 0);
    assert_int_equal(set->train.count, 60000);
    assert_int_equal(set->val.count, 1000);
    assert_int_equal(set->train.h, 28);
    assert_int_equal(set->train.w, 28);
    assert_int_equal(set->classes, 10);
    float mean[3], deviation[3];
    bp_part_moments(&set->train, mean, deviation);
    assert_true(fabsf(mean[0] - 0.2860f) < 1e-4f); /* the figures that everybody uses */
    assert_true(fabsf(deviation[0] - 0.3530f) < 1e-4f);
    bp_dataset_destroy(set);
}

#define IN_FOLDER(test)                                                                            \
    cmocka_unit_test_setup_teardown(test, data_folder_setup, data_folder_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_FOLDER(test_content),
        IN_FOLDER(test_packed_content_under_a_plain_name),
        IN_FOLDER(test_limits),
        IN_FOLDER(test_limits_depend_on_the_seed_only),
        IN_FOLDER(test_limits_are_spread),
        cmocka_unit_test(test_moments),
        IN_FOLDER(test_memory_failures),
        cmocka_unit_test(test_fashion_mnist),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
