/* Products of bytes, NEON of ARMv8.0, which multiplies bytes of like signs only: x becomes x - 128,
 * and 128 times the sum of the weights is added at the end. A product of two bytes fits 16 bits,
 * the sum of two does not; so smull makes 8 products, and sadalp adds pairs of them to sums of 32
 * bits, two for each lane. */
#include "kernels/arm/tier_neon.h"

#include "base/bits.h"
#include "kernels/arm/vec_neon.h"

#define ROWS    2 /* of a block: 16 sums, 4 registers of weights, the bytes of two rows, products */
#define VECTORS 4 /* of 4 lanes */

/* What becomes of the sums: they are added to y32, scaled to y, or shifted to y16. A constant. */
enum out { OUT_I32, OUT_F32, OUT_I16 };

struct bytes_job {
    const uint8_t *x;
    const int32_t *row, *quad;
    size_t quads, k, lanes;
    const int8_t *w;
    const int32_t *base;
    const float *scale;
    const int32_t *shift;
    int32_t *y32;
    float *y;
    int16_t *y16;
};

/* The four bytes of a quad less 128, again and again. The sign bits are turned before the
 * broadcast: no work for the vector units. */
BP_INLINE int8x16_t broadcast_quad(const uint8_t *u) {
    uint32_t v;
    memcpy(&v, u, sizeof v);
    return vreinterpretq_s8_u32(vdupq_n_u32(v ^ 0x80808080u));
}

/* 128 times the sums of the weights of 16 lanes. */
static void offsets_of(const struct bytes_job *job, size_t b, int32x4_t offset[VECTORS]) {
    for (int v = 0; v < VECTORS; v++)
        offset[v] = vdupq_n_s32(0);
    for (size_t t = 0; t < job->quads; t++)
        for (int v = 0; v < VECTORS; v++) {
            int8x16_t weights = vld1q_s8(job->w + 4 * (t * job->lanes + b) + 16 * v);
            offset[v] = vpadalq_s16(offset[v], vpaddlq_s8(weights));
        }
    for (int v = 0; v < VECTORS; v++)
        offset[v] = vshlq_n_s32(offset[v], 7);
}

/* Sums of row p and 4 lanes from j on, of which `rest` are there. */
BP_INLINE void put(const struct bytes_job *job, enum out out, int full, int32x4_t sum, size_t p,
                   size_t j, size_t rest) {
    size_t to = p * job->k + j;
    const int32_t *more = out == OUT_I32 ? job->y32 + to : job->base + j;
    sum = vaddq_s32(sum, full ? vld1q_s32(more) : load_i32(more, rest));
    if (out == OUT_F32) {
        float32x4_t scale = load_f32(job->scale + j, full, rest);
        store_f32(job->y + to, full, rest, vmulq_f32(scale, vcvtq_f32_s32(sum)));
    } else if (out == OUT_I16) {
        int32x4_t shift = full ? vld1q_s32(job->shift + j) : load_i32(job->shift + j, rest);
        int16_t values[4];
        vst1_s16(values, vmovn_s32(vshlq_s32(sum, vnegq_s32(shift))));
        memcpy(job->y16 + to, values, (full ? 4 : rest) * sizeof *values);
    } else if (full) {
        vst1q_s32(job->y32 + to, sum);
    } else {
        store_i32(job->y32 + to, rest, sum);
    }
}

/* sum + pairs of products. In assembly so that products are used as they come: compilers make all
 * of them first, for which there are too few registers. */
BP_INLINE int32x4_t add_pairs(int32x4_t sum, int16x8_t products) {
    __asm__ volatile("sadalp %0.4s, %1.8h" : "+w"(sum) : "w"(products));
    return sum;
}

/* Of one row: lanes 4 v .. 4 v + 3. */
BP_INLINE void add_products(int32x4_t acc[2 * VECTORS], int v, int8x16_t bytes, int8x16_t weights) {
    int16x8_t low = vmull_s8(vget_low_s8(bytes), vget_low_s8(weights));
    int16x8_t high = vmull_high_s8(bytes, weights);
    acc[2 * v] = add_pairs(acc[2 * v], low);
    acc[2 * v + 1] = add_pairs(acc[2 * v + 1], high);
}

