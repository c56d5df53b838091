/* List files: lines, quotes, splits, classes, mistakes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "data/dataset_format.h"
#include "unit/data_files.h"
#include "unit/picture_sets.h"

/* The fields of all lines, "a|b;c|d|e;;" and so on. */
static void expect_fields(const char *text, const char *wanted) {
    char bytes[256], got[512] = "", *fields[BP_LIST_FIELDS];
    size_t count = strlen(text), offset = 0, n_fields;
    memcpy(bytes, text, count + 1);
    for (size_t line = 1; offset < count; line++) {
        if (bp_list_parse_line(bytes, count, &offset, "l", line, fields, &n_fields) != BP_OK)
            fail_msg("%s", bp_status_message());
        for (size_t i = 0; i < n_fields; i++) {
            strcat(got, i > 0 ? "|" : "");
            strcat(got, fields[i]);
        }
        strcat(got, ";");
    }
    assert_string_equal(got, wanted);
}

static void test_lines(void **state) {
    (void)state;
    expect_fields("a.jpg,cat\n", "a.jpg|cat;");
    expect_fields("a.jpg,cat", "a.jpg|cat;");
    expect_fields("a,b,c\r\nd,e\r\n\r\n", "a|b|c;d|e;;");
    expect_fields("\"a,b\",\"c \"\"d\"\" e\",\"\"\n", "a,b|c \"d\" e|;");
    expect_fields("a b,c d,\n", "a b|c d|;");
}

static void test_bad_lines(void **state) {
    (void)state;
    static const struct {
        const char *text, *word;
    } lines[] = {{"a", "line 3: the label is missing"},
                 {"a,", "line 3: the label is missing"},
                 {",b", "line 3: the path is missing"},
                 {"a,b,c,d", "line 3: more than 3 fields"},
                 {"\"a,b", "line 3: a quote is not closed"},
                 {"\"a\"b,c", "line 3: a quote is not closed, or text follows it"}};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        char bytes[64], *fields[BP_LIST_FIELDS];
        size_t offset = 0, n;
        strcpy(bytes, lines[i].text);
        assert_int_equal(bp_list_parse_line(bytes, strlen(bytes), &offset, "l.csv", 3, fields, &n),
                         BP_DATA);
        EXPECT_MESSAGE("l.csv: ", lines[i].word);
    }
    char zero[] = "a,b\0c", *fields[BP_LIST_FIELDS];
    size_t offset = 0, n;
    assert_int_equal(bp_list_parse_line(zero, 5, &offset, "l", 1, fields, &n), BP_DATA);
    EXPECT_MESSAGE("zero byte");
}

static const char *write_list(const char *folder, const char *text) {
    picture_write_bytes(folder, "list.csv", text, strlen(text));
    return data_path(folder, "list.csv");
}

static void write_pictures(const char *folder) {
    for (unsigned i = 0; i < 8; i++) {
        char name[32];
        snprintf(name, sizeof name, "some/p%u.png", i);
        picture_write(folder, name, i % 2, i);
    }
}

static void test_split_lines(void **state) {
    write_pictures(*state);
    struct bp_dataset_options options = picture_options();
    struct bp_dataset *set = picture_open(
        write_list(*state, "\xef\xbb\xbfpath,label,split\nsome/p0.png,x10,train\n"
                           "some/p1.png,x9,Train\nsome/p2.png,x9,val\nsome/p3.png,x10,test\n"),
        &options);
    assert_string_equal(set->kind, "list");
    assert_int_equal(set->classes, 2);
    assert_string_equal(set->class_names[0], "x9"); /* natural order */
    assert_string_equal(set->class_names[1], "x10");
    assert_int_equal(set->train.count, 2);
    assert_int_equal(set->train.labels[0], 1); /* the order of the list */
    assert_int_equal(set->train.labels[1], 0);
    assert_int_equal(set->val.count, 1); /* val goes before test */
    assert_int_equal(set->val.labels[0], 0);
    bp_dataset_destroy(set);
    set = picture_open(write_list(*state, "some/p0.png,a,train\nsome/p1.png,b,train\n"
                                          "some/p3.png,b,test\n"),
                       &options);
    assert_int_equal(set->val.count, 1);
    bp_dataset_destroy(set);
}

/* Without splits: as class folders are split. The order of the lines does not matter. */
static void test_seeded_split(void **state) {
    write_pictures(*state);
    char path[1300];
    struct bp_dataset_options options = picture_options();
    char text[512] = "", reversed[512] = "", line[64];
    for (unsigned i = 0; i < 8; i++) {
        snprintf(line, sizeof line, "some/p%u.png,%s\n", i, i % 2 ? "odd" : "even");
        strcat(text, line);
        snprintf(line, sizeof line, "some/p%u.png,%s\n", 7 - i, i % 2 ? "even" : "odd");
        strcat(reversed, line);
    }
    struct bp_dataset *a = picture_open(write_list(*state, text), &options);
    assert_int_equal(a->train.count, 6);
    assert_int_equal(a->val.count, 2);
    struct bp_dataset *b = picture_open(write_list(*state, reversed), &options);
    size_t bytes = 16 * 16 * 3;
    for (size_t i = 0; i < 2; i++) {
        assert_memory_equal(a->val.images + i * bytes, b->val.images + (1 - i) * bytes, bytes);
        assert_int_equal(a->val.labels[i], b->val.labels[1 - i]);
    }
    bp_dataset_destroy(a);
    bp_dataset_destroy(b);
    snprintf(path, sizeof path, "list:%s", data_path(*state, "list.csv"));
    bp_dataset_destroy(picture_open(path, &options));
}

static void test_mistakes(void **state) {
    write_pictures(*state);
    struct bp_dataset_options options = picture_options();
    static const struct {
        const char *text, *word;
    } lists[] = {
        {"some/p0.png,a,train\nsome/p1.png,b,val\n",
         "line 2: class 'b' is unknown to the training"},
        {"some/p0.png,a,train\nsome/p1.png,b\n", "line 2: has no split, but other lines have"},
        {"some/p0.png,a,tuning\n", "line 1: split 'tuning'"},
        {"some/p0.png,a\n\nsome/p1.png,A\n", "differ in case or spacing only"},
        {"path,label\n", "the list is empty"},
        {"some/p0.png,a\nsome/gone.png,a\n", "some/gone.png: No such file"},
        {"some/p0.png,a\nb\n", "line 2: the label is missing"},
        {"some/p0.png,a,val\n", "no line is for training"}};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        EXPECT_REFUSED(write_list(*state, lists[i].text), &options, "list.csv", lists[i].word);
    EXPECT_REFUSED(write_list(*state, "just text\n"), &options, "the file is no list of pictures");
}

static void test_without_memory(void **state) {
    write_pictures(*state);
    struct bp_dataset_options options = picture_options();
    char path[1300];
    strcpy(path, write_list(*state, "some/p0.png,a,train\nsome/p1.png,b,train\nsome/p2.png,b,val\n"
                                    "some/p3.png,b,test\n"));
    bp_status status = BP_RESOURCE;
    for (long n = 0; status != BP_OK; n++) {
        struct bp_dataset *set;
        bp_memory_fail_after(n);
        status = bp_dataset_open(&set, path, &options);
        bp_memory_fail_after(-1);
        assert_true(status == BP_OK || status == BP_RESOURCE);
        bp_dataset_destroy(set);
        assert_true(n < 2000);
    }
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, data_folder_setup, data_folder_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines), cmocka_unit_test(test_bad_lines),
        TEST(test_split_lines),       TEST(test_seeded_split),
        TEST(test_mistakes),          TEST(test_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
