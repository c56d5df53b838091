/* Scale, PReLU and batch norm between two binary convolutions, forward and backward. */
#include "kernels/c/kernels_c.h"
#include "kernels/c/tier_c.h"

#include <math.h>

#include "base/bits.h"

struct value {
    float u, h;
};

static inline struct value value_of(int16_t y, const struct bp_act_norm_rows *a, size_t j) {
    float u = (float)y * a->alpha[j], s = a->slope[j];
    return (struct value){u, u * (u < 0.0f ? s : 1.0f)};
}

void bp_act_norm_signs_c(const int16_t *y, size_t n, size_t c, const struct bp_act_norm_rows *a,
                         uint64_t *bits, uint64_t *mask) {
    size_t cw = bp_words(c);
    for (size_t p = 0; p < n; p++)
        for (size_t w = 0; w < cw; w++) {
            uint64_t sign = 0, inside = 0;
            for (size_t j = 64 * w; j < bp_min_size(c, 64 * w + 64); j++) {
                float v = value_of(y[p * c + j], a, j).h * a->scale[j] + a->shift[j];
                sign |= (uint64_t)(v < 0.0f) << j % 64;
                inside |= (uint64_t)(fabsf(v) < 1.0f) << j % 64;
            }
            bits[p * cw + w] = sign;
            if (mask != NULL)
                mask[p * cw + w] = inside;
        }
}

void bp_act_norm_sums_c(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                        const struct bp_act_norm_rows *a, float *sum_g, float *sum_gh,
                        float *sum_gu) {
    for (size_t p = 0; p < n; p++)
        for (size_t j = 0; j < c; j++) {
            struct value v = value_of(y[p * c + j], a, j);
            float gv = g->floats != NULL ? g->floats[p * c + j] : bp_sum_at(g, p * c + j);
            sum_g[j] += gv;
            sum_gh[j] += gv * v.h;
            sum_gu[j] += bp_value_or_zero(v.u < 0.0f, gv * v.u);
        }
}

/* With g, and without it. The coefficients are not written: restrict, so that the loop is one of
 * vectors. */
#define GRAD_BODY(of_g)                                                                            \
    for (size_t p = 0; p < n; p++)                                                                 \
        for (size_t j = 0; j < c; j++) {                                                           \
            float u = (float)y[p * c + j] * alpha[j], s = slope[j];                                \
            float d = u < 0.0f ? s : 1.0f, h = u * d;                                              \
            float gh = (of_g h * kb[j]) + kc[j];                                                   \
            out[p * c + j] = gh * d * alpha[j];                                                    \
        }

void bp_act_norm_grad_c(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                        const struct bp_act_norm_rows *a, float *out) {
    const float *restrict alpha = a->alpha, *restrict slope = a->slope;
    const float *restrict ka = a->ka, *restrict kb = a->kb, *restrict kc = a->kc;
    if (g == NULL)
        GRAD_BODY()
    else if (g->floats != NULL)
        GRAD_BODY(g->floats[p * c + j] * ka[j] +)
    else
        GRAD_BODY(bp_sum_at(g, p * c + j) * ka[j] +)
}

#define PIECE 256 /* channels of a row that are on the stack at once */

void bp_act_norm_range_c(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                         const struct bp_act_norm_rows *a, struct bp_columns to) {
    float row[PIECE];
    for (size_t at = 0; at < n * c; at += c)
        for (size_t j = 0; j < c; j += PIECE) {
            size_t count = bp_min_size(PIECE, c - j);
            const struct bp_act_norm_rows from = {a->alpha + j, a->slope + j, a->scale + j,
                                                  a->shift + j, a->ka + j,    a->kb + j,
                                                  a->kc + j};
            const struct bp_gradient_rows piece = bp_gradient_from(g, at + j);
            bp_act_norm_grad_c(g == NULL ? NULL : &piece, y + at + j, 1, count, &from, row);
            bp_range_columns_c(row, 1, count,
                               (struct bp_columns){to.lo + j, to.hi + j, to.sum_squares + j});
        }
}

void bp_act_norm_columns_c(const int16_t *y, size_t n, size_t c, const int32_t *column, size_t k,
                           const struct bp_act_norm_rows *a, float *out) {
    for (size_t p = 0; p < n; p++, y += c, out += k)
        for (size_t j = 0; j < k; j++) {
            int32_t i = column[j];
            float u = (float)y[i] * a->alpha[i], s = a->slope[i];
            float d = u < 0.0f ? s : 1.0f, h = u * d;
            float gh = h * a->kb[i] + a->kc[i];
            out[j] = gh * d * a->alpha[i];
        }
}