BP_INLINE void add_vector(int32x4_t acc[ROWS][2 * VECTORS], int rows, int v,
                          const int8x16_t bytes[ROWS], const int8_t *w) {
    int8x16_t weights = vld1q_s8(w + 16 * v);
    add_products(acc[0], v, bytes[0], weights);
    if (rows == ROWS)
        add_products(acc[1], v, bytes[1], weights);
}

/* rows (at most ROWS, a constant) from row p on, the 16 lanes from b on. */
BP_INLINE void bytes_block(const struct bytes_job *job, enum out out, int rows, size_t p, size_t b,
                           const int32x4_t offset[VECTORS]) {
    int32x4_t acc[ROWS][2 * VECTORS];
    const uint8_t *u[ROWS];
    const int8_t *w = job->w + 4 * b;
    for (int r = 0; r < rows; r++) {
        u[r] = job->x + job->row[p + (size_t)r];
        for (int v = 0; v < 2 * VECTORS; v++)
            acc[r][v] = vdupq_n_s32(0);
    }
    for (size_t t = 0; t < job->quads; t++, w += 4 * job->lanes) {
        int8x16_t bytes[ROWS];
        for (int r = 0; r < rows; r++)
            bytes[r] = broadcast_quad(u[r] + job->quad[t]);
        add_vector(acc, rows, 0, bytes, w); /* no loop, so that the sums stay in registers */
        add_vector(acc, rows, 1, bytes, w);
        add_vector(acc, rows, 2, bytes, w);
        add_vector(acc, rows, 3, bytes, w);
    }
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < VECTORS; v++) {
            size_t j = b + 4 * (size_t)v;
            int32x4_t sum = vaddq_s32(vpaddq_s32(acc[r][2 * v], acc[r][2 * v + 1]), offset[v]);
            if (j + 4 <= job->k)
                put(job, out, 1, sum, p + (size_t)r, j, 4);
            else if (j < job->k)
                put(job, out, 0, sum, p + (size_t)r, j, job->k - j);
        }
}

BP_INLINE void bytes_rows(const struct bytes_job *job, enum out out, size_t n) {
    for (size_t b = 0; b < job->k; b += BP_BYTE_LANES) {
        int32x4_t offset[VECTORS];
        size_t p = 0;
        offsets_of(job, b, offset);
        for (; p + ROWS <= n; p += ROWS)
            bytes_block(job, out, ROWS, p, b, offset);
        for (; p < n; p++)
            bytes_block(job, out, 1, p, b, offset);
    }
}

static struct bytes_job job_of(const uint8_t *x, const int32_t *row, const int32_t *quad,
                               size_t quads, const int8_t *w, size_t k) {
    return (struct bytes_job){.x = x,
                              .row = row,
                              .quad = quad,
                              .quads = quads,
                              .w = w,
                              .k = k,
                              .lanes = bp_round_up(k, BP_BYTE_LANES)};
}

void bp_product_bytes_neon(const uint8_t *x, const int32_t *row, size_t n, const int32_t *quad,
                           size_t quads, const int8_t *w, size_t k, int32_t *y) {
    struct bytes_job job = job_of(x, row, quad, quads, w, k);
    job.y32 = y;
    bytes_rows(&job, OUT_I32, n);
}

void bp_product_bytes_f32_neon(const uint8_t *x, const int32_t *row, size_t n, const int32_t *quad,
                               size_t quads, const int8_t *w, size_t k, const int32_t *base,
                               const float *scale, float *y) {
    struct bytes_job job = job_of(x, row, quad, quads, w, k);
    job.base = base;
    job.scale = scale;
    job.y = y;
    bytes_rows(&job, OUT_F32, n);
}

void bp_product_bytes_i16_neon(const uint8_t *x, const int32_t *row, size_t n, const int32_t *quad,
                               size_t quads, const int8_t *w, size_t k, const int32_t *base,
                               const int32_t *shift, int16_t *y) {
    struct bytes_job job = job_of(x, row, quad, quads, w, k);
    job.base = base;
    job.shift = shift;
    job.y16 = y;
    bytes_rows(&job, OUT_I16, n);
}

/* --- codes ------------------------------------------------------------------------------------ */

