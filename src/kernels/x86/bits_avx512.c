/* Packing signs, planes and weights, and transposing, AVX-512: compare and test instructions give
 * one mask bit per lane, which is the packed form. */
#include "kernels/x86/tier_avx512.h"

#include "base/bits.h"
#include "kernels/x86/vec_avx512.h"

/* Bit i = x < 0 of 64 floats, and |x| < 1; lanes beyond `rest` give 0 in both. */
BP_INLINE void sign_words(const float *x, size_t rest, uint64_t *sign, uint64_t *inside) {
    const __m512 zero = _mm512_setzero_ps(), one = _mm512_set1_ps(1.0f);
    __mmask16 s[4], m[4];
    for (int q = 0; q < 4; q++) {
        size_t at = 16 * (size_t)q;
        __mmask16 live = rest >= 64 ? 0xffff : mask_16(rest > at ? rest - at : 0);
        __m512 v = rest >= 64 ? _mm512_loadu_ps(x + at) : _mm512_maskz_loadu_ps(live, x + at);
        s[q] = _mm512_cmp_ps_mask(v, zero, _CMP_LT_OQ);
        m[q] = _mm512_mask_cmp_ps_mask(live, _mm512_abs_ps(v), one, _CMP_LT_OQ);
    }
    *sign = _mm512_kunpackd(_mm512_kunpackw(s[3], s[2]), _mm512_kunpackw(s[1], s[0]));
    *inside = _mm512_kunpackd(_mm512_kunpackw(m[3], m[2]), _mm512_kunpackw(m[1], m[0]));
}

void bp_sign_pack_f32_avx512(const float *x, size_t n, size_t c, uint64_t *bits, uint64_t *mask) {
    for (size_t p = 0; p < n; p++)
        for (size_t j = 0; j < c; j += 64) {
            uint64_t sign, inside;
            if (c - j >= 64)
                sign_words(x + p * c + j, 64, &sign, &inside);
            else
                sign_words(x + p * c + j, c - j, &sign, &inside);
            *bits++ = sign;
            if (mask != NULL)
                *mask++ = inside;
        }
}

/* 64 rows of 64 bits, 8 rows a register: first the bytes within a register and the lanes between
 * them, so that lane r of v[b] is byte b of rows 8 r .. 8 r + 7; then the bits of each lane; then
 * the bytes again. */
BP_INLINE void transpose_64x64(__m512i v[8], uint64_t *out) {
    for (int i = 0; i < 8; i++)
        v[i] = transpose_bytes(v[i]);
    transpose_8x8(v);
    for (int b = 0; b < 8; b++)
        _mm512_storeu_si512(out + 8 * b, transpose_bytes(transpose_bits(v[b])));
}

BP_INLINE __m128i load_pair(const uint64_t *a, const uint64_t *b) {
    return _mm_insert_epi64(_mm_loadl_epi64((const __m128i *)(const void *)a), (long long)*b, 1);
}

/* One word of 8 rows. Loads into the halves of registers: a vector load of 8 words just written one
 * by one would wait for all of them to leave the store queue. */
BP_INLINE __m512i gather_8(const uint64_t *base, const int32_t *offset) {
    __m256i low = _mm256_set_m128i(load_pair(base + offset[2], base + offset[3]),
                                   load_pair(base + offset[0], base + offset[1]));
    __m256i high = _mm256_set_m128i(load_pair(base + offset[6], base + offset[7]),
                                    load_pair(base + offset[4], base + offset[5]));
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

BP_INLINE __m512i gather_some(const uint64_t *base, const int32_t *offset, size_t count) {
    uint64_t rows[8] = {0};
    for (size_t i = 0; i < bp_min_size(count, 8); i++)
        rows[i] = base[offset[i]];
    return _mm512_loadu_si512(rows);
}

void bp_transpose_gather_avx512(const uint64_t *base, const int32_t *offset, size_t count,
                                size_t cw, uint64_t *out) {
    uint64_t rows[8][64] __attribute__((aligned(64)));
    size_t w = 0;
    for (; cw - w >= 4; w += bp_min_size(8, cw - w)) { /* whole rows, transposed as words */
        size_t words = bp_min_size(8, cw - w);
        for (size_t i = 0; i < 64; i += 8) {
            __m512i v[8];
            for (size_t r = 0; r < 8; r++)
                v[r] = i + r < count
                           ? _mm512_maskz_loadu_epi64(mask_8(words), base + offset[i + r] + w)
                           : _mm512_setzero_si512();
            transpose_8x8(v);
            for (size_t r = 0; r < 8; r++)
                _mm512_store_si512(rows[r] + i, v[r]);
        }
        for (size_t r = 0; r < words; r++) {
            __m512i v[8];
            for (int i = 0; i < 8; i++)
                v[i] = _mm512_load_si512(rows[r] + 8 * i);
            transpose_64x64(v, out + 64 * (w + r));
        }
    }
    for (; w < cw; w++) {
        __m512i v[8];
        for (size_t i = 0; i < 8; i++)
            v[i] = count >= 8 * i + 8 ? gather_8(base + w, offset + 8 * i)
                   : count > 8 * i    ? gather_some(base + w, offset + 8 * i, count - 8 * i)
                                      : _mm512_setzero_si512();
        transpose_64x64(v, out + 64 * w);
    }
}

void bp_pack_planes_avx512(const uint8_t *codes, size_t n, size_t k, int bits, uint64_t *planes) {
    size_t kw = bp_words(k);
    for (size_t p = 0; p < n; p++, planes += (size_t)bits * kw)
        for (size_t w = 0; w < kw; w++) {
            size_t rest = bp_min_size(64, k - 64 * w);
            __m512i v = rest == 64 ? _mm512_loadu_si512(codes)
                                   : _mm512_maskz_loadu_epi8(mask_64(rest), codes);
            for (int l = 0; l < bits; l++)
                planes[(size_t)l * kw + w] =
                    _mm512_test_epi8_mask(v, _mm512_set1_epi8((char)(1 << l)));
            codes += rest;
        }
}

void bp_pack_weights_avx512(const uint64_t *bits, size_t k, size_t taps, size_t cw,
                            uint64_t *packed) {
    size_t row = taps * cw;
    for (size_t j = 0; j < bp_round_up(k, BP_LANES); j += 8) {
        uint64_t *block = packed + j / BP_LANES * row * BP_LANES + j % BP_LANES;
        for (size_t i = 0; i < row; i += 8) {
            size_t columns = bp_min_size(8, row - i);
            __m512i v[8];
            for (size_t r = 0; r < 8; r++)
                v[r] = j + r < k
                           ? _mm512_maskz_loadu_epi64(mask_8(columns), bits + (j + r) * row + i)
                           : _mm512_setzero_si512();
            transpose_8x8(v);
            for (size_t r = 0; r < columns; r++)
                _mm512_store_si512(block + (i + r) * BP_LANES, v[r]);
        }
    }
}
