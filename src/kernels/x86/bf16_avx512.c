/* bfloat16, AVX-512. Integers round: the instruction made for it takes tiny numbers for zero, and
 * is not in this tier. */
#include "kernels/x86/tier_avx512.h"

#include "kernels/x86/vec_avx512.h"

BP_INLINE __m256i rounded(__m512 v) {
    const __m512i half = _mm512_set1_epi32(0x7fff), one = _mm512_set1_epi32(1);
    __m512i bits = _mm512_castps_si512(v), upper = _mm512_srli_epi32(bits, 16);
    __m512i up = _mm512_add_epi32(_mm512_add_epi32(bits, half), _mm512_and_si512(upper, one));
    __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    up = _mm512_srli_epi32(up, 16);
    return _mm512_cvtepi32_epi16(_mm512_mask_or_epi32(up, nan, upper, _mm512_set1_epi32(0x40)));
}

BP_INLINE void store_bf16(uint16_t *p, __mmask16 m, __m256i v) {
    if (m == 0xffff)
        _mm256_storeu_si256((__m256i *)(void *)p, v);
    else
        _mm256_mask_storeu_epi16(p, m, v);
}

void bp_round_bf16_avx512(const float *x, size_t n, uint16_t *out) {
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        store_bf16(out + i, 0xffff, rounded(load_f32(x + i, 0xffff)));
    if (i < n)
        store_bf16(out + i, mask_16(n - i), rounded(load_f32(x + i, mask_16(n - i))));
}

/* 16 channels of one window; rows and columns are constants where it matters. */
BP_INLINE void average_16(const float *x, size_t rows, size_t columns, size_t row_step, size_t c,
                          __mmask16 m, uint16_t *z) {
    __m512 sum = load_f32(x, m);
    if (columns == 2)
        sum = _mm512_add_ps(sum, load_f32(x + c, m));
    if (rows == 2)
        sum = _mm512_add_ps(sum, load_f32(x + row_step, m));
    if (rows == 2 && columns == 2)
        sum = _mm512_add_ps(sum, load_f32(x + row_step + c, m));
    const __m512 scale = _mm512_set1_ps(1.0f / (float)(rows * columns));
    store_bf16(z, m, rounded(_mm512_mul_ps(sum, scale)));
}

BP_INLINE void average(const float *x, size_t n, size_t step, size_t rows, size_t columns,
                       size_t row_step, size_t c, uint16_t *z) {
    for (size_t p = 0; p < n; p++, x += step, z += c) {
        size_t j = 0;
        for (; j + 16 <= c; j += 16)
            average_16(x + j, rows, columns, row_step, c, 0xffff, z + j);
        if (j < c)
            average_16(x + j, rows, columns, row_step, c, mask_16(c - j), z + j);
    }
}

void bp_average_bf16_avx512(const float *x, size_t n, size_t step, size_t rows, size_t columns,
                            size_t row_step, size_t c, uint16_t *z) {
    if (rows == 2 && columns == 2)
        average(x, n, step, 2, 2, row_step, c, z);
    else
        average(x, n, step, rows, columns, row_step, c, z);
}
