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

#define BATCH_BLOCKS 16
#define BATCH_BYTES  (16 * BATCH_BLOCKS)
#define ROUNDS       10

/* The low and the high halves of the products of 4 numbers with a constant. */
BP_INLINE void multiply_long(uint32x4_t v, uint32_t constant, uint32x4_t *low, uint32x4_t *high) {
    const uint32x4_t m = vdupq_n_u32(constant);
    uint32x4_t a = vreinterpretq_u32_u64(vmull_u32(vget_low_u32(v), vget_low_u32(m)));
    uint32x4_t b = vreinterpretq_u32_u64(vmull_high_u32(v, m));
    *low = vuzp1q_u32(a, b);
    *high = vuzp2q_u32(a, b);
}

/* The bytes of BATCH_BLOCKS blocks of a stream from block `index` on: Philox4x32, lane i of a
 * vector is block 4 h + i. */
static void random_batch(const struct bp_stream *stream, uint64_t index,
                         uint8_t bytes[BATCH_BYTES]) {
    uint32_t number[2][BATCH_BLOCKS];
    uint32x4_t c0[4], c1[4], c2[4], c3[4];
    uint32_t key0 = stream->key[0], key1 = stream->key[1];
    for (unsigned i = 0; i < BATCH_BLOCKS; i++) {
        number[0][i] = (uint32_t)(index + i);
        number[1][i] = (uint32_t)((index + i) >> 32);
    }
    for (int h = 0; h < 4; h++) {
        c0[h] = vld1q_u32(number[0] + 4 * h);
        c1[h] = vld1q_u32(number[1] + 4 * h);
        c2[h] = vdupq_n_u32(stream->step);
        c3[h] = vdupq_n_u32(stream->purpose_layer);
    }
    for (int round = 0; round < ROUNDS; round++) {
        const uint32x4_t k0 = vdupq_n_u32(key0), k1 = vdupq_n_u32(key1);
        for (int h = 0; h < 4; h++) {
            uint32x4_t low0, high0, low1, high1;
            multiply_long(c0[h], 0xD2511F53, &low0, &high0);
            multiply_long(c2[h], 0xCD9E8D57, &low1, &high1);
            c0[h] = veorq_u32(veorq_u32(c1[h], k0), high1);
            c2[h] = veorq_u32(veorq_u32(c3[h], k1), high0);
            c1[h] = low1;
            c3[h] = low0;
        }
        key0 += 0x9E3779B9;
        key1 += 0xBB67AE85;
    }
    for (int h = 0; h < 4; h++) {
        const uint32x4x4_t blocks = {{c0[h], c1[h], c2[h], c3[h]}};
        vst4q_u32((uint32_t *)(void *)(bytes + 64 * h), blocks);
    }
}

void bp_random_blocks_neon(const struct bp_stream *stream, uint64_t first, size_t n, uint8_t *out) {
    uint8_t part[BATCH_BYTES];
    for (; n >= BATCH_BLOCKS; n -= BATCH_BLOCKS, first += BATCH_BLOCKS, out += BATCH_BYTES)
        random_batch(stream, first, out);
    if (n > 0) {
        random_batch(stream, first, part);
        memcpy(out, part, 16 * n);
    }
}

/* A stream's random bytes, batch by batch. */
struct fractions {
    const struct bp_stream *stream;
    uint64_t block;   /* first of the batch */
    size_t at, count; /* the next element and the end, within the batch */
    uint8_t bytes[BATCH_BYTES + 16] __attribute__((aligned(16))); /* loads may pass the end */
};

BP_INLINE void fractions_start(struct fractions *f, const struct bp_rounding *rounding,
                               uint64_t first, int wide) {
    f->stream = &rounding->stream;
    f->block = first / (wide ? 8 : 16);
    f->count = wide ? BATCH_BYTES / 2 : BATCH_BYTES;
    f->at = first % (wide ? 8 : 16);
    memset(f->bytes + BATCH_BYTES, 0, 16);
    random_batch(f->stream, f->block, f->bytes);
}

/* How many of the `wanted` next elements the batch holds: at least 1. */
BP_INLINE size_t fractions_ready(struct fractions *f, size_t wanted) {
    if (f->at == f->count) {
        f->block += BATCH_BLOCKS;
        f->at = 0;
        random_batch(f->stream, f->block, f->bytes);
    }
    return bp_min_size(wanted, f->count - f->at);
}

/* u of the 8 elements from `at` on. (integer + 0.5) / 2^bits is exact. */
BP_INLINE void fractions_load(const struct fractions *f, size_t at, int wide, float32x4_t u[2]) {
    uint16x8_t v =
        wide ? vreinterpretq_u16_u8(vld1q_u8(f->bytes + 2 * at)) : vmovl_u8(vld1_u8(f->bytes + at));
    uint32x4_t low = vmovl_u16(vget_low_u16(v)), high = vmovl_high_u16(v);
    const float32x4_t half = vdupq_n_f32(wide ? 0.5f / 65536.0f : 0.5f / 256.0f);
    u[0] = vaddq_f32(wide ? vcvtq_n_f32_u32(low, 16) : vcvtq_n_f32_u32(low, 8), half);
    u[1] = vaddq_f32(wide ? vcvtq_n_f32_u32(high, 16) : vcvtq_n_f32_u32(high, 8), half);
}

