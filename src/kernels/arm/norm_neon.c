/* Normalisation and activation, NEON: 4 channels a vector. The last vector of a row takes only its
 * `rest` channels; `full` is a constant. */
#include "kernels/arm/tier_neon.h"

#include "base/bits.h"
#include "kernels/affine.h"
#include "kernels/arm/vec_neon.h"

/* 4 values as floats from either type; is_i16 is a constant. */
BP_INLINE float32x4_t load_y(const void *y, size_t at, int is_i16, int full, size_t rest) {
    if (!is_i16)
        return load_f32((const float *)y + at, full, rest);
    int16_t part[4] = {0};
    const int16_t *p = (const int16_t *)y + at;
    if (!full) {
        memcpy(part, p, bp_min_size(rest, 4) * sizeof *p);
        p = part;
    }
    return vcvtq_f32_s32(vmovl_s16(vld1_s16(p)));
}

/* --- sums ------------------------------------------------------------------------------------- */

#define SUM_ROWS 32768 /* per run of 32-bit sums */

/* to[0 .. 3] += the 4 lanes. */
BP_INLINE void add_i64_from_i32(int64_t *to, int32x4_t v) {
    vst1q_s64(to, vaddw_s32(vld1q_s64(to), vget_low_s32(v)));
    vst1q_s64(to + 2, vaddw_high_s32(vld1q_s64(to + 2), v));
}

BP_INLINE void add_i64(int64_t *to, uint64x2_t v) {
    vst1q_s64(to, vaddq_s64(vld1q_s64(to), vreinterpretq_s64_u64(v)));
}

/* 8 channels, up to SUM_ROWS rows, two at a time: the squares of a pair of rows fit 32 bits without
 * sign and are widened together. */
static void sums_run(const int16_t *y, size_t n, size_t c, int64_t *sum, int64_t *sum_squares) {
    int32x4_t total[2] = {vdupq_n_s32(0), vdupq_n_s32(0)};
    uint64x2_t squares[4];
    for (size_t q = 0; q < 4; q++)
        squares[q] = vdupq_n_u64(0);
    for (size_t p = 0; p < n; p += 2, y += 2 * c) {
        int16x8_t a = vld1q_s16(y), b = p + 1 < n ? vld1q_s16(y + c) : vdupq_n_s16(0);
        int32x4_t low = vmull_s16(vget_low_s16(a), vget_low_s16(a)), high = vmull_high_s16(a, a);
        low = vmlal_s16(low, vget_low_s16(b), vget_low_s16(b));
        high = vmlal_high_s16(high, b, b);
        uint32x4_t pair[2] = {vreinterpretq_u32_s32(low), vreinterpretq_u32_s32(high)};
        total[0] = vaddw_s16(vaddw_s16(total[0], vget_low_s16(a)), vget_low_s16(b));
        total[1] = vaddw_high_s16(vaddw_high_s16(total[1], a), b);
        for (size_t h = 0; h < 2; h++) {
            squares[2 * h] = vaddw_u32(squares[2 * h], vget_low_u32(pair[h]));
            squares[2 * h + 1] = vaddw_high_u32(squares[2 * h + 1], pair[h]);
        }
    }
    for (size_t h = 0; h < 2; h++)
        add_i64_from_i32(sum + 4 * h, total[h]);
    for (size_t q = 0; q < 4; q++)
        add_i64(sum_squares + 2 * q, squares[q]);
}

void bp_sums_i16_neon(const int16_t *y, size_t n, size_t c, int limit, int64_t *sum,
                      int64_t *sum_squares) {
    (void)limit;
    size_t j = 0;
    for (; j + 8 <= c; j += 8)
        for (size_t p = 0; p < n; p += SUM_ROWS)
            sums_run(y + p * c + j, bp_min_size(SUM_ROWS, n - p), c, sum + j, sum_squares + j);
    for (size_t p = 0; p < n && j < c; p++)
        for (size_t i = j; i < c; i++) {
            int32_t v = y[p * c + i];
            sum[i] += v;
            sum_squares[i] += v * v;
        }
}

