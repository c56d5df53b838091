/* Backward of batch norm and PReLU, AVX-512: 16 channels a vector. The last vector of a row is
 * masked. */
#include "kernels/x86/tier_avx512.h"

#include "kernels/x86/act_back_avx512.h"
#include "kernels/x86/round_avx512.h"

/* 16 * vectors channels from channel j on, all rows. */
BP_INLINE void act_sums_block(const struct act_sums_job *job, enum gradient_form form,
                              enum value_type type, int has_slope, int vectors, size_t j,
                              __mmask16 m) {
    struct sums_512 sums[2];
    for (int q = 0; q < vectors; q++)
        sums[q] = sums_load(job, has_slope, j + 16 * (size_t)q, m);
    for (size_t p = 0; p < job->n; p++)
        for (int q = 0; q < vectors; q++) {
            size_t at = p * job->c + j + 16 * (size_t)q;
            sums_add(&sums[q], has_slope, load_gradient(&job->g, form, at, m),
                     load_y(job->y, at, type, m));
            fetch_rows_behind(job->g.at, type_of(form), job->n, job->c, j, (size_t)q, p);
            fetch_rows_behind(job->y, type, job->n, job->c, j, (size_t)q, p);
        }
    for (int q = 0; q < vectors; q++)
        sums_store(job, has_slope, j + 16 * (size_t)q, m, &sums[q]);
}

BP_INLINE void act_sums_of(const struct act_sums_job *job, enum gradient_form form,
                           enum value_type type, int has_slope) {
    size_t j = 0;
    for (; j + 32 <= job->c; j += 32)
        act_sums_block(job, form, type, has_slope, 2, j, 0xffff);
    for (; j < job->c; j += 16)
        act_sums_block(job, form, type, has_slope, 1, j, mask_16(job->c - j));
}

