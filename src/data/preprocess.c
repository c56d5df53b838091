#include "data/preprocess.h"

#include "base/memory.h"
#include "data/image_resize.h"

struct bp_preprocess bp_preprocess_choose(size_t side, const struct bp_augment *augment) {
    struct bp_preprocess p = {.side = side, .resize = side};
    if (augment->crop_padding > 0)
        p.resize += 2 * (size_t)augment->crop_padding;
    else if (augment->rrc_area > 0)
        p.resize = (p.side * 115 + 50) / 100; /* crops of less than all keep some detail */
    return p;
}

size_t bp_picture_side(size_t shorter) {
    static const size_t sides[] = {32, 48, 64};
    const size_t n = sizeof sides / sizeof sides[0];
    for (size_t i = 0; i + 1 < n && shorter > 0; i++)
        if (2 * shorter <= sides[i] + sides[i + 1])
            return sides[i];
    return sides[n - 1];
}

struct bp_preprocess bp_preprocess_for_pictures(const struct bp_preprocess *trained) {
    struct bp_preprocess p = *trained;
    if (p.resize == 0)
        p.resize = p.image_side > 0 ? p.image_side : p.side;
    return p;
}

static uint8_t luma(const uint8_t *rgb) {
    return (uint8_t)((299u * rgb[0] + 587u * rgb[1] + 114u * rgb[2] + 500) / 1000);
}

static void convert(const uint8_t *in, size_t in_c, size_t pixels, uint8_t *out, size_t out_c) {
    for (size_t i = 0; i < pixels; i++) {
        if (in_c > out_c)
            out[i] = luma(in + 3 * i);
        else
            out[3 * i] = out[3 * i + 1] = out[3 * i + 2] = in[i];
    }
}

/* The middle square of the picture, resampled. */
static bp_status resize_square(const struct bp_image *image, const struct bp_preprocess *p,
                               uint8_t *out) {
    size_t side = image->h < image->w ? image->h : image->w;
    size_t top = (image->h - side) / 2, left = (image->w - side) / 2;
    const struct bp_view square = {image->pixels + (top * image->w + left) * image->c, side, side,
                                   image->c, image->w};
    size_t scratch_bytes = bp_resize_scratch_bytes(side, side, image->c, p->resize, p->resize);
    size_t pixels = p->resize * p->resize;
    int same = image->c == p->channels;
    uint8_t *scratch;
    BP_TRY(bp_alloc(&scratch, scratch_bytes + pixels * image->c, "a picture"));
    uint8_t *resized = same ? out : scratch + scratch_bytes;
    bp_resize(&square, p->resize, p->resize, resized, scratch);
    if (!same)
        convert(resized, image->c, pixels, out, p->channels);
    bp_free(scratch);
    return BP_OK;
}

bp_status bp_preprocess_picture(const struct bp_preprocess *preprocess, const uint8_t *bytes,
                                size_t count, const char *name, uint8_t *out) {
    const struct bp_image_request request = {.least_side = preprocess->resize};
    struct bp_image image;
    BP_TRY(bp_image_decode(bytes, count, name, &request, &image));
    bp_status status = resize_square(&image, preprocess, out);
    bp_free(image.pixels);
    return status;
}

static uint8_t clamp(int value) {
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

/* from + (value - from) * factor / 256, rounded; never shifts a negative number. */
static uint8_t stretch(int value, int from, int factor) {
    return clamp(from + ((value - from) * factor + 128 + 256 * 1024) / 256 - 1024);
}

void bp_jitter(uint8_t *image, size_t pixels, size_t c, int brightness, int contrast,
               int saturation) {
    uint64_t sum = 0;
    for (size_t i = 0; i < pixels * c; i++)
        image[i] = stretch(image[i], 0, brightness);
    for (size_t i = 0; i < pixels; i++)
        sum += c == 3 ? luma(image + 3 * i) : image[i];
    int mean = (int)((sum + pixels / 2) / pixels);
    for (size_t i = 0; i < pixels * c; i++)
        image[i] = stretch(image[i], mean, contrast);
    for (size_t i = 0; c == 3 && i < pixels; i++) {
        int grey = luma(image + 3 * i);
        for (size_t j = 0; j < 3; j++)
            image[3 * i + j] = stretch(image[3 * i + j], grey, saturation);
    }
}
