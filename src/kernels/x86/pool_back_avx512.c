/* Backward of batch norm and PReLU behind 2x2 max pooling, AVX-512: only the winners of the windows
 * have a gradient. 16 channels a vector. */
#include "kernels/x86/tier_avx512.h"

#include "base/bits.h"
#include "kernels/x86/act_back_avx512.h"
#include "kernels/x86/round_avx512.h"

/* Where the winner is, of window p and 16 channels from j on. */
struct pool_place {
    __mmask16 right, below;
};

BP_INLINE struct pool_place place_of(const uint64_t *which, size_t c, size_t p, size_t j) {
    size_t cw = bp_words(c);
    const uint64_t *words = which + 2 * p * cw + j / 64;
    return (struct pool_place){(__mmask16)(words[0] >> j % 64), (__mmask16)(words[cw] >> j % 64)};
}

/* --- sums ------------------------------------------------------------------------------------- */

struct pool_sums_job {
    struct act_sums_job sums; /* y is not used, n of windows */
    const int16_t *upper, *lower;
    const uint64_t *which;
};

/* y of the winners of window p, 16 channels from j on. */
BP_INLINE __m512 winners(const struct pool_sums_job *job, size_t p, size_t j, __mmask16 m) {
    size_t c = job->sums.c, at = 2 * p * c + j;
    const struct pool_place place = place_of(job->which, c, p, j);
    __m256i upper = _mm256_mask_blend_epi16(place.right, load_i16(job->upper + at, m),
                                            load_i16(job->upper + at + c, m));
    __m256i lower = _mm256_mask_blend_epi16(place.right, load_i16(job->lower + at, m),
                                            load_i16(job->lower + at + c, m));
    return _mm512_cvtepi32_ps(
        _mm512_cvtepi16_epi32(_mm256_mask_blend_epi16(place.below, upper, lower)));
}

/* 16 * vectors channels from channel j on, all windows. */
BP_INLINE void pool_sums_block(const struct pool_sums_job *job, enum gradient_form form,
                               int has_slope, int vectors, size_t j, __mmask16 m) {
    const struct act_sums_job *s = &job->sums;
    struct sums_512 sums[2];
    for (int q = 0; q < vectors; q++)
        sums[q] = sums_load(s, has_slope, j + 16 * (size_t)q, m);
    for (size_t p = 0; p < s->n; p++)
        for (int q = 0; q < vectors; q++) {
            size_t at = j + 16 * (size_t)q, done = at * s->n + 16 * p; /* channels of windows */
            sums_add(&sums[q], has_slope, load_gradient(&s->g, form, p * s->c + at, m),
                     winners(job, p, at, m));
            fetch_rows_behind(s->g.at, type_of(form), s->n, s->c, j, (size_t)q, p);
            const int16_t *end = job->lower + 2 * s->n * s->c; /* where the next two rows begin */
            fetch_behind(end, 4 * sizeof *end * done);
            fetch_behind(end, 4 * sizeof *end * done + 64);
        }
    for (int q = 0; q < vectors; q++)
        sums_store(s, has_slope, j + 16 * (size_t)q, m, &sums[q]);
}

BP_INLINE void pool_sums(const struct pool_sums_job *job, enum gradient_form form, int has_slope) {
    size_t j = 0, c = job->sums.c;
    for (; j + 32 <= c; j += 32)
        pool_sums_block(job, form, has_slope, 2, j, 0xffff);
    for (; j < c; j += 16)
        pool_sums_block(job, form, has_slope, 1, j, mask_16(c - j));
}

