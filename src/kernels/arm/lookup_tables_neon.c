/* Tables and indices of the products by lookup, NEON. */
#include "kernels/arm/tier_neon.h"

#include "base/bits.h"
#include "kernels/arm/vec_neon.h"

/* --- tables ----------------------------------------------------------------------------------- */

/* A digit's vectors: codes become digits, digits become top - digit. */
struct digits {
    uint8x16_t code_min, top;
    int8x16_t shift;
};

BP_INLINE struct digits digits_of(const struct bp_digit *digit) {
    const struct digits d = {vdupq_n_u8((uint8_t)digit->code_min), vdupq_n_u8((uint8_t)digit->top),
                             vdupq_n_s8((int8_t)-digit->shift)};
    return d;
}

BP_INLINE uint8x16_t cut_digits(const struct digits *d, uint8x16_t codes) {
    return vandq_u8(vshlq_u8(vsubq_u8(codes, d->code_min), d->shift), vdupq_n_u8(15));
}

/* The tables of 4 quads of digits. First the sums of each quad's halves, in 4 bytes each: byte
 * 4 q + m of `low` for signs m of elements 0 and 1, of `high` for those of elements 2 and 3; bytes
 * 16 and up of `both` are top - digit. Entry m is low[m % 4] + high[m / 4]. */
BP_INLINE void four_tables(const struct digits *d, uint8x16_t quads, uint8x16_t table[4]) {
    static const uint8_t element_0[16] = {0, 16, 0, 16, 4, 20, 4, 20, 8, 24, 8, 24, 12, 28, 12, 28},
                         element_1[16] = {1, 1, 17, 17, 5, 5, 21, 21, 9, 9, 25, 25, 13, 13, 29, 29},
                         low_signs[16] = {0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3},
                         high_signs[16] = {0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3};
    const uint8x16_t two = vdupq_n_u8(2), at_0 = vld1q_u8(element_0), at_1 = vld1q_u8(element_1);
    const uint8x16x2_t both = {{quads, vsubq_u8(d->top, quads)}};
    uint8x16_t low = vaddq_u8(vqtbl2q_u8(both, at_0), vqtbl2q_u8(both, at_1));
    uint8x16_t high =
        vaddq_u8(vqtbl2q_u8(both, vaddq_u8(at_0, two)), vqtbl2q_u8(both, vaddq_u8(at_1, two)));
    for (uint8_t q = 0; q < 4; q++) {
        const uint8x16_t at = vdupq_n_u8((uint8_t)(4 * q));
        table[q] = vaddq_u8(vqtbl1q_u8(low, vaddq_u8(vld1q_u8(low_signs), at)),
                            vqtbl1q_u8(high, vaddq_u8(vld1q_u8(high_signs), at)));
    }
}

void bp_tables_of_codes_neon(const uint8_t *codes, size_t n, size_t k, size_t together,
                             const struct bp_digit *digit, uint8_t *tables) {
    (void)together; /* 1 */
    const struct digits d = digits_of(digit);
    if (k % 4 == 0) { /* no rest in the rows: they are one */
        k *= n;
        n = 1;
    }
    for (size_t p = 0; p < n; p++)
        for (size_t i = 0; i < k; i += 16) {
            size_t count = bp_min_size(k - i, 16), quads = (count + 3) / 4;
            uint8x16_t table[4];
            four_tables(&d, cut_digits(&d, load_bytes(codes, count, (uint8_t)digit->code_min)),
                        table);
            for (size_t q = 0; q < quads; q++)
                vst1q_u8(tables + q * BP_TABLE_BYTES, table[q]);
            codes += count;
            tables += quads * BP_TABLE_BYTES;
        }
}

#define COLUMNS   16
#define POSITIONS 4 /* their tables are a line of the cache */

/* Tables of some columns and positions. Columns may lie a multiple of 4 KiB apart, in the same few
 * sets of the cache: their lines are written whole, out of here. */
struct tile {
    uint8_t table[COLUMNS][POSITIONS][BP_TABLE_BYTES];
};

