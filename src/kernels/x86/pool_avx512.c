/* 2x2 max pooling and its reverse, AVX-512. */
#include "kernels/x86/tier_avx512.h"

#include "base/bits.h"
#include "kernels/x86/gradient_avx512.h"
#include "kernels/x86/vec_avx512.h"

/* 16 channels of one output pixel; returns the winner's two bits of each. */
BP_INLINE void pool_16(const float *upper, const float *lower, size_t c, __mmask16 m, float *z,
                       unsigned *low, unsigned *high) {
    __m512 best = _mm512_maskz_loadu_ps(m, upper);
    __m512 v1 = _mm512_maskz_loadu_ps(m, upper + c);
    __m512 v2 = _mm512_maskz_loadu_ps(m, lower);
    __m512 v3 = _mm512_maskz_loadu_ps(m, lower + c);
    unsigned w1 = beats(v1, best);
    best = _mm512_mask_mov_ps(best, (__mmask16)w1, v1);
    unsigned w2 = beats(v2, best);
    best = _mm512_mask_mov_ps(best, (__mmask16)w2, v2);
    unsigned w3 = beats(v3, best);
    best = _mm512_mask_mov_ps(best, (__mmask16)w3, v3);
    if (m == 0xffff)
        _mm512_storeu_ps(z, best);
    else
        _mm512_mask_storeu_ps(z, m, best);
    *low = (w1 & ~w2) | w3;
    *high = w2 | w3;
}

void bp_max_pool_2x2_avx512(const float *a, const float *b, size_t n, size_t c, float *z,
                            uint64_t *which) {
    size_t cw = bp_words(c);
    for (size_t p = 0; p < n; p++, a += 2 * c, b += 2 * c, z += c)
        for (size_t w = 0; w < cw; w++) {
            uint64_t low_word = 0, high_word = 0;
            size_t end = bp_min_size(c, 64 * w + 64);
            for (size_t j = 64 * w; j < end; j += 16) {
                unsigned low, high;
                if (end - j >= 16)
                    pool_16(a + j, b + j, c, 0xffff, z + j, &low, &high);
                else
                    pool_16(a + j, b + j, c, mask_16(end - j), z + j, &low, &high);
                low_word |= (uint64_t)low << j % 64;
                high_word |= (uint64_t)high << j % 64;
            }
            if (which != NULL) {
                which[p * 2 * cw + w] = low_word;
                which[p * 2 * cw + cw + w] = high_word;
            }
        }
}

BP_INLINE void unpool_16(__m512 v, unsigned low, unsigned high, size_t c, __mmask16 m, float *upper,
                         float *lower) {
    __m512 v0 = _mm512_maskz_mov_ps((__mmask16)(~low & ~high), v);
    __m512 v1 = _mm512_maskz_mov_ps((__mmask16)(low & ~high), v);
    __m512 v2 = _mm512_maskz_mov_ps((__mmask16)(~low & high), v);
    __m512 v3 = _mm512_maskz_mov_ps((__mmask16)(low & high), v);
    if (m == 0xffff) {
        _mm512_storeu_ps(upper, v0);
        _mm512_storeu_ps(upper + c, v1);
        _mm512_storeu_ps(lower, v2);
        _mm512_storeu_ps(lower + c, v3);
    } else {
        _mm512_mask_storeu_ps(upper, m, v0);
        _mm512_mask_storeu_ps(upper + c, m, v1);
        _mm512_mask_storeu_ps(lower, m, v2);
        _mm512_mask_storeu_ps(lower + c, m, v3);
    }
}

BP_INLINE void unpool(const struct gradient *g, enum gradient_form form, const uint64_t *which,
                      size_t n, size_t c, float *a, float *b) {
    size_t cw = bp_words(c);
    for (size_t p = 0; p < n; p++, which += 2 * cw, a += 2 * c, b += 2 * c)
        for (size_t j = 0; j < c; j += 16) {
            unsigned low = (unsigned)(which[j / 64] >> j % 64);
            unsigned high = (unsigned)(which[cw + j / 64] >> j % 64);
            __mmask16 m = mask_16(c - j);
            if (c - j >= 16)
                unpool_16(load_gradient(g, form, p * c + j, 0xffff), low, high, c, 0xffff, a + j,
                          b + j);
            else
                unpool_16(load_gradient(g, form, p * c + j, m), low, high, c, m, a + j, b + j);
        }
}

