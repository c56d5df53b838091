#define _POSIX_C_SOURCE 200809L /* nanosleep */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/memory.h"
#include "data/loader.h"
#include "unit/data_files.h"
#include "unit/data_samples.h"

static void test_file_order(void **state) {
    (void)state;
    struct data_samples *made = data_make_part(10, 1);
    struct bp_loader *loader = data_create_loader(&made->part, data_plain_options(4));
    assert_int_equal(bp_loader_batches(loader), 3);
    for (uint32_t epoch = 0; epoch < 3; epoch++)
        for (size_t b = 0; b < 3; b++) {
            struct bp_batch batch = data_next(loader);
            assert_int_equal(batch.epoch, epoch);
            assert_int_equal(batch.index, b);
            assert_int_equal(batch.n, b == 2 ? 2 : 4);
            assert_int_equal(batch.last, b == 2);
            assert_memory_equal(batch.labels, made->labels + 4 * b, batch.n * sizeof(int32_t));
            assert_memory_equal(batch.images, made->images + 4 * b * DATA_H * DATA_W,
                                batch.n * DATA_H * DATA_W);
        }
    bp_loader_destroy(loader);
    free(made);
}

static void test_permutation(void **state) {
    (void)state;
    uint32_t order[DATA_MOST], again[DATA_MOST];
    for (size_t count = 1; count <= DATA_MOST; count += 101) {
        int seen[DATA_MOST] = {0};
        bp_loader_permutation(5, 3, count, order);
        for (size_t i = 0; i < count; i++) {
            assert_in_range(order[i], 0, count - 1);
            assert_int_equal(seen[order[i]]++, 0);
        }
    }
    bp_loader_permutation(5, 3, DATA_MOST, again);
    assert_memory_equal(order, again, sizeof order);
    bp_loader_permutation(5, 4, DATA_MOST, again);
    assert_memory_not_equal(order, again, sizeof order);
    bp_loader_permutation(6, 3, DATA_MOST, again);
    assert_memory_not_equal(order, again, sizeof order);
}

/* Every sample lands on every place about as often: six standard errors. */
static void test_permutation_is_uniform(void **state) {
    (void)state;
    enum { N = 6, EPOCHS = 6000 };
    int landed[N][N] = {{0}};
    for (uint32_t epoch = 0; epoch < EPOCHS; epoch++) {
        uint32_t order[N];
        bp_loader_permutation(1, epoch, N, order);
        for (size_t i = 0; i < N; i++)
            landed[i][order[i]]++;
    }
    double p = 1.0 / N;
    for (size_t i = 0; i < N * N; i++)
        assert_true(fabs(landed[i / N][i % N] - EPOCHS * p) < 6 * sqrt(EPOCHS * p * (1 - p)));
}

static void test_each_sample_once(void **state) {
    (void)state;
    struct data_samples *made = data_make_part(DATA_MOST, 1);
    for (int drop_last = 0; drop_last < 2; drop_last++) {
        struct bp_loader_options options = data_plain_options(20);
        options.shuffle = 1;
        options.drop_last = drop_last;
        struct bp_loader *loader = data_create_loader(&made->part, options);
        assert_int_equal(bp_loader_batches(loader), drop_last ? 10 : 11);
        for (uint32_t epoch = 0; epoch < 2; epoch++) {
            uint32_t order[DATA_MOST];
            size_t count = 0;
            bp_loader_permutation(options.seed, epoch, DATA_MOST, order);
            for (size_t b = 0; b < bp_loader_batches(loader); b++) {
                struct bp_batch batch = data_next(loader);
                for (size_t i = 0; i < batch.n; i++) {
                    assert_int_equal(batch.labels[i], order[count]);
                    assert_memory_equal(batch.images + i * DATA_H * DATA_W,
                                        made->images + order[count++] * DATA_H * DATA_W,
                                        DATA_H * DATA_W);
                }
                assert_int_equal(batch.last, b + 1 == bp_loader_batches(loader));
            }
            assert_int_equal(count, drop_last ? 200 : DATA_MOST);
        }
        bp_loader_destroy(loader);
    }
    free(made);
}

static struct bp_loader_options rich_options(void) {
    return (struct bp_loader_options){.batch = 16,
                                      .height = DATA_H + 3,
                                      .width = DATA_W + 4,
                                      .channels = 3,
                                      .augment = {.crop_padding = 2, .flip = 1},
                                      .seed = 99,
                                      .shuffle = 1,
                                      .ahead = 1};
}

