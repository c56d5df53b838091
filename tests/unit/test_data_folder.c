/* Class folders: layouts, classes, broken files, memory. */
#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/memory.h"
#include "data/pictures.h"
#include "unit/data_files.h"
#include "unit/picture_sets.h"

static void test_two_parts(void **state) {
    static const char *const names[] = {"val", "valid", "Validation", "test"};
    for (size_t i = 0; i < 4; i++) {
        char folder[1200], part[64];
        snprintf(folder, sizeof folder, "%s/%zu", (const char *)*state, i);
        picture_write_class(folder, "train/class2", 0, 5);
        picture_write_class(folder, "train/class10", 1, 4);
        snprintf(part, sizeof part, "%s/class10", names[i]);
        picture_write_class(folder, part, 1, 3);
        picture_write_bytes(folder, "train/README", "no class", 8);
        picture_write_bytes(folder, "train/.hidden/x.jpg", "x", 1);
        picture_write_bytes(folder, "train/class2/.hidden", "x", 1);
        struct bp_dataset_options options = picture_options();
        struct bp_dataset *set = picture_open(folder, &options);
        assert_string_equal(set->kind, "folder");
        assert_int_equal(set->classes, 2);
        assert_string_equal(set->class_names[0], "class2");
        assert_string_equal(set->class_names[1], "class10");
        picture_expect_counts(&set->train, 2, (size_t[]){5, 4});
        picture_expect_counts(&set->val, 2, (size_t[]){0, 3});
        assert_int_equal(set->train.h, 16);
        assert_int_equal(set->train.c, 3);
        bp_dataset_destroy(set);
    }
}

static void test_val_goes_before_test(void **state) {
    picture_write_class(*state, "train/a", 0, 4);
    picture_write_class(*state, "train/b", 1, 4);
    picture_write_class(*state, "test/a", 0, 3);
    picture_write_class(*state, "validation/b", 1, 2);
    struct bp_dataset_options options = picture_options();
    struct bp_dataset *set = picture_open(*state, &options);
    picture_expect_counts(&set->val, 2, (size_t[]){0, 2});
    bp_dataset_destroy(set);
}

static void test_class_mistakes(void **state) {
    struct bp_dataset_options options = picture_options();
    char folder[1200], path[1300];
    snprintf(folder, sizeof folder, "%s/unknown", (const char *)*state);
    picture_write_class(folder, "train/cat", 0, 3);
    picture_write_class(folder, "val/cat", 0, 1);
    picture_write_class(folder, "val/dog", 1, 1);
    EXPECT_REFUSED(folder, &options, "/val: class 'dog' is unknown to the training part");

    snprintf(folder, sizeof folder, "%s/empty", (const char *)*state);
    picture_write_class(folder, "train/cat", 0, 3);
    snprintf(path, sizeof path, "%s/train/dog", folder);
    assert_int_equal(mkdir(path, 0777), 0);
    EXPECT_REFUSED(folder, &options, "/train: class 'dog' is empty");

    snprintf(folder, sizeof folder, "%s/twins", (const char *)*state);
    picture_write_class(folder, "Ice Cream", 0, 3);
    picture_write_class(folder, "icecream", 0, 3);
    EXPECT_REFUSED(folder, &options, "'Ice Cream'", "'icecream'", "differ in case or spacing only");

    snprintf(folder, sizeof folder, "%s/no-train", (const char *)*state);
    picture_write_class(folder, "val/cat", 0, 3);
    picture_write_class(folder, "more/cat", 0, 3);
    EXPECT_REFUSED(folder, &options, "has a folder 'val' but no folder 'train'");
}

