/* Pictures that are cut, changed, bombs, or none: refused with position and reason. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/memory.h"
#include "data/image.h"
#include "unit/data_files.h"
#include "unit/picture_files.h"

enum { H = 21, W = 34 };

static const struct bp_image_request whole = {0};

static void expect_broken(const uint8_t *bytes, size_t count, const char *const *words) {
    struct bp_image image;
    uint8_t *exact = malloc(count + 1);
    memcpy(exact, bytes, count);
    bp_status status = bp_image_decode(exact, count, "some.jpg", &whole, &image);
    if (status != BP_DATA)
        fail_msg("accepted %zu bytes, status %d", count, status);
    assert_null(image.pixels);
    data_expect_message(words);
    free(exact);
}

static struct picture_bytes sample(int kind) {
    static uint8_t pixels[H * W * 3];
    picture_gradient(pixels, H, W, 3);
    if (kind < 2)
        return picture_make_jpeg(
            &(struct picture_jpeg){.h = H, .w = W, .c = 3, .pixels = pixels, .progressive = kind});
    return picture_make_png(&(struct picture_png){
        .h = H, .w = W, .kind = PICTURE_RGB, .depth = 8, .pixels = pixels, .interlaced = kind - 2});
}

/* Cut anywhere, a file is broken, and the message says where it ends. */
static void test_truncated(void **state) {
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        struct picture_bytes file = sample(kind);
        for (size_t cut = 0; cut < file.count; cut++)
            expect_broken(file.bytes, cut, (const char *const[]){"some.jpg: ", NULL});
        for (size_t cut = 20; cut < file.count; cut += 97) {
            char where[64];
            snprintf(where, sizeof where, "some.jpg: offset %zu: the file ends too early", cut);
            expect_broken(file.bytes, cut, (const char *const[]){where, NULL});
        }
        free(file.bytes);
    }
}

/* Pixels that the decoder would have to make up: the file ends in the middle, but in order. */
static void test_pixels_missing(void **state) {
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        struct picture_bytes file = sample(kind);
        size_t middle = file.count * 3 / 4;
        memcpy(file.bytes + middle, "\xff\xd9", 2);
        expect_broken(file.bytes, middle + 2, (const char *const[]){"some.jpg: offset ", NULL});
        free(file.bytes);
    }
}

/* Any byte may be changed: then a picture comes out, or a message. */
static void test_changed_bytes(void **state) {
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        struct picture_bytes file = sample(kind);
        for (size_t i = 0; i < file.count; i++)
            for (unsigned change = 1; change < 256; change = 3 * change + 1) {
                struct bp_image image;
                const struct bp_image_request small = {.most_pixels = 1 << 20};
                file.bytes[i] = (uint8_t)(file.bytes[i] ^ change);
                bp_status status = bp_image_decode(file.bytes, file.count, "p", &small, &image);
                assert_true(status == BP_OK || status == BP_DATA);
                bp_free(image.pixels);
                file.bytes[i] = (uint8_t)(file.bytes[i] ^ change);
            }
        free(file.bytes);
    }
}

static void test_strangers(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t count;
        const char *word;
    } strangers[] = {{"", 0, "the file is empty"},
                     {"\xff", 1, "neither JPEG nor PNG"},
                     {"hello", 5, "begins with 0x68 0x65: neither JPEG nor PNG"},
                     {"GIF89a", 6, "a GIF picture"},
                     {"BM1234", 6, "a BMP picture"},
                     {"RIFF1234WEBPVP8 ", 16, "a WebP picture"},
                     {"II*\0abc", 7, "a TIFF picture"},
                     {"MM\0*abc", 7, "a TIFF picture"},
                     {"MMabcd", 6, "neither JPEG nor PNG"},
                     {"%PDF-1.4", 8, "a PDF document"},
                     {"<html>", 6, "a page of the web"}};
    for (size_t i = 0; i < sizeof strangers / sizeof strangers[0]; i++)
        expect_broken((const uint8_t *)strangers[i].bytes, strangers[i].count,
                      (const char *const[]){"some.jpg: ", strangers[i].word, NULL});
}

/* A header that promises a gigantic picture is refused before memory is taken. */
static void test_bombs(void **state) {
    (void)state;
    struct picture_bytes jpeg = sample(0), png = sample(2);
    for (size_t i = 0; i + 9 < jpeg.count; i++) /* the sizes stand behind the frame's mark */
        if (jpeg.bytes[i] == 0xff && jpeg.bytes[i + 1] == 0xc0)
            memcpy(jpeg.bytes + i + 5, "\xff\xdc\xff\xdc", 4);
    expect_broken(jpeg.bytes, jpeg.count,
                  (const char *const[]){"65500 x 65500 pixels, more than 100 million", NULL});
    memcpy(png.bytes + 16, "\0\0\xff\xdc\0\0\xff\xdc", 8);
    uint32_t check = (uint32_t)crc32(0, png.bytes + 12, 17); /* of the chunk's name and content */
    for (size_t i = 0; i < 4; i++)
        png.bytes[29 + i] = (uint8_t)(check >> (24 - 8 * i));
    expect_broken(png.bytes, png.count,
                  (const char *const[]){"65500 x 65500 pixels, more than 100 million", NULL});
    free(jpeg.bytes);
    free(png.bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_truncated),     cmocka_unit_test(test_pixels_missing),
        cmocka_unit_test(test_changed_bytes), cmocka_unit_test(test_strangers),
        cmocka_unit_test(test_bombs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
