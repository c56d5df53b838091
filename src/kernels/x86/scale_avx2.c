/* The epilogues of both gradient products, AVX2: integers to floats, masked. */
#include "kernels/x86/tier_avx2.h"

#include "base/bits.h"
#include "kernels/x86/vec_avx2.h"

/* --- activation gradient ---------------------------------------------------------------------- */

BP_INLINE void scale_mask_8(const int32_t *sum, uint64_t inside, __m256 scale, const float *add,
                            int full, size_t rest, float *out) {
    const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    __m256i s = full ? load_256(sum) : _mm256_maskload_epi32(sum, mask_32x8(rest));
    __m256i lanes = _mm256_and_si256(_mm256_set1_epi32((int)(inside & 255)), bit);
    __m256 v = _mm256_mul_ps(scale, _mm256_cvtepi32_ps(s));
    v = _mm256_add_ps(v, load_ps(add, full, rest));
    v = _mm256_and_ps(v, _mm256_castsi256_ps(_mm256_cmpeq_epi32(lanes, bit)));
    store_ps(out, full, rest, v);
}

void bp_scale_mask_avx2(const int32_t *sum, const uint64_t *mask, size_t n, size_t c, float scale,
                        const float *offset, const uint8_t *row, float *out) {
    const __m256 scale_v = _mm256_set1_ps(scale);
    size_t cw = bp_words(c);
    for (size_t p = 0; p < n; p++, sum += c, mask += cw, out += c) {
        const float *add = offset + (size_t)row[p] * c;
        for (size_t j = 0; j < c; j += 8) {
            uint64_t inside = mask[j / 64] >> j % 64;
            if (c - j >= 8)
                scale_mask_8(sum + j, inside, scale_v, add + j, 1, 8, out + j);
            else
                scale_mask_8(sum + j, inside, scale_v, add + j, 0, c - j, out + j);
        }
    }
}

/* bp_shift_to_even, by more than 0. */
struct shift {
    __m128i by;
    __m256i below_half;
};

BP_INLINE struct shift shift_of(int by) {
    return (struct shift){_mm_cvtsi32_si128(by), _mm256_set1_epi32((1 << by >> 1) - 1)};
}

/* shift NULL: none. */
BP_INLINE __m256i shifted(const struct shift *shift, __m256i v) {
    if (shift == NULL)
        return v;
    const __m256i odd = _mm256_and_si256(_mm256_sra_epi32(v, shift->by), _mm256_set1_epi32(1));
    v = _mm256_add_epi32(_mm256_add_epi32(v, shift->below_half), odd);
    return _mm256_sra_epi32(v, shift->by);
}

/* 16 lanes. The pack saturates what does not fit; no bit is set there. */
BP_INLINE __m256i masked_16(__m256i low, __m256i high, const struct shift *shift, uint64_t inside) {
    const __m256i both = _mm256_packs_epi32(shifted(shift, low), shifted(shift, high));
    __m256i packed = _mm256_permute4x64_epi64(both, 0xd8);
    return _mm256_and_si256(packed, spread_bits_16(inside));
}

/* 1 .. 15 lanes. */
BP_INLINE void mask_sums_rest(const int32_t *sum, uint64_t inside, size_t rest,
                              const struct shift *shift, int16_t *out) {
    int16_t part[16];
    __m256i low = _mm256_maskload_epi32(sum, mask_32x8(rest)), high = _mm256_setzero_si256();
    if (rest > 8)
        high = _mm256_maskload_epi32(sum + 8, mask_32x8(rest - 8));
    store_256(part, masked_16(low, high, shift, inside));
    memcpy(out, part, rest * sizeof *out);
}

BP_INLINE void mask_rows(const int32_t *sum, const uint64_t *mask, size_t n, size_t c,
                         const struct shift *shift, int16_t *out) {
    size_t cw = bp_words(c);
    for (size_t p = 0; p < n; p++, sum += c, mask += cw, out += c)
        for (size_t j = 0; j < c; j += 16) {
            uint64_t inside = mask[j / 64] >> j % 64;
            if (c - j >= 16)
                store_256(out + j,
                          masked_16(load_256(sum + j), load_256(sum + j + 8), shift, inside));
            else
                mask_sums_rest(sum + j, inside, c - j, shift, out + j);
        }
}

void bp_mask_sums_avx2(const int32_t *sum, const uint64_t *mask, size_t n, size_t c, int by,
                       int16_t *out) {
    const struct shift shift = shift_of(by);
    if (by == 0)
        mask_rows(sum, mask, n, c, NULL, out);
    else
        mask_rows(sum, mask, n, c, &shift, out);
}

/* --- weight gradient -------------------------------------------------------------------------- */

BP_INLINE __m256i load_i32(const int32_t *p, int full, size_t rest) {
    return full ? load_256(p) : _mm256_maskload_epi32(p, mask_32x8(rest));
}

