/* Pictures that the tests themselves encode. Failures abort: these are tests' tools, also of the
 * program that draws folders for the command line's tests. */
#ifndef PICTURE_FILES_H
#define PICTURE_FILES_H

#include <stddef.h>
#include <stdint.h>

struct picture_bytes {
    uint8_t *bytes; /* free */
    size_t count;
};

struct picture_jpeg {
    size_t h, w;
    int c;                 /* of pixels: 1 grey, 3 RGB, 4 CMYK as stored */
    const uint8_t *pixels; /* [h][w][c] */
    int quality;           /* 0: 100 */
    int progressive, ycck; /* ycck: of 4 channels */
    int no_adobe;          /* of 4 channels: without the Adobe mark */
    const uint8_t *exif;   /* "Exif\0\0" and a TIFF block; or NULL */
    size_t exif_count;
};
struct picture_bytes picture_make_jpeg(const struct picture_jpeg *jpeg);

enum picture_png_kind { /* colour types of PNG */
                        PICTURE_GREY = 0,
                        PICTURE_RGB = 2,
                        PICTURE_PALETTE = 3,
                        PICTURE_GREY_ALPHA = 4,
                        PICTURE_RGBA = 6
};
struct picture_png {
    size_t h, w;
    enum picture_png_kind kind;
    int depth;             /* 1, 2, 4, 8, 16; below 8 one byte a pixel all the same */
    const uint8_t *pixels; /* [h][w][channels], 16 bits big-endian */
    int interlaced;
    const uint8_t *palette; /* [n_palette][3] */
    int n_palette;
    const uint8_t *alpha; /* of the palette, [n_alpha] */
    int n_alpha;
    const uint8_t *exif; /* a TIFF block; or NULL */
    size_t exif_count;
};
struct picture_bytes picture_make_png(const struct picture_png *png);

/* An EXIF block ("Exif\0\0", then TIFF) with one orientation; returns its size (32). */
enum { PICTURE_EXIF_BYTES = 32, PICTURE_EXIF_MARK = 6 };
void picture_make_exif(uint8_t out[PICTURE_EXIF_BYTES], int orientation, int little);

/* A drawing that tells classes apart: discs, squares, stripes ... of the class, place, size and
 * colours from `number`. [h][w][3] into pixels. */
void picture_draw(uint8_t *pixels, size_t h, size_t w, unsigned class_number, unsigned number);

/* Smooth, so that JPEG keeps it; no symmetry, so that every turn shows. [h][w][c] into pixels. */
void picture_gradient(uint8_t *pixels, size_t h, size_t w, size_t c);

#endif