struct bounds {
    float32x4_t code_min, code_max;
};

BP_INLINE struct bounds bounds_of(const struct bp_rounding *rounding) {
    const struct bounds b = {vdupq_n_f32((float)rounding->code_min),
                             vdupq_n_f32((float)rounding->code_max)};
    return b;
}

/* Clamping before the floor is the same, as the bounds are integers; fmaxnm with a NaN is the
 * number. */
BP_INLINE uint32x4_t round_4(float32x4_t g, float32x4_t lo, float32x4_t inv_step, float32x4_t u,
                             const struct bounds *bounds) {
    float32x4_t t = vaddq_f32(vmulq_f32(vsubq_f32(g, lo), inv_step), u);
    t = vminq_f32(vmaxnmq_f32(t, bounds->code_min), bounds->code_max);
    return vreinterpretq_u32_s32(vcvtmq_s32_f32(t));
}

/* The low bytes of 8 codes, of which `count` are written. */
BP_INLINE void store_codes(const uint32x4_t code[2], size_t count, uint8_t *codes) {
    uint8x8_t v = vmovn_u16(vcombine_u16(vmovn_u32(code[0]), vmovn_u32(code[1])));
    uint8_t part[8];
    if (count >= 8) {
        vst1_u8(codes, v);
        return;
    }
    vst1_u8(part, v);
    memcpy(codes, part, count);
}

BP_INLINE void round_one_grid(const float *g, size_t n, uint64_t first,
                              const struct bp_rounding *rounding, int wide, struct bp_grid grid,
                              uint8_t *codes) {
    const float32x4_t lo = vdupq_n_f32(grid.lo), inv_step = vdupq_n_f32(grid.inv_step);
    const struct bounds bounds = bounds_of(rounding);
    struct fractions f;
    fractions_start(&f, rounding, first, wide);
    for (size_t i = 0; i < n;) {
        size_t count = fractions_ready(&f, bp_min_size(n - i, 8));
        float part[8] = {0};
        const float *from = g + i;
        float32x4_t u[2];
        uint32x4_t code[2];
        if (count < 8) {
            memcpy(part, from, count * sizeof *part);
            from = part;
        }
        fractions_load(&f, f.at, wide, u);
        for (size_t h = 0; h < 2; h++)
            code[h] = round_4(vld1q_f32(from + 4 * h), lo, inv_step, u[h], &bounds);
        store_codes(code, count, codes + i);
        f.at += count;
        i += count;
    }
}

void bp_round_group_neon(const float *g, size_t n, uint64_t first,
                         const struct bp_rounding *rounding, struct bp_grid grid, uint8_t *codes) {
    if (rounding->wide)
        round_one_grid(g, n, first, rounding, 1, grid, codes);
    else
        round_one_grid(g, n, first, rounding, 0, grid, codes);
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
                           size_t k, uint64_t first, const struct bp_rounding *rounding, int wide,
                           int run, const struct bp_grid *grid, uint8_t *codes) {
    const struct bounds bounds = bounds_of(rounding);
    struct fractions f;
    fractions_start(&f, rounding, first, wide);
    for (size_t i = 0; i < n; i++, g += g_stride, codes += k)
        for (size_t j = 0; j < k;) {
            size_t count = fractions_ready(&f, bp_min_size(8, k - j));
            const struct bp_grid *from = grid + j;
            struct bp_grid part[8] = {{0, 0}};
            float32x4_t v[2], u[2];
            uint32x4_t code[2];
            if (count < 8) {
                memcpy(part, from, count * sizeof *part);
                from = part;
            }
            load_columns(g, column + j, count, run, v);
            fractions_load(&f, f.at, wide, u);
            for (size_t h = 0; h < 2; h++) {
                const float32x4x2_t grids = vld2q_f32(&from[4 * h].lo);
                code[h] = round_4(v[h], grids.val[0], grids.val[1], u[h], &bounds);
            }
            store_codes(code, count, codes + j);
            f.at += count;
            j += count;
        }
}

void bp_round_columns_neon(const float *g, size_t n, size_t g_stride, const int32_t *column,
                           size_t k, uint64_t first, const struct bp_rounding *rounding,
                           const struct bp_grid *grid, uint8_t *codes) {
    int run = is_run(column, k);
    if (rounding->wide)
        round_grids(g, n, g_stride, column, k, first, rounding, 1, run, grid, codes);
    else if (run)
        round_grids(g, n, g_stride, column, k, first, rounding, 0, 1, grid, codes);
    else
        round_grids(g, n, g_stride, column, k, first, rounding, 0, 0, grid, codes);
}
