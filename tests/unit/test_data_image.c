/* Decoding of pictures: every kind that the tests can encode, EXIF, scaling. */
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

static struct bp_image decoded(struct picture_bytes file, const struct bp_image_request *request) {
    struct bp_image image, header;
    if (bp_image_decode(file.bytes, file.count, "p", request, &image) != BP_OK)
        fail_msg("%s", bp_status_message());
    assert_int_equal(bp_image_probe(file.bytes, file.count, "p", request, &header), BP_OK);
    assert_null(header.pixels);
    assert_int_equal(header.c, image.c);
    free(file.bytes);
    return image;
}

static void expect_near(const struct bp_image *image, const uint8_t *wanted, size_t h, size_t w,
                        size_t c, int tolerance) {
    assert_int_equal(image->h, h);
    assert_int_equal(image->w, w);
    assert_int_equal(image->c, c);
    for (size_t i = 0; i < h * w * c; i++)
        if (abs(image->pixels[i] - wanted[i]) > tolerance)
            fail_msg("byte %zu: %d, expected %d", i, image->pixels[i], wanted[i]);
}

static void test_jpeg_kinds(void **state) {
    (void)state;
    uint8_t pixels[H * W * 3];
    for (int kind = 0; kind < 4; kind++) {
        int c = kind & 1 ? 3 : 1;
        picture_gradient(pixels, H, W, (size_t)c);
        struct bp_image image =
            decoded(picture_make_jpeg(&(struct picture_jpeg){
                        .h = H, .w = W, .c = c, .pixels = pixels, .progressive = kind >> 1}),
                    &whole);
        expect_near(&image, pixels, H, W, (size_t)c, 3);
        bp_free(image.pixels);
    }
}

/* Inks as stored (inverted with the Adobe mark); the light that is left is the product. */
static void test_jpeg_inks(void **state) {
    (void)state;
    uint8_t inks[H * W * 4], wanted[H * W * 3];
    picture_gradient(inks, H, W, 4);
    for (int kind = 0; kind < 3; kind++) {
        int no_adobe = kind == 2;
        for (size_t i = 0; i < H * W; i++)
            for (size_t c = 0; c < 3; c++) {
                int light = inks[4 * i + c], key = inks[4 * i + 3];
                wanted[3 * i + c] =
                    (uint8_t)(no_adobe ? (255 - light) * (255 - key) / 255 : light * key / 255);
            }
        struct bp_image image = decoded(
            picture_make_jpeg(&(struct picture_jpeg){
                .h = H, .w = W, .c = 4, .pixels = inks, .ycck = kind == 1, .no_adobe = no_adobe}),
            &whole);
        expect_near(&image, wanted, H, W, 3, 5);
        bp_free(image.pixels);
    }
}

/* Row y and column x of the upright picture, in the stored one: written out from the standard's
 * table, not computed as image.c does. */
static void stored_place(int orientation, size_t h, size_t w, size_t y, size_t x, size_t *v,
                         size_t *u) {
    switch (orientation) {
    case 1:
        *v = y, *u = x;
        break;
    case 2:
        *v = y, *u = w - 1 - x;
        break;
    case 3:
        *v = h - 1 - y, *u = w - 1 - x;
        break;
    case 4:
        *v = h - 1 - y, *u = x;
        break;
    case 5:
        *v = x, *u = y;
        break;
    case 6:
        *v = h - 1 - x, *u = y;
        break;
    case 7:
        *v = h - 1 - x, *u = w - 1 - y;
        break;
    default:
        *v = x, *u = w - 1 - y;
        break;
    }
}

static void expect_turned(const struct bp_image *image, const uint8_t *stored, int orientation,
                          int tolerance) {
    int swapped = orientation >= 5;
    uint8_t wanted[H * W * 3];
    size_t h = swapped ? W : H, w = swapped ? H : W;
    for (size_t y = 0; y < h; y++)
        for (size_t x = 0; x < w; x++) {
            size_t v, u;
            stored_place(orientation, H, W, y, x, &v, &u);
            memcpy(wanted + (y * w + x) * 3, stored + (v * W + u) * 3, 3);
        }
    expect_near(image, wanted, h, w, 3, tolerance);
}

