/* The optimizer, AVX2. Without fused multiply-adds: each operation rounds, as in C. */
#include "kernels/x86/tier_avx2.h"

#include "kernels/x86/fetch_x86.h"
#include "kernels/x86/vec_avx2.h"

BP_INLINE void add_squares(__m256d s[2], __m256 g) {
    __m256d low = _mm256_cvtps_pd(_mm256_castps256_ps128(g));
    __m256d high = _mm256_cvtps_pd(_mm256_extractf128_ps(g, 1));
    s[0] = _mm256_add_pd(s[0], _mm256_mul_pd(low, low));
    s[1] = _mm256_add_pd(s[1], _mm256_mul_pd(high, high));
}

void bp_sum_squares_f32_avx2(const float *g, size_t n, double *sum) {
    __m256d s[2] = {_mm256_setzero_pd(), _mm256_setzero_pd()};
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        add_squares(s, _mm256_loadu_ps(g + i));
    if (i < n) /* a sum of squares is never -0: adding +0 changes nothing */
        add_squares(s, load_ps(g + i, 0, n - i));
    __m256d s4 = _mm256_add_pd(s[0], s[1]);
    __m128d s2 = _mm_add_pd(_mm256_castpd256_pd128(s4), _mm256_extractf128_pd(s4, 1));
    *sum += _mm_cvtsd_f64(_mm_add_sd(s2, _mm_unpackhi_pd(s2, s2)));
}

BP_INLINE void adam_8(const struct bp_adam *a, const float *g, float *p, float *m, float *v,
                      int full, size_t rest) {
    __m256 p8 = load_ps(p, full, rest), m8 = load_ps(m, full, rest), v8 = load_ps(v, full, rest);
    __m256 d = _mm256_add_ps(_mm256_mul_ps(_mm256_set1_ps(a->clip), load_ps(g, full, rest)),
                             _mm256_mul_ps(_mm256_set1_ps(a->decay), p8));
    m8 = _mm256_add_ps(_mm256_mul_ps(_mm256_set1_ps(a->beta1), m8),
                       _mm256_mul_ps(_mm256_set1_ps(a->one_minus_beta1), d));
    v8 = _mm256_add_ps(_mm256_mul_ps(_mm256_set1_ps(a->beta2), v8),
                       _mm256_mul_ps(_mm256_mul_ps(_mm256_set1_ps(a->one_minus_beta2), d), d));
    __m256 root = _mm256_div_ps(_mm256_sqrt_ps(v8), _mm256_set1_ps(a->root_correction2));
    __m256 change = _mm256_div_ps(_mm256_mul_ps(_mm256_set1_ps(a->lr), m8),
                                  _mm256_add_ps(root, _mm256_set1_ps(a->eps)));
    p8 = _mm256_sub_ps(_mm256_mul_ps(p8, _mm256_set1_ps(a->shrink)), change);
    store_ps(p, full, rest, p8);
    store_ps(m, full, rest, m8);
    store_ps(v, full, rest, v8);
}

#define ADAM_AHEAD 4096 /* bytes */

void bp_adam_f32_avx2(const struct bp_adam *adam, size_t n, const float *g, float *p, float *m,
                      float *v) {
    const struct bp_adam a = *adam;
    size_t i = 0;
    for (; i + 16 <= n; i += 16) { /* a line; g is in the cache */
        fetch_behind(p + i, ADAM_AHEAD);
        fetch_behind(m + i, ADAM_AHEAD);
        fetch_behind(v + i, ADAM_AHEAD);
        adam_8(&a, g + i, p + i, m + i, v + i, 1, 8);
        adam_8(&a, g + i + 8, p + i + 8, m + i + 8, v + i + 8, 1, 8);
    }
    for (; i + 8 <= n; i += 8)
        adam_8(&a, g + i, p + i, m + i, v + i, 1, 8);
    if (i < n)
        adam_8(&a, g + i, p + i, m + i, v + i, 0, n - i);
}
