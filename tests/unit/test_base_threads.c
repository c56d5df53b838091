#define _POSIX_C_SOURCE 200809L /* nanosleep */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "base/ahead.h"
#include "base/memory.h"
#include "base/parallel_each.h"

enum { MOST = 1000, MANY = 200000 };

struct work {
    atomic_int visits[MANY]; /* per item */
    atomic_int outside;      /* calls with no item, or in a thread that does not exist */
    atomic_int off_lines;    /* calls that do not begin at a multiple of 64 items */
    int count;
};

static void visit(void *context, size_t begin, size_t end, int thread) {
    struct work *work = context;
    if (begin >= end || thread < 0 || thread >= work->count)
        atomic_fetch_add(&work->outside, 1);
    if (begin % 64 != 0)
        atomic_fetch_add(&work->off_lines, 1);
    for (size_t i = begin; i < end; i++)
        atomic_fetch_add(&work->visits[i], 1);
}

typedef void for_each(struct bp_threads *threads, size_t n, bp_parallel_body *body, void *context);

static void expect_every_item_once(struct bp_threads *threads, size_t n, for_each *run) {
    static struct work work;
    memset(&work, 0, sizeof work);
    work.count = bp_threads_count(threads);
    run(threads, n, visit, &work);
    for (size_t i = 0; i < (n < MOST ? MOST : MANY); i++)
        assert_int_equal(work.visits[i], i < n ? 1 : 0);
    assert_int_equal(work.outside, 0);
    if (n > MOST) /* vectors find whole cache lines */
        assert_int_equal(work.off_lines, 0);
}

static void test_every_item_once(void **state) {
    (void)state;
    static const int counts[] = {1, 2, 3, 4, 7, 16};
    static const size_t sizes[] = {0, 1, 2, 3, 5, 6, 7, 8, 15, 16, 17, 100, 997, 1000, 65537, MANY};
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
        struct bp_threads *threads;
        assert_int_equal(bp_threads_create(&threads, counts[c]), BP_OK);
        assert_int_equal(bp_threads_count(threads), counts[c]);
        for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
            expect_every_item_once(threads, sizes[s], bp_parallel_for);
            expect_every_item_once(threads, sizes[s], bp_parallel_for_down);
        }
        bp_threads_destroy(threads);
    }
    bp_threads_destroy(NULL);
}

static void test_many_rounds(void **state) {
    (void)state;
    struct bp_threads *threads;
    assert_int_equal(bp_threads_create(&threads, 3), BP_OK);
    for (size_t round = 0; round < 500; round++)
        expect_every_item_once(threads, round % 10,
                               round % 2 == 0 ? bp_parallel_for : bp_parallel_for_down);
    bp_threads_destroy(threads);
}

struct slow {
    atomic_int visited;
    int others; /* items that the thread with item `stuck` waits for */
    size_t stuck;
    int done; /* how many of them it saw */
};

static void wait_in_one_item(void *context, size_t begin, size_t end, int thread) {
    struct slow *slow = context;
    (void)thread;
    for (size_t i = begin; i < end; i++) {
        if (i == slow->stuck)
            for (int tries = 0; tries < 5000 && atomic_load(&slow->visited) < slow->others; tries++)
                nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        if (i == slow->stuck)
            slow->done = atomic_load(&slow->visited);
        atomic_fetch_add(&slow->visited, 1);
    }
}

/* A worker that is held up keeps nobody else from the rest of its part: of 16 items two workers
 * have 8 each, and the first piece has 2. */
static void test_others_take_over(void **state) {
    (void)state;
    struct bp_threads *threads;
    assert_int_equal(bp_threads_create(&threads, 2), BP_OK);
    struct slow slow = {.others = 14, .stuck = 0};
    bp_parallel_for(threads, 16, wait_in_one_item, &slow);
    assert_in_range(slow.done, 14, 15);
    slow = (struct slow){.others = 14, .stuck = 14}; /* the first of the piece at the end */
    bp_parallel_for_down(threads, 16, wait_in_one_item, &slow);
    assert_in_range(slow.done, 14, 15);
    bp_threads_destroy(threads);
}

struct first_piece {
    atomic_int known;
    size_t begin, end; /* of the first call in the caller */
};

/* The other worker waits in its first item until the caller has begun. */
static void note_first(void *context, size_t begin, size_t end, int thread) {
    struct first_piece *first = context;
    if (thread == 0 && !atomic_load(&first->known)) {
        first->begin = begin;
        first->end = end;
        atomic_store(&first->known, 1);
    }
    for (int tries = 0; tries < 5000 && !atomic_load(&first->known); tries++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

/* A worker walks its part, here items 0 to 7, from the begin or from the end. */
static void test_direction(void **state) {
    (void)state;
    struct bp_threads *threads;
    assert_int_equal(bp_threads_create(&threads, 2), BP_OK);
    struct first_piece up = {0}, down = {0};
    bp_parallel_for(threads, 16, note_first, &up);
    bp_parallel_for_down(threads, 16, note_first, &down);
    assert_int_equal(up.begin, 0);
    assert_int_equal(up.end, 2);
    assert_int_equal(down.begin, 6);
    assert_int_equal(down.end, 8);
    bp_threads_destroy(threads);
}

static void test_item_size(void **state) {
    (void)state;
    static const struct {
        int threads;
        size_t total, most, step, expected;
    } cases[] = {
        {2, 16, 5, 1, 4},    /* not 5, 5, 5 and 1 */
        {2, 16, 12, 4, 8},   /* not 12 and 4 */
        {2, 18, 12, 4, 8},   /* 8, 8 and 2, not 12 and 6 */
        {2, 34, 16, 4, 16},  /* 16, 16 and 2 */
        {2, 97, 5, 1, 5},    /* 50 things for one is little more than 49 */
        {2, 128, 16, 4, 16}, /* 8 items */
        {2, 4, 8, 1, 2},     {2, 1, 8, 1, 8}, {3, 100, 16, 4, 16},
        {1, 100, 16, 1, 16}, {4, 0, 8, 4, 8},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bp_threads *threads;
        assert_int_equal(bp_threads_create(&threads, cases[i].threads), BP_OK);
        assert_int_equal(bp_item_size(threads, cases[i].total, cases[i].most, cases[i].step),
                         cases[i].expected);
        bp_threads_destroy(threads);
    }
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
        cmocka_unit_test(test_ahead),         cmocka_unit_test(test_each_item_once),
        cmocka_unit_test(test_each_fails),    cmocka_unit_test(test_every_item_once),
        cmocka_unit_test(test_many_rounds),   cmocka_unit_test(test_others_take_over),
        cmocka_unit_test(test_direction),     cmocka_unit_test(test_item_size),
        cmocka_unit_test(test_default_count), cmocka_unit_test(test_creation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