void bp_max_unpool_2x2_avx512(const struct bp_gradient_rows *g, const uint64_t *which, size_t n,
                              size_t c, float *a, float *b) {
    const struct gradient gradient = gradient_of(g);
    if (form_of(g) == GRADIENT_FLOATS)
        unpool(&gradient, GRADIENT_FLOATS, which, n, c, a, b);
    else
        unpool(&gradient, GRADIENT_SUMS, which, n, c, a, b);
}

/* 32 channels of one window; rows and columns are constants. */
BP_INLINE void window_32(const int16_t *x, size_t rows, size_t columns, size_t row_step, size_t c,
                         __mmask32 m, __m512i flip, int16_t *z, uint8_t *winner) {
    __m512i best = _mm512_xor_si512(_mm512_maskz_loadu_epi16(m, x), flip);
    __m512i index = _mm512_setzero_si512();
    for (size_t y = 0; y < rows; y++)
        for (size_t i = 0; i < columns; i++) {
            const int16_t *from = x + y * row_step + i * c;
            __m512i later = _mm512_xor_si512(_mm512_maskz_loadu_epi16(m, from), flip);
            __mmask32 wins = _mm512_cmpgt_epi16_mask(later, best);
            best = _mm512_max_epi16(best, later);
            index = _mm512_mask_mov_epi16(index, wins, _mm512_set1_epi16((short)(y * columns + i)));
        }
    _mm512_mask_storeu_epi16(z, m, _mm512_xor_si512(best, flip));
    _mm256_mask_storeu_epi8(winner, m, _mm512_cvtepi16_epi8(index));
}

BP_INLINE void windows_i16(const int16_t *x, size_t n, size_t step, size_t rows, size_t columns,
                           size_t row_step, size_t c, const int16_t *flip, int16_t *z,
                           uint8_t *winner) {
    for (size_t j = 0; j < c; j += 32) {
        __mmask32 m = mask_32(c - j);
        __m512i f = _mm512_maskz_loadu_epi16(m, flip + j);
        for (size_t p = 0; p < n; p++) {
            const int16_t *below = x + rows * row_step + p * step + j;
            for (size_t i = 0; i < 4; i++) /* two rows and columns that the next windows add */
                fetch_behind(below + i / 2 * row_step + i % 2 * c, 0);
            window_32(x + p * step + j, rows, columns, row_step, c, m, f, z + p * c + j,
                      winner + p * c + j);
        }
    }
}

void bp_max_window_i16_avx512(const int16_t *x, size_t n, size_t step, size_t rows, size_t columns,
                              size_t row_step, size_t c, const int16_t *flip, int16_t *z,
                              uint8_t *winner) {
    if (rows == 3 && columns == 3)
        windows_i16(x, n, step, 3, 3, row_step, c, flip, z, winner);
    else
        windows_i16(x, n, step, rows, columns, row_step, c, flip, z, winner);
}

BP_INLINE void average_back(const float *g, size_t n, size_t columns, size_t c, float scale,
                            int add, float *dx) {
    const __m512 s = _mm512_set1_ps(scale);
    for (size_t p = 0; p < n; p++, g += c, dx += columns * c)
        for (size_t j = 0; j < c; j += 16) {
            __mmask16 m = mask_16(c - j);
            __m512 v = _mm512_mul_ps(load_f32(g + j, m), s);
            for (size_t i = 0; i < columns; i++) {
                float *to = dx + i * c + j;
                store_f32(to, m, add ? _mm512_add_ps(load_f32(to, m), v) : v);
            }
        }
}

void bp_average_back_avx512(const float *g, size_t n, size_t columns, size_t c, float scale,
                            int add, float *dx) {
    if (add)
        average_back(g, n, columns, c, scale, 1, dx);
    else
        average_back(g, n, columns, c, scale, 0, dx);
}
