#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdatomic.h>
#include <string.h>

#include "base/ahead.h"
#include "base/memory.h"
#include "base/parallel_each.h"

enum { MOST = 1000 };

struct work {
    int count;
    int calls[BP_THREADS_MAX]; /* per part */
    int visits[MOST];          /* per item */
    int thread_of[MOST];
};

static void visit(void *context, size_t begin, size_t end, int thread) {
    struct work *work = context;
    work->calls[thread]++;
    for (size_t i = begin; i < end; i++) {
        work->visits[i]++;
        work->thread_of[i] = thread;
    }
}

static void expect_every_item_once(struct bp_threads *threads, size_t n) {
    static struct work work;
    memset(&work, 0, sizeof work);
    bp_parallel_for(threads, n, visit, &work);
    for (size_t i = 0; i < MOST; i++) {
        assert_int_equal(work.visits[i], i < n ? 1 : 0);
        if (i > 0 && i < n) /* contiguous parts in order */
            assert_true(work.thread_of[i] >= work.thread_of[i - 1]);
    }
    int parts = 0;
    for (int i = 0; i < BP_THREADS_MAX; i++) {
        assert_in_range(work.calls[i], 0, i < bp_threads_count(threads) ? 1 : 0);
        parts += work.calls[i];
    }
    size_t count = (size_t)bp_threads_count(threads);
    assert_int_equal(parts, n < count ? n : count);
}

static void test_every_item_once(void **state) {
    (void)state;
    static const int counts[] = {1, 2, 3, 4, 7, 16};
    static const size_t sizes[] = {0, 1, 2, 3, 5, 6, 7, 8, 15, 16, 17, 100, 997, 1000};
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
        struct bp_threads *threads;
        assert_int_equal(bp_threads_create(&threads, counts[c]), BP_OK);
        assert_int_equal(bp_threads_count(threads), counts[c]);
        for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
            expect_every_item_once(threads, sizes[s]);
        bp_threads_destroy(threads);
    }
    bp_threads_destroy(NULL);
}

static void test_many_rounds(void **state) {
    (void)state;
    struct bp_threads *threads;
    assert_int_equal(bp_threads_create(&threads, 3), BP_OK);
    for (size_t round = 0; round < 500; round++)
        expect_every_item_once(threads, round % 10);
    bp_threads_destroy(threads);
}

static void test_default_count(void **state) {
    (void)state;
    struct bp_threads *threads;
    assert_int_equal(bp_threads_create(&threads, 0), BP_OK);
    assert_int_equal(bp_threads_count(threads), bp_threads_available(""));
    assert_in_range(bp_threads_available(""), 1, bp_threads_processors());
    bp_threads_destroy(threads);
}

static void test_creation_failures(void **state) {
    (void)state;
    bp_status status = BP_RESOURCE;
    for (long allowed = 0; status != BP_OK; allowed++) {
        struct bp_threads *threads;
        assert_true(allowed < 20);
        bp_memory_fail_after(allowed);
        status = bp_threads_create(&threads, 4);
        bp_memory_fail_after(-1);
        assert_true(status == BP_OK || (status == BP_RESOURCE && threads == NULL));
        bp_threads_destroy(threads);
    }
}

struct each {
    atomic_int visits[MOST];
    size_t fail_at; /* MOST: nowhere */
};

static bp_status visit_each(void *context, size_t index, int thread) {
    struct each *each = context;
    (void)thread;
    atomic_fetch_add(&each->visits[index], 1);
    if (index >= each->fail_at)
        return bp_fail(BP_DATA, "item %zu", index);
    return BP_OK;
}

static void test_each_item_once(void **state) {
    (void)state;
    for (int count = 1; count <= 5; count++) {
        struct bp_threads *threads;
        assert_int_equal(bp_threads_create(&threads, count), BP_OK);
        for (size_t n = 0; n <= MOST; n = 3 * n + 1) {
            static struct each each;
            memset(&each, 0, sizeof each);
            each.fail_at = MOST;
            assert_int_equal(bp_parallel_each(threads, n, visit_each, &each), BP_OK);
            for (size_t i = 0; i < MOST; i++)
                assert_int_equal(each.visits[i], i < n);
        }
        bp_threads_destroy(threads);
    }
}

static void test_each_fails(void **state) {
    (void)state;
    struct bp_threads *threads;
    static struct each each;
    assert_int_equal(bp_threads_create(&threads, 3), BP_OK);
    memset(&each, 0, sizeof each);
    each.fail_at = 20;
    assert_int_equal(bp_parallel_each(threads, MOST, visit_each, &each), BP_DATA);
    assert_non_null(strstr(bp_status_message(), "item 2")); /* 20, 21 or 22 */
    int visits = 0;
    for (size_t i = 0; i < MOST; i++)
        visits += each.visits[i];
    assert_in_range(visits, 21, 23);
    bp_memory_fail_after(0);
    assert_int_equal(bp_parallel_each(threads, 5, visit_each, &each), BP_RESOURCE);
    bp_memory_fail_after(-1);
    bp_threads_destroy(threads);
}

struct ahead_work {
    size_t filled; /* in all */
    size_t content[3];
};

static void fill_slot(void *context, size_t slot) {
    struct ahead_work *work = context;
    work->content[slot] = work->filled++;
}

/* Slots come in order, each with what was filled into it, and stay while they are held. */
static void test_ahead(void **state) {
    (void)state;
    for (size_t slots = 1; slots <= 3; slots++) {
        struct ahead_work work = {0};
        struct bp_ahead *ahead;
        assert_int_equal(bp_ahead_start(&ahead, slots, fill_slot, &work), BP_OK);
        for (size_t i = 0; i < 1000; i++) {
            size_t slot = bp_ahead_next(ahead);
            assert_int_equal(slot, i % slots);
            assert_int_equal(work.content[slot], i);
        }
        bp_ahead_stop(ahead);
        assert_in_range(work.filled, 1000, 1000 + slots - 1); /* the held one is not filled again */
    }
    struct bp_ahead *none;
    bp_memory_fail_after(0);
    assert_int_equal(bp_ahead_start(&none, 2, fill_slot, NULL), BP_RESOURCE);
    bp_memory_fail_after(-1);
    assert_null(none);
    bp_ahead_stop(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ahead),
        cmocka_unit_test(test_each_item_once),
        cmocka_unit_test(test_each_fails),
        cmocka_unit_test(test_every_item_once),
        cmocka_unit_test(test_many_rounds),
        cmocka_unit_test(test_default_count),
        cmocka_unit_test(test_creation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