/* The square of a float is exact in double: fused or not is the same. */
BP_INLINE void sums_f32_block(const float *y, size_t n, size_t c, int full, size_t rest,
                              double *sum, double *sum_squares) {
    double s[4] = {0}, q[4] = {0};
    memcpy(s, sum, rest * sizeof *s);
    memcpy(q, sum_squares, rest * sizeof *q);
    float64x2_t s0 = vld1q_f64(s), s1 = vld1q_f64(s + 2), q0 = vld1q_f64(q), q1 = vld1q_f64(q + 2);
    for (size_t p = 0; p < n; p++, y += c) {
        float32x4_t v = load_f32(y, full, rest);
        float64x2_t low = vcvt_f64_f32(vget_low_f32(v)), high = vcvt_high_f64_f32(v);
        s0 = vaddq_f64(s0, low);
        s1 = vaddq_f64(s1, high);
        q0 = vfmaq_f64(q0, low, low);
        q1 = vfmaq_f64(q1, high, high);
    }
    vst1q_f64(s, s0);
    vst1q_f64(s + 2, s1);
    vst1q_f64(q, q0);
    vst1q_f64(q + 2, q1);
    memcpy(sum, s, rest * sizeof *s);
    memcpy(sum_squares, q, rest * sizeof *q);
}

void bp_sums_f32_neon(const float *y, size_t n, size_t c, double *sum, double *sum_squares) {
    size_t j = 0;
    for (; j + 4 <= c; j += 4)
        sums_f32_block(y + j, n, c, 1, 4, sum + j, sum_squares + j);
    if (j < c)
        sums_f32_block(y + j, n, c, 0, c - j, sum + j, sum_squares + j);
}

/* --- batch norm and PReLU --------------------------------------------------------------------- */

BP_INLINE void affine_4(const void *y, size_t at, int is_i16, size_t j, int full, size_t rest,
                        const struct bp_affine_rows *a, const float *residual, float *z) {
    float32x4_t v =
        vmulq_f32(load_y(y, at, is_i16, full, rest), load_f32(a->scale + j, full, rest));
    v = vaddq_f32(v, load_f32(a->shift + j, full, rest));
    if (a->slope != NULL)
        v = vbslq_f32(vcltzq_f32(v), vmulq_f32(v, load_f32(a->slope + j, full, rest)), v);
    if (residual != NULL)
        v = vaddq_f32(v, load_f32(residual + at, full, rest));
    store_f32(z + at, full, rest, v);
}

BP_INLINE void affine_rows(const void *y, int is_i16, size_t n, size_t c,
                           const struct bp_affine_rows *a, const float *residual, float *z) {
    for (size_t p = 0; p < n; p++) {
        size_t j = 0;
        for (; j + 4 <= c; j += 4)
            affine_4(y, p * c + j, is_i16, j, 1, 4, a, residual, z);
        if (j < c)
            affine_4(y, p * c + j, is_i16, j, 0, c - j, a, residual, z);
    }
}

void bp_affine_act_i16_neon(const int16_t *y, size_t n, size_t c, const struct bp_affine_rows *a,
                            const float *residual, int stream, float *z, double *sum,
                            double *sum_squares) {
    (void)stream;
    affine_rows(y, 1, n, c, a, residual, z);
    if (sum != NULL)
        bp_sums_f32_neon(z, n, c, sum, sum_squares);
}

void bp_affine_act_f32_neon(const float *y, size_t n, size_t c, const struct bp_affine_rows *a,
                            const float *residual, int stream, float *z, double *sum,
                            double *sum_squares) {
    (void)stream;
    affine_rows(y, 0, n, c, a, residual, z);
    if (sum != NULL)
        bp_sums_f32_neon(z, n, c, sum, sum_squares);
}

/* The signs of 64 channels of a pixel at a time. */
BP_INLINE void signs(const void *y, int is_i16, size_t n, size_t c, const struct bp_affine_rows *a,
                     uint64_t *bits, uint64_t *mask) {
    for (size_t p = 0; p < n; p++)
        for (size_t j = 0; j < c; j += 64) {
            const struct bp_affine_rows part = bp_affine_from(a, j);
            size_t count = bp_min_size(64, c - j), at = p * c + j;
            float z[64];
            if (is_i16)
                affine_rows((const int16_t *)y + at, 1, 1, count, &part, NULL, z);
            else
                affine_rows((const float *)y + at, 0, 1, count, &part, NULL, z);
            bp_sign_pack_f32_neon(z, 1, count, bits++, mask == NULL ? NULL : mask++);
        }
}

