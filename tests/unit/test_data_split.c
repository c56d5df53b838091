/* The split of class folders into training and validation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "base/fnv.h"
#include "data/pictures.h"
#include "unit/data_files.h"
#include "unit/picture_sets.h"

/* The content hashes of a part's files, as bits of a set of 64. */
static uint64_t content(const struct bp_part *part) {
    uint64_t seen = 0;
    for (size_t i = 0; i < part->count; i++) {
        const uint8_t *image;
        assert_int_equal(bp_part_image(part, i, NULL, &image), BP_OK);
        seen ^= bp_fnv(BP_FNV_BEGIN, image, part->h * part->w * part->c); /* in any order */
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
    picture_expect_counts(&first->val, 3, (size_t[]){3, 3, 3});
    picture_expect_counts(&first->train, 3, (size_t[]){9, 9, 9});
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_split_is_stable, data_folder_setup,
                                        data_folder_teardown),
        cmocka_unit_test(test_split_sizes),
        cmocka_unit_test(test_split_keeps_copies_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
