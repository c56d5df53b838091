/* Backward of batch norm and PReLU, AVX-512: 16 channels a vector. The last vector of a row is
 * masked. */
#include "kernels/x86/tier_avx512.h"

#include "base/bits.h"
#include "kernels/x86/fetch_x86.h"
#include "kernels/x86/vec_avx512.h"

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
    const float *g;
    const void *y;
    size_t n, c;
    const float *scale, *shift, *slope;
    float *sum_g, *sum_gy, *sum_slope;
};

/* 16 * vectors channels from channel j on, all rows. */
BP_INLINE void act_sums_block(const struct act_sums_job *job, int is_i16, int has_slope,
                              int vectors, size_t j, __mmask16 m) {
    __m512 scale[2], shift[2], slope[2], sum_g[2], sum_gy[2], sum_slope[2];
    for (int q = 0; q < vectors; q++) {
        size_t at = j + 16 * (size_t)q;
        scale[q] = load_f32(job->scale + at, m);
        shift[q] = load_f32(job->shift + at, m);
        sum_g[q] = load_f32(job->sum_g + at, m);
        sum_gy[q] = load_f32(job->sum_gy + at, m);
        slope[q] = has_slope ? load_f32(job->slope + at, m) : _mm512_setzero_ps();
        sum_slope[q] = has_slope ? load_f32(job->sum_slope + at, m) : _mm512_setzero_ps();
    }
    for (size_t p = 0; p < job->n; p++)
        for (int q = 0; q < vectors; q++) {
            size_t at = p * job->c + j + 16 * (size_t)q;
            __m512 term, y = load_y(job->y, at, is_i16, m);
            __m512 ga = act_backward(load_f32(job->g + at, m), y, scale[q], shift[q], has_slope,
                                     slope[q], &term);
            sum_g[q] = _mm512_add_ps(sum_g[q], ga);
            sum_gy[q] = _mm512_add_ps(sum_gy[q], _mm512_mul_ps(ga, y));
            if (has_slope)
                sum_slope[q] = _mm512_add_ps(sum_slope[q], term);
            size_t done = (j + 16 * (size_t)q) * job->n + 16 * p; /* elements */
            fetch_behind(job->g + job->n * job->c, 4 * done);
            if (!is_i16)
                fetch_behind((const float *)job->y + job->n * job->c, 4 * done);
            else if (q == 0)
                fetch_behind((const int16_t *)job->y + job->n * job->c, 2 * (j * job->n + 32 * p));
        }
    for (int q = 0; q < vectors; q++) {
        size_t at = j + 16 * (size_t)q;
        store_f32(job->sum_g + at, m, sum_g[q]);
        store_f32(job->sum_gy + at, m, sum_gy[q]);
        if (has_slope)
            store_f32(job->sum_slope + at, m, sum_slope[q]);
    }
}

BP_INLINE void act_sums(const struct act_sums_job *job, int is_i16, int has_slope) {
    size_t j = 0;
    for (; j + 32 <= job->c; j += 32)
        act_sums_block(job, is_i16, has_slope, 2, j, 0xffff);
    for (; j < job->c; j += 16)
        act_sums_block(job, is_i16, has_slope, 1, j, mask_16(job->c - j));
}

void bp_act_sums_i16_avx512(const float *g, const int16_t *y, size_t n, size_t c,
                            const float *scale, const float *shift, const float *slope,
                            float *sum_g, float *sum_gy, float *sum_slope) {
    const struct act_sums_job job = {g, y, n, c, scale, shift, slope, sum_g, sum_gy, sum_slope};
    if (slope != NULL)
        act_sums(&job, 1, 1);
    else
        act_sums(&job, 1, 0);
}

void bp_act_sums_f32_avx512(const float *g, const float *y, size_t n, size_t c, const float *scale,
                            const float *shift, const float *slope, float *sum_g, float *sum_gy,
                            float *sum_slope) {
    const struct act_sums_job job = {g, y, n, c, scale, shift, slope, sum_g, sum_gy, sum_slope};
    if (slope != NULL)
        act_sums(&job, 0, 1);
    else
        act_sums(&job, 0, 0);
}

struct act_grad_job {
    const float *g;
    const void *y;
    const float *scale, *shift, *slope, *ka, *kb, *kc;
    int add;
    float *out;
};

BP_INLINE void act_grad_16(const struct act_grad_job *job, int is_i16, int has_slope, size_t at,
                           size_t j, __mmask16 m) {
    __m512 term, y = load_y(job->y, at, is_i16, m), zero = _mm512_setzero_ps();
    __m512 ga = act_backward(load_f32(job->g + at, m), y, load_f32(job->scale + j, m),
                             load_f32(job->shift + j, m), has_slope,
                             has_slope ? load_f32(job->slope + j, m) : zero, &term);
    __m512 v = _mm512_add_ps(_mm512_mul_ps(ga, load_f32(job->ka + j, m)),
                             _mm512_mul_ps(y, load_f32(job->kb + j, m)));
    v = _mm512_add_ps(v, load_f32(job->kc + j, m));
    if (job->add)
        v = _mm512_add_ps(load_f32(job->out + at, m), v);
    store_f32(job->out + at, m, v);
}

