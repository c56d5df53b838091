/* The optimizer, NEON. Without fused multiply-adds: each operation rounds, as in C. */
#include "kernels/arm/tier_neon.h"

#include "kernels/arm/vec_neon.h"

/* The square of a float is exact in double: fused or not is the same. */
void bp_sum_squares_f32_neon(const float *g, size_t n, double *sum) {
    float64x2_t s[4];
    for (size_t q = 0; q < 4; q++)
        s[q] = vdupq_n_f64(0);
    for (size_t i = 0; i < n; i += 8)
        for (size_t h = 0; h < 2; h++) { /* never -0: adding +0 changes nothing */
            size_t at = i + 4 * h;
            float32x4_t v = vdupq_n_f32(0);
            if (at < n)
                v = n - at >= 4 ? vld1q_f32(g + at) : load_f32(g + at, 0, n - at);
            float64x2_t low = vcvt_f64_f32(vget_low_f32(v)), high = vcvt_high_f64_f32(v);
            s[2 * h] = vfmaq_f64(s[2 * h], low, low);
            s[2 * h + 1] = vfmaq_f64(s[2 * h + 1], high, high);
        }
    /* Folding by halves: + 4, + 2, + 1. */
    float64x2_t low = vaddq_f64(s[0], s[2]), high = vaddq_f64(s[1], s[3]);
    low = vaddq_f64(low, high);
    *sum += vgetq_lane_f64(low, 0) + vgetq_lane_f64(low, 1);
}

BP_INLINE void adam_4(const struct bp_adam *a, const float *g, float *p, float *m, float *v,
                      int full, size_t rest) {
    float32x4_t p4 = load_f32(p, full, rest), m4 = load_f32(m, full, rest);
    float32x4_t v4 = load_f32(v, full, rest), g4 = load_f32(g, full, rest);
    float32x4_t d = vaddq_f32(vmulq_n_f32(g4, a->clip), vmulq_n_f32(p4, a->decay));
    m4 = vaddq_f32(vmulq_n_f32(m4, a->beta1), vmulq_n_f32(d, a->one_minus_beta1));
    v4 = vaddq_f32(vmulq_n_f32(v4, a->beta2), vmulq_f32(vmulq_n_f32(d, a->one_minus_beta2), d));
    float32x4_t root = vdivq_f32(vsqrtq_f32(v4), vdupq_n_f32(a->root_correction2));
    float32x4_t change = vdivq_f32(vmulq_n_f32(m4, a->lr), vaddq_f32(root, vdupq_n_f32(a->eps)));
    p4 = vsubq_f32(vmulq_n_f32(p4, a->shrink), change);
    store_f32(p, full, rest, p4);
    store_f32(m, full, rest, m4);
    store_f32(v, full, rest, v4);
}

void bp_adam_f32_neon(const struct bp_adam *adam, size_t n, const float *g, float *p, float *m,
                      float *v) {
    const struct bp_adam a = *adam;
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        adam_4(&a, g + i, p + i, m + i, v + i, 1, 4);
    if (i < n)
        adam_4(&a, g + i, p + i, m + i, v + i, 0, n - i);
}
