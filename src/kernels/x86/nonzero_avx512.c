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
#define VEC_STORE(p, v)             _mm512_storeu_si512(p, v)
#define VEC_ZERO()                  _mm512_setzero_si512()
#define VEC_FLIP(a)                 _mm512_ternarylogic_epi64(a, a, a, 0x0f)
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
#undef VEC_STORE
#undef VEC_ZERO
#undef VEC_FLIP
#undef VEC_SUM
#undef VEC_NO_SUM
#undef VEC_CARRY
#undef VEC_NO_CARRY
#undef VEC_CARRY_NOT_LAST

#define COUNT(name)                 name##_256
#define VEC                         __m256i
#define VEC_WORDS                   4
#define VEC_LOAD(p, n)              load_256_words(p, n)
#define VEC_STORE(p, v)             _mm256_storeu_si256((__m256i *)(void *)(p), v)
#define VEC_ZERO()                  _mm256_setzero_si256()
#define VEC_FLIP(a)                 _mm256_ternarylogic_epi64(a, a, a, 0x0f)
#define VEC_SUM(a, b, c)            _mm256_ternarylogic_epi64(a, b, c, SUM)
#define VEC_NO_SUM(a, b, c)         _mm256_ternarylogic_epi64(a, b, c, SUM ^ 0xff)
#define VEC_CARRY(a, b, c)          _mm256_ternarylogic_epi64(a, b, c, CARRY)
#define VEC_NO_CARRY(a, b, c)       _mm256_ternarylogic_epi64(a, b, c, CARRY ^ 0xff)
#define VEC_CARRY_NOT_LAST(a, b, c) _mm256_ternarylogic_epi64(a, b, c, CARRY_NOT_LAST)
#include "kernels/count_rows.inc"

/* --- from planes to sums ---------------------------------------------------------------------- */

/* Swaps the bits of `mask` with those `by` places above. */
BP_INLINE __m512i swap_bits(__m512i v, int by, long long mask) {
    __m512i changed = _mm512_and_si512(_mm512_xor_si512(v, _mm512_srli_epi64(v, (unsigned)by)),
                                       _mm512_set1_epi64(mask));
    return _mm512_xor_si512(_mm512_xor_si512(v, changed), _mm512_slli_epi64(changed, (unsigned)by));
}

/* A word of 8 planes, those of 0, 1, 4, 5, 2, 3, 6, 7: byte j = bits j of the planes in order. */
BP_INLINE __m512i bytes_of_lanes(__m512i words) {
    const __m512i bytes = /* byte 8 j + i = byte j of plane i */
        _mm512_set_epi64(0x3f372f271f170f07, 0x3e362e261e160e06, 0x3d352d251d150d05,
                         0x3c342c241c140c04, 0x3b332b231b130b03, 0x3a322a221a120a02,
                         0x3931292119110901, 0x3830282018100800);
    const __m512i order = _mm512_setr_epi64(0, 1, 4, 5, 2, 3, 6, 7);
    __m512i v = _mm512_permutexvar_epi8(bytes, _mm512_permutexvar_epi64(order, words));
    v = swap_bits(v, 7, 0x00aa00aa00aa00aa);
    v = swap_bits(v, 14, 0x0000cccc0000cccc);
    return swap_bits(v, 28, 0x00000000f0f0f0f0);
}

/* Four words of 8 planes, `pitch` words apart: bytes[i] = the lanes of word i. */
BP_INLINE void bytes_of_words(const uint64_t *plane, size_t pitch, __m512i bytes[4]) {
    __m512i v[4], low[2], high[2];
    for (size_t i = 0; i < 4; i++) {
        const __m256i *a = (const __m256i *)(const void *)(plane + i * pitch);
        const __m256i *b = (const __m256i *)(const void *)(plane + (i + 4) * pitch);
        v[i] = _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256(a)),
                                  _mm256_loadu_si256(b), 1);
    }
    for (size_t i = 0; i < 2; i++) { /* words 0 and 2, 1 and 3, of planes 2 i, 2 i + 1 */
        low[i] = _mm512_unpacklo_epi64(v[2 * i], v[2 * i + 1]);
        high[i] = _mm512_unpackhi_epi64(v[2 * i], v[2 * i + 1]);
    }
    bytes[0] = bytes_of_lanes(_mm512_shuffle_i64x2(low[0], low[1], 0x88));
    bytes[1] = bytes_of_lanes(_mm512_shuffle_i64x2(high[0], high[1], 0x88));
    bytes[2] = bytes_of_lanes(_mm512_shuffle_i64x2(low[0], low[1], 0xdd));
    bytes[3] = bytes_of_lanes(_mm512_shuffle_i64x2(high[0], high[1], 0xdd));
}

