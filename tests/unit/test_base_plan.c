#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "base/memory.h"
#include "base/plan.h"
#include "base/rng.h"

/* No two buffers that live at one time overlap; all lie inside the block, aligned. */
static void expect_valid(const struct bp_plan *plan) {
    for (size_t i = 0; i < bp_plan_count(plan); i++) {
        const struct bp_plan_entry *a = bp_plan_entry_at(plan, i);
        assert_int_equal(a->offset % BP_ALIGN, 0);
        assert_true(a->offset + a->bytes <= bp_plan_bytes(plan));
        for (size_t j = 0; j < i; j++) {
            const struct bp_plan_entry *b = bp_plan_entry_at(plan, j);
            if (a->first <= b->last && b->first <= a->last)
                assert_true(a->offset + a->bytes <= b->offset || b->offset + b->bytes <= a->offset);
        }
    }
}

static void test_empty_plan(void **state) {
    (void)state;
    struct bp_plan *plan;
    assert_int_equal(bp_plan_create(&plan), BP_OK);
    assert_int_equal(bp_plan_allocate(plan, "nothing"), BP_OK);
    assert_int_equal(bp_plan_bytes(plan), 0);
    assert_int_equal(bp_plan_count(plan), 0);
    bp_plan_destroy(plan);
    bp_plan_destroy(NULL);
}

static void test_buffers_share(void **state) {
    (void)state;
    struct bp_plan *plan;
    char *whole, *early, *late, *large;
    assert_int_equal(bp_plan_create(&plan), BP_OK);
    assert_int_equal(bp_plan_add(plan, "whole", 100, 0, 9, &whole), BP_OK);
    assert_int_equal(bp_plan_add(plan, "early", 640, 0, 4, &early), BP_OK);
    assert_int_equal(bp_plan_add(plan, "late", 640, 5, 9, &late), BP_OK);
    assert_int_equal(bp_plan_add(plan, "large", 64, 4, 5, &large), BP_OK);
    assert_int_equal(bp_plan_allocate(plan, "a test"), BP_OK);
    expect_valid(plan);
    assert_ptr_equal(early, late);
    assert_int_equal(bp_plan_bytes(plan), 640 + 128 + 64);
    assert_int_equal(bp_plan_unshared_bytes(plan), 2 * 640 + 128 + 64);
    assert_string_equal(bp_plan_entry_at(plan, 3)->name, "large");
    memset(whole, 1, 100); /* asan sees whether the block is as large as promised */
    memset(early, 2, 640);
    memset(large, 3, 64);
    assert_int_equal(whole[0], 1);
    assert_int_equal(whole[99], 1);
    bp_plan_destroy(plan);
}

static void test_touching_lifetimes_do_not_share(void **state) {
    (void)state;
    struct bp_plan *plan;
    assert_int_equal(bp_plan_create(&plan), BP_OK);
    assert_int_equal(bp_plan_add(plan, "a", 64, 0, 3, NULL), BP_OK);
    assert_int_equal(bp_plan_add(plan, "b", 64, 3, 5, NULL), BP_OK);
    assert_int_equal(bp_plan_place(plan), BP_OK);
    assert_int_equal(bp_plan_bytes(plan), 128);
    bp_plan_destroy(plan);
}

static void test_random_plans(void **state) {
    (void)state;
    for (uint32_t run = 0; run < 200; run++) {
        struct bp_stream stream = bp_stream_make(7, BP_RANDOM_TEST, 0, run);
        struct bp_plan *plan;
        assert_int_equal(bp_plan_create(&plan), BP_OK);
        uint32_t count = 1 + bp_stream_below(&stream, 0, 90); /* above 64 the list grows */
        size_t live[21] = {0}, unshared = 0;
        for (uint32_t i = 0; i < count; i++) {
            size_t bytes = bp_stream_below(&stream, 3 * i + 1, 5000);
            int first = (int)bp_stream_below(&stream, 3 * i + 2, 20);
            int last = first + (int)bp_stream_below(&stream, 3 * i + 3, (uint32_t)(21 - first));
            assert_int_equal(bp_plan_add(plan, "buffer", bytes, first, last, NULL), BP_OK);
            unshared += bp_round_up(bytes, BP_ALIGN);
            for (int t = first; t <= last; t++)
                live[t] += bp_round_up(bytes, BP_ALIGN);
        }
        assert_int_equal(bp_plan_place(plan), BP_OK);
        expect_valid(plan);
        assert_int_equal(bp_plan_unshared_bytes(plan), unshared);
        assert_true(bp_plan_bytes(plan) <= unshared);
        for (int t = 0; t < 21; t++)
            assert_true(bp_plan_bytes(plan) >= live[t]);
        bp_plan_destroy(plan);
    }
}

static void test_names_are_cut(void **state) {
    (void)state;
    struct bp_plan *plan;
    char name[200];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = 0;
    assert_int_equal(bp_plan_create(&plan), BP_OK);
    assert_int_equal(bp_plan_add(plan, name, 1, 0, 0, NULL), BP_OK);
    assert_int_equal(strlen(bp_plan_entry_at(plan, 0)->name), 63);
    bp_plan_destroy(plan);
}

static void test_failures(void **state) {
    (void)state;
    struct bp_plan *plan;
    assert_int_equal(bp_plan_create(&plan), BP_OK);
    assert_int_equal(bp_plan_add(plan, "too much", SIZE_MAX / 2, 0, 0, NULL), BP_RESOURCE);
    assert_non_null(strstr(bp_status_message(), "too much"));
    bp_plan_destroy(plan);
    bp_status status = BP_RESOURCE;
    for (long allowed = 0; status != BP_OK; allowed++) {
        void *where = NULL;
        assert_true(allowed < 20);
        bp_memory_fail_after(allowed);
        status = bp_plan_create(&plan);
        if (status == BP_OK) {
            status = bp_plan_add(plan, "a", 10, 0, 0, &where);
            if (status == BP_OK)
                status = bp_plan_allocate(plan, "a test");
            bp_plan_destroy(plan);
        }
        bp_memory_fail_after(-1);
        assert_true(status == BP_OK || status == BP_RESOURCE);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty_plan),
        cmocka_unit_test(test_buffers_share),
        cmocka_unit_test(test_touching_lifetimes_do_not_share),
        cmocka_unit_test(test_random_plans),
        cmocka_unit_test(test_names_are_cut),
        cmocka_unit_test(test_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
