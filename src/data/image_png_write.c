#include <png.h>

#include "base/memory.h"
#include "data/image_write.h"

static bp_status failed(const png_image *png) {
    return bp_fail(BP_RESOURCE, "cannot write a PNG: %s", png->message);
}

bp_status bp_image_write_png(const struct bp_image *image, uint8_t **bytes, size_t *count) {
    png_image png = {.version = PNG_IMAGE_VERSION,
                     .width = (png_uint_32)image->w,
                     .height = (png_uint_32)image->h,
                     .format = image->c == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB};
    png_alloc_size_t size = 0;
    *bytes = NULL;
    if (!png_image_write_to_memory(&png, NULL, &size, 0, image->pixels, 0, NULL))
        return failed(&png);
    BP_TRY(bp_alloc(bytes, size, "a PNG"));
    if (!png_image_write_to_memory(&png, *bytes, &size, 0, image->pixels, 0, NULL)) {
        bp_free(*bytes);
        *bytes = NULL;
        return failed(&png);
    }
    *count = size;
    return BP_OK;
}
