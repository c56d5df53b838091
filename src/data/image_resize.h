/* Resampling in integer arithmetic: area averaging where an axis shrinks, linear interpolation
 * where it grows. The same bytes on every machine. */
#ifndef BP_DATA_IMAGE_RESIZE_H
#define BP_DATA_IMAGE_RESIZE_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A rectangle of a picture's rows [stride pixels][c]. */
struct bp_view {
    const uint8_t *pixels; /* the first one */
    size_t h, w, c, stride;
};

/* Bytes of scratch for resampling any view up to h x w to out_h x out_w. */
size_t bp_resize_scratch_bytes(size_t h, size_t w, size_t c, size_t out_h, size_t out_w);

/* Resamples `in` (at least 1 x 1, sides up to 65535) to out [out_h][out_w][c]. */
void bp_resize(const struct bp_view *in, size_t out_h, size_t out_w, uint8_t *out, void *scratch);

#ifdef __cplusplus
}
#endif
#endif
