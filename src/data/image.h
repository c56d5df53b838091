/* Pictures: JPEG and PNG, told apart by content, decoded to upright 8-bit grey or RGB. */
#ifndef BP_DATA_IMAGE_H
#define BP_DATA_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Larger pictures are refused before memory is taken for them. */
#define BP_IMAGE_MOST_PIXELS ((size_t)100000000)

struct bp_image {
    size_t h, w, c;  /* c: 1 grey, 3 RGB */
    uint8_t *pixels; /* [h][w][c], bp_free */
};

struct bp_image_request {
    size_t least_side; /* JPEG may be decoded smaller (by 2, 4 or 8) as long as its shorter side has
                          at least this many pixels; 0: full size */
    size_t most_pixels; /* of the file; 0: BP_IMAGE_MOST_PIXELS */
};

/* Decodes a file's bytes. Transparency is laid over white, 16 bits are rounded to 8, palettes and
 * CMYK become RGB, the EXIF orientation is applied. BP_DATA: "name: offset N: reason; advice";
 * BP_RESOURCE: out of memory. */
bp_status bp_image_decode(const uint8_t *bytes, size_t count, const char *name,
                          const struct bp_image_request *request, struct bp_image *out);

/* Reads the header only: size as stored (before the EXIF orientation) and channels. */
bp_status bp_image_probe(const uint8_t *bytes, size_t count, const char *name,
                         const struct bp_image_request *request, struct bp_image *out);

/* The EXIF orientation, 1 .. 8, of a TIFF block ("II*" or "MM" and so on); 1 where there is none.
 */
int bp_exif_orientation(const uint8_t *tiff, size_t count);

/* Turns and mirrors a picture so that it stands upright. */
bp_status bp_image_orient(struct bp_image *image, int orientation);

#ifdef __cplusplus
}
#endif
#endif
