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

/* Coefficients and sums of 8 channels. */
struct sums_8 {
    __m256 scale, shift, slope, sum_g, sum_gy, sum_slope;
};

BP_INLINE struct sums_8 sums_load(const struct act_sums_job *job, int has_slope, size_t j, int full,
                                  size_t rest) {
    const __m256 zero = _mm256_setzero_ps();
    return (struct sums_8){load_ps(job->scale + j, full, rest),
                           load_ps(job->shift + j, full, rest),
                           has_slope ? load_ps(job->slope + j, full, rest) : zero,
                           load_ps(job->sum_g + j, full, rest),
                           load_ps(job->sum_gy + j, full, rest),
                           has_slope ? load_ps(job->sum_slope + j, full, rest) : zero};
}

BP_INLINE void sums_add(struct sums_8 *s, int has_slope, __m256 g, __m256 y) {
    __m256 term, ga = act_backward(g, y, s->scale, s->shift, has_slope, s->slope, &term);
    s->sum_g = _mm256_add_ps(s->sum_g, ga);
    s->sum_gy = _mm256_add_ps(s->sum_gy, _mm256_mul_ps(ga, y));
    if (has_slope)
        s->sum_slope = _mm256_add_ps(s->sum_slope, term);
}

BP_INLINE void sums_store(const struct act_sums_job *job, int has_slope, size_t j, int full,
                          size_t rest, const struct sums_8 *s) {
    store_ps(job->sum_g + j, full, rest, s->sum_g);
    store_ps(job->sum_gy + j, full, rest, s->sum_gy);
    if (has_slope)
        store_ps(job->sum_slope + j, full, rest, s->sum_slope);
}

/* 8 * vectors channels from channel j on, all rows. */
BP_INLINE void act_sums_block(const struct act_sums_job *job, enum gradient_form form,
                              enum value_type type, int has_slope, int vectors, size_t j, int full,
                              size_t rest) {
    struct sums_8 sums[2];
    for (int q = 0; q < vectors; q++)
        sums[q] = sums_load(job, has_slope, j + 8 * (size_t)q, full, rest);
    for (size_t p = 0; p < job->n; p++)
        for (int q = 0; q < vectors; q++) {
            size_t at = p * job->c + j + 8 * (size_t)q;
            __m256 y = load_y(job->y, at, type, full, rest);
            sums_add(&sums[q], has_slope, load_gradient(&job->g, form, at, full, rest), y);
            size_t done = (j + 8 * (size_t)q) * job->n + 8 * p; /* elements */
            fetch_rows_behind(job->g.at, type_of(form), job->n, job->c, done);
            fetch_rows_behind(job->y, type, job->n, job->c, done);
        }
    for (int q = 0; q < vectors; q++)
        sums_store(job, has_slope, j + 8 * (size_t)q, full, rest, &sums[q]);
}

BP_INLINE void act_sums_of(const struct act_sums_job *job, enum gradient_form form,
                           enum value_type type, int has_slope) {
    size_t j = 0;
    for (; j + 16 <= job->c; j += 16)
        act_sums_block(job, form, type, has_slope, 2, j, 1, 8);
    for (; j < job->c; j += 8)
        act_sums_block(job, form, type, has_slope, 1, j, 0, job->c - j);
}

BP_INLINE void act_sums(const struct act_sums_job *job, enum gradient_form form,
                        enum value_type type) {
    if (job->slope != NULL && form == GRADIENT_BF16)
        act_sums_of(job, GRADIENT_BF16, type, 1);
    else if (form == GRADIENT_BF16)
        act_sums_of(job, GRADIENT_BF16, type, 0);
    else if (job->slope != NULL && form == GRADIENT_FLOATS)
        act_sums_of(job, GRADIENT_FLOATS, type, 1);
    else if (job->slope != NULL)
        act_sums_of(job, GRADIENT_SUMS, type, 1);
    else if (form == GRADIENT_FLOATS)
        act_sums_of(job, GRADIENT_FLOATS, type, 0);
    else
        act_sums_of(job, GRADIENT_SUMS, type, 0);
}

