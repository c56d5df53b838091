#define _POSIX_C_SOURCE 200809L
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/status.h"
#include "unit/data_files.h"
#include "unit/picture_sets.h"

static void make_parents(char *path) {
    for (char *slash = path + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = 0;
        mkdir(path, 0777);
        *slash = '/';
    }
}

void picture_write_bytes(const char *folder, const char *name, const void *bytes, size_t count) {
    char path[1400];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    make_parents(path);
    data_write(path, bytes, count);
}

void picture_write(const char *folder, const char *name, unsigned class_number, unsigned number) {
    size_t h = number % 3 == 1 ? 24 : 32, w = number % 3 == 2 ? 20 : 40;
    uint8_t *pixels = malloc(h * w * 3);
    picture_draw(pixels, h, w, class_number, number);
    size_t length = strlen(name);
    int jpeg = length > 4 && strcmp(name + length - 4, ".jpg") == 0;
    struct picture_bytes file =
        jpeg ? picture_make_jpeg(
                   &(struct picture_jpeg){.h = h, .w = w, .c = 3, .pixels = pixels, .quality = 90})
             : picture_make_png(&(struct picture_png){
                   .h = h, .w = w, .kind = PICTURE_RGB, .depth = 8, .pixels = pixels});
    picture_write_bytes(folder, name, file.bytes, file.count);
    free(file.bytes);
    free(pixels);
}

void picture_write_class(const char *folder, const char *name, unsigned class_number, unsigned n) {
    for (unsigned i = 0; i < n; i++) {
        char file[256];
        snprintf(file, sizeof file, "%s/%u.%s", name, i, i % 2 ? "png" : "jpg");
        picture_write(folder, file, class_number, i);
    }
}

struct bp_dataset_options picture_options(void) {
    return (struct bp_dataset_options){
        .seed = 1, .preprocess = {.side = 16, .resize = 16}, .val_share = 0.25, .threads = 1};
}

struct bp_dataset *picture_open(const char *data, const struct bp_dataset_options *options) {
    struct bp_dataset *set;
    if (bp_dataset_open(&set, data, options) != BP_OK)
        fail_msg("%s", bp_status_message());
    return set;
}

void picture_expect_refused(const char *data, const struct bp_dataset_options *options,
                            const char *const *words) {
    struct bp_dataset *set;
    bp_status status = bp_dataset_open(&set, data, options);
    assert_null(set);
    if (status != BP_DATA)
        fail_msg("status %d: %s", status, bp_status_message());
    data_expect_message(words);
}

int picture_same_part(const struct bp_part *a, const struct bp_part *b) {
    size_t bytes = a->h * a->w * a->c;
    if (a->count != b->count || bytes != b->h * b->w * b->c ||
        memcmp(a->labels, b->labels, a->count * sizeof *a->labels) != 0)
        return 0;
    uint8_t *scratch = malloc(2 * bytes);
    int same = 1;
    for (size_t i = 0; i < a->count && same; i++) {
        const uint8_t *x, *y;
        assert_int_equal(bp_part_image(a, i, scratch, &x), BP_OK);
        assert_int_equal(bp_part_image(b, i, scratch + bytes, &y), BP_OK);
        same = memcmp(x, y, bytes) == 0;
    }
    free(scratch);
    return same;
}

void picture_expect_counts(const struct bp_part *part, size_t classes, const size_t *counts) {
    size_t total = 0;
    for (size_t i = 0; i < classes; i++) {
        size_t n = 0;
        for (size_t j = 0; j < part->count; j++)
            n += (size_t)part->labels[j] == i;
        assert_int_equal(n, counts[i]);
        total += n;
    }
    assert_int_equal(part->count, total);
}
