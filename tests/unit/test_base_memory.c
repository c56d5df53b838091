/* The status record and the allocator. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/status.h"

static void test_message_is_recorded(void **state) {
    (void)state;
    assert_int_equal(bp_fail(BP_DATA, "file %s, offset %d", "a.bin", 12), BP_DATA);
    assert_string_equal(bp_status_message(), "file a.bin, offset 12");
    /* An argument may be the old message itself. */
    assert_int_equal(bp_fail(BP_MODEL, "again: %s", bp_status_message()), BP_MODEL);
    assert_string_equal(bp_status_message(), "again: file a.bin, offset 12");
}

static void test_message_is_one_clean_line(void **state) {
    (void)state;
    bp_fail(BP_DATA, "%s", "name\nwith\x1b[31mcolour\x7f and \xc3\xa9");
    assert_string_equal(bp_status_message(), "name?with?[31mcolour? and \xc3\xa9");
    char text[3000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    bp_fail(BP_DATA, "%s", text);
    assert_int_equal(strlen(bp_status_message()), BP_MESSAGE_BYTES - 1);
}

static void *fail_elsewhere(void *argument) {
    (void)argument;
    int empty = bp_status_message()[0] == 0;
    bp_fail(BP_DATA, "elsewhere");
    return empty ? NULL : argument;
}

static void test_message_belongs_to_the_thread(void **state) {
    (void)state;
    bp_fail(BP_DATA, "here");
    pthread_t thread;
    void *result;
    int something;
    assert_int_equal(pthread_create(&thread, NULL, fail_elsewhere, &something), 0);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_null(result);
    assert_string_equal(bp_status_message(), "here");
}

static bp_status forward(bp_status status) {
    BP_TRY(status);
    return BP_OK;
}

static void test_try_forwards(void **state) {
    (void)state;
    assert_int_equal(forward(BP_OK), BP_OK);
    assert_int_equal(forward(BP_DIVERGED), BP_DIVERGED);
}

static void test_blocks_are_zeroed_and_aligned(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 1, 63, 64, 65, 1000, 100000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint8_t *block;
        assert_int_equal(bp_alloc(&block, sizes[i], "a test"), BP_OK);
        assert_non_null(block);
        assert_int_equal((uintptr_t)block % BP_ALIGN, 0);
        for (size_t j = 0; j < sizes[i]; j++)
            assert_int_equal(block[j], 0);
        memset(block, 0xff, sizes[i]);
        bp_free(block);
    }
    bp_free(NULL);
}

/* 1: the pages around `block` may be huge ones, 0: not, -1: this system does not say. */
static int asked_for_huge_pages(const void *block) {
    FILE *huge = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "r");
    FILE *maps = fopen("/proc/self/smaps", "r");
    int is_here = 0, answer = -1;
    char line[512];
    while (huge != NULL && maps != NULL && answer < 0 && fgets(line, sizeof line, maps) != NULL) {
        unsigned long begin, end;
        if (sscanf(line, "%lx-%lx ", &begin, &end) == 2)
            is_here = (uintptr_t)block >= begin && (uintptr_t)block < end;
        if (is_here && strncmp(line, "VmFlags:", 8) == 0)
            answer = strstr(line, " hg") != NULL;
    }
    if (huge != NULL)
        fclose(huge);
    if (maps != NULL)
        fclose(maps);
    return answer;
}

static void test_large_blocks(void **state) {
    (void)state;
    const size_t bytes = ((size_t)9 << 20) + 100;
    uint8_t *block;
    assert_int_equal(bp_alloc(&block, bytes, "a test"), BP_OK);
    assert_int_equal((uintptr_t)block % BP_ALIGN, 0);
    assert_int_equal(block[0], 0);
    assert_memory_equal(block, block + 1, bytes - 1);
    int asked = asked_for_huge_pages(block);
    memset(block, 0xff, bytes);
    bp_free(block);
    if (asked < 0)
        skip();
    assert_int_equal(asked, 1);
}

static void test_impossible_sizes(void **state) {
    (void)state;
    void *block = &block;
    assert_int_equal(bp_alloc(&block, SIZE_MAX, "a test"), BP_RESOURCE);
    assert_null(block);
    assert_non_null(strstr(bp_status_message(), "a test"));
    block = &block;
    assert_int_equal(bp_alloc_array(&block, SIZE_MAX / 4, 5, "an array"), BP_RESOURCE);
    assert_null(block);
    assert_int_equal(bp_alloc_array(&block, (size_t)1 << 33, (size_t)1 << 33, "an array"),
                     BP_RESOURCE);
    assert_int_equal(bp_alloc_array(&block, 0, SIZE_MAX, "nothing"), BP_OK);
    bp_free(block);
    assert_int_equal(bp_alloc_array(&block, SIZE_MAX, 0, "nothing"), BP_OK);
    bp_free(block);
}

static void test_grow_keeps_content(void **state) {
    (void)state;
    char *block = NULL;
    assert_int_equal(bp_grow(&block, 0, 3, "a test"), BP_OK);
    memcpy(block, "abc", 3);
    assert_int_equal(bp_grow(&block, 3, 500, "a test"), BP_OK);
    assert_memory_equal(block, "abc\0\0", 5);
    bp_memory_fail_after(0);
    assert_int_equal(bp_grow(&block, 500, 1000, "a test"), BP_RESOURCE);
    bp_memory_fail_after(-1);
    assert_memory_equal(block, "abc", 3);
    assert_int_equal(bp_grow(&block, 500, 2, "a test"), BP_OK);
    assert_memory_equal(block, "ab\0", 3);
    bp_free(block);
}

static void test_copy_string(void **state) {
    (void)state;
    char *copy;
    assert_int_equal(bp_copy_string(&copy, "text"), BP_OK);
    assert_string_equal(copy, "text");
    bp_free(copy);
    assert_int_equal(bp_copy_string(&copy, ""), BP_OK);
    assert_string_equal(copy, "");
    bp_free(copy);
}

static void test_failure_injection(void **state) {
    (void)state;
    void *blocks[4];
    long before = bp_memory_requests();
    bp_memory_fail_after(2);
    assert_int_equal(bp_alloc(&blocks[0], 1, "first"), BP_OK);
    assert_int_equal(bp_alloc(&blocks[1], 1, "second"), BP_OK);
    assert_int_equal(bp_alloc(&blocks[2], 2000000, "third"), BP_RESOURCE);
    assert_null(blocks[2]);
    assert_non_null(strstr(bp_status_message(), "2.0 MB for third"));
    assert_int_equal(bp_alloc(&blocks[3], 1, "fourth"), BP_RESOURCE);
    bp_memory_fail_after(-1);
    assert_int_equal(bp_alloc(&blocks[2], 1, "fifth"), BP_OK);
    assert_int_equal(bp_memory_requests() - before, 5);
    for (int i = 0; i < 3; i++)
        bp_free(blocks[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_message_is_recorded),
        cmocka_unit_test(test_message_is_one_clean_line),
        cmocka_unit_test(test_message_belongs_to_the_thread),
        cmocka_unit_test(test_try_forwards),
        cmocka_unit_test(test_blocks_are_zeroed_and_aligned),
        cmocka_unit_test(test_large_blocks),
        cmocka_unit_test(test_impossible_sizes),
        cmocka_unit_test(test_grow_keeps_content),
        cmocka_unit_test(test_copy_string),
        cmocka_unit_test(test_failure_injection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
