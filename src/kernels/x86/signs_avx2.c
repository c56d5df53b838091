/* From values to the signs and masks of the next binary convolution in one pass, AVX2: 8 channels a
 * vector. */
#include "kernels/x86/tier_avx2.h"

#include "base/bits.h"
#include "kernels/x86/vec_avx2.h"

/* Sign and mask bits of a word, built from 8 channels at a time. */
struct words {
    uint64_t sign, inside;
};

BP_INLINE void add_signs(struct words *words, size_t j, __m256 v) {
    const __m256 one = _mm256_set1_ps(1.0f), sign_bit = _mm256_set1_ps(-0.0f);
    __m256 below = _mm256_cmp_ps(v, _mm256_setzero_ps(), _CMP_LT_OQ);
    __m256 small = _mm256_cmp_ps(_mm256_andnot_ps(sign_bit, v), one, _CMP_LT_OQ);
    words->sign |= (uint64_t)(unsigned)_mm256_movemask_ps(below) << j % 64;
    words->inside |= (uint64_t)(unsigned)_mm256_movemask_ps(small) << j % 64;
}

/* The channels of a word from w on that exist. */
BP_INLINE uint64_t valid_bits(size_t c, size_t w) {
    return c - w >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << (c - w)) - 1;
}

/* --- affine, PReLU ---------------------------------------------------------------------------- */

/* z of 8 channels from channel j on, of which `rest` exist; y: the pixel. */
BP_INLINE __m256 value_8(const void *y, enum value_type type, const struct bp_affine_rows *a,
                         size_t j, int full, size_t rest) {
    __m256 v = _mm256_mul_ps(load_y(y, j, type, full, rest), load_ps(a->scale + j, full, rest));
    v = _mm256_add_ps(v, load_ps(a->shift + j, full, rest));
    if (a->slope == NULL)
        return v;
    __m256 negative = _mm256_cmp_ps(v, _mm256_setzero_ps(), _CMP_LT_OQ);
    return _mm256_blendv_ps(v, _mm256_mul_ps(v, load_ps(a->slope + j, full, rest)), negative);
}

BP_INLINE void affine_pixel(const void *y, enum value_type type, size_t c,
                            const struct bp_affine_rows *a, uint64_t *bits, uint64_t *mask) {
    for (size_t w = 0; w < c; w += 64) {
        size_t end = bp_min_size(c, w + 64);
        struct words words = {0, 0};
        for (size_t j = w; j < end; j += 8)
            add_signs(&words, j,
                      end - j >= 8 ? value_8(y, type, a, j, 1, 8)
                                   : value_8(y, type, a, j, 0, end - j));
        bits[w / 64] = words.sign & valid_bits(c, w);
        if (mask != NULL)
            mask[w / 64] = words.inside & valid_bits(c, w);
    }
}

void bp_affine_signs_i16_avx2(const int16_t *y, size_t n, size_t c, const struct bp_affine_rows *a,
                              uint64_t *bits, uint64_t *mask) {
    for (size_t p = 0, cw = bp_words(c); p < n; p++)
        affine_pixel(y + p * c, VALUE_I16, c, a, bits + p * cw,
                     mask == NULL ? NULL : mask + p * cw);
}

void bp_affine_signs_f32_avx2(const float *y, size_t n, size_t c, const struct bp_affine_rows *a,
                              uint64_t *bits, uint64_t *mask) {
    for (size_t p = 0, cw = bp_words(c); p < n; p++)
        affine_pixel(y + p * c, VALUE_F32, c, a, bits + p * cw,
                     mask == NULL ? NULL : mask + p * cw);
}

void bp_affine_signs_f16_avx2(const uint16_t *y, size_t n, size_t c, const struct bp_affine_rows *a,
                              uint64_t *bits, uint64_t *mask) {
    for (size_t p = 0, cw = bp_words(c); p < n; p++)
        affine_pixel(y + p * c, VALUE_F16, c, a, bits + p * cw,
                     mask == NULL ? NULL : mask + p * cw);
}

/* --- affine, PReLU, 2x2 max pooling ----------------------------------------------------------- */

/* The winner of 8 channels, and its number's two bits. */
BP_INLINE __m256 best_8(const int16_t *const pixel[4], const struct bp_affine_rows *a, size_t j,
                        int full, size_t rest, uint64_t *low, uint64_t *high) {
    __m256 best = value_8(pixel[0], VALUE_I16, a, j, full, rest);
    unsigned wins[4];
    for (int i = 1; i < 4; i++)
        wins[i] = challenge(&best, value_8(pixel[i], VALUE_I16, a, j, full, rest));
    *low |= (uint64_t)((wins[1] & ~wins[2]) | wins[3]) << j % 64;
    *high |= (uint64_t)(wins[2] | wins[3]) << j % 64;
    return best;
}

void bp_affine_pool_signs_i16_avx2(const int16_t *upper, const int16_t *lower, size_t n, size_t c,
                                   const struct bp_affine_rows *a, uint64_t *bits, uint64_t *mask,
                                   uint64_t *which) {
    size_t cw = bp_words(c);
    for (size_t p = 0; p < n; p++, upper += 2 * c, lower += 2 * c)
        for (size_t w = 0; w < c; w += 64) {
            const int16_t *const pixel[4] = {upper, upper + c, lower, lower + c};
            size_t end = bp_min_size(c, w + 64);
            uint64_t low = 0, high = 0, valid = valid_bits(c, w);
            struct words words = {0, 0};
            for (size_t j = w; j < end; j += 8)
                add_signs(&words, j,
                          end - j >= 8 ? best_8(pixel, a, j, 1, 8, &low, &high)
                                       : best_8(pixel, a, j, 0, end - j, &low, &high));
            bits[p * cw + w / 64] = words.sign & valid;
            if (mask != NULL)
                mask[p * cw + w / 64] = words.inside & valid;
            if (which != NULL) {
                which[p * 2 * cw + w / 64] = low & valid;
                which[(p * 2 + 1) * cw + w / 64] = high & valid;
            }
        }
}
