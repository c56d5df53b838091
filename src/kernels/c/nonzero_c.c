/* The product that leaves out zeros, a word at a time. */
#include "kernels/c/tier_c.h"

#include <string.h>

void bp_list_nonzero_c(const uint8_t *codes, size_t n, size_t step, size_t k, size_t weights,
                       const uint16_t *at, uint16_t *to, size_t capacity, int32_t *count) {
    for (size_t p = 0; p < n; p++, codes += step)
        for (size_t j = 0; j < k; j++) {
            int x = (int8_t)codes[j], magnitude = x < 0 ? -x : x;
            size_t list = j * 2 * weights + (x < 0);
            for (size_t w = 0; w < weights; w++, list += 2)
                if (magnitude >> w & 1)
                    to[list * capacity + (size_t)count[list]++] = at[p];
        }
}

void bp_list_row_c(const uint8_t *codes, size_t n, size_t k, size_t weights, size_t first,
                   size_t step, uint16_t *to, size_t room, size_t *count, int32_t *total) {
    memset(count, 0, weights * sizeof *count);
    for (size_t p = 0; p < n; p++, codes += k, first += step) {
        total[p] = 0;
        for (size_t j = 0; j < k; j++) {
            int x = (int8_t)codes[j], magnitude = x < 0 ? -x : x;
            size_t number = first + j / 64 * 128 + j % 64 + (size_t)(x < 0 ? BP_ROW_MINUS : 0);
            total[p] += magnitude;
            for (size_t w = 0; w < weights; w++)
                if (magnitude >> w & 1)
                    to[w * room + count[w]++] = (uint16_t)number;
        }
    }
}

void bp_join_rows_c(const struct bp_row_lists *lists, size_t n, size_t weights, uint16_t none,
                    uint16_t *to, size_t room, size_t *count) {
    for (size_t w = 0; w < weights; w++, to += room) {
        count[w] = 0;
        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < lists[i].count[w]; j++)
                to[count[w]++] = (uint16_t)(lists[i].at[w * lists[i].room + j] + lists[i].first);
        while (count[w] % BP_ROW_BLOCK != 0)
            to[count[w]++] = none;
    }
}

void bp_product_rows_c(const uint64_t *rows, size_t weights, const uint16_t *at, size_t room,
                       const size_t *count, const int32_t *total, size_t words_each, size_t words,
                       const uint64_t *mask, int16_t *y) {
    for (size_t word = 0; word < words; word++, y += 64) {
        int32_t counted[64] = {0};
        for (size_t w = 0; w < weights; w++)
            for (size_t i = 0; i < count[w]; i++) {
                uint64_t row = rows[(size_t)at[w * room + i] * BP_ROW_WORDS + word];
                for (size_t j = 0; j < 64; j++)
                    counted[j] += (int32_t)(row >> j & 1) << w;
            }
        for (size_t j = 0; j < 64; j++)
            y[j] = mask[word] >> j & 1 ? (int16_t)(total[word / words_each] - 2 * counted[j]) : 0;
    }
}

void bp_product_nonzero_c(const uint64_t *x, size_t weights, const uint16_t *at, size_t capacity,
                          const int32_t *count, size_t words, int32_t *y) {
    for (size_t l = 0; l < 2 * weights; l++)
        for (size_t i = 0; i < (size_t)count[l]; i++) {
            const uint64_t *row = x + at[l * capacity + i];
            const int32_t weight = (l % 2 ? -1 : 1) * (1 << l / 2);
            for (size_t j = 0; j < 64 * words; j++)
                y[j] += row[j / 64] >> j % 64 & 1 ? -weight : weight;
        }
}
