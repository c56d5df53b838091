/* Products of packed bits, NEON: population counts of bytes (vcnt), on blocks of 2 rows (pixels or
 * gradient rows) by 16 lanes (channels), in 16 accumulators of bytes. A byte takes 31 words, 8 bits
 * of each, before vpadal adds it to sums of 32 bits. */
#include "kernels/arm/tier_neon.h"

#include "base/bits.h"
#include "kernels/arm/vec_neon.h"
#include "kernels/product_jobs.h"

#define BYTE_WORDS 31
#define HALF       16 /* lanes of a block: half of BP_LANES */
#define VECTORS    8  /* of 2 lanes */

/* Two rows by 16 lanes. Sums are modulo 2^32, which is exact as the results fit. */
struct block {
    uint8x16_t bytes[2][VECTORS];
    uint32x4_t sum[2][VECTORS]; /* two for a lane */
    size_t used;                /* words in `bytes` */
};

BP_INLINE void block_clear(struct block *b, int rows) {
    for (int p = 0; p < rows; p++)
        for (int q = 0; q < VECTORS; q++) {
            b->bytes[p][q] = vdupq_n_u8(0);
            b->sum[p][q] = vdupq_n_u32(0);
        }
    b->used = 0;
}

BP_INLINE void block_flush(struct block *b, int rows) {
    for (int p = 0; p < rows; p++)
        for (int q = 0; q < VECTORS; q++) {
            b->sum[p][q] = vpadalq_u16(b->sum[p][q], vpaddlq_u8(b->bytes[p][q]));
            b->bytes[p][q] = vdupq_n_u8(0);
        }
    b->used = 0;
}

/* Between two planes: flush, negate the top one if it is negative, double unless it was the last.
 */
BP_INLINE void block_next_plane(struct block *b, int rows, int negate, int last) {
    block_flush(b, rows);
    for (int p = 0; p < rows; p++)
        for (int q = 0; q < VECTORS; q++) {
            if (negate)
                b->sum[p][q] = vsubq_u32(vdupq_n_u32(0), b->sum[p][q]);
            if (!last)
                b->sum[p][q] = vaddq_u32(b->sum[p][q], b->sum[p][q]);
        }
}

/* The sums of lanes 4 q .. 4 q + 3. */
BP_INLINE int32x4_t block_lanes(const struct block *b, int p, int q) {
    return vreinterpretq_s32_u32(vpaddq_u32(b->sum[p][2 * q], b->sum[p][2 * q + 1]));
}

/* One word of each row. */
BP_INLINE void add_xor(struct block *b, int rows, const uint64_t *const x[2], ptrdiff_t offset,
                       const uint64_t *w) {
    uint64x2_t word[2];
    for (int p = 0; p < rows; p++)
        word[p] = vdupq_n_u64(x[p][offset]);
    for (int q = 0; q < VECTORS; q++) {
        uint64x2_t weights = vld1q_u64(w + 2 * q);
        for (int p = 0; p < rows; p++) {
            uint8x16_t count = vcntq_u8(vreinterpretq_u8_u64(veorq_u64(word[p], weights)));
            b->bytes[p][q] = vaddq_u8(b->bytes[p][q], count);
        }
    }
}

/* Adds popcount(x[p][offset .. offset + words - 1] ^ w[..][16 lanes]). */
BP_INLINE void block_add_xor(struct block *b, int rows, const uint64_t *const x[2],
                             ptrdiff_t offset, size_t words, const uint64_t *w) {
    while (words > 0) {
        size_t run = bp_min_size(words, BYTE_WORDS - b->used);
        words -= run;
        b->used += run;
        for (; run > 0; run--, offset++, w += BP_LANES)
            add_xor(b, rows, x, offset, w);
        if (b->used == BYTE_WORDS)
            block_flush(b, rows);
    }
}

/* --- forward ---------------------------------------------------------------------------------- */