/* Coefficients and sums of 8 columns. */
struct code_columns {
    float32x4_t scale[2];
    int32x4_t sum[2];
};

/* The upper halves of the numbers of two rows, side by side. */
BP_INLINE uint8x16_t upper_halves(uint32x4_t a, uint32x4_t b) {
    return vreinterpretq_u8_u16(vtrn2q_u16(vreinterpretq_u16_u32(a), vreinterpretq_u16_u32(b)));
}

/* count rows (1 .. 4) of 8 columns to 8 quads: the code is the third byte of r + u. */
BP_INLINE void code_rows(const float *g, size_t k, size_t count, int full, size_t rest,
                         const uint8_t *random, struct code_columns *columns, int8_t *out) {
    uint32x4_t s[4][2];
    for (size_t e = 0; e < 4; e++) {
        s[e][0] = s[e][1] = vdupq_n_u32(0);
        if (e >= count)
            continue;
        const float *from = g + e * k;
        const uint16x8_t u = vreinterpretq_u16_u8(vld1q_u8(random + 32 * e));
        float32x4_t low = vmulq_f32(load_f32(from, full, rest), columns->scale[0]);
        s[e][0] = vaddw_u16(vreinterpretq_u32_s32(vcvtnq_s32_f32(low)), vget_low_u16(u));
        if (full || rest > 4) {
            float32x4_t high = vmulq_f32(load_f32(from + 4, full, rest - 4), columns->scale[1]);
            s[e][1] = vaddw_high_u16(vreinterpretq_u32_s32(vcvtnq_s32_f32(high)), u);
        }
    }
    uint8x16_t first = vuzp1q_u8(upper_halves(s[0][0], s[1][0]), upper_halves(s[0][1], s[1][1]));
    uint8x16_t second = vuzp1q_u8(upper_halves(s[2][0], s[3][0]), upper_halves(s[2][1], s[3][1]));
    const uint16x8x2_t quads = vzipq_u16(vreinterpretq_u16_u8(first), vreinterpretq_u16_u8(second));
    for (int h = 0; h < 2; h++) {
        int8x16_t codes = vreinterpretq_s8_u16(quads.val[h]);
        columns->sum[h] = vpadalq_s16(columns->sum[h], vpaddlq_s8(codes));
        vst1q_s8(out + 16 * h, codes);
    }
}

/* 8 columns; full is a constant. */
BP_INLINE void code_block(const float *g, size_t n, size_t k, int full, size_t rest,
                          const uint8_t *random, const float *scale, int8_t *out, size_t lanes,
                          int32_t *sum) {
    struct code_columns columns = {{vdupq_n_f32(0), vdupq_n_f32(0)},
                                   {vdupq_n_s32(0), vdupq_n_s32(0)}};
    int32_t totals[8];
    columns.scale[0] = load_f32(scale, full, rest);
    if (full || rest > 4)
        columns.scale[1] = load_f32(scale + 4, full, rest - 4);
    for (; n >= 4; n -= 4, g += 4 * k, random += 128, out += 4 * lanes)
        code_rows(g, k, 4, full, rest, random, &columns, out);
    if (n > 0)
        code_rows(g, k, n, full, rest, random, &columns, out);
    vst1q_s32(totals, columns.sum[0]);
    vst1q_s32(totals + 4, columns.sum[1]);
    for (size_t j = 0; j < 8 && j < rest; j++)
        sum[j] += totals[j];
}

void bp_code_quads_neon(const float *g, size_t n, size_t k, const uint8_t *random,
                        const float *scale, int8_t *out, int32_t *sum) {
    size_t lanes = bp_round_up(k, BP_BYTE_LANES);
    for (size_t j = 0; j < lanes; j += 8) {
        const uint8_t *words = random + 2 * (j % 16);
        if (j + 8 <= k)
            code_block(g + j, n, k, 1, 8, words, scale + j, out + 4 * j, lanes, sum + j);
        else if (j < k)
            code_block(g + j, n, k, 0, k - j, words, scale + j, out + 4 * j, lanes, sum + j);
        else
            for (size_t p = 0; p < n; p += 4)
                memset(out + p * lanes + 4 * j, 0, 32);
    }
}
