/* Class folders: layouts, classes, the split, broken files, memory. */
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

static void expect_counts(const struct bp_part *part, size_t classes, const size_t *counts) {
    size_t total = 0;
    for (size_t i = 0; i < classes; i++) {
        size_t n = 0;
        for (size_t j = 0; j < part->count; j++)
            n += (size_t)part->labels[j] == i;
        assert_int_equal(n, counts[i]);
        total += n;
    }
    assert_int_equal(part->count, total);
}

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
        expect_counts(&set->train, 2, (size_t[]){5, 4});
        expect_counts(&set->val, 2, (size_t[]){0, 3});
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
    expect_counts(&set->val, 2, (size_t[]){0, 2});
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

/* The content hashes of a part's files, as bits of a set of 64. */
static uint64_t content(const struct bp_part *part) {
    uint64_t seen = 0;
    for (size_t i = 0; i < part->count; i++) {
        const uint8_t *image;
        assert_int_equal(bp_part_image(part, i, NULL, &image), BP_OK);
        uint64_t hash = 1469598103934665603u;
        for (size_t j = 0; j < part->h * part->w * part->c; j++)
            hash = (hash ^ image[j]) * 1099511628211u;
        seen ^= hash; /* whatever the order */
    }
    return seen;
}

static void write_shuffled(const char *folder, unsigned step, const char *prefix) {
    for (unsigned k = 0; k < 3; k++)
        for (unsigned i = 0; i < 12; i++) {
            char name[64];
            snprintf(name, sizeof name, "c%u/%s%u.jpg", k, prefix, i * step % 12);
            picture_write(folder, name, k, i);
        }
}

/* Other names and another order of the same pictures: the same split. */
static void test_split_is_stable(void **state) {
    char a[1200], b[1200];
    snprintf(a, sizeof a, "%s/a", (const char *)*state);
    snprintf(b, sizeof b, "%s/b", (const char *)*state);
    write_shuffled(a, 1, "x");
    write_shuffled(b, 5, "renamed ");
    struct bp_dataset_options options = picture_options();
    struct bp_dataset *first = picture_open(a, &options), *second = picture_open(b, &options);
    expect_counts(&first->val, 3, (size_t[]){3, 3, 3});
    expect_counts(&first->train, 3, (size_t[]){9, 9, 9});
    assert_true(content(&first->val) == content(&second->val));
    assert_true(content(&first->train) == content(&second->train));
    options.seed = 2;
    struct bp_dataset *other = picture_open(a, &options);
    assert_true(content(&first->val) != content(&other->val));
    bp_dataset_destroy(first);
    bp_dataset_destroy(second);
    bp_dataset_destroy(other);
}

static void add(struct bp_picture_list *list, int32_t label, uint64_t hash) {
    struct bp_picture *item;
    assert_int_equal(bp_picture_list_add(list, "x", label, BP_SIDE_OPEN, &item), BP_OK);
    item->hash = hash;
}

static size_t count_val(const struct bp_picture_list *list, int32_t label) {
    size_t n = 0;
    for (size_t i = 0; i < list->count; i++) {
        assert_int_not_equal(list->items[i].side, BP_SIDE_OPEN);
        n += list->items[i].label == label && list->items[i].side == BP_SIDE_VAL;
    }
    return n;
}

static void test_split_sizes(void **state) {
    (void)state;
    static const struct {
        size_t n;
        double share;
        size_t val;
    } cases[] = {{1, 0.2, 0}, {2, 0.2, 1}, {2, 0.9, 1}, {10, 0.2, 2},   {10, 0.25, 3},
                 {10, 0, 0},  {10, 1, 10}, {1, 1, 1},   {100, 0.01, 1}, {7, 0.5, 4}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bp_picture_list list = {0};
        for (size_t j = 0; j < cases[i].n; j++) {
            add(&list, 0, 1000 + j);
            add(&list, 1, 5000 + j);
        }
        assert_int_equal(bp_picture_list_split(&list, cases[i].share, 3), BP_OK);
        assert_int_equal(count_val(&list, 0), cases[i].val);
        assert_int_equal(count_val(&list, 1), cases[i].val);
        bp_picture_list_free(&list);
    }
}

/* Copies of a picture never stand on both sides. */
static void test_split_keeps_copies_together(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct bp_picture_list list = {0};
        for (uint64_t j = 0; j < 30; j++)
            add(&list, 0, j / 3);
        assert_int_equal(bp_picture_list_split(&list, 0.3, seed), BP_OK);
        for (size_t j = 0; j < 30; j++)
            assert_int_equal(list.items[j].side, list.items[j / 3 * 3].side);
        size_t val = count_val(&list, 0);
        assert_true(val >= 6 && val <= 12);
        bp_picture_list_free(&list);
    }
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
    expect_counts(&set->val, 3, (size_t[]){3, 0, 2});
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
        TEST(test_two_parts),
        TEST(test_val_goes_before_test),
        TEST(test_class_mistakes),
        TEST(test_split_is_stable),
        TEST(test_split_sizes),
        TEST(test_split_keeps_copies_together),
        TEST(test_bad_files),
        TEST(test_class_of_bad_files),
        TEST(test_cache_and_threads),
        TEST(test_channels),
        TEST(test_limits),
        TEST(test_classes_of_a_model),
        TEST(test_file_vanishes),
        TEST(test_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