void bp_affine_signs_i16_neon(const int16_t *y, size_t n, size_t c, const struct bp_affine_rows *a,
                              uint64_t *bits, uint64_t *mask) {
    signs(y, 1, n, c, a, bits, mask);
}

void bp_affine_signs_f32_neon(const float *y, size_t n, size_t c, const struct bp_affine_rows *a,
                              uint64_t *bits, uint64_t *mask) {
    signs(y, 0, n, c, a, bits, mask);
}

void bp_affine_pool_signs_i16_neon(const int16_t *upper, const int16_t *lower, size_t n, size_t c,
                                   const struct bp_affine_rows *a, uint64_t *bits, uint64_t *mask,
                                   uint64_t *which) {
    size_t cw = bp_words(c);
    for (size_t p = 0; p < n; p++)
        for (size_t j = 0; j < c; j += 64) {
            const struct bp_affine_rows part = bp_affine_from(a, j);
            size_t count = bp_min_size(64, c - j);
            float z[4 * 64], pooled[64]; /* two pixels of either row, count channels each */
            uint64_t winner[2];
            for (size_t i = 0; i < 4; i++)
                affine_rows((i < 2 ? upper : lower) + (2 * p + i % 2) * c + j, 1, 1, count, &part,
                            NULL, z + i * count);
            bp_max_pool_2x2_neon(z, z + 2 * count, 1, count, pooled, winner);
            bp_sign_pack_f32_neon(pooled, 1, count, bits++, mask == NULL ? NULL : mask++);
            for (size_t bit = 0; which != NULL && bit < 2; bit++)
                which[(2 * p + bit) * cw + j / 64] = winner[bit];
        }
}

/* --- backward of both ------------------------------------------------------------------------- */

/* ga, and what the slope's sum takes. */
BP_INLINE float32x4_t act_backward(float32x4_t g, float32x4_t y, float32x4_t scale,
                                   float32x4_t shift, int has_slope, float32x4_t slope,
                                   float32x4_t *slope_term) {
    *slope_term = vdupq_n_f32(0);
    if (!has_slope)
        return g;
    float32x4_t v = vaddq_f32(vmulq_f32(y, scale), shift);
    uint32x4_t negative = vcltzq_f32(v), term = vreinterpretq_u32_f32(vmulq_f32(g, v));
    *slope_term = vreinterpretq_f32_u32(vandq_u32(negative, term));
    return vbslq_f32(negative, vmulq_f32(g, slope), g);
}

struct act_sums_job {
    const float *g;
    const void *y;
    size_t n, c;
    const float *scale, *shift, *slope;
    float *sum_g, *sum_gy, *sum_slope;
};

/* 4 * vectors channels from channel j on, all rows. */
BP_INLINE void act_sums_block(const struct act_sums_job *job, int is_i16, int has_slope,
                              int vectors, size_t j, int full, size_t rest) {
    float32x4_t scale[4], shift[4], slope[4], sum_g[4], sum_gy[4], sum_slope[4];
    for (int q = 0; q < vectors; q++) {
        size_t at = j + 4 * (size_t)q;
        scale[q] = load_f32(job->scale + at, full, rest);
        shift[q] = load_f32(job->shift + at, full, rest);
        sum_g[q] = load_f32(job->sum_g + at, full, rest);
        sum_gy[q] = load_f32(job->sum_gy + at, full, rest);
        slope[q] = has_slope ? load_f32(job->slope + at, full, rest) : vdupq_n_f32(0);
        sum_slope[q] = has_slope ? load_f32(job->sum_slope + at, full, rest) : vdupq_n_f32(0);
    }
    for (size_t p = 0; p < job->n; p++)
        for (int q = 0; q < vectors; q++) {
            size_t at = p * job->c + j + 4 * (size_t)q;
            float32x4_t term, y = load_y(job->y, at, is_i16, full, rest);
            float32x4_t ga = act_backward(load_f32(job->g + at, full, rest), y, scale[q], shift[q],
                                          has_slope, slope[q], &term);
            sum_g[q] = vaddq_f32(sum_g[q], ga);
            sum_gy[q] = vaddq_f32(sum_gy[q], vmulq_f32(ga, y));
            if (has_slope)
                sum_slope[q] = vaddq_f32(sum_slope[q], term);
        }
    for (int q = 0; q < vectors; q++) {
        size_t at = j + 4 * (size_t)q;
        store_f32(job->sum_g + at, full, rest, sum_g[q]);
        store_f32(job->sum_gy + at, full, rest, sum_gy[q]);
        if (has_slope)
            store_f32(job->sum_slope + at, full, rest, sum_slope[q]);
    }
}