/* Copies `count` batches from the loader: images and labels of all of them, one after another. */
static uint8_t *collect(struct bp_loader *loader, size_t count, size_t *bytes) {
    size_t image = (DATA_H + 3) * (DATA_W + 4) * 3;
    uint8_t *all = malloc(count * 16 * (image + sizeof(int32_t)));
    *bytes = 0;
    for (size_t i = 0; i < count; i++) {
        struct bp_batch batch = data_next(loader);
        memcpy(all + *bytes, batch.images, batch.n * image);
        *bytes += batch.n * image;
        memcpy(all + *bytes, batch.labels, batch.n * sizeof(int32_t));
        *bytes += batch.n * sizeof(int32_t);
    }
    return all;
}

/* Neither how far the worker runs ahead nor where the run began changes a byte. */
static void test_deterministic(void **state) {
    (void)state;
    enum { TOTAL = 30 }; /* 13 batches per epoch */
    struct data_samples *made = data_make_part(DATA_MOST, 1);
    struct bp_loader_options options = rich_options();
    struct bp_loader *loader = data_create_loader(&made->part, options);
    size_t all_bytes, bytes;
    uint8_t *all = collect(loader, TOTAL, &all_bytes);
    bp_loader_destroy(loader);
    for (options.ahead = 2; options.ahead < 40; options.ahead *= 4) {
        loader = data_create_loader(&made->part, options);
        uint8_t *same = collect(loader, TOTAL, &bytes);
        assert_int_equal(bytes, all_bytes);
        assert_memory_equal(same, all, bytes);
        free(same);
        bp_loader_destroy(loader);
    }
    for (size_t begin = 1; begin < TOTAL; begin++) {
        options.ahead = 1 + begin % 3;
        options.first_epoch = begin % 2 == 0 ? (uint32_t)(begin / 13) : 0;
        options.first_batch = begin % 2 == 0 ? begin % 13 : begin; /* also past the epoch's end */
        loader = data_create_loader(&made->part, options);
        uint8_t *tail = collect(loader, TOTAL - begin, &bytes);
        assert_memory_equal(tail, all + all_bytes - bytes, bytes);
        free(tail);
        bp_loader_destroy(loader);
    }
    options = rich_options();
    options.seed++;
    loader = data_create_loader(&made->part, options);
    uint8_t *other = collect(loader, TOTAL, &bytes);
    assert_memory_not_equal(other, all, bytes);
    free(other);
    bp_loader_destroy(loader);
    free(all);
    free(made);
}

/* The augmentation of a sample does not depend on the batch it comes in. */
static void test_independent_of_batch_size(void **state) {
    (void)state;
    struct data_samples *made = data_make_part(20, 1);
    struct bp_loader_options options = rich_options();
    size_t image = (DATA_H + 3) * (DATA_W + 4) * 3;
    options.batch = 20;
    struct bp_loader *whole = data_create_loader(&made->part, options);
    options.batch = 1;
    struct bp_loader *single = data_create_loader(&made->part, options);
    struct bp_batch all = data_next(whole);
    for (size_t i = 0; i < 20; i++) {
        struct bp_batch one = data_next(single);
        assert_int_equal(one.labels[0], all.labels[i]);
        assert_memory_equal(one.images, all.images + i * image, image);
    }
    bp_loader_destroy(whole);
    bp_loader_destroy(single);
    free(made);
}

/* A batch stays untouched until the next call, however far the worker could run. */
static void test_batch_stays_valid(void **state) {
    (void)state;
    struct data_samples *made = data_make_part(DATA_MOST, 1);
    struct bp_loader_options options = data_plain_options(8);
    options.shuffle = 1;
    options.ahead = 1;
    struct bp_loader *loader = data_create_loader(&made->part, options);
    for (int i = 0; i < 200; i++) {
        struct bp_batch batch = data_next(loader);
        for (int look = 0; look < 3; look++)
            for (size_t j = 0; j < batch.n; j++)
                assert_memory_equal(batch.images + j * DATA_H * DATA_W,
                                    made->images + batch.labels[j] * DATA_H * DATA_W,
                                    DATA_H * DATA_W);
    }
    bp_loader_destroy(loader);
    free(made);
}

static void test_destroy_at_any_moment(void **state) {
    (void)state;
    struct data_samples *made = data_make_part(DATA_MOST, 1);
    for (size_t taken = 0; taken < 60; taken++) {
        struct bp_loader_options options = rich_options();
        options.ahead = 1 + taken % 5;
        struct bp_loader *loader = data_create_loader(&made->part, options);
        for (size_t i = 0; i < taken % 7; i++)
            data_next(loader);
        bp_loader_destroy(loader);
    }
    bp_loader_destroy(NULL);
    free(made);
}