void bp_act_sums_i16_avx2(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                          const float *scale, const float *shift, const float *slope, float *sum_g,
                          float *sum_gy, float *sum_slope) {
    const struct act_sums_job job = {gradient_of(g), y,     n,     c,      scale,
                                     shift,          slope, sum_g, sum_gy, sum_slope};
    act_sums(&job, form_of(g), VALUE_I16);
}

void bp_act_sums_f32_avx2(const struct bp_gradient_rows *g, const float *y, size_t n, size_t c,
                          const float *scale, const float *shift, const float *slope, float *sum_g,
                          float *sum_gy, float *sum_slope) {
    const struct act_sums_job job = {gradient_of(g), y,     n,     c,      scale,
                                     shift,          slope, sum_g, sum_gy, sum_slope};
    act_sums(&job, form_of(g), VALUE_F32);
}

void bp_act_sums_f16_avx2(const struct bp_gradient_rows *g, const uint16_t *y, size_t n, size_t c,
                          const float *scale, const float *shift, const float *slope, float *sum_g,
                          float *sum_gy, float *sum_slope) {
    const struct act_sums_job job = {gradient_of(g), y,     n,     c,      scale,
                                     shift,          slope, sum_g, sum_gy, sum_slope};
    act_sums(&job, form_of(g), VALUE_F16);
}

/* --- sums behind 2x2 pooling ------------------------------------------------------------------ */

struct pool_sums_job {
    struct act_sums_job sums; /* n windows; without y */
    const int16_t *upper, *lower;
    const uint64_t *which;
};

BP_INLINE __m256i load_i16(const int16_t *x, int full, size_t rest) {
    int16_t part[16] = {0};
    if (full)
        return load_256(x);
    memcpy(part, x, rest * sizeof *x);
    return load_256(part);
}

/* y of the winners of window p, 16 channels from channel j on, or the first `rest` of them. */
BP_INLINE __m256i winners(const struct pool_sums_job *job, size_t p, size_t j, int full,
                          size_t rest) {
    size_t c = job->sums.c, cw = bp_words(c), at = 2 * p * c + j;
    const uint64_t *words = job->which + 2 * p * cw + j / 64;
    __m256i right = spread_bits_16(words[0] >> j % 64), below = spread_bits_16(words[cw] >> j % 64);
    __m256i left_y = _mm256_blendv_epi8(load_i16(job->upper + at, full, rest),
                                        load_i16(job->lower + at, full, rest), below);
    __m256i right_y = _mm256_blendv_epi8(load_i16(job->upper + at + c, full, rest),
                                         load_i16(job->lower + at + c, full, rest), below);
    return _mm256_blendv_epi8(left_y, right_y, right);
}

/* 8 * vectors channels from channel j on, or the first `rest` of them, all windows. */
BP_INLINE void pool_sums_block(const struct pool_sums_job *job, enum gradient_form form,
                               int has_slope, int vectors, size_t j, int full, size_t rest) {
    const struct act_sums_job *s = &job->sums;
    struct sums_8 sums[2];
    for (int q = 0; q < vectors; q++)
        sums[q] = sums_load(s, has_slope, j + 8 * (size_t)q, full, rest - 8 * (size_t)q);
    for (size_t p = 0; p < s->n; p++) {
        __m256i y = winners(job, p, j, full, rest);
        const __m128i half[2] = {_mm256_castsi256_si128(y), _mm256_extracti128_si256(y, 1)};
        for (int q = 0; q < vectors; q++) {
            size_t at = p * s->c + j + 8 * (size_t)q;
            __m256 g = load_gradient(&s->g, form, at, full, rest - 8 * (size_t)q);
            sums_add(&sums[q], has_slope, g, _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(half[q])));
        }
        size_t done = j * s->n + 16 * p; /* channels of windows */
        fetch_rows_behind(s->g.at, type_of(form), s->n, s->c, done);
        const int16_t *end = job->lower + 2 * s->n * s->c; /* where the next two rows begin */
        fetch_behind(end, 4 * sizeof *end * done);
        fetch_behind(end, 4 * sizeof *end * done + 64);
    }
    for (int q = 0; q < vectors; q++)
        sums_store(s, has_slope, j + 8 * (size_t)q, full, rest - 8 * (size_t)q, &sums[q]);
}

