/* Signs, masks and pooling of integers by limits, AVX2: 32 channels at a time. A row's last ones,
 * less than 32, take the way of the C tier over the stack. */
#include "kernels/x86/tier_avx2.h"

#include "base/bits.h"
#include "kernels/c/tier_c.h"
#include "kernels/x86/vec_avx2.h"

/* The bits of 32 lanes of 16 bits, all ones or zero. */
BP_INLINE uint64_t bits_32(__m256i first, __m256i second) {
    __m256i bytes = _mm256_permute4x64_epi64(_mm256_packs_epi16(first, second), 0xd8);
    return (uint32_t)_mm256_movemask_epi8(bytes);
}

/* Lanes that are not inside. */
BP_INLINE __m256i outside(__m256i y, const int16_t *low, const int16_t *high) {
    return _mm256_or_si256(_mm256_cmpgt_epi16(load_256(low), y),
                           _mm256_cmpgt_epi16(y, load_256(high)));
}

BP_INLINE uint64_t inside(const __m256i y[2], const int16_t *low, const int16_t *high) {
    return ~bits_32(outside(y[0], low, high), outside(y[1], low + 16, high + 16)) & 0xffffffffu;
}

/* The limits from channel j on. */
static struct bp_limit_rows limits_from(const struct bp_limit_rows *rows, size_t j) {
    return (struct bp_limit_rows){rows->sign_low + j, rows->sign_high + j, rows->mask_low + j,
                                  rows->mask_high + j, rows->flip + j};
}

void bp_limit_signs_i16_avx2(const int16_t *y, size_t n, size_t c,
                             const struct bp_limit_rows *limits, uint64_t *bits, uint64_t *mask) {
    size_t cw = bp_words(c), j = 0;
    const struct bp_limit_rows last = limits_from(limits, c / 32 * 32);
    for (size_t p = 0; p < n; p++, y += c, bits += cw) {
        uint64_t sign = 0, small = 0;
        for (j = 0; j < c; j += 32) {
            uint64_t s, m;
            if (c - j >= 32) {
                const __m256i v[2] = {load_256(y + j), load_256(y + j + 16)};
                s = inside(v, limits->sign_low + j, limits->sign_high + j);
                m = inside(v, limits->mask_low + j, limits->mask_high + j);
            } else {
                bp_limit_signs_i16_c(y + j, 1, c - j, &last, &s, &m);
            }
            sign = j % 64 == 0 ? s : sign | s << 32;
            small = j % 64 == 0 ? m : small | m << 32;
            bits[j / 64] = sign;
            if (mask != NULL)
                mask[j / 64] = small;
        }
        mask = mask == NULL ? NULL : mask + cw;
    }
}

/* --- pooling ---------------------------------------------------------------------------------- */

/* What 32 channels of a window give. */
struct pooled {
    uint64_t sign, small, low, high;
};

/* 16 channels: the winner, and masks of its number's bits. As a later one wins only if it is
 * greater, the columns may be compared within a row first. */
BP_INLINE __m256i winner(const int16_t *const pixel[4], size_t j, __m256i flip, __m256i *low,
                         __m256i *high) {
    __m256i key[4];
    for (int i = 0; i < 4; i++)
        key[i] = _mm256_xor_si256(load_256(pixel[i] + j), flip);
    __m256i right_above = _mm256_cmpgt_epi16(key[1], key[0]);
    __m256i right_below = _mm256_cmpgt_epi16(key[3], key[2]);
    __m256i above = _mm256_max_epi16(key[0], key[1]), below = _mm256_max_epi16(key[2], key[3]);
    *high = _mm256_cmpgt_epi16(below, above);
    *low = _mm256_blendv_epi8(right_above, right_below, *high);
    return _mm256_xor_si256(_mm256_max_epi16(above, below), flip);
}

BP_INLINE struct pooled pool_32(const int16_t *const pixel[4], size_t j,
                                const struct bp_limit_rows *limits) {
    __m256i low[2], high[2], best[2];
    for (size_t i = 0; i < 2; i++)
        best[i] = winner(pixel, j + 16 * i, load_256(limits->flip + j + 16 * i), &low[i], &high[i]);
    return (struct pooled){inside(best, limits->sign_low + j, limits->sign_high + j),
                           inside(best, limits->mask_low + j, limits->mask_high + j),
                           bits_32(low[0], low[1]), bits_32(high[0], high[1])};
}

/* The last `rest` channels, less than 32. */
static struct pooled pool_rest(const int16_t *const pixel[4], size_t j, size_t rest,
                               const struct bp_limit_rows *limits) {
    int16_t rows[2][2 * 32];
    struct pooled p;
    uint64_t which[2];
    const struct bp_limit_rows last = limits_from(limits, j);
    for (size_t i = 0; i < 4; i++)
        memcpy(rows[i / 2] + i % 2 * rest, pixel[i] + j, rest * sizeof(int16_t));
    bp_limit_pool_signs_i16_c(rows[0], rows[1], 1, rest, &last, &p.sign, &p.small, which);
    p.low = which[0];
    p.high = which[1];
    return p;
}

void bp_limit_pool_signs_i16_avx2(const int16_t *upper, const int16_t *lower, size_t n, size_t c,
                                  const struct bp_limit_rows *limits, uint64_t *bits,
                                  uint64_t *mask, uint64_t *which) {
    size_t cw = bp_words(c);
    for (size_t p = 0; p < n; p++, upper += 2 * c, lower += 2 * c, bits += cw) {
        const int16_t *const pixel[4] = {upper, upper + c, lower, lower + c};
        struct pooled word = {0, 0, 0, 0};
        for (size_t j = 0; j < c; j += 32) {
            struct pooled part =
                c - j >= 32 ? pool_32(pixel, j, limits) : pool_rest(pixel, j, c - j, limits);
            if (j % 64 == 0)
                word = part;
            else
                word = (struct pooled){word.sign | part.sign << 32, word.small | part.small << 32,
                                       word.low | part.low << 32, word.high | part.high << 32};
            bits[j / 64] = word.sign;
            if (mask != NULL)
                mask[p * cw + j / 64] = word.small;
            if (which != NULL) {
                which[p * 2 * cw + j / 64] = word.low;
                which[(p * 2 + 1) * cw + j / 64] = word.high;
            }
        }
    }
}