static void test_orientations(void **state) {
    (void)state;
    uint8_t pixels[H * W * 3], exif[PICTURE_EXIF_BYTES];
    picture_gradient(pixels, H, W, 3);
    for (int orientation = 1; orientation <= 8; orientation++)
        for (int little = 0; little < 2; little++) {
            picture_make_exif(exif, orientation, little);
            struct bp_image image =
                decoded(picture_make_jpeg(&(struct picture_jpeg){.h = H,
                                                                 .w = W,
                                                                 .c = 3,
                                                                 .pixels = pixels,
                                                                 .exif = exif,
                                                                 .exif_count = sizeof exif}),
                        &whole);
            expect_turned(&image, pixels, orientation, 3);
            bp_free(image.pixels);
            image = decoded(picture_make_png(&(struct picture_png){
                                .h = H,
                                .w = W,
                                .kind = PICTURE_RGB,
                                .depth = 8,
                                .pixels = pixels,
                                .exif = exif + PICTURE_EXIF_MARK,
                                .exif_count = sizeof exif - PICTURE_EXIF_MARK}),
                            &whole);
            expect_turned(&image, pixels, orientation, 0);
            bp_free(image.pixels);
        }
}

static void test_exif_mistakes(void **state) {
    (void)state;
    uint8_t exif[PICTURE_EXIF_BYTES];
    const uint8_t *tiff = exif + PICTURE_EXIF_MARK;
    size_t count = sizeof exif - PICTURE_EXIF_MARK;
    picture_make_exif(exif, 6, 1);
    assert_int_equal(bp_exif_orientation(tiff, count), 6);
    for (size_t cut = 0; cut < 22; cut++) /* behind the one entry nothing is needed */
        assert_int_equal(bp_exif_orientation(tiff, cut), 1);
    static const struct {
        size_t at;
        uint8_t value;
    } changes[] = {{0, 'X'},   {2, 43}, {4, 200}, {7, 255}, {8, 0},
                   {10, 0x13}, {12, 4}, {14, 2},  {18, 0},  {18, 9}};
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        picture_make_exif(exif, 6, 1);
        exif[PICTURE_EXIF_MARK + changes[i].at] = changes[i].value;
        assert_int_equal(bp_exif_orientation(tiff, count), 1);
    }
}

/* Every kind of PNG, against what its samples mean. */
static void test_png_kinds(void **state) {
    (void)state;
    static const struct {
        enum picture_png_kind kind;
        int depth;
    } kinds[] = {{PICTURE_GREY, 1}, {PICTURE_GREY, 2},       {PICTURE_GREY, 4},
                 {PICTURE_GREY, 8}, {PICTURE_GREY, 16},      {PICTURE_RGB, 8},
                 {PICTURE_RGB, 16}, {PICTURE_GREY_ALPHA, 8}, {PICTURE_GREY_ALPHA, 16},
                 {PICTURE_RGBA, 8}, {PICTURE_RGBA, 16}};
    for (size_t k = 0; k < 2 * sizeof kinds / sizeof kinds[0]; k++) {
        enum picture_png_kind kind = kinds[k / 2].kind;
        int depth = kinds[k / 2].depth, alpha = kind >= PICTURE_GREY_ALPHA;
        size_t colours = kind == PICTURE_RGB || kind == PICTURE_RGBA ? 3 : 1;
        size_t c = colours + (size_t)alpha, bytes = depth == 16 ? 2 : 1;
        uint8_t pixels[H * W * 8], wanted[H * W * 3];
        for (size_t i = 0; i < H * W * c * bytes; i++)
            pixels[i] = (uint8_t)((i * 37 + i / 91) % (depth < 8 ? 1u << depth : 256u));
        for (size_t i = 0; i < H * W; i++)
            for (size_t j = 0; j < colours; j++) {
                const uint8_t *pixel = pixels + i * c * bytes;
                double value = pixel[j * bytes], a = pixel[(c - 1) * bytes];
                if (depth < 8)
                    value = value * 255 / ((1 << depth) - 1);
                if (depth == 16) {
                    value = (256 * value + pixel[j * 2 + 1]) / 257;
                    a = (256 * a + pixel[(c - 1) * 2 + 1]) / 257;
                }
                wanted[i * colours + j] =
                    (uint8_t)(0.5 + (alpha ? (value * a + 255 * (255 - a)) / 255 : value));
            }
        struct bp_image image =
            decoded(picture_make_png(&(struct picture_png){.h = H,
                                                           .w = W,
                                                           .kind = kind,
                                                           .depth = depth,
                                                           .pixels = pixels,
                                                           .interlaced = k % 2 == 1}),
                    &whole);
        expect_near(&image, wanted, H, W, colours, depth == 16 && alpha ? 1 : 0);
        bp_free(image.pixels);
    }
}

