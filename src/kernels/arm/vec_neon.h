/* Small pieces that the NEON files share. */
#ifndef BP_KERNELS_ARM_VEC_NEON_H
#define BP_KERNELS_ARM_VEC_NEON_H

#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

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

/* The low bytes of 16 lanes, in order. */
BP_INLINE uint8x16_t narrow_16(const uint32x4_t v[4]) {
    uint16x8_t low = vuzp1q_u16(vreinterpretq_u16_u32(v[0]), vreinterpretq_u16_u32(v[1]));
    uint16x8_t high = vuzp1q_u16(vreinterpretq_u16_u32(v[2]), vreinterpretq_u16_u32(v[3]));
    return vuzp1q_u8(vreinterpretq_u8_u16(low), vreinterpretq_u8_u16(high));
}

/* A bit for each of 64 bytes, which are all ones or zero: bit i from byte i. */
BP_INLINE uint64_t bits_of_bytes(const uint8x16_t v[4]) {
    const uint8x16_t bit = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201u));
    uint8x16_t a = vpaddq_u8(vandq_u8(v[0], bit), vandq_u8(v[1], bit));
    uint8x16_t b = vpaddq_u8(vandq_u8(v[2], bit), vandq_u8(v[3], bit));
    a = vpaddq_u8(a, b);
    a = vpaddq_u8(a, a);
    return vgetq_lane_u64(vreinterpretq_u64_u8(a), 0);
}

/* All ones in lane i where bit i is set, i = 0 .. 3. */
BP_INLINE uint32x4_t spread_bits(uint64_t bits) {
    static const uint32_t bit[4] = {1, 2, 4, 8};
    return vtstq_u32(vdupq_n_u32((uint32_t)bits), vld1q_u32(bit));
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
