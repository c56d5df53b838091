/* Prediction against evaluation, its callbacks, and what fails. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file_io.h"
#include "base/memory.h"
#include "data/dataset.h"
#include "unit/data_files.h"
#include "unit/picture_sets.h"
#include "unit/train_files.h"

enum { SIDE = 8, VAL = 6, CLASSES = 3 };

struct record {
    const char *const *paths; /* NULL-ended */
    size_t asked, told, stop_after;
    size_t classes[16]; /* the likeliest one; CLASSES: an error */
    float probabilities[16];
    char error[512];
};

static const char *next_path(void *user) {
    struct record *r = user;
    return r->paths[r->asked] != NULL ? r->paths[r->asked++] : NULL;
}

static int tell(void *user, const bp_prediction *p) {
    struct record *r = user;
    assert_true(r->told < 16);
    if (p->error != NULL) {
        snprintf(r->error, sizeof r->error, "%s", p->error);
        assert_int_equal(p->n_top, 0);
        r->classes[r->told++] = CLASSES;
    } else {
        assert_int_equal(p->classes, CLASSES);
        r->probabilities[r->told] = p->probabilities[0];
        r->classes[r->told++] = p->top[0];
    }
    return r->told == r->stop_after;
}

static const char *train(const char *folder) {
    static char run[BP_PATH_BYTES];
    bp_config *config = TRAIN_CONFIG(folder, "run", "epochs", "1");
    assert_int_equal(bp_train(config, NULL, NULL, NULL), BP_OK);
    bp_config_destroy(config);
    snprintf(run, sizeof run, "%s", data_path(folder, "run"));
    return run;
}

/* The validation images as pictures of the same size: the network must see the same pixels, as the
 * images are neither stretched to its input of 32 pixels nor moved in it. */
static void test_pictures_of_images(void **state) {
    const char *folder = *state, *run = train(folder);
    struct bp_dataset *set;
    const struct bp_dataset_options options = {0};
    static char paths[VAL][BP_PATH_BYTES];
    const char *list[VAL + 1] = {NULL};
    assert_int_equal(bp_dataset_open(&set, data_path(folder, "data"), &options), BP_OK);
    for (size_t i = 0; i < VAL; i++) {
        char name[32];
        struct picture_bytes png =
            picture_make_png(&(struct picture_png){.h = SIDE,
                                                   .w = SIDE,
                                                   .kind = PICTURE_GREY,
                                                   .depth = 8,
                                                   .pixels = set->val.images + i * SIDE * SIDE});
        snprintf(name, sizeof name, "pictures/%zu.png", i);
        picture_write_bytes(folder, name, png.bytes, png.count);
        free(png.bytes);
        snprintf(paths[i], sizeof paths[i], "%s/%s", folder, name);
        list[i] = paths[i];
    }
    struct record r = {.paths = list};
    bp_predict_result result;
    bp_eval_result *eval;
    assert_int_equal(bp_predict(run, NULL, next_path, tell, &r, &result), BP_OK);
    assert_int_equal(result.pictures, VAL);
    assert_int_equal(result.failed, 0);
    assert_int_equal(bp_eval(run, data_path(folder, "data"), NULL, &eval), BP_OK);
    size_t confusion[CLASSES * CLASSES] = {0};
    for (size_t i = 0; i < VAL; i++)
        confusion[(size_t)set->val.labels[i] * CLASSES + r.classes[i]]++;
    assert_memory_equal(confusion, eval->confusion, sizeof confusion);
    bp_eval_free(eval);
    bp_dataset_destroy(set);
}

static void test_preprocess_of_images(void **state) {
    (void)state;
    const struct bp_preprocess padded = {.side = 32, .channels = 1, .image_side = 28};
    const struct bp_preprocess old = {.side = 32, .channels = 1};
    const struct bp_preprocess pictures = {.side = 64, .resize = 74, .channels = 3};
    assert_int_equal(bp_preprocess_for_pictures(&padded).resize, 28);
    assert_int_equal(bp_preprocess_for_pictures(&old).resize, 32);
    assert_int_equal(bp_preprocess_for_pictures(&pictures).resize, 74);
}

