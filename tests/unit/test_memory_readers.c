/* Every reader with every request for memory refused: out of memory, and never a damaged file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file_io.h"
#include "base/fnv.h"
#include "base/memory.h"
#include "data/image.h"
#include "io/safetensors.h"
#include "train/checkpoint.h"
#include "train/config.h"
#include "unit/data_files.h"
#include "unit/failing_memory.h"
#include "unit/picture_sets.h"
#include "unit/train_files.h"

/* --- data sets -------------------------------------------------------------------------------- */

struct data_case {
    const char *path;
    struct bp_dataset_options options;
};

static void hash_part(const struct bp_part *part, uint64_t *digest) {
    *digest = bp_fnv(*digest, part->labels, part->count * sizeof *part->labels);
    *digest = bp_fnv(*digest, part->images, part->count * part->h * part->w * part->c);
}

static bp_status open_data(void *context, uint64_t *digest) {
    const struct data_case *data = context;
    struct bp_bad_files bad = {0};
    struct bp_dataset_options options = data->options;
    struct bp_dataset *set;
    options.bad = &bad;
    bp_status status = bp_dataset_open(&set, data->path, &options);
    assert_true((set != NULL) == (status == BP_OK));
    *digest = bp_fnv(BP_FNV_BEGIN, &bad.count, sizeof bad.count);
    if (status == BP_OK) {
        hash_part(&set->train, digest);
        hash_part(&set->val, digest);
        for (size_t i = 0; i < set->classes; i++)
            *digest = bp_fnv(*digest, set->class_names[i], strlen(set->class_names[i]));
    }
    bp_dataset_destroy(set);
    bp_bad_files_free(&bad);
    return status;
}

static void sweep_data(const char *path, const struct bp_dataset_options *options, long least) {
    struct data_case data = {path, *options};
    failing_memory_sweep(open_data, &data, least);
}

static void test_idx(void **state) {
    const struct data_set plain = {.train = 6, .val = 3, .h = 4, .w = 4, .classes = 3};
    struct data_set packed = plain;
    packed.gz = 1;
    const struct bp_dataset_options options = {.limit_train = 4, .seed = 1};
    for (int i = 0; i < 2; i++) {
        char folder[BP_PATH_BYTES];
        snprintf(folder, sizeof folder, "%s/%d", (const char *)*state, i);
        assert_int_equal(bp_dir_create(folder), BP_OK);
        data_write_set(folder, i == 0 ? &plain : &packed);
        sweep_data(folder, &options, 10);
    }
}

static void test_cifar(void **state) {
    static uint8_t record[3073]; /* label 0 and a black image */
    static const char names[] = "plane\ncar\n";
    const struct bp_dataset_options options = {.seed = 1};
    data_write(data_path(*state, "data_batch_1.bin"), record, sizeof record);
    data_write(data_path(*state, "data_batch_2.bin"), record, sizeof record);
    data_write(data_path(*state, "test_batch.bin"), record, sizeof record);
    data_write(data_path(*state, "batches.meta.txt"), (const uint8_t *)names, sizeof names - 1);
    sweep_data(*state, &options, 20);
}

static void test_folder(void **state) {
    picture_write_class(*state, "train/cat", 0, 3);
    picture_write_class(*state, "train/dog", 1, 3);
    picture_write_class(*state, "val/cat", 0, 1);
    picture_write_class(*state, "val/dog", 1, 1);
    picture_write_bytes(*state, "train/cat/broken.jpg", "\xff\xd8\xff no", 6);
    struct bp_dataset_options options = picture_options();
    options.skip_bad = 1;
    sweep_data(*state, &options, 50);
}

static void test_list(void **state) {
    static const char lines[] = "path,label\np/0.jpg,cat\np/1.png,dog\np/2.jpg,cat\nq/1.png,dog\n";
    picture_write_class(*state, "p", 0, 3);
    picture_write_class(*state, "q", 1, 2);
    picture_write_bytes(*state, "list.csv", lines, sizeof lines - 1);
    struct bp_dataset_options options = picture_options();
    sweep_data(data_path(*state, "list.csv"), &options, 30);
}

