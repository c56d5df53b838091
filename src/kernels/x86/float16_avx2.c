/* bfloat16 and halves, AVX2. */
#include "kernels/x86/tier_avx2.h"

#include "kernels/x86/vec_avx2.h"

void bp_round_bf16_avx2(const float *x, size_t n, uint16_t *out) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        store_u16(out + i, 1, 8, rounded(load_ps(x + i, 1, 8)));
    if (i < n)
        store_u16(out + i, 0, n - i, rounded(load_ps(x + i, 0, n - i)));
}

/* What is stored, and what it is as floats. */
BP_INLINE void settle_8(float *x, int full, size_t rest, uint16_t *out) {
    __m128i narrow = halved(load_ps(x, full, rest));
    store_u16(out, full, rest, narrow);
    store_ps(x, full, rest, of_halves(narrow));
}

void bp_settle_f16_avx2(float *x, size_t n, uint16_t *out) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        settle_8(x + i, 1, 8, out + i);
    if (i < n)
        settle_8(x + i, 0, n - i, out + i);
}

BP_INLINE void widen(const uint16_t *x, enum value_type type, size_t n, float *out) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        store_ps(out + i, 1, 8, load_y(x, i, type, 1, 8));
    if (i < n)
        store_ps(out + i, 0, n - i, load_y(x, i, type, 0, n - i));
}

void bp_widen_bf16_avx2(const uint16_t *x, size_t n, float *out) {
    widen(x, VALUE_BF16, n, out);
}

void bp_widen_f16_avx2(const uint16_t *x, size_t n, float *out) {
    widen(x, VALUE_F16, n, out);
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
    store_u16(z, full, rest, rounded(_mm256_mul_ps(sum, scale)));
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
