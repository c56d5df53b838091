/* bfloat16 and halves, AVX-512. */
#include "kernels/x86/tier_avx512.h"

#include "kernels/x86/fetch_x86.h"
#include "kernels/x86/vec_avx512.h"

void bp_round_bf16_avx512(const float *x, size_t n, uint16_t *out) {
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        store_u16(out + i, 0xffff, rounded(load_f32(x + i, 0xffff)));
    if (i < n)
        store_u16(out + i, mask_16(n - i), rounded(load_f32(x + i, mask_16(n - i))));
}

/* What is stored, and what it is as floats. */
BP_INLINE void settle_16(float *x, __mmask16 m, uint16_t *out) {
    __m256i narrow = halved(load_f32(x, m));
    store_u16(out, m, narrow);
    store_f32(x, m, of_halves(narrow));
}

void bp_settle_f16_avx512(float *x, size_t n, uint16_t *out) {
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        settle_16(x + i, 0xffff, out + i);
    if (i < n)
        settle_16(x + i, mask_16(n - i), out + i);
}

BP_INLINE void widen(const uint16_t *x, enum value_type type, size_t n, float *out) {
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        store_f32(out + i, 0xffff, load_y(x, i, type, 0xffff));
        fetch_elements_behind(x, type, n, i, 16);
    }
    if (i < n)
        store_f32(out + i, mask_16(n - i), load_y(x, i, type, mask_16(n - i)));
}

void bp_widen_bf16_avx512(const uint16_t *x, size_t n, float *out) {
    widen(x, VALUE_BF16, n, out);
}

void bp_widen_f16_avx512(const uint16_t *x, size_t n, float *out) {
    widen(x, VALUE_F16, n, out);
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
    store_u16(z, m, rounded(_mm512_mul_ps(sum, scale)));
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
