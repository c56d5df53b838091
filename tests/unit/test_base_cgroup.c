/* Limits of control groups, read from made-up trees of files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/cgroup.h"
#include "base/file_io.h"
#include "base/threads.h"
#include "unit/data_files.h"

/* Writes a file, and the folders that it needs, below the test's folder. */
static void put(const char *root, const char *name, const char *text) {
    char folder[1024];
    snprintf(folder, sizeof folder, "%s/%s", root, name);
    *strrchr(folder, '/') = 0;
    if (!bp_path_exists(folder))
        assert_int_equal(bp_dir_create(folder), BP_OK);
    data_write(data_path(root, name), (const uint8_t *)text, strlen(text));
}

static void expect(const char *root, double processors, uint64_t memory_bytes) {
    struct bp_cgroup limits;
    bp_cgroup_read(root, &limits);
    assert_true(limits.processors == processors);
    assert_true(limits.memory_bytes == memory_bytes);
}

static void test_nothing_there(void **state) {
    expect(*state, 0, 0);
    put(*state, "proc/self/cgroup", "0::/\n");
    expect(*state, 0, 0);
}

static void test_version_2(void **state) {
    put(*state, "proc/self/cgroup", "0::/work.slice/one.scope\n");
    put(*state, "sys/fs/cgroup/work.slice/one.scope/cpu.max", "max 100000\n");
    put(*state, "sys/fs/cgroup/work.slice/one.scope/memory.max", "2147483648\n");
    expect(*state, 0, 2147483648u);
    put(*state, "sys/fs/cgroup/work.slice/cpu.max", "150000 100000\n"); /* of a group above */
    put(*state, "sys/fs/cgroup/work.slice/memory.max", "max\n");
    expect(*state, 1.5, 2147483648u);
    put(*state, "sys/fs/cgroup/work.slice/memory.max", "1048576\n");
    put(*state, "sys/fs/cgroup/work.slice/one.scope/cpu.max", "50000 100000\n");
    expect(*state, 0.5, 1048576);
}

static void test_version_1(void **state) {
    put(*state, "proc/self/cgroup",
        "12:pids:/a\n5:memory:/a/b\n4:cpu,cpuacct:/a\n1:name=systemd:/a\n");
    put(*state, "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "-1\n");
    put(*state, "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n");
    put(*state, "sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "9223372036854771712\n");
    expect(*state, 0, 0);
    put(*state, "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "250000\n");
    put(*state, "sys/fs/cgroup/memory/a/memory.limit_in_bytes", "4294967296\n");
    expect(*state, 2.5, 4294967296u);
}

/* A container whose own group is mounted, while its path is told from outside. */
static void test_paths_from_outside(void **state) {
    put(*state, "proc/self/cgroup", "3:memory:/docker/0123\n0::/../../elsewhere\n");
    put(*state, "sys/fs/cgroup/cpu.max", "200000 100000\n");
    put(*state, "sys/fs/cgroup/memory/memory.limit_in_bytes", "1000000\n");
    put(*state, "elsewhere/cpu.max", "100000 100000\n");
    expect(*state, 2, 1000000);
}

/* Threads follow the limit on time, rounded up, as far as there are processors. */
static void test_default_threads(void **state) {
    static const struct {
        const char *quota;
        int threads;
    } cases[] = {{"25000 100000\n", 1},
                 {"100000 100000\n", 1},
                 {"150000 100000\n", 2},
                 {"200000 100000\n", 2},
                 {"200001 100000\n", 3},
                 {"max 100000\n", BP_THREADS_MAX},
                 {"9000000000000000000 1\n", BP_THREADS_MAX}};
    int processors = bp_threads_processors();
    assert_int_equal(bp_threads_available(*state), processors); /* no files */
    put(*state, "proc/self/cgroup", "0::/\n");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        put(*state, "sys/fs/cgroup/cpu.max", cases[i].quota);
        int wanted = cases[i].threads < processors ? cases[i].threads : processors;
        assert_int_equal(bp_threads_available(*state), wanted);
    }
}

static void test_lines(void **state) {
    (void)state;
    char list[32], path[32];
    const char *text = "7:blkio:/x\n4:cpu,cpuacct:/y/z:w\n0::/u";
    assert_int_equal(bp_cgroup_find(text, "cpuacct", list, path, sizeof path), 1);
    assert_string_equal(list, "cpu,cpuacct");
    assert_string_equal(path, "/y/z:w");
    assert_int_equal(bp_cgroup_find(text, "", list, path, sizeof path), 1);
    assert_string_equal(list, "");
    assert_string_equal(path, "/u");
    assert_int_equal(bp_cgroup_find(text, "cpuset", list, path, sizeof path), 0);
    assert_int_equal(bp_cgroup_find(text, "cpu", list, path, 6), 0); /* does not fit */
    assert_int_equal(bp_cgroup_find("1:../cpu,cpu:/\n", "cpu", list, path, sizeof path), 0);
    assert_int_equal(bp_cgroup_find("nonsense\n:\n1:", "cpu", list, path, sizeof path), 0);
}

static void test_numbers(void **state) {
    (void)state;
    assert_true(bp_cgroup_parse_quota("max 100000\n") == 0);
    assert_true(bp_cgroup_parse_quota("100000") == 0);
    assert_true(bp_cgroup_parse_quota("100000 0") == 0);
    assert_true(bp_cgroup_parse_quota("-1 100000") == 0);
    assert_true(bp_cgroup_parse_quota("25000 100000\n") == 0.25);
    assert_true(bp_cgroup_parse_bytes("max\n") == 0);
    assert_true(bp_cgroup_parse_bytes("") == 0);
    assert_true(bp_cgroup_parse_bytes("-5") == 0);
    assert_true(bp_cgroup_parse_bytes("99999999999999999999999") == 0);
    assert_true(bp_cgroup_parse_bytes("4096\n") == 4096);
}

#define FOLDER_TEST(f) cmocka_unit_test_setup_teardown(f, data_folder_setup, data_folder_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        FOLDER_TEST(test_nothing_there),   FOLDER_TEST(test_version_2),
        FOLDER_TEST(test_version_1),       FOLDER_TEST(test_paths_from_outside),
        FOLDER_TEST(test_default_threads), cmocka_unit_test(test_lines),
        cmocka_unit_test(test_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
