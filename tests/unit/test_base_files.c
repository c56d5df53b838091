#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file_io.h"
#include "base/memory.h"
#include "unit/data_files.h"

static void expect_content(const char *path, const char *text) {
    uint8_t *bytes;
    size_t count;
    assert_int_equal(bp_file_read(path, 1u << 20, BP_DATA, &bytes, &count), BP_OK);
    assert_int_equal(count, strlen(text));
    assert_memory_equal(bytes, text, count);
    bp_free(bytes);
}

static void test_read_and_write(void **state) {
    const char *path = data_path(*state, "file");
    assert_int_equal(bp_file_write_text(path, "old"), BP_OK);
    expect_content(path, "old");
    const struct bp_chunk chunks[] = {{"new ", 4}, {NULL, 0}, {"content", 7}};
    assert_int_equal(bp_file_write(path, chunks, 3), BP_OK);
    expect_content(path, "new content");
    assert_int_equal(bp_file_write(path, NULL, 0), BP_OK);
    expect_content(path, "");
    assert_int_equal(data_files_in(*state), 1);
}

static void test_large_file(void **state) {
    enum { COUNT = 3000000 };
    const char *path = data_path(*state, "large");
    uint8_t *bytes = malloc(COUNT), *back;
    for (size_t i = 0; i < COUNT; i++)
        bytes[i] = data_pixel(i);
    const struct bp_chunk chunks[] = {{bytes, 1}, {bytes + 1, COUNT - 1}};
    size_t count;
    assert_int_equal(bp_file_write(path, chunks, 2), BP_OK);
    assert_int_equal(bp_file_read(path, COUNT, BP_DATA, &back, &count), BP_OK);
    assert_int_equal(count, COUNT);
    assert_memory_equal(back, bytes, COUNT);
    bp_free(back);
    assert_int_equal(bp_file_read(path, COUNT - 1, BP_MODEL, &back, &count), BP_MODEL);
    assert_null(back);
    EXPECT_MESSAGE(path, "3000000 bytes", "2999999");
    free(bytes);
}

static void test_name_without_folder(void **state) {
    char before[4096];
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(*state), 0);
    bp_status status = bp_file_write_text("plain", "x");
    assert_int_equal(chdir(before), 0);
    assert_int_equal(status, BP_OK);
    expect_content(data_path(*state, "plain"), "x");
}

static void test_read_failures(void **state) {
    uint8_t *bytes;
    size_t count;
    const char *missing = data_path(*state, "missing");
    assert_int_equal(bp_file_read(missing, 100, BP_DATA, &bytes, &count), BP_DATA);
    EXPECT_MESSAGE(missing, "No such file", "check the path");
    assert_int_equal(bp_file_read(*state, 100, BP_MODEL, &bytes, &count), BP_MODEL);
    EXPECT_MESSAGE(*state, "Is a directory", "name a file");
    const char *pipe_path = data_path(*state, "pipe");
    assert_int_equal(mkfifo(pipe_path, 0600), 0);
    assert_int_equal(bp_file_read(pipe_path, 100, BP_DATA, &bytes, &count), BP_DATA);
    EXPECT_MESSAGE(pipe_path, "not a regular file");
    const char *file = data_path(*state, "file");
    assert_int_equal(bp_file_write_text(file, "x"), BP_OK);
    bp_memory_fail_after(0);
    bp_status status = bp_file_read(file, 100, BP_DATA, &bytes, &count);
    bp_memory_fail_after(-1);
    assert_int_equal(status, BP_RESOURCE);
    assert_null(bytes);
}

