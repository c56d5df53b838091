#include "base/hash.h"

/* Odd numbers without a pattern: the fractions of the golden ratio and of the roots of 2 and 3. */
#define M0 0x9e3779b97f4a7c15u
#define M1 0x6a09e667f3bcc909u
#define M2 0xbb67ae8584caa73bu

static uint64_t load(const uint8_t *bytes, size_t count) {
    uint64_t word = 0;
    for (size_t i = 0; i < count; i++)
        word |= (uint64_t)bytes[i] << 8 * i;
    return word;
}

/* Every bit of x reaches every bit of the result. */
static uint64_t spread(uint64_t x) {
    x = (x ^ x >> 32) * M0;
    x = (x ^ x >> 29) * M1;
    return x ^ x >> 32;
}

static uint64_t rotate(uint64_t x, int by) {
    return x << by | x >> (64 - by);
}

/* Two lanes, of which each takes both words of a step in another way. */
struct bp_hash bp_hash_bytes(const uint8_t *bytes, size_t count) {
    uint64_t a = M1 ^ count, b = M2 + count;
    for (size_t at = 0; at < count; at += 16) {
        size_t left = count - at;
        uint64_t x = left >= 8 ? load(bytes + at, 8) : load(bytes + at, left);
        uint64_t y = left >= 16 ? load(bytes + at + 8, 8)
                     : left > 8 ? load(bytes + at + 8, left - 8)
                                : 0;
        a = rotate((a ^ x) * M0, 31) + y;
        b = rotate((b + y) * M2, 27) ^ x;
    }
    return (struct bp_hash){{spread(a + rotate(b, 32)), spread(b ^ a * M1)}};
}

int bp_hash_compare(const struct bp_hash *a, const struct bp_hash *b) {
    for (int i = 0; i < 2; i++)
        if (a->words[i] != b->words[i])
            return a->words[i] < b->words[i] ? -1 : 1;
    return 0;
}
