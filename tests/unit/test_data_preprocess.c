/* Resampling against a plain model in floating point, preparation of pictures, colours. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "data/image_resize.h"
#include "data/preprocess.h"
#include "unit/data_files.h"
#include "unit/picture_files.h"

/* The weight of source pixel s for output o. */
static double weight(size_t in, size_t out, size_t o, size_t s) {
    double scale = (double)in / (double)out;
    if (in > out) { /* the share of the output's area */
        double begin = (double)o * scale, end = begin + scale;
        double low = fmax(begin, (double)s), high = fmin(end, (double)s + 1);
        return high > low ? (high - low) / scale : 0;
    }
    double at = fmin(fmax(((double)o + 0.5) * scale - 0.5, 0), (double)in - 1);
    double distance = fabs(at - (double)s);
    return distance < 1 ? 1 - distance : 0;
}

static double model(const struct bp_view *in, size_t out_h, size_t out_w, size_t y, size_t x,
                    size_t c) {
    double sum = 0;
    for (size_t v = 0; v < in->h; v++)
        for (size_t u = 0; u < in->w; u++)
            sum += weight(in->h, out_h, y, v) * weight(in->w, out_w, x, u) *
                   in->pixels[(v * in->stride + u) * in->c + c];
    return sum;
}

/* Resamples with scratch and output of exactly the promised size, so that sanitizers watch. */
static uint8_t *resized(const struct bp_view *in, size_t out_h, size_t out_w) {
    uint8_t *scratch;
    size_t bytes = bp_resize_scratch_bytes(in->h, in->w, in->c, out_h, out_w);
    assert_int_equal(bp_alloc(&scratch, bytes, "a test"), BP_OK);
    uint8_t *out = malloc(out_h * out_w * in->c);
    bp_resize(in, out_h, out_w, out, scratch);
    bp_free(scratch);
    return out;
}

static void test_resize(void **state) {
    (void)state;
    static const size_t sides[] = {1, 2, 3, 5, 8, 13, 16, 29, 64};
    enum { N = sizeof sides / sizeof sides[0], MOST = 64 };
    uint8_t pixels[MOST * MOST * 3];
    for (size_t i = 0; i < sizeof pixels; i++)
        pixels[i] = (uint8_t)(i * 73 + i / 7 * 31);
    for (size_t i = 0; i < N; i++)
        for (size_t o = 0; o < N; o++)
            for (size_t c = 1; c <= 3; c += 2) {
                struct bp_view in = {pixels, sides[i], sides[(i + 3) % N], c, MOST};
                size_t h = sides[o], w = sides[(o + 5) % N];
                uint8_t *out = resized(&in, h, w);
                for (size_t y = 0; y < h; y++)
                    for (size_t x = 0; x < w; x++)
                        for (size_t j = 0; j < c; j++) {
                            double wanted = model(&in, h, w, y, x, j);
                            int got = out[(y * w + x) * c + j];
                            if (fabs(got - wanted) > 0.5 + 0.07)
                                fail_msg("%zux%zu to %zux%zu at %zu %zu: %d, expected %f", in.h,
                                         in.w, h, w, y, x, got, wanted);
                        }
                free(out);
            }
}

/* White stays white and black black, whatever the factors: weights sum to one exactly. */
static void test_resize_keeps_flat_colours(void **state) {
    (void)state;
    uint8_t pixels[200 * 3];
    for (int value = 0; value < 256; value += 51) {
        memset(pixels, value, sizeof pixels);
        for (size_t in = 1; in <= 200; in += 7)
            for (size_t out = 1; out < 230; out += 19) {
                struct bp_view view = {pixels, 1, in, 3, in};
                uint8_t *got = resized(&view, 3, out);
                for (size_t i = 0; i < 9 * out; i++)
                    assert_int_equal(got[i], value);
                free(got);
            }
    }
}

static void test_smaller_views_need_no_more_scratch(void **state) {
    (void)state;
    for (size_t out = 1; out < 40; out += 3)
        for (size_t in = 2; in < 90; in++)
            assert_true(bp_resize_scratch_bytes(in - 1, in, 3, out, out) <=
                            bp_resize_scratch_bytes(in, in, 3, out, out) &&
                        bp_resize_scratch_bytes(in, in - 1, 3, out, out) <=
                            bp_resize_scratch_bytes(in, in, 3, out, out));
}

