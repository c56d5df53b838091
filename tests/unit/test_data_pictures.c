/* Batches of pictures: crops, random rectangles, colours; the same on any number of workers, with
 * any share in memory, from any place on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/loader.h"
#include "data/pictures.h"
#include "unit/data_files.h"
#include "unit/data_samples.h"
#include "unit/picture_sets.h"

enum { SIDE = 16, IMAGE = SIDE * SIDE * 3, PICTURES = 24 };

static struct bp_loader_options loader_options(struct bp_augment augment) {
    return (struct bp_loader_options){.batch = 5,
                                      .height = SIDE,
                                      .width = SIDE,
                                      .channels = 3,
                                      .augment = augment,
                                      .seed = 3,
                                      .shuffle = 1,
                                      .drop_last = 1,
                                      .ahead = 2};
}

static struct bp_dataset *open_set(const char *folder, const struct bp_augment *augment,
                                   size_t cached) {
    struct bp_dataset_options options = picture_options();
    options.preprocess = bp_preprocess_choose(SIDE, augment);
    options.cache_bytes = cached * options.preprocess.resize * options.preprocess.resize * 3 + 1;
    return picture_open(folder, &options);
}

/* The images of the first `batches` batches from a place on. */
static uint8_t *take(const struct bp_part *part, struct bp_loader_options options, int workers,
                     size_t first, size_t batches) {
    uint8_t *images = malloc(batches * options.batch * IMAGE);
    options.workers = workers;
    options.first_batch = first;
    struct bp_loader *loader = data_create_loader(part, options);
    for (size_t i = 0; i < batches; i++) {
        struct bp_batch batch = data_next(loader);
        assert_int_equal(batch.n, options.batch);
        memcpy(images + i * batch.n * IMAGE, batch.images, batch.n * IMAGE);
    }
    bp_loader_destroy(loader);
    return images;
}

static void test_same_batches(void **state) {
    static const struct bp_augment augments[] = {
        {.crop_padding = 2, .flip = 1}, {.rrc_area = 0.3, .flip = 1, .jitter = 0.4}, {.jitter = 1}};
    picture_write_class(*state, "a", 0, PICTURES / 2);
    picture_write_class(*state, "b", 1, PICTURES / 2);
    uint8_t *before = NULL;
    for (size_t k = 0; k < 3; k++) {
        struct bp_loader_options options = loader_options(augments[k]);
        struct bp_dataset *all = open_set(*state, &augments[k], 1000);
        uint8_t *wanted = take(&all->train, options, 1, 0, 10);
        if (before != NULL)
            assert_memory_not_equal(wanted, before, 5 * IMAGE);
        free(before);
        before = wanted;
        for (size_t cached = 0; cached < 20; cached += 9)
            for (int workers = 1; workers <= 3; workers += 2) {
                struct bp_dataset *some = open_set(*state, &augments[k], cached);
                assert_int_equal(bp_part_in_memory(&some->train), 0);
                uint8_t *got = take(&some->train, options, workers, 0, 10);
                assert_memory_equal(got, wanted, 50 * IMAGE);
                free(got);
                got = take(&some->train, options, workers, 7, 3);
                assert_memory_equal(got, wanted + 35 * IMAGE, 15 * IMAGE);
                free(got);
                bp_dataset_destroy(some);
            }
        bp_dataset_destroy(all);
    }
    free(before);
}

/* A part that looks like pictures of 20 x 20 with a ramp along x in channel 0, along y in channel 1
 * and a constant in channel 2. */
enum { BIG = 20, STEP = 10 };
struct ramps {
    struct bp_part part;
    struct bp_pictures pictures;
    uint8_t images[PICTURES * BIG * BIG * 3];
    int32_t labels[PICTURES];
};