static void test_png_palettes(void **state) {
    (void)state;
    static const uint8_t palette[] = {10, 20, 30, 200, 100, 0, 0, 0, 255, 90, 90, 90};
    static const uint8_t alpha[] = {255, 0, 128};
    uint8_t pixels[H * W], wanted[H * W * 3];
    for (int with_alpha = 0; with_alpha < 2; with_alpha++) {
        for (size_t i = 0; i < H * W; i++) {
            size_t entry = pixels[i] = (uint8_t)((i + i / 7) % 4);
            int a = with_alpha && entry < 3 ? alpha[entry] : 255;
            for (size_t c = 0; c < 3; c++)
                wanted[3 * i + c] =
                    (uint8_t)((palette[3 * entry + c] * a + 255 * (255 - a) + 127) / 255);
        }
        struct bp_image image =
            decoded(picture_make_png(&(struct picture_png){.h = H,
                                                           .w = W,
                                                           .kind = PICTURE_PALETTE,
                                                           .depth = 2,
                                                           .pixels = pixels,
                                                           .palette = palette,
                                                           .n_palette = 4,
                                                           .alpha = alpha,
                                                           .n_alpha = with_alpha ? 3 : 0}),
                    &whole);
        expect_near(&image, wanted, H, W, 3, 0);
        bp_free(image.pixels);
    }
}

/* Scaled decoding keeps at least the sides that are asked for. */
static void test_jpeg_scaling(void **state) {
    (void)state;
    enum { BIG_H = 200, BIG_W = 330 };
    static uint8_t pixels[BIG_H * BIG_W];
    for (size_t i = 0; i < sizeof pixels; i++)
        pixels[i] = (uint8_t)(i % BIG_W / 2 + i / BIG_W / 3);
    static const struct {
        size_t least, h, w;
    } sizes[] = {{0, 200, 330}, {101, 200, 330}, {100, 100, 165},
                 {50, 50, 83},  {25, 25, 42},    {1, 25, 42}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct bp_image image = decoded(picture_make_jpeg(&(struct picture_jpeg){
                                            .h = BIG_H, .w = BIG_W, .c = 1, .pixels = pixels}),
                                        &(struct bp_image_request){.least_side = sizes[i].least});
        assert_int_equal(image.h, sizes[i].h);
        assert_int_equal(image.w, sizes[i].w);
        int middle = image.pixels[image.h / 2 * image.w + image.w / 2];
        assert_true(abs(middle - (BIG_W / 4 + BIG_H / 6)) < 4);
        bp_free(image.pixels);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_jpeg_kinds),   cmocka_unit_test(test_jpeg_inks),
        cmocka_unit_test(test_orientations), cmocka_unit_test(test_exif_mistakes),
        cmocka_unit_test(test_png_kinds),    cmocka_unit_test(test_png_palettes),
        cmocka_unit_test(test_jpeg_scaling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
