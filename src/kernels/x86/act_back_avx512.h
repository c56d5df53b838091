/* What the backward passes of batch norm and PReLU share, AVX-512: 16 channels a vector. */
#ifndef BP_KERNELS_X86_ACT_BACK_AVX512_H
#define BP_KERNELS_X86_ACT_BACK_AVX512_H

#include "kernels/x86/gradient_avx512.h"

/* ga, and what the slope's sum takes. */
BP_INLINE __m512 act_backward(__m512 g, __m512 y, __m512 scale, __m512 shift, int has_slope,
                              __m512 slope, __m512 *slope_term) {
    __m512 v = _mm512_add_ps(_mm512_mul_ps(y, scale), shift);
    if (!has_slope)
        return g;
    __mmask16 negative = _mm512_cmp_ps_mask(v, _mm512_setzero_ps(), _CMP_LT_OQ);
    *slope_term = _mm512_maskz_mul_ps(negative, g, v);
    return _mm512_mask_mul_ps(g, negative, g, slope);
}

struct act_sums_job {
    struct gradient g;
    const void *y;
    size_t n, c;
    const float *scale, *shift, *slope;
    float *sum_g, *sum_gy, *sum_slope;
};

/* Coefficients and sums of 16 channels. */
struct sums_512 {
    __m512 scale, shift, slope, sum_g, sum_gy, sum_slope;
};

BP_INLINE struct sums_512 sums_load(const struct act_sums_job *job, int has_slope, size_t j,
                                    __mmask16 m) {
    const __m512 zero = _mm512_setzero_ps();
    return (struct sums_512){load_f32(job->scale + j, m),
                             load_f32(job->shift + j, m),
                             has_slope ? load_f32(job->slope + j, m) : zero,
                             load_f32(job->sum_g + j, m),
                             load_f32(job->sum_gy + j, m),
                             has_slope ? load_f32(job->sum_slope + j, m) : zero};
}

BP_INLINE void sums_add(struct sums_512 *s, int has_slope, __m512 g, __m512 y) {
    __m512 term, ga = act_backward(g, y, s->scale, s->shift, has_slope, s->slope, &term);
    s->sum_g = _mm512_add_ps(s->sum_g, ga);
    s->sum_gy = _mm512_add_ps(s->sum_gy, _mm512_mul_ps(ga, y));
    if (has_slope)
        s->sum_slope = _mm512_add_ps(s->sum_slope, term);
}

BP_INLINE void sums_store(const struct act_sums_job *job, int has_slope, size_t j, __mmask16 m,
                          const struct sums_512 *s) {
    store_f32(job->sum_g + j, m, s->sum_g);
    store_f32(job->sum_gy + j, m, s->sum_gy);
    if (has_slope)
        store_f32(job->sum_slope + j, m, s->sum_slope);
}

#endif
