/* PNG files. */
#include "fuzz/fuzz_picture.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
    fuzz_picture(bytes, count, 0);
    return 0;
}
