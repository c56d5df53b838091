/* Gradient rows of chosen channels, of samples without a gradient of their own, AVX-512: channels
 * are picked as integers, 64 of a row at once, and only those picked are computed. */
#include "kernels/x86/tier_avx512.h"

#include "base/bits.h"
#include "kernels/x86/fetch_x86.h"
#include "kernels/x86/vec_avx512.h"

/* Up to 32 picks from 64 channels. */
struct pick {
    int16_t index[32]; /* within the 64 */
    size_t from, count;
};

/* The next picks, from column[at] on. */
static struct pick next_pick(const int32_t *column, size_t k, size_t at) {
    struct pick pick = {.from = (size_t)column[at] / 64 * 64};
    while (pick.count < 32 && at + pick.count < k &&
           (size_t)column[at + pick.count] < pick.from + 64) {
        pick.index[pick.count] = (int16_t)((size_t)column[at + pick.count] - pick.from);
        pick.count++;
    }
    return pick;
}

BP_INLINE __m512i picked(const struct pick *pick, const int16_t *row, size_t c) {
    size_t rest = c - pick->from;
    const int16_t *y = row + pick->from;
    __m512i index = _mm512_loadu_si512(pick->index), low, high;
    if (rest >= 64) {
        low = _mm512_loadu_si512(y);
        high = _mm512_loadu_si512(y + 32);
    } else {
        low = _mm512_maskz_loadu_epi16(mask_32(rest), y);
        high = _mm512_maskz_loadu_epi16((__mmask32)(mask_64(rest) >> 32), y + 32);
    }
    return _mm512_permutex2var_epi16(low, index, high);
}

BP_INLINE __m512 floats_of(__m512i words, int half) {
    __m256i v = half ? _mm512_extracti64x4_epi64(words, 1) : _mm512_castsi512_si256(words);
    return _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(v));
}

/* Coefficients of 16 picks; those that a kernel does not use cost nothing. */
struct coefficients {
    __m512 kb, kc, alpha, slope;
};

BP_INLINE __m512 gather_16(const float *from, const struct pick *pick, size_t first) {
    float part[16] = {0};
    for (size_t i = first; i < pick->count && i < first + 16; i++)
        part[i - first] = from[pick->from + (size_t)pick->index[i]];
    return _mm512_loadu_ps(part);
}

BP_INLINE __m512 column_16(__m512 y, const struct coefficients *k, int with_act) {
    if (!with_act)
        return _mm512_add_ps(_mm512_mul_ps(y, k->kb), k->kc);
    __m512 u = _mm512_mul_ps(y, k->alpha);
    __mmask16 negative = _mm512_cmp_ps_mask(u, _mm512_setzero_ps(), _CMP_LT_OQ);
    __m512 h = _mm512_mask_mul_ps(u, negative, u, k->slope);
    __m512 gh = _mm512_add_ps(_mm512_mul_ps(h, k->kb), k->kc);
    return _mm512_mul_ps(_mm512_mask_mul_ps(gh, negative, gh, k->slope), k->alpha);
}

BP_INLINE void columns(const int16_t *y, size_t n, size_t c, const int32_t *column, size_t k,
                       const struct bp_act_norm_rows *a, int with_act, float *out) {
    for (size_t at = 0; at < k;) {
        const struct pick pick = next_pick(column, k, at);
        struct coefficients coefficients[2];
        for (int h = 0; h < 2; h++) {
            coefficients[h].kb = gather_16(a->kb, &pick, 16 * (size_t)h);
            coefficients[h].kc = gather_16(a->kc, &pick, 16 * (size_t)h);
            if (with_act) {
                coefficients[h].alpha = gather_16(a->alpha, &pick, 16 * (size_t)h);
                coefficients[h].slope = gather_16(a->slope, &pick, 16 * (size_t)h);
            }
        }
        __mmask16 first = mask_16(pick.count), second = (__mmask16)(mask_32(pick.count) >> 16);
        for (size_t p = 0; p < n; p++) {
            __m512i words = picked(&pick, y + p * c, c);
            float *to = out + p * k + at;
            fetch_behind(y + n * c, 2 * (pick.from * n + 64 * p));
            fetch_behind(y + n * c, 2 * (pick.from * n + 64 * p + 32));
            _mm512_mask_storeu_ps(to, first,
                                  column_16(floats_of(words, 0), &coefficients[0], with_act));
            if (pick.count > 16)
                _mm512_mask_storeu_ps(to + 16, second,
                                      column_16(floats_of(words, 1), &coefficients[1], with_act));
        }
        at += pick.count;
    }
}

void bp_act_columns_i16_avx512(const int16_t *y, size_t n, size_t c, const int32_t *column,
                               size_t k, const float *kb, const float *kc, float *out) {
    const struct bp_act_norm_rows rows = {.kb = kb, .kc = kc};
    columns(y, n, c, column, k, &rows, 0, out);
}

void bp_act_norm_columns_avx512(const int16_t *y, size_t n, size_t c, const int32_t *column,
                                size_t k, const struct bp_act_norm_rows *a, float *out) {
    columns(y, n, c, column, k, a, 1, out);
}
