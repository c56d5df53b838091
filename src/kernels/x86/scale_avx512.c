/* The epilogues of both gradient products, AVX-512: integers to floats, masked. */
#include "kernels/x86/tier_avx512.h"

#include "base/bits.h"
#include "kernels/x86/vec_avx512.h"

void bp_scale_mask_avx512(const int32_t *sum, const uint64_t *mask, size_t n, size_t c, float scale,
                          const float *offset, const uint8_t *row, float *out) {
    const __m512 scale_v = _mm512_set1_ps(scale);
    size_t cw = bp_words(c);
    for (size_t p = 0; p < n; p++, sum += c, mask += cw, out += c) {
        const float *add = offset + (size_t)row[p] * c;
        for (size_t j = 0; j < c; j += 16) {
            __mmask16 inside = (__mmask16)(mask[j / 64] >> j % 64);
            if (c - j >= 16) {
                __m512 v = _mm512_mul_ps(scale_v, _mm512_cvtepi32_ps(_mm512_loadu_si512(sum + j)));
                v = _mm512_maskz_add_ps(inside, v, _mm512_loadu_ps(add + j));
                _mm512_storeu_ps(out + j, v);
            } else {
                __mmask16 m = mask_16(c - j);
                __m512i s = _mm512_maskz_loadu_epi32(m, sum + j);
                __m512 v = _mm512_mul_ps(scale_v, _mm512_cvtepi32_ps(s));
                v = _mm512_maskz_add_ps(inside, v, _mm512_maskz_loadu_ps(m, add + j));
                _mm512_mask_storeu_ps(out + j, m, v);
            }
        }
    }
}

BP_INLINE __m512i load_i32(const int32_t *p, __mmask16 m) {
    return m == 0xffff ? _mm512_loadu_si512(p) : _mm512_maskz_loadu_epi32(m, p);
}

/* bp_shift_to_even, by more than 0. */
struct shift {
    __m128i by;
    __m512i below_half;
};

BP_INLINE struct shift shift_of(int by) {
    return (struct shift){_mm_cvtsi32_si128(by), _mm512_set1_epi32((1 << by >> 1) - 1)};
}

/* shift NULL: none. */
BP_INLINE __m512i shifted(const struct shift *shift, __m512i v) {
    if (shift == NULL)
        return v;
    const __m512i odd = _mm512_and_si512(_mm512_sra_epi32(v, shift->by), _mm512_set1_epi32(1));
    v = _mm512_add_epi32(_mm512_add_epi32(v, shift->below_half), odd);
    return _mm512_sra_epi32(v, shift->by);
}

/* 32 lanes, of which m exist: the low halves of the sums, where their bits are set. */
BP_INLINE void mask_sums_32(const int32_t *sum, __mmask32 inside, __mmask32 m,
                            const struct shift *shift, int16_t *out) {
    __m512i v = low_halves(inside, shifted(shift, load_i32(sum, (__mmask16)m)),
                           shifted(shift, load_i32(sum + 16, (__mmask16)(m >> 16))));
    if (m == 0xffffffff)
        _mm512_storeu_si512(out, v);
    else
        _mm512_mask_storeu_epi16(out, m, v);
}

BP_INLINE void mask_rows(const int32_t *sum, const uint64_t *mask, size_t n, size_t c,
                         const struct shift *shift, int16_t *out) {
    size_t cw = bp_words(c);
    for (size_t p = 0; p < n; p++, sum += c, mask += cw, out += c)
        for (size_t j = 0; j < c; j += 32) {
            __mmask32 inside = (__mmask32)(mask[j / 64] >> j % 64);
            if (c - j >= 32)
                mask_sums_32(sum + j, inside, 0xffffffff, shift, out + j);
            else
                mask_sums_32(sum + j, inside, mask_32(c - j), shift, out + j);
        }
}

void bp_mask_sums_avx512(const int32_t *sum, const uint64_t *mask, size_t n, size_t c, int by,
                         int16_t *out) {
    const struct shift shift = shift_of(by);
    if (by == 0)
        mask_rows(sum, mask, n, c, NULL, out);
    else
        mask_rows(sum, mask, n, c, &shift, out);
}

