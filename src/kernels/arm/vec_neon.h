/* Small pieces that the NEON files share. */
#ifndef BP_KERNELS_ARM_VEC_NEON_H
#define BP_KERNELS_ARM_VEC_NEON_H

#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernels/kernels.h"
#include "kernels/value_type.h"

#define BP_INLINE static inline __attribute__((always_inline))

/* Loads and stores of the first `rest` floats, 1 .. 4 and more; `full` is a constant. There are no
 * masked loads: a part goes over the stack. */
BP_INLINE float32x4_t load_f32(const float *p, int full, size_t rest) {
    float part[4] = {0};
    if (full)
        return vld1q_f32(p);
    memcpy(part, p, (rest < 4 ? rest : 4) * sizeof *p);
    return vld1q_f32(part);
}

BP_INLINE void store_f32(float *p, int full, size_t rest, float32x4_t v) {
    float part[4];
    if (full) {
        vst1q_f32(p, v);
        return;
    }
    vst1q_f32(part, v);
    memcpy(p, part, (rest < 4 ? rest : 4) * sizeof *p);
}

/* The same for whole numbers. */
BP_INLINE int32x4_t load_i32(const int32_t *p, size_t rest) {
    int32_t part[4] = {0};
    if (rest >= 4)
        return vld1q_s32(p);
    memcpy(part, p, rest * sizeof *p);
    return vld1q_s32(part);
}

BP_INLINE void store_i32(int32_t *p, size_t rest, int32x4_t v) {
    int32_t part[4];
    if (rest >= 4) {
        vst1q_s32(p, v);
        return;
    }
    vst1q_s32(part, v);
    memcpy(p, part, rest * sizeof *p);
}

/* 4 integers as floats: 1.5 * 2^23 + v is exact, and its bits are the sum of bits; two additions in
 * place of a shift and a conversion, which takes twice the time of most instructions. */
BP_INLINE float32x4_t floats_of_i16(int16x4_t v) {
    int32x4_t bits = vaddw_s16(vdupq_n_s32(0x4b400000), v);
    return vsubq_f32(vreinterpretq_f32_s32(bits), vdupq_n_f32(12582912.0f));
}

/* The numbers of 4 bfloat16. */
BP_INLINE float32x4_t widened(uint16x4_t v) {
    return vreinterpretq_f32_u32(vshlq_n_u32(vmovl_u16(v), 16));
}

/* 4 floats as halves, rounded as by settle_f16, and the numbers of 4 halves. */
BP_INLINE uint16x4_t halved(float32x4_t v) {
    v = vmulq_n_f32(v, 1.0f / BP_HALF_UNIT);
    v = vmaxq_f32(vminq_f32(v, vdupq_n_f32(BP_HALF_MAX)), vdupq_n_f32(-BP_HALF_MAX));
    return vreinterpret_u16_f16(vcvt_f16_f32(v));
}

BP_INLINE float32x4_t of_halves(uint16x4_t v) {
    return vmulq_n_f32(vcvt_f32_f16(vreinterpret_f16_u16(v)), BP_HALF_UNIT);
}

/* 4 floats as bfloat16, rounded as by round_bf16: with integers, which are the same everywhere. */
BP_INLINE uint16x4_t rounded(float32x4_t v) {
    uint32x4_t bits = vreinterpretq_u32_f32(v), upper = vshrq_n_u32(bits, 16);
    uint32x4_t odd = vandq_u32(upper, vdupq_n_u32(1));
    uint32x4_t up = vaddq_u32(vaddq_u32(bits, vdupq_n_u32(0x7fff)), odd);
    uint16x4_t quiet = vmovn_u32(vorrq_u32(upper, vdupq_n_u32(0x40))); /* for NaN */
    return vbsl_u16(vmovn_u32(vceqq_f32(v, v)), vshrn_n_u32(up, 16), quiet);
}

