/* Backward of a plain scale of integers with PReLU, AVX2: 8 channels a vector, all rows. The last
 * vector takes only its `rest` channels; `full` is a constant. */
#include "kernels/x86/tier_avx2.h"

#include "base/bits.h"
#include "kernels/x86/columns_x86.h"
#include "kernels/x86/gradient_avx2.h"

struct job {
    struct gradient g;
    const int16_t *y;
    size_t n, c;
    const float *scale, *slope;
    float *out;           /* of rows; or */
    struct bp_columns to; /* ranges and sums */
    float *sum_gy, *sum_slope;
};

struct coefficients {
    __m256 scale, slope;
};

BP_INLINE struct coefficients load_coefficients(const struct job *job, int has_slope, size_t j,
                                                int full, size_t rest) {
    return (struct coefficients){load_ps(job->scale + j, full, rest),
                                 has_slope ? load_ps(job->slope + j, full, rest)
                                           : _mm256_setzero_ps()};
}

BP_INLINE void fetch_behind_row(const struct job *job, enum gradient_form form, size_t j,
                                size_t p) {
    size_t done = j * job->n + 8 * p; /* elements */
    fetch_rows_behind(job->g.at, type_of(form), job->n, job->c, done);
    fetch_rows_behind(job->y, VALUE_I16, job->n, job->c, done);
}

/* ga, and what the slope's sum takes. */
BP_INLINE __m256 act_backward(const struct coefficients *k, int has_slope, __m256 g, __m256 y,
                              __m256 *term) {
    if (!has_slope)
        return g;
    __m256 v = _mm256_mul_ps(y, k->scale);
    __m256 negative = _mm256_cmp_ps(v, _mm256_setzero_ps(), _CMP_LT_OQ);
    *term = _mm256_and_ps(negative, _mm256_mul_ps(g, v));
    return _mm256_blendv_ps(g, _mm256_mul_ps(g, k->slope), negative);
}

BP_INLINE void grad_block(const struct job *job, enum gradient_form form, int has_slope, size_t j,
                          int full, size_t rest) {
    const struct coefficients k = load_coefficients(job, has_slope, j, full, rest);
    for (size_t p = 0; p < job->n; p++) {
        size_t at = p * job->c + j;
        __m256 term, g = load_gradient(&job->g, form, at, full, rest);
        g = act_backward(&k, has_slope, g, load_y(job->y, at, VALUE_I16, full, rest), &term);
        store_ps(job->out + at, full, rest, _mm256_mul_ps(g, k.scale));
        fetch_behind_row(job, form, j, p);
    }
}

BP_INLINE void sums_block(const struct job *job, enum gradient_form form, int has_slope, size_t j,
                          int full, size_t rest) {
    const struct coefficients k = load_coefficients(job, has_slope, j, full, rest);
    struct range_256 range = range_load(&job->to, j, full, rest);
    __m256 sum_gy = load_ps(job->sum_gy + j, full, rest), sum_slope = _mm256_setzero_ps();
    if (has_slope)
        sum_slope = load_ps(job->sum_slope + j, full, rest);
    for (size_t p = 0; p < job->n; p++) {
        size_t at = p * job->c + j;
        __m256 term, g = load_gradient(&job->g, form, at, full, rest);
        __m256 y = load_y(job->y, at, VALUE_I16, full, rest);
        g = act_backward(&k, has_slope, g, y, &term);
        if (has_slope)
            sum_slope = _mm256_add_ps(sum_slope, term);
        sum_gy = _mm256_add_ps(sum_gy, _mm256_mul_ps(g, y));
        range_add(&range, _mm256_mul_ps(g, k.scale));
        fetch_behind_row(job, form, j, p);
    }
    range_store(&job->to, j, full, rest, &range);
    store_ps(job->sum_gy + j, full, rest, sum_gy);
    if (has_slope)
        store_ps(job->sum_slope + j, full, rest, sum_slope);
}

BP_INLINE void block(const struct job *job, enum gradient_form form, int has_slope, size_t j,
                     int full, size_t rest) {
    if (job->out != NULL)
        grad_block(job, form, has_slope, j, full, rest);
    else
        sums_block(job, form, has_slope, j, full, rest);
}

BP_INLINE void all_blocks(const struct job *job, enum gradient_form form, int has_slope) {
    size_t j = 0;
    for (; j + 8 <= job->c; j += 8)
        block(job, form, has_slope, j, 1, 8);
    if (j < job->c)
        block(job, form, has_slope, j, 0, job->c - j);
}

static void run(const struct job *job, enum gradient_form form) {
    if (form == GRADIENT_BF16 && job->slope != NULL)
        all_blocks(job, GRADIENT_BF16, 1);
    else if (form == GRADIENT_BF16)
        all_blocks(job, GRADIENT_BF16, 0);
    else if (form == GRADIENT_SUMS && job->slope != NULL)
        all_blocks(job, GRADIENT_SUMS, 1);
    else if (form == GRADIENT_SUMS)
        all_blocks(job, GRADIENT_SUMS, 0);
    else if (job->slope != NULL)
        all_blocks(job, GRADIENT_FLOATS, 1);
    else
        all_blocks(job, GRADIENT_FLOATS, 0);
}

void bp_scale_grad_i16_avx2(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                            const float *scale, const float *slope, float *out) {
    const struct job job = {
        .g = gradient_of(g), .y = y, .n = n, .c = c, .scale = scale, .slope = slope, .out = out};
    run(&job, form_of(g));
}

void bp_scale_sums_i16_avx2(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                            const float *scale, const float *slope, struct bp_columns to,
                            float *sum_gy, float *sum_slope) {
    const struct job job = {.g = gradient_of(g),
                            .y = y,
                            .n = n,
                            .c = c,
                            .scale = scale,
                            .slope = slope,
                            .to = to,
                            .sum_gy = sum_gy,
                            .sum_slope = sum_slope};
    run(&job, form_of(g));
}
