/* Tables and indices of the products by lookup, AVX2. */
#include "kernels/x86/tier_avx2.h"

#include "base/bits.h"
#include "kernels/x86/vec_avx2.h"

/* --- tables ----------------------------------------------------------------------------------- */

/* A digit's vectors: codes become digits, digits become top - digit. */
struct digits {
    __m256i code_min, mask, top;
    __m128i shift;
};

BP_INLINE struct digits digits_of(const struct bp_digit *digit) {
    const struct digits d = {_mm256_set1_epi8((char)digit->code_min),
                             _mm256_set1_epi8((char)(255 >> digit->shift & 15)),
                             _mm256_set1_epi8((char)digit->top), _mm_cvtsi32_si128(digit->shift)};
    return d;
}

BP_INLINE __m256i cut_digits(const struct digits *d, __m256i codes) {
    __m256i u = _mm256_sub_epi8(codes, d->code_min);
    return _mm256_and_si256(_mm256_srl_epi16(u, d->shift), d->mask);
}

/* Both halves of `from` hold two quads of digits and then the same of top - digit. Entry m of the
 * table of quad q takes digit e from byte 4 * q + e, and from 8 bytes behind it if bit e is set. */
BP_INLINE __m256i two_tables(__m256i from, int q) {
    const __m256i bit0 = _mm256_set1_epi16(0x0800), bit1 = _mm256_set1_epi32(0x08080000),
                  bit2 = _mm256_set1_epi64x(0x0808080800000000),
                  bit3 = _mm256_setr_epi64x(0, 0x0808080808080808, 0, 0x0808080808080808);
    const char at = (char)(4 * q);
    __m256i low = _mm256_add_epi8(
        _mm256_shuffle_epi8(from, _mm256_add_epi8(bit0, _mm256_set1_epi8(at))),
        _mm256_shuffle_epi8(from, _mm256_add_epi8(bit1, _mm256_set1_epi8((char)(at + 1)))));
    __m256i high = _mm256_add_epi8(
        _mm256_shuffle_epi8(from, _mm256_add_epi8(bit2, _mm256_set1_epi8((char)(at + 2)))),
        _mm256_shuffle_epi8(from, _mm256_add_epi8(bit3, _mm256_set1_epi8((char)(at + 3)))));
    return _mm256_add_epi8(low, high);
}

/* The tables of 8 quads of digits, the low halves of table[] from quads 0 .. 3, the high ones from
 * quads 4 .. 7. */
BP_INLINE void eight_tables(const struct digits *d, __m256i quads, __m256i table[4]) {
    __m256i rest = _mm256_sub_epi8(d->top, quads);
    __m256i first = _mm256_unpacklo_epi64(quads, rest), second = _mm256_unpackhi_epi64(quads, rest);
    table[0] = two_tables(first, 0);
    table[1] = two_tables(first, 1);
    table[2] = two_tables(second, 0);
    table[3] = two_tables(second, 1);
}

/* `count` bytes, up to 32; the others become `fill`. */
BP_INLINE __m256i load_part(const uint8_t *from, size_t count, int fill) {
    uint8_t part[32];
    if (count >= 32)
        return load_256(from);
    memset(part, fill, sizeof part);
    memcpy(part, from, count);
    return load_256(part);
}

void bp_tables_of_codes_avx2(const uint8_t *codes, size_t n, size_t k, size_t together,
                             const struct bp_digit *digit, uint8_t *tables) {
    (void)together; /* 1 */
    const struct digits d = digits_of(digit);
    const __m256i even_first = _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7);
    if (k % 4 == 0) { /* no rest in the rows: they are one */
        k *= n;
        n = 1;
    }
    for (size_t p = 0; p < n; p++)
        for (size_t i = 0; i < k; i += 32) {
            size_t count = bp_min_size(k - i, 32), bytes = (count + 3) / 4 * BP_TABLE_BYTES;
            __m256i table[4], from = load_part(codes, count, digit->code_min);
            eight_tables(&d, _mm256_permutevar8x32_epi32(cut_digits(&d, from), even_first), table);
            if (count == 32) {
                for (size_t q = 0; q < 4; q++)
                    store_256(tables + 32 * q, table[q]);
            } else {
                memcpy(tables, table, bytes);
            }
            codes += count;
            tables += bytes;
        }
}

#define COLUMNS   32
#define POSITIONS 4 /* their tables are a line of the cache */

/* Tables of some columns and positions. Columns may lie a multiple of 4 KiB apart, in the same few
 * sets of the cache: their lines are written whole, out of here. */