BP_INLINE void pool_sums(const struct pool_sums_job *job, enum gradient_form form, int has_slope) {
    size_t j = 0, c = job->sums.c;
    for (; j + 16 <= c; j += 16)
        pool_sums_block(job, form, has_slope, 2, j, 1, 16);
    if (j + 8 < c)
        pool_sums_block(job, form, has_slope, 2, j, 0, c - j);
    else if (j < c)
        pool_sums_block(job, form, has_slope, 1, j, 0, c - j);
}

void bp_pool_sums_i16_avx2(const struct bp_gradient_rows *g, const int16_t *upper,
                           const int16_t *lower, const uint64_t *which, size_t n, size_t c,
                           const float *scale, const float *shift, const float *slope, float *sum_g,
                           float *sum_gy, float *sum_slope) {
    const struct pool_sums_job job = {
        {gradient_of(g), NULL, n, c, scale, shift, slope, sum_g, sum_gy, sum_slope},
        upper,
        lower,
        which};
    const enum gradient_form form = form_of(g);
    if (slope != NULL && form == GRADIENT_FLOATS)
        pool_sums(&job, GRADIENT_FLOATS, 1);
    else if (slope != NULL)
        pool_sums(&job, GRADIENT_SUMS, 1);
    else if (form == GRADIENT_FLOATS)
        pool_sums(&job, GRADIENT_FLOATS, 0);
    else
        pool_sums(&job, GRADIENT_SUMS, 0);
}

/* --- the gradient at the input, and its ranges ------------------------------------------------ */

struct act_grad_job {
    struct gradient g;
    const void *y;
    const float *scale, *shift, *slope, *ka, *kb, *kc;
    const void *add; /* or NULL */
    enum value_type add_type;
    void *out; /* floats; where y is of halves, bfloat16 */
};

/* What is added to rows of such inputs: floats are to floats. */
BP_INLINE enum value_type added(const struct act_grad_job *job, enum value_type input) {
    return input == VALUE_F16 ? job->add_type : VALUE_F32;
}

BP_INLINE void act_grad_8(const struct act_grad_job *job, enum gradient_form form,
                          enum value_type type, int has_slope, size_t at, size_t j, int full,
                          size_t rest) {
    __m256 y = load_y(job->y, at, type, full, rest);
    __m256 v = _mm256_mul_ps(y, load_ps(job->kb + j, full, rest));
    if (form != GRADIENT_NONE) {
        __m256 term, slope = has_slope ? load_ps(job->slope + j, full, rest) : _mm256_setzero_ps();
        __m256 ga = act_backward(load_gradient(&job->g, form, at, full, rest), y,
                                 load_ps(job->scale + j, full, rest),
                                 load_ps(job->shift + j, full, rest), has_slope, slope, &term);
        v = _mm256_add_ps(_mm256_mul_ps(ga, load_ps(job->ka + j, full, rest)), v);
    }
    v = _mm256_add_ps(v, load_ps(job->kc + j, full, rest));
    if (job->add != NULL)
        v = _mm256_add_ps(load_y(job->add, at, added(job, type), full, rest), v);
    store_y(job->out, at, type_of_out(type), full, rest, v);
}

BP_INLINE void act_grad_of(const struct act_grad_job *job, enum gradient_form form,
                           enum value_type type, int has_slope, size_t n, size_t c) {
    for (size_t p = 0; p < n; p++) {
        size_t j = 0;
        for (; j + 8 <= c; j += 8) {
            size_t at = p * c + j;
            act_grad_8(job, form, type, has_slope, at, j, 1, 8);
            if (form != GRADIENT_NONE)
                fetch_elements_behind(job->g.at, type_of(form), n * c, at, 8);
            fetch_elements_behind(job->y, type, n * c, at, 8);
        }
        if (j < c)
            act_grad_8(job, form, type, has_slope, p * c + j, j, 0, c - j);
    }
}