/* Pixels p .. p + rows - 1, lanes j and up; w: the lanes' weights. */
BP_INLINE void xor_rows(int rows, const struct xor_job *job, size_t cw, size_t p, const uint64_t *w,
                        size_t j) {
    struct block b;
    const uint64_t *row[2];
    block_clear(&b, rows);
    for (int i = 0; i < rows; i++)
        row[i] = job->x + job->pixel[p + (size_t)i];
    for (size_t t = 0; t < job->taps; t++)
        block_add_xor(&b, rows, row, job->tap[t], cw, w + (size_t)job->tap_w[t] * cw * BP_LANES);
    block_flush(&b, rows);
    for (int i = 0; i < rows; i++) {
        int16_t part[HALF], *y = job->y + (size_t)job->to[p + (size_t)i] * job->k + j;
        int16_t *at = job->k - j >= HALF ? y : part;
        for (int h = 0; h < 2; h++) {
            int16x8_t v = vcombine_s16(vmovn_s32(block_lanes(&b, i, 2 * h)),
                                       vmovn_s32(block_lanes(&b, i, 2 * h + 1)));
            vst1q_s16(at + 8 * h, vsubq_s16(vdupq_n_s16((int16_t)job->bias), vaddq_s16(v, v)));
        }
        if (at == part)
            memcpy(y, part, (job->k - j) * sizeof *y);
    }
}

void bp_product_xor_neon(const uint64_t *x, const int32_t *pixel, const int32_t *to, size_t n,
                         const int32_t *tap, const int32_t *tap_w, size_t taps, size_t w_taps,
                         size_t cw, const uint64_t *w, size_t k, int bias, int16_t *y) {
    const struct xor_job job = {x, pixel, to, tap, tap_w, taps, k, bias, y};
    for (size_t j = 0; j < k; j += HALF) {
        const uint64_t *block = w + j / BP_LANES * w_taps * cw * BP_LANES + j % BP_LANES;
        size_t p = 0;
        for (; p + 2 <= n; p += 2)
            xor_rows(2, &job, cw, p, block, j);
        if (p < n)
            xor_rows(1, &job, cw, p, block, j);
    }
}

/* --- activation gradient ---------------------------------------------------------------------- */

BP_INLINE void planes_rows(int rows, const struct planes_job *job, const int32_t *pixel,
                           const uint64_t *w, size_t c, size_t lanes, const int32x4_t correction[4],
                           int32_t *y) {
    struct block b;
    const uint64_t *row[2];
    block_clear(&b, rows);
    for (int p = 0; p < rows; p++)
        row[p] = job->x + pixel[p] + (ptrdiff_t)(job->planes - 1) * (ptrdiff_t)job->kw;
    for (int l = job->planes - 1; l >= 0; l--) {
        for (size_t t = 0; t < job->taps; t++)
            block_add_xor(&b, rows, row, job->tap[t], job->kw,
                          w + (size_t)job->tap_w[t] * job->kw * BP_LANES);
        for (int p = 0; p < rows; p++)
            row[p] -= job->kw;
        block_next_plane(&b, rows, job->is_signed && l == job->planes - 1, l == 0);
    }
    for (int p = 0; p < rows; p++)
        for (int q = 0; q < 4 && lanes > (size_t)(4 * q); q++)
            store_i32(y + (size_t)p * c + 4 * q, lanes - (size_t)(4 * q),
                      vsubq_s32(block_lanes(&b, p, q), correction[q]));
}

/* The sum over planes, taps and words of value * popcount(w), for 16 lanes. */
BP_INLINE void weight_counts(const struct planes_job *job, const uint64_t *w,
                             int32x4_t correction[4]) {
    static const uint64_t zero[1] = {0};
    const uint64_t *const row[2] = {zero, zero};
    struct block b;
    block_clear(&b, 1);
    for (size_t t = 0; t < job->taps; t++) {
        const uint64_t *word = w + (size_t)job->tap_w[t] * job->kw * BP_LANES;
        for (size_t i = 0; i < job->kw; i++, word += BP_LANES)
            block_add_xor(&b, 1, row, 0, 1, word);
    }
    block_flush(&b, 1);
    /* The planes' values sum to 2^planes - 1, less twice the top one if it is negative: to -1. */
    int32_t value = job->is_signed ? -1 : (int32_t)(((uint32_t)1 << job->planes) - 1);
    for (int q = 0; q < 4; q++)
        correction[q] = vmulq_n_s32(block_lanes(&b, 0, q), value);
}

void bp_product_planes_neon(const uint64_t *x, const int32_t *pixel, size_t n, const int32_t *tap,
                            const int32_t *tap_w, size_t taps, size_t w_taps, size_t kw, int planes,
                            int is_signed, const uint64_t *w, size_t c, int32_t *y) {
    const struct planes_job job = {x, tap, tap_w, taps, kw, planes, is_signed};
    for (size_t j = 0; j < c; j += HALF) {
        const uint64_t *block = w + j / BP_LANES * w_taps * kw * BP_LANES + j % BP_LANES;
        size_t p = 0;
        int32x4_t correction[4];
        weight_counts(&job, block, correction);
        for (; p + 2 <= n; p += 2)
            planes_rows(2, &job, pixel + p, block, c, c - j, correction, y + p * c + j);
        if (p < n)
            planes_rows(1, &job, pixel + p, block, c, c - j, correction, y + p * c + j);
    }
}

