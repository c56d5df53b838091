/* Products that leave out zeros, AVX-512: bits are counted in columns, 512 at a time. The count of
 * a bit stands across planes, bit l of it in plane l. Three bits of one weight become a sum of that
 * weight and a carry of twice it, by two vpternlogq: 15 such pairs add 16 rows to the planes of
 * weights 1, 2, 4, 8, and leave a carry of weight 16. How many rows there are decides about
 * branches, not what they hold. */
#include "kernels/x86/tier_avx512.h"

#include <string.h>

#include "base/bits.h"
#include "kernels/x86/vec_avx512.h"

#define COUNTED     12  /* planes of the rows of one weight, */
#define MOST_BLOCKS 254 /* of so many blocks at most */

/* a + b + c: returns the sum's bit, *carry is what weighs twice as much. */
BP_INLINE __m512i add_three(__m512i a, __m512i b, __m512i c, __m512i *carry) {
    *carry = _mm512_ternarylogic_epi64(a, b, c, 0xe8);
    return _mm512_ternarylogic_epi64(a, b, c, 0x96);
}

/* Where four rows are, in words, by one load: vectors of 512 bits are loaded two a cycle, and a
 * number that is loaded takes the place of one. unit: words that a number counts, 1 or 8. */
struct four_rows {
    size_t at[4];
};

BP_INLINE struct four_rows locate_four(const uint16_t *at, int unit) {
    uint64_t all;
    memcpy(&all, at, sizeof all);
    __asm__("" : "+r"(all)); /* not four loads */
    if (unit == 1)
        return (struct four_rows){
            {(uint16_t)all, (uint16_t)(all >> 16), (uint16_t)(all >> 32), all >> 48}};
    return (struct four_rows){
        {all << 3 & 0x7fff8, all >> 13 & 0x7fff8, all >> 29 & 0x7fff8, all >> 45 & 0x7fff8}};
}

/* add_three of three rows, or of their complements. */
BP_INLINE __m512i add_rows(__m512i a, __m512i b, __m512i c, int flip, __m512i *carry) {
    *carry =
        flip ? _mm512_ternarylogic_epi64(a, b, c, 0x17) : _mm512_ternarylogic_epi64(a, b, c, 0xe8);
    return flip ? _mm512_ternarylogic_epi64(a, b, c, 0x69)
                : _mm512_ternarylogic_epi64(a, b, c, 0x96);
}

/* add_three of a, b and a row, or its complement. */
BP_INLINE __m512i add_row(__m512i a, __m512i b, __m512i row, int flip, __m512i *carry) {
    *carry = flip ? _mm512_ternarylogic_epi64(a, b, row, 0xd4)
                  : _mm512_ternarylogic_epi64(a, b, row, 0xe8);
    return flip ? _mm512_ternarylogic_epi64(a, b, row, 0x69)
                : _mm512_ternarylogic_epi64(a, b, row, 0x96);
}

/* 16 rows to sums of weights 1, 2, 4, 8; `out` is the carry of weight 16. A tree, in which nothing
 * waits long for what was added before. */
#define ADD_BLOCK(ROW, flip, sum, out)                                                             \
    do {                                                                                           \
        __m512i two[8], quad[4], eight[2];                                                         \
        __m512i a = add_rows(ROW(0), ROW(1), ROW(2), flip, &two[0]);                               \
        __m512i b = add_rows(ROW(3), ROW(4), ROW(5), flip, &two[1]);                               \
        __m512i c = add_rows(ROW(6), ROW(7), ROW(8), flip, &two[2]);                               \
        a = add_three(a, b, c, &two[3]);                                                           \
        b = add_rows(ROW(9), ROW(10), ROW(11), flip, &two[4]);                                     \
        c = add_rows(ROW(12), ROW(13), ROW(14), flip, &two[5]);                                    \
        b = add_row(b, c, ROW(15), flip, &two[6]);                                                 \
        (sum)[0] = add_three((sum)[0], a, b, &two[7]);                                             \
        a = add_three(two[0], two[1], two[2], &quad[0]);                                           \
        b = add_three(two[3], two[4], two[5], &quad[1]);                                           \
        a = add_three(a, b, two[6], &quad[2]);                                                     \
        (sum)[1] = add_three((sum)[1], a, two[7], &quad[3]);                                       \
        a = add_three(quad[0], quad[1], quad[2], &eight[0]);                                       \
        (sum)[2] = add_three((sum)[2], a, quad[3], &eight[1]);                                     \
        (sum)[3] = add_three((sum)[3], eight[0], eight[1], &(out));                                \
    } while (0)

/* How the rows of a list are found: places count `unit` words. If that is 1, some words of a row
 * are wanted, the others not read; if 8, all 8. flip: complements are counted. */