static void test_bad_files(void **state) {
    picture_write_class(*state, "a", 0, 6);
    picture_write_class(*state, "b", 1, 6);
    picture_write_bytes(*state, "a/empty.jpg", "", 0);
    picture_write_bytes(*state, "b/notes.txt", "hello", 5);
    picture_write(*state, "b/3b.jpg", 1, 50);
    char path[1300];
    snprintf(path, sizeof path, "%s/b/3b.jpg", (const char *)*state);
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    FILE *file = fopen(path, "r+b");
    uint8_t bytes[4096];
    size_t most = fread(bytes, 1, sizeof bytes, file) * 9 / 10; /* the header stays whole */
    fclose(file);
    data_write(path, bytes, most);
    picture_write(*state, "b/folder/x.jpg", 1, 60);

    struct bp_bad_files bad = {0};
    struct bp_dataset_options options = picture_options();
    options.bad = &bad;
    EXPECT_REFUSED(*state, &options, "4 of 16 files cannot be used",
                   "a/empty.jpg: the file is empty");
    assert_int_equal(bad.count, 4);
    static const char *const words[] = {"a/empty.jpg: the file is empty", "b/3b.jpg: offset ",
                                        "b/folder: a folder inside", "b/notes.txt: offset 0: "};
    for (size_t i = 0; i < 4; i++)
        if (strstr(bad.lines[i], words[i]) == NULL)
            fail_msg("'%s' does not say '%s'", bad.lines[i], words[i]);
    bp_bad_files_free(&bad);

    options.skip_bad = 1;
    options.cache_bytes = 1;
    struct bp_dataset *decoded = picture_open(*state, &options);
    bp_bad_files_free(&bad);
    for (int threads = 1; threads <= 3; threads += 2)
        for (size_t cache = 1; cache < 1u << 20; cache = cache * 64 + 768 * 3) {
            options.threads = threads;
            options.cache_bytes = cache;
            struct bp_dataset *set = picture_open(*state, &options);
            assert_int_equal(bad.count, 4);
            assert_int_equal(set->train.count + set->val.count, 12);
            assert_true(picture_same_part(&set->train, &decoded->train));
            assert_true(picture_same_part(&set->val, &decoded->val));
            bp_bad_files_free(&bad);
            bp_dataset_destroy(set);
        }
    bp_dataset_destroy(decoded);
}

/* A class of which nothing is left is no class. */
static void test_class_of_bad_files(void **state) {
    picture_write_class(*state, "a", 0, 4);
    picture_write_bytes(*state, "b/0.jpg", "", 0);
    struct bp_dataset_options options = picture_options();
    options.skip_bad = 1;
    EXPECT_REFUSED(*state, &options, "class 'b' has no picture for training");
}

/* However little is kept in memory, on however many threads: the same images and moments. */
static void test_cache_and_threads(void **state) {
    picture_write_class(*state, "a", 0, 7);
    picture_write_class(*state, "b", 1, 9);
    struct bp_dataset_options options = picture_options();
    struct bp_dataset *all = picture_open(*state, &options);
    assert_true(bp_part_in_memory(&all->train) && bp_part_in_memory(&all->val));
    float mean[3], deviation[3], other_mean[3], other_deviation[3];
    bp_part_moments(&all->train, mean, deviation);
    for (size_t images = 0; images < 16; images += 3) {
        options.threads = (int)(1 + images % 4);
        options.cache_bytes = images * 768 + 1;
        struct bp_dataset *some = picture_open(*state, &options);
        assert_int_equal(some->train.pictures->cached + some->val.pictures->cached, images);
        assert_false(bp_part_in_memory(&some->train));
        assert_true(picture_same_part(&all->train, &some->train));
        assert_true(picture_same_part(&all->val, &some->val));
        bp_part_moments(&some->train, other_mean, other_deviation);
        assert_memory_equal(mean, other_mean, sizeof mean);
        assert_memory_equal(deviation, other_deviation, sizeof deviation);
        bp_dataset_destroy(some);
    }
    /* The moments are those of the images that are there. */
    struct bp_part plain = all->train;
    plain.pictures = NULL;
    bp_part_moments(&plain, other_mean, other_deviation);
    assert_memory_equal(mean, other_mean, sizeof mean);
    assert_memory_equal(deviation, other_deviation, sizeof deviation);
    bp_dataset_destroy(all);
}

static void write_grey(const char *folder, const char *name, uint8_t value) {
    uint8_t pixels[20 * 20];
    memset(pixels, value, sizeof pixels);
    struct picture_bytes file = picture_make_png(&(struct picture_png){
        .h = 20, .w = 20, .kind = PICTURE_GREY, .depth = 8, .pixels = pixels});
    picture_write_bytes(folder, name, file.bytes, file.count);
    free(file.bytes);
}

static void test_channels(void **state) {
    for (unsigned i = 0; i < 8; i++) {
        char name[32];
        snprintf(name, sizeof name, "%c/%u.png", i % 2 ? 'a' : 'b', i);
        write_grey(*state, name, (uint8_t)(10 + i));
    }
    struct bp_dataset_options options = picture_options();
    struct bp_dataset *set = picture_open(*state, &options);
    assert_int_equal(set->train.c, 1);
    assert_int_equal(set->preprocess.channels, 1);
    bp_dataset_destroy(set);
    options.preprocess.channels = 3; /* a model's */
    set = picture_open(*state, &options);
    assert_int_equal(set->train.c, 3);
    bp_dataset_destroy(set);
    picture_write(*state, "a/colour.jpg", 0, 1);
    options.preprocess.channels = 0;
    set = picture_open(*state, &options);
    assert_int_equal(set->train.c, 3);
    bp_dataset_destroy(set);
    options.preprocess.channels = 1;
    set = picture_open(*state, &options);
    assert_int_equal(set->train.c, 1);
    bp_dataset_destroy(set);
}

