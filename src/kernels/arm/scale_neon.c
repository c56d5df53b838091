/* The epilogues of both gradient products, NEON: integers to floats, masked. */
#include "kernels/arm/tier_neon.h"

#include "base/bits.h"
#include "kernels/arm/vec_neon.h"

/* --- activation gradient ---------------------------------------------------------------------- */

BP_INLINE void scale_mask_4(const int32_t *sum, uint64_t inside, float scale, const float *add,
                            int full, size_t rest, float *out) {
    float32x4_t v = vcvtq_f32_s32(full ? vld1q_s32(sum) : load_i32(sum, rest));
    v = vaddq_f32(vmulq_n_f32(v, scale), load_f32(add, full, rest));
    v = vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(v), spread_bits(inside)));
    store_f32(out, full, rest, v);
}

void bp_scale_mask_neon(const int32_t *sum, const uint64_t *mask, size_t n, size_t c, float scale,
                        const float *offset, const uint8_t *row, float *out) {
    size_t cw = bp_words(c);
    for (size_t p = 0; p < n; p++, sum += c, mask += cw, out += c) {
        const float *add = offset + (size_t)row[p] * c;
        for (size_t j = 0; j < c; j += 4) {
            uint64_t inside = mask[j / 64] >> j % 64;
            if (c - j >= 4)
                scale_mask_4(sum + j, inside, scale, add + j, 1, 4, out + j);
            else
                scale_mask_4(sum + j, inside, scale, add + j, 0, c - j, out + j);
        }
    }
}

/* bp_shift_to_even, by more than 0. */
struct shift {
    int32x4_t left, below_half; /* left: minus the shift */
};

BP_INLINE struct shift shift_of(int by) {
    return (struct shift){vdupq_n_s32(-by), vdupq_n_s32((1 << by >> 1) - 1)};
}

/* shift NULL: none. */
BP_INLINE int32x4_t shifted(const struct shift *shift, int32x4_t v) {
    if (shift == NULL)
        return v;
    const int32x4_t odd = vandq_s32(vshlq_s32(v, shift->left), vdupq_n_s32(1));
    return vshlq_s32(vaddq_s32(vaddq_s32(v, shift->below_half), odd), shift->left);
}

/* 8 lanes: the low halves of the sums, where their bits are set. */
BP_INLINE int16x8_t masked_8(int32x4_t low, int32x4_t high, const struct shift *shift,
                             uint64_t inside) {
    low = shifted(shift, low);
    high = shifted(shift, high);
    static const uint16_t bit[8] = {1, 2, 4, 8, 16, 32, 64, 128};
    uint16x8_t lanes = vtstq_u16(vdupq_n_u16((uint16_t)inside), vld1q_u16(bit));
    int16x8_t v = vuzp1q_s16(vreinterpretq_s16_s32(low), vreinterpretq_s16_s32(high));
    return vandq_s16(v, vreinterpretq_s16_u16(lanes));
}

/* 1 .. 7 lanes. */
BP_INLINE void mask_sums_rest(const int32_t *sum, uint64_t inside, size_t rest,
                              const struct shift *shift, int16_t *out) {
    int16_t part[8];
    int32x4_t high = rest > 4 ? load_i32(sum + 4, rest - 4) : vdupq_n_s32(0);
    vst1q_s16(part, masked_8(load_i32(sum, rest), high, shift, inside));
    memcpy(out, part, rest * sizeof *out);
}

BP_INLINE void mask_rows(const int32_t *sum, const uint64_t *mask, size_t n, size_t c,
                         const struct shift *shift, int16_t *out) {
    size_t cw = bp_words(c);
    for (size_t p = 0; p < n; p++, sum += c, mask += cw, out += c)
        for (size_t j = 0; j < c; j += 8) {
            uint64_t inside = mask[j / 64] >> j % 64;
            if (c - j >= 8)
                vst1q_s16(out + j,
                          masked_8(vld1q_s32(sum + j), vld1q_s32(sum + j + 4), shift, inside));
            else
                mask_sums_rest(sum + j, inside, c - j, shift, out + j);
        }
}

void bp_mask_sums_neon(const int32_t *sum, const uint64_t *mask, size_t n, size_t c, int by,
                       int16_t *out) {
    const struct shift shift = shift_of(by);
    if (by == 0)
        mask_rows(sum, mask, n, c, NULL, out);
    else
        mask_rows(sum, mask, n, c, &shift, out);
}

/* --- weight gradient -------------------------------------------------------------------------- */

BP_INLINE int32x4_t load_4(const int32_t *p, int full, size_t rest) {
    return full ? vld1q_s32(p) : load_i32(p, rest);
}

/* 4 elements from j on. */
BP_INLINE void scale_latent_4(const struct bp_latent_scale *by, const int32_t *sum,
                              const int32_t *high, const int32_t *neg, const float *w, size_t j,
                              int full, size_t rest, float *out) {
    int32x4_t s = vaddq_s32(load_4(sum + j, full, rest), vdupq_n_s32(by->known));
    int32x4_t minus = vdupq_n_s32(0);
    if (high != NULL)
        s = vaddq_s32(s, vshlq_n_s32(load_4(high + j, full, rest), 4));
    if (neg != NULL) {
        minus = load_4(neg + j, full, rest);
        s = vmlsq_n_s32(s, minus, by->off);
    }
    float32x4_t v = vmulq_n_f32(vcvtq_f32_s32(s), by->scale);
    if (neg != NULL) {
        minus = vsubq_s32(vdupq_n_s32(by->valid), vaddq_s32(minus, minus));
        v = vaddq_f32(v, vmulq_n_f32(vcvtq_f32_s32(minus), by->offset));
    }
    if (w != NULL) {
        uint32x4_t inside = vcaltq_f32(load_f32(w + j, full, rest), vdupq_n_f32(1.0f));
        v = vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(v), inside));
    }
    store_f32(out + j, full, rest, v);
}

void bp_scale_latent_neon(const struct bp_latent_scale *by, const int32_t *sum, const int32_t *high,
                          const int32_t *neg, const float *w, size_t n, float *out) {
    const struct bp_latent_scale copy = *by; /* so that it stays in registers */
    size_t j = 0;
    for (; j + 4 <= n; j += 4)
        scale_latent_4(&copy, sum, high, neg, w, j, 1, 4, out);
    if (j < n)
        scale_latent_4(&copy, sum, high, neg, w, j, 0, n - j, out);
}