struct row_source {
    const uint64_t *rows;
    int unit, flip;
    __mmask8 words;
};

BP_INLINE __m512i load_row(const struct row_source *from, size_t at) {
    return from->unit == 1 ? _mm512_maskz_loadu_epi64(from->words, from->rows + at)
                           : _mm512_loadu_si512(from->rows + at);
}

/* Of the rows with these numbers. */
BP_INLINE __m512i add_block(__m512i sum[4], const struct row_source *from, const uint16_t *at) {
#define NUMBERED(i) load_row(from, four[(i) / 4].at[(i) % 4])
    const struct four_rows four[4] = {locate_four(at, from->unit), locate_four(at + 4, from->unit),
                                      locate_four(at + 8, from->unit),
                                      locate_four(at + 12, from->unit)};
    __m512i out;
    ADD_BLOCK(NUMBERED, from->flip, sum, out);
    return out;
#undef NUMBERED
}

/* Of the first n only: zeros for the others, or their complements. */
BP_INLINE __m512i add_some(__m512i sum[4], const struct row_source *from, const uint16_t *at,
                           size_t n) {
#define NUMBERED(i)                                                                                \
    _mm512_maskz_loadu_epi64((__mmask8)(from->words & -(int)(first >> (i)&1)),                     \
                             from->rows + four[(i) / 4].at[(i) % 4])
    const unsigned first = (1u << n) - 1;
    const struct four_rows four[4] = {locate_four(at, from->unit), locate_four(at + 4, from->unit),
                                      locate_four(at + 8, from->unit),
                                      locate_four(at + 12, from->unit)};
    __m512i out;
    ADD_BLOCK(NUMBERED, from->flip, sum, out);
    return out;
#undef NUMBERED
}

BP_INLINE void clear(__m512i *v, size_t n) {
    for (size_t i = 0; i < n; i++) {
        v[i] = _mm512_setzero_si512();
        __asm__ volatile("" : "+v"(v[i])); /* not a call of memset, which is slow here */
    }
}

/* Adds a vector of weight 2^level. */
BP_INLINE void ripple(__m512i *plane, size_t level, size_t planes, __m512i carry) {
    for (size_t l = level; l < planes; l++) {
        const __m512i before = plane[l];
        plane[l] = _mm512_xor_si512(before, carry);
        carry = _mm512_and_si512(before, carry);
    }
}

/* Adds n rows to counts, whole blocks of complements. */
BP_INLINE void add_list(__m512i plane[COUNTED], const struct row_source *from, const uint16_t *at,
                        size_t n) {
    for (; n >= 2 * BP_ROW_BLOCK; n -= 2 * BP_ROW_BLOCK, at += 2 * BP_ROW_BLOCK) {
        __m512i carry = add_block(plane, from, at);
        __m512i other = add_block(plane, from, at + BP_ROW_BLOCK);
        plane[4] = add_three(plane[4], carry, other, &carry);
        ripple(plane, 5, COUNTED, carry);
    }
    if (n >= BP_ROW_BLOCK) {
        ripple(plane, 4, COUNTED, add_block(plane, from, at));
        n -= BP_ROW_BLOCK, at += BP_ROW_BLOCK;
    }
    if (n > 0)
        ripple(plane, 4, COUNTED, add_some(plane, from, at, n));
}

/* Adds 2^level times what another has counted. */
BP_INLINE void add_counts(__m512i *plane, size_t planes, size_t level,
                          const __m512i counted[COUNTED]) {
    __m512i carry = _mm512_setzero_si512();
    for (size_t l = 0; l < COUNTED && level + l < planes; l++)
        plane[level + l] = add_three(plane[level + l], counted[l], carry, &carry);
    ripple(plane, level + COUNTED, planes, carry);
}

/* Counts rows, and complements of others, as 2^level each. Of complements whole blocks: those that
 * are too many count in every lane. Each weight starts from nothing, so that it does not wait for
 * the rows of another one. */
BP_INLINE void count_lists(__m512i *plane, size_t planes, size_t level, const uint64_t *rows,
                           int unit, __mmask8 words, const uint16_t *plus, size_t n,
                           const uint16_t *minus, size_t n_minus) {
    const struct row_source of_plus = {rows, unit, 0, words}, of_minus = {rows, unit, 1, words};
    while (n + n_minus > 0) {
        const size_t some = bp_min_size(n, MOST_BLOCKS / 2 * BP_ROW_BLOCK);
        const size_t some_minus = bp_min_size(n_minus, MOST_BLOCKS / 2 * BP_ROW_BLOCK);
        __m512i counted[COUNTED];
        clear(counted, COUNTED);
        add_list(counted, &of_plus, plus, some);
        if (some_minus > 0)
            add_list(counted, &of_minus, minus, some_minus);
        add_counts(plane, planes, level, counted);
        n -= some, plus += some;
        n_minus -= some_minus, minus += some_minus;
    }
}

