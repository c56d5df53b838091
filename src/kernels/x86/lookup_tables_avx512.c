/* Tables and indices of the products by lookup, AVX-512, 4 quads together. */
#include "kernels/x86/tier_avx512.h"

#include "base/bits.h"
#include "kernels/x86/tier_avx2.h"
#include "kernels/x86/vec_avx512.h"

#define TOGETHER    4
#define STEP_TABLES ((size_t)TOGETHER * BP_TABLE_BYTES)

/* --- tables ----------------------------------------------------------------------------------- */

/* A digit's vectors, and where the entries of a table take their digits from: entry m takes digit e
 * from byte e of 4, and from 8 bytes behind it if bit e of m is set. */
struct digits {
    __m512i code_min, mask, top, from[4];
    __m128i shift;
};

BP_INLINE struct digits digits_of(const struct bp_digit *digit) {
    const __m128i m = _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    struct digits d = {.code_min = _mm512_set1_epi8((char)digit->code_min),
                       .mask = _mm512_set1_epi8((char)(255 >> digit->shift & 15)),
                       .top = _mm512_set1_epi8((char)digit->top),
                       .shift = _mm_cvtsi32_si128(digit->shift)};
    for (int e = 0; e < 4; e++) {
        __m128i bit = _mm_set1_epi8((char)(1 << e));
        __m128i is_set = _mm_cmpeq_epi8(_mm_and_si128(m, bit), bit);
        __m128i from =
            _mm_add_epi8(_mm_set1_epi8((char)e), _mm_and_si128(is_set, _mm_set1_epi8(8)));
        d.from[e] = _mm512_broadcast_i32x4(from);
    }
    return d;
}

BP_INLINE __m512i cut_digits(const struct digits *d, __m512i codes) {
    __m512i u = _mm512_sub_epi8(codes, d->code_min);
    return _mm512_and_si512(_mm512_srl_epi16(u, d->shift), d->mask);
}

/* One table in each 16 bytes, of the quad at byte `at`; top - digit stands 8 bytes behind. */
BP_INLINE __m512i four_tables(const struct digits *d, __m512i from, int at) {
    __m512i entry[4];
    for (int e = 0; e < 4; e++)
        entry[e] = _mm512_shuffle_epi8(
            from, at == 0 ? d->from[e] : _mm512_add_epi8(d->from[e], _mm512_set1_epi8((char)at)));
    return _mm512_add_epi8(_mm512_add_epi8(entry[0], entry[1]),
                           _mm512_add_epi8(entry[2], entry[3]));
}

/* 4 quads of digits in each 16 bytes: table[i], byte 16 x and up, is that of quad i of part x. */
BP_INLINE void sixteen_tables(const struct digits *d, __m512i quads, __m512i table[4]) {
    __m512i rest = _mm512_sub_epi8(d->top, quads);
    __m512i first = _mm512_unpacklo_epi64(quads, rest), second = _mm512_unpackhi_epi64(quads, rest);
    table[0] = four_tables(d, first, 0);
    table[1] = four_tables(d, first, 4);
    table[2] = four_tables(d, second, 0);
    table[3] = four_tables(d, second, 4);
}

void bp_tables_of_codes_avx512(const uint8_t *codes, size_t n, size_t k, size_t together,
                               const struct bp_digit *digit, uint8_t *tables) {
    (void)together;
    const struct digits d = digits_of(digit);
    /* quad 4 i + x to quad i of part x */
    const __m512i by_part = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    if (k % 16 == 0) { /* no rest in the rows: they are one */
        k *= n;
        n = 1;
    }
    for (size_t p = 0; p < n; p++)
        for (size_t i = 0; i < k; i += 64) {
            size_t count = bp_min_size(k - i, 64), steps = (count + 15) / 16;
            __mmask64 mask = mask_64(count);
            __m512i table[4], v = _mm512_maskz_loadu_epi8(mask, codes);
            v = _mm512_maskz_mov_epi8(mask, cut_digits(&d, v));
            sixteen_tables(&d, _mm512_permutexvar_epi32(by_part, v), table);
            for (size_t q = 0; q < steps; q++)
                _mm512_storeu_si512(tables + q * STEP_TABLES, table[q]);
            codes += count;
            tables += steps * STEP_TABLES;
        }
}