struct tile {
    uint8_t table[COLUMNS][POSITIONS][BP_TABLE_BYTES];
};

/* The tables of 32 columns of one position; row[e]: the digits of sample e. */
BP_INLINE void tile_fill(struct tile *tile, const struct digits *d, const __m256i row[4],
                         size_t position) {
    __m256i pair[4], quads[4], table[4];
    for (size_t h = 0; h < 2; h++) { /* samples 0, 1 and 2, 3 */
        pair[2 * h] = _mm256_unpacklo_epi8(row[2 * h], row[2 * h + 1]);
        pair[2 * h + 1] = _mm256_unpackhi_epi8(row[2 * h], row[2 * h + 1]);
    }
    for (size_t h = 0; h < 2; h++) { /* quads[g]: columns 4 g .. 4 g + 3, and 16 more */
        quads[2 * h] = _mm256_unpacklo_epi16(pair[h], pair[2 + h]);
        quads[2 * h + 1] = _mm256_unpackhi_epi16(pair[h], pair[2 + h]);
    }
    for (size_t g = 0; g < 4; g++) {
        eight_tables(d, quads[g], table);
        for (size_t q = 0; q < 4; q++) {
            __m128i high = _mm256_extracti128_si256(table[q], 1);
            _mm_store_si128((__m128i *)tile->table[4 * g + q][position],
                            _mm256_castsi256_si128(table[q]));
            _mm_store_si128((__m128i *)tile->table[16 + 4 * g + q][position], high);
        }
    }
}

static void tile_store(const struct tile *tile, size_t columns, size_t positions, uint8_t *out,
                       size_t column_bytes, size_t position_bytes) {
    for (size_t i = 0; i < columns; i++, out += column_bytes) {
        if (positions == POSITIONS && position_bytes == BP_TABLE_BYTES)
            memcpy(out, tile->table[i], sizeof tile->table[i]);
        else
            for (size_t p = 0; p < positions; p++)
                memcpy(out + p * position_bytes, tile->table[i][p], BP_TABLE_BYTES);
    }
}

void bp_tables_of_samples_avx2(const uint8_t *codes, const int32_t *offset, size_t samples,
                               size_t together, size_t n, size_t code_step, size_t k,
                               const struct bp_digit *digit, uint8_t *out, size_t column_bytes,
                               size_t position_bytes) {
    (void)together; /* 1 */
    const struct digits d = digits_of(digit);
    struct tile tile __attribute__((aligned(64)));
    for (size_t i = 0; i < k; i += COLUMNS)
        for (size_t first = 0; first < n; first += POSITIONS) {
            size_t columns = bp_min_size(k - i, COLUMNS);
            size_t positions = bp_min_size(n - first, POSITIONS);
            for (size_t p = 0; p < positions; p++) {
                const uint8_t *from = codes + (first + p) * code_step + i;
                __m256i row[4];
                for (size_t e = 0; e < 4; e++) {
                    row[e] = _mm256_setzero_si256();
                    if (e < samples)
                        row[e] =
                            cut_digits(&d, load_part(from + offset[e], columns, digit->code_min));
                }
                tile_fill(&tile, &d, row, p);
            }
            tile_store(&tile, columns, positions, out + i * column_bytes + first * position_bytes,
                       column_bytes, position_bytes);
        }
}

/* --- signs ------------------------------------------------------------------------------------ */

/* 16 bytes of bits to 32 quads, times 16. */
BP_INLINE __m256i spread_quads(const void *bits) {
    __m256i v = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)bits));
    v = _mm256_or_si256(_mm256_slli_epi16(v, 4), _mm256_slli_epi16(v, 8));
    return _mm256_and_si256(v, _mm256_set1_epi8((char)0xf0));
}

void bp_quads_of_signs_avx2(const uint64_t *bits, size_t n, size_t words, size_t quads,
                            uint8_t *out) {
    if (quads == 16 * words) { /* the rows are one */
        quads *= n;
        words *= n;
        n = 1;
    }
    for (size_t p = 0; p < n; p++, bits += words)
        for (size_t i = 0; i < quads; i += 32) {
            size_t count = bp_min_size(quads - i, 32);
            if (count == 32) {
                store_256(out, spread_quads(bits + i / 16));
            } else {
                uint64_t part[2] = {bits[i / 16], count > 16 ? bits[i / 16 + 1] : 0};
                __m256i v = spread_quads(part);
                memcpy(out, &v, count);
            }
            out += count;
        }
}

