/* Writing and reading checkpoints: round trip, exact bytes, alignment, wrong input of the writer,
 * and a failure of each request for memory. Malformed files: test_io_hostile.c. */
#define _POSIX_C_SOURCE 200809L

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file_io.h"
#include "base/memory.h"
#include "io/safetensors.h"
#include "unit/data_files.h"

static char *folder;
static char path[1200];

static const uint64_t words[3] = {0x0123456789abcdefu, 0, UINT64_MAX};
static const int64_t counts[2] = {INT64_MIN, 7};
static const float weights[2][3] = {{1.5f, -0.0f, 3e38f}, {-1e-42f, 0.1f, 2.0f}};
static const int32_t signs[1] = {-5};
static const uint8_t bytes[5] = {0, 1, 2, 254, 255};

static const struct bp_saved_tensor tensors[] = {
    {"layer1.bits", BP_DTYPE_U64, 3, {1, 3, 1}, words, sizeof words},
    {"steps \"\xc3\xa9\"\\", BP_DTYPE_I64, 1, {2}, counts, sizeof counts},
    {"layer1.weight", BP_DTYPE_F32, 2, {2, 3}, weights, sizeof weights},
    {"nothing", BP_DTYPE_F32, 2, {4, 0}, NULL, 0},
    {"scalar", BP_DTYPE_I32, 0, {0}, signs, sizeof signs},
    {"tail", BP_DTYPE_U8, 1, {5}, bytes, sizeof bytes},
};
#define N_TENSORS (sizeof tensors / sizeof tensors[0])

static const struct bp_saved_text texts[] = {
    {"format", "bitprop 1"}, {"config", "{\"seed\": 3,\n\t\"a\": [\"\xe2\x82\xac\"]}"}};
#define N_TEXTS (sizeof texts / sizeof texts[0])

static bp_status write_sample(void) {
    return bp_safetensors_write(path, tensors, N_TENSORS, texts, N_TEXTS);
}

static int make_folder(void **state) {
    if (data_folder_setup(state) != 0)
        return -1;
    folder = *state;
    snprintf(path, sizeof path, "%s", data_path(folder, "model.safetensors"));
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    unlink(path);
    int result = rmdir(folder); /* fails if a temporary file was left behind */
    free(folder);
    return result;
}

static void assert_same(const struct bp_safetensors *file) {
    assert_int_equal(bp_safetensors_count(file), N_TENSORS);
    for (size_t i = 0; i < N_TENSORS; i++) {
        const struct bp_saved_tensor *want = &tensors[i];
        const struct bp_saved_tensor *got = bp_safetensors_find(file, want->name);
        assert_non_null(got);
        assert_string_equal(got->name, want->name);
        assert_int_equal(got->dtype, want->dtype);
        assert_int_equal(got->n_dims, want->n_dims);
        for (int d = 0; d < want->n_dims; d++)
            assert_int_equal(got->dims[d], want->dims[d]);
        assert_int_equal(got->bytes, want->bytes);
        assert_non_null(got->data);
        assert_int_equal((uintptr_t)got->data % bp_dtype_bytes(got->dtype), 0);
        if (want->bytes > 0)
            assert_memory_equal(got->data, want->data, want->bytes);
    }
    for (size_t i = 0; i < N_TEXTS; i++)
        assert_string_equal(bp_safetensors_text(file, texts[i].key), texts[i].value);
}

static void round_trip(void **state) {
    (void)state;
    struct bp_safetensors *file;
    assert_int_equal(write_sample(), BP_OK);
    assert_int_equal(bp_safetensors_open(&file, path), BP_OK);
    assert_same(file);
    for (size_t i = 0; i < N_TENSORS; i++) /* in the order of the file */
        assert_string_equal(bp_safetensors_at(file, i)->name, tensors[i].name);
    assert_int_equal((uintptr_t)bp_safetensors_at(file, 0)->data % BP_ALIGN, 0);
    assert_null(bp_safetensors_find(file, "layer1"));
    assert_null(bp_safetensors_find(file, "__metadata__"));
    assert_null(bp_safetensors_text(file, "absent"));
    bp_safetensors_close(file);
}

