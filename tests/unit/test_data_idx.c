/* IDX files: what bp_idx_parse, bp_idx_unpack and the reader of folders accept, and what they say
 * about everything else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "data/dataset_format.h"
#include "unit/data_files.h"

static const size_t three[3] = {2, 3, 4};

static size_t valid_images(uint8_t bytes[64]) {
    uint8_t pixels[24];
    for (size_t i = 0; i < sizeof pixels; i++)
        pixels[i] = data_pixel(i);
    return data_idx(bytes, 3, three, pixels);
}

static void test_parse_valid(void **state) {
    (void)state;
    uint8_t bytes[64];
    size_t sizes[3] = {0}, count = valid_images(bytes);
    const uint8_t *data;
    assert_int_equal(count, 16 + 24);
    assert_int_equal(bp_idx_parse(bytes, count, 3, "f", sizes, &data), BP_OK);
    assert_memory_equal(sizes, three, sizeof sizes);
    assert_ptr_equal(data, bytes + 16);
    count = data_idx(bytes, 1, (size_t[]){5}, (const uint8_t *)"\0\1\2\3\4");
    assert_int_equal(bp_idx_parse(bytes, count, 1, "f", sizes, &data), BP_OK);
    assert_int_equal(sizes[0], 5);
    assert_int_equal(data[4], 4);
}

/* Every shorter file and every longer one is refused, from a block of exactly that size. */
static void test_parse_every_length(void **state) {
    (void)state;
    uint8_t bytes[64];
    size_t sizes[3], count = valid_images(bytes);
    const uint8_t *data;
    for (size_t length = 0; length <= count + 3; length++) {
        uint8_t *exact = malloc(length); /* sanitizers guard its end */
        memcpy(exact, bytes, length);
        bp_status status = bp_idx_parse(exact, length, 3, "file.idx", sizes, &data);
        free(exact);
        assert_int_equal(status, length == count ? BP_OK : BP_DATA);
        if (length < 16)
            EXPECT_MESSAGE("file.idx", "ends inside the IDX header", "16 bytes", "offset");
        else if (length < count)
            EXPECT_MESSAGE("file.idx", "truncated", "expected 40", "get it again");
        else if (length > count)
            EXPECT_MESSAGE("file.idx", "offset 40", "too long", "expected 40");
    }
}

