/* Folder lists, natural order, limits of memory, the name of the processor. */
#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cpu.h"
#include "base/dir_list.h"
#include "base/memory.h"
#include "base/memory_limit.h"
#include "unit/data_files.h"

static void test_natural_order(void **state) {
    (void)state;
    static const char *const ordered[] = {"",
                                          "01",
                                          "1",
                                          "2",
                                          "9a",
                                          "10",
                                          "010b",
                                          "A1",
                                          "a",
                                          "a 1",
                                          "a01",
                                          "a1",
                                          "a1b",
                                          "a2",
                                          "a10",
                                          "a10b2",
                                          "a10b10",
                                          "b",
                                          "b99999999999999999999998",
                                          "b99999999999999999999999"};
    int n = sizeof ordered / sizeof ordered[0];
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            int order = bp_natural_order(ordered[i], ordered[j]);
            if ((order > 0) - (order < 0) != (i > j) - (i < j))
                fail_msg("'%s' and '%s': %d", ordered[i], ordered[j], order);
        }
}

static void test_dir_list(void **state) {
    static const char *const names[] = {"p10", "p9", ".hidden", "p1"};
    struct bp_dir_list list;
    for (size_t i = 0; i < 4; i++)
        data_write(data_path(*state, names[i]), (const uint8_t *)"x", 1);
    assert_int_equal(mkdir(data_path(*state, "p5"), 0777), 0);
    assert_int_equal(symlink("p5", data_path(*state, "p6")), 0);
    assert_int_equal(symlink("nowhere", data_path(*state, "p7")), 0);
    bp_status status = BP_RESOURCE;
    for (long n = 0; status != BP_OK; n++) {
        bp_memory_fail_after(n);
        status = bp_dir_list(&list, *state, BP_DATA);
        bp_memory_fail_after(-1);
        assert_true(status == BP_OK || status == BP_RESOURCE);
        if (status != BP_OK)
            bp_dir_list_free(&list);
    }
    static const struct {
        const char *name;
        int is_dir;
    } wanted[] = {{"p1", 0}, {"p5", 1}, {"p6", 1}, {"p7", 0}, {"p9", 0}, {"p10", 0}};
    assert_int_equal(list.count, 6);
    for (size_t i = 0; i < 6; i++) {
        assert_string_equal(list.entries[i].name, wanted[i].name);
        assert_int_equal(list.entries[i].is_dir, wanted[i].is_dir);
    }
    bp_dir_list_free(&list);
    assert_int_equal(bp_dir_list(&list, data_path(*state, "p9"), BP_DATA), BP_DATA);
    EXPECT_MESSAGE("cannot read the folder", "p9");
    bp_dir_list_free(&list);
}

static void write_text(const char *folder, const char *path, const char *text) {
    char whole[1400];
    snprintf(whole, sizeof whole, "%s/%s", folder, path);
    for (char *slash = whole + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = 0;
        mkdir(whole, 0777);
        *slash = '/';
    }
    data_write(whole, (const uint8_t *)text, strlen(text));
}

static void test_memory_limit(void **state) {
    size_t machine = bp_memory_limit(*state); /* no files: what the machine has */
    assert_true(machine > 50000000 && bp_memory_limit("") <= machine);
    write_text(*state, "proc/self/cgroup", "0::/outer/inner\n");
    write_text(*state, "sys/fs/cgroup/outer/memory.max", "30000000\n");
    write_text(*state, "sys/fs/cgroup/outer/inner/memory.max", "max\n");
    assert_int_equal(bp_memory_limit(*state), 30000000);
    write_text(*state, "sys/fs/cgroup/outer/inner/memory.max", "20000000\n");
    assert_int_equal(bp_memory_limit(*state), 20000000);
    write_text(*state, "sys/fs/cgroup/memory.max", "10000000\n"); /* inside a container */
    write_text(*state, "proc/self/cgroup", "0::/\n");
    assert_int_equal(bp_memory_limit(*state), 10000000);
    write_text(*state, "proc/self/cgroup", "5:cpu,cpuacct:/a\n4:memory:/b\n1:name=systemd:/c\n");
    write_text(*state, "sys/fs/cgroup/memory/b/memory.limit_in_bytes", "40000000\n");
    write_text(*state, "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    assert_int_equal(bp_memory_limit(*state), 40000000);
    write_text(*state, "proc/self/cgroup", "nonsense\n:\n::\n");
    assert_true(bp_memory_limit(*state) <= machine);
}

static void test_cpu_model(void **state) {
    const char *path = data_path(*state, "cpuinfo");
    assert_string_equal(bp_cpu_model_in(path), "unknown");
    write_text(*state, "cpuinfo", "model\t\t: 49\nmodel name\t: A B: C 7\nmodel name\t: D\n");
    assert_string_equal(bp_cpu_model_in(path), "A B: C 7");
    write_text(*state, "cpuinfo",
               "CPU implementer\t: 0x41\nCPU part\t: 0xd0b\nCPU part\t: 0xd05\n");
    assert_string_equal(bp_cpu_model_in(path), "ARM implementer 0x41, part 0xd0b");
    write_text(*state, "cpuinfo", "CPU part\nCPU implementer");
    assert_string_equal(bp_cpu_model_in(path), "unknown");
    assert_in_range(bp_cpu_last_cache(), 1 << 16, (size_t)1 << 40);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, data_folder_setup, data_folder_teardown)
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_natural_order), TEST(test_dir_list),
                                       TEST(test_memory_limit), TEST(test_cpu_model)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
