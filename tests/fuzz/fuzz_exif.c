/* EXIF blocks. */
#include <stdint.h>
#include <stdlib.h>

#include "data/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
    int orientation = bp_exif_orientation(bytes, count);
    if (orientation < 1 || orientation > 8)
        abort();
    return 0;
}
