/* Lists of codes that are not zero, AVX-512: 64 rows of 16 columns are transposed, so that a
 * register holds a column; masks of its bits and signs, and vpcompressb packs the numbers of the
 * rows. */
#include "kernels/x86/tier_avx512.h"

#include "base/bits.h"
#include "kernels/x86/vec_avx512.h"

#define ROWS    ((size_t)64)
#define COLUMNS ((size_t)16)

/* Where the rows of a block are. */
struct places {
    __m512i at[4];
};

/* The places of 16 rows. */
BP_INLINE __m512i places_of(const struct places *places, __m512i rows) {
    __m512i row = _mm512_cvtepu8_epi32(_mm512_castsi512_si128(rows));
    __m512i low = _mm512_permutex2var_epi32(places->at[0], row, places->at[1]);
    __m512i high = _mm512_permutex2var_epi32(places->at[2], row, places->at[3]);
    __mmask16 is_high = _mm512_test_epi32_mask(row, _mm512_set1_epi32(32));
    return _mm512_mask_mov_epi32(low, is_high, high);
}

/* The numbers of the rows of a mask, one behind the other. */
BP_INLINE __m512i pack_rows(__mmask64 mask) {
    const __m512i numbers = _mm512_set_epi8(
        63, 62, 61, 60, 59, 58, 57, 56, 55, 54, 53, 52, 51, 50, 49, 48, 47, 46, 45, 44, 43, 42, 41,
        40, 39, 38, 37, 36, 35, 34, 33, 32, 31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18,
        17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    return _mm512_maskz_compress_epi8(mask, numbers);
}

BP_INLINE __m512i next_16(__m512i rows) {
    return _mm512_shuffle_i64x2(rows, rows, 0x39);
}

/* mask_16 of up to 64, in one instruction. */
BP_INLINE __mmask16 first_of_16(size_t n) {
    return (__mmask16)_bzhi_u32(0xffff, (unsigned)n);
}

/* The rows of a mask to a list. */
BP_INLINE void append(const struct places *places, __mmask64 mask, int32_t *to, int32_t *count) {
    const size_t n = (size_t)_mm_popcnt_u64(mask);
    __m512i rows = pack_rows(mask);
    size_t first = 0;
    to += *count;
    *count += (int32_t)n;
    do {
        _mm512_mask_storeu_epi32(to + first, first_of_16(n - first), places_of(places, rows));
        rows = next_16(rows);
        first += 16;
    } while (first < n);
}

/* Those places of 16 that a mask has, to the end of a list. */
BP_INLINE void append_some(__m512i at, __mmask16 which, int32_t *to, int32_t *count) {
    const int n = _mm_popcnt_u32(which);
    _mm512_mask_storeu_epi32(to + *count, first_of_16((size_t)n),
                             _mm512_maskz_compress_epi32(which, at));
    *count += n;
}

/* The rows of a mask to the list of plus or, `capacity` behind it, that of minus. Up to 16, none
 * too, without a branch: how many there are no processor foresees. Packed once for both. */
BP_INLINE void append_signed(const struct places *places, __mmask64 mask, __mmask64 minus,
                             int32_t *to, size_t capacity, int32_t count[2]) {
    const size_t n = (size_t)_mm_popcnt_u64(mask);
    uint64_t signs = _pext_u64(minus, mask);
    __m512i rows = pack_rows(mask);
    size_t first = 0;
    do {
        const __mmask16 here = first_of_16(n - first);
        const __m512i at = places_of(places, rows);
        append_some(at, (__mmask16)(here & ~signs), to, &count[0]);
        append_some(at, (__mmask16)(here & signs), to + capacity, &count[1]);
        rows = next_16(rows);
        signs >>= 16;
        first += 16;
    } while (first < n);
}

_Static_assert(BP_NONZERO_WEIGHTS == 3, "weights 1, 2 and 4");

/* The codes of a column, to its lists. Most are 1 or -1. */
BP_INLINE void list_column(const struct places *places, __m512i codes, int32_t *to, size_t capacity,
                           int32_t *count) {
    const __mmask64 minus = _mm512_movepi8_mask(codes);
    const __m512i magnitude = _mm512_abs_epi8(codes);
    const __mmask64 ones = _mm512_test_epi8_mask(magnitude, _mm512_set1_epi8(1));
    const __mmask64 more = _mm512_test_epi8_mask(magnitude, _mm512_set1_epi8(6));
    if (ones != 0)
        append_signed(places, ones, minus, to, capacity, count);
    if (more == 0)
        return;
    const __mmask64 twos = _mm512_test_epi8_mask(magnitude, _mm512_set1_epi8(2));
    const __mmask64 fours = _mm512_test_epi8_mask(magnitude, _mm512_set1_epi8(4));
    append_signed(places, twos, minus, to + 2 * capacity, capacity, count + 2);
    if (fours != 0)
        append_signed(places, fours, minus, to + 4 * capacity, capacity, count + 4);
}

/* Rows 0 .. 3 of up to 16 columns; `full`, a constant: all of them, else those beyond are zero. */
BP_INLINE __m512i load_rows(const uint8_t *codes, size_t step, int full, size_t rows,
                            __mmask16 columns) {
    __m512i v = _mm512_setzero_si512();
    for (size_t i = 0; i < 4 && (full || i < rows); i++) {
        const __m128i *row = (const __m128i *)(const void *)(codes + i * step);
        __m128i part = full ? _mm_loadu_si128(row) : _mm_maskz_loadu_epi8(columns, row);
        v = _mm512_mask_broadcast_i32x4(v, (__mmask16)(0xf << 4 * i), part);
    }
    return v;
}

/* 16 rows of up to 16 columns: lane i of quad[e] = column 4 i + e. */
BP_INLINE void transpose_rows(const uint8_t *codes, size_t step, int full, size_t rows,
                              __mmask16 columns, __m512i quad[4]) {
    const __m512i by_column = /* byte 4 j + i = column j of row i */
        _mm512_set_epi32(0x3f2f1f0f, 0x3e2e1e0e, 0x3d2d1d0d, 0x3c2c1c0c, 0x3b2b1b0b, 0x3a2a1a0a,
                         0x39291909, 0x38281808, 0x37271707, 0x36261606, 0x35251505, 0x34241404,
                         0x33231303, 0x32221202, 0x31211101, 0x30201000);
    __m512i v[4], low[2], high[2];
    for (size_t i = 0; i < 4; i++) {
        size_t left = full ? 4 : rows > 4 * i ? rows - 4 * i : 0;
        v[i] = _mm512_permutexvar_epi8(by_column,
                                       load_rows(codes + 4 * i * step, step, full, left, columns));
    }
    for (size_t i = 0; i < 2; i++) {
        low[i] = _mm512_unpacklo_epi32(v[2 * i], v[2 * i + 1]);
        high[i] = _mm512_unpackhi_epi32(v[2 * i], v[2 * i + 1]);
    }
    quad[0] = _mm512_unpacklo_epi64(low[0], low[1]);
    quad[1] = _mm512_unpackhi_epi64(low[0], low[1]);
    quad[2] = _mm512_unpacklo_epi64(high[0], high[1]);
    quad[3] = _mm512_unpackhi_epi64(high[0], high[1]);
}

/* 64 rows of up to 16 columns: column[j] = column j. */
BP_INLINE void load_columns(const uint8_t *codes, size_t step, int full, size_t rows,
                            __mmask16 columns, __m512i column[16]) {
    __m512i quad[4][4];
    for (size_t i = 0; i < 4; i++) {
        size_t left = rows > 16 * i ? rows - 16 * i : 0;
        transpose_rows(codes + 16 * i * step, step, full, left, columns, quad[i]);
    }
    for (size_t e = 0; e < 4; e++) {
        __m512i low = _mm512_shuffle_i32x4(quad[0][e], quad[1][e], 0x44);
        __m512i high = _mm512_shuffle_i32x4(quad[0][e], quad[1][e], 0xee);
        __m512i low_2 = _mm512_shuffle_i32x4(quad[2][e], quad[3][e], 0x44);
        __m512i high_2 = _mm512_shuffle_i32x4(quad[2][e], quad[3][e], 0xee);
        column[e] = _mm512_shuffle_i32x4(low, low_2, 0x88);
        column[4 + e] = _mm512_shuffle_i32x4(low, low_2, 0xdd);
        column[8 + e] = _mm512_shuffle_i32x4(high, high_2, 0x88);
        column[12 + e] = _mm512_shuffle_i32x4(high, high_2, 0xdd);
    }
}

/* Beside column j, its share of the 64 rows that come next: asked for all at once, they would keep
 * the processor waiting. */
BP_INLINE void fetch_next_rows(const uint8_t *codes, size_t step, size_t j, size_t share) {
    for (size_t p = j * share; p < bp_min_size((j + 1) * share, ROWS); p++)
        _mm_prefetch((const char *)codes + (ROWS + p) * step, _MM_HINT_T0);
}

void bp_list_nonzero_avx512(const uint8_t *codes, size_t n, size_t step, size_t k,
                            const int32_t *at, int32_t *to, size_t capacity, int32_t *count) {
    const size_t share = (ROWS + k - 1) / k;
    for (size_t p = 0; p < n; p += ROWS, codes += ROWS * step) {
        size_t rows = bp_min_size(n - p, ROWS);
        struct places places;
        for (size_t i = 0; i < 4; i++)
            places.at[i] = _mm512_maskz_loadu_epi32(rows > 16 * i ? mask_16(rows - 16 * i) : 0,
                                                    at + p + 16 * i);
        for (size_t j = 0; j < k; j += COLUMNS) {
            size_t columns = bp_min_size(k - j, COLUMNS);
            __m512i column[16];
            if (rows == ROWS && columns == COLUMNS)
                load_columns(codes + j, step, 1, ROWS, 0xffff, column);
            else
                load_columns(codes + j, step, 0, rows, mask_16(columns), column);
            for (size_t i = 0; i < columns; i++) {
                size_t list = (j + i) * 2 * BP_NONZERO_WEIGHTS;
                list_column(&places, column[i], to + list * capacity, capacity, count + list);
                fetch_next_rows(codes, step, j + i, share);
            }
        }
    }
}

/* Appends `none` up to a whole half block. */
BP_INLINE void fill_up(int32_t none, int32_t *list, int32_t *count) {
    size_t n = (size_t)*count, rest = bp_round_up(n, BP_HALF_BLOCK) - n;
    _mm256_mask_storeu_epi32(list + n, mask_8(rest), _mm256_set1_epi32(none));
    *count += (int32_t)rest;
}

void bp_list_row_avx512(const uint8_t *codes, size_t n, size_t k, struct bp_row_places places,
                        int32_t *to, size_t capacity, int32_t *count, int32_t *total) {
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i first = _mm512_mullo_epi32(lane, _mm512_set1_epi32(places.step));
    const __m512i minus = _mm512_set1_epi32(places.minus);
    for (size_t p = 0; p < n; p++, codes += k) {
        __m512i sum = _mm512_setzero_si512();
        for (size_t w = 0; w < BP_NONZERO_WEIGHTS; w++)
            count[w] = 0;
        for (size_t j = 0; j < k; j += ROWS) {
            __m512i v = _mm512_maskz_loadu_epi8(mask_64(k - j), codes + j);
            __m512i magnitude = _mm512_abs_epi8(v);
            __mmask64 negative = _mm512_movepi8_mask(v);
            struct places at;
            for (size_t i = 0; i < 4; i++) {
                __m512i base = _mm512_set1_epi32((int32_t)(j + 16 * i) * places.step);
                base = _mm512_add_epi32(first, base);
                at.at[i] =
                    _mm512_mask_add_epi32(base, (__mmask16)(negative >> 16 * i), base, minus);
            }
            sum = _mm512_add_epi64(sum, _mm512_sad_epu8(magnitude, _mm512_setzero_si512()));
            for (size_t w = 0; w < BP_NONZERO_WEIGHTS; w++) {
                __mmask64 set = _mm512_test_epi8_mask(magnitude, _mm512_set1_epi8((char)(1 << w)));
                if (set != 0)
                    append(&at, set, to + w * capacity, &count[w]);
            }
        }
        for (size_t w = 0; w < BP_NONZERO_WEIGHTS; w++)
            fill_up(places.none, to + w * capacity, &count[w]);
        *total++ = (int32_t)_mm512_reduce_add_epi64(sum);
        to += BP_NONZERO_WEIGHTS * capacity;
        count += BP_NONZERO_WEIGHTS;
    }
}
