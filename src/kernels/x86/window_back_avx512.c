/* The reverse of max pooling, AVX-512. */
#include "kernels/x86/tier_avx512.h"

#include "kernels/x86/vec_avx512.h"

BP_INLINE void window_back_16(const float *g, const uint8_t *winner, const size_t *offset,
                              const uint8_t *index, size_t count, __mmask16 m, int add, float *dx) {
    __m512 sum = add ? load_f32(dx, m) : _mm512_setzero_ps();
    for (size_t w = 0; w < count; w++) {
        __m128i of = _mm_maskz_loadu_epi8(m, winner + offset[w]);
        __mmask16 mine = _mm_mask_cmpeq_epi8_mask(m, of, _mm_set1_epi8((char)index[w]));
        sum = _mm512_mask_add_ps(sum, mine, sum, _mm512_maskz_loadu_ps(mine, g + offset[w]));
    }
    store_f32(dx, m, sum);
}

/* 16 channels of n pixels; count is a constant. */
BP_INLINE void pixels_back(const float *g, const uint8_t *winner, const size_t *offset,
                           const uint8_t *index, size_t count, size_t n, size_t c, size_t step,
                           __mmask16 m, int add, float *dx) {
    for (size_t p = 0; p < n; p++)
        window_back_16(g + p * c, winner + p * c, offset, index, count, m, add, dx + p * step);
}

void bp_max_window_back_avx512(const float *g, const uint8_t *winner, const size_t *offset,
                               const uint8_t *index, size_t count, size_t n, size_t c, size_t step,
                               int add, float *dx) {
    for (size_t j = 0; j < c; j += 16) {
        __mmask16 m = mask_16(c - j);
        const float *from = g + j;
        const uint8_t *of = winner + j;
        if (count == 1)
            pixels_back(from, of, offset, index, 1, n, c, step, m, add, dx + j);
        else if (count == 2)
            pixels_back(from, of, offset, index, 2, n, c, step, m, add, dx + j);
        else if (count == 4)
            pixels_back(from, of, offset, index, 4, n, c, step, m, add, dx + j);
        else
            pixels_back(from, of, offset, index, count, n, c, step, m, add, dx + j);
    }
}
