/* What the products of bytes of AVX-512 and AMX share: their operands, and what becomes of sums. */
#ifndef BP_KERNELS_X86_BYTES_AVX512_H
#define BP_KERNELS_X86_BYTES_AVX512_H

#include <string.h>

#include "base/bits.h"
#include "kernels/x86/vec_avx512.h"

/* The sums are added to y32, scaled to y, or shifted to y16. A constant. */
enum out { OUT_I32, OUT_F32, OUT_I16 };

struct bytes_job {
    const uint8_t *x;
    const int32_t *row, *quad;
    size_t quads, k, lanes;
    const int8_t *w;
    const int32_t *base;
    const float *scale;
    const int32_t *shift;
    int32_t *y32;
    float *y;
    int16_t *y16;
};

static inline struct bytes_job job_of(const uint8_t *x, const int32_t *row, const int32_t *quad,
                                      size_t quads, const int8_t *w, size_t k) {
    struct bytes_job job;
    memset(&job, 0, sizeof job);
    job.x = x;
    job.row = row;
    job.quad = quad;
    job.quads = quads;
    job.w = w;
    job.k = k;
    job.lanes = bp_round_up(k, BP_BYTE_LANES);
    return job;
}

/* Rows p .. p + rows - 1 of 16 lanes from j on; acc is `step` apart. */
BP_INLINE void put(const struct bytes_job *job, enum out out, int rows, const __m512i *acc,
                   int step, size_t p, size_t j) {
    __mmask16 m = mask_16(job->k - j);
    __m512i base = _mm512_setzero_si512(), shift = _mm512_setzero_si512();
    __m512 scale = _mm512_setzero_ps();
    if (out != OUT_I32)
        base = _mm512_maskz_loadu_epi32(m, job->base + j);
    if (out == OUT_F32)
        scale = _mm512_maskz_loadu_ps(m, job->scale + j);
    if (out == OUT_I16)
        shift = _mm512_maskz_loadu_epi32(m, job->shift + j);
    for (int r = 0; r < rows; r++) {
        size_t to = (p + (size_t)r) * job->k + j;
        __m512i sum = acc[r * step];
        sum = _mm512_add_epi32(sum,
                               out == OUT_I32 ? _mm512_maskz_loadu_epi32(m, job->y32 + to) : base);
        if (out == OUT_I32)
            _mm512_mask_storeu_epi32(job->y32 + to, m, sum);
        else if (out == OUT_F32)
            _mm512_mask_storeu_ps(job->y + to, m, _mm512_mul_ps(scale, _mm512_cvtepi32_ps(sum)));
        else
            _mm256_mask_storeu_epi16(job->y16 + to, m,
                                     _mm512_cvtepi32_epi16(_mm512_srav_epi32(sum, shift)));
    }
}

#endif
