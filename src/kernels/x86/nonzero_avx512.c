/* The product that leaves out zeros, AVX-512: vpternlogq adds three bits in two instructions.
 * Vectors of 512 bits, and of 256 for up to 4 words, as those cost half. */
#include "kernels/x86/tier_avx512.h"

#include "kernels/x86/vec_avx512.h"

/* vpternlogq's tables of results: bit 4 a + 2 b + c. */
#define SUM            0x96
#define CARRY          0xe8
#define CARRY_NOT_LAST 0xd4

BP_INLINE __m512i load_512(const uint64_t *p, size_t words) {
    return words == 8 ? _mm512_loadu_si512(p) : _mm512_maskz_loadu_epi64(mask_8(words), p);
}

BP_INLINE __m256i load_256_words(const uint64_t *p, size_t words) {
    return words == 4 ? _mm256_loadu_si256((const __m256i *)(const void *)p)
                      : _mm256_maskz_loadu_epi64(mask_8(words), p);
}

#define COUNT(name)                 name##_512
#define VEC                         __m512i
#define VEC_WORDS                   8
#define VEC_LOAD(p, n)              load_512(p, n)
#define VEC_ZERO()                  _mm512_setzero_si512()
#define VEC_FLIP(a)                 _mm512_ternarylogic_epi64(a, a, a, 0x0f)
#define VEC_AND(a, b)               _mm512_and_si512(a, b)
#define VEC_XOR(a, b)               _mm512_xor_si512(a, b)
#define VEC_SUM(a, b, c)            _mm512_ternarylogic_epi64(a, b, c, SUM)
#define VEC_NO_SUM(a, b, c)         _mm512_ternarylogic_epi64(a, b, c, SUM ^ 0xff)
#define VEC_CARRY(a, b, c)          _mm512_ternarylogic_epi64(a, b, c, CARRY)
#define VEC_NO_CARRY(a, b, c)       _mm512_ternarylogic_epi64(a, b, c, CARRY ^ 0xff)
#define VEC_CARRY_NOT_LAST(a, b, c) _mm512_ternarylogic_epi64(a, b, c, CARRY_NOT_LAST)
#include "kernels/count_rows.inc"
#undef COUNT
#undef VEC
#undef VEC_WORDS
#undef VEC_LOAD
#undef VEC_ZERO
#undef VEC_FLIP
#undef VEC_AND
#undef VEC_XOR
#undef VEC_SUM
#undef VEC_NO_SUM
#undef VEC_CARRY
#undef VEC_NO_CARRY
#undef VEC_CARRY_NOT_LAST

#define COUNT(name)                 name##_256
#define VEC                         __m256i
#define VEC_WORDS                   4
#define VEC_LOAD(p, n)              load_256_words(p, n)
#define VEC_ZERO()                  _mm256_setzero_si256()
#define VEC_FLIP(a)                 _mm256_ternarylogic_epi64(a, a, a, 0x0f)
#define VEC_AND(a, b)               _mm256_and_si256(a, b)
#define VEC_XOR(a, b)               _mm256_xor_si256(a, b)
#define VEC_SUM(a, b, c)            _mm256_ternarylogic_epi64(a, b, c, SUM)
#define VEC_NO_SUM(a, b, c)         _mm256_ternarylogic_epi64(a, b, c, SUM ^ 0xff)
#define VEC_CARRY(a, b, c)          _mm256_ternarylogic_epi64(a, b, c, CARRY)
#define VEC_NO_CARRY(a, b, c)       _mm256_ternarylogic_epi64(a, b, c, CARRY ^ 0xff)
#define VEC_CARRY_NOT_LAST(a, b, c) _mm256_ternarylogic_epi64(a, b, c, CARRY_NOT_LAST)
#include "kernels/count_rows.inc"

/* --- from planes to sums ---------------------------------------------------------------------- */

/* A word of 8 planes, those of 0, 1, 4, 5, 2, 3, 6, 7: byte j = bits j of the planes in order. */
BP_INLINE __m512i bytes_of_lanes(__m512i words) {
    const __m512i order = _mm512_setr_epi64(0, 1, 4, 5, 2, 3, 6, 7);
    return bits_of_lanes(_mm512_permutexvar_epi64(order, words));
}

/* Four words of 8 planes, v[i] those of planes i and i + 4: bytes[i] = the lanes of word i. */
BP_INLINE void bytes_of_words(const __m512i v[4], __m512i bytes[4]) {
    __m512i low[2], high[2];
    for (size_t i = 0; i < 2; i++) { /* words 0 and 2, 1 and 3, of planes 2 i, 2 i + 1 */
        low[i] = _mm512_unpacklo_epi64(v[2 * i], v[2 * i + 1]);
        high[i] = _mm512_unpackhi_epi64(v[2 * i], v[2 * i + 1]);
    }
    bytes[0] = bytes_of_lanes(_mm512_shuffle_i64x2(low[0], low[1], 0x88));
    bytes[1] = bytes_of_lanes(_mm512_shuffle_i64x2(high[0], high[1], 0x88));
    bytes[2] = bytes_of_lanes(_mm512_shuffle_i64x2(low[0], low[1], 0xdd));
    bytes[3] = bytes_of_lanes(_mm512_shuffle_i64x2(high[0], high[1], 0xdd));
}

/* Four of the words of 8 planes, `half` 0 the lower ones. */
BP_INLINE void bytes_512(const __m512i plane[8], int half, __m512i bytes[4]) {
    __m512i v[4];
    for (size_t i = 0; i < 4; i++)
        v[i] = half == 0 ? _mm512_inserti64x4(plane[i], _mm512_castsi512_si256(plane[i + 4]), 1)
                         : _mm512_shuffle_i64x2(plane[i], plane[i + 4], 0xee);
    bytes_of_words(v, bytes);
}

