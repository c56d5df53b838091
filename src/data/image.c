#include "data/image.h"

#include <string.h>

#include "base/memory.h"
#include "data/image_codec.h"

/* What else people keep among pictures, by the first bytes. */
static const struct {
    size_t at;
    const char *magic;
    const char *what;
} strangers[] = {
    {0, "GIF8", "a GIF picture"},          {0, "BM", "a BMP picture"},
    {8, "WEBP", "a WebP picture"},         {0, "II*", "a TIFF picture"},
    {0, "MM\0*", "a TIFF picture"},        {4, "ftypheic", "a HEIC picture"},
    {4, "ftypavif", "an AVIF picture"},    {0, "%PDF", "a PDF document"},
    {0, "<!DOCTYPE", "a page of the web"}, {0, "<html", "a page of the web"},
    {0, "<svg", "an SVG drawing"},         {0, "PK\3\4", "a zip archive"},
};

static bp_status refuse_stranger(const uint8_t *bytes, size_t count, const char *name) {
    if (count == 0)
        return bp_fail(BP_DATA, "%s: the file is empty; get it again or remove it", name);
    for (size_t i = 0; i < sizeof strangers / sizeof strangers[0]; i++) {
        size_t at = strangers[i].at, length = strlen(strangers[i].magic);
        if (strcmp(strangers[i].magic, "MM") == 0)
            length = 4;
        if (count >= at + length && memcmp(bytes + at, strangers[i].magic, length) == 0)
            return bp_fail(BP_DATA,
                           "%s: offset 0: this is %s; convert it to JPEG or PNG, or remove it",
                           name, strangers[i].what);
    }
    return bp_fail(BP_DATA,
                   "%s: offset 0: begins with 0x%02x 0x%02x: neither JPEG nor PNG; convert it, or "
                   "remove it",
                   name, bytes[0], count > 1 ? bytes[1] : 0);
}

static bp_status find_codec(const uint8_t *bytes, size_t count, const char *name,
                            bp_image_codec **codec) {
    static const uint8_t jpeg[] = {0xff, 0xd8, 0xff}, png[] = {0x89, 'P', 'N', 'G'};
    *codec = NULL;
    if (count >= sizeof jpeg && memcmp(bytes, jpeg, sizeof jpeg) == 0)
        *codec = bp_jpeg_decode;
    else if (count >= sizeof png && memcmp(bytes, png, sizeof png) == 0)
        *codec = bp_png_decode;
    return *codec != NULL ? BP_OK : refuse_stranger(bytes, count, name);
}

bp_status bp_image_check_size(const char *name, size_t h, size_t w,
                              const struct bp_image_request *request) {
    size_t most = request->most_pixels > 0 ? request->most_pixels : BP_IMAGE_MOST_PIXELS;
    if (h == 0 || w == 0)
        return bp_fail(BP_DATA, "%s: the picture has %zu x %zu pixels; get it again or remove it",
                       name, w, h);
    if (h > most / w)
        return bp_fail(BP_DATA,
                       "%s: the picture has %zu x %zu pixels, more than %zu million; make it "
                       "smaller, or remove it",
                       name, w, h, most / 1000000);
    return BP_OK;
}

bp_status bp_image_decode(const uint8_t *bytes, size_t count, const char *name,
                          const struct bp_image_request *request, struct bp_image *out) {
    int orientation = 1;
    bp_image_codec *codec;
    *out = (struct bp_image){0};
    BP_TRY(find_codec(bytes, count, name, &codec));
    BP_TRY(codec(bytes, count, name, request, 0, out, &orientation));
    bp_status status = bp_image_orient(out, orientation);
    if (status != BP_OK) {
        bp_free(out->pixels);
        *out = (struct bp_image){0};
    }
    return status;
}

bp_status bp_image_probe(const uint8_t *bytes, size_t count, const char *name,
                         const struct bp_image_request *request, struct bp_image *out) {
    int orientation;
    bp_image_codec *codec;
    *out = (struct bp_image){0};
    BP_TRY(find_codec(bytes, count, name, &codec));
    return codec(bytes, count, name, request, 1, out, &orientation);
}

/* The stored picture's row 0 and column 0 are, upright: 1 top left, 2 top right, 3 bottom right,
 * 4 bottom left, 5 left top, 6 right top, 7 right bottom, 8 left bottom. */
bp_status bp_image_orient(struct bp_image *image, int orientation) {
    if (orientation <= 1 || orientation > 8)
        return BP_OK;
    size_t h = image->h, w = image->w, c = image->c;
    int swapped = orientation >= 5;
    int rows_back = orientation == 3 || orientation == 4 || orientation == 7 || orientation == 8;
    int columns_back = orientation == 2 || orientation == 3 || orientation == 6 || orientation == 7;
    size_t out_h = swapped ? w : h, out_w = swapped ? h : w;
    uint8_t *turned;
    BP_TRY(bp_alloc_array(&turned, h * w, c, "a picture"));
    for (size_t y = 0; y < out_h; y++) {
        for (size_t x = 0; x < out_w; x++) {
            size_t v = rows_back ? out_h - 1 - y : y, u = columns_back ? out_w - 1 - x : x;
            const uint8_t *from = image->pixels + (swapped ? u * w + v : v * w + u) * c;
            memcpy(turned + (y * out_w + x) * c, from, c);
        }
    }
    bp_free(image->pixels);
    *image = (struct bp_image){out_h, out_w, c, turned};
    return BP_OK;
}
