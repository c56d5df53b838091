#include "data/sample.h"

#include <math.h>
#include <string.h>

#include "base/bits.h"
#include "base/rng.h"
#include "data/image_resize.h"

/* Random numbers of a sample: stream 0 has 4 words each (crop and flip), stream 1 has 8. */
enum { WORDS_MOVE = 4, WORDS_LOOK = 8 };

/* n pixels of a row; grey ones are repeated to RGB, a mirrored row is written backwards. */
static void put_row(uint8_t *out, const uint8_t *in, size_t n, size_t in_c, size_t out_c,
                    int mirrored) {
    if (!mirrored && in_c == out_c) {
        memcpy(out, in, n * in_c);
        return;
    }
    for (size_t x = 0; x < n; x++) {
        uint8_t *pixel = out + (mirrored ? n - 1 - x : x) * out_c;
        for (size_t c = 0; c < out_c; c++)
            pixel[c] = in[x * in_c + (in_c == 1 ? 0 : c)];
    }
}

/* The part of 0 .. length - 1 of the source that is visible when it begins at `at` (may be
 * negative) of 0 .. room - 1. */
static void visible(long at, size_t length, size_t room, size_t *begin, size_t *end) {
    long last = (long)room - at;
    *begin = at < 0 ? (size_t)-at : 0;
    *end = last < 0 ? 0 : (size_t)last < length ? (size_t)last : length;
    if (*begin > *end)
        *begin = *end;
}

/* Lays the image's top left corner on (top, left) of the input; what it does not cover is zero. */
static void put_image(const struct bp_view *image, long top, long left, int mirrored,
                      const struct bp_sample_options *o, uint8_t *out) {
    size_t y0, y1, x0, x1;
    visible(top, image->h, o->height, &y0, &y1);
    visible(left, image->w, o->width, &x0, &x1);
    size_t column = (size_t)(left + (long)x0); /* of the first visible pixel in the output */
    if (mirrored)
        column = o->width - column - (x1 - x0);
    if (y1 - y0 != o->height || x1 - x0 != o->width)
        memset(out, 0, o->height * o->width * o->channels);
    for (size_t y = y0; y < y1 && x0 < x1; y++)
        put_row(out + (((size_t)(top + (long)y)) * o->width + column) * o->channels,
                image->pixels + (y * image->stride + x0) * image->c, x1 - x0, image->c, o->channels,
                mirrored);
}

static size_t clamp_side(double side, size_t most) {
    double rounded = floor(side + 0.5);
    return rounded < 1 ? 1 : rounded > (double)most ? most : (size_t)rounded;
}

/* A rectangle of random area and aspect, anywhere in the image. Only operations that IEEE 754 fixes
 * to the bit are used. */
static struct bp_view random_rectangle(const struct bp_view *image, double least_area,
                                       const struct bp_stream *stream, uint64_t word) {
    double area = least_area + (1 - least_area) * (double)bp_stream_uniform(stream, word);
    double aspect = 1 + (double)bp_stream_uniform(stream, word + 1) / 3;
    if (bp_stream_below(stream, word + 2, 2))
        aspect = 1 / aspect;
    area *= (double)image->h * (double)image->w;
    struct bp_view view = *image;
    view.h = clamp_side(sqrt(area / aspect), image->h);
    view.w = clamp_side(sqrt(area * aspect), image->w);
    size_t top = bp_stream_below(stream, word + 3, (uint32_t)(image->h - view.h + 1));
    size_t left = bp_stream_below(stream, word + 4, (uint32_t)(image->w - view.w + 1));
    view.pixels += (top * image->stride + left) * image->c;
    return view;
}

/* A factor of 1 - most .. 1 + most, in 1/256. */
static int random_factor(double most, const struct bp_stream *stream, uint64_t word) {
    return (int)floor(256 * (1 + most * (2 * (double)bp_stream_uniform(stream, word) - 1)) + 0.5);
}

struct scratch {
    uint8_t *decoded, *changed;
    void *resize;
};

size_t bp_sample_scratch_bytes(const struct bp_part *part, size_t height, size_t width) {
    size_t image = bp_round_up(part->h * part->w * part->c, 64);
    size_t h = bp_min_size(part->h, height), w = bp_min_size(part->w, width);
    return 2 * image + bp_resize_scratch_bytes(part->h, part->w, part->c, h, w);
}

/* Random rectangle and colours: the result lies in scratch. */
static void change(struct bp_view *image, uint32_t sample, const struct bp_sample_options *o,
                   const struct scratch *scratch) {
    struct bp_stream stream = bp_stream_make(o->seed, BP_RANDOM_AUGMENT, 1, o->epoch);
    uint64_t word = WORDS_LOOK * (uint64_t)sample;
    struct bp_view view = *image;
    if (o->augment.rrc_area > 0) {
        view = random_rectangle(image, o->augment.rrc_area, &stream, word);
        image->h = bp_min_size(image->h, o->height);
        image->w = bp_min_size(image->w, o->width);
    }
    bp_resize(&view, image->h, image->w, scratch->changed, scratch->resize);
    image->pixels = scratch->changed;
    image->stride = image->w;
    double jitter = o->augment.jitter;
    if (jitter > 0)
        bp_jitter(scratch->changed, image->h * image->w, image->c,
                  random_factor(jitter, &stream, word + 5),
                  random_factor(jitter, &stream, word + 6),
                  random_factor(jitter, &stream, word + 7));
}

bp_status bp_sample_prepare(const struct bp_part *part, uint32_t sample,
                            const struct bp_sample_options *o, uint8_t *out, void *scratch) {
    size_t bytes = bp_round_up(part->h * part->w * part->c, 64);
    const struct scratch s = {scratch, (uint8_t *)scratch + bytes, (uint8_t *)scratch + 2 * bytes};
    struct bp_view image = {NULL, part->h, part->w, part->c, part->w};
    BP_TRY(bp_part_image(part, sample, s.decoded, &image.pixels));
    if (o->augment.rrc_area > 0 || o->augment.jitter > 0)
        change(&image, sample, o, &s);
    long top = ((long)o->height - (long)image.h) / 2, left = ((long)o->width - (long)image.w) / 2;
    int mirrored = 0;
    if (o->augment.crop_padding > 0 || o->augment.flip) {
        struct bp_stream stream = bp_stream_make(o->seed, BP_RANDOM_AUGMENT, 0, o->epoch);
        uint64_t word = WORDS_MOVE * (uint64_t)sample;
        uint32_t positions = 2 * (uint32_t)o->augment.crop_padding + 1;
        top += o->augment.crop_padding - (long)bp_stream_below(&stream, word, positions);
        left += o->augment.crop_padding - (long)bp_stream_below(&stream, word + 1, positions);
        mirrored = o->augment.flip && bp_stream_below(&stream, word + 2, 2);
    }
    put_image(&image, top, left, mirrored, o, out);
    return BP_OK;
}