/* y[j] += most - 2 * (low[j] + 256 * high[j]), 64 lanes. */
BP_INLINE void add_lanes(__m512i low, __m512i high, int with_high, int32_t most, int32_t *y) {
    uint8_t bytes[2][64];
    _mm512_storeu_si512(bytes[0], low);
    if (with_high)
        _mm512_storeu_si512(bytes[1], high);
    for (size_t j = 0; j < 64; j += 16) {
        __m512i count = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)&bytes[0][j]));
        if (with_high) {
            __m512i above = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)&bytes[1][j]));
            count = _mm512_add_epi32(count, _mm512_slli_epi32(above, 8));
        }
        __m512i sum = _mm512_add_epi32(_mm512_loadu_si512(y + j), _mm512_set1_epi32(most));
        _mm512_storeu_si512(y + j, _mm512_sub_epi32(sum, _mm512_slli_epi32(count, 1)));
    }
}

/* Up to four words. */
BP_INLINE void add_words(const uint64_t *plane, size_t pitch, size_t words, size_t levels,
                         int32_t most, int32_t *y) {
    __m512i low[4], high[4];
    bytes_of_words(plane, pitch, low);
    if (levels > 8)
        bytes_of_words(plane + 8 * pitch, pitch, high);
    for (size_t i = 0; i < words; i++, y += 64) {
        if (levels > 8)
            add_lanes(low[i], high[i], 1, most, y);
        else
            add_lanes(low[i], low[i], 0, most, y);
    }
}

/* Clears the planes behind those of the counts, up to whole eights. */
BP_INLINE void clear_rest(uint64_t *plane, size_t pitch, size_t levels) {
    for (size_t i = levels * pitch; i < (levels > 8 ? 16 : 8) * pitch; i += 4)
        _mm256_storeu_si256((__m256i *)(void *)(plane + i), _mm256_setzero_si256());
}

static void add_512(const uint64_t *x, const struct bp_nonzeros *of, size_t words, size_t most,
                    int32_t *y) {
    uint64_t plane[COUNT_LEVELS * 8] __attribute__((aligned(64)));
    const size_t levels = count_levels(most);
    clear_rest(plane, 8, levels);
    if (words == 8) /* loads without a mask */
        count_rows_512(x, of, 8, levels, plane);
    else
        count_rows_512(x, of, words, levels, plane);
    add_words(plane, 8, 4, levels, (int32_t)most, y);
    add_words(plane + 4, 8, words - 4, levels, (int32_t)most, y + 256);
}

static void add_256(const uint64_t *x, const struct bp_nonzeros *of, size_t words, size_t most,
                    int32_t *y) {
    uint64_t plane[COUNT_LEVELS * 4] __attribute__((aligned(64)));
    const size_t levels = count_levels(most);
    clear_rest(plane, 4, levels);
    if (words == 4)
        count_rows_256(x, of, 4, levels, plane);
    else
        count_rows_256(x, of, words, levels, plane);
    add_words(plane, 4, words, levels, (int32_t)most, y);
}

void bp_product_nonzero_avx512(const uint64_t *x, const struct bp_nonzeros *of, size_t words,
                               int32_t *y) {
    const size_t most = count_most(of);
    for (; words > 4; words -= words < 8 ? words : 8, x += 8, y += 512)
        add_512(x, of, words < 8 ? words : 8, most, y);
    if (words > 0)
        add_256(x, of, words, most, y);
}
