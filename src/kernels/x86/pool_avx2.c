/* Max pooling and its reverse, AVX2. */
#include "kernels/x86/tier_avx2.h"

#include "base/bits.h"
#include "kernels/x86/gradient_avx2.h"

/* 8 channels of one output pixel, and the winner's two bits of each. */
BP_INLINE void pool_8(const float *upper, const float *lower, size_t c, int full, size_t rest,
                      float *z, unsigned *low, unsigned *high) {
    __m256 best = load_ps(upper, full, rest);
    unsigned w1 = challenge(&best, load_ps(upper + c, full, rest));
    unsigned w2 = challenge(&best, load_ps(lower, full, rest));
    unsigned w3 = challenge(&best, load_ps(lower + c, full, rest));
    store_ps(z, full, rest, best);
    *low = (w1 & ~w2) | w3;
    *high = w2 | w3;
}

void bp_max_pool_2x2_avx2(const float *a, const float *b, size_t n, size_t c, float *z,
                          uint64_t *which) {
    size_t cw = bp_words(c);
    for (size_t p = 0; p < n; p++, a += 2 * c, b += 2 * c, z += c)
        for (size_t w = 0; w < cw; w++) {
            uint64_t low_word = 0, high_word = 0;
            size_t end = bp_min_size(c, 64 * w + 64);
            for (size_t j = 64 * w; j < end; j += 8) {
                unsigned low, high;
                if (end - j >= 8)
                    pool_8(a + j, b + j, c, 1, 8, z + j, &low, &high);
                else
                    pool_8(a + j, b + j, c, 0, end - j, z + j, &low, &high);
                low_word |= (uint64_t)low << j % 64;
                high_word |= (uint64_t)high << j % 64;
            }
            if (which != NULL) {
                which[p * 2 * cw + w] = low_word;
                which[p * 2 * cw + cw + w] = high_word;
            }
        }
}

BP_INLINE __m256 spread_bits(uint64_t bits) {
    const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    __m256i lanes = _mm256_and_si256(_mm256_set1_epi32((int)(bits & 255)), bit);
    return _mm256_castsi256_ps(_mm256_cmpeq_epi32(lanes, bit));
}

BP_INLINE void unpool_8(__m256 v, uint64_t low, uint64_t high, size_t c, int full, size_t rest,
                        float *upper, float *lower) {
    __m256 right = spread_bits(low), below = spread_bits(high);
    __m256 above_v = _mm256_andnot_ps(below, v), below_v = _mm256_and_ps(below, v);
    store_ps(upper, full, rest, _mm256_andnot_ps(right, above_v));
    store_ps(upper + c, full, rest, _mm256_and_ps(right, above_v));
    store_ps(lower, full, rest, _mm256_andnot_ps(right, below_v));
    store_ps(lower + c, full, rest, _mm256_and_ps(right, below_v));
}

BP_INLINE void unpool(const struct gradient *g, enum gradient_form form, const uint64_t *which,
                      size_t n, size_t c, float *a, float *b) {
    size_t cw = bp_words(c);
    for (size_t p = 0; p < n; p++, which += 2 * cw, a += 2 * c, b += 2 * c)
        for (size_t j = 0; j < c; j += 8) {
            uint64_t low = which[j / 64] >> j % 64, high = which[cw + j / 64] >> j % 64;
            if (c - j >= 8)
                unpool_8(load_gradient(g, form, p * c + j, 1, 8), low, high, c, 1, 8, a + j, b + j);
            else
                unpool_8(load_gradient(g, form, p * c + j, 0, c - j), low, high, c, 0, c - j, a + j,
                         b + j);
        }
}

void bp_max_unpool_2x2_avx2(const struct bp_gradient_rows *g, const uint64_t *which, size_t n,
                            size_t c, float *a, float *b) {
    const struct gradient gradient = gradient_of(g);
    if (form_of(g) == GRADIENT_FLOATS)
        unpool(&gradient, GRADIENT_FLOATS, which, n, c, a, b);
    else
        unpool(&gradient, GRADIENT_SUMS, which, n, c, a, b);
}

/* 8 channels of one window; the winners as bytes in the low half. */
BP_INLINE void window_8(const float *x, size_t rows, size_t columns, size_t row_step, size_t c,
                        int full, size_t rest, float *z, __m128i *winner) {
    __m256 best = load_ps(x, full, rest);
    __m256i index = _mm256_setzero_si256();
    for (size_t y = 0; y < rows; y++)
        for (size_t i = 0; i < columns; i++) {
            __m256 later = load_ps(x + y * row_step + i * c, full, rest);
            __m256 wins = _mm256_or_ps(_mm256_cmp_ps(later, best, _CMP_GT_OQ),
                                       _mm256_cmp_ps(later, later, _CMP_UNORD_Q));
            __m256i here = _mm256_set1_epi32((int)(y * columns + i));
            best = _mm256_blendv_ps(best, later, wins);
            index = _mm256_blendv_epi8(index, here, _mm256_castps_si256(wins));
        }
    store_ps(z, full, rest, best);
    __m128i words =
        _mm_packus_epi32(_mm256_castsi256_si128(index), _mm256_extracti128_si256(index, 1));
    *winner = _mm_packus_epi16(words, words);
}

