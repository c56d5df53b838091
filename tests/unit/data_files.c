#define _XOPEN_SOURCE 700
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#define ZLIB_CONST
#include <zlib.h>

#include "base/status.h"
#include "unit/data_files.h"

int data_folder_setup(void **state) {
    const char *base = getenv("TMPDIR");
    char *path = malloc(1024);
    snprintf(path, 1024, "%s/bitprop-test-XXXXXX", base != NULL ? base : "/tmp");
    if (mkdtemp(path) == NULL) {
        free(path);
        return -1;
    }
    *state = path;
    return 0;
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *walk) {
    (void)info;
    (void)type;
    (void)walk;
    return remove(path);
}

int data_folder_teardown(void **state) {
    int result = nftw(*state, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    free(*state);
    return result;
}

const char *data_path(const char *folder, const char *name) {
    static char paths[4][1200];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

void data_write(const char *path, const uint8_t *bytes, size_t count) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, count, file), count);
    assert_int_equal(fclose(file), 0);
}

size_t data_pack(const uint8_t *bytes, size_t count, uint8_t *out, size_t room) {
    z_stream z;
    memset(&z, 0, sizeof z);
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = bytes;
    z.avail_in = (uInt)count;
    z.next_out = out;
    z.avail_out = (uInt)room;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    size_t packed = room - z.avail_out;
    deflateEnd(&z);
    return packed;
}

void data_write_gz(const char *path, const uint8_t *bytes, size_t count) {
    size_t room = count + count / 100 + 1024;
    uint8_t *packed = malloc(room);
    data_write(path, packed, data_pack(bytes, count, packed, room));
    free(packed);
}

size_t data_files_in(const char *folder) {
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    size_t count = 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(dir);
    return count;
}

size_t data_idx(uint8_t *out, int dimensions, const size_t *sizes, const uint8_t *elements) {
    size_t product = 1, at = 4;
    memcpy(out, (uint8_t[]){0, 0, 8, (uint8_t)dimensions}, 4);
    for (int i = 0; i < dimensions; i++) {
        product *= sizes[i];
        for (int shift = 24; shift >= 0; shift -= 8)
            out[at++] = (uint8_t)(sizes[i] >> shift);
    }
    memcpy(out + at, elements, product);
    return at + product;
}

uint8_t data_pixel(size_t i) {
    return (uint8_t)(i * 7 + i / 256);
}

static void write_part(const char *folder, const struct data_set *set, const char *part,
                       size_t count) {
    size_t sizes[3] = {count, set->h, set->w}, pixels = count * set->h * set->w;
    uint8_t *elements = malloc(pixels + count), *bytes = malloc(pixels + count + 16);
    char name[128];
    for (int dimensions = 1; dimensions <= 3; dimensions += 2) {
        for (size_t i = 0; i < pixels; i++)
            elements[i] = data_pixel(i);
        for (size_t i = 0; dimensions == 1 && i < count; i++)
            elements[i] = (uint8_t)(i % set->classes);
        size_t size = data_idx(bytes, dimensions, sizes, elements);
        snprintf(name, sizeof name, "%s-%s%sidx%d-ubyte%s", part,
                 dimensions == 1 ? "labels" : "images", set->dots ? "." : "-", dimensions,
                 set->gz ? ".gz" : "");
        (set->gz ? data_write_gz : data_write)(data_path(folder, name), bytes, size);
    }
    free(elements);
    free(bytes);
}

void data_write_set(const char *folder, const struct data_set *set) {
    write_part(folder, set, "train", set->train);
    write_part(folder, set, "t10k", set->val);
}

int data_begin_nobody(void) {
    return geteuid() != 0 || seteuid(65534) == 0;
}

void data_end_nobody(void) {
    if (getuid() == 0)
        assert_int_equal(seteuid(0), 0);
}

void data_expect_message(const char *const *words) {
    const char *message = bp_status_message();
    for (; *words != NULL; words++)
        if (strstr(message, *words) == NULL)
            fail_msg("\"%s\" does not say \"%s\"", message, *words);
    for (const char *c = message; *c != 0; c++)
        assert_true((unsigned char)*c >= 32);
}