BP_INLINE void act_sums(const struct act_sums_job *job, enum gradient_form form,
                        enum value_type type) {
    if (form == GRADIENT_BF16 && job->slope != NULL)
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

void bp_act_sums_i16_avx512(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                            const float *scale, const float *shift, const float *slope,
                            float *sum_g, float *sum_gy, float *sum_slope) {
    const struct act_sums_job job = {gradient_of(g), y,     n,     c,      scale,
                                     shift,          slope, sum_g, sum_gy, sum_slope};
    act_sums(&job, form_of(g), VALUE_I16);
}

void bp_act_sums_f32_avx512(const struct bp_gradient_rows *g, const float *y, size_t n, size_t c,
                            const float *scale, const float *shift, const float *slope,
                            float *sum_g, float *sum_gy, float *sum_slope) {
    const struct act_sums_job job = {gradient_of(g), y,     n,     c,      scale,
                                     shift,          slope, sum_g, sum_gy, sum_slope};
    act_sums(&job, form_of(g), VALUE_F32);
}

void bp_act_sums_f16_avx512(const struct bp_gradient_rows *g, const uint16_t *y, size_t n, size_t c,
                            const float *scale, const float *shift, const float *slope,
                            float *sum_g, float *sum_gy, float *sum_slope) {
    const struct act_sums_job job = {gradient_of(g), y,     n,     c,      scale,
                                     shift,          slope, sum_g, sum_gy, sum_slope};
    act_sums(&job, form_of(g), VALUE_F16);
}

/* --- rows and their ranges -------------------------------------------------------------------- */

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

/* The gradient at the affine's input, 16 elements from `at` on. */
BP_INLINE __m512 affine_grad_16(const struct act_grad_job *job, enum gradient_form form,
                                enum value_type type, int has_slope, size_t at, size_t j,
                                __mmask16 m) {
    __m512 y = load_y(job->y, at, type, m), v = _mm512_mul_ps(y, load_f32(job->kb + j, m));
    if (form != GRADIENT_NONE) {
        __m512 term, slope = has_slope ? load_f32(job->slope + j, m) : _mm512_setzero_ps();
        __m512 ga =
            act_backward(load_gradient(&job->g, form, at, m), y, load_f32(job->scale + j, m),
                         load_f32(job->shift + j, m), has_slope, slope, &term);
        v = _mm512_add_ps(_mm512_mul_ps(ga, load_f32(job->ka + j, m)), v);
    }
    return _mm512_add_ps(v, load_f32(job->kc + j, m));
}

BP_INLINE void act_grad_16(const struct act_grad_job *job, enum gradient_form form,
                           enum value_type type, int has_slope, size_t at, size_t j, __mmask16 m) {
    __m512 v = affine_grad_16(job, form, type, has_slope, at, j, m);
    if (job->add != NULL)
        v = _mm512_add_ps(load_y(job->add, at, added(job, type), m), v);
    store_y(job->out, at, type_of_out(type), m, v);
}

BP_INLINE void act_grad_of(const struct act_grad_job *job, enum gradient_form form,
                           enum value_type type, int has_slope, size_t n, size_t c) {
    for (size_t p = 0; p < n; p++) {
        size_t j = 0;
        for (; j + 16 <= c; j += 16) {
            size_t at = p * c + j;
            act_grad_16(job, form, type, has_slope, at, j, 0xffff);
            if (form != GRADIENT_NONE)
                fetch_elements_behind(job->g.at, type_of(form), n * c, at, 16);
            fetch_elements_behind(job->y, type, n * c, at, 16);
        }
        if (j < c)
            act_grad_16(job, form, type, has_slope, p * c + j, j, mask_16(c - j));
    }
}

BP_INLINE void act_grad(const struct act_grad_job *job, enum gradient_form form,
                        enum value_type type, size_t n, size_t c) {
    if (form == GRADIENT_NONE)
        act_grad_of(job, GRADIENT_NONE, type, 0, n, c);
    else if (form == GRADIENT_BF16 && job->slope != NULL)
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

void bp_act_grad_i16_avx512(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                            const float *scale, const float *shift, const float *slope,
                            const float *ka, const float *kb, const float *kc, int add,
                            float *out) {
    const struct act_grad_job job = {gradient_of(g),   y,         scale, shift, slope, ka, kb, kc,
                                     add ? out : NULL, VALUE_F32, out};
    act_grad(&job, form_of(g), VALUE_I16, n, c);
}

void bp_act_grad_f32_avx512(const struct bp_gradient_rows *g, const float *y, size_t n, size_t c,
                            const float *scale, const float *shift, const float *slope,
                            const float *ka, const float *kb, const float *kc, int add,
                            float *out) {
    const struct act_grad_job job = {gradient_of(g),   y,         scale, shift, slope, ka, kb, kc,
                                     add ? out : NULL, VALUE_F32, out};
    act_grad(&job, form_of(g), VALUE_F32, n, c);
}

void bp_act_grad_f16_avx512(const struct bp_gradient_rows *g, const uint16_t *y, size_t n, size_t c,
                            const float *scale, const float *shift, const float *slope,
                            const float *ka, const float *kb, const float *kc,
                            const struct bp_gradient_rows *add, uint16_t *out) {
    const struct act_grad_job job = {
        gradient_of(g),        y,  scale, shift, slope, ka, kb, kc, elements_of(add),
        type_of(form_of(add)), out};
    act_grad(&job, form_of(g), VALUE_F16, n, c);
}

BP_INLINE void act_codes_rows(const struct act_grad_job *job, enum gradient_form form,
                              int has_slope, size_t n, size_t c, const struct rounder_both *r,
                              const struct bp_rounding_both *both, int wide) {
    for (size_t p = 0; p < n; p++)
        for (size_t j = 0; j < c; j += 64) {
            size_t at = p * c + j;
            __m512 v[4];
            for (size_t q = 0; q < 4; q++)
                v[q] = affine_grad_16(job, form, VALUE_I16, has_slope, at + 16 * q, j + 16 * q,
                                      0xffff);
            round_both(r, both, wide, v, at, j);
            fetch_64_behind(job->y, VALUE_I16, n * c, at);
            if (form != GRADIENT_NONE)
                fetch_64_behind(job->g.at, type_of(form), n * c, at);
        }
}

BP_INLINE void act_codes_of(const struct act_grad_job *job, enum gradient_form form, int has_slope,
                            size_t n, size_t c, const struct bp_rounding_both *both) {
    struct rounder_both r;
    begin_both(&r, both, c);
    if (any_wide(both))
        act_codes_rows(job, form, has_slope, n, c, &r, both, 1);
    else
        act_codes_rows(job, form, has_slope, n, c, &r, both, 0);
}

void bp_act_codes_i16_avx512(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                             const float *scale, const float *shift, const float *slope,
                             const float *ka, const float *kb, const float *kc,
                             const struct bp_rounding_both *both) {
    const struct act_grad_job job = {.g = gradient_of(g),
                                     .y = y,
                                     .scale = scale,
                                     .shift = shift,
                                     .slope = slope,
                                     .ka = ka,
                                     .kb = kb,
                                     .kc = kc};
    const enum gradient_form form = form_of(g);
    if (form == GRADIENT_NONE)
        act_codes_of(&job, GRADIENT_NONE, 0, n, c, both);
    else if (form == GRADIENT_BF16 && slope != NULL)
        act_codes_of(&job, GRADIENT_BF16, 1, n, c, both);
    else if (form == GRADIENT_BF16)
        act_codes_of(&job, GRADIENT_BF16, 0, n, c, both);
    else if (form == GRADIENT_FLOATS && slope != NULL)
        act_codes_of(&job, GRADIENT_FLOATS, 1, n, c, both);
    else if (form == GRADIENT_FLOATS)
        act_codes_of(&job, GRADIENT_FLOATS, 0, n, c, both);
    else if (slope != NULL)
        act_codes_of(&job, GRADIENT_SUMS, 1, n, c, both);
    else
        act_codes_of(&job, GRADIENT_SUMS, 0, n, c, both);
}

struct act_range_job {
    struct gradient g;
    const int16_t *y;
    size_t n, c;
    const float *scale, *shift, *slope, *ka, *kb, *kc;
};

/* 16 * vectors channels from channel j on, all rows. */
BP_INLINE void act_range_block(const struct act_range_job *job, enum gradient_form form,
                               int has_slope, int vectors, size_t j, __mmask16 m,
                               struct bp_columns to) {
    const int has_g = form != GRADIENT_NONE;
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
            __m512 term, y = load_y(job->y, at, VALUE_I16, m), v = _mm512_mul_ps(y, kb[q]);
            if (has_g) {
                __m512 ga = act_backward(load_gradient(&job->g, form, at, m), y, scale[q], shift[q],
                                         has_slope, slope[q], &term);
                v = _mm512_add_ps(_mm512_mul_ps(ga, ka[q]), v);
            }
            range_add(&range[q], _mm512_add_ps(v, kc[q]));
            if (has_g)
                fetch_rows_behind(job->g.at, type_of(form), job->n, job->c, j, (size_t)q, p);
            fetch_rows_behind(job->y, VALUE_I16, job->n, job->c, j, (size_t)q, p);
        }
    for (int q = 0; q < vectors; q++)
        range_store(&to, j + 16 * (size_t)q, m, &range[q]);
}

BP_INLINE void act_range(const struct act_range_job *job, enum gradient_form form, int has_slope,
                         struct bp_columns to) {
    size_t j = 0;
    for (; j + 32 <= job->c; j += 32)
        act_range_block(job, form, has_slope, 2, j, 0xffff, to);
    for (; j < job->c; j += 16)
        act_range_block(job, form, has_slope, 1, j, mask_16(job->c - j), to);
}

void bp_act_range_i16_avx512(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
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