/* 4 values of a type (a constant) as floats. */
BP_INLINE float32x4_t load_y(const void *y, size_t at, enum value_type type, int full,
                             size_t rest) {
    if (type == VALUE_F32)
        return load_f32((const float *)y + at, full, rest);
    int16_t part[4] = {0};
    const int16_t *p = (const int16_t *)y + at;
    if (!full) {
        memcpy(part, p, (rest < 4 ? rest : 4) * sizeof *p);
        p = part;
    }
    int16x4_t v = vld1_s16(p);
    if (type == VALUE_F16)
        return of_halves(vreinterpret_u16_s16(v));
    return type == VALUE_BF16 ? widened(vreinterpret_u16_s16(v)) : floats_of_i16(v);
}

/* 4 values to floats, or rounded to halves or bfloat16. */
BP_INLINE void store_y(void *y, size_t at, enum value_type type, int full, size_t rest,
                       float32x4_t v) {
    if (type == VALUE_F32) {
        store_f32((float *)y + at, full, rest, v);
        return;
    }
    uint16_t part[4], *to = (uint16_t *)y + at;
    uint16x4_t narrow = type == VALUE_F16 ? halved(v) : rounded(v);
    vst1_u16(full ? to : part, narrow);
    if (!full)
        memcpy(to, part, (rest < 4 ? rest : 4) * sizeof *to);
}

/* Takes a later value where it is greater than the best so far, or NaN; returns those lanes. */
BP_INLINE uint32x4_t challenge(float32x4_t *best, float32x4_t later) {
    uint32x4_t wins = vornq_u32(vcgtq_f32(later, *best), vceqq_f32(later, later));
    *best = vbslq_f32(wins, later, *best);
    return wins;
}

/* The low bytes of 16 lanes, in order. */
BP_INLINE uint8x16_t narrow_16(const uint32x4_t v[4]) {
    uint16x8_t low = vuzp1q_u16(vreinterpretq_u16_u32(v[0]), vreinterpretq_u16_u32(v[1]));
    uint16x8_t high = vuzp1q_u16(vreinterpretq_u16_u32(v[2]), vreinterpretq_u16_u32(v[3]));
    return vuzp1q_u8(vreinterpretq_u8_u16(low), vreinterpretq_u8_u16(high));
}

/* Keeps the compiler from computing in another order, which needs more registers than there are. */
BP_INLINE uint8x16_t in_order(uint8x16_t v) {
    __asm__ volatile("" : "+w"(v));
    return v;
}

/* Compilers like to load everything first, for which there are too few registers. Nothing moves
 * past this. */
BP_INLINE void no_further(void) {
    __asm__ volatile("" ::: "memory");
}

/* The channels of a word from w on that exist. */
BP_INLINE uint64_t valid_bits(size_t c, size_t w) {
    return c - w >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << (c - w)) - 1;
}

/* Bytes that are all ones or zero become bits: two such halves make a word. */
BP_INLINE uint8x16_t add_bits(uint8x16_t a, uint8x16_t b) {
    const uint8x16_t bit = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201u));
    return vpaddq_u8(vandq_u8(a, bit), vandq_u8(b, bit));
}

/* Two words from their halves, which add_bits made: bit i from byte i. */
BP_INLINE uint64x2_t two_words(const uint8x16_t a[2], const uint8x16_t b[2]) {
    return vreinterpretq_u64_u8(vpaddq_u8(vpaddq_u8(a[0], a[1]), vpaddq_u8(b[0], b[1])));
}

/* 16 channels: bytes that are all ones where a value is below 0, and of magnitude below 1. */
struct sign_bytes {
    uint8x16_t sign, mask;
};

