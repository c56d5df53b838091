/* Signs, masks and pooling of integers by limits. */
#include "kernels/c/tier_c.h"

#include "base/bits.h"

/* Bytes that are 0 or 1 as bits; those beyond the count are zero. */
static uint64_t word_of_bytes(const uint8_t bytes[64]) {
    uint64_t word = 0;
    for (size_t i = 0; i < 8; i++) {
        uint64_t eight = 0;
        for (size_t b = 0; b < 8; b++)
            eight |= (uint64_t)bytes[8 * i + b] << 8 * b;
        word |= (eight * 0x0102040810204080u >> 56) << 8 * i;
    }
    return word;
}

/* The bits of up to 64 integers. */
static uint64_t inside(const int16_t *y, size_t count, const int16_t *low, const int16_t *high) {
    uint8_t bytes[64] = {0};
    for (size_t i = 0; i < count; i++)
        bytes[i] = (uint8_t)((low[i] <= y[i]) & (y[i] <= high[i]));
    return word_of_bytes(bytes);
}

void bp_limit_signs_i16_c(const int16_t *y, size_t n, size_t c, const struct bp_limit_rows *limits,
                          uint64_t *bits, uint64_t *mask) {
    for (size_t p = 0; p < n; p++)
        for (size_t j = 0; j < c; j += 64) {
            size_t count = bp_min_size(64, c - j);
            const int16_t *from = y + p * c + j;
            *bits++ = inside(from, count, limits->sign_low + j, limits->sign_high + j);
            if (mask != NULL)
                *mask++ = inside(from, count, limits->mask_low + j, limits->mask_high + j);
        }
}

void bp_limit_pool_signs_i16_c(const int16_t *upper, const int16_t *lower, size_t n, size_t c,
                               const struct bp_limit_rows *limits, uint64_t *bits, uint64_t *mask,
                               uint64_t *which) {
    size_t cw = bp_words(c);
    for (size_t p = 0; p < n; p++)
        for (size_t j = 0; j < c; j += 64) {
            size_t count = bp_min_size(64, c - j);
            int16_t best[64];
            uint8_t low[64] = {0}, high[64] = {0};
            for (size_t i = 0; i < count; i++) {
                int16_t flip = limits->flip[j + i];
                best[i] = (int16_t)(upper[2 * p * c + j + i] ^ flip);
            }
            for (size_t k = 1; k < 4; k++) {
                const int16_t *from = (k < 2 ? upper : lower) + (2 * p + k % 2) * c + j;
                for (size_t i = 0; i < count; i++) {
                    int16_t later = (int16_t)(from[i] ^ limits->flip[j + i]);
                    int wins = later > best[i];
                    best[i] = wins ? later : best[i];
                    low[i] = (uint8_t)(wins ? k % 2 : low[i]);
                    high[i] = (uint8_t)(wins ? k / 2 : high[i]);
                }
            }
            for (size_t i = 0; i < count; i++)
                best[i] = (int16_t)(best[i] ^ limits->flip[j + i]);
            *bits++ = inside(best, count, limits->sign_low + j, limits->sign_high + j);
            if (mask != NULL)
                *mask++ = inside(best, count, limits->mask_low + j, limits->mask_high + j);
            if (which != NULL) {
                which[p * 2 * cw + j / 64] = word_of_bytes(low);
                which[(p * 2 + 1) * cw + j / 64] = word_of_bytes(high);
            }
        }
}