/* --- pictures --------------------------------------------------------------------------------- */

enum { H = 9, W = 13 };

static bp_status decode(void *context, uint64_t *digest) {
    const struct picture_bytes *file = context;
    const struct bp_image_request request = {0};
    struct bp_image image = {0};
    bp_status status = bp_image_decode(file->bytes, file->count, "picture", &request, &image);
    assert_true((image.pixels != NULL) == (status == BP_OK));
    if (status == BP_OK)
        *digest = bp_fnv(BP_FNV_BEGIN, image.pixels, image.h * image.w * image.c);
    bp_free(image.pixels);
    return status;
}

static void sweep_picture(struct picture_bytes file) {
    failing_memory_sweep(decode, &file, 2);
    free(file.bytes);
}

static uint8_t pixels[H * W * 8]; /* no two alike, so that a lost orientation shows */

static int fill_pixels(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof pixels; i++)
        pixels[i] = (uint8_t)(i * 37 % 251);
    return 0;
}

static void test_jpeg(void **state) {
    (void)state;
    sweep_picture(
        picture_make_jpeg(&(struct picture_jpeg){.h = H, .w = W, .c = 1, .pixels = pixels}));
    sweep_picture(picture_make_jpeg(
        &(struct picture_jpeg){.h = H, .w = W, .c = 3, .pixels = pixels, .progressive = 1}));
    sweep_picture(
        picture_make_jpeg(&(struct picture_jpeg){.h = H, .w = W, .c = 4, .pixels = pixels}));
}

static void test_png(void **state) {
    (void)state;
    static const enum picture_png_kind kinds[] = {PICTURE_GREY, PICTURE_RGB, PICTURE_GREY_ALPHA,
                                                  PICTURE_RGBA};
    for (int interlaced = 0; interlaced < 2; interlaced++)
        for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
            sweep_picture(picture_make_png(&(struct picture_png){.h = H,
                                                                 .w = W,
                                                                 .kind = kinds[i],
                                                                 .depth = 16,
                                                                 .pixels = pixels,
                                                                 .interlaced = interlaced}));
    static const uint8_t palette[256 * 3] = {1, 2, 3, 4, 5, 6}, alpha[1] = {7};
    sweep_picture(picture_make_png(&(struct picture_png){.h = H,
                                                         .w = W,
                                                         .kind = PICTURE_PALETTE,
                                                         .depth = 8,
                                                         .pixels = pixels,
                                                         .palette = palette,
                                                         .n_palette = 256,
                                                         .alpha = alpha,
                                                         .n_alpha = 1}));
}

static void test_exif(void **state) {
    (void)state;
    uint8_t exif[PICTURE_EXIF_BYTES];
    picture_make_exif(exif, 6, 1);
    sweep_picture(picture_make_jpeg(&(struct picture_jpeg){
        .h = H, .w = W, .c = 3, .pixels = pixels, .exif = exif, .exif_count = sizeof exif}));
    sweep_picture(
        picture_make_png(&(struct picture_png){.h = H,
                                               .w = W,
                                               .kind = PICTURE_RGB,
                                               .depth = 8,
                                               .pixels = pixels,
                                               .exif = exif + PICTURE_EXIF_MARK,
                                               .exif_count = sizeof exif - PICTURE_EXIF_MARK}));
}

/* --- models ----------------------------------------------------------------------------------- */

static bp_status open_safetensors(void *context, uint64_t *digest) {
    struct bp_safetensors *file;
    bp_status status = bp_safetensors_open(&file, context);
    assert_true((file != NULL) == (status == BP_OK));
    *digest = BP_FNV_BEGIN;
    for (size_t i = 0; status == BP_OK && i < bp_safetensors_count(file); i++)
        *digest =
            bp_fnv(*digest, bp_safetensors_at(file, i)->data, bp_safetensors_at(file, i)->bytes);
    bp_safetensors_close(file);
    return status;
}

