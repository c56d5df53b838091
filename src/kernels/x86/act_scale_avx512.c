/* Backward of a plain scale of integers with PReLU, AVX-512: 32 channels at a time, all rows. */
#include "kernels/x86/tier_avx512.h"

#include "base/bits.h"
#include "kernels/x86/gradient_avx512.h"
#include "kernels/x86/round_avx512.h"

struct job {
    struct gradient g;
    const int16_t *y;
    size_t n, c;
    const float *scale, *slope;
};

/* 16 of them. */
struct coefficients {
    __m512 scale, slope;
};

BP_INLINE struct coefficients load_coefficients(const struct job *job, int has_slope, size_t j,
                                                __mmask16 m) {
    return (struct coefficients){load_f32(job->scale + j, m),
                                 has_slope ? load_f32(job->slope + j, m) : _mm512_setzero_ps()};
}

BP_INLINE __mmask16 half_of(__mmask32 m, int half) {
    return (__mmask16)(m >> 16 * half);
}

BP_INLINE void fetch_behind_row(const struct job *job, enum gradient_form form, size_t j,
                                size_t p) {
    fetch_rows_behind(job->y, VALUE_I16, job->n, job->c, j, 0, p);
    fetch_rows_behind(job->g.at, type_of(form), job->n, job->c, j, 0, p);
    if (form == GRADIENT_FLOATS)
        fetch_rows_behind(job->g.at, VALUE_F32, job->n, job->c, j, 1, p);
}

/* --- rows ------------------------------------------------------------------------------------- */

/* 1, 0 or -1, as the scales of 32 channels. */
BP_INLINE __m512i signs_of(const struct coefficients k[2]) {
    const __m512 zero = _mm512_setzero_ps();
    __mmask32 above = 0, below = 0;
    for (int q = 0; q < 2; q++) {
        above |= (__mmask32)_mm512_cmp_ps_mask(k[q].scale, zero, _CMP_GT_OQ) << 16 * q;
        below |= (__mmask32)_mm512_cmp_ps_mask(k[q].scale, zero, _CMP_LT_OQ) << 16 * q;
    }
    return _mm512_mask_mov_epi16(_mm512_maskz_set1_epi16(above, 1), below, _mm512_set1_epi16(-1));
}

BP_INLINE void grad_block(const struct job *job, enum gradient_form form, int has_slope, size_t j,
                          __mmask32 m, float *out) {
    struct coefficients k[2];
    for (int q = 0; q < 2; q++)
        k[q] = load_coefficients(job, has_slope, j + 16 * (size_t)q, half_of(m, q));
    const __m512i signs = signs_of(k);
    for (size_t p = 0; p < job->n; p++) {
        size_t at = p * job->c + j;
        __m512i y = _mm512_maskz_loadu_epi16(m, job->y + at);
        /* y times a scale is below zero where y times its sign is. */
        __mmask32 negative = _mm512_movepi16_mask(_mm512_mullo_epi16(y, signs));
        for (int q = 0; q < 2; q++, at += 16) {
            __m512 g = load_gradient(&job->g, form, at, half_of(m, q));
            if (has_slope)
                g = _mm512_mask_mul_ps(g, half_of(negative, q), g, k[q].slope);
            store_f32(out + at, half_of(m, q), _mm512_mul_ps(g, k[q].scale));
        }
        fetch_behind_row(job, form, j, p);
    }
}

BP_INLINE void grad_of(const struct job *job, enum gradient_form form, int has_slope, float *out) {
    size_t j = 0;
    for (; j + 32 <= job->c; j += 32)
        grad_block(job, form, has_slope, j, 0xffffffff, out);
    if (j < job->c)
        grad_block(job, form, has_slope, j, mask_32(job->c - j), out);
}

