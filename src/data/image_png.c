/* PNG through libpng, which reports errors by a call that must not return: it is left by longjmp,
 * so everything that must survive stands in struct decoder. */
#include <png.h>
#include <string.h>

#include "base/memory.h"
#include "data/image_codec.h"

enum { MOST_SIDE = 1000000, MOST_CHUNK_BYTES = 8 << 20, MOST_BLOCK_BYTES = 16 << 20 };

struct decoder {
    png_structp png;
    png_infop info;
    const char *name;
    const uint8_t *bytes;
    size_t count, at;
    struct bp_image image; /* c: as decoded, with alpha */
    bp_status status;
};

static void leave(struct decoder *d, bp_status status) {
    d->status = status;
    png_longjmp(d->png, 1);
}

static void on_error(png_structp png, png_const_charp reason) {
    struct decoder *d = png_get_error_ptr(png);
    if (d->status == BP_OK) /* else memory was refused, and that is the message */
        d->status = bp_fail(BP_DATA, "%s: offset %zu: %s; get the file again, or remove it",
                            d->name, d->at, reason);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp reason) {
    (void)png;
    (void)reason;
}

/* libpng takes what a chunk's length field says, for some chunks without a look at its own limit. A
 * row of MOST_SIDE pixels, the largest thing that is needed, fits. */
static png_voidp take(png_structp png, png_alloc_size_t size) {
    struct decoder *d = png_get_mem_ptr(png);
    void *block;
    if (size > MOST_BLOCK_BYTES)
        return NULL;
    bp_status status = bp_alloc(&block, size, "decoding PNG");
    if (status != BP_OK)
        d->status = status;
    return block;
}

static void give(png_structp png, png_voidp block) {
    (void)png;
    bp_free(block);
}

static void read_bytes(png_structp png, png_bytep out, size_t n) {
    struct decoder *d = png_get_io_ptr(png);
    if (n > d->count - d->at) {
        d->at = d->count;
        png_error(png, "the file ends too early");
    }
    memcpy(out, d->bytes + d->at, n);
    d->at += n;
}

static bp_status create(struct decoder *d) {
    d->png =
        png_create_read_struct_2(PNG_LIBPNG_VER_STRING, d, on_error, on_warning, d, take, give);
    d->info = d->png != NULL ? png_create_info_struct(d->png) : NULL;
    if (d->info == NULL)
        return d->status != BP_OK ? d->status
                                  : bp_fail(BP_INTERNAL, "the installed libpng is not the one that "
                                                         "this library was built for");
    return BP_OK;
}

/* Everything becomes 8-bit grey or RGB, with alpha where the file has any transparency. */
static void transform(struct decoder *d) {
    int type = png_get_color_type(d->png, d->info), depth = png_get_bit_depth(d->png, d->info);
    int grey = (type & PNG_COLOR_MASK_COLOR) == 0;
    int alpha = (type & PNG_COLOR_MASK_ALPHA) != 0;
    if (depth == 16)
        png_set_scale_16(d->png);
    if (type == PNG_COLOR_TYPE_PALETTE)
        png_set_palette_to_rgb(d->png);
    if (grey && depth < 8)
        png_set_expand_gray_1_2_4_to_8(d->png);
    if (png_get_valid(d->png, d->info, PNG_INFO_tRNS) != 0) {
        png_set_tRNS_to_alpha(d->png);
        alpha = 1;
    }
    png_set_interlace_handling(d->png);
    d->image.c = (size_t)((grey ? 1 : 3) + alpha);
}

static int orientation_of(struct decoder *d) {
    png_bytep exif;
    png_uint_32 count;
    if (png_get_eXIf_1(d->png, d->info, &count, &exif) != 0)
        return bp_exif_orientation(exif, count);
    return 1;
}

static void read_pixels(struct decoder *d) {
    struct bp_image *image = &d->image;
    int passes = png_set_interlace_handling(d->png);
    png_read_update_info(d->png, d->info);
    if (png_get_rowbytes(d->png, d->info) != image->w * image->c)
        png_error(d->png, "the colours are of an unknown kind");
    bp_status status = bp_alloc_array(&image->pixels, image->h * image->w, image->c, "a picture");
    if (status != BP_OK)
        leave(d, status);
    for (int pass = 0; pass < passes; pass++)
        for (size_t y = 0; y < image->h; y++)
            png_read_row(d->png, image->pixels + y * image->w * image->c, NULL);
    png_read_end(d->png, NULL);
}

static void decode(struct decoder *d, const struct bp_image_request *request, int header_only,
                   int *orientation) {
    if (setjmp(png_jmpbuf(d->png)) != 0)
        return;
    png_set_read_fn(d->png, d, read_bytes);
    png_set_user_limits(d->png, MOST_SIDE, MOST_SIDE);
    png_set_chunk_malloc_max(d->png, MOST_CHUNK_BYTES);
    png_read_info(d->png, d->info);
    d->image.h = png_get_image_height(d->png, d->info);
    d->image.w = png_get_image_width(d->png, d->info);
    d->status = bp_image_check_size(d->name, d->image.h, d->image.w, request);
    if (d->status != BP_OK)
        return;
    transform(d);
    *orientation = orientation_of(d);
    if (!header_only)
        read_pixels(d);
}

/* Lays the picture over white and drops alpha, in place. */
static void flatten(struct bp_image *image) {
    size_t colours = image->c - 1;
    for (size_t i = 0; i < image->h * image->w; i++) {
        const uint8_t *in = image->pixels + i * image->c;
        unsigned alpha = in[colours];
        for (size_t c = 0; c < colours; c++)
            image->pixels[i * colours + c] =
                (uint8_t)((in[c] * alpha + 255 * (255 - alpha) + 127) / 255);
    }
    image->c = colours;
}

bp_status bp_png_decode(const uint8_t *bytes, size_t count, const char *name,
                        const struct bp_image_request *request, int header_only,
                        struct bp_image *out, int *orientation) {
    struct decoder *d;
    BP_TRY(bp_alloc(&d, sizeof *d, "a PNG decoder"));
    d->name = name;
    d->bytes = bytes;
    d->count = count;
    *orientation = 1;
    bp_status status = create(d);
    if (status == BP_OK) {
        decode(d, request, header_only, orientation);
        status = d->status;
    }
    png_destroy_read_struct(&d->png, &d->info, NULL);
    if (status != BP_OK) {
        bp_free(d->image.pixels);
    } else {
        if (d->image.pixels != NULL && d->image.c % 2 == 0)
            flatten(&d->image);
        d->image.c = d->image.c > 2 ? 3 : 1;
        *out = d->image;
    }
    bp_free(d);
    return status;
}
