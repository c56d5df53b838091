/* Draws pictures for the program's tests and for the fuzzers' corpora.
 *
 * draw_pictures folder DIR CLASSES COUNT SIDE   DIR/shape1/000.jpg and so on: COUNT pictures of
 * each class, shorter side SIDE, every third one a PNG draw_pictures kinds DIR one small file of
 * each kind that is read */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "unit/picture_files.h"

static void save(const char *folder, const char *name, struct picture_bytes file) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *out = fopen(path, "wb");
    if (out == NULL || fwrite(file.bytes, 1, file.count, out) != file.count || fclose(out) != 0) {
        perror(path);
        exit(1);
    }
    free(file.bytes);
}

static void draw_one(const char *folder, unsigned class_number, unsigned number, size_t side) {
    size_t h = number % 2 ? side : side * 4 / 3, w = number % 2 ? side * 3 / 2 : side;
    uint8_t *pixels = malloc(h * w * 3);
    char name[32];
    picture_draw(pixels, h, w, class_number, number);
    snprintf(name, sizeof name, "%03u.%s", number, number % 3 == 2 ? "png" : "jpg");
    save(folder, name,
         number % 3 == 2 ? picture_make_png(&(struct picture_png){
                               .h = h, .w = w, .kind = PICTURE_RGB, .depth = 8, .pixels = pixels})
                         : picture_make_jpeg(&(struct picture_jpeg){
                               .h = h, .w = w, .c = 3, .pixels = pixels, .quality = 90}));
    free(pixels);
}

static void draw_folder(const char *folder, unsigned classes, unsigned count, size_t side) {
    char path[2048];
    mkdir(folder, 0777);
    for (unsigned k = 0; k < classes; k++) {
        snprintf(path, sizeof path, "%s/shape%u", folder, k + 1);
        mkdir(path, 0777);
        for (unsigned i = 0; i < count; i++)
            draw_one(path, k, i, side);
    }
}

enum { H = 11, W = 17 };

static void draw_jpegs(const char *folder, uint8_t *pixels) {
    uint8_t exif[PICTURE_EXIF_BYTES];
    static const char *const names[] = {"grey", "", "colour", "inks"};
    picture_make_exif(exif, 6, 0);
    for (int c = 1; c <= 4; c += c == 1 ? 2 : 1)
        for (int kind = 0; kind < 4; kind++) {
            char name[64];
            struct picture_jpeg jpeg = {.h = H,
                                        .w = W,
                                        .c = c,
                                        .pixels = pixels,
                                        .quality = kind == 1 ? 0 : 80,
                                        .progressive = kind == 2,
                                        .ycck = c == 4 && kind == 3,
                                        .exif = kind == 3 ? exif : NULL,
                                        .exif_count = sizeof exif};
            snprintf(name, sizeof name, "%s-%d.jpg", names[c - 1], kind);
            save(folder, name, picture_make_jpeg(&jpeg));
        }
}

static void draw_pngs(const char *folder, uint8_t *pixels) {
    static const struct {
        const char *name;
        enum picture_png_kind kind;
        int depth;
    } kinds[] = {{"grey-1", PICTURE_GREY, 1},     {"grey-4", PICTURE_GREY, 4},
                 {"grey-8", PICTURE_GREY, 8},     {"grey-16", PICTURE_GREY, 16},
                 {"rgb-8", PICTURE_RGB, 8},       {"rgb-16", PICTURE_RGB, 16},
                 {"palette", PICTURE_PALETTE, 2}, {"grey-alpha", PICTURE_GREY_ALPHA, 8},
                 {"rgba", PICTURE_RGBA, 8},       {"rgba-16", PICTURE_RGBA, 16}};
    static const uint8_t palette[] = {10, 20, 30, 200, 100, 0, 0, 0, 255, 90, 90, 90};
    static const uint8_t alpha[] = {255, 0, 128};
    uint8_t exif[PICTURE_EXIF_BYTES], samples[H * W * 8];
    picture_make_exif(exif, 8, 1);
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        char name[64];
        int depth = kinds[k].depth, indexed = kinds[k].kind == PICTURE_PALETTE;
        for (size_t i = 0; i < sizeof samples; i++)
            samples[i] =
                (uint8_t)(depth < 8 ? pixels[i % (H * W)] >> (8 - depth) : pixels[i % (H * W * 4)]);
        struct picture_png png = {.h = H,
                                  .w = W,
                                  .kind = kinds[k].kind,
                                  .depth = depth,
                                  .pixels = samples,
                                  .interlaced = k % 2 == 1,
                                  .palette = palette,
                                  .n_palette = indexed ? 4 : 0,
                                  .alpha = alpha,
                                  .n_alpha = indexed ? 3 : 0,
                                  .exif = k == 4 ? exif + PICTURE_EXIF_MARK : NULL,
                                  .exif_count = sizeof exif - PICTURE_EXIF_MARK};
        snprintf(name, sizeof name, "%s.png", kinds[k].name);
        save(folder, name, picture_make_png(&png));
    }
}

int main(int argc, char **argv) {
    if (argc == 6 && strcmp(argv[1], "folder") == 0) {
        draw_folder(argv[2], (unsigned)strtoul(argv[3], NULL, 10),
                    (unsigned)strtoul(argv[4], NULL, 10), strtoul(argv[5], NULL, 10));
    } else if (argc == 3 && strcmp(argv[1], "kinds") == 0) {
        uint8_t pixels[H * W * 4];
        mkdir(argv[2], 0777);
        for (size_t i = 0; i < sizeof pixels; i++)
            pixels[i] = (uint8_t)(30 + i % W * 9 + i / W * 3);
        draw_jpegs(argv[2], pixels);
        draw_pngs(argv[2], pixels);
    } else {
        fprintf(stderr, "usage: draw_pictures folder DIR CLASSES COUNT SIDE | kinds DIR\n");
        return 2;
    }
    return 0;
}