void bp_scale_grad_i16_avx512(const struct bp_gradient_rows *g, const int16_t *y, size_t n,
                              size_t c, const float *scale, const float *slope, float *out) {
    const struct job job = {gradient_of(g), y, n, c, scale, slope};
    if (form_of(g) == GRADIENT_BF16 && slope != NULL)
        grad_of(&job, GRADIENT_BF16, 1, out);
    else if (form_of(g) == GRADIENT_BF16)
        grad_of(&job, GRADIENT_BF16, 0, out);
    else if (form_of(g) == GRADIENT_SUMS && slope != NULL)
        grad_of(&job, GRADIENT_SUMS, 1, out);
    else if (form_of(g) == GRADIENT_SUMS)
        grad_of(&job, GRADIENT_SUMS, 0, out);
    else if (slope != NULL)
        grad_of(&job, GRADIENT_FLOATS, 1, out);
    else
        grad_of(&job, GRADIENT_FLOATS, 0, out);
}

/* --- codes ------------------------------------------------------------------------------------ */

BP_INLINE void codes_rows(const struct job *job, enum gradient_form form, int has_slope,
                          const struct rounder_both *r, const struct bp_rounding_both *both,
                          int wide) {
    int16_t signs[BP_BOTH_CHANNELS];
    for (size_t j = 0; j < job->c && has_slope; j += 32) {
        const struct coefficients k[2] = {load_coefficients(job, 0, j, 0xffff),
                                          load_coefficients(job, 0, j + 16, 0xffff)};
        _mm512_storeu_si512(signs + j, signs_of(k));
    }
    for (size_t p = 0; p < job->n; p++)
        for (size_t j = 0; j < job->c; j += 64) {
            size_t at = p * job->c + j;
            __mmask32 negative[2] = {0, 0};
            __m512 v[4];
            for (size_t i = 0; i < 2 && has_slope; i++)
                negative[i] = _mm512_movepi16_mask(
                    _mm512_mullo_epi16(_mm512_loadu_si512(job->y + at + 32 * i),
                                       _mm512_loadu_si512(signs + j + 32 * i)));
            for (size_t q = 0; q < 4; q++) {
                const struct coefficients k = load_coefficients(job, has_slope, j + 16 * q, 0xffff);
                v[q] = load_gradient(&job->g, form, at + 16 * q, 0xffff);
                if (has_slope)
                    v[q] = _mm512_mask_mul_ps(v[q], half_of(negative[q / 2], (int)q % 2), v[q],
                                              k.slope);
                v[q] = _mm512_mul_ps(v[q], k.scale);
            }
            round_both(r, both, wide, v, at, j);
            fetch_64_behind(job->y, VALUE_I16, job->n * job->c, at);
            fetch_64_behind(job->g.at, type_of(form), job->n * job->c, at);
        }
}

BP_INLINE void codes_of(const struct job *job, enum gradient_form form, int has_slope,
                        const struct rounder_both *r, const struct bp_rounding_both *both) {
    if (any_wide(both))
        codes_rows(job, form, has_slope, r, both, 1);
    else
        codes_rows(job, form, has_slope, r, both, 0);
}

void bp_scale_codes_i16_avx512(const struct bp_gradient_rows *g, const int16_t *y, size_t n,
                               size_t c, const float *scale, const float *slope,
                               const struct bp_rounding_both *both) {
    const struct job job = {gradient_of(g), y, n, c, scale, slope};
    struct rounder_both r;
    begin_both(&r, both, c);
    if (form_of(g) == GRADIENT_BF16 && slope != NULL)
        codes_of(&job, GRADIENT_BF16, 1, &r, both);
    else if (form_of(g) == GRADIENT_BF16)
        codes_of(&job, GRADIENT_BF16, 0, &r, both);
    else if (form_of(g) == GRADIENT_SUMS && slope != NULL)
        codes_of(&job, GRADIENT_SUMS, 1, &r, both);
    else if (form_of(g) == GRADIENT_SUMS)
        codes_of(&job, GRADIENT_SUMS, 0, &r, both);
    else if (slope != NULL)
        codes_of(&job, GRADIENT_FLOATS, 1, &r, both);
    else
        codes_of(&job, GRADIENT_FLOATS, 0, &r, both);
}

/* --- sums ------------------------------------------------------------------------------------- */