static void test_side(void **state) {
    (void)state;
    static const size_t cases[][2] = {{0, 64},  {1, 32},  {28, 32}, {40, 32},  {41, 48},
                                      {56, 48}, {57, 64}, {64, 64}, {4000, 64}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(bp_picture_side(cases[i][0]), cases[i][1]);
}

static void test_choice(void **state) {
    (void)state;
    static const struct {
        size_t side;
        struct bp_augment augment;
        size_t resize;
    } cases[] = {{64, {.flip = 1}, 64},
                 {128, {.jitter = 0.5}, 128},
                 {32, {.crop_padding = 4}, 40},
                 {100, {.rrc_area = 0.3}, 115}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct bp_preprocess p = bp_preprocess_choose(cases[i].side, &cases[i].augment);
        assert_int_equal(p.side, cases[i].side);
        assert_int_equal(p.resize, cases[i].resize);
    }
}

/* Left third red, middle green, right third blue: the middle square of a wide picture is green. */
static void test_middle_square(void **state) {
    (void)state;
    enum { H = 20, W = 60, SIDE = 8 };
    uint8_t pixels[H * W * 3] = {0}, out[SIDE * SIDE * 3];
    for (size_t i = 0; i < H * W; i++)
        pixels[3 * i + i % W / 20] = 200;
    struct picture_bytes file = picture_make_png(
        &(struct picture_png){.h = H, .w = W, .kind = PICTURE_RGB, .depth = 8, .pixels = pixels});
    struct bp_preprocess p = {.side = SIDE, .resize = SIDE, .channels = 3};
    assert_int_equal(bp_preprocess_picture(&p, file.bytes, file.count, "p", out), BP_OK);
    for (size_t i = 0; i < SIDE * SIDE; i++)
        assert_memory_equal(out + 3 * i, "\0\xc8\0", 3);
    p.channels = 1; /* 200 * 0.587 */
    assert_int_equal(bp_preprocess_picture(&p, file.bytes, file.count, "p", out), BP_OK);
    for (size_t i = 0; i < SIDE * SIDE; i++)
        assert_int_equal(out[i], 117);
    free(file.bytes);
    file = picture_make_png(
        &(struct picture_png){.h = H, .w = W, .kind = PICTURE_GREY, .depth = 8, .pixels = pixels});
    p.channels = 3;
    assert_int_equal(bp_preprocess_picture(&p, file.bytes, file.count, "p", out), BP_OK);
    for (size_t i = 0; i < SIDE * SIDE; i++)
        assert_true(out[3 * i] == out[3 * i + 1] && out[3 * i] == out[3 * i + 2]);
    free(file.bytes);
    assert_int_equal(bp_preprocess_picture(&p, (const uint8_t *)"x", 1, "a/p.jpg", out), BP_DATA);
    EXPECT_MESSAGE("a/p.jpg: ");
}

static void test_jitter(void **state) {
    (void)state;
    uint8_t before[] = {10, 200, 30, 255, 0, 128, 90, 90, 90, 250, 240, 5}, image[12];
    memcpy(image, before, 12);
    bp_jitter(image, 4, 3, 256, 256, 256);
    assert_memory_equal(image, before, 12);
    bp_jitter(image, 4, 3, 512, 256, 256); /* twice as bright */
    for (size_t i = 0; i < 12; i++)
        assert_int_equal(image[i], before[i] > 127 ? 255 : 2 * before[i]);
    memcpy(image, before, 12);
    bp_jitter(image, 4, 3, 256, 256, 0); /* no colour */
    for (size_t i = 0; i < 4; i++) {
        double luma = 0.299 * before[3 * i] + 0.587 * before[3 * i + 1] + 0.114 * before[3 * i + 2];
        for (size_t c = 0; c < 3; c++)
            assert_int_equal(image[3 * i + c], (int)(luma + 0.5));
    }
    memcpy(image, before, 12);
    bp_jitter(image, 12, 1, 256, 0, 0); /* no contrast: the mean */
    double mean = 0;
    for (size_t i = 0; i < 12; i++)
        mean += before[i] / 12.0;
    for (size_t i = 0; i < 12; i++)
        assert_int_equal(image[i], (int)(mean + 0.5));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_resize),
        cmocka_unit_test(test_resize_keeps_flat_colours),
        cmocka_unit_test(test_smaller_views_need_no_more_scratch),
        cmocka_unit_test(test_side),
        cmocka_unit_test(test_choice),
        cmocka_unit_test(test_middle_square),
        cmocka_unit_test(test_jitter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