void bp_pool_sums_i16_avx512(const struct bp_gradient_rows *g, const int16_t *upper,
                             const int16_t *lower, const uint64_t *which, size_t n, size_t c,
                             const float *scale, const float *shift, const float *slope,
                             float *sum_g, float *sum_gy, float *sum_slope) {
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

/* --- ranges and codes ------------------------------------------------------------------------- */

struct pool_job {
    struct gradient g;
    const int16_t *y; /* [2][2 * n][c] */
    const uint64_t *which;
    size_t n, c;
    const float *scale, *shift, *slope, *ka, *kb, *kc;
};

/* Of 16 channels. */
struct pool_coefficients {
    __m512 scale, shift, slope, ka, kb, kc;
};

BP_INLINE struct pool_coefficients pool_load(const struct pool_job *job, int has_slope, size_t j,
                                             __mmask16 m) {
    return (struct pool_coefficients){load_f32(job->scale + j, m),
                                      load_f32(job->shift + j, m),
                                      has_slope ? load_f32(job->slope + j, m) : _mm512_setzero_ps(),
                                      load_f32(job->ka + j, m),
                                      load_f32(job->kb + j, m),
                                      load_f32(job->kc + j, m)};
}

/* ga * ka of the winner, whose y this is. */
BP_INLINE __m512 of_winner(const struct pool_job *job, enum gradient_form form, int has_slope,
                           const struct pool_coefficients *k, size_t p, size_t j, __m512 y,
                           __mmask16 m) {
    __m512 term, g = load_gradient(&job->g, form, p * job->c + j, m);
    return _mm512_mul_ps(act_backward(g, y, k->scale, k->shift, has_slope, k->slope, &term), k->ka);
}

/* (ga * ka + y * kb) + kc, the first where the pixel is the winner. */
BP_INLINE __m512 pixel_grad(const struct pool_coefficients *k, __m512 y, __mmask16 wins,
                            __m512 winner) {
    __m512 v = _mm512_mul_ps(y, k->kb);
    return _mm512_add_ps(_mm512_mask_add_ps(v, wins, winner, v), k->kc);
}

/* The pixels of window p in row r, 0 or 1, 16 channels from j on. */
BP_INLINE void range_window(const struct pool_job *job, enum gradient_form form, int has_slope,
                            const struct pool_coefficients *k, size_t r, size_t p, size_t j,
                            __mmask16 m, struct range_512 *range) {
    size_t c = job->c, at = (r * 2 * job->n + 2 * p) * c + j;
    const struct pool_place place = place_of(job->which, c, p, j);
    const __mmask16 row = r == 0 ? (__mmask16)~place.below : place.below;
    __m512 left = load_y(job->y, at, VALUE_I16, m), right = load_y(job->y, at + c, VALUE_I16, m);
    __m512 winner =
        of_winner(job, form, has_slope, k, p, j, _mm512_mask_blend_ps(place.right, left, right), m);
    range_add(range, pixel_grad(k, left, row & (__mmask16)~place.right, winner));
    range_add(range, pixel_grad(k, right, row & place.right, winner));
}

/* 16 * vectors channels from channel j on. */
BP_INLINE void pool_range_block(const struct pool_job *job, enum gradient_form form, int has_slope,
                                int vectors, size_t j, __mmask16 m, struct bp_columns to) {
    struct pool_coefficients k[2];
    struct range_512 range[2];
    const int16_t *end = job->y + 4 * job->n * job->c; /* where the next two rows begin */
    for (int q = 0; q < vectors; q++) {
        k[q] = pool_load(job, has_slope, j + 16 * (size_t)q, m);
        range[q] = range_load(&to, j + 16 * (size_t)q, m);
    }
    for (size_t r = 0; r < 2; r++)
        for (size_t p = 0; p < job->n; p++) {
            for (int q = 0; q < vectors; q++)
                range_window(job, form, has_slope, &k[q], r, p, j + 16 * (size_t)q, m, &range[q]);
            size_t done = 4 * job->n * j + (2 * job->n * r + 2 * p) * 16 * (size_t)vectors;
            fetch_behind(end, sizeof *end * done);
            fetch_behind(end, sizeof *end * (done + 16 * (size_t)vectors));
            for (size_t q = 0; r == 0 && q < (size_t)vectors; q++)
                fetch_rows_behind(job->g.at, type_of(form), job->n, job->c, j, q, p);
        }
    for (int q = 0; q < vectors; q++)
        range_store(&to, j + 16 * (size_t)q, m, &range[q]);
}

BP_INLINE void pool_range(const struct pool_job *job, enum gradient_form form, int has_slope,
                          struct bp_columns to) {
    size_t j = 0;
    for (; j + 32 <= job->c; j += 32)
        pool_range_block(job, form, has_slope, 2, j, 0xffff, to);
    for (; j < job->c; j += 16)
        pool_range_block(job, form, has_slope, 1, j, mask_16(job->c - j), to);
}

void bp_pool_range_i16_avx512(const struct bp_gradient_rows *g, const int16_t *y,
                              const uint64_t *which, size_t n, size_t c, const float *scale,
                              const float *shift, const float *slope, const float *ka,
                              const float *kb, const float *kc, struct bp_columns to) {
    const struct pool_job job = {gradient_of(g), y, which, n, c, scale, shift, slope, ka, kb, kc};
    if (form_of(g) == GRADIENT_FLOATS && slope != NULL)
        pool_range(&job, GRADIENT_FLOATS, 1, to);
    else if (form_of(g) == GRADIENT_FLOATS)
        pool_range(&job, GRADIENT_FLOATS, 0, to);
    else if (slope != NULL)
        pool_range(&job, GRADIENT_SUMS, 1, to);
    else
        pool_range(&job, GRADIENT_SUMS, 0, to);
}

/* Gradients of the four pixels of a window, 16 channels from j on, each to its vector q. */
BP_INLINE void window_grads(const struct pool_job *job, enum gradient_form form, int has_slope,
                            size_t p, size_t j, size_t q, __m512 v[4][4]) {
    size_t c = job->c, row = 2 * job->n * c, at = 2 * p * c + j;
    const struct pool_coefficients k = pool_load(job, has_slope, j, 0xffff);
    const struct pool_place place = place_of(job->which, c, p, j);
    const __mmask16 left = (__mmask16)~place.right, above = (__mmask16)~place.below;
    __m512 y[4];
    for (size_t i = 0; i < 4; i++)
        y[i] = load_y(job->y, at + i / 2 * row + i % 2 * c, VALUE_I16, 0xffff);
    __m512 upper = _mm512_mask_blend_ps(place.right, y[0], y[1]);
    __m512 lower = _mm512_mask_blend_ps(place.right, y[2], y[3]);
    __m512 winner = of_winner(job, form, has_slope, &k, p, j,
                              _mm512_mask_blend_ps(place.below, upper, lower), 0xffff);
    v[0][q] = pixel_grad(&k, y[0], above & left, winner);
    v[1][q] = pixel_grad(&k, y[1], above & place.right, winner);
    v[2][q] = pixel_grad(&k, y[2], place.below & left, winner);
    v[3][q] = pixel_grad(&k, y[3], place.below & place.right, winner);
}

BP_INLINE void pool_codes_rows(const struct pool_job *job, enum gradient_form form, int has_slope,
                               const struct rounder_both *r, const struct bp_rounding_both *both,
                               int wide) {
    size_t c = job->c, row = 2 * job->n * c;
    for (size_t p = 0; p < job->n; p++)
        for (size_t j = 0; j < c; j += 64) {
            __m512 v[4][4];
            for (size_t q = 0; q < 4; q++)
                window_grads(job, form, has_slope, p, j + 16 * q, q, v);
            for (size_t i = 0; i < 4; i++)
                round_both(r, both, wide, v[i], 2 * p * c + i / 2 * row + i % 2 * c + j, j);
            for (size_t i = 0; i < 4; i++)
                fetch_64_behind(job->y, VALUE_I16, 2 * row, 4 * (p * c + j) + 64 * i);
            fetch_64_behind(job->g.at, type_of(form), job->n * c, p * c + j);
        }
}

BP_INLINE void pool_codes(const struct pool_job *job, enum gradient_form form, int has_slope,
                          const struct bp_rounding_both *both) {
    struct rounder_both r;
    begin_both(&r, both, job->c);
    if (any_wide(both))
        pool_codes_rows(job, form, has_slope, &r, both, 1);
    else
        pool_codes_rows(job, form, has_slope, &r, both, 0);
}

void bp_pool_codes_i16_avx512(const struct bp_gradient_rows *g, const int16_t *y,
                              const uint64_t *which, size_t n, size_t c, const float *scale,
                              const float *shift, const float *slope, const float *ka,
                              const float *kb, const float *kc,
                              const struct bp_rounding_both *both) {
    const struct pool_job job = {gradient_of(g), y, which, n, c, scale, shift, slope, ka, kb, kc};
    if (form_of(g) == GRADIENT_FLOATS && slope != NULL)
        pool_codes(&job, GRADIENT_FLOATS, 1, both);
    else if (form_of(g) == GRADIENT_FLOATS)
        pool_codes(&job, GRADIENT_FLOATS, 0, both);
    else if (slope != NULL)
        pool_codes(&job, GRADIENT_SUMS, 1, both);
    else
        pool_codes(&job, GRADIENT_SUMS, 0, both);
}
