/* Bits: packing signs, planes and weights, transposing. */
#include "kernels/c/tier_c.h"

#include <math.h>
#include <string.h>

#include "base/bits.h"

void bp_sign_pack_f32_c(const float *x, size_t n, size_t c, uint64_t *bits, uint64_t *mask) {
    size_t cw = bp_words(c);
    for (size_t p = 0; p < n; p++)
        for (size_t w = 0; w < cw; w++) {
            size_t count = bp_min_size(64, c - w * 64);
            const float *v = x + p * c + w * 64;
            uint64_t sign_word = 0, mask_word = 0;
            for (size_t i = 0; i < count; i++) {
                sign_word |= (uint64_t)(v[i] < 0.0f) << i;
                mask_word |= (uint64_t)(fabsf(v[i]) < 1.0f) << i;
            }
            bits[p * cw + w] = sign_word;
            if (mask != NULL)
                mask[p * cw + w] = mask_word;
        }
}

/* Transposes 64 x 64 bits in place: swaps off-diagonal blocks of 32, 16, ... 1. */
static void transpose_64x64(uint64_t m[64]) {
    uint64_t mask = 0x00000000ffffffffu;
    for (int size = 32; size != 0; size >>= 1, mask ^= mask << size)
        for (int i = 0; i < 64; i = ((i | size) + 1) & ~size) {
            uint64_t swapped = (m[i] >> size ^ m[i + size]) & mask;
            m[i] ^= swapped << size;
            m[i + size] ^= swapped;
        }
}

void bp_transpose_gather_c(const uint64_t *base, const int32_t *offset, size_t count, size_t cw,
                           uint64_t *out) {
    for (size_t w = 0; w < cw; w++) {
        uint64_t *block = out + 64 * w;
        memset(block, 0, 64 * sizeof *block);
        for (size_t i = 0; i < count; i++)
            block[i] = base[(ptrdiff_t)offset[i] + (ptrdiff_t)w];
        transpose_64x64(block);
    }
}

void bp_pack_planes_c(const uint8_t *codes, size_t n, size_t k, int bits, uint64_t *planes) {
    size_t kw = bp_words(k);
    for (size_t p = 0; p < n; p++)
        for (int l = 0; l < bits; l++)
            for (size_t w = 0; w < kw; w++) {
                size_t count = bp_min_size(64, k - w * 64);
                const uint8_t *code = codes + p * k + w * 64;
                uint64_t word = 0;
                for (size_t i = 0; i < count; i++)
                    word |= (uint64_t)(code[i] >> l & 1) << i;
                planes[(p * (size_t)bits + (size_t)l) * kw + w] = word;
            }
}

void bp_pack_weights_c(const uint64_t *bits, size_t k, size_t taps, size_t cw, uint64_t *packed) {
    size_t row = taps * cw;
    for (size_t b = 0; b < k; b += BP_LANES)
        for (size_t i = 0; i < row; i++)
            for (size_t j = 0; j < BP_LANES; j++)
                packed[(b / BP_LANES * row + i) * BP_LANES + j] =
                    b + j < k ? bits[(b + j) * row + i] : 0;
}