static void empty_file_set(void **state) {
    (void)state;
    struct bp_safetensors *file;
    assert_int_equal(bp_safetensors_write(path, NULL, 0, NULL, 0), BP_OK);
    assert_int_equal(bp_safetensors_open(&file, path), BP_OK);
    assert_int_equal(bp_safetensors_count(file), 0);
    assert_null(bp_safetensors_text(file, "format"));
    bp_safetensors_close(file);
    bp_safetensors_close(NULL);
}

/* The whole file, spelled out. */
static void exact_bytes(void **state) {
    (void)state;
    const struct bp_saved_text text = {"k", "v"};
    const struct bp_saved_tensor pair[] = {{"a", BP_DTYPE_I32, 1, {1}, signs, 4},
                                           {"b", BP_DTYPE_U8, 2, {1, 5}, bytes, 5}};
    const char header[] =
        "{\"__metadata__\": {\"k\": \"v\"}, "
        "\"a\": {\"dtype\": \"I32\", \"shape\": [1], \"data_offsets\": [0, 4]}, "
        "\"b\": {\"dtype\": \"U8\", \"shape\": [1, 5], \"data_offsets\": [4, 9]}}";
    uint8_t want[192 + 9];
    assert_true(8 + sizeof header - 1 > 128 && 8 + sizeof header - 1 <= 192);
    memset(want, ' ', sizeof want);
    memcpy(want, "\xb8\0\0\0\0\0\0\0", 8); /* 184 = 192 - 8 */
    memcpy(want + 8, header, sizeof header - 1);
    memcpy(want + 192, "\xfb\xff\xff\xff", 4);
    memcpy(want + 196, bytes, 5);
    for (int round = 0; round < 2; round++) {
        uint8_t *got;
        size_t count;
        assert_int_equal(bp_safetensors_write(path, pair, 2, &text, 1), BP_OK);
        assert_int_equal(bp_file_read(path, 1 << 20, BP_MODEL, &got, &count), BP_OK);
        assert_int_equal(count, sizeof want);
        assert_memory_equal(got, want, sizeof want);
        bp_free(got);
    }
}

/* From memory, at each address modulo 8: data are equal and aligned wherever the file lies. */
static void any_alignment(void **state) {
    (void)state;
    uint8_t *whole, *moved;
    size_t count;
    assert_int_equal(write_sample(), BP_OK);
    assert_int_equal(bp_file_read(path, 1 << 20, BP_MODEL, &whole, &count), BP_OK);
    assert_int_equal(bp_alloc(&moved, count + 8, "a test"), BP_OK);
    for (size_t shift = 0; shift < 8; shift++) {
        struct bp_safetensors *file;
        memcpy(moved + shift, whole, count);
        assert_int_equal(bp_safetensors_parse(&file, moved + shift, count, "memory"), BP_OK);
        assert_same(file);
        bp_safetensors_close(file);
    }
    bp_free(moved);
    bp_free(whole);
}

/* A prefix of a good file is never a good file. */
static void truncated_anywhere(void **state) {
    (void)state;
    uint8_t *whole;
    size_t count;
    assert_int_equal(write_sample(), BP_OK);
    assert_int_equal(bp_file_read(path, 1 << 20, BP_MODEL, &whole, &count), BP_OK);
    for (size_t length = 0; length < count; length++) {
        struct bp_safetensors *file;
        assert_int_equal(bp_safetensors_parse(&file, whole, length, "prefix"), BP_MODEL);
        assert_null(file);
    }
    bp_free(whole);
}

static void missing_file(void **state) {
    (void)state;
    struct bp_safetensors *file;
    const char *absent = data_path(folder, "absent");
    assert_int_equal(bp_safetensors_open(&file, absent), BP_MODEL);
    assert_null(file);
    assert_non_null(strstr(bp_status_message(), absent));
}

