/* Packing signs and planes, and transposing, NEON. */
#include "kernels/arm/tier_neon.h"

#include "base/bits.h"
#include "kernels/arm/vec_neon.h"

/* --- signs ------------------------------------------------------------------------------------ */

static __attribute__((noinline)) struct sign_words sign_rest(const float *x, size_t count) {
    float part[64] = {0};
    memcpy(part, x, count * sizeof *x);
    return first_words(sign_64(part), count);
}

BP_INLINE uint8x16_t below_16(const float *x) {
    const uint32x4_t below[4] = {vcltzq_f32(vld1q_f32(x)), vcltzq_f32(vld1q_f32(x + 4)),
                                 vcltzq_f32(vld1q_f32(x + 8)), vcltzq_f32(vld1q_f32(x + 12))};
    return narrow_16(below);
}

/* The signs of latent weights, which have no mask. */
static void pack_signs(const float *x, size_t n, size_t c, uint64_t *bits) {
    for (size_t p = 0; p < n; p++, x += c)
        for (size_t w = 0; w < c; w += 64) {
            if (c - w < 64) {
                *bits++ = sign_rest(x + w, c - w).sign;
                continue;
            }
            const float *v = x + w;
            const uint8x16_t below[4] = {below_16(v), below_16(v + 16), below_16(v + 32),
                                         below_16(v + 48)};
            *bits++ = bits_of_bytes(below);
        }
}

void bp_sign_pack_f32_neon(const float *x, size_t n, size_t c, uint64_t *bits, uint64_t *mask) {
    if (mask == NULL) {
        pack_signs(x, n, c, bits);
        return;
    }
    for (size_t p = 0; p < n; p++, x += c)
        for (size_t w = 0; w < c; w += 64) {
            struct sign_words s = c - w >= 64 ? sign_64(x + w) : sign_rest(x + w, c - w);
            *bits++ = s.sign;
            *mask++ = s.mask;
        }
}

/* --- transposing ------------------------------------------------------------------------------ */

/* Swaps blocks of `size` x `size` bits beside the diagonal between the rows of a and of b; mask has
 * the low `size` bits of every 2 * size. */
#define SWAP_BITS(a, b, size, mask)                                                                \
    do {                                                                                           \
        uint8x16_t first = vbslq_u8(mask, a, vshlq_n_u8(b, size));                                 \
        (b) = vbslq_u8(mask, vshrq_n_u8(a, size), b);                                              \
        (a) = first;                                                                               \
    } while (0)

/* Half bytes: the shifts insert. */
BP_INLINE void swap_4(uint8x16_t *a, uint8x16_t *b) {
    uint8x16_t first = vsliq_n_u8(*a, *b, 4);
    *b = vsriq_n_u8(*b, *a, 4);
    *a = first;
}

/* The same where the blocks are elements of vectors. */
BP_INLINE void swap_8(uint8x16_t *a, uint8x16_t *b) {
    uint8x16_t first = vtrn1q_u8(*a, *b);
    *b = vtrn2q_u8(*a, *b);
    *a = first;
}

BP_INLINE void swap_16(uint8x16_t *a, uint8x16_t *b) {
    uint16x8_t first = vreinterpretq_u16_u8(*a), second = vreinterpretq_u16_u8(*b);
    *a = vreinterpretq_u8_u16(vtrn1q_u16(first, second));
    *b = vreinterpretq_u8_u16(vtrn2q_u16(first, second));
}

/* Of the two rows of one vector. */
BP_INLINE uint8x16_t swap_32_within(uint8x16_t v) {
    uint32x4_t rows = vreinterpretq_u32_u8(v);
    return vreinterpretq_u8_u32(vzip1q_u32(rows, vextq_u32(rows, rows, 2)));
}

/* Vector i holds rows i and i + 32: all swaps but the widest are between vectors. */
BP_INLINE void transpose_64x64(uint8x16_t v[32]) {
    const uint8x16_t twos = vdupq_n_u8(0x33), ones = vdupq_n_u8(0x55);
    for (size_t i = 0; i < 32; i++)
        v[i] = swap_32_within(v[i]);
    for (size_t i = 0; i < 32; i++)
        if ((i & 16) == 0)
            swap_16(&v[i], &v[i + 16]);
    for (size_t i = 0; i < 32; i++)
        if ((i & 8) == 0)
            swap_8(&v[i], &v[i + 8]);
    for (size_t i = 0; i < 32; i++)
        if ((i & 4) == 0)
            swap_4(&v[i], &v[i + 4]);
    for (size_t i = 0; i < 32; i++)
        if ((i & 2) == 0)
            SWAP_BITS(v[i], v[i + 2], 2, twos);
    for (size_t i = 0; i < 32; i += 2)
        SWAP_BITS(v[i], v[i + 1], 1, ones);
}

void bp_transpose_gather_neon(const uint64_t *base, const int32_t *offset, size_t count, size_t cw,
                              uint64_t *out) {
    for (size_t w = 0; w < cw; w++, out += 64) {
        uint8x16_t v[32];
        for (size_t i = 0; i < 32; i++) {
            uint64_t low = i < count ? base[offset[i] + (ptrdiff_t)w] : 0;
            uint64_t high = i + 32 < count ? base[offset[i + 32] + (ptrdiff_t)w] : 0;
            v[i] = vreinterpretq_u8_u64(vcombine_u64(vcreate_u64(low), vcreate_u64(high)));
        }
        transpose_64x64(v);
        for (size_t i = 0; i < 32; i++) {
            out[i] = vgetq_lane_u64(vreinterpretq_u64_u8(v[i]), 0);
            out[i + 32] = vgetq_lane_u64(vreinterpretq_u64_u8(v[i]), 1);
        }
    }
}

/* --- planes ----------------------------------------------------------------------------------- */

void bp_pack_planes_neon(const uint8_t *codes, size_t n, size_t k, int bits, uint64_t *planes) {
    size_t kw = bp_words(k);
    for (size_t p = 0; p < n; p++, planes += (size_t)bits * kw)
        for (size_t w = 0; w < kw; w++) {
            size_t rest = bp_min_size(64, k - 64 * w);
            uint8x16_t part[4], set[4];
            for (size_t q = 0; q < 4; q++)
                part[q] =
                    rest > 16 * q ? load_bytes(codes + 16 * q, rest - 16 * q, 0) : vdupq_n_u8(0);
            codes += rest;
            for (int l = 0; l < bits; l++) {
                const uint8x16_t bit = vdupq_n_u8((uint8_t)(1 << l));
                for (size_t q = 0; q < 4; q++)
                    set[q] = vtstq_u8(part[q], bit);
                planes[(size_t)l * kw + w] = bits_of_bytes(set);
            }
        }
}
