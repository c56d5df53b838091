/* What a picture format brings: image_jpeg.c and image_png.c, called by image.c only. */
#ifndef BP_DATA_IMAGE_CODEC_H
#define BP_DATA_IMAGE_CODEC_H

#include "data/image.h"

#ifdef __cplusplus
extern "C" {
#endif

/* As bp_image_decode, but as stored: *orientation says how to turn it. header_only: pixels stay
 * NULL. On failure nothing stays allocated. */
typedef bp_status bp_image_codec(const uint8_t *bytes, size_t count, const char *name,
                                 const struct bp_image_request *request, int header_only,
                                 struct bp_image *out, int *orientation);

bp_image_codec bp_jpeg_decode, bp_png_decode;

/* BP_DATA if a file of h x w pixels is empty or too large. */
bp_status bp_image_check_size(const char *name, size_t h, size_t w,
                              const struct bp_image_request *request);

#ifdef __cplusplus
}
#endif
#endif