/* --- weight gradient -------------------------------------------------------------------------- */

/* Lanes 2 q, 2 q + 1 of the up to 16 from `from` on. */
BP_INLINE uint64x2_t load_lanes(const uint64_t *from, int q, int full, size_t lanes) {
    size_t at = 2 * (size_t)q;
    if (full || lanes >= at + 2)
        return vld1q_u64(from + at);
    return vcombine_u64(vcreate_u64(lanes > at ? from[at] : 0), vcreate_u64(0));
}

BP_INLINE void positions_rows(int rows, const uint64_t *a, const uint64_t *g, size_t words,
                              size_t k, size_t c, int planes, int is_signed, int full, size_t lanes,
                              int32_t *y, size_t y_stride) {
    struct block b;
    block_clear(&b, rows);
    for (int l = planes - 1; l >= 0; l--) {
        const uint64_t *from = a, *word = g + (size_t)l * k;
        for (size_t s = 0; s < words;) {
            size_t end = bp_min_size(words, s + BYTE_WORDS);
            for (; s < end; s++, from += c, word += (size_t)planes * k) {
                uint64x2_t code[2];
                for (int r = 0; r < rows; r++)
                    code[r] = vdupq_n_u64(word[r]);
                for (int q = 0; q < VECTORS; q++) {
                    uint64x2_t bits = load_lanes(from, q, full, lanes);
                    for (int r = 0; r < rows; r++) {
                        uint8x16_t both = vreinterpretq_u8_u64(vandq_u64(code[r], bits));
                        b.bytes[r][q] = vaddq_u8(b.bytes[r][q], vcntq_u8(both));
                    }
                }
            }
            block_flush(&b, rows);
        }
        block_next_plane(&b, rows, is_signed && l == planes - 1, l == 0);
    }
    for (int r = 0; r < rows; r++)
        for (int q = 0; q < 4 && lanes > (size_t)(4 * q); q++) {
            int32_t *to = y + (size_t)r * y_stride + 4 * q;
            size_t rest = lanes - (size_t)(4 * q);
            store_i32(to, rest, vaddq_s32(load_i32(to, rest), block_lanes(&b, r, q)));
        }
}

void bp_product_positions_neon(const uint64_t *a, const uint64_t *g, size_t words, size_t k,
                               size_t c, int planes, int is_signed, int32_t *y, size_t y_stride) {
    for (size_t j = 0; j < c; j += HALF)
        for (size_t i = 0; i < k; i += 2) {
            int32_t *to = y + i * y_stride + j;
            if (k - i == 1)
                positions_rows(1, a + j, g + i, words, k, c, planes, is_signed, 0, c - j, to,
                               y_stride);
            else if (c - j < HALF)
                positions_rows(2, a + j, g + i, words, k, c, planes, is_signed, 0, c - j, to,
                               y_stride);
            else
                positions_rows(2, a + j, g + i, words, k, c, planes, is_signed, 1, HALF, to,
                               y_stride);
        }
}

void bp_count_positions_neon(const uint64_t *a, size_t words, size_t c, int32_t *count) {
    for (size_t j = 0; j < c; j += HALF) {
        struct block b;
        block_clear(&b, 1);
        for (size_t s = 0; s < words; s++) {
            for (int q = 0; q < VECTORS; q++) {
                uint64x2_t bits = load_lanes(a + s * c + j, q, 0, c - j);
                b.bytes[0][q] = vaddq_u8(b.bytes[0][q], vcntq_u8(vreinterpretq_u8_u64(bits)));
            }
            if (++b.used == BYTE_WORDS)
                block_flush(&b, 1);
        }
        block_flush(&b, 1);
        for (int q = 0; q < 4 && c - j > (size_t)(4 * q); q++) {
            size_t rest = c - j - (size_t)(4 * q);
            int32_t *to = count + j + 4 * q;
            store_i32(to, rest, vaddq_s32(load_i32(to, rest), block_lanes(&b, 0, q)));
        }
    }
}