static struct ramps *make_ramps(void) {
    struct ramps *r = calloc(1, sizeof *r);
    for (size_t i = 0; i < PICTURES; i++) {
        r->labels[i] = (int32_t)i;
        for (size_t p = 0; p < BIG * BIG; p++) {
            uint8_t *pixel = r->images + (i * BIG * BIG + p) * 3;
            pixel[0] = (uint8_t)(STEP + STEP * (p % BIG));
            pixel[1] = (uint8_t)(STEP + STEP * (p / BIG));
            pixel[2] = 100;
        }
    }
    r->pictures.cached = PICTURES;
    r->part = (struct bp_part){.count = PICTURES,
                               .h = BIG,
                               .w = BIG,
                               .c = 3,
                               .images = r->images,
                               .labels = r->labels,
                               .pictures = &r->pictures};
    return r;
}

static const uint8_t *pixel_of(const uint8_t *image, size_t y, size_t x) {
    return image + (y * SIDE + x) * 3;
}

/* Validation: the middle. Crops: whole pixels, up to N from the middle, never an edge of zeros. */
static void test_crops(void **state) {
    (void)state;
    struct ramps *r = make_ramps();
    struct bp_loader_options options = loader_options((struct bp_augment){0});
    uint8_t *images = take(&r->part, options, 1, 0, 4);
    for (size_t i = 0; i < 20; i++) {
        assert_int_equal(pixel_of(images + i * IMAGE, 0, 0)[0], STEP + STEP * 2);
        assert_int_equal(pixel_of(images + i * IMAGE, SIDE - 1, 0)[1], STEP + STEP * 17);
    }
    free(images);
    options.augment.crop_padding = 2;
    int seen[5][5] = {{0}};
    images = take(&r->part, options, 1, 0, 40);
    for (size_t i = 0; i < 200; i++) {
        const uint8_t *first = pixel_of(images + i * IMAGE, 0, 0);
        int left = first[0] / STEP - 1, top = first[1] / STEP - 1;
        assert_in_range(left, 0, 4);
        assert_in_range(top, 0, 4);
        seen[top][left]++;
        const uint8_t *last = pixel_of(images + i * IMAGE, SIDE - 1, SIDE - 1);
        assert_int_equal(last[0], first[0] + STEP * (SIDE - 1));
        assert_int_equal(last[1], first[1] + STEP * (SIDE - 1));
    }
    for (int i = 0; i < 25; i++)
        assert_true(seen[i / 5][i % 5] > 0);
    free(images);
    free(r);
}

/* The slopes of the ramps tell the rectangle's sides, and these its area and aspect. */
static void test_random_rectangles(void **state) {
    (void)state;
    struct ramps *r = make_ramps();
    struct bp_loader_options options = loader_options((struct bp_augment){.rrc_area = 0.25});
    uint8_t *images = take(&r->part, options, 1, 0, 100);
    double least = 1, most = 0, mean = 0;
    int wide = 0, tall = 0, at_left = 0, at_right = 0;
    for (size_t i = 0; i < 500; i++) {
        const uint8_t *a = pixel_of(images + i * IMAGE, 3, 3),
                      *b = pixel_of(images + i * IMAGE, 12, 12);
        double w = (b[0] - a[0]) / 9.0 * SIDE / STEP, h = (b[1] - a[1]) / 9.0 * SIDE / STEP;
        double area = w * h / (BIG * BIG);
        int left = pixel_of(images + i * IMAGE, 0, 0)[0],
            right = pixel_of(images + i * IMAGE, 0, SIDE - 1)[0];
        assert_int_equal(a[2], 100);
        if (area < 0.25 * 0.85 || area > 1.04 || w / h > 4.0 / 3 * 1.12 || h / w > 4.0 / 3 * 1.12)
            fail_msg("%f x %f", w, h);
        least = fmin(least, area);
        most = fmax(most, area);
        mean += area / 500;
        wide += w > h + 0.9;
        tall += h > w + 0.9;
        at_left += left <= STEP + 3;
        at_right += right >= STEP * BIG - 3;
    }
    assert_true(least < 0.3 && most > 0.9 && mean > 0.54 && mean < 0.66);
    assert_true(wide > 80 && tall > 80 && at_left > 30 && at_right > 30);
    free(images);
    free(r);
}

