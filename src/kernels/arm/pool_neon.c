/* 2x2 max pooling and its reverse, NEON. */
#include "kernels/arm/tier_neon.h"

#include "base/bits.h"
#include "kernels/arm/vec_neon.h"

/* Takes a later value where it is greater than the best so far, or NaN; returns those lanes. */
BP_INLINE uint32x4_t challenge(float32x4_t *best, float32x4_t later) {
    uint32x4_t wins = vornq_u32(vcgtq_f32(later, *best), vceqq_f32(later, later));
    *best = vbslq_f32(wins, later, *best);
    return wins;
}

/* 4 channels of one output pixel, and the winner's two bits of each. */
BP_INLINE void pool_4(const float *upper, const float *lower, size_t c, int full, size_t rest,
                      float *z, uint32x4_t *low, uint32x4_t *high) {
    float32x4_t best = load_f32(upper, full, rest);
    uint32x4_t w1 = challenge(&best, load_f32(upper + c, full, rest));
    uint32x4_t w2 = challenge(&best, load_f32(lower, full, rest));
    uint32x4_t w3 = challenge(&best, load_f32(lower + c, full, rest));
    store_f32(z, full, rest, best);
    *low = vorrq_u32(vbicq_u32(w1, w2), w3);
    *high = vorrq_u32(w2, w3);
}

/* Up to 16 channels. */
BP_INLINE void pool_16(const float *upper, const float *lower, size_t c, size_t count, float *z,
                       uint8x16_t *low, uint8x16_t *high) {
    uint32x4_t l[4], h[4];
    for (size_t q = 0; q < 4; q++) {
        size_t at = 4 * q;
        l[q] = h[q] = vdupq_n_u32(0);
        if (count >= at + 4)
            pool_4(upper + at, lower + at, c, 1, 4, z + at, &l[q], &h[q]);
        else if (count > at)
            pool_4(upper + at, lower + at, c, 0, count - at, z + at, &l[q], &h[q]);
    }
    *low = narrow_16(l);
    *high = narrow_16(h);
}

void bp_max_pool_2x2_neon(const float *a, const float *b, size_t n, size_t c, float *z,
                          uint64_t *which) {
    size_t cw = bp_words(c);
    for (size_t p = 0; p < n; p++, a += 2 * c, b += 2 * c, z += c)
        for (size_t w = 0; w < cw; w++) {
            uint8x16_t low[4], high[4];
            for (size_t q = 0; q < 4; q++) {
                size_t j = 64 * w + 16 * q;
                low[q] = high[q] = vdupq_n_u8(0);
                if (j + 16 <= c)
                    pool_16(a + j, b + j, c, 16, z + j, &low[q], &high[q]);
                else if (j < c)
                    pool_16(a + j, b + j, c, c - j, z + j, &low[q], &high[q]);
            }
            if (which != NULL) {
                which[p * 2 * cw + w] = bits_of_bytes(low);
                which[p * 2 * cw + cw + w] = bits_of_bytes(high);
            }
        }
}

BP_INLINE void unpool_4(const float *g, uint64_t low, uint64_t high, size_t c, int full,
                        size_t rest, float *upper, float *lower) {
    uint32x4_t right = spread_bits(low), below = spread_bits(high);
    uint32x4_t v = vreinterpretq_u32_f32(load_f32(g, full, rest));
    uint32x4_t above_v = vbicq_u32(v, below), below_v = vandq_u32(v, below);
    store_f32(upper, full, rest, vreinterpretq_f32_u32(vbicq_u32(above_v, right)));
    store_f32(upper + c, full, rest, vreinterpretq_f32_u32(vandq_u32(above_v, right)));
    store_f32(lower, full, rest, vreinterpretq_f32_u32(vbicq_u32(below_v, right)));
    store_f32(lower + c, full, rest, vreinterpretq_f32_u32(vandq_u32(below_v, right)));
}

void bp_max_unpool_2x2_neon(const float *g, const uint64_t *which, size_t n, size_t c, float *a,
                            float *b) {
    size_t cw = bp_words(c);
    for (size_t p = 0; p < n; p++, g += c, which += 2 * cw, a += 2 * c, b += 2 * c)
        for (size_t j = 0; j < c; j += 4) {
            uint64_t low = which[j / 64] >> j % 64, high = which[cw + j / 64] >> j % 64;
            if (c - j >= 4)
                unpool_4(g + j, low, high, c, 1, 4, a + j, b + j);
            else
                unpool_4(g + j, low, high, c, 0, c - j, a + j, b + j);
        }
}
