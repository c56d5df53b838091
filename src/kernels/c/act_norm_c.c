/* Scale, PReLU and batch norm between two binary convolutions, forward and backward. */
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

/* dL/dh */
static inline float grad_h(float g, float h, const struct bp_act_norm_rows *a, size_t j) {
    return (g * a->ka[j] + h * a->kb[j]) + a->kc[j];
}

/* dL/du */
static inline float grad_u(float gh, float u, const struct bp_act_norm_rows *a, size_t j) {
    float s = a->slope[j];
    return gh * (u < 0.0f ? s : 1.0f);
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

void bp_act_norm_sums_c(const float *g, const int16_t *y, size_t n, size_t c,
                        const struct bp_act_norm_rows *a, float *sum_g, float *sum_gh) {
    for (size_t p = 0; p < n; p++)
        for (size_t j = 0; j < c; j++) {
            float gv = g[p * c + j];
            sum_g[j] += gv;
            sum_gh[j] += gv * value_of(y[p * c + j], a, j).h;
        }
}

void bp_act_norm_slope_sums_c(const float *g, const int16_t *y, size_t n, size_t c,
                              const struct bp_act_norm_rows *a, float *sum_guy, float *sum_ghu) {
    for (size_t p = 0; p < n; p++)
        for (size_t j = 0; j < c; j++) {
            struct value v = value_of(y[p * c + j], a, j);
            float gh = grad_h(g[p * c + j], v.h, a, j), product = gh * v.u;
            sum_guy[j] += grad_u(gh, v.u, a, j) * (float)y[p * c + j];
            sum_ghu[j] += v.u < 0.0f ? product : 0.0f;
        }
}

void bp_act_norm_grad_c(const float *g, const int16_t *y, size_t n, size_t c,
                        const struct bp_act_norm_rows *a, float *out) {
    for (size_t p = 0; p < n; p++)
        for (size_t j = 0; j < c; j++) {
            struct value v = value_of(y[p * c + j], a, j);
            float gh = grad_h(g[p * c + j], v.h, a, j);
            out[p * c + j] = grad_u(gh, v.u, a, j) * a->alpha[j];
        }
}
