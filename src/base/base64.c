#include "base/base64.h"

#include <string.h>

#include "base/memory.h"

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

bp_status bp_base64_encode(const uint8_t *bytes, size_t count, char **text) {
    char *out;
    BP_TRY(bp_alloc_array(&out, count / 3 + 2, 4, "base64 text"));
    *text = out;
    for (size_t i = 0; i < count; i += 3) {
        size_t left = count - i;
        uint32_t word = (uint32_t)bytes[i] << 16;
        word |= left > 1 ? (uint32_t)bytes[i + 1] << 8 : 0;
        word |= left > 2 ? bytes[i + 2] : 0;
        *out++ = letters[word >> 18];
        *out++ = letters[word >> 12 & 63];
        *out++ = left > 1 ? letters[word >> 6 & 63] : '=';
        *out++ = left > 2 ? letters[word & 63] : '=';
    }
    *out = 0;
    return BP_OK;
}

int bp_base64_is_valid(const char *text) {
    size_t length = strspn(text, letters);
    size_t padding = strspn(text + length, "=");
    return length > 0 && padding <= 2 && text[length + padding] == 0 && (length + padding) % 4 == 0;
}
