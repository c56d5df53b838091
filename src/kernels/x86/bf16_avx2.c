/* bfloat16, AVX2. */
#include "kernels/x86/tier_avx2.h"

#include "kernels/x86/vec_avx2.h"

BP_INLINE __m128i rounded(__m256 v) {
    const __m256i half = _mm256_set1_epi32(0x7fff), one = _mm256_set1_epi32(1);
    __m256i bits = _mm256_castps_si256(v), upper = _mm256_srli_epi32(bits, 16);
    __m256i up = _mm256_add_epi32(_mm256_add_epi32(bits, half), _mm256_and_si256(upper, one));
    __m256i quiet = _mm256_or_si256(upper, _mm256_set1_epi32(0x40));
    __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    up = _mm256_blendv_epi8(_mm256_srli_epi32(up, 16), quiet, nan);
    return _mm_packus_epi32(_mm256_castsi256_si128(up), _mm256_extracti128_si256(up, 1));
}

BP_INLINE void store_bf16(uint16_t *p, int full, size_t rest, __m128i v) {
    if (full) {
        _mm_storeu_si128((__m128i *)(void *)p, v);
        return;
    }
    uint16_t part[8];
    _mm_storeu_si128((__m128i *)(void *)part, v);
    memcpy(p, part, rest * sizeof *p);
}

void bp_round_bf16_avx2(const float *x, size_t n, uint16_t *out) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        store_bf16(out + i, 1, 8, rounded(load_ps(x + i, 1, 8)));
    if (i < n)
        store_bf16(out + i, 0, n - i, rounded(load_ps(x + i, 0, n - i)));
}

/* 8 channels of one window; rows and columns are constants where it matters. */
BP_INLINE void average_8(const float *x, size_t rows, size_t columns, size_t row_step, size_t c,
                         int full, size_t rest, uint16_t *z) {
    __m256 sum = load_ps(x, full, rest);
    if (columns == 2)
        sum = _mm256_add_ps(sum, load_ps(x + c, full, rest));
    if (rows == 2)
        sum = _mm256_add_ps(sum, load_ps(x + row_step, full, rest));
    if (rows == 2 && columns == 2)
        sum = _mm256_add_ps(sum, load_ps(x + row_step + c, full, rest));
    const __m256 scale = _mm256_set1_ps(1.0f / (float)(rows * columns));
    store_bf16(z, full, rest, rounded(_mm256_mul_ps(sum, scale)));
}

BP_INLINE void average(const float *x, size_t n, size_t step, size_t rows, size_t columns,
                       size_t row_step, size_t c, uint16_t *z) {
    for (size_t p = 0; p < n; p++, x += step, z += c) {
        size_t j = 0;
        for (; j + 8 <= c; j += 8)
            average_8(x + j, rows, columns, row_step, c, 1, 8, z + j);
        if (j < c)
            average_8(x + j, rows, columns, row_step, c, 0, c - j, z + j);
    }
}

void bp_average_bf16_avx2(const float *x, size_t n, size_t step, size_t rows, size_t columns,
                          size_t row_step, size_t c, uint16_t *z) {
    if (rows == 2 && columns == 2)
        average(x, n, step, 2, 2, row_step, c, z);
    else
        average(x, n, step, rows, columns, row_step, c, z);
}
