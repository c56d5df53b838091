/* Signs, masks and pooling of integers by limits, NEON: a word of 64 channels at a time. The last
 * ones of a row are copied to a row of 64, and their bits beyond it are cut off. */
#include "kernels/arm/tier_neon.h"

#include "base/bits.h"
#include "kernels/arm/vec_neon.h"

/* A row's last channels, and zeros. */
static void copy_rest(const int16_t *from, size_t count, int16_t to[64]) {
    memset(to, 0, 64 * sizeof *to);
    memcpy(to, from, count * sizeof *to);
}

static void copy_limits(const struct bp_limit_rows *rows, size_t j, size_t count,
                        int16_t to[5][64]) {
    copy_rest(rows->sign_low + j, count, to[0]);
    copy_rest(rows->sign_high + j, count, to[1]);
    copy_rest(rows->mask_low + j, count, to[2]);
    copy_rest(rows->mask_high + j, count, to[3]);
    copy_rest(rows->flip + j, count, to[4]);
}

BP_INLINE uint16x8_t inside(int16x8_t y, const int16_t *low, const int16_t *high) {
    return vandq_u16(vcgeq_s16(y, vld1q_s16(low)), vcgeq_s16(vld1q_s16(high), y));
}

/* The bytes of 16 channels. */
BP_INLINE uint8x16_t narrow_words(const uint16x8_t v[2]) {
    return vuzp1q_u8(vreinterpretq_u8_u16(v[0]), vreinterpretq_u8_u16(v[1]));
}

/* --- signs ------------------------------------------------------------------------------------ */

/* The bits of 32 channels, halves of words. */
BP_INLINE void signs_32(const int16_t *y, const struct bp_limit_rows *limits, size_t j,
                        int with_mask, uint8x16_t *sign, uint8x16_t *mask) {
    uint8x16_t sign_bytes[2], mask_bytes[2];
    for (size_t q = 0; q < 2; q++, j += 16) {
        uint16x8_t s[2], m[2];
        for (size_t h = 0; h < 2; h++) {
            size_t at = j + 8 * h;
            int16x8_t v = vld1q_s16(y + at);
            s[h] = inside(v, limits->sign_low + at, limits->sign_high + at);
            m[h] = with_mask ? inside(v, limits->mask_low + at, limits->mask_high + at) : s[h];
        }
        sign_bytes[q] = narrow_words(s);
        mask_bytes[q] = narrow_words(m);
        no_further();
    }
    *sign = add_bits(sign_bytes[0], sign_bytes[1]);
    *mask = add_bits(mask_bytes[0], mask_bytes[1]);
}

/* 64 channels from channel j on. */
BP_INLINE struct sign_words signs_64(const int16_t *y, const struct bp_limit_rows *limits, size_t j,
                                     int with_mask) {
    uint8x16_t sign[2], mask[2];
    signs_32(y, limits, j, with_mask, &sign[0], &mask[0]);
    signs_32(y, limits, j + 32, with_mask, &sign[1], &mask[1]);
    uint64x2_t words = two_words(sign, mask);
    return (struct sign_words){vgetq_lane_u64(words, 0), vgetq_lane_u64(words, 1)};
}

/* `count` channels from channel j on. */
static __attribute__((noinline)) struct sign_words
signs_rest(const int16_t *y, const struct bp_limit_rows *limits, size_t j, size_t count) {
    int16_t row[64], copy[5][64];
    const struct bp_limit_rows part = {copy[0], copy[1], copy[2], copy[3], copy[4]};
    copy_rest(y + j, count, row);
    copy_limits(limits, j, count, copy);
    struct sign_words s = signs_64(row, &part, 0, 1);
    return first_words(s, count);
}

BP_INLINE void signs_rows(const int16_t *y, size_t n, size_t c, const struct bp_limit_rows *limits,
                          int with_mask, uint64_t *bits, uint64_t *mask) {
    const struct bp_limit_rows rows = *limits;
    for (size_t p = 0; p < n; p++, y += c)
        for (size_t j = 0; j < c; j += 64) {
            struct sign_words s =
                c - j >= 64 ? signs_64(y, &rows, j, with_mask) : signs_rest(y, limits, j, c - j);
            *bits++ = s.sign;
            if (with_mask)
                *mask++ = s.mask;
        }
}

void bp_limit_signs_i16_neon(const int16_t *y, size_t n, size_t c,
                             const struct bp_limit_rows *limits, uint64_t *bits, uint64_t *mask) {
    if (mask != NULL)
        signs_rows(y, n, c, limits, 1, bits, mask);
    else
        signs_rows(y, n, c, limits, 0, bits, NULL);
}

/* --- pooling ---------------------------------------------------------------------------------- */

struct pooled {
    struct sign_words of;
    uint64_t low, high;
};