/* Of 8 elements from j on, the sum of integers. */
BP_INLINE __m256i latent_sum_8(const struct bp_latent_scale *by, const int32_t *sum,
                               const int32_t *high, const int32_t *neg, size_t j, int full,
                               size_t rest) {
    __m256i s = _mm256_add_epi32(load_i32(sum + j, full, rest), _mm256_set1_epi32(by->known));
    if (high != NULL)
        s = _mm256_add_epi32(s, _mm256_slli_epi32(load_i32(high + j, full, rest), 4));
    if (neg != NULL)
        s = _mm256_sub_epi32(
            s, _mm256_mullo_epi32(load_i32(neg + j, full, rest), _mm256_set1_epi32(by->off)));
    return s;
}

BP_INLINE void scale_latent_8(const struct bp_latent_scale *by, const int32_t *sum,
                              const int32_t *high, const int32_t *neg, const float *w, size_t j,
                              int full, size_t rest, float *out) {
    const __m256i s = latent_sum_8(by, sum, high, neg, j, full, rest);
    __m256 v = _mm256_mul_ps(_mm256_set1_ps(by->scale), _mm256_cvtepi32_ps(s));
    if (neg != NULL) {
        __m256i minus = load_i32(neg + j, full, rest);
        minus = _mm256_sub_epi32(_mm256_set1_epi32(by->valid), _mm256_add_epi32(minus, minus));
        v = _mm256_add_ps(v, _mm256_mul_ps(_mm256_set1_ps(by->offset), _mm256_cvtepi32_ps(minus)));
    }
    if (w != NULL) {
        __m256 size = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), load_ps(w + j, full, rest));
        v = _mm256_and_ps(v, _mm256_cmp_ps(size, _mm256_set1_ps(1.0f), _CMP_LT_OQ));
    }
    store_ps(out + j, full, rest, v);
}

void bp_scale_latent_avx2(const struct bp_latent_scale *by, const int32_t *sum, const int32_t *high,
                          const int32_t *neg, const float *w, size_t n, float *out) {
    const struct bp_latent_scale copy = *by; /* so that it stays in registers */
    size_t j = 0;
    for (; j + 8 <= n; j += 8)
        scale_latent_8(&copy, sum, high, neg, w, j, 1, 8, out);
    if (j < n)
        scale_latent_8(&copy, sum, high, neg, w, j, 0, n - j, out);
}

BP_INLINE void narrow_row(const struct bp_latent_scale *by, const int32_t *sum, const int32_t *high,
                          const int32_t *neg, size_t n, const struct shift *shift, int16_t *out) {
    const struct bp_latent_scale copy = *by; /* so that it stays in registers */
    size_t j = 0;
    for (; j + 8 <= n; j += 8) {
        const __m256i s = shifted(shift, latent_sum_8(&copy, sum, high, neg, j, 1, 8));
        const __m128i half =
            _mm_packs_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
        _mm_storeu_si128((__m128i *)(void *)(out + j), half);
    }
    if (j < n) {
        int16_t part[8];
        const __m256i s = shifted(shift, latent_sum_8(&copy, sum, high, neg, j, 0, n - j));
        const __m128i half =
            _mm_packs_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
        _mm_storeu_si128((__m128i *)(void *)part, half);
        memcpy(out + j, part, (n - j) * sizeof *out);
    }
}

void bp_narrow_sums_avx2(const struct bp_latent_scale *by, const int32_t *sum, const int32_t *high,
                         const int32_t *neg, size_t n, int16_t *out) {
    const struct shift shift = shift_of(by->shift);
    if (by->shift == 0)
        narrow_row(by, sum, high, neg, n, NULL, out);
    else
        narrow_row(by, sum, high, neg, n, &shift, out);
}

/* 8 elements, of which `rest` exist unless all do. */
BP_INLINE void latent_gradient_8(__m128i sum, __m256 by, const float *w, int full, size_t rest,
                                 float *out) {
    const __m256 v = _mm256_mul_ps(by, _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(sum)));
    const __m256 size = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), load_ps(w, full, rest));
    const __m256 inside = _mm256_cmp_ps(size, _mm256_set1_ps(1.0f), _CMP_LT_OQ);
    store_ps(out, full, rest, _mm256_and_ps(v, inside));
}

void bp_latent_gradient_avx2(const int16_t *sum, float scale, const float *w, size_t n,
                             float *out) {
    const __m256 by = _mm256_set1_ps(scale);
    size_t j = 0;
    for (; j + 8 <= n; j += 8)
        latent_gradient_8(_mm_loadu_si128((const __m128i *)(const void *)(sum + j)), by, w + j, 1,
                          8, out + j);
    if (j < n) {
        int16_t part[8] = {0};
        memcpy(part, sum + j, (n - j) * sizeof *sum);
        latent_gradient_8(_mm_loadu_si128((const __m128i *)(const void *)part), by, w + j, 0, n - j,
                          out + j);
    }
}