BP_INLINE void act_grad(const struct act_grad_job *job, enum gradient_form form,
                        enum value_type type, size_t n, size_t c) {
    if (form == GRADIENT_NONE)
        act_grad_of(job, GRADIENT_NONE, type, 0, n, c);
    else if (job->slope != NULL && form == GRADIENT_BF16)
        act_grad_of(job, GRADIENT_BF16, type, 1, n, c);
    else if (form == GRADIENT_BF16)
        act_grad_of(job, GRADIENT_BF16, type, 0, n, c);
    else if (job->slope != NULL && form == GRADIENT_FLOATS)
        act_grad_of(job, GRADIENT_FLOATS, type, 1, n, c);
    else if (job->slope != NULL)
        act_grad_of(job, GRADIENT_SUMS, type, 1, n, c);
    else if (form == GRADIENT_FLOATS)
        act_grad_of(job, GRADIENT_FLOATS, type, 0, n, c);
    else
        act_grad_of(job, GRADIENT_SUMS, type, 0, n, c);
}

void bp_act_grad_i16_avx2(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                          const float *scale, const float *shift, const float *slope,
                          const float *ka, const float *kb, const float *kc, int add, float *out) {
    const struct act_grad_job job = {gradient_of(g),   y,         scale, shift, slope, ka, kb, kc,
                                     add ? out : NULL, VALUE_F32, out};
    act_grad(&job, form_of(g), VALUE_I16, n, c);
}

void bp_act_grad_f32_avx2(const struct bp_gradient_rows *g, const float *y, size_t n, size_t c,
                          const float *scale, const float *shift, const float *slope,
                          const float *ka, const float *kb, const float *kc, int add, float *out) {
    const struct act_grad_job job = {gradient_of(g),   y,         scale, shift, slope, ka, kb, kc,
                                     add ? out : NULL, VALUE_F32, out};
    act_grad(&job, form_of(g), VALUE_F32, n, c);
}

void bp_act_grad_f16_avx2(const struct bp_gradient_rows *g, const uint16_t *y, size_t n, size_t c,
                          const float *scale, const float *shift, const float *slope,
                          const float *ka, const float *kb, const float *kc,
                          const struct bp_gradient_rows *add, uint16_t *out) {
    const struct act_grad_job job = {
        gradient_of(g),        y,  scale, shift, slope, ka, kb, kc, elements_of(add),
        type_of(form_of(add)), out};
    act_grad(&job, form_of(g), VALUE_F16, n, c);
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
        __m256 term, y = load_y(job->y, at, VALUE_I16, full, rest), v = _mm256_mul_ps(y, kb);
        if (has_g) {
            __m256 ga = act_backward(load_gradient(&job->g, form, at, full, rest), y, scale, shift,
                                     has_slope, slope, &term);
            v = _mm256_add_ps(_mm256_mul_ps(ga, ka), v);
        }
        range_add(&range, _mm256_add_ps(v, kc));
        size_t done = j * job->n + 8 * p; /* elements */
        fetch_rows_behind(job->y, VALUE_I16, job->n, job->c, done);
        if (has_g)
            fetch_rows_behind(job->g.at, type_of(form), job->n, job->c, done);
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
    else if (form == GRADIENT_BF16 && slope != NULL)
        act_range(&job, GRADIENT_BF16, 1, to);
    else if (form == GRADIENT_BF16)
        act_range(&job, GRADIENT_BF16, 0, to);
    else if (form == GRADIENT_FLOATS && slope != NULL)
        act_range(&job, GRADIENT_FLOATS, 1, to);
    else if (form == GRADIENT_FLOATS)
        act_range(&job, GRADIENT_FLOATS, 0, to);
    else if (slope != NULL)
        act_range(&job, GRADIENT_SUMS, 1, to);
    else
        act_range(&job, GRADIENT_SUMS, 0, to);
}