/* A worker without a free slot uses no processor time. Other load only lengthens the naps; a
 * spinning worker would use all of them. */
static void test_full_ring_sleeps(void **state) {
    (void)state;
    struct data_samples *made = data_make_part(DATA_MOST, 1);
    struct bp_loader *loader = data_create_loader(&made->part, data_plain_options(8));
    data_next(loader);
    double cpu_before = bp_clock_cpu_seconds();
    uint64_t begin = bp_clock_ns();
    struct timespec nap = {0, 50000000};
    for (int i = 0; i < 6; i++)
        nanosleep(&nap, NULL);
    double slept = 1e-9 * (double)(bp_clock_ns() - begin);
    assert_true(bp_clock_cpu_seconds() - cpu_before < 0.5 * slept);
    uint64_t waited = bp_loader_waited_ns(loader);
    data_next(loader);
    assert_true(bp_loader_waited_ns(loader) >= waited);
    bp_loader_destroy(loader);
    free(made);
}

static void expect_refused(const struct bp_part *part, struct bp_loader_options options,
                           bp_status expected, const char *first, const char *second) {
    struct bp_loader *loader;
    assert_int_equal(bp_loader_create(&loader, part, &options), expected);
    assert_null(loader);
    EXPECT_MESSAGE(first, second);
}

static void test_refusals(void **state) {
    (void)state;
    struct data_samples *grey = data_make_part(10, 1), *rgb = data_make_part(10, 3);
    struct bp_loader_options o = data_plain_options(4);
    o.height = DATA_H - 1;
    expect_refused(&grey->part, o, BP_DATA, "6x5", "5x5");
    o = data_plain_options(4);
    o.width = DATA_W - 1;
    expect_refused(&grey->part, o, BP_DATA, "do not fit", "--size 6");
    expect_refused(&rgb->part, data_plain_options(4), BP_DATA, "3 channels", "network with 1");
    o = data_plain_options(4);
    o.channels = 2;
    expect_refused(&grey->part, o, BP_DATA, "1 channels", "network with 2");
    o = data_plain_options(11);
    o.drop_last = 1;
    expect_refused(&grey->part, o, BP_USAGE, "11", "--batch");
    expect_refused(&grey->part, data_plain_options(0), BP_USAGE, "batch is 0", "batch >= 1");
    o = data_plain_options(4);
    o.ahead = 0;
    expect_refused(&grey->part, o, BP_USAGE, "ahead 0", "ahead 1");
    o = data_plain_options(4);
    o.augment.crop_padding = -1;
    expect_refused(&grey->part, o, BP_USAGE, "crop padding -1", "0 to 5");
    o.augment.crop_padding = DATA_W + 1;
    expect_refused(&grey->part, o, BP_USAGE, "crop padding 6", "0 to 5");
    o = data_plain_options(4);
    o.height = SIZE_MAX;
    expect_refused(&grey->part, o, BP_USAGE, "too large", "at most");
    struct bp_part empty = grey->part;
    empty.count = 0;
    expect_refused(&empty, data_plain_options(4), BP_DATA, "0 samples", "possible");
    free(grey);
    free(rgb);
}

static void test_memory_failures(void **state) {
    (void)state;
    struct data_samples *made = data_make_part(10, 1);
    struct bp_loader_options options = data_plain_options(4);
    bp_status status = BP_RESOURCE;
    long allowed = 0;
    for (; status != BP_OK; allowed++) {
        struct bp_loader *loader;
        assert_true(allowed < 50);
        bp_memory_fail_after(allowed);
        status = bp_loader_create(&loader, &made->part, &options);
        bp_memory_fail_after(-1);
        assert_true(status == BP_OK || (status == BP_RESOURCE && loader == NULL));
        if (status == BP_OK) { /* batches need no memory */
            bp_memory_fail_after(0);
            for (int i = 0; i < 20; i++)
                data_next(loader);
            bp_memory_fail_after(-1);
        }
        bp_loader_destroy(loader);
    }
    assert_true(allowed > 5);
    free(made);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_file_order),
        cmocka_unit_test(test_permutation),
        cmocka_unit_test(test_permutation_is_uniform),
        cmocka_unit_test(test_each_sample_once),
        cmocka_unit_test(test_deterministic),
        cmocka_unit_test(test_independent_of_batch_size),
        cmocka_unit_test(test_batch_stays_valid),
        cmocka_unit_test(test_destroy_at_any_moment),
        cmocka_unit_test(test_full_ring_sleeps),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_memory_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