void bp_max_window_avx2(const float *x, size_t n, size_t step, size_t rows, size_t columns,
                        size_t row_step, size_t c, float *z, uint8_t *winner) {
    for (size_t p = 0; p < n; p++, x += step)
        for (size_t j = 0; j < c; j += 8) {
            size_t at = p * c + j, rest = c - j;
            __m128i bytes;
            if (rest >= 8)
                window_8(x + j, rows, columns, row_step, c, 1, 8, z + at, &bytes);
            else
                window_8(x + j, rows, columns, row_step, c, 0, rest, z + at, &bytes);
            if (winner != NULL && rest >= 8)
                _mm_storel_epi64((__m128i *)(void *)(winner + at), bytes);
            else if (winner != NULL)
                memcpy(winner + at, &bytes, rest);
        }
}

BP_INLINE __m256i load_i16(const int16_t *x, int full, size_t rest) {
    int16_t part[16] = {0};
    if (full)
        return load_256(x);
    memcpy(part, x, rest * sizeof *x);
    return load_256(part);
}

/* 16 channels of one window, of which `rest` are there unless full. */
BP_INLINE void window_16(const int16_t *x, size_t rows, size_t columns, size_t row_step, size_t c,
                         int full, size_t rest, __m256i flip, int16_t *z, uint8_t *winner) {
    __m256i best = _mm256_xor_si256(load_i16(x, full, rest), flip);
    __m256i index = _mm256_setzero_si256();
    for (size_t y = 0; y < rows; y++)
        for (size_t i = 0; i < columns; i++) {
            __m256i later = load_i16(x + y * row_step + i * c, full, rest);
            later = _mm256_xor_si256(later, flip);
            __m256i here = _mm256_set1_epi16((short)(y * columns + i));
            index = _mm256_blendv_epi8(index, here, _mm256_cmpgt_epi16(later, best));
            best = _mm256_max_epi16(best, later);
        }
    __m128i bytes =
        _mm_packus_epi16(_mm256_castsi256_si128(index), _mm256_extracti128_si256(index, 1));
    best = _mm256_xor_si256(best, flip);
    if (full) {
        store_256(z, best);
        _mm_storeu_si128((__m128i *)(void *)winner, bytes);
    } else {
        memcpy(z, &best, rest * sizeof *z);
        memcpy(winner, &bytes, rest);
    }
}

void bp_max_window_i16_avx2(const int16_t *x, size_t n, size_t step, size_t rows, size_t columns,
                            size_t row_step, size_t c, const int16_t *flip, int16_t *z,
                            uint8_t *winner) {
    for (size_t j = 0; j < c; j += 16) {
        size_t rest = c - j;
        __m256i f = load_i16(flip + j, rest >= 16, rest);
        for (size_t p = 0; p < n; p++) {
            const int16_t *from = x + p * step + j;
            size_t to = p * c + j;
            if (rest >= 16)
                window_16(from, rows, columns, row_step, c, 1, 16, f, z + to, winner + to);
            else
                window_16(from, rows, columns, row_step, c, 0, rest, f, z + to, winner + to);
        }
    }
}

/* The lanes of 8 channels where the winner is `index`. */
BP_INLINE __m256 is_winner(const uint8_t *winner, int full, size_t rest, __m256i index) {
    uint8_t part[8] = {0};
    if (!full) {
        memcpy(part, winner, bp_min_size(rest, 8));
        winner = part;
    }
    __m128i bytes = _mm_loadl_epi64((const __m128i *)(const void *)winner);
    return _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_cvtepu8_epi32(bytes), index));
}

BP_INLINE void window_back_8(const float *g, const uint8_t *winner, const size_t *offset,
                             const uint8_t *index, size_t count, int full, size_t rest, int add,
                             float *dx) {
    __m256 sum = add ? load_ps(dx, full, rest) : _mm256_setzero_ps();
    for (size_t w = 0; w < count; w++) {
        __m256 mine = is_winner(winner + offset[w], full, rest, _mm256_set1_epi32(index[w]));
        __m256 more = _mm256_add_ps(sum, load_ps(g + offset[w], full, rest));
        sum = _mm256_blendv_ps(sum, more, mine);
    }
    store_ps(dx, full, rest, sum);
}

void bp_max_window_back_avx2(const float *g, const uint8_t *winner, const size_t *offset,
                             const uint8_t *index, size_t count, size_t n, size_t c, size_t step,
                             int add, float *dx) {
    for (size_t p = 0; p < n; p++, g += c, winner += c, dx += step)
        for (size_t j = 0; j < c; j += 8)
            if (c - j >= 8)
                window_back_8(g + j, winner + j, offset, index, count, 1, 8, add, dx + j);
            else
                window_back_8(g + j, winner + j, offset, index, count, 0, c - j, add, dx + j);
}

BP_INLINE void average_back(const float *g, size_t n, size_t columns, size_t c, float scale,
                            int add, float *dx) {
    const __m256 s = _mm256_set1_ps(scale);
    for (size_t p = 0; p < n; p++, g += c, dx += columns * c)
        for (size_t j = 0; j < c; j += 8) {
            int full = c - j >= 8;
            __m256 v = _mm256_mul_ps(load_ps(g + j, full, c - j), s);
            for (size_t i = 0; i < columns; i++) {
                float *to = dx + i * c + j;
                __m256 sum = add ? _mm256_add_ps(load_ps(to, full, c - j), v) : v;
                store_ps(to, full, c - j, sum);
            }
        }
}

void bp_average_back_avx2(const float *g, size_t n, size_t columns, size_t c, float scale, int add,
                          float *dx) {
    if (add)
        average_back(g, n, columns, c, scale, 1, dx);
    else
        average_back(g, n, columns, c, scale, 0, dx);
}
