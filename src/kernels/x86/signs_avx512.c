/* From values to the signs and masks of the next binary convolution in one pass, AVX-512: 64
 * channels a word, whose coefficients stay in registers while the pixels go by. */
#include "kernels/x86/tier_avx512.h"

#include "base/bits.h"
#include "kernels/x86/fetch_x86.h"
#include "kernels/x86/vec_avx512.h"

/* The lanes of 16 channels from number 16 * q of a word on, of which `rest` exist. */
BP_INLINE __mmask16 lanes_of(size_t rest, int q) {
    size_t at = 16 * (size_t)q;
    return rest >= 64 ? 0xffff : mask_16(rest > at ? rest - at : 0);
}

/* Four masks of 16 lanes as a word. */
BP_INLINE uint64_t word_of(const __mmask16 m[4]) {
    return _mm512_kunpackd(_mm512_kunpackw(m[3], m[2]), _mm512_kunpackw(m[1], m[0]));
}

/* Sign and mask bits of 16 values. */
BP_INLINE void sign_16(__m512 v, __mmask16 live, __mmask16 *sign, __mmask16 *inside) {
    *sign = _mm512_mask_cmp_ps_mask(live, v, _mm512_setzero_ps(), _CMP_LT_OQ);
    *inside = _mm512_mask_cmp_ps_mask(live, _mm512_abs_ps(v), _mm512_set1_ps(1.0f), _CMP_LT_OQ);
}

/* v < 0 ? v * slope : v */
BP_INLINE __m512 prelu(__m512 v, __m512 slope) {
    __mmask16 negative = _mm512_cmp_ps_mask(v, _mm512_setzero_ps(), _CMP_LT_OQ);
    return _mm512_mask_mul_ps(v, negative, v, slope);
}

/* --- affine, PReLU ---------------------------------------------------------------------------- */

/* The coefficients of a word's channels; without an activation the slope is 1, which changes
 * nothing. */
struct affine_word {
    __m512 scale[4], shift[4], slope[4];
};

BP_INLINE struct affine_word load_word(const struct bp_affine_rows *a, size_t j, size_t rest) {
    struct affine_word k;
    for (int q = 0; q < 4; q++) {
        __mmask16 m = lanes_of(rest, q);
        size_t at = j + 16 * (size_t)q;
        k.scale[q] = load_f32(a->scale + at, m);
        k.shift[q] = load_f32(a->shift + at, m);
        k.slope[q] = a->slope != NULL ? load_f32(a->slope + at, m) : _mm512_set1_ps(1.0f);
    }
    return k;
}

BP_INLINE __m512 value_16(const void *y, size_t at, enum value_type type,
                          const struct affine_word *k, int q, __mmask16 m) {
    __m512 v = _mm512_mul_ps(load_y(y, at + 16 * (size_t)q, type, m), k->scale[q]);
    return prelu(_mm512_add_ps(v, k->shift[q]), k->slope[q]);
}

/* Channels j .. j + 63, or the `rest` of them, of all pixels. */
BP_INLINE void affine_word(const void *y, enum value_type type, size_t n, size_t c,
                           const struct bp_affine_rows *a, size_t j, size_t rest, uint64_t *bits,
                           uint64_t *mask) {
    const struct affine_word k = load_word(a, j, rest);
    size_t cw = bp_words(c);
    for (size_t p = 0; p < n; p++) {
        __mmask16 sign[4], inside[4];
#pragma GCC unroll 4
        for (int q = 0; q < 4; q++) {
            __mmask16 m = lanes_of(rest, q);
            sign_16(value_16(y, p * c + j, type, &k, q, m), m, &sign[q], &inside[q]);
            fetch_elements_behind(y, type, n * c, j * n + 64 * p + 16 * (size_t)q, 16);
        }
        bits[p * cw] = word_of(sign);
        if (mask != NULL)
            mask[p * cw] = word_of(inside);
    }
}

BP_INLINE void affine_signs(const void *y, enum value_type type, size_t n, size_t c,
                            const struct bp_affine_rows *a, uint64_t *bits, uint64_t *mask) {
    for (size_t j = 0; j < c; j += 64, bits++) {
        if (c - j >= 64)
            affine_word(y, type, n, c, a, j, 64, bits, mask);
        else
            affine_word(y, type, n, c, a, j, c - j, bits, mask);
        mask += mask != NULL;
    }
}

void bp_affine_signs_i16_avx512(const int16_t *y, size_t n, size_t c,
                                const struct bp_affine_rows *a, uint64_t *bits, uint64_t *mask) {
    affine_signs(y, VALUE_I16, n, c, a, bits, mask);
}

