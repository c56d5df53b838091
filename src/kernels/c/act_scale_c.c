/* Backward of a plain scale of integers and activation. */
#include "kernels/c/kernels_c.h"
#include "kernels/c/tier_c.h"

enum { PIECE = 64 };

/* g of `count` elements from `at` on: floats, made in `part` where they are not stored. */
static const float *floats_of(const struct bp_gradient_rows *g, size_t at, size_t count,
                              float *part) {
    if (g->floats != NULL)
        return g->floats + at;
    if (g->bf16 != NULL)
        bp_widen_bf16_c(g->bf16 + at, count, part);
    for (size_t i = 0; g->bf16 == NULL && i < count; i++)
        part[i] = bp_sum_at(g, at + i);
    return part;
}

static float slope_at(float v, const float *slope, size_t j) {
    return slope != NULL && v < 0.0f ? slope[j] : 1.0f;
}

void bp_scale_grad_i16_c(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                         const float *scale, const float *slope, float *out) {
    for (size_t p = 0; p < n; p++)
        for (size_t first = 0; first < c; first += PIECE) {
            size_t end = first + PIECE < c ? first + PIECE : c, at = p * c;
            float part[PIECE];
            const float *from = floats_of(g, at + first, end - first, part);
            for (size_t j = first; j < end; j++) {
                float v = (float)y[at + j] * scale[j];
                out[at + j] = from[j - first] * slope_at(v, slope, j) * scale[j];
            }
        }
}

void bp_scale_sums_i16_c(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                         const float *scale, const float *slope, struct bp_columns to,
                         float *restrict sum_gy, float *restrict sum_slope) {
    for (size_t p = 0; p < n; p++)
        for (size_t first = 0; first < c; first += PIECE) {
            size_t end = first + PIECE < c ? first + PIECE : c, at = p * c;
            float part[PIECE], r[PIECE];
            const float *from = floats_of(g, at + first, end - first, part);
            for (size_t j = first; j < end; j++) {
                float value = (float)y[at + j], v = value * scale[j], of = from[j - first];
                float ga = of * slope_at(v, slope, j);
                r[j - first] = ga * scale[j];
                sum_gy[j] += ga * value;
                if (slope != NULL)
                    sum_slope[j] += v < 0.0f ? of * v : 0.0f;
            }
            bp_range_columns_c(
                r, 1, end - first,
                (struct bp_columns){to.lo + first, to.hi + first, to.sum_squares + first});
        }
}
