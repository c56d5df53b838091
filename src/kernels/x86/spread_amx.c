/* Signs and codes as the tiles take them. */
#include "kernels/x86/tier_amx.h"

#include "kernels/x86/vec_amx.h"

/* --- signs ------------------------------------------------------------------------------------ */

void bp_spread_signs_amx(const uint64_t *bits, size_t n, size_t words, size_t c, int8_t *out,
                         size_t pitch) {
    const __m512i outside = _mm512_set1_epi8(1), plus = _mm512_set1_epi8(2);
    size_t cw = (c + 63) / 64;
    __mmask64 last = mask_64(c - (cw - 1) * 64);
    for (size_t p = 0; p < n; p++, bits += words, out += pitch)
        for (size_t i = 0; i < cw; i++) {
            __m512i bytes = _mm512_maskz_mov_epi8(~bits[i], plus);
            if (i == cw - 1)
                bytes = _mm512_mask_mov_epi8(outside, last, bytes);
            _mm512_storeu_si512(out + 64 * i, bytes);
        }
}

/* The four signs of an index, by vpermd. */
BP_INLINE __m512i sign_quads(void) {
    return _mm512_set_epi32(-1, (int)0xffffff01, (int)0xffff01ff, (int)0xffff0101, (int)0xff01ffff,
                            (int)0xff01ff01, (int)0xff0101ff, (int)0xff010101, 0x01ffffff,
                            0x01ffff01, 0x01ff01ff, 0x01ff0101, 0x0101ffff, 0x0101ff01, 0x010101ff,
                            0x01010101);
}

/* 16 lanes of 32 bits: 8 rows of a quad each. vpermd takes the low 4 bits of a lane. */
BP_INLINE void store_quads(__m512i bits, int8_t *out) {
    const __m512i quads = sign_quads();
    for (unsigned q = 0; q < 8; q++)
        _mm512_store_si512(out + 64 * q,
                           _mm512_permutexvar_epi32(_mm512_srli_epi32(bits, 4 * q), quads));
}

/* The sums of 8 lanes' signs. */
BP_INLINE __m256i sign_sums(__m512i bits) {
    const __m512i all = _mm512_set1_epi64(64);
    __m512i ones = _mm512_popcnt_epi64(bits);
    return _mm512_cvtepi64_epi32(_mm512_sub_epi64(all, _mm512_add_epi64(ones, ones)));
}

void bp_spread_weights_amx(const uint64_t *w, size_t n, int8_t *out, int32_t *sums) {
    const __m512i even =
        _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    const __m512i odd = _mm512_or_si512(even, _mm512_set1_epi32(1));
    for (size_t i = 0; i < 2 * n; i++, w += 16, out += TILE_BYTES) {
        __m512i a = _mm512_loadu_si512(w), b = _mm512_loadu_si512(w + 8);
        if (sums != NULL)
            _mm512_store_si512(
                sums + 16 * i,
                _mm512_inserti64x4(_mm512_castsi256_si512(sign_sums(a)), sign_sums(b), 1));
        store_quads(_mm512_permutex2var_epi32(a, even, b), out);
        store_quads(_mm512_permutex2var_epi32(a, odd, b), out + TILE_BYTES / 2);
    }
}

/* Byte e of a lane: sample e. */
BP_INLINE __m512i quads_of_16(uint64_t a, uint64_t b, uint64_t c, uint64_t d, __m512i plus) {
    __m512i v = _mm512_mask_or_epi32(plus, (__mmask16)a, plus, _mm512_set1_epi32(0xfe));
    v = _mm512_mask_or_epi32(v, (__mmask16)b, v, _mm512_set1_epi32(0xfe00));
    v = _mm512_mask_or_epi32(v, (__mmask16)c, v, _mm512_set1_epi32(0xfe0000));
    return _mm512_mask_or_epi32(v, (__mmask16)d, v, _mm512_set1_epi32((int)0xfe000000));
}

void bp_spread_samples_amx(const uint64_t *bits, const int32_t *offset, size_t samples, size_t n,
                           size_t step, int8_t *out, size_t pitch, size_t plane) {
    const uint32_t there = (uint32_t)(((uint64_t)1 << 8 * samples) - 1);
    const __m512i plus = _mm512_set1_epi32((int)(0x01010101 & there));
    for (size_t p = 0; p < n; p++, out += pitch) {
        uint64_t of[4] = {0};
        for (size_t e = 0; e < samples; e++)
            of[e] = bits[(size_t)offset[e] + p * step];
        for (unsigned i = 0; i < 4; i++)
            _mm512_storeu_si512(out + i * plane,
                                quads_of_16(of[0] >> 16 * i, of[1] >> 16 * i, of[2] >> 16 * i,
                                            of[3] >> 16 * i, plus));
    }
}

/* --- codes ------------------------------------------------------------------------------------ */

/* 16 columns of rows i, 16 + i, 32 + i and 48 + i, one in each quarter. */
BP_INLINE __m512i load_four(const uint8_t *codes, const int32_t *offset, size_t n, size_t i,
                            __mmask16 columns) {
    __m512i v = _mm512_setzero_si512();
    for (size_t q = 0; q < 4; q++) {
        if (16 * q + i >= n)
            break;
        const uint8_t *row = codes + offset[16 * q + i];
        v = _mm512_mask_broadcast_i32x4(v, (__mmask16)(0xf << 4 * q),
                                        _mm_maskz_loadu_epi8(columns, row));
    }
    return v;
}

BP_INLINE __m512i load_four_whole(const uint8_t *codes, const int32_t *offset, size_t i) {
    __m512i v =
        _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(const void *)(codes + offset[i])));
    for (size_t q = 1; q < 4; q++)
        v = _mm512_mask_broadcast_i32x4(
            v, (__mmask16)(0xf << 4 * q),
            _mm_loadu_si128((const __m128i *)(const void *)(codes + offset[16 * q + i])));
    return v;
}

/* Each quarter's 16 x 16 bytes transposed: v[j] = column j of 64 rows. Four times, unpacking
 * register i with i + 8 moves a bit of the row's number into the byte's. */
BP_INLINE void transpose_quarters(__m512i v[16]) {
    for (int round = 0; round < 4; round++) {
        __m512i next[16];
        for (size_t i = 0; i < 8; i++) {
            next[2 * i] = _mm512_unpacklo_epi8(v[i], v[i + 8]);
            next[2 * i + 1] = _mm512_unpackhi_epi8(v[i], v[i + 8]);
        }
        for (size_t i = 0; i < 16; i++)
            v[i] = next[i];
    }
}

void bp_turn_codes_amx(const uint8_t *codes, const int32_t *offset, size_t n, size_t k,
                       uint8_t *out, size_t pitch) {
    for (size_t j = 0; j < k; j += 16) {
        size_t columns = k - j < 16 ? k - j : 16;
        __m512i v[16];
        if (columns == 16 && n == 64)
            for (size_t i = 0; i < 16; i++)
                v[i] = load_four_whole(codes + j, offset, i);
        else
            for (size_t i = 0; i < 16; i++)
                v[i] = load_four(codes + j, offset, n, i, mask_16(columns));
        transpose_quarters(v);
        for (size_t i = 0; i < columns; i++)
            _mm512_storeu_si512(out + (j + i) * pitch, v[i]);
    }
}
