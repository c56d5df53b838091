/* Normalisation, activation and pooling, forward and backward. */
#include "kernels/c/tier_c.h"

#include <string.h>

#include "base/bits.h"

void bp_sums_i16_c(const int16_t *y, size_t n, size_t c, int64_t *sum, int64_t *sum_squares) {
    for (size_t p = 0; p < n; p++)
        for (size_t j = 0; j < c; j++) {
            int32_t v = y[p * c + j];
            sum[j] += v;
            sum_squares[j] += v * v;
        }
}

void bp_sums_f32_c(const float *y, size_t n, size_t c, double *sum, double *sum_squares) {
    for (size_t p = 0; p < n; p++)
        for (size_t j = 0; j < c; j++) {
            double v = (double)y[p * c + j];
            sum[j] += v;
            sum_squares[j] += v * v;
        }
}

static float activate(float v, const float *slope, size_t j) {
    return slope != NULL && v < 0.0f ? v * slope[j] : v;
}

void bp_affine_act_i16_c(const int16_t *y, size_t n, size_t c, const float *scale,
                         const float *shift, const float *slope, float *z) {
    for (size_t p = 0; p < n; p++)
        for (size_t j = 0; j < c; j++)
            z[p * c + j] = activate((float)y[p * c + j] * scale[j] + shift[j], slope, j);
}

void bp_affine_act_f32_c(const float *y, size_t n, size_t c, const float *scale, const float *shift,
                         const float *slope, float *z) {
    for (size_t p = 0; p < n; p++)
        for (size_t j = 0; j < c; j++)
            z[p * c + j] = activate(y[p * c + j] * scale[j] + shift[j], slope, j);
}

/* Takes candidate `index` if it is greater than the best so far, or NaN. */
static void challenge(float v, unsigned index, float *best, unsigned *winner) {
    if (v > *best || v != v) {
        *best = v;
        *winner = index;
    }
}

void bp_max_pool_2x2_c(const float *a, const float *b, size_t n, size_t c, float *z,
                       uint64_t *which) {
    size_t cw = bp_words(c);
    if (which != NULL)
        memset(which, 0, n * 2 * cw * sizeof *which);
    for (size_t p = 0; p < n; p++)
        for (size_t j = 0; j < c; j++) {
            const float *upper = a + 2 * p * c + j, *lower = b + 2 * p * c + j;
            float best = upper[0];
            unsigned winner = 0;
            challenge(upper[c], 1, &best, &winner);
            challenge(lower[0], 2, &best, &winner);
            challenge(lower[c], 3, &best, &winner);
            z[p * c + j] = best;
            if (which != NULL) {
                uint64_t *words = which + p * 2 * cw + j / 64;
                words[0] |= (uint64_t)(winner & 1) << j % 64;
                words[cw] |= (uint64_t)(winner >> 1) << j % 64;
            }
        }
}

void bp_max_unpool_2x2_c(const float *g, const uint64_t *which, size_t n, size_t c, float *a,
                         float *b) {
    size_t cw = bp_words(c);
    for (size_t p = 0; p < n; p++)
        for (size_t j = 0; j < c; j++) {
            const uint64_t *words = which + p * 2 * cw;
            int right = bp_bit(words, j), below = bp_bit(words + cw, j);
            float v = g[p * c + j];
            a[2 * p * c + j] = !below && !right ? v : 0.0f;
            a[(2 * p + 1) * c + j] = !below && right ? v : 0.0f;
            b[2 * p * c + j] = below && !right ? v : 0.0f;
            b[(2 * p + 1) * c + j] = below && right ? v : 0.0f;
        }
}

/* The backward loops for one element type; the types differ only in the conversion. */
#define ACT_SUMS_BODY                                                                              \
    for (size_t p = 0; p < n; p++)                                                                 \
        for (size_t j = 0; j < c; j++) {                                                           \
            float value = (float)y[p * c + j], gz = g[p * c + j];                                  \
            float v = value * scale[j] + shift[j];                                                 \
            int negative = slope != NULL && v < 0.0f;                                              \
            float ga = negative ? gz * slope[j] : gz;                                              \
            sum_g[j] += ga;                                                                        \
            sum_gy[j] += ga * value;                                                               \
            if (slope != NULL)                                                                     \
                sum_slope[j] += negative ? gz * v : 0.0f;                                          \
        }

void bp_act_sums_i16_c(const float *g, const int16_t *y, size_t n, size_t c, const float *scale,
                       const float *shift, const float *slope, float *sum_g, float *sum_gy,
                       float *sum_slope) {
    ACT_SUMS_BODY
}

void bp_act_sums_f32_c(const float *g, const float *y, size_t n, size_t c, const float *scale,
                       const float *shift, const float *slope, float *sum_g, float *sum_gy,
                       float *sum_slope) {
    ACT_SUMS_BODY
}

#define ACT_GRAD_BODY                                                                              \
    for (size_t p = 0; p < n; p++)                                                                 \
        for (size_t j = 0; j < c; j++) {                                                           \
            float value = (float)y[p * c + j], gz = g[p * c + j];                                  \
            float v = value * scale[j] + shift[j];                                                 \
            float ga = slope != NULL && v < 0.0f ? gz * slope[j] : gz;                             \
            out[p * c + j] = (ga * ka[j] + value * kb[j]) + kc[j];                                 \
        }

void bp_act_grad_i16_c(const float *g, const int16_t *y, size_t n, size_t c, const float *scale,
                       const float *shift, const float *slope, const float *ka, const float *kb,
                       const float *kc, float *out) {
    ACT_GRAD_BODY
}

void bp_act_grad_f32_c(const float *g, const float *y, size_t n, size_t c, const float *scale,
                       const float *shift, const float *slope, const float *ka, const float *kb,
                       const float *kc, float *out) {
    ACT_GRAD_BODY
}