/* Of 16 elements from j on, the sum of integers. */
BP_INLINE __m512i latent_sum_16(const struct bp_latent_scale *by, const int32_t *sum,
                                const int32_t *high, const int32_t *neg, size_t j, __mmask16 m) {
    __m512i s = _mm512_add_epi32(load_i32(sum + j, m), _mm512_set1_epi32(by->known));
    if (high != NULL)
        s = _mm512_add_epi32(s, _mm512_slli_epi32(load_i32(high + j, m), 4));
    if (neg != NULL)
        s = _mm512_sub_epi32(s,
                             _mm512_mullo_epi32(load_i32(neg + j, m), _mm512_set1_epi32(by->off)));
    return s;
}

BP_INLINE void scale_latent_16(const struct bp_latent_scale *by, const int32_t *sum,
                               const int32_t *high, const int32_t *neg, const float *w, size_t j,
                               __mmask16 m, float *out) {
    const __m512i s = latent_sum_16(by, sum, high, neg, j, m);
    __mmask16 inside = 0xffff;
    __m512 v = _mm512_mul_ps(_mm512_set1_ps(by->scale), _mm512_cvtepi32_ps(s));
    if (neg != NULL) {
        __m512i minus = load_i32(neg + j, m);
        minus = _mm512_sub_epi32(_mm512_set1_epi32(by->valid), _mm512_add_epi32(minus, minus));
        v = _mm512_add_ps(v, _mm512_mul_ps(_mm512_set1_ps(by->offset), _mm512_cvtepi32_ps(minus)));
    }
    if (w != NULL)
        inside =
            _mm512_cmp_ps_mask(_mm512_abs_ps(load_f32(w + j, m)), _mm512_set1_ps(1.0f), _CMP_LT_OQ);
    store_f32(out + j, m, _mm512_maskz_mov_ps(inside, v));
}

void bp_scale_latent_avx512(const struct bp_latent_scale *by, const int32_t *sum,
                            const int32_t *high, const int32_t *neg, const float *w, size_t n,
                            float *out) {
    const struct bp_latent_scale copy = *by; /* so that it stays in registers */
    size_t j = 0;
    for (; j + 16 <= n; j += 16)
        scale_latent_16(&copy, sum, high, neg, w, j, 0xffff, out);
    if (j < n)
        scale_latent_16(&copy, sum, high, neg, w, j, mask_16(n - j), out);
}

BP_INLINE void narrow_row(const struct bp_latent_scale *by, const int32_t *sum, const int32_t *high,
                          const int32_t *neg, size_t n, const struct shift *shift, int16_t *out) {
    const struct bp_latent_scale copy = *by; /* so that it stays in registers */
    for (size_t j = 0; j < n; j += 16) {
        const __mmask16 m = mask_16(n - j);
        const __m512i s = shifted(shift, latent_sum_16(&copy, sum, high, neg, j, m));
        _mm256_mask_storeu_epi16(out + j, m, _mm512_cvtepi32_epi16(s));
    }
}

void bp_narrow_sums_avx512(const struct bp_latent_scale *by, const int32_t *sum,
                           const int32_t *high, const int32_t *neg, size_t n, int16_t *out) {
    const struct shift shift = shift_of(by->shift);
    if (by->shift == 0 && high == NULL && neg == NULL)
        narrow_row(by, sum, NULL, NULL, n, NULL, out);
    else if (by->shift == 0)
        narrow_row(by, sum, high, neg, n, NULL, out);
    else
        narrow_row(by, sum, high, neg, n, &shift, out);
}

void bp_latent_gradient_avx512(const int16_t *sum, float scale, const float *w, size_t n,
                               float *out) {
    const __m512 by = _mm512_set1_ps(scale), one = _mm512_set1_ps(1.0f);
    for (size_t j = 0; j < n; j += 16) {
        const __mmask16 m = mask_16(n - j);
        const __m512 v = _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(load_i16(sum + j, m)));
        const __mmask16 inside =
            _mm512_cmp_ps_mask(_mm512_abs_ps(load_f32(w + j, m)), one, _CMP_LT_OQ);
        store_f32(out + j, m, _mm512_maskz_mul_ps(inside, by, v));
    }
}