static void test_parse_header_errors(void **state) {
    (void)state;
    static const struct {
        size_t offset;
        uint8_t value;
        const char *words[3];
    } cases[] = {
        {0, 0x89, {"offset 0", "0x89 0x00", "not an IDX file"}},
        {1, 0x50, {"offset 0", "0x00 0x50", "expected 0x00 0x00"}},
        {2, 0x0d, {"offset 2", "element type 0x0d", "expected 0x08"}},
        {3, 1, {"offset 3", "1 dimensions (labels)", "expected 3 (images)"}},
        {3, 4, {"offset 3", "4 dimensions", "expected 3"}},
        {3, 0, {"offset 3", "0 dimensions", "expected 3"}},
        {7, 0, {"offset 4", "size 0", "dimension 1"}},
        {15, 0, {"offset 12", "size 0", "dimension 3"}},
        {7, 3, {"truncated", "expected 52", "offset 40"}},
        {7, 1, {"too long", "expected 28", "offset 28"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t bytes[64];
        size_t sizes[3], count = valid_images(bytes);
        const uint8_t *data;
        bytes[cases[i].offset] = cases[i].value;
        assert_int_equal(bp_idx_parse(bytes, count, 3, "file.idx", sizes, &data), BP_DATA);
        EXPECT_MESSAGE("file.idx", cases[i].words[0], cases[i].words[1], cases[i].words[2]);
    }
}

static void test_parse_sizes_that_overflow(void **state) {
    (void)state;
    uint8_t bytes[64];
    size_t sizes[3], count = valid_images(bytes);
    const uint8_t *data;
    memset(bytes + 4, 0xff, 12);
    assert_int_equal(bp_idx_parse(bytes, count, 3, "f", sizes, &data), BP_DATA);
    EXPECT_MESSAGE("offset", "4294967295", "more bytes than can be addressed");
    /* 2^24 * 2^20 * 2^20 = 2^64: zero without a check. */
    memcpy(bytes + 4, "\1\0\0\0\0\x10\0\0\0\x10\0\0", 12);
    assert_int_equal(bp_idx_parse(bytes, 16, 3, "f", sizes, &data), BP_DATA);
    EXPECT_MESSAGE("offset 12", "1048576", "dimension 3");
}

static void test_unpack_valid(void **state) {
    (void)state;
    uint8_t bytes[64], packed[256], *back;
    size_t count = valid_images(bytes), n;
    size_t size = data_pack(bytes, count, packed, sizeof packed);
    assert_int_equal(bp_idx_unpack(packed, size, 3, "f", &back, &n), BP_OK);
    assert_int_equal(n, count);
    assert_memory_equal(back, bytes, count);
    bp_free(back);
    /* In two members, cut at every place. */
    for (size_t cut = 0; cut <= count; cut++) {
        size = data_pack(bytes, cut, packed, sizeof packed);
        size += data_pack(bytes + cut, count - cut, packed + size, sizeof packed - size);
        assert_int_equal(bp_idx_unpack(packed, size, 3, "f", &back, &n), BP_OK);
        assert_int_equal(n, count);
        assert_memory_equal(back, bytes, count);
        bp_free(back);
    }
}

static void expect_unpack_fails(const uint8_t *packed, size_t size) {
    uint8_t *back, *exact = malloc(size);
    size_t n, sizes[3];
    const uint8_t *data;
    memcpy(exact, packed, size);
    bp_status status = bp_idx_unpack(exact, size, 3, "file.gz", &back, &n);
    if (status == BP_OK)
        status = bp_idx_parse(back, n, 3, "file.gz", sizes, &data);
    bp_free(back);
    free(exact);
    assert_int_equal(status, BP_DATA);
    EXPECT_MESSAGE("file.gz", "offset", "again");
}

static void test_unpack_damage(void **state) {
    (void)state;
    uint8_t bytes[64], packed[256];
    size_t count = valid_images(bytes), size = data_pack(bytes, count, packed, sizeof packed);
    for (size_t length = 0; length < size; length++)
        expect_unpack_fails(packed, length);
    expect_unpack_fails(packed, 30);
    EXPECT_MESSAGE("the gzip data end too early", "truncated");
    uint8_t kept = packed[size - 6]; /* of the checksum */
    packed[size - 6] ^= 1;
    expect_unpack_fails(packed, size);
    EXPECT_MESSAGE("damaged", "incorrect data check");
    packed[size - 6] = kept;
    packed[size] = 'x'; /* something after the end */
    expect_unpack_fails(packed, size + 1);
    size = data_pack(bytes, count - 1, packed, sizeof packed);
    expect_unpack_fails(packed, size);
    EXPECT_MESSAGE("found a file of 39 bytes, expected 40");
    bytes[count] = 0;
    size = data_pack(bytes, count + 1, packed, sizeof packed);
    expect_unpack_fails(packed, size);
    EXPECT_MESSAGE("unpacked offset 40", "too long");
}

/* Neither a promise in the header nor what is packed makes us take memory that the file cannot
 * fill. */
static void test_unpack_bombs(void **state) {
    (void)state;
    enum { ZEROS = 1 << 20 };
    uint8_t header[16] = {0, 0, 8, 3, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0x10, 0}, packed[4096];
    size_t size = data_pack(header, sizeof header, packed, sizeof packed);
    expect_unpack_fails(packed, size);
    EXPECT_MESSAGE("promises 17592186044432 bytes", "packed bytes can hold");
    uint8_t *bomb = calloc(1, ZEROS);
    valid_images(bomb);
    size = data_pack(bomb, ZEROS, packed, sizeof packed);
    free(bomb);
    expect_unpack_fails(packed, size);
    EXPECT_MESSAGE("found more bytes than the 40");
}

/* --- folders --- */

static bp_status open_folder(const char *data) {
    struct bp_dataset *set;
    struct bp_dataset_options options = {0};
    bp_status status = bp_dataset_open(&set, data, &options);
    assert_true((status == BP_OK) == (set != NULL));
    bp_dataset_destroy(set);
    return status;
}

static const struct data_set small = {.train = 12, .val = 5, .h = 3, .w = 4, .classes = 4};

static void test_not_a_data_set(void **state) {
    assert_int_equal(open_folder(data_path(*state, "missing")), BP_DATA);
    EXPECT_MESSAGE("missing", "no such file or folder", "check the path");
    assert_int_equal(open_folder(*state), BP_DATA);
    EXPECT_MESSAGE(*state, "recognised", "supported", "t10k-labels-idx1-ubyte", "folder:PATH");
    data_write_set(*state, &small);
    assert_int_equal(open_folder(data_path(*state, "train-images-idx3-ubyte")), BP_DATA);
    EXPECT_MESSAGE("the file is no list of pictures", "name the folder");
    assert_int_equal(open_folder("idx:/nowhere/at/all"), BP_DATA);
    EXPECT_MESSAGE("/nowhere/at/all", "no such folder");
    char forced[1200];
    snprintf(forced, sizeof forced, "idx:%s", (char *)*state);
    assert_int_equal(open_folder(forced), BP_OK);
    memset(forced + 4, 'x', sizeof forced - 5);
    forced[sizeof forced - 1] = 0;
    assert_int_equal(open_folder(forced), BP_USAGE);
    EXPECT_MESSAGE("too long");
}

static void test_missing_file(void **state) {
    static const char *const names[] = {"train-images-idx3-ubyte", "train-labels-idx1-ubyte",
                                        "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"};
    data_write_set(*state, &small);
    for (size_t i = 0; i < 4; i++) {
        const char *path = data_path(*state, names[i]), *away = data_path(*state, "away");
        assert_int_equal(rename(path, away), 0);
        assert_int_equal(open_folder(*state), BP_DATA);
        EXPECT_MESSAGE(*state, names[i], ".gz", "four files");
        assert_int_equal(mkdir(path, 0755), 0);
        assert_int_equal(open_folder(*state), BP_DATA);
        EXPECT_MESSAGE(path, "Is a directory");
        assert_int_equal(rmdir(path), 0);
        data_write(path, (const uint8_t *)"", 0);
        assert_int_equal(open_folder(*state), BP_DATA);
        EXPECT_MESSAGE(path, "empty");
        assert_int_equal(rename(away, path), 0);
    }
    assert_int_equal(open_folder(*state), BP_OK);
}

static void test_swapped_files(void **state) {
    data_write_set(*state, &small);
    const char *images = data_path(*state, "train-images-idx3-ubyte");
    const char *labels = data_path(*state, "train-labels-idx1-ubyte");
    const char *away = data_path(*state, "away");
    assert_int_equal(rename(images, away), 0);
    assert_int_equal(rename(labels, images), 0);
    assert_int_equal(rename(away, labels), 0);
    assert_int_equal(open_folder(*state), BP_DATA);
    EXPECT_MESSAGE(images, "1 dimensions (labels)", "swapped");
}

static void test_no_permission(void **state) {
    data_write_set(*state, &small);
    const char *path = data_path(*state, "t10k-labels-idx1-ubyte");
    assert_int_equal(chmod(path, 0), 0);
    assert_int_equal(chmod(*state, 0755), 0);
    if (!data_begin_nobody())
        skip();
    bp_status file = open_folder(*state);
    EXPECT_MESSAGE(path, "Permission denied", "check the permissions");
    data_end_nobody();
    assert_int_equal(chmod(*state, 0), 0);
    assert_int_equal(data_begin_nobody(), 1);
    bp_status folder = open_folder(*state);
    EXPECT_MESSAGE(*state, "train-images", "Permission denied");
    data_end_nobody();
    assert_int_equal(chmod(*state, 0755), 0);
    assert_int_equal(file, BP_DATA);
    assert_int_equal(folder, BP_DATA);
}

static void write_labels(const char *path, const uint8_t *labels, size_t count) {
    uint8_t bytes[64];
    data_write(path, bytes, data_idx(bytes, 1, &count, labels));
}

static void test_counts_and_labels(void **state) {
    data_write_set(*state, &small);
    const char *path = data_path(*state, "t10k-labels-idx1-ubyte");
    static const uint8_t labels[6] = {0, 1, 3, 4, 0, 0};
    write_labels(path, labels, 5);
    assert_int_equal(open_folder(*state), BP_DATA);
    EXPECT_MESSAGE(*state, "validation label 3 is 4", "end at 3");
    write_labels(path, labels, 6);
    assert_int_equal(open_folder(*state), BP_DATA);
    EXPECT_MESSAGE(*state, "5 images but 6 labels", "t10k-labels");
    write_labels(path, labels, 2);
    assert_int_equal(open_folder(*state), BP_DATA);
    EXPECT_MESSAGE("5 images but 2 labels");
}

static void test_sizes_of_parts(void **state) {
    data_write_set(*state, &small);
    uint8_t bytes[256], pixels[60] = {0};
    size_t count = data_idx(bytes, 3, (size_t[]){5, 4, 3}, pixels);
    data_write(data_path(*state, "t10k-images-idx3-ubyte"), bytes, count);
    assert_int_equal(open_folder(*state), BP_DATA);
    EXPECT_MESSAGE(*state, "training images are 3x4x1", "validation images 4x3x1");
}

#define IN_FOLDER(test)                                                                            \
    cmocka_unit_test_setup_teardown(test, data_folder_setup, data_folder_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse_valid),
        cmocka_unit_test(test_parse_every_length),
        cmocka_unit_test(test_parse_header_errors),
        cmocka_unit_test(test_parse_sizes_that_overflow),
        cmocka_unit_test(test_unpack_valid),
        cmocka_unit_test(test_unpack_damage),
        cmocka_unit_test(test_unpack_bombs),
        IN_FOLDER(test_not_a_data_set),
        IN_FOLDER(test_missing_file),
        IN_FOLDER(test_swapped_files),
        IN_FOLDER(test_no_permission),
        IN_FOLDER(test_counts_and_labels),
        IN_FOLDER(test_sizes_of_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