static void test_no_permission(void **state) {
    const char *secret = data_path(*state, "secret"), *new_file = data_path(*state, "new");
    assert_int_equal(bp_file_write_text(secret, "x"), BP_OK);
    assert_int_equal(chmod(secret, 0), 0);
    assert_int_equal(chmod(*state, 0555), 0);
    if (!data_begin_nobody())
        skip();
    uint8_t *bytes;
    size_t count;
    bp_status read = bp_file_read(secret, 100, BP_DATA, &bytes, &count);
    EXPECT_MESSAGE(secret, "Permission denied", "check the permissions");
    bp_status write = bp_file_write_text(new_file, "x");
    EXPECT_MESSAGE(new_file, "Permission denied", "check the permissions");
    bp_status append = bp_file_append(secret, "x");
    EXPECT_MESSAGE(secret, "Permission denied");
    bp_status create = bp_dir_create(data_path(*state, "folder"));
    EXPECT_MESSAGE("folder", "Permission denied");
    data_end_nobody();
    assert_int_equal(chmod(*state, 0755), 0);
    assert_int_equal(read, BP_DATA);
    assert_int_equal(write, BP_RESOURCE);
    assert_int_equal(append, BP_RESOURCE);
    assert_int_equal(create, BP_RESOURCE);
    assert_int_equal(data_files_in(*state), 1);
}

/* A failed write leaves the old file and no temporary one. */
static void test_write_failures(void **state) {
    assert_int_equal(bp_file_write_text(data_path(*state, "none/file"), "x"), BP_RESOURCE);
    EXPECT_MESSAGE("none/file", "No such file or directory");
    assert_int_equal(bp_dir_create(data_path(*state, "folder")), BP_OK);
    assert_int_equal(bp_file_write_text(data_path(*state, "folder"), "x"), BP_RESOURCE);
    EXPECT_MESSAGE("folder", "Is a directory");
    assert_int_equal(bp_file_write_text("/dev/null", "x"), BP_RESOURCE);
    EXPECT_MESSAGE("/dev/null", "not a regular file");
    assert_int_equal(data_files_in(*state), 1);
    const char *file = data_path(*state, "file");
    assert_int_equal(bp_file_write_text(file, "old"), BP_OK);
    char name[5000];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = 0;
    assert_int_equal(bp_file_write_text(name, "x"), BP_RESOURCE);
    EXPECT_MESSAGE("cannot write", "nnn");
    /* An address that cannot be read makes the write itself fail, after the file was created. */
    const struct bp_chunk chunks[] = {{"begin", 5}, {NULL, 100}};
    assert_int_equal(bp_file_write(file, chunks, 2), BP_RESOURCE);
    EXPECT_MESSAGE(file, "cannot write");
    expect_content(file, "old");
    assert_int_equal(data_files_in(*state), 2);
}

/* Like a full disk: the system takes a part of the bytes and refuses the rest. */
static void test_disk_limit(void **state) {
    static char large[300000];
    const char *file = data_path(*state, "file"), *log = data_path(*state, "log");
    memset(large, 'x', sizeof large - 1);
    assert_int_equal(bp_file_write_text(file, "old"), BP_OK);
    assert_int_equal(bp_file_append(log, "one\n"), BP_OK);
    struct rlimit before, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 100000;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    bp_status write = bp_file_write_text(file, large);
    EXPECT_MESSAGE("cannot write", file, "free some space");
    bp_status append = bp_file_append(log, large);
    EXPECT_MESSAGE("cannot append", log, "free some space");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, handler);
    assert_int_equal(write, BP_RESOURCE);
    assert_int_equal(append, BP_RESOURCE);
    expect_content(file, "old");
    expect_content(log, "one\n");
    assert_int_equal(data_files_in(*state), 2);
}

/* What a killed process left behind does not stand in the way. */
static void test_leftover_temporary(void **state) {
    char name[64];
    snprintf(name, sizeof name, "file.tmp-%ld-0", (long)getpid());
    assert_int_equal(bp_file_append(data_path(*state, name), "leftover"), BP_OK);
    assert_int_equal(bp_file_write_text(data_path(*state, "file"), "x"), BP_OK);
    expect_content(data_path(*state, "file"), "x");
    expect_content(data_path(*state, name), "leftover");
}

