/* Pictures to bytes. */
#ifndef BP_DATA_IMAGE_WRITE_H
#define BP_DATA_IMAGE_WRITE_H

#include "data/image.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A picture (c: 1 or 3) as a PNG file; *bytes is the caller's (bp_free). */
bp_status bp_image_write_png(const struct bp_image *image, uint8_t **bytes, size_t *count);

#ifdef __cplusplus
}
#endif
#endif