/* Images that are smaller than the input keep their place and their edge of zeros. */
static void test_small_images(void **state) {
    (void)state;
    struct ramps *r = make_ramps();
    r->part.pictures = NULL;
    r->part.h = r->part.w = 12;
    for (size_t i = 0; i < sizeof r->images; i++)
        r->images[i] = 90;
    struct bp_loader_options options =
        loader_options((struct bp_augment){.rrc_area = 0.5, .jitter = 0.2});
    uint8_t *images = take(&r->part, options, 1, 0, 10);
    int least = 255, most = 0;
    for (size_t i = 0; i < 50; i++)
        for (size_t y = 0; y < SIDE; y++)
            for (size_t x = 0; x < SIDE; x++) {
                int value = pixel_of(images + i * IMAGE, y, x)[1];
                int inside = y >= 2 && y < 14 && x >= 2 && x < 14;
                if (!inside)
                    assert_int_equal(value, 0);
                else
                    assert_in_range(value, 71, 109); /* 90 * 0.8 .. 1.2 */
                least = inside && value < least ? value : least;
                most = value > most ? value : most;
            }
    assert_true(least < 78 && most > 102);
    free(images);
    free(r);
}

static void test_workers(void **state) {
    (void)state;
    struct ramps *r = make_ramps();
    const struct bp_augment plain = {.crop_padding = 2, .flip = 1}, heavy = {.rrc_area = 0.5};
    assert_int_equal(bp_loader_workers(&r->part, &plain, 4), 1);
    assert_int_equal(bp_loader_workers(&r->part, &heavy, 4), 4);
    r->pictures.cached--;
    assert_int_equal(bp_loader_workers(&r->part, &plain, 4), 4);
    free(r);
}

/* A file that went away ends the run with its name, on whatever worker it was found. */
static void test_file_vanishes(void **state) {
    picture_write_class(*state, "a", 0, PICTURES / 2);
    picture_write_class(*state, "b", 1, PICTURES / 2);
    const struct bp_augment none = {0};
    for (int workers = 1; workers <= 3; workers += 2) {
        struct bp_dataset *set = open_set(*state, &none, 0);
        struct bp_loader_options options = loader_options(none);
        options.workers = workers;
        char kept[1400];
        const char *path = set->train.pictures->paths[set->train.count - 1];
        snprintf(kept, sizeof kept, "%s.kept", path);
        assert_int_equal(rename(path, kept), 0);
        struct bp_loader *loader = data_create_loader(&set->train, options);
        struct bp_batch batch;
        bp_status status = BP_OK;
        for (int i = 0; i < 10 && status == BP_OK; i++)
            status = bp_loader_next(loader, &batch);
        assert_int_equal(status, BP_DATA);
        EXPECT_MESSAGE("cannot read ", path, "No such file");
        bp_loader_destroy(loader);
        assert_int_equal(rename(kept, path), 0);
        bp_dataset_destroy(set);
    }
}

/* Without a side, the pictures say it: by the median of all of them, with room for crops. */
static void test_side_from_pictures(void **state) {
    picture_write_class(*state, "a", 0, 9); /* shorter sides 32, 24, 20, 32, ... */
    picture_write_class(*state, "b", 1, 9);
    struct bp_dataset_options options = picture_options();
    options.preprocess = (struct bp_preprocess){0};
    options.augment.crop_padding = 3;
    struct bp_dataset *set = picture_open(*state, &options);
    assert_int_equal(set->median_side, 24);
    assert_int_equal(set->preprocess.side, 32);
    assert_int_equal(set->preprocess.resize, 38);
    assert_int_equal(set->train.h, 38);
    bp_dataset_destroy(set);
    options.preprocess = bp_preprocess_choose(16, &options.augment);
    set = picture_open(*state, &options);
    assert_int_equal(set->median_side, 0);
    assert_int_equal(set->preprocess.side, 16);
    bp_dataset_destroy(set);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, data_folder_setup, data_folder_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_same_batches),
        cmocka_unit_test(test_crops),
        cmocka_unit_test(test_random_rectangles),
        cmocka_unit_test(test_small_images),
        cmocka_unit_test(test_workers),
        TEST(test_file_vanishes),
        TEST(test_side_from_pictures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
