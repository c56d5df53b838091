/* JPEG files, whole and decoded smaller. */
#include "fuzz/fuzz_picture.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
    fuzz_picture(bytes, count, 0);
    fuzz_picture(bytes, count, 4);
    return 0;
}