/* The digits of 16 columns of samples first, first + 4, .. first + 12: 16 bytes each. */
BP_INLINE __m512i rows_of_samples(const struct digits *d, const uint8_t *codes,
                                  const int32_t *offset, size_t samples, size_t first,
                                  __mmask16 columns) {
    __m128i row[TOGETHER];
    __mmask64 mask = 0;
    for (size_t q = 0; q < TOGETHER; q++) {
        size_t e = 4 * q + first;
        row[q] = _mm_setzero_si128();
        if (e < samples) {
            row[q] = _mm_maskz_loadu_epi8(columns, codes + offset[e]);
            mask |= (__mmask64)0xffff << 16 * q;
        }
    }
    __m512i v = _mm512_inserti32x4(_mm512_castsi128_si512(row[0]), row[1], 1);
    v = _mm512_inserti32x4(_mm512_inserti32x4(v, row[2], 2), row[3], 3);
    return _mm512_maskz_mov_epi8(mask, cut_digits(d, v));
}

void bp_tables_of_samples_avx512(const uint8_t *codes, const int32_t *offset, size_t samples,
                                 size_t together, size_t n, size_t code_step, size_t k,
                                 const struct bp_digit *digit, uint8_t *out, size_t column_bytes,
                                 size_t position_bytes) {
    (void)together;
    const struct digits d = digits_of(digit);
    for (size_t i = 0; i < k; i += 16)
        for (size_t p = 0; p < n; p++) {
            size_t columns = bp_min_size(k - i, 16);
            const uint8_t *from = codes + p * code_step + i;
            uint8_t *to = out + i * column_bytes + p * position_bytes;
            __m512i row[4], pair[4], table[4];
            for (size_t e = 0; e < 4; e++)
                row[e] = rows_of_samples(&d, from, offset, samples, e, mask_16(columns));
            for (size_t h = 0; h < 2; h++) { /* samples 0, 1 and 2, 3 of each quad */
                pair[h] = _mm512_unpacklo_epi8(row[2 * h], row[2 * h + 1]);
                pair[2 + h] = _mm512_unpackhi_epi8(row[2 * h], row[2 * h + 1]);
            }
            for (size_t g = 0; g < 4 && 4 * g < columns; g++) { /* 4 columns, part = quad */
                const __m512i *from_pair = pair + g / 2 * 2;
                sixteen_tables(&d,
                               g % 2 == 0 ? _mm512_unpacklo_epi16(from_pair[0], from_pair[1])
                                          : _mm512_unpackhi_epi16(from_pair[0], from_pair[1]),
                               table);
                for (size_t q = 0; q < 4 && 4 * g + q < columns; q++, to += column_bytes)
                    _mm512_storeu_si512(to, table[q]);
            }
        }
}

/* --- signs ------------------------------------------------------------------------------------ */

/* The low nibble of each byte and the number of its quad. */
BP_INLINE __m512i index_bytes(__m512i nibbles) {
    return _mm512_or_si512(_mm512_and_si512(nibbles, _mm512_set1_epi8(15)),
                           _mm512_set1_epi32(0x30201000));
}

/* Swaps the bits of `mask` with those `by` places above. */
BP_INLINE __m512i swap_bits(__m512i v, int by, long long mask) {
    __m512i changed = _mm512_and_si512(_mm512_xor_si512(v, _mm512_srli_epi64(v, (unsigned)by)),
                                       _mm512_set1_epi64(mask));
    return _mm512_xor_si512(_mm512_xor_si512(v, changed), _mm512_slli_epi64(changed, (unsigned)by));
}

/* 8 samples' words: byte j = bits j of the samples. */
BP_INLINE __m512i bits_of_lanes(__m512i words) {
    const __m512i bytes = /* byte 8 j + i = byte j of word i */
        _mm512_set_epi64(0x3f372f271f170f07, 0x3e362e261e160e06, 0x3d352d251d150d05,
                         0x3c342c241c140c04, 0x3b332b231b130b03, 0x3a322a221a120a02,
                         0x3931292119110901, 0x3830282018100800);
    __m512i v = _mm512_permutexvar_epi8(bytes, words); /* then 8 x 8 bits of each word */
    v = swap_bits(v, 7, 0x00aa00aa00aa00aa);
    v = swap_bits(v, 14, 0x0000cccc0000cccc);
    return swap_bits(v, 28, 0x00000000f0f0f0f0);
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
                    for (size_t q = 0; q < steps; q++)
                        _mm512_storeu_si512(index + q * TOGETHER * BP_LANES + j * TOGETHER, v[q]);
                }
                index += steps * TOGETHER * BP_LANES;
            }
}
