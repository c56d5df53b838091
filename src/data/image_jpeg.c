/* JPEG through the libjpeg interface. The library reports errors by a call that must not return:
 * it is left by longjmp, so everything that must survive stands in struct decoder. */
#include <setjmp.h>
#include <stdio.h> /* jpeglib.h needs FILE */
#include <string.h>

#include <jerror.h>
#include <jpeglib.h>

#include "base/memory.h"
#include "data/image_codec.h"

enum {
    MOST_SCANS = 200, /* of a progressive file: more are an attack on our time */
    EXIF_MARK = 6     /* "Exif", two zero bytes */
};

struct decoder {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    struct jpeg_source_mgr source;
    jmp_buf leave;
    const char *name;
    size_t count;
    uint8_t *row; /* of CMYK */
    struct bp_image image;
    bp_status status;
};

static bp_status fail_at_position(struct decoder *d, const char *reason) {
    size_t left = d->jpeg.src != NULL ? d->source.bytes_in_buffer : d->count;
    return bp_fail(BP_DATA, "%s: offset %zu: %s; get the file again, or remove it", d->name,
                   d->count - left, reason);
}

static void leave(struct decoder *d, bp_status status) {
    d->status = status;
    longjmp(d->leave, 1);
}

static void on_error(j_common_ptr common) {
    struct decoder *d = common->client_data;
    char reason[JMSG_LENGTH_MAX];
    if (d->errors.msg_code == JERR_OUT_OF_MEMORY)
        leave(d, bp_fail(BP_RESOURCE, "out of memory: no room to decode %s; use fewer --threads",
                         d->name));
    d->errors.format_message(common, reason);
    leave(d, fail_at_position(d, reason));
}

/* The library goes on after these with made-up pixels; what is only untidy passes. */
static void on_message(j_common_ptr common, int level) {
    struct decoder *d = common->client_data;
    if (level >= 0)
        return;
    switch (d->errors.msg_code) {
    case JWRN_ADOBE_XFORM:
    case JWRN_EXTRANEOUS_DATA:
    case JWRN_JFIF_MAJOR:
    case JWRN_TOO_MUCH_DATA:
        return;
    case JWRN_JPEG_EOF:
        leave(d,
              bp_fail(BP_DATA,
                      "%s: offset %zu: the file ends too early; get the file again, or remove it",
                      d->name, d->count));
        return;
    default:
        on_error(common);
    }
}

static void on_progress(j_common_ptr common) {
    struct decoder *d = common->client_data;
    if (d->jpeg.input_scan_number > MOST_SCANS)
        leave(d, fail_at_position(d, "the file has more scans than any picture needs"));
}

static void nothing(j_decompress_ptr jpeg) {
    (void)jpeg;
}

static boolean no_more_bytes(j_decompress_ptr jpeg) {
    static const JOCTET end[] = {0xff, JPEG_EOI};
    WARNMS(jpeg, JWRN_JPEG_EOF); /* leaves; the rest is for a reader's peace of mind */
    jpeg->src->next_input_byte = end;
    jpeg->src->bytes_in_buffer = 2;
    return TRUE;
}

static void skip(j_decompress_ptr jpeg, long n) {
    struct jpeg_source_mgr *source = jpeg->src;
    if (n <= 0)
        return;
    if ((size_t)n > source->bytes_in_buffer) {
        source->bytes_in_buffer = 0;
        no_more_bytes(jpeg);
        return;
    }
    source->next_input_byte += n;
    source->bytes_in_buffer -= (size_t)n;
}

static void start(struct decoder *d, const uint8_t *bytes) {
    d->jpeg.err = jpeg_std_error(&d->errors);
    d->errors.error_exit = on_error;
    d->errors.emit_message = on_message;
    d->jpeg.client_data = d;
    jpeg_create_decompress(&d->jpeg);
    d->progress.progress_monitor = on_progress;
    d->jpeg.progress = &d->progress;
    d->source = (struct jpeg_source_mgr){.next_input_byte = bytes,
                                         .bytes_in_buffer = d->count,
                                         .init_source = nothing,
                                         .fill_input_buffer = no_more_bytes,
                                         .skip_input_data = skip,
                                         .resync_to_restart = jpeg_resync_to_restart,
                                         .term_source = nothing};
    d->jpeg.src = &d->source;
    jpeg_save_markers(&d->jpeg, JPEG_APP0 + 1, 0xffff);
    jpeg_read_header(&d->jpeg, TRUE);
}

