/* The one number of EXIF that matters here. EXIF is a TIFF block: byte order, the offset of the
 * first directory, in it entries of 12 bytes: tag, type, count, value. */
#include "data/image.h"

enum { TAG_ORIENTATION = 0x0112, TYPE_SHORT = 3, ENTRY_BYTES = 12 };

struct tiff {
    const uint8_t *bytes;
    size_t count;
    int little;
};

/* `size` bytes at an offset that the caller has checked. */
static uint32_t number_at(const struct tiff *tiff, size_t at, size_t size) {
    uint32_t number = 0;
    for (size_t i = 0; i < size; i++)
        number = number << 8 | tiff->bytes[at + (tiff->little ? size - 1 - i : i)];
    return number;
}

int bp_exif_orientation(const uint8_t *bytes, size_t count) {
    struct tiff tiff = {bytes, count, 0};
    if (count < 8 || bytes[0] != bytes[1] || (bytes[0] != 'I' && bytes[0] != 'M'))
        return 1;
    tiff.little = bytes[0] == 'I';
    if (number_at(&tiff, 2, 2) != 42)
        return 1;
    size_t directory = number_at(&tiff, 4, 4);
    if (directory > count - 2)
        return 1;
    size_t entries = number_at(&tiff, directory, 2), at = directory + 2;
    for (size_t i = 0; i < entries && count - at >= ENTRY_BYTES; i++, at += ENTRY_BYTES) {
        if (number_at(&tiff, at, 2) != TAG_ORIENTATION)
            continue;
        uint32_t value = number_at(&tiff, at + 8, 2);
        int valid = number_at(&tiff, at + 2, 2) == TYPE_SHORT && number_at(&tiff, at + 4, 4) == 1;
        return valid && value >= 1 && value <= 8 ? (int)value : 1;
    }
    return 1;
}