static void test_errors_and_stop(void **state) {
    const char *folder = *state, *run = train(folder);
    picture_write(folder, "a/1.png", 0, 0);
    picture_write(folder, "a/2.jpg", 1, 1);
    picture_write_bytes(folder, "a/3.png", "x", 1);
    picture_write_bytes(folder, "a/notes", "x", 1);
    picture_write_bytes(folder, "a/.4.png", "x", 1);
    const char *list[] = {data_path(folder, "a/2.jpg"), data_path(folder, "a"), NULL};
    struct record r = {.paths = list};
    bp_predict_result result;
    assert_int_equal(bp_predict(run, NULL, next_path, tell, &r, &result), BP_DATA);
    EXPECT_MESSAGE("1 of 4 pictures cannot be used");
    assert_int_equal(result.pictures, 4);
    assert_int_equal(result.failed, 1);
    assert_int_equal(result.passed_over, 1);
    assert_non_null(strstr(r.error, "a/3.png: offset 0"));
    assert_int_equal(r.classes[3], CLASSES);
    assert_int_equal(r.classes[0], r.classes[2]); /* the same picture twice */
    assert_true(r.probabilities[0] == r.probabilities[2]);
    struct record stopped = {.paths = list, .stop_after = 2};
    assert_int_equal(bp_predict(run, NULL, next_path, tell, &stopped, &result), BP_OK);
    assert_int_equal(stopped.told, 2);
    struct record nothing = {.paths = list + 2};
    assert_int_equal(bp_predict(run, NULL, next_path, tell, &nothing, NULL), BP_OK);
    assert_int_equal(bp_predict("/nowhere", NULL, next_path, tell, &nothing, NULL), BP_MODEL);
}

static void test_damaged_numbers(void **state) {
    const char *folder = *state, *run = train(folder);
    char path[BP_PATH_BYTES];
    size_t count;
    picture_write(folder, "a/1.png", 0, 0);
    assert_int_equal(bp_path_join(path, sizeof path, run, "best.ckpt"), BP_OK);
    char *bytes = train_read(folder, "run", "best.ckpt", &count);
    memset(bytes + count - 4096, 0xff, 4096); /* the last tensors: NaN */
    data_write(path, (uint8_t *)bytes, count);
    bp_free(bytes);
    const char *list[] = {data_path(folder, "a/1.png"), NULL};
    struct record r = {.paths = list};
    assert_int_equal(bp_predict(run, NULL, next_path, tell, &r, NULL), BP_MODEL);
    EXPECT_MESSAGE("no finite numbers for", "a/1.png");
}

static void test_without_memory(void **state) {
    const char *folder = *state, *run = train(folder);
    bp_config *options;
    picture_write(folder, "a/1.png", 0, 0);
    picture_write(folder, "a/b/2.jpg", 1, 1);
    picture_write_bytes(folder, "a/b/3.jpg", "x", 1);
    const char *list[] = {data_path(folder, "a"), NULL};
    bp_status status = BP_RESOURCE;
    assert_int_equal(bp_config_create(&options), BP_OK);
    assert_int_equal(bp_config_set(options, "batch", "1", "test"), BP_OK);
    assert_int_equal(bp_config_set(options, "threads", "2", "test"), BP_OK);
    for (long n = 0; status != BP_DATA; n++) {
        struct record r = {.paths = list};
        bp_memory_fail_after(n);
        status = bp_predict(run, options, next_path, tell, &r, NULL);
        bp_memory_fail_after(-1);
        if (status != BP_DATA && status != BP_RESOURCE)
            fail_msg("after %ld requests: status %d: %s", n, status, bp_last_error());
    }
    bp_config_destroy(options);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_pictures_of_images, train_folder_setup,
                                        data_folder_teardown),
        cmocka_unit_test(test_preprocess_of_images),
        cmocka_unit_test_setup_teardown(test_errors_and_stop, train_folder_setup,
                                        data_folder_teardown),
        cmocka_unit_test_setup_teardown(test_damaged_numbers, train_folder_setup,
                                        data_folder_teardown),
        cmocka_unit_test_setup_teardown(test_without_memory, train_folder_setup,
                                        data_folder_teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