/* For 32 lanes, bytes with bit e set where the lane's bit of half-word e is. */
BP_INLINE __m256i quads_of_halves(const uint32_t half[4]) {
    const __m256i byte =
        _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201u);
    __m256i v = _mm256_setzero_si256();
    for (int e = 3; e >= 0; e--) { /* v = 2 v + (the bit ? 1 : 0) */
        __m256i from = _mm256_shuffle_epi8(_mm256_set1_epi32((int)half[e]), byte);
        __m256i is_set = _mm256_cmpeq_epi8(_mm256_and_si256(from, bit), bit);
        v = _mm256_sub_epi8(_mm256_add_epi8(v, v), is_set);
    }
    return v;
}

void bp_index_of_samples_avx2(const uint64_t *bits, const int32_t *offset, size_t samples,
                              size_t together, size_t n, size_t words, size_t c, uint8_t *out,
                              size_t out_step) {
    (void)together; /* 1 */
    for (size_t p = 0; p < n; p++, out += out_step)
        for (size_t j = 0; j < c; j += 32) {
            uint32_t half[4] = {0};
            for (size_t e = 0; e < samples; e++)
                half[e] = (uint32_t)(bits[(size_t)offset[e] + p * words + j / 64] >> j % 64);
            store_256(out + j, quads_of_halves(half));
        }
}

/* --- weights ---------------------------------------------------------------------------------- */

/* One word of 32 lanes, `stride` words apart, to bytes: out[b] = byte b of each. */
BP_INLINE void transpose_bytes(const uint64_t *bits, size_t stride, __m256i out[8]) {
    const __m256i pairs = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15));
    __m256i a[8], b[8];
    for (size_t i = 0; i < 8; i++) { /* lanes 2 i, 2 i + 1, and 16 more */
        const uint64_t *low = bits + 2 * i * stride, *high = low + 16 * stride;
        __m256i v = _mm256_setr_epi64x((long long)low[0], (long long)low[stride],
                                       (long long)high[0], (long long)high[stride]);
        a[i] = _mm256_shuffle_epi8(v, pairs);
    }
    for (size_t i = 0; i < 4; i++) { /* 8 x 8 pairs of bytes in each half */
        b[2 * i] = _mm256_unpacklo_epi16(a[2 * i], a[2 * i + 1]);
        b[2 * i + 1] = _mm256_unpackhi_epi16(a[2 * i], a[2 * i + 1]);
    }
    for (size_t i = 0; i < 2; i++)
        for (size_t h = 0; h < 2; h++) {
            a[4 * i + 2 * h] = _mm256_unpacklo_epi32(b[4 * i + h], b[4 * i + 2 + h]);
            a[4 * i + 2 * h + 1] = _mm256_unpackhi_epi32(b[4 * i + h], b[4 * i + 2 + h]);
        }
    for (size_t h = 0; h < 4; h++) {
        out[2 * h] = _mm256_unpacklo_epi64(a[h], a[4 + h]);
        out[2 * h + 1] = _mm256_unpackhi_epi64(a[h], a[4 + h]);
    }
}

/* Quads of one word of 32 lanes. */
BP_INLINE void index_word(const uint64_t *bits, size_t stride, size_t quads, uint8_t *index) {
    const __m256i low = _mm256_set1_epi8(15);
    __m256i bytes[8];
    transpose_bytes(bits, stride, bytes);
    for (size_t b = 0; b < 8; b++, index += 2 * BP_LANES) {
        if (2 * b < quads)
            store_256(index, _mm256_and_si256(bytes[b], low));
        if (2 * b + 1 < quads)
            store_256(index + BP_LANES, _mm256_and_si256(_mm256_srli_epi16(bytes[b], 4), low));
    }
}

void bp_index_weights_avx2(const uint64_t *bits, size_t lanes, size_t taps, size_t words,
                           size_t quads, size_t together, uint8_t *index) {
    (void)together; /* 1 */
    for (size_t block = 0; block < lanes; block += BP_LANES) {
        size_t here = bp_min_size(lanes - block, BP_LANES);
        for (size_t t = 0; t < taps; t++)
            for (size_t i = 0; i < quads; i += 16) {
                const uint64_t *from = bits + (block * taps + t) * words + i / 16;
                size_t count = bp_min_size(quads - i, 16);
                if (here == BP_LANES && count == 16) {
                    index_word(from, taps * words, 16, index);
                } else {
                    uint64_t column[BP_LANES] = {0};
                    for (size_t j = 0; j < here; j++)
                        column[j] = from[j * taps * words];
                    index_word(column, 1, count, index);
                }
                index += count * BP_LANES;
            }
    }
}