BP_INLINE struct sign_bytes sign_bytes(float32x4_t a, float32x4_t b, float32x4_t c, float32x4_t d) {
    const float32x4_t one = vdupq_n_f32(1.0f);
    const uint32x4_t below[4] = {vcltzq_f32(a), vcltzq_f32(b), vcltzq_f32(c), vcltzq_f32(d)};
    const uint32x4_t small[4] = {vcaltq_f32(a, one), vcaltq_f32(b, one), vcaltq_f32(c, one),
                                 vcaltq_f32(d, one)};
    return (struct sign_bytes){narrow_16(below), narrow_16(small)};
}

/* The sign and mask words of 64 channels. */
struct sign_words {
    uint64_t sign, mask;
};

BP_INLINE struct sign_words sign_words(const struct sign_bytes v[4]) {
    const uint8x16_t sign[2] = {add_bits(v[0].sign, v[1].sign), add_bits(v[2].sign, v[3].sign)};
    const uint8x16_t mask[2] = {add_bits(v[0].mask, v[1].mask), add_bits(v[2].mask, v[3].mask)};
    uint64x2_t words = two_words(sign, mask);
    return (struct sign_words){vgetq_lane_u64(words, 0), vgetq_lane_u64(words, 1)};
}

BP_INLINE struct sign_bytes sign_16(const float *x) {
    return sign_bytes(vld1q_f32(x), vld1q_f32(x + 4), vld1q_f32(x + 8), vld1q_f32(x + 12));
}

BP_INLINE struct sign_words sign_64(const float *x) {
    const struct sign_bytes v[4] = {sign_16(x), sign_16(x + 16), sign_16(x + 32), sign_16(x + 48)};
    return sign_words(v);
}

/* Of `count` of them. */
BP_INLINE struct sign_words first_words(struct sign_words words, size_t count) {
    return (struct sign_words){words.sign & valid_bits(count, 0),
                               words.mask & valid_bits(count, 0)};
}

/* A bit for each of 64 bytes, which are all ones or zero: bit i from byte i. */
BP_INLINE uint64_t bits_of_bytes(const uint8x16_t v[4]) {
    uint8x16_t a = vpaddq_u8(add_bits(v[0], v[1]), add_bits(v[2], v[3]));
    a = vpaddq_u8(a, a);
    return vgetq_lane_u64(vreinterpretq_u64_u8(a), 0);
}

/* All ones in lane i where bit i is set, i = 0 .. 3. */
BP_INLINE uint32x4_t spread_bits(uint64_t bits) {
    static const uint32_t bit[4] = {1, 2, 4, 8};
    return vtstq_u32(vdupq_n_u32((uint32_t)bits), vld1q_u32(bit));
}

/* Smallest and largest values and sums of squares of 4 columns. */
struct range_4 {
    float32x4_t lo, hi, sum_squares;
};

BP_INLINE struct range_4 range_load(const struct bp_columns *to, size_t j, int full, size_t rest) {
    return (struct range_4){load_f32(to->lo + j, full, rest), load_f32(to->hi + j, full, rest),
                            load_f32(to->sum_squares + j, full, rest)};
}

BP_INLINE void range_add(struct range_4 *r, float32x4_t v) {
    r->lo = vminq_f32(r->lo, v);
    r->hi = vmaxq_f32(r->hi, v);
    r->sum_squares = vaddq_f32(r->sum_squares, vmulq_f32(v, v));
}

BP_INLINE void range_store(const struct bp_columns *to, size_t j, int full, size_t rest,
                           const struct range_4 *r) {
    store_f32(to->lo + j, full, rest, r->lo);
    store_f32(to->hi + j, full, rest, r->hi);
    store_f32(to->sum_squares + j, full, rest, r->sum_squares);
}

/* `count` bytes, up to 16; the others become `fill`. */
BP_INLINE uint8x16_t load_bytes(const uint8_t *p, size_t count, uint8_t fill) {
    uint8_t part[16];
    if (count >= 16)
        return vld1q_u8(p);
    memset(part, fill, sizeof part);
    memcpy(part, p, count);
    return vld1q_u8(part);
}

#endif
