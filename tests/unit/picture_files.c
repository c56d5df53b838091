#include "unit/picture_files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
#include <png.h>

/* --- JPEG ------------------------------------------------------------------------------------- */

struct picture_bytes picture_make_jpeg(const struct picture_jpeg *p) {
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr errors;
    unsigned char *bytes = NULL;
    unsigned long count = 0;
    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_compress(&jpeg);
    jpeg_mem_dest(&jpeg, &bytes, &count);
    jpeg.image_height = (JDIMENSION)p->h;
    jpeg.image_width = (JDIMENSION)p->w;
    jpeg.input_components = p->c;
    jpeg.in_color_space = p->c == 1 ? JCS_GRAYSCALE : p->c == 3 ? JCS_RGB : JCS_CMYK;
    jpeg_set_defaults(&jpeg);
    if (p->ycck)
        jpeg_set_colorspace(&jpeg, JCS_YCCK);
    jpeg_set_quality(&jpeg, p->quality > 0 ? p->quality : 100, TRUE);
    if (p->quality == 0)
        for (int i = 0; i < jpeg.num_components; i++)
            jpeg.comp_info[i].h_samp_factor = jpeg.comp_info[i].v_samp_factor = 1;
    if (p->progressive)
        jpeg_simple_progression(&jpeg);
    if (p->no_adobe)
        jpeg.write_Adobe_marker = FALSE;
    jpeg_start_compress(&jpeg, TRUE);
    if (p->exif != NULL)
        jpeg_write_marker(&jpeg, JPEG_APP0 + 1, p->exif, (unsigned)p->exif_count);
    while (jpeg.next_scanline < jpeg.image_height) {
        JSAMPLE *row = malloc(p->w * (size_t)p->c);
        memcpy(row, p->pixels + jpeg.next_scanline * p->w * (size_t)p->c, p->w * (size_t)p->c);
        jpeg_write_scanlines(&jpeg, &row, 1);
        free(row);
    }
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    return (struct picture_bytes){bytes, count};
}

/* --- PNG -------------------------------------------------------------------------------------- */

static void append(png_structp png, png_bytep bytes, size_t count) {
    struct picture_bytes *out = png_get_io_ptr(png);
    out->bytes = realloc(out->bytes, out->count + count);
    if (out->bytes == NULL)
        abort();
    memcpy(out->bytes + out->count, bytes, count);
    out->count += count;
}

static void flush(png_structp png) {
    (void)png;
}

struct picture_bytes picture_make_png(const struct picture_png *p) {
    struct picture_bytes out = {NULL, 0};
    png_color palette[256];
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    if (setjmp(png_jmpbuf(png)) != 0)
        abort();
    png_set_write_fn(png, &out, append, flush);
    png_set_IHDR(png, info, (png_uint_32)p->w, (png_uint_32)p->h, p->depth, (int)p->kind,
                 p->interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_BASE, PNG_FILTER_TYPE_BASE);
    for (int i = 0; i < p->n_palette; i++)
        palette[i] = (png_color){p->palette[3 * i], p->palette[3 * i + 1], p->palette[3 * i + 2]};
    if (p->n_palette > 0)
        png_set_PLTE(png, info, palette, p->n_palette);
    if (p->n_alpha > 0)
        png_set_tRNS(png, info, p->alpha, p->n_alpha, NULL);
    if (p->exif != NULL) {
        uint8_t *exif = malloc(p->exif_count);
        memcpy(exif, p->exif, p->exif_count);
        png_set_eXIf_1(png, info, (png_uint_32)p->exif_count, exif);
        free(exif);
    }
    png_write_info(png, info);
    if (p->depth < 8)
        png_set_packing(png);
    int passes = png_set_interlace_handling(png);
    size_t row = png_get_rowbytes(png, info);
    if (p->depth < 8)
        row = p->w;
    for (int pass = 0; pass < passes; pass++)
        for (size_t y = 0; y < p->h; y++)
            png_write_row(png, p->pixels + y * row);
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
    return out;
}

/* --- EXIF ------------------------------------------------------------------------------------- */

static void put(uint8_t *out, unsigned value, int bytes, int little) {
    for (int i = 0; i < bytes; i++)
        out[little ? i : bytes - 1 - i] = (uint8_t)(value >> (8 * i));
}

void picture_make_exif(uint8_t out[PICTURE_EXIF_BYTES], int orientation, int little) {
    uint8_t *tiff = out + PICTURE_EXIF_MARK;
    memset(out, 0, PICTURE_EXIF_BYTES);
    memcpy(out, "Exif", 4);
    memcpy(tiff, little ? "II" : "MM", 2);
    put(tiff + 2, 42, 2, little);
    put(tiff + 4, 8, 4, little);
    put(tiff + 8, 1, 2, little); /* one entry */
    put(tiff + 10, 0x0112, 2, little);
    put(tiff + 12, 3, 2, little);
    put(tiff + 14, 1, 4, little);
    put(tiff + 18, (unsigned)orientation, 2, little);
}

/* --- drawings --------------------------------------------------------------------------------- */

static unsigned scramble(unsigned x) {
    x = (x ^ (x >> 16)) * 0x7feb352du;
    x = (x ^ (x >> 15)) * 0x846ca68bu;
    return x ^ (x >> 16);
}

static int inside(unsigned shape, long x, long y, long r) {
    switch (shape % 4) {
    case 0:
        return x * x + y * y <= r * r;
    case 1:
        return labs(x) <= r && labs(y) <= r / 3;
    case 2:
        return labs(x) <= r / 3 && labs(y) <= r;
    default:
        return labs(x) + labs(y) <= r && x * x + y * y > r * r / 9;
    }
}

void picture_draw(uint8_t *pixels, size_t h, size_t w, unsigned class_number, unsigned number) {
    unsigned draw = scramble(number * 16 + class_number + 1);
    size_t side = h < w ? h : w;
    long r = (long)(side / 4 + draw % (side / 8 + 1));
    long cx = (long)(w / 2 + (draw >> 8) % (side / 8 + 1)) - (long)(side / 16);
    long cy = (long)(h / 2 + (draw >> 12) % (side / 8 + 1)) - (long)(side / 16);
    for (size_t y = 0; y < h; y++)
        for (size_t x = 0; x < w; x++) {
            int in = inside(class_number, (long)x - cx, (long)y - cy, r);
            unsigned noise = scramble(draw + (unsigned)(y * w + x));
            for (size_t c = 0; c < 3; c++) {
                unsigned base =
                    in ? 170 + (draw >> (16 + 2 * c)) % 60 : 40 + (draw >> (4 * c)) % 60;
                pixels[(y * w + x) * 3 + c] = (uint8_t)(base + (noise >> (8 * c)) % 16);
            }
        }
}

void picture_gradient(uint8_t *pixels, size_t h, size_t w, size_t c) {
    for (size_t y = 0; y < h; y++)
        for (size_t x = 0; x < w; x++)
            for (size_t j = 0; j < c; j++)
                pixels[(y * w + x) * c + j] = (uint8_t)(20 + 5 * x + (3 + 2 * j) * y);
}