/* The winner of 8 channels, and its number's bits. As a later one wins only if it is greater, the
 * columns may be compared within a row first. */
BP_INLINE int16x8_t winner_8(const int16_t *const pixel[4], size_t j, int16x8_t flip,
                             uint16x8_t *low, uint16x8_t *high) {
    int16x8_t key[4];
    for (int i = 0; i < 4; i++)
        key[i] = veorq_s16(vld1q_s16(pixel[i] + j), flip);
    uint16x8_t right_above = vcgtq_s16(key[1], key[0]), right_below = vcgtq_s16(key[3], key[2]);
    int16x8_t above = vmaxq_s16(key[0], key[1]), below = vmaxq_s16(key[2], key[3]);
    *high = vcgtq_s16(below, above);
    *low = vbslq_u16(*high, right_below, right_above);
    return veorq_s16(vmaxq_s16(above, below), flip);
}

/* Halves of words of 64 channels. */
struct halves {
    uint8x16_t sign[2], mask[2], low[2], high[2];
};

BP_INLINE void pool_32(const int16_t *const pixel[4], const struct bp_limit_rows *limits, size_t j,
                       size_t half, struct halves *to) {
    uint8x16_t sign[2], mask[2], low[2], high[2];
    for (size_t q = 0; q < 2; q++, j += 16) {
        uint16x8_t s[2], m[2], l[2], h[2];
        for (size_t i = 0; i < 2; i++) {
            size_t at = j + 8 * i;
            int16x8_t v = winner_8(pixel, at, vld1q_s16(limits->flip + at), &l[i], &h[i]);
            s[i] = inside(v, limits->sign_low + at, limits->sign_high + at);
            m[i] = inside(v, limits->mask_low + at, limits->mask_high + at);
        }
        sign[q] = narrow_words(s);
        mask[q] = narrow_words(m);
        low[q] = narrow_words(l);
        high[q] = narrow_words(h);
        no_further();
    }
    to->sign[half] = add_bits(sign[0], sign[1]);
    to->mask[half] = add_bits(mask[0], mask[1]);
    to->low[half] = add_bits(low[0], low[1]);
    to->high[half] = add_bits(high[0], high[1]);
}

/* 64 channels from channel j on. */
BP_INLINE struct pooled pool_64(const int16_t *const pixel[4], const struct bp_limit_rows *limits,
                                size_t j) {
    struct halves halves;
    pool_32(pixel, limits, j, 0, &halves);
    pool_32(pixel, limits, j + 32, 1, &halves);
    uint64x2_t of = two_words(halves.sign, halves.mask), which = two_words(halves.low, halves.high);
    return (struct pooled){{vgetq_lane_u64(of, 0), vgetq_lane_u64(of, 1)},
                           vgetq_lane_u64(which, 0),
                           vgetq_lane_u64(which, 1)};
}

/* `count` channels from channel j on. */
static __attribute__((noinline)) struct pooled pool_rest(const int16_t *upper, const int16_t *lower,
                                                         size_t c,
                                                         const struct bp_limit_rows *limits,
                                                         size_t j, size_t count) {
    int16_t rows[4][64], copy[5][64];
    const int16_t *const from[4] = {rows[0], rows[1], rows[2], rows[3]};
    const struct bp_limit_rows part = {copy[0], copy[1], copy[2], copy[3], copy[4]};
    for (size_t i = 0; i < 4; i++)
        copy_rest((i < 2 ? upper : lower) + i % 2 * c + j, count, rows[i]);
    copy_limits(limits, j, count, copy);
    struct pooled p = pool_64(from, &part, 0);
    uint64_t valid = valid_bits(count, 0);
    return (struct pooled){first_words(p.of, count), p.low & valid, p.high & valid};
}

void bp_limit_pool_signs_i16_neon(const int16_t *upper, const int16_t *lower, size_t n, size_t c,
                                  const struct bp_limit_rows *limits, uint64_t *bits,
                                  uint64_t *mask, uint64_t *which) {
    const struct bp_limit_rows rows = *limits;
    size_t cw = bp_words(c);
    for (size_t p = 0; p < n; p++, upper += 2 * c, lower += 2 * c) {
        const int16_t *const pixel[4] = {upper, upper + c, lower, lower + c};
        for (size_t j = 0; j < c; j += 64) {
            struct pooled word = c - j >= 64 ? pool_64(pixel, &rows, j)
                                             : pool_rest(upper, lower, c, limits, j, c - j);
            *bits++ = word.of.sign;
            if (mask != NULL)
                *mask++ = word.of.mask;
            if (which != NULL) {
                which[p * 2 * cw + j / 64] = word.low;
                which[(p * 2 + 1) * cw + j / 64] = word.high;
            }
        }
    }
}