BP_INLINE void bytes_256(const __m256i plane[8], __m512i bytes[4]) {
    __m512i v[4];
    for (size_t i = 0; i < 4; i++)
        v[i] = _mm512_inserti64x4(_mm512_castsi256_si512(plane[i]), plane[i + 4], 1);
    bytes_of_words(v, bytes);
}

/* y[j] = from[j] + total - 2 * (low[j] + 256 * high[j]), 64 lanes; from NULL: zeros. */
BP_INLINE void finish_lanes(__m512i low, __m512i high, int with_high, int32_t total,
                            const int32_t *from, int32_t *y) {
    for (size_t j = 0; j < 64; j += 16) {
        __m512i count = _mm512_cvtepu8_epi32(_mm512_castsi512_si128(low));
        __m512i sum = _mm512_set1_epi32(total);
        if (with_high) {
            __m512i above = _mm512_cvtepu8_epi32(_mm512_castsi512_si128(high));
            count = _mm512_add_epi32(count, _mm512_slli_epi32(above, 8));
        }
        if (from != NULL)
            sum = _mm512_add_epi32(sum, _mm512_loadu_si512(from + j));
        _mm512_storeu_si512(y + j, _mm512_sub_epi32(sum, _mm512_slli_epi32(count, 1)));
        low = _mm512_shuffle_i64x2(low, low, 0x39); /* the next 16 */
        high = _mm512_shuffle_i64x2(high, high, 0x39);
    }
}

/* Up to four words. */
BP_INLINE void finish_words(const __m512i low[4], const __m512i high[4], size_t words,
                            int with_high, int32_t total, const int32_t *from, int32_t *y) {
    for (size_t i = 0; i < words; i++) {
        const int32_t *here = from != NULL ? from + 64 * i : NULL;
        if (with_high)
            finish_lanes(low[i], high[i], 1, total, here, y + 64 * i);
        else
            finish_lanes(low[i], low[i], 0, total, here, y + 64 * i);
    }
}

/* 5 .. 8 words. */
static void finish_512(const struct counter_512 *c, size_t words, int32_t total,
                       const int32_t *from, int32_t *y) {
    const int with_high = c->levels > 8;
    __m512i low[4], high[4];
    for (int half = 0; half < 2; half++) {
        bytes_512(c->plane, half, low);
        if (with_high)
            bytes_512(c->plane + 8, half, high);
        finish_words(low, high, half == 0 ? 4 : words - 4, with_high, total, from, y);
        from = from != NULL ? from + 256 : NULL;
        y += 256;
    }
}

/* 1 .. 4 words. */
static void finish_256(const struct counter_256 *c, size_t words, int32_t total,
                       const int32_t *from, int32_t *y) {
    const int with_high = c->levels > 8;
    __m512i low[4], high[4];
    bytes_256(c->plane, low);
    if (with_high)
        bytes_256(c->plane + 8, high);
    finish_words(low, high, words, with_high, total, from, y);
}

/* --- products --------------------------------------------------------------------------------- */

static void nonzero_512(const uint64_t *x, const struct bp_nonzeros *of, size_t words, size_t most,
                        int32_t *y) {
    struct counter_512 c;
    if (words == 8) /* loads without a mask */
        count_rows_512(&c, x, of, 8, count_levels(most));
    else
        count_rows_512(&c, x, of, words, count_levels(most));
    finish_512(&c, words, (int32_t)most, y, y);
}

static void nonzero_256(const uint64_t *x, const struct bp_nonzeros *of, size_t words, size_t most,
                        int32_t *y) {
    struct counter_256 c;
    if (words == 4)
        count_rows_256(&c, x, of, 4, count_levels(most));
    else
        count_rows_256(&c, x, of, words, count_levels(most));
    finish_256(&c, words, (int32_t)most, y, y);
}

void bp_product_nonzero_avx512(const uint64_t *x, const struct bp_nonzeros *of, size_t words,
                               int32_t *y) {
    const size_t most = count_most(of);
    for (; words > 4; words -= words < 8 ? words : 8, x += 8, y += 512)
        nonzero_512(x, of, words < 8 ? words : 8, most, y);
    if (words > 0)
        nonzero_256(x, of, words, most, y);
}

static void rows_512(const struct bp_row_segment *of, size_t segments, size_t first, size_t words,
                     int32_t total, int32_t *y) {
    struct counter_512 c;
    if (words == 8)
        count_segments_512(&c, of, segments, first, 8, count_levels((size_t)total));
    else
        count_segments_512(&c, of, segments, first, words, count_levels((size_t)total));
    finish_512(&c, words, total, NULL, y);
}

static void rows_256(const struct bp_row_segment *of, size_t segments, size_t first, size_t words,
                     int32_t total, int32_t *y) {
    struct counter_256 c;
    if (words == 4)
        count_segments_256(&c, of, segments, first, 4, count_levels((size_t)total));
    else
        count_segments_256(&c, of, segments, first, words, count_levels((size_t)total));
    finish_256(&c, words, total, NULL, y);
}

void bp_product_rows_avx512(const struct bp_row_segment *of, size_t segments, size_t words,
                            int32_t total, int32_t *y) {
    size_t first = 0;
    for (; words - first > 4; first += words - first < 8 ? words - first : 8)
        rows_512(of, segments, first, words - first < 8 ? words - first : 8, total, y + 64 * first);
    if (words > first)
        rows_256(of, segments, first, words - first, total, y + 64 * first);
}