struct sums {
    struct range_512 range;
    __m512 gy, slope;
};

BP_INLINE void sums_add(struct sums *to, const struct coefficients *k, int has_slope, __m512 g,
                        __m512 y) {
    if (has_slope) {
        __m512 v = _mm512_mul_ps(y, k->scale);
        __mmask16 negative = _mm512_cmp_ps_mask(v, _mm512_setzero_ps(), _CMP_LT_OQ);
        to->slope = _mm512_add_ps(to->slope, _mm512_maskz_mul_ps(negative, g, v));
        g = _mm512_mask_mul_ps(g, negative, g, k->slope);
    }
    to->gy = _mm512_add_ps(to->gy, _mm512_mul_ps(g, y));
    range_add(&to->range, _mm512_mul_ps(g, k->scale));
}

BP_INLINE void sums_block(const struct job *job, enum gradient_form form, int has_slope, size_t j,
                          __mmask32 m, const struct bp_columns *to, float *sum_gy,
                          float *sum_slope) {
    struct coefficients k[2];
    struct sums sums[2];
    for (int q = 0; q < 2; q++) {
        size_t at = j + 16 * (size_t)q;
        k[q] = load_coefficients(job, has_slope, at, half_of(m, q));
        sums[q].range = range_load(to, at, half_of(m, q));
        sums[q].gy = load_f32(sum_gy + at, half_of(m, q));
        sums[q].slope = has_slope ? load_f32(sum_slope + at, half_of(m, q)) : _mm512_setzero_ps();
    }
    for (size_t p = 0; p < job->n; p++) {
        for (int q = 0; q < 2; q++) {
            size_t at = p * job->c + j + 16 * (size_t)q;
            sums_add(&sums[q], &k[q], has_slope, load_gradient(&job->g, form, at, half_of(m, q)),
                     load_y(job->y, at, VALUE_I16, half_of(m, q)));
        }
        fetch_behind_row(job, form, j, p);
    }
    for (int q = 0; q < 2; q++) {
        size_t at = j + 16 * (size_t)q;
        range_store(to, at, half_of(m, q), &sums[q].range);
        store_f32(sum_gy + at, half_of(m, q), sums[q].gy);
        if (has_slope)
            store_f32(sum_slope + at, half_of(m, q), sums[q].slope);
    }
}

BP_INLINE void sums_of(const struct job *job, enum gradient_form form, int has_slope,
                       const struct bp_columns *to, float *sum_gy, float *sum_slope) {
    size_t j = 0;
    for (; j + 32 <= job->c; j += 32)
        sums_block(job, form, has_slope, j, 0xffffffff, to, sum_gy, sum_slope);
    if (j < job->c)
        sums_block(job, form, has_slope, j, mask_32(job->c - j), to, sum_gy, sum_slope);
}

void bp_scale_sums_i16_avx512(const struct bp_gradient_rows *g, const int16_t *y, size_t n,
                              size_t c, const float *scale, const float *slope,
                              struct bp_columns to, float *sum_gy, float *sum_slope) {
    const struct job job = {gradient_of(g), y, n, c, scale, slope};
    if (form_of(g) == GRADIENT_BF16 && slope != NULL)
        sums_of(&job, GRADIENT_BF16, 1, &to, sum_gy, sum_slope);
    else if (form_of(g) == GRADIENT_BF16)
        sums_of(&job, GRADIENT_BF16, 0, &to, sum_gy, sum_slope);
    else if (form_of(g) == GRADIENT_SUMS && slope != NULL)
        sums_of(&job, GRADIENT_SUMS, 1, &to, sum_gy, sum_slope);
    else if (form_of(g) == GRADIENT_SUMS)
        sums_of(&job, GRADIENT_SUMS, 0, &to, sum_gy, sum_slope);
    else if (slope != NULL)
        sums_of(&job, GRADIENT_FLOATS, 1, &to, sum_gy, sum_slope);
    else
        sums_of(&job, GRADIENT_FLOATS, 0, &to, sum_gy, sum_slope);
}
