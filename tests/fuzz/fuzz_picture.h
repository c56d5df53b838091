/* What the fuzz targets of pictures share. */
#ifndef FUZZ_PICTURE_H
#define FUZZ_PICTURE_H

#include <stdint.h>
#include <stdlib.h>

#include "base/memory.h"
#include "data/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

static volatile uint8_t fuzz_sink;

/* What was accepted must be a picture whose pixels are all there, of the kind that its header
 * promised; whatever decodes has a sound header. */
static inline void fuzz_picture(const uint8_t *bytes, size_t count, size_t least_side) {
    const struct bp_image_request request = {.least_side = least_side, .most_pixels = 1 << 18};
    struct bp_image image, header;
    if (bp_image_decode(bytes, count, "input", &request, &image) != BP_OK) {
        if (image.pixels != NULL)
            abort();
        return;
    }
    if (bp_image_probe(bytes, count, "input", &request, &header) != BP_OK || header.c != image.c)
        abort();
    if (least_side == 0 && header.h * header.w != image.h * image.w)
        abort();
    for (size_t i = 0; i < image.h * image.w * image.c; i++)
        fuzz_sink = image.pixels[i];
    bp_free(image.pixels);
}

#endif