/* The tables of 16 columns of one position; row[e]: the digits of sample e. */
BP_INLINE void tile_fill(struct tile *tile, const struct digits *d, const uint8x16_t row[4],
                         size_t position) {
    uint8x16_t table[4];
    uint16x8_t pair[4];
    for (size_t h = 0; h < 2; h++) { /* samples 0, 1 and 2, 3 */
        pair[2 * h] = vreinterpretq_u16_u8(vzip1q_u8(row[2 * h], row[2 * h + 1]));
        pair[2 * h + 1] = vreinterpretq_u16_u8(vzip2q_u8(row[2 * h], row[2 * h + 1]));
    }
    for (size_t g = 0; g < 4; g++) { /* columns 4 g .. 4 g + 3 */
        uint16x8_t quads = g % 2 == 0 ? vzip1q_u16(pair[g / 2], pair[2 + g / 2])
                                      : vzip2q_u16(pair[g / 2], pair[2 + g / 2]);
        four_tables(d, vreinterpretq_u8_u16(quads), table);
        for (size_t q = 0; q < 4; q++)
            vst1q_u8(tile->table[4 * g + q][position], table[q]);
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

void bp_tables_of_samples_neon(const uint8_t *codes, const int32_t *offset, size_t samples,
                               size_t together, size_t n, size_t code_step, size_t k,
                               const struct bp_digit *digit, uint8_t *out, size_t column_bytes,
                               size_t position_bytes) {
    (void)together; /* 1 */
    const struct digits d = digits_of(digit);
    struct tile tile;
    for (size_t i = 0; i < k; i += COLUMNS)
        for (size_t first = 0; first < n; first += POSITIONS) {
            size_t columns = bp_min_size(k - i, COLUMNS);
            size_t positions = bp_min_size(n - first, POSITIONS);
            for (size_t p = 0; p < positions; p++) {
                const uint8_t *from = codes + (first + p) * code_step + i;
                uint8x16_t row[4];
                for (size_t e = 0; e < 4; e++)
                    row[e] = e < samples ? cut_digits(&d, load_bytes(from + offset[e], columns,
                                                                     (uint8_t)digit->code_min))
                                         : vdupq_n_u8(0);
                tile_fill(&tile, &d, row, p);
            }
            tile_store(&tile, columns, positions, out + i * column_bytes + first * position_bytes,
                       column_bytes, position_bytes);
        }
}

/* --- signs ------------------------------------------------------------------------------------ */

/* For 16 lanes, bytes with bit e set where the lane's bit of word e is; at: which bytes of the
 * words hold the bits. */
BP_INLINE uint8x16_t quads_of_words(const uint8x16_t word[4], uint8x16_t at) {
    const uint8x16_t bit = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201u));
    uint8x16_t v = vdupq_n_u8(0);
    for (int e = 3; e >= 0; e--) /* v = 2 v + (the bit ? 1 : 0) */
        v = vsubq_u8(vaddq_u8(v, v), vtstq_u8(vqtbl1q_u8(word[e], at), bit));
    return v;
}

void bp_index_of_samples_neon(const uint64_t *bits, const int32_t *offset, size_t samples,
                              size_t together, size_t n, size_t words, size_t c, uint8_t *out,
                              size_t out_step) {
    (void)together; /* 1 */
    static const uint8_t bytes[16] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1};
    const uint8x16_t first = vld1q_u8(bytes);
    for (size_t p = 0; p < n; p++, out += out_step)
        for (size_t j = 0; j < bp_round_up(c, BP_LANES); j += 64) {
            uint8x16_t word[4];
            for (size_t e = 0; e < 4; e++)
                word[e] = vreinterpretq_u8_u64(
                    vdupq_n_u64(e < samples ? bits[(size_t)offset[e] + p * words + j / 64] : 0));
            for (size_t q = 0; q < 64 && j + q < bp_round_up(c, BP_LANES); q += 16)
                vst1q_u8(out + j + q,
                         quads_of_words(word, vaddq_u8(first, vdupq_n_u8((uint8_t)(q / 8)))));
        }
}

/* --- weights ---------------------------------------------------------------------------------- */

/* Bytes b and b + 4 of each of the 8 words in a vld4. */
BP_INLINE void store_quads(uint8x16_t first, uint8x16_t second, size_t b, size_t quads,
                           uint8_t *index) {
    uint8x16_t byte[2] = {vuzp1q_u8(first, second), vuzp2q_u8(first, second)};
    for (size_t h = 0; h < 2; h++) {
        size_t quad = 2 * (b + 4 * h);
        if (quad < quads)
            vst1q_u8(index + quad * BP_LANES, vandq_u8(byte[h], vdupq_n_u8(15)));
        if (quad + 1 < quads)
            vst1q_u8(index + (quad + 1) * BP_LANES, vshrq_n_u8(byte[h], 4));
    }
}

/* Quads of one word of 32 lanes. */
BP_INLINE void index_word(const uint64_t column[BP_LANES], size_t quads, uint8_t *index) {
    for (size_t j = 0; j < BP_LANES; j += 16) {
        uint8x16x4_t first = vld4q_u8((const uint8_t *)(column + j));
        uint8x16x4_t second = vld4q_u8((const uint8_t *)(column + j + 8));
        store_quads(first.val[0], second.val[0], 0, quads, index + j);
        store_quads(first.val[1], second.val[1], 1, quads, index + j);
        store_quads(first.val[2], second.val[2], 2, quads, index + j);
        store_quads(first.val[3], second.val[3], 3, quads, index + j);
    }
}

void bp_index_weights_neon(const uint64_t *bits, size_t lanes, size_t taps, size_t words,
                           size_t quads, size_t together, uint8_t *index) {
    (void)together; /* 1 */
    for (size_t block = 0; block < lanes; block += BP_LANES) {
        size_t here = bp_min_size(lanes - block, BP_LANES);
        for (size_t t = 0; t < taps; t++)
            for (size_t i = 0; i < quads; i += 16) {
                const uint64_t *from = bits + (block * taps + t) * words + i / 16;
                size_t count = bp_min_size(quads - i, 16);
                uint64_t column[BP_LANES] = {0};
                for (size_t j = 0; j < here; j++)
                    column[j] = from[j * taps * words];
                index_word(column, count, index);
                index += count * BP_LANES;
            }
    }
}
