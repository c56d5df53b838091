/* What the loader makes of an image: padding, channels, crop and flip. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>

#include "data/loader.h"
#include "unit/data_samples.h"

/* Pixel (y, x, c) of the sample, shifted by (dy, dx) and mirrored, or 0 outside. */
static int expected_pixel(const struct bp_part *part, size_t sample, long y, long x, size_t c) {
    if (y < 0 || x < 0 || y >= (long)part->h || x >= (long)part->w)
        return 0;
    size_t at = ((sample * part->h + (size_t)y) * part->w + (size_t)x) * part->c;
    return part->images[at + (part->c == 1 ? 0 : c)];
}

static int image_equals(const struct bp_part *part, const struct bp_loader_options *o,
                        const uint8_t *image, size_t sample, long top, long left, int mirrored) {
    for (size_t y = 0; y < o->height; y++)
        for (size_t x = 0; x < o->width; x++)
            for (size_t c = 0; c < o->channels; c++) {
                long column = (long)(mirrored ? o->width - 1 - x : x) - left;
                int expected = expected_pixel(part, sample, (long)y - top, column, c);
                if (image[(y * o->width + x) * o->channels + c] != expected)
                    return 0;
            }
    return 1;
}

static void test_padding_and_channels(void **state) {
    (void)state;
    static const size_t channels[3][2] = {{1, 1}, {1, 3}, {3, 3}};
    for (size_t k = 0; k < 3; k++) {
        struct data_samples *made = data_make_part(7, channels[k][0]);
        struct bp_loader_options options = data_plain_options(3);
        options.channels = channels[k][1];
        for (size_t more = 0; more < 4; more++) {
            options.height = DATA_H + more;
            options.width = DATA_W + 2 * more;
            struct bp_loader *loader = data_create_loader(&made->part, options);
            for (size_t i = 0; i < 12; i++) { /* slots are used again: old bytes must not show */
                struct bp_batch batch = data_next(loader);
                for (size_t j = 0; j < batch.n; j++)
                    assert_true(image_equals(
                        &made->part, &options,
                        batch.images + j * options.height * options.width * options.channels,
                        (size_t)batch.labels[j], (long)more / 2, (long)more, 0));
            }
            bp_loader_destroy(loader);
        }
        free(made);
    }
}

/* Every augmented image is one of the (2p + 1)^2 * 2 possible ones, and all of them come up about
 * as often: six standard errors. */
static void test_augmentation(void **state) {
    (void)state;
    enum { P = 2, CHOICES = (2 * P + 1) * (2 * P + 1) * 2, EPOCHS = 40 };
    struct data_samples *made = data_make_part(DATA_MOST, 3);
    struct bp_loader_options options = data_plain_options(DATA_MOST);
    options.channels = 3;
    options.height = DATA_H + 1;
    options.augment = (struct bp_augment){.crop_padding = P, .flip = 1};
    struct bp_loader *loader = data_create_loader(&made->part, options);
    int chosen[CHOICES] = {0};
    size_t image = options.height * options.width * 3;
    for (int epoch = 0; epoch < EPOCHS; epoch++) {
        struct bp_batch batch = data_next(loader);
        for (size_t i = 0; i < batch.n; i++) {
            int found = -1;
            for (int choice = 0; choice < CHOICES && found < 0; choice++)
                if (image_equals(&made->part, &options, batch.images + i * image,
                                 (size_t)batch.labels[i], choice / 2 % (2 * P + 1) - P,
                                 choice / 2 / (2 * P + 1) - P, choice % 2))
                    found = choice;
            assert_true(found >= 0);
            chosen[found]++;
        }
    }
    double n = DATA_MOST * EPOCHS, p = 1.0 / CHOICES;
    for (int choice = 0; choice < CHOICES; choice++)
        assert_true(fabs(chosen[choice] - n * p) < 6 * sqrt(n * p * (1 - p)));
    bp_loader_destroy(loader);
    free(made);
}

static void test_flip_alone_and_crop_alone(void **state) {
    (void)state;
    struct data_samples *made = data_make_part(100, 1);
    struct bp_loader_options options = data_plain_options(100);
    options.augment = (struct bp_augment){.flip = 1};
    struct bp_loader *loader = data_create_loader(&made->part, options);
    struct bp_batch batch = data_next(loader);
    int mirrored = 0;
    for (size_t i = 0; i < 100; i++) {
        int flip =
            image_equals(&made->part, &options, batch.images + i * DATA_H * DATA_W, i, 0, 0, 1);
        assert_true(flip || image_equals(&made->part, &options, batch.images + i * DATA_H * DATA_W,
                                         i, 0, 0, 0));
        mirrored += flip;
    }
    assert_in_range(mirrored, 20, 80);
    bp_loader_destroy(loader);
    options.augment = (struct bp_augment){
        .crop_padding = DATA_H < DATA_W ? DATA_H : DATA_W}; /* the picture may vanish */
    loader = data_create_loader(&made->part, options);
    batch = data_next(loader);
    for (size_t i = 0; i < 100; i++) {
        int found = 0;
        for (long top = -DATA_H; top <= DATA_H && !found; top++)
            for (long left = -DATA_W; left <= DATA_W && !found; left++)
                found = image_equals(&made->part, &options, batch.images + i * DATA_H * DATA_W, i,
                                     top, left, 0);
        assert_true(found);
    }
    bp_loader_destroy(loader);
    free(made);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_padding_and_channels),
        cmocka_unit_test(test_augmentation),
        cmocka_unit_test(test_flip_alone_and_crop_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
