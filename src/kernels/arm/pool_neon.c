/* Max pooling and its reverse, NEON. */
#include "kernels/arm/tier_neon.h"

#include "base/bits.h"
#include "kernels/arm/gradient_neon.h"
#include "kernels/arm/vec_neon.h"

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

BP_INLINE void unpool_4(float32x4_t g, uint64_t low, uint64_t high, size_t c, int full, size_t rest,
                        float *upper, float *lower) {
    uint32x4_t right = spread_bits(low), below = spread_bits(high);
    uint32x4_t v = vreinterpretq_u32_f32(g);
    uint32x4_t above_v = vbicq_u32(v, below), below_v = vandq_u32(v, below);
    store_f32(upper, full, rest, vreinterpretq_f32_u32(vbicq_u32(above_v, right)));
    store_f32(upper + c, full, rest, vreinterpretq_f32_u32(vandq_u32(above_v, right)));
    store_f32(lower, full, rest, vreinterpretq_f32_u32(vbicq_u32(below_v, right)));
    store_f32(lower + c, full, rest, vreinterpretq_f32_u32(vandq_u32(below_v, right)));
}

BP_INLINE void unpool(const struct gradient *g, enum gradient_form form, const uint64_t *which,
                      size_t n, size_t c, float *a, float *b) {
    size_t cw = bp_words(c);
    for (size_t p = 0; p < n; p++, which += 2 * cw, a += 2 * c, b += 2 * c)
        for (size_t j = 0; j < c; j += 4) {
            uint64_t low = which[j / 64] >> j % 64, high = which[cw + j / 64] >> j % 64;
            size_t at = p * c + j;
            if (c - j >= 4)
                unpool_4(load_gradient(g, form, at, 1, 4), low, high, c, 1, 4, a + j, b + j);
            else
                unpool_4(load_gradient(g, form, at, 0, c - j), low, high, c, 0, c - j, a + j,
                         b + j);
        }
}

void bp_max_unpool_2x2_neon(const struct bp_gradient_rows *g, const uint64_t *which, size_t n,
                            size_t c, float *a, float *b) {
    const struct gradient gradient = gradient_of(g);
    if (form_of(g) == GRADIENT_FLOATS)
        unpool(&gradient, GRADIENT_FLOATS, which, n, c, a, b);
    else
        unpool(&gradient, GRADIENT_SUMS, which, n, c, a, b);
}

/* --- any window ------------------------------------------------------------------------------- */

struct window {
    size_t rows, columns, row_step, c;
};

/* 4 channels of one window; the winners as 32-bit numbers. */
BP_INLINE float32x4_t window_4(const float *x, const struct window *w, int full, size_t rest,
                               uint32x4_t *winner) {
    float32x4_t best = load_f32(x, full, rest);
    uint32x4_t index = vdupq_n_u32(0), here = vdupq_n_u32(0);
    for (size_t y = 0; y < w->rows; y++, x += w->row_step)
        for (size_t i = 0; i < w->columns; i++) {
            uint32x4_t wins = challenge(&best, load_f32(x + i * w->c, full, rest));
            index = vbslq_u32(wins, here, index);
            here = vaddq_u32(here, vdupq_n_u32(1));
        }
    *winner = index;
    return best;
}

/* 16 channels, all windows of the pixel at once: independent comparisons, and the number of a pixel
 * is made once. */
BP_INLINE void window_16(const float *x, const struct window *w, float *z, uint8_t *winner) {
    float32x4_t best[4];
    uint32x4_t index[4], here = vdupq_n_u32(0);
    for (int q = 0; q < 4; q++) {
        best[q] = vld1q_f32(x + 4 * q);
        index[q] = vdupq_n_u32(0);
    }
    for (size_t y = 0; y < w->rows; y++, x += w->row_step)
        for (size_t i = 0; i < w->columns; i++) {
            for (int q = 0; q < 4; q++) {
                uint32x4_t wins = challenge(&best[q], vld1q_f32(x + i * w->c + 4 * q));
                index[q] = vbslq_u32(wins, here, index[q]);
            }
            here = vaddq_u32(here, vdupq_n_u32(1));
        }
    for (int q = 0; q < 4; q++)
        vst1q_f32(z + 4 * q, best[q]);
    if (winner != NULL)
        vst1q_u8(winner, narrow_16(index));
}

void bp_max_window_neon(const float *x, size_t n, size_t step, size_t rows, size_t columns,
                        size_t row_step, size_t c, float *z, uint8_t *winner) {
    const struct window w = {rows, columns, row_step, c};
    for (size_t p = 0; p < n; p++, x += step, z += c) {
        size_t j = 0;
        for (; j + 16 <= c; j += 16)
            window_16(x + j, &w, z + j, winner == NULL ? NULL : winner + p * c + j);
        for (; j < c; j += 4) {
            uint32x4_t index;
            uint32_t part[4];
            store_f32(z + j, 0, c - j, window_4(x + j, &w, 0, c - j, &index));
            vst1q_u32(part, index);
            for (size_t i = 0; winner != NULL && i < 4 && j + i < c; i++)
                winner[p * c + j + i] = (uint8_t)part[i];
        }
    }
}

/* 4 channels more of a sum, where the winner's byte is `mine`. */
BP_INLINE float32x4_t add_where(float32x4_t sum, float32x4_t g, uint32x4_t mine) {
    return vbslq_f32(mine, vaddq_f32(sum, g), sum);
}

/* The lanes of 8 channels where the winner is the index. */
BP_INLINE void winner_lanes(uint8x8_t winner, uint8_t index, uint32x4_t mine[2]) {
    int16x8_t wide = vmovl_s8(vreinterpret_s8_u8(vceq_u8(winner, vdup_n_u8(index))));
    mine[0] = vreinterpretq_u32_s32(vmovl_s16(vget_low_s16(wide)));
    mine[1] = vreinterpretq_u32_s32(vmovl_high_s16(wide));
}

/* Of one pixel. */
static void pixel_back(const float *g, const uint8_t *winner, const size_t *offset,
                       const uint8_t *index, size_t count, size_t c, int add, float *dx) {
    size_t j = 0;
    for (; j + 8 <= c; j += 8) {
        float32x4_t sum[2] = {vdupq_n_f32(0), vdupq_n_f32(0)};
        for (int h = 0; add && h < 2; h++)
            sum[h] = vld1q_f32(dx + j + 4 * h);
        for (size_t w = 0; w < count; w++) {
            uint32x4_t mine[2];
            winner_lanes(vld1_u8(winner + offset[w] + j), index[w], mine);
            for (int h = 0; h < 2; h++)
                sum[h] = add_where(sum[h], vld1q_f32(g + offset[w] + j + 4 * h), mine[h]);
        }
        for (int h = 0; h < 2; h++)
            vst1q_f32(dx + j + 4 * h, sum[h]);
    }
    for (; j < c; j++) {
        float sum = add ? dx[j] : 0.0f;
        for (size_t w = 0; w < count; w++)
            if (winner[offset[w] + j] == index[w])
                sum += g[offset[w] + j];
        dx[j] = sum;
    }
}

void bp_max_window_back_neon(const float *g, const uint8_t *winner, const size_t *offset,
                             const uint8_t *index, size_t count, size_t n, size_t c, size_t step,
                             int add, float *dx) {
    for (size_t p = 0; p < n; p++)
        pixel_back(g + p * c, winner + p * c, offset, index, count, c, add, dx + p * step);
}