BP_INLINE void act_grad(const struct act_grad_job *job, int is_i16, int has_slope, size_t n,
                        size_t c) {
    const size_t y_bytes = is_i16 ? sizeof(int16_t) : sizeof(float);
    const char *y_end = (const char *)job->y + n * c * y_bytes;
    for (size_t p = 0; p < n; p++) {
        size_t j = 0;
        for (; j + 16 <= c; j += 16) {
            size_t at = p * c + j;
            act_grad_16(job, is_i16, has_slope, at, j, 0xffff);
            fetch_line_behind(job->g + n * c, sizeof(float) * at, 16 * sizeof(float));
            fetch_line_behind(y_end, y_bytes * at, 16 * y_bytes);
        }
        if (j < c)
            act_grad_16(job, is_i16, has_slope, p * c + j, j, mask_16(c - j));
    }
}

void bp_act_grad_i16_avx512(const float *g, const int16_t *y, size_t n, size_t c,
                            const float *scale, const float *shift, const float *slope,
                            const float *ka, const float *kb, const float *kc, int add,
                            float *out) {
    const struct act_grad_job job = {g, y, scale, shift, slope, ka, kb, kc, add, out};
    if (slope != NULL)
        act_grad(&job, 1, 1, n, c);
    else
        act_grad(&job, 1, 0, n, c);
}

void bp_act_grad_f32_avx512(const float *g, const float *y, size_t n, size_t c, const float *scale,
                            const float *shift, const float *slope, const float *ka,
                            const float *kb, const float *kc, int add, float *out) {
    const struct act_grad_job job = {g, y, scale, shift, slope, ka, kb, kc, add, out};
    if (slope != NULL)
        act_grad(&job, 0, 1, n, c);
    else
        act_grad(&job, 0, 0, n, c);
}

struct act_range_job {
    const float *g;
    const int16_t *y;
    size_t n, c;
    const float *scale, *shift, *slope, *ka, *kb, *kc;
};

/* 16 * vectors channels from channel j on, all rows. has_g and has_slope are constants. */
BP_INLINE void act_range_block(const struct act_range_job *job, int has_g, int has_slope,
                               int vectors, size_t j, __mmask16 m, struct bp_columns to) {
    __m512 scale[2], shift[2], slope[2], ka[2], kb[2], kc[2], zero = _mm512_setzero_ps();
    struct range_512 range[2];
    for (int q = 0; q < vectors; q++) {
        size_t at = j + 16 * (size_t)q;
        scale[q] = has_g ? load_f32(job->scale + at, m) : zero;
        shift[q] = has_g ? load_f32(job->shift + at, m) : zero;
        slope[q] = has_g && has_slope ? load_f32(job->slope + at, m) : zero;
        ka[q] = has_g ? load_f32(job->ka + at, m) : zero;
        kb[q] = load_f32(job->kb + at, m);
        kc[q] = load_f32(job->kc + at, m);
        range[q] = range_load(&to, at, m);
    }
    for (size_t p = 0; p < job->n; p++)
        for (int q = 0; q < vectors; q++) {
            size_t at = p * job->c + j + 16 * (size_t)q;
            __m512 term, y = load_y(job->y, at, 1, m), v = _mm512_mul_ps(y, kb[q]);
            if (has_g) {
                __m512 ga = act_backward(load_f32(job->g + at, m), y, scale[q], shift[q], has_slope,
                                         slope[q], &term);
                v = _mm512_add_ps(_mm512_mul_ps(ga, ka[q]), v);
            }
            range_add(&range[q], _mm512_add_ps(v, kc[q]));
            if (has_g)
                fetch_behind(job->g + job->n * job->c,
                             4 * ((j + 16 * (size_t)q) * job->n + 16 * p));
            if (q == 0)
                fetch_behind(job->y + job->n * job->c, 2 * (j * job->n + 32 * p));
        }
    for (int q = 0; q < vectors; q++)
        range_store(&to, j + 16 * (size_t)q, m, &range[q]);
}

BP_INLINE void act_range(const struct act_range_job *job, int has_g, int has_slope,
                         struct bp_columns to) {
    size_t j = 0;
    for (; j + 32 <= job->c; j += 32)
        act_range_block(job, has_g, has_slope, 2, j, 0xffff, to);
    for (; j < job->c; j += 16)
        act_range_block(job, has_g, has_slope, 1, j, mask_16(job->c - j), to);
}

void bp_act_range_i16_avx512(const float *g, const int16_t *y, size_t n, size_t c,
                             const float *scale, const float *shift, const float *slope,
                             const float *ka, const float *kb, const float *kc,
                             struct bp_columns to) {
    const struct act_range_job job = {g, y, n, c, scale, shift, slope, ka, kb, kc};
    if (g == NULL)
        act_range(&job, 0, 0, to);
    else if (slope != NULL)
        act_range(&job, 1, 1, to);
    else
        act_range(&job, 1, 0, to);
}