void bp_affine_signs_f32_avx512(const float *y, size_t n, size_t c, const struct bp_affine_rows *a,
                                uint64_t *bits, uint64_t *mask) {
    affine_signs(y, VALUE_F32, n, c, a, bits, mask);
}

void bp_affine_signs_f16_avx512(const uint16_t *y, size_t n, size_t c,
                                const struct bp_affine_rows *a, uint64_t *bits, uint64_t *mask) {
    affine_signs(y, VALUE_F16, n, c, a, bits, mask);
}

/* --- affine, PReLU, 2x2 max pooling ----------------------------------------------------------- */

struct pool_job {
    const int16_t *row[2];
    size_t n, c;
    const struct bp_affine_rows *a;
    uint64_t *bits, *mask, *which;
};

BP_INLINE void pool_word(const struct pool_job *job, size_t j, size_t rest) {
    const struct affine_word k = load_word(job->a, j, rest);
    size_t c = job->c, cw = bp_words(c), w = j / 64;
    for (size_t p = 0; p < job->n; p++) {
        __mmask16 sign[4], inside[4], low[4], high[4];
#pragma GCC unroll 4
        for (int q = 0; q < 4; q++) {
            __mmask16 m = lanes_of(rest, q), wins[4];
            __m512 best = value_16(job->row[0], 2 * p * c + j, VALUE_I16, &k, q, m);
#pragma GCC unroll 4
            for (size_t i = 1; i < 4; i++) {
                size_t at = (2 * p + i % 2) * c + j;
                __m512 later = value_16(job->row[i / 2], at, VALUE_I16, &k, q, m);
                wins[i] = beats(later, best) & m;
                best = _mm512_mask_mov_ps(best, wins[i], later);
            }
            sign_16(best, m, &sign[q], &inside[q]);
            low[q] = _kor_mask16(_kandn_mask16(wins[2], wins[1]), wins[3]);
            high[q] = _kor_mask16(wins[2], wins[3]);
        }
        job->bits[p * cw + w] = word_of(sign);
        if (job->mask != NULL)
            job->mask[p * cw + w] = word_of(inside);
        if (job->which != NULL) {
            job->which[p * 2 * cw + w] = word_of(low);
            job->which[(p * 2 + 1) * cw + w] = word_of(high);
        }
    }
}

void bp_affine_pool_signs_i16_avx512(const int16_t *upper, const int16_t *lower, size_t n, size_t c,
                                     const struct bp_affine_rows *a, uint64_t *bits, uint64_t *mask,
                                     uint64_t *which) {
    const struct pool_job job = {{upper, lower}, n, c, a, bits, mask, which};
    for (size_t j = 0; j < c; j += 64)
        if (c - j >= 64)
            pool_word(&job, j, 64);
        else
            pool_word(&job, j, c - j);
}

/* --- scale, PReLU, affine --------------------------------------------------------------------- */

BP_INLINE void act_norm_word(const int16_t *y, size_t n, size_t c, const struct bp_act_norm_rows *a,
                             size_t j, size_t rest, uint64_t *bits, uint64_t *mask) {
    __m512 alpha[4], slope[4], scale[4], shift[4];
    size_t cw = bp_words(c);
    for (int q = 0; q < 4; q++) {
        __mmask16 m = lanes_of(rest, q);
        size_t at = j + 16 * (size_t)q;
        alpha[q] = load_f32(a->alpha + at, m);
        slope[q] = load_f32(a->slope + at, m);
        scale[q] = load_f32(a->scale + at, m);
        shift[q] = load_f32(a->shift + at, m);
    }
    for (size_t p = 0; p < n; p++) {
        __mmask16 sign[4], inside[4];
#pragma GCC unroll 4
        for (int q = 0; q < 4; q++) {
            __mmask16 m = lanes_of(rest, q);
            __m512 u = _mm512_mul_ps(load_y(y, p * c + j + 16 * (size_t)q, VALUE_I16, m), alpha[q]);
            __m512 v = _mm512_mul_ps(prelu(u, slope[q]), scale[q]);
            sign_16(_mm512_add_ps(v, shift[q]), m, &sign[q], &inside[q]);
        }
        bits[p * cw] = word_of(sign);
        if (mask != NULL)
            mask[p * cw] = word_of(inside);
    }
}

void bp_act_norm_signs_avx512(const int16_t *y, size_t n, size_t c,
                              const struct bp_act_norm_rows *a, uint64_t *bits, uint64_t *mask) {
    for (size_t j = 0; j < c; j += 64, bits++) {
        if (c - j >= 64)
            act_norm_word(y, n, c, a, j, 64, bits, mask);
        else
            act_norm_word(y, n, c, a, j, c - j, bits, mask);
        mask += mask != NULL;
    }
}
