/* Backward of batch norm and PReLU, AVX2: 8 channels a vector. The last vector of a row takes only
 * its `rest` channels; `full` is a constant. */
#include "kernels/x86/tier_avx2.h"

#include "base/bits.h"
#include "kernels/x86/gradient_avx2.h"

/* ga, and what the slope's sum takes. */
BP_INLINE __m256 act_backward(__m256 g, __m256 y, __m256 scale, __m256 shift, int has_slope,
                              __m256 slope, __m256 *slope_term) {
    __m256 v = _mm256_add_ps(_mm256_mul_ps(y, scale), shift);
    if (!has_slope)
        return g;
    __m256 negative = _mm256_cmp_ps(v, _mm256_setzero_ps(), _CMP_LT_OQ);
    *slope_term = _mm256_and_ps(negative, _mm256_mul_ps(g, v));
    return _mm256_blendv_ps(g, _mm256_mul_ps(g, slope), negative);
}

struct act_sums_job {
    struct gradient g;
    const void *y;
    size_t n, c;
    const float *scale, *shift, *slope;
    float *sum_g, *sum_gy, *sum_slope;
};

/* 8 * vectors channels from channel j on, all rows. */
BP_INLINE void act_sums_block(const struct act_sums_job *job, enum gradient_form form, int is_i16,
                              int has_slope, int vectors, size_t j, int full, size_t rest) {
    __m256 scale[2], shift[2], slope[2], sum_g[2], sum_gy[2], sum_slope[2];
    for (int q = 0; q < vectors; q++) {
        size_t at = j + 8 * (size_t)q;
        scale[q] = load_ps(job->scale + at, full, rest);
        shift[q] = load_ps(job->shift + at, full, rest);
        sum_g[q] = load_ps(job->sum_g + at, full, rest);
        sum_gy[q] = load_ps(job->sum_gy + at, full, rest);
        slope[q] = has_slope ? load_ps(job->slope + at, full, rest) : _mm256_setzero_ps();
        sum_slope[q] = has_slope ? load_ps(job->sum_slope + at, full, rest) : _mm256_setzero_ps();
    }
    for (size_t p = 0; p < job->n; p++)
        for (int q = 0; q < vectors; q++) {
            size_t at = p * job->c + j + 8 * (size_t)q;
            __m256 term, y = load_y(job->y, at, is_i16, full, rest);
            __m256 ga = act_backward(load_gradient(&job->g, form, at, full, rest), y, scale[q],
                                     shift[q], has_slope, slope[q], &term);
            sum_g[q] = _mm256_add_ps(sum_g[q], ga);
            sum_gy[q] = _mm256_add_ps(sum_gy[q], _mm256_mul_ps(ga, y));
            if (has_slope)
                sum_slope[q] = _mm256_add_ps(sum_slope[q], term);
            size_t done = (j + 8 * (size_t)q) * job->n + 8 * p; /* elements */
            fetch_rows_behind(job->g.at, form == GRADIENT_SUMS, job->n, job->c, done);
            fetch_rows_behind(job->y, is_i16, job->n, job->c, done);
        }
    for (int q = 0; q < vectors; q++) {
        size_t at = j + 8 * (size_t)q;
        store_ps(job->sum_g + at, full, rest, sum_g[q]);
        store_ps(job->sum_gy + at, full, rest, sum_gy[q]);
        if (has_slope)
            store_ps(job->sum_slope + at, full, rest, sum_slope[q]);
    }
}

BP_INLINE void act_sums_of(const struct act_sums_job *job, enum gradient_form form, int is_i16,
                           int has_slope) {
    size_t j = 0;
    for (; j + 16 <= job->c; j += 16)
        act_sums_block(job, form, is_i16, has_slope, 2, j, 1, 8);
    for (; j < job->c; j += 8)
        act_sums_block(job, form, is_i16, has_slope, 1, j, 0, job->c - j);
}