static void test_append_and_truncate(void **state) {
    const char *path = data_path(*state, "log");
    assert_int_equal(bp_file_append(path, "one\n"), BP_OK);
    assert_int_equal(bp_file_append(path, ""), BP_OK);
    assert_int_equal(bp_file_append(path, "two\n"), BP_OK);
    expect_content(path, "one\ntwo\n");
    assert_int_equal(bp_file_truncate(path, 4), BP_OK);
    expect_content(path, "one\n");
    assert_int_equal(bp_file_truncate(path, 100), BP_OK);
    expect_content(path, "one\n");
    assert_int_equal(bp_file_append(path, "three\n"), BP_OK);
    expect_content(path, "one\nthree\n");
    assert_int_equal(bp_file_truncate(data_path(*state, "missing"), 0), BP_RESOURCE);
    EXPECT_MESSAGE("missing", "No such file");
    assert_int_equal(bp_file_append(*state, "x"), BP_RESOURCE);
    EXPECT_MESSAGE("Is a directory");
    if (access("/dev/full", W_OK) == 0) {
        assert_int_equal(bp_file_append("/dev/full", "x"), BP_RESOURCE);
        EXPECT_MESSAGE("/dev/full", "No space left", "free some space");
    }
}

static void test_folders(void **state) {
    const char *deep = data_path(*state, "a/b//c/");
    assert_int_equal(bp_dir_create(deep), BP_OK);
    assert_true(bp_path_is_dir(deep));
    assert_int_equal(bp_dir_create(deep), BP_RESOURCE);
    EXPECT_MESSAGE("a/b//c", "File exists", "does not exist yet");
    assert_int_equal(bp_dir_create(data_path(*state, "a/b/d")), BP_OK);
    const char *file = data_path(*state, "file");
    assert_int_equal(bp_file_write_text(file, "x"), BP_OK);
    assert_int_equal(bp_dir_create(file), BP_RESOURCE);
    EXPECT_MESSAGE("File exists");
    assert_int_equal(bp_dir_create(data_path(*state, "file/inside")), BP_RESOURCE);
    EXPECT_MESSAGE("file/inside", "Not a directory");
    assert_int_equal(bp_dir_create(""), BP_RESOURCE);
    assert_true(bp_path_exists(file));
    assert_false(bp_path_is_dir(file));
    assert_false(bp_path_exists(data_path(*state, "missing")));
    assert_false(bp_path_is_dir(data_path(*state, "missing")));
}

static void test_join(void **state) {
    (void)state;
    char out[12];
    assert_int_equal(bp_path_join(out, sizeof out, "folder", "name"), BP_OK);
    assert_string_equal(out, "folder/name");
    assert_int_equal(bp_path_join(out, sizeof out, "folder/", "name"), BP_OK);
    assert_string_equal(out, "folder/name");
    assert_int_equal(bp_path_join(out, sizeof out, "", "name"), BP_OK);
    assert_string_equal(out, "name");
    assert_int_equal(bp_path_join(out, sizeof out, "/", "name"), BP_OK);
    assert_string_equal(out, "/name");
    assert_int_equal(bp_path_join(out, sizeof out, "folder1", "name"), BP_USAGE);
    EXPECT_MESSAGE("folder1", "name", "too long");
}

#define IN_FOLDER(test)                                                                            \
    cmocka_unit_test_setup_teardown(test, data_folder_setup, data_folder_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_FOLDER(test_read_and_write),      IN_FOLDER(test_large_file),
        IN_FOLDER(test_name_without_folder), IN_FOLDER(test_read_failures),
        IN_FOLDER(test_no_permission),       IN_FOLDER(test_write_failures),
        IN_FOLDER(test_disk_limit),          IN_FOLDER(test_leftover_temporary),
        IN_FOLDER(test_append_and_truncate), IN_FOLDER(test_folders),
        cmocka_unit_test(test_join),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
