/* Lists of codes that are not zero, AVX-512: masks of their bits, and vpcompressb packs the numbers
 * of 64 of them, with their signs in bit 6. */
#include "kernels/x86/tier_avx512.h"

#include "base/bits.h"
#include "kernels/x86/vec_avx512.h"

#define SIGN 64

/* 0 .. 63 */
BP_INLINE __m512i numbers_64(void) {
    return _mm512_set_epi8(63, 62, 61, 60, 59, 58, 57, 56, 55, 54, 53, 52, 51, 50, 49, 48, 47, 46,
                           45, 44, 43, 42, 41, 40, 39, 38, 37, 36, 35, 34, 33, 32, 31, 30, 29, 28,
                           27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10,
                           9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
}

/* The digits of 64 codes: bit w of a byte of `set` if that of weight w is not zero, and of `less`
 * if it has the other sign than the code. */
struct digits {
    __m512i set, less;
    __mmask64 negative;
};

BP_INLINE struct digits digits_of(__m512i codes, size_t weights) {
    const __m512i x = _mm512_abs_epi8(codes), zero = _mm512_setzero_si512();
    const __mmask64 negative = _mm512_movepi8_mask(codes);
    if (weights != BP_NONZERO_FORM)
        return (struct digits){x, zero, negative};
    /* the bits of 3 x that x has not are plus, those of x that 3 x has not minus, of half the
     * weight */
    const __m512i half = _mm512_and_si512(_mm512_srli_epi16(x, 1), _mm512_set1_epi8(0x7f));
    const __m512i half_of_three = _mm512_add_epi8(x, half);
    return (struct digits){_mm512_xor_si512(half_of_three, half),
                           _mm512_andnot_si512(half_of_three, half), negative};
}

BP_INLINE __mmask64 digit_is_set(const struct digits *d, size_t w) {
    return _mm512_test_epi8_mask(d->set, _mm512_set1_epi8((char)(1 << w)));
}

/* Of digits that are set: which are negative. */
BP_INLINE __mmask64 digit_is_minus(const struct digits *d, size_t weights, size_t w) {
    return weights != BP_NONZERO_FORM
               ? d->negative
               : d->negative ^ _mm512_test_epi8_mask(d->less, _mm512_set1_epi8((char)(1 << w)));
}

/* --- of columns ------------------------------------------------------------------------------- */

#define ROWS    ((size_t)64)
#define COLUMNS ((size_t)16)

/* Where the rows of a block are. */
struct places {
    __m512i at[2];
};

BP_INLINE __m512i places_of(const struct places *places, __m256i rows) {
    return _mm512_permutex2var_epi16(places->at[0], _mm512_cvtepu8_epi16(rows), places->at[1]);
}

/* The rows of a mask to a list. */
BP_INLINE void append(const struct places *places, __mmask64 mask, uint16_t *to, int32_t *count) {
    const int n = (int)_mm_popcnt_u64(mask);
    const __m512i rows = _mm512_maskz_compress_epi8(mask, numbers_64());
    to += *count;
    *count += n;
    _mm512_storeu_si512(to, places_of(places, _mm512_castsi512_si256(rows)));
    if (n > 32)
        _mm512_storeu_si512(to + 32, places_of(places, _mm512_extracti64x4_epi64(rows, 1)));
}

/* The codes of a column, to its lists. Of up to 4 bits most are 1 or -1. */
BP_INLINE void list_column(const struct places *places, __m512i codes, size_t weights, uint16_t *to,
                           size_t capacity, int32_t *count) {
    const struct digits d = digits_of(codes, weights);
    const __mmask64 more = _mm512_cmpgt_epu8_mask(d.set, _mm512_set1_epi8(1));
    const size_t lists = 2 * (more != 0 ? weights : 1);
    for (size_t l = 0; l < lists; l += 2) {
        const __mmask64 set = digit_is_set(&d, l / 2), minus = digit_is_minus(&d, weights, l / 2);
        append(places, set & ~minus, to + l * capacity, count + l);
        append(places, set & minus, to + (l + 1) * capacity, count + l + 1);
    }
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

BP_INLINE void list_columns(const uint8_t *codes, size_t n, size_t step, size_t k, size_t weights,
                            const uint16_t *at, uint16_t *to, size_t capacity, int32_t *count) {
    const size_t share = (ROWS + k - 1) / k;
    for (size_t p = 0; p < n; p += ROWS, codes += ROWS * step) {
        size_t rows = bp_min_size(n - p, ROWS);
        const struct places places = {
            {_mm512_maskz_loadu_epi16(mask_32(rows), at + p),
             _mm512_maskz_loadu_epi16(rows > 32 ? mask_32(rows - 32) : 0, at + p + 32)}};
        for (size_t j = 0; j < k; j += COLUMNS) {
            size_t columns = bp_min_size(k - j, COLUMNS);
            __m512i column[16];
            if (rows == ROWS && columns == COLUMNS)
                load_columns(codes + j, step, 1, ROWS, 0xffff, column);
            else
                load_columns(codes + j, step, 0, rows, mask_16(columns), column);
            for (size_t i = 0; i < columns; i++) {
                size_t list = (j + i) * 2 * weights;
                list_column(&places, column[i], weights, to + list * capacity, capacity,
                            count + list);
                fetch_next_rows(codes, step, j + i, share);
            }
        }
    }
}

/* The two numbers of weights that are used, as constants. */
void bp_list_nonzero_avx512(const uint8_t *codes, size_t n, size_t step, size_t k, size_t weights,
                            const uint16_t *at, uint16_t *to, size_t capacity, int32_t *count) {
    if (weights == BP_NONZERO_WEIGHTS)
        list_columns(codes, n, step, k, BP_NONZERO_WEIGHTS, at, to, capacity, count);
    else if (weights == BP_NONZERO_FORM)
        list_columns(codes, n, step, k, BP_NONZERO_FORM, at, to, capacity, count);
    else
        list_columns(codes, n, step, k, weights, at, to, capacity, count);
}

/* --- of pixels -------------------------------------------------------------------------------- */

_Static_assert(BP_ROW_MINUS == SIGN, "rows of negatives are so far away");

/* Appends the bytes of `codes` that a mask has, as 16 bits, `first` added. */
BP_INLINE uint16_t *append_numbers(uint16_t *to, __m512i numbers, __mmask64 which, __m512i first) {
    const size_t n = (size_t)_mm_popcnt_u64(which);
    const __m512i some = _mm512_maskz_compress_epi8(which, numbers);
    const __m512i low = _mm512_cvtepu8_epi16(_mm512_castsi512_si256(some));
    _mm512_storeu_si512(to, _mm512_add_epi16(low, first));
    if (n > 32) {
        const __m512i high = _mm512_cvtepu8_epi16(_mm512_extracti64x4_epi64(some, 1));
        _mm512_storeu_si512(to + 32, _mm512_add_epi16(high, first));
    }
    return to + n;
}

BP_INLINE void list_pixels(const uint8_t *codes, size_t n, size_t k, size_t weights, size_t first,
                           size_t step, uint16_t *to, size_t room, size_t *count, int32_t *total) {
    const __m512i numbers = numbers_64();
    uint16_t *end[BP_ROW_WEIGHTS];
    for (size_t w = 0; w < weights; w++)
        end[w] = to + w * room;
    for (size_t p = 0; p < n; p++, codes += k, first += step) {
        __m512i sum = _mm512_setzero_si512();
        for (size_t j = 0; j < k; j += 64) {
            const __m512i v = _mm512_maskz_loadu_epi8(mask_64(k - j), codes + j);
            const struct digits d = digits_of(v, weights);
            const __m512i from = _mm512_set1_epi16((short)(first + 2 * j));
            _mm_prefetch((const char *)(codes + j + 4096), _MM_HINT_T0);
            sum = _mm512_add_epi64(sum, _mm512_sad_epu8(d.set, _mm512_setzero_si512()));
            for (size_t w = 0; w < weights; w++) {
                const __m512i signed_numbers = _mm512_mask_add_epi8(
                    numbers, digit_is_minus(&d, weights, w), numbers, _mm512_set1_epi8(SIGN));
                end[w] = append_numbers(end[w], signed_numbers, digit_is_set(&d, w), from);
            }
        }
        total[p] = (int32_t)_mm512_reduce_add_epi64(sum);
    }
    for (size_t w = 0; w < weights; w++)
        count[w] = (size_t)(end[w] - (to + w * room));
}

void bp_list_row_avx512(const uint8_t *codes, size_t n, size_t k, size_t weights, size_t first,
                        size_t step, uint16_t *to, size_t room, size_t *count, int32_t *total) {
    if (weights == BP_NONZERO_WEIGHTS)
        list_pixels(codes, n, k, BP_NONZERO_WEIGHTS, first, step, to, room, count, total);
    else if (weights == BP_NONZERO_FORM)
        list_pixels(codes, n, k, BP_NONZERO_FORM, first, step, to, room, count, total);
    else
        list_pixels(codes, n, k, weights, first, step, to, room, count, total);
}

void bp_join_rows_avx512(const struct bp_row_lists *lists, size_t n, size_t weights, uint16_t none,
                         uint16_t *to, size_t room, size_t *count) {
    for (size_t w = 0; w < weights; w++, to += room) {
        uint16_t *end = to;
        for (size_t i = 0; i < n; i++) {
            const uint16_t *from = lists[i].at + w * lists[i].room;
            const size_t length = lists[i].count[w];
            const __m512i first = _mm512_set1_epi16((short)lists[i].first);
            for (size_t j = 0; j == 0 || j < length; j += 64) {
                __m512i a = _mm512_loadu_si512(from + j), b = _mm512_loadu_si512(from + j + 32);
                _mm512_storeu_si512(end + j, _mm512_add_epi16(a, first));
                _mm512_storeu_si512(end + j + 32, _mm512_add_epi16(b, first));
            }
            end += length;
        }
        _mm512_storeu_si512(end, _mm512_set1_epi16((short)none));
        count[w] = bp_round_up((size_t)(end - to), BP_ROW_BLOCK);
    }
}
