/* Index bytes of the products by lookup, AVX-512, 4 quads together. */
#include "kernels/x86/tier_avx512.h"

#include "base/bits.h"
#include "kernels/x86/lookup_avx512.h"
#include "kernels/x86/tier_avx2.h"
#include "kernels/x86/vec_avx512.h"

#define TOGETHER 4

/* --- signs ------------------------------------------------------------------------------------ */

/* The low nibble of each byte and the number of its quad. */
BP_INLINE __m512i index_bytes(__m512i nibbles) {
    return _mm512_or_si512(_mm512_and_si512(nibbles, _mm512_set1_epi8(15)),
                           _mm512_set1_epi32(0x30201000));
}

/* Index bytes of 16 lanes, lane and up, from all lanes' bits of samples 0 .. 7 and 8 .. 15. */
BP_INLINE __m512i index_of_bits(__m512i low, __m512i high, int lane) {
#define FOUR(i) (0x40400000 + 0x01010101 * (i)) /* twice from low, twice from high */
    const __m512i from = _mm512_setr_epi32(FOUR(0), FOUR(1), FOUR(2), FOUR(3), FOUR(4), FOUR(5),
                                           FOUR(6), FOUR(7), FOUR(8), FOUR(9), FOUR(10), FOUR(11),
                                           FOUR(12), FOUR(13), FOUR(14), FOUR(15));
#undef FOUR
    const __m512i nibble = _mm512_set1_epi64(0x3c302c201c100c00); /* bits 0, 12, 16, 28, .. */
    __m512i at = _mm512_add_epi8(from, _mm512_set1_epi8((char)lane));
    __m512i v = _mm512_permutex2var_epi8(low, at, high);
    return index_bytes(_mm512_multishift_epi64_epi8(nibble, v));
}

void bp_index_of_samples_avx512(const uint64_t *bits, const int32_t *offset, size_t samples,
                                size_t together, size_t n, size_t words, size_t c, uint8_t *out,
                                size_t out_step) {
    (void)together;
    const __mmask8 few = mask_8(samples), more = samples > 8 ? mask_8(samples - 8) : 0;
    const __m256i first = _mm256_maskz_loadu_epi32(few, offset);
    const __m256i second =
        more != 0 ? _mm256_maskz_loadu_epi32(more, offset + 8) : _mm256_setzero_si256();
    const __m512i zero = _mm512_setzero_si512();
    for (size_t p = 0; p < n; p++, bits += words, out += out_step)
        for (size_t j = 0; j < c; j += 64) {
            const uint64_t *word = bits + j / 64;
            __m512i low = bits_of_lanes(_mm512_mask_i32gather_epi64(zero, few, first, word, 8));
            __m512i high = zero;
            if (more != 0)
                high = bits_of_lanes(_mm512_mask_i32gather_epi64(zero, more, second, word, 8));
            uint8_t *to = out + j * TOGETHER;
            _mm512_storeu_si512(to, index_of_bits(low, high, 0));
            _mm512_storeu_si512(to + 64, index_of_bits(low, high, 16));
            if (c - j <= BP_LANES)
                break;
            _mm512_storeu_si512(to + 128, index_of_bits(low, high, 32));
            _mm512_storeu_si512(to + 192, index_of_bits(low, high, 48));
        }
}

/* --- weights ---------------------------------------------------------------------------------- */

/* One word of 16 lanes to index[i]: quads 4 i .. 4 i + 3. */
BP_INLINE void index_word(__m512i low, __m512i high, __m512i index[4]) {
    const __m512i odd =
        _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    const __m512i even =
        _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    for (int h = 0; h < 2; h++) { /* bits 0, 4, .. 28, then 32, 36, .. 60 to bytes */
        const __m512i nibble = _mm512_set1_epi64(h == 0 ? 0x1c1814100c080400 : 0x3c3834302c282420);
        __m512i a = index_bytes(_mm512_multishift_epi64_epi8(nibble, low));
        __m512i b = index_bytes(_mm512_multishift_epi64_epi8(nibble, high));
        index[2 * h] = _mm512_permutex2var_epi32(a, even, b);
        index[2 * h + 1] = _mm512_permutex2var_epi32(a, odd, b);
    }
}

/* 8 words `stride` words apart, those of lanes beyond `lanes` zero. */
BP_INLINE __m512i load_column(const uint64_t *from, size_t stride, size_t lanes) {
    if (lanes >= 8) /* faster than the gather */
        return _mm512_setr_epi64((long long)from[0], (long long)from[stride],
                                 (long long)from[2 * stride], (long long)from[3 * stride],
                                 (long long)from[4 * stride], (long long)from[5 * stride],
                                 (long long)from[6 * stride], (long long)from[7 * stride]);
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256i at = _mm256_mullo_epi32(lane, _mm256_set1_epi32((int)stride));
    return _mm512_mask_i32gather_epi64(_mm512_setzero_si512(), mask_8(lanes), at, from, 8);
}

void bp_index_weights_avx512(const uint64_t *bits, size_t lanes, size_t taps, size_t words,
                             size_t quads, size_t together, uint8_t *index) {
    const size_t stride = taps * words;
    if (together == 1) {
        bp_index_weights_avx2(bits, lanes, taps, words, quads, together, index);
        return;
    }
    for (size_t block = 0; block < lanes; block += BP_LANES)
        for (size_t t = 0; t < taps; t++)
            for (size_t i = 0; i < quads; i += 16) {
                size_t steps = bp_min_size(quads - i, 16) / TOGETHER;
                for (size_t j = 0; j < BP_LANES; j += 16) {
                    size_t lane = block + j, here = lanes > lane ? lanes - lane : 0;
                    const uint64_t *from = bits + (lane * taps + t) * words + i / 16;
                    __m512i v[TOGETHER], low = _mm512_setzero_si512(), high = low;
                    if (here > 0)
                        low = load_column(from, stride, here);
                    if (here > 8)
                        high = load_column(from + 8 * stride, stride, here - 8);
                    index_word(low, high, v);
                    store_first(index + j * TOGETHER, (size_t)TOGETHER * BP_LANES, v, steps);
                }
                index += steps * TOGETHER * BP_LANES;
            }
}