BP_INLINE void act_sums(const struct act_sums_job *job, enum gradient_form form, int is_i16) {
    if (job->slope != NULL && form == GRADIENT_FLOATS)
        act_sums_of(job, GRADIENT_FLOATS, is_i16, 1);
    else if (job->slope != NULL)
        act_sums_of(job, GRADIENT_SUMS, is_i16, 1);
    else if (form == GRADIENT_FLOATS)
        act_sums_of(job, GRADIENT_FLOATS, is_i16, 0);
    else
        act_sums_of(job, GRADIENT_SUMS, is_i16, 0);
}

void bp_act_sums_i16_avx2(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                          const float *scale, const float *shift, const float *slope, float *sum_g,
                          float *sum_gy, float *sum_slope) {
    const struct act_sums_job job = {gradient_of(g), y,     n,     c,      scale,
                                     shift,          slope, sum_g, sum_gy, sum_slope};
    act_sums(&job, form_of(g), 1);
}

void bp_act_sums_f32_avx2(const struct bp_gradient_rows *g, const float *y, size_t n, size_t c,
                          const float *scale, const float *shift, const float *slope, float *sum_g,
                          float *sum_gy, float *sum_slope) {
    const struct act_sums_job job = {gradient_of(g), y,     n,     c,      scale,
                                     shift,          slope, sum_g, sum_gy, sum_slope};
    act_sums(&job, form_of(g), 0);
}

struct act_grad_job {
    struct gradient g;
    const void *y;
    const float *scale, *shift, *slope, *ka, *kb, *kc;
    int add;
    float *out;
};

BP_INLINE void act_grad_8(const struct act_grad_job *job, enum gradient_form form, int is_i16,
                          int has_slope, size_t at, size_t j, int full, size_t rest) {
    __m256 term, y = load_y(job->y, at, is_i16, full, rest), zero = _mm256_setzero_ps();
    __m256 ga =
        act_backward(load_gradient(&job->g, form, at, full, rest), y,
                     load_ps(job->scale + j, full, rest), load_ps(job->shift + j, full, rest),
                     has_slope, has_slope ? load_ps(job->slope + j, full, rest) : zero, &term);
    __m256 v = _mm256_add_ps(_mm256_mul_ps(ga, load_ps(job->ka + j, full, rest)),
                             _mm256_mul_ps(y, load_ps(job->kb + j, full, rest)));
    v = _mm256_add_ps(v, load_ps(job->kc + j, full, rest));
    if (job->add)
        v = _mm256_add_ps(load_ps(job->out + at, full, rest), v);
    store_ps(job->out + at, full, rest, v);
}

BP_INLINE void act_grad_of(const struct act_grad_job *job, enum gradient_form form, int is_i16,
                           int has_slope, size_t n, size_t c) {
    for (size_t p = 0; p < n; p++) {
        size_t j = 0;
        for (; j + 8 <= c; j += 8) {
            size_t at = p * c + j;
            act_grad_8(job, form, is_i16, has_slope, at, j, 1, 8);
            fetch_elements_behind(job->g.at, form == GRADIENT_SUMS, n, c, at);
            fetch_elements_behind(job->y, is_i16, n, c, at);
        }
        if (j < c)
            act_grad_8(job, form, is_i16, has_slope, p * c + j, j, 0, c - j);
    }
}

BP_INLINE void act_grad(const struct act_grad_job *job, enum gradient_form form, int is_i16,
                        size_t n, size_t c) {
    if (job->slope != NULL && form == GRADIENT_FLOATS)
        act_grad_of(job, GRADIENT_FLOATS, is_i16, 1, n, c);
    else if (job->slope != NULL)
        act_grad_of(job, GRADIENT_SUMS, is_i16, 1, n, c);
    else if (form == GRADIENT_FLOATS)
        act_grad_of(job, GRADIENT_FLOATS, is_i16, 0, n, c);
    else
        act_grad_of(job, GRADIENT_SUMS, is_i16, 0, n, c);
}