static int orientation_of(const struct decoder *d) {
    for (jpeg_saved_marker_ptr m = d->jpeg.marker_list; m != NULL; m = m->next)
        if (m->data_length > EXIF_MARK && memcmp(m->data, "Exif\0", EXIF_MARK) == 0)
            return bp_exif_orientation(m->data + EXIF_MARK, m->data_length - EXIF_MARK);
    return 1;
}

static void choose_colours(struct decoder *d) {
    struct jpeg_decompress_struct *jpeg = &d->jpeg;
    switch (jpeg->jpeg_color_space) {
    case JCS_GRAYSCALE:
        jpeg->out_color_space = JCS_GRAYSCALE;
        break;
    case JCS_RGB:
    case JCS_YCbCr:
        jpeg->out_color_space = JCS_RGB;
        break;
    case JCS_CMYK:
    case JCS_YCCK:
        jpeg->out_color_space = JCS_CMYK;
        break;
    default:
        leave(d, fail_at_position(d, "the colours are none of grey, RGB, YCbCr, CMYK and YCCK"));
    }
    d->image.c = jpeg->out_color_space == JCS_GRAYSCALE ? 1 : 3;
    d->image.h = jpeg->image_height;
    d->image.w = jpeg->image_width;
}

/* The smallest of 1/8, 1/4, 1/2, 1 that leaves enough pixels. */
static void choose_scale(struct jpeg_decompress_struct *jpeg, size_t least_side) {
    size_t side = jpeg->image_height < jpeg->image_width ? jpeg->image_height : jpeg->image_width;
    jpeg->scale_num = jpeg->scale_denom = 8;
    while (least_side > 0 && jpeg->scale_num > 1 && side * jpeg->scale_num / 2 / 8 >= least_side)
        jpeg->scale_num /= 2;
    jpeg->dct_method = JDCT_ISLOW;
}

/* Adobe's programs store inks inverted: 255 is no ink. */
static void cmyk_to_rgb(const uint8_t *in, size_t n, int inverted, uint8_t *out) {
    for (size_t i = 0; i < n; i++) {
        unsigned key = inverted ? in[4 * i + 3] : 255u - in[4 * i + 3];
        for (size_t c = 0; c < 3; c++) {
            unsigned light = inverted ? in[4 * i + c] : 255u - in[4 * i + c];
            out[3 * i + c] = (uint8_t)((light * key + 127) / 255);
        }
    }
}

static void read_pixels(struct decoder *d) {
    struct jpeg_decompress_struct *jpeg = &d->jpeg;
    jpeg_start_decompress(jpeg);
    int cmyk = jpeg->out_color_space == JCS_CMYK;
    struct bp_image *image = &d->image;
    image->h = jpeg->output_height;
    image->w = jpeg->output_width;
    bp_status status = bp_alloc_array(&image->pixels, image->h * image->w, image->c, "a picture");
    if (status == BP_OK && cmyk)
        status = bp_alloc_array(&d->row, image->w, 4, "a picture");
    if (status != BP_OK)
        leave(d, status);
    while (jpeg->output_scanline < jpeg->output_height) {
        uint8_t *out = image->pixels + jpeg->output_scanline * image->w * image->c;
        JSAMPROW row = cmyk ? d->row : out;
        jpeg_read_scanlines(jpeg, &row, 1);
        if (cmyk)
            cmyk_to_rgb(d->row, image->w, jpeg->saw_Adobe_marker, out);
    }
    jpeg_finish_decompress(jpeg);
}

static void decode(struct decoder *d, const uint8_t *bytes, const struct bp_image_request *request,
                   int header_only, int *orientation) {
    if (setjmp(d->leave) != 0)
        return;
    start(d, bytes);
    d->status = bp_image_check_size(d->name, d->jpeg.image_height, d->jpeg.image_width, request);
    if (d->status != BP_OK)
        return;
    choose_colours(d);
    *orientation = orientation_of(d);
    if (header_only)
        return;
    choose_scale(&d->jpeg, request->least_side);
    read_pixels(d);
}

bp_status bp_jpeg_decode(const uint8_t *bytes, size_t count, const char *name,
                         const struct bp_image_request *request, int header_only,
                         struct bp_image *out, int *orientation) {
    struct decoder *d;
    BP_TRY(bp_alloc(&d, sizeof *d, "a JPEG decoder"));
    d->name = name;
    d->count = count;
    *orientation = 1;
    decode(d, bytes, request, header_only, orientation);
    jpeg_destroy_decompress(&d->jpeg);
    bp_status status = d->status;
    if (status != BP_OK)
        bp_free(d->image.pixels);
    else
        *out = d->image;
    bp_free(d->row);
    bp_free(d);
    return status;
}
