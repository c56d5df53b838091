/* The gradient quantizer, NEON: ranges, stochastic rounding. */
#include "kernels/arm/tier_neon.h"

#include "base/bits.h"
#include "kernels/arm/vec_neon.h"
#include "kernels/columns.h"

/* --- ranges ----------------------------------------------------------------------------------- */

/* 4 * vectors columns from column j on; only the last vector of a row is not full. */
BP_INLINE void range_block(int vectors, const float *g, size_t n, size_t k, size_t j, int full,
                           size_t rest, const struct bp_columns *to) {
    struct range_4 range[4];
    for (int q = 0; q < vectors; q++)
        range[q] = range_load(to, j + 4 * (size_t)q, full, rest);
    for (size_t i = 0; i < n; i++)
        for (int q = 0; q < vectors; q++)
            range_add(&range[q], load_f32(g + i * k + j + 4 * (size_t)q, full, rest));
    for (int q = 0; q < vectors; q++)
        range_store(to, j + 4 * (size_t)q, full, rest, &range[q]);
}

void bp_range_columns_neon(const float *g, size_t n, size_t k, struct bp_columns to) {
    size_t j = 0;
    for (; j + 16 <= k; j += 16)
        range_block(4, g, n, k, j, 1, 4, &to);
    for (; j < k; j += 4)
        range_block(1, g, n, k, j, 0, k - j, &to);
}

/* --- stochastic rounding ---------------------------------------------------------------------- */

/* Random numbers of 8 elements, of which `count` are there. */
BP_INLINE uint16x8_t random_8(const uint8_t *random, int wide, size_t count) {
    uint8_t part[16] = {0};
    if (count < 8) {
        memcpy(part, random, (wide ? 2 : 1) * count);
        random = part;
    }
    return wide ? vreinterpretq_u16_u8(vld1q_u8(random)) : vmovl_u8(vld1_u8(random));
}

/* Codes are made of t in parts of a step, an integer; clamped before the random number is added
 * they are the same. */
struct rounder {
    float32x4_t least, most; /* of t */
    float parts;
};

BP_INLINE struct rounder rounder_of(const struct bp_rounding *rounding) {
    const float parts = bp_rounding_parts(rounding);
    return (struct rounder){vdupq_n_f32((float)rounding->code_min * parts),
                            vdupq_n_f32((float)rounding->code_max * parts), parts};
}

/* (g - lo) * by, clamped and rounded to the nearest integer; fmaxnm with a NaN is the number. */
BP_INLINE int32x4_t integer_4(float32x4_t g, float32x4_t lo, float32x4_t by,
                              const struct rounder *r) {
    float32x4_t t = vmulq_f32(vsubq_f32(g, lo), by);
    return vcvtnq_s32_f32(vminq_f32(vmaxnmq_f32(t, r->least), r->most));
}

/* The codes of 8 integers: a byte of their sums with the random numbers. */
BP_INLINE uint8x8_t codes_8(const int32x4_t n[2], uint16x8_t random, int wide) {
    if (!wide) {
        int16x8_t sum = vaddq_s16(vcombine_s16(vmovn_s32(n[0]), vmovn_s32(n[1])),
                                  vreinterpretq_s16_u16(random));
        return vreinterpret_u8_s8(vshrn_n_s16(sum, 8));
    }
    uint32x4_t low = vaddw_u16(vreinterpretq_u32_s32(n[0]), vget_low_u16(random));
    uint32x4_t high = vaddw_high_u16(vreinterpretq_u32_s32(n[1]), random);
    return vmovn_u16(vcombine_u16(vshrn_n_u32(low, 16), vshrn_n_u32(high, 16)));
}

/* Codes, of which `count` are written. */
BP_INLINE void store_codes(uint8x8_t v, size_t count, uint8_t *codes) {
    uint8_t part[8];
    if (count >= 8) {
        vst1_u8(codes, v);
        return;
    }
    vst1_u8(part, v);
    memcpy(codes, part, count);
}

BP_INLINE void round_one_grid(const float *g, size_t n, const uint8_t *random,
                              const struct bp_rounding *rounding, int wide, struct bp_grid grid,
                              uint8_t *codes) {
    const struct rounder r = rounder_of(rounding);
    const float32x4_t lo = vdupq_n_f32(grid.lo), by = vdupq_n_f32(grid.inv_step * r.parts);
    for (size_t i = 0; i < n; i += 8) {
        size_t count = bp_min_size(n - i, 8);
        float part[8] = {0};
        const float *from = g + i;
        int32x4_t v[2];
        if (count < 8) {
            memcpy(part, from, count * sizeof *part);
            from = part;
        }
        for (size_t h = 0; h < 2; h++)
            v[h] = integer_4(vld1q_f32(from + 4 * h), lo, by, &r);
        store_codes(codes_8(v, random_8(random + (wide ? 2 : 1) * i, wide, count), wide), count,
                    codes + i);
    }
}

void bp_round_group_neon(const float *g, size_t n, const uint8_t *random,
                         const struct bp_rounding *rounding, struct bp_grid grid, uint8_t *codes) {
    if (rounding->wide)
        round_one_grid(g, n, random, rounding, 1, grid, codes);
    else
        round_one_grid(g, n, random, rounding, 0, grid, codes);
}

/* 8 columns of a row, of which `count` are there; `run`: they are neighbours. */
BP_INLINE void load_columns(const float *g, const int32_t *column, size_t count, int run,
                            float32x4_t v[2]) {
    float part[8] = {0};
    const float *from = part;
    if (run && count >= 8)
        from = g + column[0];
    else
        for (size_t e = 0; e < count; e++)
            part[e] = g[column[e]];
    v[0] = vld1q_f32(from);
    v[1] = vld1q_f32(from + 4);
}

BP_INLINE void round_grids(const float *g, size_t n, size_t g_stride, const int32_t *column,
                           size_t k, const uint8_t *random, const struct bp_rounding *rounding,
                           int wide, int run, const struct bp_grid *grid, uint8_t *codes) {
    const struct rounder r = rounder_of(rounding);
    size_t bytes = wide ? 2 : 1;
    for (size_t i = 0; i < n; i++, g += g_stride, codes += k, random += bytes * k)
        for (size_t j = 0; j < k; j += 8) {
            size_t count = bp_min_size(8, k - j);
            const struct bp_grid *from = grid + j;
            struct bp_grid part[8] = {{0, 0}};
            float32x4_t v[2];
            int32x4_t t[2];
            if (count < 8) {
                memcpy(part, from, count * sizeof *part);
                from = part;
            }
            load_columns(g, column + j, count, run, v);
            for (size_t h = 0; h < 2; h++) {
                const float32x4x2_t grids = vld2q_f32(&from[4 * h].lo);
                t[h] = integer_4(v[h], grids.val[0], vmulq_n_f32(grids.val[1], r.parts), &r);
            }
            store_codes(codes_8(t, random_8(random + bytes * j, wide, count), wide), count,
                        codes + j);
        }
}

void bp_round_columns_neon(const float *g, size_t n, size_t g_stride, const int32_t *column,
                           size_t k, const uint8_t *random, const struct bp_rounding *rounding,
                           const struct bp_grid *grid, uint8_t *codes) {
    int run = is_run(column, k);
    if (rounding->wide)
        round_grids(g, n, g_stride, column, k, random, rounding, 1, run, grid, codes);
    else if (run)
        round_grids(g, n, g_stride, column, k, random, rounding, 0, 1, grid, codes);
    else
        round_grids(g, n, g_stride, column, k, random, rounding, 0, 0, grid, codes);
}