void bp_act_grad_i16_avx2(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                          const float *scale, const float *shift, const float *slope,
                          const float *ka, const float *kb, const float *kc, int add, float *out) {
    const struct act_grad_job job = {gradient_of(g), y, scale, shift, slope, ka, kb, kc, add, out};
    act_grad(&job, form_of(g), 1, n, c);
}

void bp_act_grad_f32_avx2(const struct bp_gradient_rows *g, const float *y, size_t n, size_t c,
                          const float *scale, const float *shift, const float *slope,
                          const float *ka, const float *kb, const float *kc, int add, float *out) {
    const struct act_grad_job job = {gradient_of(g), y, scale, shift, slope, ka, kb, kc, add, out};
    act_grad(&job, form_of(g), 0, n, c);
}

struct act_range_job {
    struct gradient g;
    const int16_t *y;
    size_t n, c;
    const float *scale, *shift, *slope, *ka, *kb, *kc;
};

/* 8 channels from channel j on, all rows. form and has_slope are constants. */
BP_INLINE void act_range_block(const struct act_range_job *job, enum gradient_form form,
                               int has_slope, size_t j, int full, size_t rest,
                               struct bp_columns to) {
    const int has_g = form != GRADIENT_NONE;
    const __m256 zero = _mm256_setzero_ps();
    __m256 scale = has_g ? load_ps(job->scale + j, full, rest) : zero;
    __m256 shift = has_g ? load_ps(job->shift + j, full, rest) : zero;
    __m256 slope = has_g && has_slope ? load_ps(job->slope + j, full, rest) : zero;
    __m256 ka = has_g ? load_ps(job->ka + j, full, rest) : zero;
    __m256 kb = load_ps(job->kb + j, full, rest), kc = load_ps(job->kc + j, full, rest);
    struct range_256 range = range_load(&to, j, full, rest);
    for (size_t p = 0; p < job->n; p++) {
        size_t at = p * job->c + j;
        __m256 term, y = load_y(job->y, at, 1, full, rest), v = _mm256_mul_ps(y, kb);
        if (has_g) {
            __m256 ga = act_backward(load_gradient(&job->g, form, at, full, rest), y, scale, shift,
                                     has_slope, slope, &term);
            v = _mm256_add_ps(_mm256_mul_ps(ga, ka), v);
        }
        range_add(&range, _mm256_add_ps(v, kc));
        size_t done = j * job->n + 8 * p; /* elements */
        fetch_rows_behind(job->y, 1, job->n, job->c, done);
        if (has_g)
            fetch_rows_behind(job->g.at, form == GRADIENT_SUMS, job->n, job->c, done);
    }
    range_store(&to, j, full, rest, &range);
}

BP_INLINE void act_range(const struct act_range_job *job, enum gradient_form form, int has_slope,
                         struct bp_columns to) {
    size_t j = 0;
    for (; j + 8 <= job->c; j += 8)
        act_range_block(job, form, has_slope, j, 1, 8, to);
    if (j < job->c)
        act_range_block(job, form, has_slope, j, 0, job->c - j, to);
}

void bp_act_range_i16_avx2(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                           const float *scale, const float *shift, const float *slope,
                           const float *ka, const float *kb, const float *kc,
                           struct bp_columns to) {
    const struct act_range_job job = {gradient_of(g), y, n, c, scale, shift, slope, ka, kb, kc};
    const enum gradient_form form = form_of(g);
    if (form == GRADIENT_NONE)
        act_range(&job, GRADIENT_NONE, 0, to);
    else if (form == GRADIENT_FLOATS && slope != NULL)
        act_range(&job, GRADIENT_FLOATS, 1, to);
    else if (form == GRADIENT_FLOATS)
        act_range(&job, GRADIENT_FLOATS, 0, to);
    else if (slope != NULL)
        act_range(&job, GRADIENT_SUMS, 1, to);
    else
        act_range(&job, GRADIENT_SUMS, 0, to);
}
