/* The product that leaves out zeros, a word at a time. */
#include "kernels/c/tier_c.h"

#include <string.h>

/* The weights of the digits that are 1, and of those that are -1. */
struct digits {
    unsigned plus, minus;
};

static struct digits digits_of(int x, size_t weights) {
    const unsigned magnitude = (unsigned)(x < 0 ? -x : x);
    struct digits d = {magnitude, 0};
    if (weights == BP_NONZERO_FORM) { /* the digits of 3 x that x has not, half of them */
        const unsigned half = magnitude >> 1, half_of_three = magnitude + half;
        d = (struct digits){half_of_three & ~half, half & ~half_of_three};
    }
    return x < 0 ? (struct digits){d.minus, d.plus} : d;
}

void bp_list_nonzero_c(const uint8_t *codes, size_t n, size_t step, size_t k, size_t weights,
                       const uint16_t *at, uint16_t *to, size_t capacity, int32_t *count) {
    for (size_t p = 0; p < n; p++, codes += step)
        for (size_t j = 0; j < k; j++) {
            const struct digits d = digits_of((int8_t)codes[j], weights);
            for (size_t w = 0; w < weights; w++) {
                const size_t list = (j * weights + w) * 2 + (d.minus >> w & 1);
                if ((d.plus | d.minus) >> w & 1)
                    to[list * capacity + (size_t)count[list]++] = at[p];
            }
        }
}

void bp_list_row_c(const uint8_t *codes, size_t n, size_t k, size_t weights, size_t first,
                   size_t step, uint16_t *to, size_t room, size_t *count, int32_t *total) {
    memset(count, 0, weights * sizeof *count);
    for (size_t p = 0; p < n; p++, codes += k, first += step) {
        total[p] = 0;
        for (size_t j = 0; j < k; j++) {
            const struct digits d = digits_of((int8_t)codes[j], weights);
            const size_t number = first + j / 64 * 128 + j % 64;
            total[p] += (int32_t)(d.plus | d.minus);
            for (size_t w = 0; w < weights; w++)
                if ((d.plus | d.minus) >> w & 1)
                    to[w * room + count[w]++] =
                        (uint16_t)(number + (d.minus >> w & 1) * BP_ROW_MINUS);
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

/* How often the bits of a word of the rows are set. */
static void count_word(const uint64_t *rows, size_t weights, const uint16_t *at, size_t room,
                       const size_t *count, size_t word, int32_t counted[64]) {
    memset(counted, 0, 64 * sizeof *counted);
    for (size_t w = 0; w < weights; w++)
        for (size_t i = 0; i < count[w]; i++) {
            uint64_t row = rows[(size_t)at[w * room + i] * BP_ROW_WORDS + word];
            for (size_t j = 0; j < 64; j++)
                counted[j] += (int32_t)(row >> j & 1) << w;
        }
}

void bp_product_rows_c(const uint64_t *rows, size_t weights, const uint16_t *at, size_t room,
                       const size_t *count, const int32_t *total, size_t words_each, size_t words,
                       const uint64_t *mask, int16_t *y) {
    for (size_t word = 0; word < words; word++, y += 64) {
        int32_t counted[64];
        count_word(rows, weights, at, room, count, word, counted);
        for (size_t j = 0; j < 64; j++)
            y[j] = mask[word] >> j & 1 ? (int16_t)(total[word / words_each] - 2 * counted[j]) : 0;
    }
}

void bp_product_rows_i32_c(const uint64_t *rows, size_t weights, const uint16_t *at, size_t room,
                           const size_t *count, const int32_t *total, size_t words_each,
                           size_t words, int32_t *y) {
    for (size_t word = 0; word < words; word++, y += 64) {
        int32_t counted[64];
        count_word(rows, weights, at, room, count, word, counted);
        for (size_t j = 0; j < 64; j++)
            y[j] = total[word / words_each] - 2 * counted[j];
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
