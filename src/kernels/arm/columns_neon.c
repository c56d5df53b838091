/* Gradient rows of chosen channels, of samples without a gradient of their own, NEON: 8 channels at
 * a time down the rows, picked as integers, their coefficients in registers. */
#include "kernels/arm/tier_neon.h"

#include "base/bits.h"
#include "kernels/arm/vec_neon.h"

/* Coefficients of 4 picks; those that a kernel does not use cost nothing. */
struct coefficients {
    float32x4_t kb, kc, alpha, slope;
};

/* from[column[0]] .. from[column[3]]; with less than 4 (`rest`), the first again. */
BP_INLINE float32x4_t gather_4(const float *from, const int32_t *column, size_t rest) {
    float part[4];
    for (size_t i = 0; i < 4; i++)
        part[i] = from[column[i < rest ? i : 0]];
    return vld1q_f32(part);
}

BP_INLINE struct coefficients gather(const struct bp_act_norm_rows *a, int with_act,
                                     const int32_t *column, size_t rest) {
    struct coefficients k;
    k.kb = gather_4(a->kb, column, rest);
    k.kc = gather_4(a->kc, column, rest);
    k.alpha = with_act ? gather_4(a->alpha, column, rest) : k.kb;
    k.slope = with_act ? gather_4(a->slope, column, rest) : k.kb;
    return k;
}

/* The integers at `at` behind four pointers. */
BP_INLINE float32x4_t pick_4(const int16_t *const from[4], size_t at) {
    int16x4_t v = vld1_dup_s16(from[0] + at);
    v = vld1_lane_s16(from[1] + at, v, 1);
    v = vld1_lane_s16(from[2] + at, v, 2);
    v = vld1_lane_s16(from[3] + at, v, 3);
    return floats_of_i16(v);
}

BP_INLINE float32x4_t column_4(float32x4_t y, const struct coefficients *k, int with_act) {
    if (!with_act)
        return vaddq_f32(vmulq_f32(y, k->kb), k->kc);
    float32x4_t u = vmulq_f32(y, k->alpha);
    float32x4_t factor = vbslq_f32(vcltzq_f32(u), k->slope, vdupq_n_f32(1.0f));
    float32x4_t gh = vaddq_f32(vmulq_f32(vmulq_f32(u, factor), k->kb), k->kc);
    return vmulq_f32(vmulq_f32(gh, factor), k->alpha);
}

/* 4 * vectors (at most 2) columns, of the last 4 only `rest`. */
BP_INLINE void columns_block(const int16_t *y, size_t n, size_t c, const int32_t *column,
                             const struct bp_act_norm_rows *a, int with_act, int vectors, int full,
                             size_t rest, float *out, size_t k) {
    const int16_t *from[2][4];
    struct coefficients coefficients[2];
    for (int q = 0; q < vectors; q++) {
        for (size_t i = 0; i < 4; i++)
            from[q][i] = y + column[4 * q + (i < rest ? (int)i : 0)];
        coefficients[q] = gather(a, with_act, column + 4 * q, rest);
    }
    for (size_t at = 0; at < n * c; at += c, out += k)
        for (int q = 0; q < vectors; q++)
            store_f32(out + 4 * q, full, rest,
                      column_4(pick_4(from[q], at), &coefficients[q], with_act));
}

BP_INLINE void columns(const int16_t *y, size_t n, size_t c, const int32_t *column, size_t k,
                       const struct bp_act_norm_rows *a, int with_act, float *out) {
    size_t j = 0;
    for (; j + 8 <= k; j += 8)
        columns_block(y, n, c, column + j, a, with_act, 2, 1, 4, out + j, k);
    for (; j < k; j += 4)
        columns_block(y, n, c, column + j, a, with_act, 1, 0, bp_min_size(4, k - j), out + j, k);
}

void bp_act_columns_i16_neon(const int16_t *y, size_t n, size_t c, const int32_t *column, size_t k,
                             const float *kb, const float *kc, float *out) {
    const struct bp_act_norm_rows rows = {.kb = kb, .kc = kc};
    columns(y, n, c, column, k, &rows, 0, out);
}

void bp_act_norm_columns_neon(const int16_t *y, size_t n, size_t c, const int32_t *column, size_t k,
                              const struct bp_act_norm_rows *a, float *out) {
    columns(y, n, c, column, k, a, 1, out);
}