static void test_limits(void **state) {
    picture_write_class(*state, "a", 0, 20);
    picture_write_class(*state, "b", 1, 20);
    picture_write_bytes(*state, "a/99.jpg", "\xff\xd8\xff",
                        3); /* not among the chosen: not seen? */
    struct bp_dataset_options options = picture_options();
    options.skip_bad = 1;
    options.limit_train = 9;
    options.limit_val = 4;
    struct bp_dataset *set = picture_open(*state, &options),
                      *again = picture_open(*state, &options);
    assert_int_equal(set->train.count, 9);
    assert_int_equal(set->val.count, 4);
    assert_true(picture_same_part(&set->train, &again->train));
    bp_dataset_destroy(set);
    bp_dataset_destroy(again);
}

/* Evaluation: the model's classes in the model's order; the training part is not even read. */
static void test_classes_of_a_model(void **state) {
    picture_write_bytes(*state, "train/ant/broken.jpg", "", 0);
    picture_write_class(*state, "train/bee", 1, 3);
    picture_write_class(*state, "val/ant", 0, 2);
    picture_write_class(*state, "val/bee", 1, 3);
    char bee[] = "bee", cow[] = "cow", ant[] = "ant", *names[] = {bee, cow, ant};
    struct bp_dataset_options options = picture_options();
    options.val_only = 1;
    options.class_names = names;
    options.classes = 3;
    struct bp_dataset *set = picture_open(*state, &options);
    picture_expect_counts(&set->val, 3, (size_t[]){3, 0, 2});
    assert_int_equal(set->train.count, 0);
    assert_string_equal(set->class_names[1], "cow");
    bp_dataset_destroy(set);
    options.classes = 2;
    EXPECT_REFUSED(*state, &options, "class 'ant' is unknown to the model");
}

/* The same file at the same place decodes later too, or tells why not. */
static void test_file_vanishes(void **state) {
    picture_write_class(*state, "a", 0, 4);
    picture_write_class(*state, "b", 1, 4);
    struct bp_dataset_options options = picture_options();
    options.cache_bytes = 1;
    struct bp_dataset *set = picture_open(*state, &options);
    uint8_t scratch[768];
    const uint8_t *image;
    assert_int_equal(bp_part_image(&set->train, 0, scratch, &image), BP_OK);
    assert_ptr_equal(image, scratch);
    assert_int_equal(remove(set->train.pictures->paths[0]), 0);
    assert_int_equal(bp_part_image(&set->train, 0, scratch, &image), BP_DATA);
    EXPECT_MESSAGE("cannot read ", "/a/");
    bp_dataset_destroy(set);
}

static void test_without_memory(void **state) {
    picture_write_class(*state, "a", 0, 3);
    picture_write_class(*state, "b", 1, 3);
    picture_write_bytes(*state, "b/bad.jpg", "x", 1);
    struct bp_bad_files bad = {0};
    struct bp_dataset_options options = picture_options();
    options.skip_bad = 1;
    options.bad = &bad;
    bp_status status = BP_RESOURCE;
    long n = 0;
    for (; status != BP_OK; n++) {
        struct bp_dataset *set;
        options.threads = 1 + (int)(n % 2);
        bp_memory_fail_after(n);
        status = bp_dataset_open(&set, *state, &options);
        bp_memory_fail_after(-1);
        if (status != BP_OK && status != BP_RESOURCE)
            fail_msg("request %ld: status %d: %s", n, status, bp_status_message());
        bp_bad_files_free(&bad);
        bp_dataset_destroy(set);
        assert_true(n < 2000);
    }
    assert_true(n > 50);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, data_folder_setup, data_folder_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_two_parts),          TEST(test_val_goes_before_test),
        TEST(test_class_mistakes),     TEST(test_bad_files),
        TEST(test_class_of_bad_files), TEST(test_cache_and_threads),
        TEST(test_channels),           TEST(test_limits),
        TEST(test_classes_of_a_model), TEST(test_file_vanishes),
        TEST(test_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