static void writer_refuses(void **state) {
    (void)state;
    struct bp_saved_tensor wrong[2] = {tensors[2], tensors[2]};
    assert_int_equal(bp_safetensors_write(path, wrong, 2, NULL, 0), BP_INTERNAL);
    assert_non_null(strstr(bp_status_message(), "two tensors named 'layer1.weight'"));
    wrong[0].dims[0] = 3;
    assert_int_equal(bp_safetensors_write(path, wrong, 1, NULL, 0), BP_INTERNAL);
    wrong[0].dims[0] = SIZE_MAX / 2;
    assert_int_equal(bp_safetensors_write(path, wrong, 1, NULL, 0), BP_INTERNAL);
    assert_non_null(strstr(bp_status_message(), "overflows"));
    wrong[0] = tensors[2];
    wrong[0].data = NULL;
    assert_int_equal(bp_safetensors_write(path, wrong, 1, NULL, 0), BP_INTERNAL);
    wrong[0] = tensors[2];
    wrong[0].n_dims = BP_TENSOR_DIMS_MAX + 1;
    assert_int_equal(bp_safetensors_write(path, wrong, 1, NULL, 0), BP_INTERNAL);
    wrong[0] = tensors[2];
    memset(wrong[0].name, 'x', sizeof wrong[0].name);
    assert_int_equal(bp_safetensors_write(path, wrong, 1, NULL, 0), BP_INTERNAL);
    strcpy(wrong[0].name, "__metadata__");
    assert_int_equal(bp_safetensors_write(path, wrong, 1, NULL, 0), BP_INTERNAL);
    const struct bp_saved_text twice[2] = {{"k", "1"}, {"k", "2"}};
    assert_int_equal(bp_safetensors_write(path, NULL, 0, twice, 2), BP_INTERNAL);
}

/* The n-th request for memory fails, for each n: the status says so, nothing leaks (sanitizer
 * build), and the old file stays whole. */
static void no_memory(void **state) {
    (void)state;
    struct bp_safetensors *file;
    bp_status status = BP_RESOURCE;
    assert_int_equal(write_sample(), BP_OK);
    long n = 0;
    for (; status != BP_OK; n++) {
        bp_memory_fail_after(n);
        status = bp_safetensors_write(path, tensors, N_TENSORS, texts, N_TEXTS);
        bp_memory_fail_after(-1);
        assert_true(status == BP_OK || status == BP_RESOURCE);
        assert_int_equal(bp_safetensors_open(&file, path), BP_OK);
        assert_same(file);
        bp_safetensors_close(file);
    }
    assert_true(n > 3);
    uint8_t *whole, *moved;
    size_t count;
    assert_int_equal(bp_file_read(path, 1 << 20, BP_MODEL, &whole, &count), BP_OK);
    assert_int_equal(bp_alloc(&moved, count + 1, "a test"), BP_OK);
    memcpy(moved + 1, whole, count);
    for (int from_file = 0; from_file < 2; from_file++) {
        status = BP_RESOURCE;
        for (n = 0; status != BP_OK; n++) {
            bp_memory_fail_after(n);
            status = from_file ? bp_safetensors_open(&file, path)
                               : bp_safetensors_parse(&file, moved + 1, count, "moved");
            bp_memory_fail_after(-1);
            assert_true(status == BP_OK || (status == BP_RESOURCE && file == NULL));
        }
        assert_true(n > 3);
        assert_same(file);
        bp_safetensors_close(file);
    }
    bp_free(moved);
    bp_free(whole);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),         cmocka_unit_test(empty_file_set),
        cmocka_unit_test(exact_bytes),        cmocka_unit_test(any_alignment),
        cmocka_unit_test(truncated_anywhere), cmocka_unit_test(missing_file),
        cmocka_unit_test(writer_refuses),     cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