BP_INLINE void act_sums(const struct act_sums_job *job, int is_i16, int has_slope) {
    size_t j = 0;
    for (; j + 16 <= job->c; j += 16)
        act_sums_block(job, is_i16, has_slope, 4, j, 1, 4);
    for (; j < job->c; j += 4)
        act_sums_block(job, is_i16, has_slope, 1, j, 0, job->c - j);
}

void bp_act_sums_i16_neon(const float *g, const int16_t *y, size_t n, size_t c, const float *scale,
                          const float *shift, const float *slope, float *sum_g, float *sum_gy,
                          float *sum_slope) {
    const struct act_sums_job job = {g, y, n, c, scale, shift, slope, sum_g, sum_gy, sum_slope};
    if (slope != NULL)
        act_sums(&job, 1, 1);
    else
        act_sums(&job, 1, 0);
}

void bp_act_sums_f32_neon(const float *g, const float *y, size_t n, size_t c, const float *scale,
                          const float *shift, const float *slope, float *sum_g, float *sum_gy,
                          float *sum_slope) {
    const struct act_sums_job job = {g, y, n, c, scale, shift, slope, sum_g, sum_gy, sum_slope};
    if (slope != NULL)
        act_sums(&job, 0, 1);
    else
        act_sums(&job, 0, 0);
}

struct act_grad_job {
    const float *g;
    const void *y;
    const float *scale, *shift, *slope, *ka, *kb, *kc;
    float *out;
};

BP_INLINE void act_grad_4(const struct act_grad_job *job, int is_i16, int has_slope, size_t at,
                          size_t j, int full, size_t rest) {
    float32x4_t term, y = load_y(job->y, at, is_i16, full, rest);
    float32x4_t ga =
        act_backward(load_f32(job->g + at, full, rest), y, load_f32(job->scale + j, full, rest),
                     load_f32(job->shift + j, full, rest), has_slope,
                     has_slope ? load_f32(job->slope + j, full, rest) : vdupq_n_f32(0), &term);
    float32x4_t v = vaddq_f32(vmulq_f32(ga, load_f32(job->ka + j, full, rest)),
                              vmulq_f32(y, load_f32(job->kb + j, full, rest)));
    store_f32(job->out + at, full, rest, vaddq_f32(v, load_f32(job->kc + j, full, rest)));
}

BP_INLINE void act_grad(const struct act_grad_job *job, int is_i16, int has_slope, size_t n,
                        size_t c) {
    for (size_t p = 0; p < n; p++) {
        size_t j = 0;
        for (; j + 4 <= c; j += 4)
            act_grad_4(job, is_i16, has_slope, p * c + j, j, 1, 4);
        if (j < c)
            act_grad_4(job, is_i16, has_slope, p * c + j, j, 0, c - j);
    }
}

void bp_act_grad_i16_neon(const float *g, const int16_t *y, size_t n, size_t c, const float *scale,
                          const float *shift, const float *slope, const float *ka, const float *kb,
                          const float *kc, float *out) {
    const struct act_grad_job job = {g, y, scale, shift, slope, ka, kb, kc, out};
    if (slope != NULL)
        act_grad(&job, 1, 1, n, c);
    else
        act_grad(&job, 1, 0, n, c);
}

void bp_act_grad_f32_neon(const float *g, const float *y, size_t n, size_t c, const float *scale,
                          const float *shift, const float *slope, const float *ka, const float *kb,
                          const float *kc, float *out) {
    const struct act_grad_job job = {g, y, scale, shift, slope, ka, kb, kc, out};
    if (slope != NULL)
        act_grad(&job, 0, 1, n, c);
    else
        act_grad(&job, 0, 0, n, c);
}
