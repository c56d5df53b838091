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

void bp_max_window_back_avx512(const float *g, const uint8_t *winner, const size_t *offset,
                               const uint8_t *index, size_t count, size_t c, int add, float *dx) {
    size_t j = 0;
    for (; j + 16 <= c; j += 16)
        window_back_16(g + j, winner + j, offset, index, count, 0xffff, add, dx + j);
    if (j < c)
        window_back_16(g + j, winner + j, offset, index, count, mask_16(c - j), add, dx + j);
}
