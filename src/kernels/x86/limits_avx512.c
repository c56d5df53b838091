/* Signs, masks and pooling of integers by limits, AVX-512: 64 channels a word, whose limits stay in
 * registers while the pixels go by. */
#include "kernels/x86/tier_avx512.h"

#include "base/bits.h"
#include "kernels/x86/fetch_x86.h"
#include "kernels/x86/vec_avx512.h"

/* 64 channels, the last one or two vectors masked. */
struct pair {
    __m512i low, high;
};

BP_INLINE struct pair load_pair(const int16_t *p, __mmask64 m) {
    return (struct pair){_mm512_maskz_loadu_epi16((__mmask32)m, p),
                         _mm512_maskz_loadu_epi16((__mmask32)(m >> 32), p + 32)};
}

struct limits {
    struct pair sign_low, sign_high, mask_low, mask_high, flip;
};

BP_INLINE struct limits load_limits(const struct bp_limit_rows *rows, size_t j, __mmask64 m) {
    return (struct limits){load_pair(rows->sign_low + j, m), load_pair(rows->sign_high + j, m),
                           load_pair(rows->mask_low + j, m), load_pair(rows->mask_high + j, m),
                           load_pair(rows->flip + j, m)};
}

BP_INLINE __mmask32 between(__m512i y, __m512i low, __m512i high) {
    return _mm512_mask_cmple_epi16_mask(_mm512_cmple_epi16_mask(low, y), y, high);
}

BP_INLINE uint64_t inside(struct pair y, struct pair low, struct pair high, __mmask64 m) {
    return _mm512_kunpackd(between(y.high, low.high, high.high),
                           between(y.low, low.low, high.low)) &
           m;
}

BP_INLINE void limit_word(const int16_t *y, size_t n, size_t c, const struct bp_limit_rows *rows,
                          size_t j, __mmask64 m, uint64_t *bits, uint64_t *mask) {
    const struct limits k = load_limits(rows, j, m);
    size_t cw = bp_words(c), w = j / 64;
    for (size_t p = 0; p < n; p++) {
        struct pair v = load_pair(y + p * c + j, m);
        fetch_behind(y + n * c, sizeof *y * (j * n + 64 * p));
        fetch_behind(y + n * c, sizeof *y * (j * n + 64 * p) + 64);
        bits[p * cw + w] = inside(v, k.sign_low, k.sign_high, m);
        if (mask != NULL)
            mask[p * cw + w] = inside(v, k.mask_low, k.mask_high, m);
    }
}

void bp_limit_signs_i16_avx512(const int16_t *y, size_t n, size_t c,
                               const struct bp_limit_rows *limits, uint64_t *bits, uint64_t *mask) {
    for (size_t j = 0; j < c; j += 64)
        if (c - j >= 64)
            limit_word(y, n, c, limits, j, ~(__mmask64)0, bits, mask);
        else
            limit_word(y, n, c, limits, j, mask_64(c - j), bits, mask);
}

/* --- pooling ---------------------------------------------------------------------------------- */

/* The winner of four keys and its number's two bits. The columns are compared within a row first:
 * as a later key wins only if it is greater, the order does not matter. */
BP_INLINE __m512i winner(const __m512i key[4], __mmask32 *low, __mmask32 *high) {
    __mmask32 right_above = _mm512_cmpgt_epi16_mask(key[1], key[0]);
    __mmask32 right_below = _mm512_cmpgt_epi16_mask(key[3], key[2]);
    __m512i above = _mm512_max_epi16(key[0], key[1]), below = _mm512_max_epi16(key[2], key[3]);
    *high = _mm512_cmpgt_epi16_mask(below, above);
    *low = (right_above & ~*high) | (right_below & *high);
    return _mm512_max_epi16(above, below);
}

struct pool_job {
    const int16_t *row[2];
    size_t n, c;
    const struct bp_limit_rows *limits;
    uint64_t *bits, *mask, *which;
};

BP_INLINE void pool_word(const struct pool_job *job, size_t j, __mmask64 m) {
    const struct limits k = load_limits(job->limits, j, m);
    size_t c = job->c, cw = bp_words(c), w = j / 64;
    const int16_t *end = job->row[1] + 2 * job->n * c; /* where the next two rows begin */
    for (size_t p = 0; p < job->n; p++) {
        __m512i first[4], second[4];
#pragma GCC unroll 4
        for (size_t i = 0; i < 4; i++) {
            struct pair v = load_pair(job->row[i / 2] + (2 * p + i % 2) * c + j, m);
            fetch_behind(end, sizeof *end * 4 * (j * job->n + 64 * p) + 128 * i);
            fetch_behind(end, sizeof *end * 4 * (j * job->n + 64 * p) + 128 * i + 64);
            first[i] = _mm512_xor_si512(v.low, k.flip.low);
            second[i] = _mm512_xor_si512(v.high, k.flip.high);
        }
        __mmask32 low[2], high[2];
        struct pair best = {winner(first, &low[0], &high[0]), winner(second, &low[1], &high[1])};
        best.low = _mm512_xor_si512(best.low, k.flip.low);
        best.high = _mm512_xor_si512(best.high, k.flip.high);
        job->bits[p * cw + w] = inside(best, k.sign_low, k.sign_high, m);
        if (job->mask != NULL)
            job->mask[p * cw + w] = inside(best, k.mask_low, k.mask_high, m);
        if (job->which != NULL) {
            job->which[p * 2 * cw + w] = _mm512_kunpackd(low[1], low[0]);
            job->which[(p * 2 + 1) * cw + w] = _mm512_kunpackd(high[1], high[0]);
        }
    }
}

void bp_limit_pool_signs_i16_avx512(const int16_t *upper, const int16_t *lower, size_t n, size_t c,
                                    const struct bp_limit_rows *limits, uint64_t *bits,
                                    uint64_t *mask, uint64_t *which) {
    const struct pool_job job = {{upper, lower}, n, c, limits, bits, mask, which};
    for (size_t j = 0; j < c; j += 64)
        if (c - j >= 64)
            pool_word(&job, j, ~(__mmask64)0);
        else
            pool_word(&job, j, mask_64(c - j));
}
