#include "kernels/c/tier_c.h"

#include <math.h>

void bp_sum_squares_f32_c(const float *g, size_t n, double *sum) {
    double s[8] = {0};
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (size_t j = 0; j < 8; j++)
            s[j] += (double)g[i + j] * (double)g[i + j];
    for (size_t j = 0; i + j < n; j++)
        s[j] += (double)g[i + j] * (double)g[i + j];
    for (size_t half = 4; half > 0; half /= 2)
        for (size_t j = 0; j < half; j++)
            s[j] += s[j + half];
    *sum += s[0];
}

void bp_adam_f32_c(const struct bp_adam *adam, size_t n, const float *restrict g, float *restrict p,
                   float *restrict m, float *restrict v) {
    const struct bp_adam a = *adam;
    for (size_t i = 0; i < n; i++) {
        float d = a.clip * g[i] + a.decay * p[i];
        m[i] = a.beta1 * m[i] + a.one_minus_beta1 * d;
        v[i] = a.beta2 * v[i] + a.one_minus_beta2 * d * d;
        p[i] = p[i] * a.shrink - a.lr * m[i] / (sqrtf(v[i]) / a.root_correction2 + a.eps);
    }
}
