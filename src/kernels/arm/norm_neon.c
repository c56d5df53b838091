/* Normalisation and activation, NEON: 4 channels a vector. The last vector of a row takes only its
 * `rest` channels; `full` is a constant. */
#include "kernels/arm/tier_neon.h"

#include "base/bits.h"
#include "kernels/arm/vec_neon.h"

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
 * sign and are widened together. With `half` (a constant) 1 of the elements >= 0 only, with -1 of
 * those < 0. */
BP_INLINE void sums_run(const int16_t *y, size_t n, size_t c, int half, int64_t *sum,
                        int64_t *sum_squares) {
    const int16x8_t zero = vdupq_n_s16(0);
    int32x4_t total[2] = {vdupq_n_s32(0), vdupq_n_s32(0)};
    uint64x2_t squares[4];
    for (size_t q = 0; q < 4; q++)
        squares[q] = vdupq_n_u64(0);
    for (size_t p = 0; p < n; p += 2, y += 2 * c) {
        int16x8_t a = vld1q_s16(y), b = p + 1 < n ? vld1q_s16(y + c) : zero;
        if (half != 0) {
            a = half > 0 ? vmaxq_s16(a, zero) : vminq_s16(a, zero);
            b = half > 0 ? vmaxq_s16(b, zero) : vminq_s16(b, zero);
        }
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
            sums_run(y + p * c + j, bp_min_size(SUM_ROWS, n - p), c, 0, sum + j, sum_squares + j);
    for (size_t p = 0; p < n && j < c; p++)
        for (size_t i = j; i < c; i++) {
            int32_t v = y[p * c + i];
            sum[i] += v;
            sum_squares[i] += v * v;
        }
}

/* One half after the other, as on AVX2. */
void bp_half_sums_i16_neon(const int16_t *y, size_t n, size_t c, int limit, int64_t *sums) {
    (void)limit;
    size_t j = 0;
    for (; j + 8 <= c; j += 8)
        for (size_t p = 0; p < n; p += SUM_ROWS) {
            const int16_t *from = y + p * c + j;
            size_t rows = bp_min_size(SUM_ROWS, n - p);
            sums_run(from, rows, c, 1, sums + j, sums + c + j);
            sums_run(from, rows, c, -1, sums + 2 * c + j, sums + 3 * c + j);
        }
    for (size_t p = 0; p < n && j < c; p++)
        for (size_t i = j; i < c; i++) {
            int32_t v = y[p * c + i];
            size_t half = v < 0 ? 2 * c : 0;
            sums[half + i] += v;
            sums[half + c + i] += v * v;
        }
}

/* Channels from j on. The square of a float is exact in double: fused or not is the same. */
BP_INLINE void sums_block(const void *y, enum value_type type, size_t n, size_t c, size_t j,
                          int full, size_t rest, double *sum, double *sum_squares) {
    double s[4] = {0}, q[4] = {0};
    memcpy(s, sum, rest * sizeof *s);
    memcpy(q, sum_squares, rest * sizeof *q);
    float64x2_t s0 = vld1q_f64(s), s1 = vld1q_f64(s + 2), q0 = vld1q_f64(q), q1 = vld1q_f64(q + 2);
    for (size_t p = 0; p < n; p++) {
        float32x4_t v = load_y(y, p * c + j, type, full, rest);
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

BP_INLINE void sums(const void *y, enum value_type type, size_t n, size_t c, double *sum,
                    double *sum_squares) {
    size_t j = 0;
    for (; j + 4 <= c; j += 4)
        sums_block(y, type, n, c, j, 1, 4, sum + j, sum_squares + j);
    if (j < c)
        sums_block(y, type, n, c, j, 0, c - j, sum + j, sum_squares + j);
}

void bp_sums_f32_neon(const float *y, size_t n, size_t c, double *sum, double *sum_squares) {
    sums(y, VALUE_F32, n, c, sum, sum_squares);
}

/* --- batch norm and PReLU --------------------------------------------------------------------- */

/* 4 channels from channel j on, of the row at y[from]. out, a constant: of residual
 * and z. */
BP_INLINE float32x4_t affine_4(const void *y, size_t from, enum value_type type, size_t j, int full,
                               size_t rest, const struct bp_affine_rows *a, const void *residual,
                               enum value_type out) {
    float32x4_t v =
        vmulq_f32(load_y(y, from + j, type, full, rest), load_f32(a->scale + j, full, rest));
    v = vaddq_f32(v, load_f32(a->shift + j, full, rest));
    if (a->slope != NULL)
        v = vbslq_f32(vcltzq_f32(v), vmulq_f32(v, load_f32(a->slope + j, full, rest)), v);
    if (residual != NULL)
        v = vaddq_f32(v, load_y(residual, from + j, out, full, rest));
    return v;
}

BP_INLINE void affine_rows(const void *y, enum value_type type, size_t n, size_t c,
                           const struct bp_affine_rows *a, const void *residual,
                           enum value_type out, void *z) {
    for (size_t from = 0; from < n * c; from += c) {
        size_t j = 0;
        for (; j + 8 <= c; j += 8) { /* loads before stores, so that they come in pairs */
            float32x4_t low = affine_4(y, from, type, j, 1, 4, a, residual, out);
            float32x4_t high = affine_4(y, from, type, j + 4, 1, 4, a, residual, out);
            store_y(z, from + j, out, 1, 4, low);
            store_y(z, from + j + 4, out, 1, 4, high);
        }
        for (; j < c; j += 4)
            store_y(z, from + j, out, 0, c - j,
                    affine_4(y, from, type, j, 0, c - j, a, residual, out));
    }
}

/* With a slope and a residual, and without: constants of the loop. */
BP_INLINE void affine(const void *y, enum value_type type, size_t n, size_t c,
                      const struct bp_affine_rows *a, const void *residual, enum value_type out,
                      void *z) {
    const struct bp_affine_rows with = *a, without = {a->scale, a->shift, NULL};
    if (a->slope != NULL && residual != NULL)
        affine_rows(y, type, n, c, &with, residual, out, z);
    else if (a->slope != NULL)
        affine_rows(y, type, n, c, &with, NULL, out, z);
    else
        affine_rows(y, type, n, c, &without, residual, out, z);
}

void bp_affine_act_i16_neon(const int16_t *y, size_t n, size_t c, const struct bp_affine_rows *a,
                            const float *residual, int stream, float *z, double *sum,
                            double *sum_squares) {
    (void)stream;
    affine(y, VALUE_I16, n, c, a, residual, VALUE_F32, z);
    if (sum != NULL)
        bp_sums_f32_neon(z, n, c, sum, sum_squares);
}

void bp_affine_act_f32_neon(const float *y, size_t n, size_t c, const struct bp_affine_rows *a,
                            const float *residual, int stream, float *z, double *sum,
                            double *sum_squares) {
    (void)stream;
    affine(y, VALUE_F32, n, c, a, residual, VALUE_F32, z);
    if (sum != NULL)
        bp_sums_f32_neon(z, n, c, sum, sum_squares);
}

void bp_affine_act_f16_neon(const void *y, enum value_type type, size_t n, size_t c,
                            const struct bp_affine_rows *a, const uint16_t *residual, uint16_t *z,
                            double *sum, double *sum_squares) {
    if (type == VALUE_I16)
        affine(y, VALUE_I16, n, c, a, residual, VALUE_F16, z);
    else if (type == VALUE_F16)
        affine(y, VALUE_F16, n, c, a, residual, VALUE_F16, z);
    else
        affine(y, VALUE_F32, n, c, a, residual, VALUE_F16, z);
    if (sum != NULL)
        sums(z, VALUE_F16, n, c, sum, sum_squares);
}