/* --- from planes to sums ---------------------------------------------------------------------- */

/* Swaps the bits of *b under a mask's lower parts with those of *a `shift` above them. */
BP_INLINE void swap_parts(__m512i *a, __m512i *b, unsigned shift, int mask) {
    const __m512i low = _mm512_set1_epi8((char)mask);
    const __m512i up = _mm512_slli_epi32(*b, shift), down = _mm512_srli_epi32(*a, shift);
    *a = _mm512_ternarylogic_epi64(low, *a, up, 0xca);   /* low ? a : up */
    *b = _mm512_ternarylogic_epi64(low, down, *b, 0xca); /* low ? down : b */
}

/* Eight planes to bytes: bit j of byte i of v[l], l = 0 .. 7, becomes bit l of byte i of v[j]. */
BP_INLINE void bytes_of_planes(__m512i v[8]) {
    for (size_t l = 0; l < 4; l++)
        swap_parts(&v[l], &v[l + 4], 4, 0x0f);
    for (size_t l = 0; l < 8; l += l % 4 == 1 ? 3 : 1)
        swap_parts(&v[l], &v[l + 2], 2, 0x33);
    for (size_t l = 0; l < 8; l += 2)
        swap_parts(&v[l], &v[l + 1], 1, 0x55);
}

/* v[2 i], v[2 i + 1]: lanes 64 i .. 64 i + 63 of what 16 planes count. */
BP_INLINE void counts_of_planes(const __m512i plane[16], __m512i v[16]) {
    /* byte 16 L + 2 i + h is byte 8 i + 4 h + L of a plane: unpacking then leaves lanes in order */
    const __m512i order = _mm512_set_epi64(
        0x3f3b37332f2b2723, 0x1f1b17130f0b0703, 0x3e3a36322e2a2622, 0x1e1a16120e0a0602,
        0x3d3935312d292521, 0x1d1915110d090501, 0x3c3834302c282420, 0x1c1814100c080400);
    __m512i low[8], high[8], pair[16], quad[16];
    for (size_t l = 0; l < 8; l++) {
        low[l] = _mm512_permutexvar_epi8(order, plane[l]);
        high[l] = _mm512_permutexvar_epi8(order, plane[8 + l]);
    }
    bytes_of_planes(low);
    bytes_of_planes(high);
    /* 16 bits: lanes e of bytes 0 .. 7 and of 8 .. 15 of each 16 */
    for (size_t e = 0; e < 8; e++) {
        pair[e] = _mm512_unpacklo_epi8(low[e], high[e]);
        pair[8 + e] = _mm512_unpackhi_epi8(low[e], high[e]);
    }
    for (size_t half = 0; half < 16; half += 8) {
        for (size_t e = 0; e < 8; e += 2) { /* lanes e, e + 1 */
            quad[half + e] = _mm512_unpacklo_epi16(pair[half + e], pair[half + e + 1]);
            quad[half + e + 1] = _mm512_unpackhi_epi16(pair[half + e], pair[half + e + 1]);
        }
        for (size_t part = 0; part < 2; part++) {
            const __m512i *q = quad + half + part; /* of lanes 0 1, 2 3, 4 5, 6 7 */
            __m512i a = _mm512_unpacklo_epi32(q[0], q[2]), b = _mm512_unpacklo_epi32(q[4], q[6]);
            __m512i c = _mm512_unpackhi_epi32(q[0], q[2]), d = _mm512_unpackhi_epi32(q[4], q[6]);
            v[half + 4 * part + 0] = _mm512_unpacklo_epi64(a, b);
            v[half + 4 * part + 1] = _mm512_unpackhi_epi64(a, b);
            v[half + 4 * part + 2] = _mm512_unpacklo_epi64(c, d);
            v[half + 4 * part + 3] = _mm512_unpackhi_epi64(c, d);
        }
    }
}

/* --- products --------------------------------------------------------------------------------- */

void bp_product_rows_avx512(const uint64_t *rows, size_t weights, const uint16_t *at, size_t room,
                            const size_t *count, const int32_t *total, size_t words_each,
                            size_t words, const uint64_t *mask, int16_t *y) {
    __m512i plane[16], v[16];
    for (size_t i = 0; i < 2 * words; i++) /* what lies behind is likely next */
        _mm_prefetch((const char *)(y + 512 + 32 * i), _MM_HINT_T0);
    clear(plane, 16);
    for (size_t w = 0; w < weights; w++)
        count_lists(plane, 16, w, rows, BP_ROW_WORDS, 0xff, at + w * room, count[w], NULL, 0);
    counts_of_planes(plane, v);
    for (size_t i = 0; i < words; i++) {
        const __m512i all = _mm512_set1_epi16((short)total[i / words_each]);
        for (size_t half = 0; half < 2; half++) {
            const __m512i twice = _mm512_add_epi16(v[2 * i + half], v[2 * i + half]);
            const __mmask32 wanted = (__mmask32)(mask[i] >> 32 * half);
            _mm512_storeu_si512(y + 64 * i + 32 * half, _mm512_maskz_sub_epi16(wanted, all, twice));
        }
    }
}