static bp_status open_checkpoint(void *context, uint64_t *digest) {
    struct bp_checkpoint *checkpoint;
    bp_status status = bp_checkpoint_open(&checkpoint, context);
    assert_true((checkpoint != NULL) == (status == BP_OK));
    if (status == BP_OK) {
        const struct bp_checkpoint_head *head = bp_checkpoint_head_of(checkpoint);
        *digest = bp_fnv(BP_FNV_BEGIN, head->config, strlen(head->config));
        *digest = bp_fnv(*digest, &head->progress, sizeof head->progress);
        for (size_t i = 0; i < head->classes; i++)
            *digest = bp_fnv(*digest, head->class_names[i], strlen(head->class_names[i]));
    }
    bp_checkpoint_close(checkpoint);
    return status;
}

static void test_models(void **state) {
    char path[BP_PATH_BYTES];
    bp_config *config = TRAIN_CONFIG(*state, "run", "steps", "1");
    assert_int_equal(bp_train(config, NULL, NULL, NULL), BP_OK);
    bp_config_destroy(config);
    snprintf(path, sizeof path, "%s/run/last.ckpt", (const char *)*state);
    failing_memory_sweep(open_safetensors, path, 4);
    failing_memory_sweep(open_checkpoint, path, 10);
}

/* A tensor that has to be copied, as it does not lie aligned for its type. */
static void test_safetensors(void **state) {
    static const char header[] = "{\"__metadata__\":{\"key\":\"text\"},"
                                 "\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}} ";
    uint8_t bytes[256] = {sizeof header - 1};
    memcpy(bytes + 8, header, sizeof header - 1);
    char path[BP_PATH_BYTES];
    snprintf(path, sizeof path, "%s/unaligned", (const char *)*state);
    for (size_t padding = 0; padding < 2; padding++) {
        bytes[0] = (uint8_t)(sizeof header - 1 - padding);
        data_write(path, bytes, 8 + bytes[0] + 4);
        failing_memory_sweep(open_safetensors, path, 4);
    }
}

/* --- configs ---------------------------------------------------------------------------------- */

static bp_status load_config(void *context, uint64_t *digest) {
    bp_config *config;
    char *after;
    BP_TRY(bp_config_create(&config));
    bp_status status = bp_config_set(config, "epochs", "9", "command line");
    bp_status loaded = status == BP_OK ? bp_config_load_json(config, context) : status;
    if (status == BP_OK && loaded != BP_OK) { /* as it was, then */
        assert_string_equal(bp_config_get(config, "epochs"), "9");
        assert_false(bp_config_is_set(config, "model"));
        assert_false(bp_config_is_set(config, "batch"));
    }
    if (loaded == BP_OK)
        loaded = bp_config_to_json(config, &after);
    if (loaded == BP_OK) {
        *digest = bp_fnv(BP_FNV_BEGIN, after, strlen(after));
        bp_free(after);
    }
    bp_config_destroy(config);
    return loaded;
}

static void test_config(void **state) {
    static const char text[] = "{\"model\": \"resnet18\", \"batch\": 32, \"epochs\": 3, \"lr\": "
                               "0.25, \"nesterov\": true, \"data\": \"a\\u00e4\", \"run\": null}";
    char path[BP_PATH_BYTES];
    snprintf(path, sizeof path, "%s/config.json", (const char *)*state);
    assert_int_equal(bp_file_write_text(path, text), BP_OK);
    failing_memory_sweep(load_config, path, 20);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, data_folder_setup, data_folder_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_idx),
        TEST(test_cifar),
        TEST(test_jpeg),
        TEST(test_png),
        TEST(test_exif),
        TEST(test_list),
        TEST(test_folder),
        TEST(test_safetensors),
        TEST(test_config),
        cmocka_unit_test_setup_teardown(test_models, train_folder_setup, data_folder_teardown),
    };
    return cmocka_run_group_tests(tests, fill_pixels, NULL);
}
