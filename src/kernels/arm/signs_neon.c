/* From values to the signs and masks of the next binary convolution in one pass, NEON: 4 channels a
 * vector, a word of 64 channels at a time. The last ones of a row, less than 64, are vectors of
 * their own; `full` is a constant. */
#include "kernels/arm/tier_neon.h"

#include "base/bits.h"
#include "kernels/arm/vec_neon.h"

/* --- affine, PReLU ---------------------------------------------------------------------------- */

/* z of 4 channels from channel j on, of which `rest` exist; y: the pixel. */
BP_INLINE float32x4_t value_4(const void *y, enum value_type type, const struct bp_affine_rows *a,
                              size_t j, int full, size_t rest) {
    float32x4_t v = vmulq_f32(load_y(y, j, type, full, rest), load_f32(a->scale + j, full, rest));
    v = vaddq_f32(v, load_f32(a->shift + j, full, rest));
    if (a->slope == NULL)
        return v;
    return vbslq_f32(vcltzq_f32(v), vmulq_f32(v, load_f32(a->slope + j, full, rest)), v);
}

BP_INLINE struct sign_bytes value_16(const void *y, enum value_type type,
                                     const struct bp_affine_rows *a, size_t j) {
    struct sign_bytes bytes =
        sign_bytes(value_4(y, type, a, j, 1, 4), value_4(y, type, a, j + 4, 1, 4),
                   value_4(y, type, a, j + 8, 1, 4), value_4(y, type, a, j + 12, 1, 4));
    no_further();
    return bytes;
}

BP_INLINE struct sign_words value_64(const void *y, enum value_type type,
                                     const struct bp_affine_rows *a, size_t j) {
    const struct sign_bytes v[4] = {value_16(y, type, a, j), value_16(y, type, a, j + 16),
                                    value_16(y, type, a, j + 32), value_16(y, type, a, j + 48)};
    return sign_words(v);
}

/* `count` channels from channel j on. */
BP_INLINE struct sign_words value_rest(const void *y, enum value_type type,
                                       const struct bp_affine_rows *a, size_t j, size_t count) {
    float z[64] = {0};
    for (size_t i = 0; i < count; i += 4)
        vst1q_f32(z + i, value_4(y, type, a, j + i, 0, count - i));
    return first_words(sign_64(z), count);
}

BP_INLINE void affine_rows(const void *y, enum value_type type, size_t n, size_t c,
                           const struct bp_affine_rows *a, uint64_t *bits, uint64_t *mask) {
    for (size_t p = 0; p < n; p++) {
        for (size_t j = 0; j < c; j += 64) {
            struct sign_words s =
                c - j >= 64 ? value_64(y, type, a, j) : value_rest(y, type, a, j, c - j);
            *bits++ = s.sign;
            if (mask != NULL)
                *mask++ = s.mask;
        }
        y = (const char *)y + c * (type != VALUE_F32 ? sizeof(int16_t) : sizeof(float));
    }
}

/* With a slope, and without. */
BP_INLINE void affine(const void *y, enum value_type type, size_t n, size_t c,
                      const struct bp_affine_rows *a, uint64_t *bits, uint64_t *mask) {
    const struct bp_affine_rows with = *a, without = {a->scale, a->shift, NULL};
    if (a->slope != NULL)
        affine_rows(y, type, n, c, &with, bits, mask);
    else
        affine_rows(y, type, n, c, &without, bits, mask);
}

void bp_affine_signs_i16_neon(const int16_t *y, size_t n, size_t c, const struct bp_affine_rows *a,
                              uint64_t *bits, uint64_t *mask) {
    affine(y, VALUE_I16, n, c, a, bits, mask);
}

void bp_affine_signs_f32_neon(const float *y, size_t n, size_t c, const struct bp_affine_rows *a,
                              uint64_t *bits, uint64_t *mask) {
    affine(y, VALUE_F32, n, c, a, bits, mask);
}

void bp_affine_signs_f16_neon(const uint16_t *y, size_t n, size_t c, const struct bp_affine_rows *a,
                              uint64_t *bits, uint64_t *mask) {
    affine(y, VALUE_F16, n, c, a, bits, mask);
}

/* --- affine, PReLU, 2x2 max pooling ----------------------------------------------------------- */

/* The winner of 4 channels, and its number's two bits. */
struct winner {
    float32x4_t z;
    uint32x4_t low, high;
};

BP_INLINE struct winner winner_4(const int16_t *const pixel[4], const struct bp_affine_rows *a,
                                 size_t j, int full, size_t rest) {
    uint32x4_t wins[4];
    struct winner best = {.z = value_4(pixel[0], VALUE_I16, a, j, full, rest)};
    for (int i = 1; i < 4; i++)
        wins[i] = challenge(&best.z, value_4(pixel[i], VALUE_I16, a, j, full, rest));
    best.low = vorrq_u32(vbicq_u32(wins[1], wins[2]), wins[3]);
    best.high = vorrq_u32(wins[2], wins[3]);
    return best;
}

/* Words of 64 channels, as bytes. */
struct pool_bytes {
    struct sign_bytes of[4];
    uint8x16_t low[4], high[4];
};

BP_INLINE void pool_16(const int16_t *const pixel[4], const struct bp_affine_rows *a, size_t j,
                       size_t count, struct pool_bytes *to, size_t q) {
    struct winner w[4];
    for (size_t i = 0; i < 4; i++) {
        size_t at = j + 4 * i;
        if (count >= 4 * i + 4)
            w[i] = winner_4(pixel, a, at, 1, 4);
        else if (count > 4 * i)
            w[i] = winner_4(pixel, a, at, 0, count - 4 * i);
        else
            w[i] = (struct winner){vdupq_n_f32(0), vdupq_n_u32(0), vdupq_n_u32(0)};
    }
    const uint32x4_t low[4] = {w[0].low, w[1].low, w[2].low, w[3].low};
    const uint32x4_t high[4] = {w[0].high, w[1].high, w[2].high, w[3].high};
    to->of[q] = sign_bytes(w[0].z, w[1].z, w[2].z, w[3].z);
    to->low[q] = narrow_16(low);
    to->high[q] = narrow_16(high);
}

void bp_affine_pool_signs_i16_neon(const int16_t *upper, const int16_t *lower, size_t n, size_t c,
                                   const struct bp_affine_rows *a, uint64_t *bits, uint64_t *mask,
                                   uint64_t *which) {
    size_t cw = bp_words(c);
    for (size_t p = 0; p < n; p++, upper += 2 * c, lower += 2 * c)
        for (size_t j = 0; j < c; j += 64) {
            const int16_t *const pixel[4] = {upper, upper + c, lower, lower + c};
            size_t count = bp_min_size(64, c - j);
            struct pool_bytes bytes;
            for (size_t q = 0; q < 4; q++)
                if (count >= 16 * q + 16)
                    pool_16(pixel, a, j + 16 * q, 16, &bytes, q);
                else
                    pool_16(pixel, a, j + 16 * q, count > 16 * q ? count - 16 * q : 0, &bytes, q);
            struct sign_words words = first_words(sign_words(bytes.of), count);
            *bits++ = words.sign;
            if (mask != NULL)
                *mask++ = words.mask;
            if (which != NULL) {
                which[p * 2 * cw + j / 64] = bits_of_bytes(bytes.low) & valid_bits(count, 0);
                which[(p * 2 + 1) * cw + j / 64] = bits_of_bytes(bytes.high) & valid_bits(count, 0);
            }
        }
}