/* What planes count, with those of 16 and up unless `planes` is 16. */
struct counts {
    __m512i low[16], high[16];
};

BP_INLINE void counts_of_all(const __m512i *plane, size_t planes, struct counts *counts) {
    counts_of_planes(plane, counts->low);
    if (planes > 16)
        counts_of_planes(plane + 16, counts->high);
}

/* Lanes 16 i .. 16 i + 15, in 32 bits. */
BP_INLINE __m512i half_of(const __m512i v[16], size_t i) {
    return _mm512_cvtepu16_epi32(i % 2 == 0 ? _mm512_castsi512_si256(v[i / 2])
                                            : _mm512_extracti64x4_epi64(v[i / 2], 1));
}

BP_INLINE __m512i sixteen_counts(const struct counts *counts, size_t planes, size_t i) {
    const __m512i low = half_of(counts->low, i);
    return planes == 16 ? low
                        : _mm512_add_epi32(low, _mm512_slli_epi32(half_of(counts->high, i), 16));
}

#define MOST_PLANES 32 /* of which 24 count */

void bp_product_rows_i32_avx512(const uint64_t *rows, size_t weights, const uint16_t *at,
                                size_t room, const size_t *count, const int32_t *total,
                                size_t words_each, size_t words, int32_t *y) {
    __m512i plane[MOST_PLANES];
    struct counts counts;
    clear(plane, MOST_PLANES);
    for (size_t w = 0; w < weights; w++)
        count_lists(plane, 24, w, rows, BP_ROW_WORDS, 0xff, at + w * room, count[w], NULL, 0);
    counts_of_all(plane, MOST_PLANES, &counts);
    for (size_t i = 0; i < 4 * words; i++) {
        const __m512i counted = sixteen_counts(&counts, MOST_PLANES, i);
        const __m512i all = _mm512_set1_epi32(total[i / 4 / words_each]);
        _mm512_storeu_si512(y + 16 * i, _mm512_sub_epi32(all, _mm512_add_epi32(counted, counted)));
    }
}

/* y += total - 2 * what the planes count, of `words` words. */
BP_INLINE void add_counted(const __m512i *plane, size_t planes, size_t words, int32_t total,
                           int32_t *y) {
    struct counts counts;
    counts_of_all(plane, planes, &counts);
    for (size_t i = 0; i < 4 * words; i++, y += 16) {
        const __m512i counted = sixteen_counts(&counts, planes, i);
        const __m512i sum =
            _mm512_sub_epi32(_mm512_set1_epi32(total), _mm512_add_epi32(counted, counted));
        _mm512_storeu_si512(y, _mm512_add_epi32(_mm512_loadu_si512(y), sum));
    }
}

/* Counts the lists of all weights. */
BP_INLINE void count_weights(__m512i *plane, size_t planes, const uint64_t *x, __mmask8 words,
                             size_t weights, const uint16_t *at, size_t capacity,
                             const int32_t *count) {
    for (size_t w = 0; w < weights; w++, at += 2 * capacity, count += 2)
        count_lists(plane, planes, w, x, 1, words, at, (size_t)count[0], at + capacity,
                    (size_t)count[1]);
}

void bp_product_nonzero_avx512(const uint64_t *x, size_t weights, const uint16_t *at,
                               size_t capacity, const int32_t *count, size_t words, int32_t *y) {
    size_t most = 0, excess = 0; /* of the weights of all rows; of complements that are too many */
    for (size_t w = 0; w < weights; w++) {
        const size_t minus = (size_t)count[2 * w + 1];
        most += ((size_t)count[2 * w] + minus) << w;
        excess += (bp_round_up(minus, BP_ROW_BLOCK) - minus) << w;
    }
    const int32_t total = (int32_t)(most + 2 * excess);
    for (size_t first = 0; first < words; first += 8, x += 8, y += 512) {
        const size_t some = bp_min_size(words - first, 8);
        __m512i plane[MOST_PLANES];
        if (most + excess <= UINT16_MAX) {
            clear(plane, 16);
            count_weights(plane, 16, x, mask_8(some), weights, at, capacity, count);
            add_counted(plane, 16, some, total, y);
        } else {
            clear(plane, MOST_PLANES);
            count_weights(plane, 24, x, mask_8(some), weights, at, capacity, count);
            add_counted(plane, MOST_PLANES, some, total, y);
        }
    }
}
