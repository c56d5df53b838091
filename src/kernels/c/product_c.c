/* Products of packed bits: the lanes of a weight block are the inner loop. */
#include "kernels/c/kernels_c.h"
#include "kernels/c/tier_c.h"

#include <string.h>

#include "base/bits.h"

/* Without a popcount instruction the builtin is a call per word; these shifts and adds become
 * vector instructions (Warren, Hacker's Delight, 5-1). */
static inline int32_t popcount(uint64_t word) {
#if defined(__x86_64__) && !defined(__POPCNT__)
    word -= word >> 1 & 0x5555555555555555u;
    word = (word & 0x3333333333333333u) + (word >> 2 & 0x3333333333333333u);
    word = (word + (word >> 4)) & 0x0f0f0f0f0f0f0f0fu;
    word += word >> 8;
    word += word >> 16;
    word += word >> 32;
    return (int32_t)(word & 0x7f);
#else
    return __builtin_popcountll(word);
#endif
}

void bp_product_xor_c(const uint64_t *x, const int32_t *pixel, const int32_t *to, size_t n,
                      const int32_t *tap, const int32_t *tap_w, size_t taps, size_t w_taps,
                      size_t cw, const uint64_t *w, size_t k, int bias, int16_t *y) {
    for (size_t p = 0; p < n; p++)
        for (size_t b = 0; b < k; b += BP_LANES) {
            int32_t mismatches[BP_LANES] = {0};
            for (size_t t = 0; t < taps; t++) {
                const uint64_t *weights = w + (b * w_taps + (size_t)tap_w[t] * BP_LANES) * cw;
                for (size_t i = 0; i < cw; i++, weights += BP_LANES) {
                    uint64_t word = x[(ptrdiff_t)pixel[p] + tap[t] + (ptrdiff_t)i];
                    for (size_t j = 0; j < BP_LANES; j++)
                        mismatches[j] += popcount(word ^ weights[j]);
                }
            }
            for (size_t j = 0; j < BP_LANES && b + j < k; j++)
                y[(size_t)to[p] * k + b + j] = (int16_t)(bias - 2 * mismatches[j]);
        }
}

void bp_product_triples_c(const uint64_t *x, const uint64_t *parity, const int32_t *pixel,
                          const int32_t *to, size_t n, const int32_t *row, const int32_t *row_w,
                          size_t rows, size_t w_rows, size_t cw, const uint64_t *w, size_t k,
                          int bias, const int16_t *add, const uint8_t *add_row, int16_t *y) {
    for (size_t p = 0; p < n; p++)
        for (size_t b = 0; b < k; b += BP_LANES) {
            int32_t mismatches[BP_LANES] = {0};
            for (size_t r = 0; r < rows; r++) {
                const uint64_t *weights = w + (b * w_rows + (size_t)row_w[r] * BP_LANES) * cw * 3;
                const uint64_t *word = x + pixel[p] + row[r];
                for (size_t i = 0; i < cw; i++, weights += 3 * BP_LANES)
                    for (size_t j = 0; j < BP_LANES; j++) {
                        const uint64_t first = word[i] ^ weights[j];
                        const uint64_t second = word[cw + i] ^ weights[BP_LANES + j];
                        const uint64_t all = parity[(ptrdiff_t)pixel[p] + row[r] + (ptrdiff_t)i] ^
                                             weights[2 * BP_LANES + j];
                        mismatches[j] +=
                            popcount(first) + popcount(second) + popcount(first ^ second ^ all);
                    }
            }
            for (size_t j = 0; j < BP_LANES && b + j < k; j++)
                y[(size_t)to[p] * k + b + j] =
                    (int16_t)(bias + (add != NULL ? add[add_row[p] * k + b + j] : 0) -
                              2 * mismatches[j]);
        }
}

void bp_product_planes_c(const uint64_t *x, const int32_t *pixel, size_t n, const int32_t *tap,
                         const int32_t *tap_w, size_t taps, size_t w_taps, size_t kw, int planes,
                         int is_signed, const uint64_t *w, size_t c, int32_t *y) {
    for (size_t p = 0; p < n; p++)
        for (size_t b = 0; b < c; b += BP_LANES) {
            int32_t sums[BP_LANES] = {0}, all = 0;
            for (size_t t = 0; t < taps; t++)
                for (int l = 0; l < planes; l++) {
                    const uint64_t *word =
                        x + (ptrdiff_t)pixel[p] + tap[t] + (ptrdiff_t)l * (ptrdiff_t)kw;
                    const uint64_t *weights = w + (b * w_taps + (size_t)tap_w[t] * BP_LANES) * kw;
                    int32_t value = bp_plane_value(l, planes, is_signed);
                    for (size_t i = 0; i < kw; i++, weights += BP_LANES) {
                        if (word[i] == 0)
                            continue;
                        all += value * popcount(word[i]);
                        for (size_t j = 0; j < BP_LANES; j++)
                            sums[j] += value * popcount(word[i] & weights[j]);
                    }
                }
            for (size_t j = 0; j < BP_LANES && b + j < c; j++)
                y[p * c + b + j] = all - 2 * sums[j];
        }
}

void bp_product_positions_c(const uint64_t *a, const uint64_t *g, size_t words, size_t k, size_t c,
                            int planes, int is_signed, int32_t *y, size_t y_stride) {
    for (size_t s = 0; s < words; s++)
        for (int l = 0; l < planes; l++)
            for (size_t i = 0; i < k; i++) {
                uint64_t word = g[(s * (size_t)planes + (size_t)l) * k + i];
                int32_t value = bp_plane_value(l, planes, is_signed);
                for (size_t j = 0; j < c; j++)
                    y[i * y_stride + j] += value * popcount(word & a[s * c + j]);
            }
}

void bp_count_positions_c(const uint64_t *a, size_t words, size_t c, int32_t *count) {
    for (size_t s = 0; s < words; s++)
        for (size_t j = 0; j < c; j++)
            count[j] += popcount(a[s * c + j]);
}
