/* The product that leaves out zeros, a word at a time. */
#include "kernels/c/tier_c.h"

void bp_list_nonzero_c(const uint8_t *codes, size_t n, size_t step, size_t k, const int32_t *at,
                       int32_t *to, size_t capacity, int32_t *count) {
    for (size_t p = 0; p < n; p++, codes += step)
        for (size_t j = 0; j < k; j++) {
            int x = (int8_t)codes[j];
            unsigned magnitude = (unsigned)(x < 0 ? -x : x);
            size_t list = j * 2 * BP_NONZERO_WEIGHTS + (x < 0);
            for (; magnitude != 0; magnitude >>= 1, list += 2)
                if (magnitude & 1)
                    to[list * capacity + (size_t)count[list]++] = at[p];
        }
}

void bp_list_row_c(const uint8_t *codes, size_t n, size_t k, struct bp_row_places places,
                   int32_t *to, size_t capacity, int32_t *count, int32_t *total) {
    for (size_t p = 0; p < n; p++, codes += k, to += BP_NONZERO_WEIGHTS * capacity) {
        total[p] = 0;
        for (size_t w = 0; w < BP_NONZERO_WEIGHTS; w++) {
            int32_t *list = to + w * capacity, length = 0;
            for (size_t j = 0; j < k; j++) {
                int x = (int8_t)codes[j], magnitude = x < 0 ? -x : x;
                if (!(magnitude >> w & 1))
                    continue;
                list[length++] = (int32_t)j * places.step + (x < 0 ? places.minus : 0);
                total[p] += 1 << w;
            }
            while (length % BP_HALF_BLOCK != 0)
                list[length++] = places.none;
            *count++ = length;
        }
    }
}

#define COUNT(name)                 name##_word
#define VEC                         uint64_t
#define VEC_WORDS                   1
#define VEC_LOAD(p, n)              ((void)(n), *(p))
#define VEC_ZERO()                  ((uint64_t)0)
#define VEC_FLIP(a)                 (~(a))
#define VEC_AND(a, b)               ((a) & (b))
#define VEC_XOR(a, b)               ((a) ^ (b))
#define VEC_SUM(a, b, c)            ((a) ^ (b) ^ (c))
#define VEC_NO_SUM(a, b, c)         (~VEC_SUM(a, b, c))
#define VEC_CARRY(a, b, c)          (((a) & ((b) | (c))) | ((b) & (c)))
#define VEC_NO_CARRY(a, b, c)       (~VEC_CARRY(a, b, c))
#define VEC_CARRY_NOT_LAST(a, b, c) VEC_CARRY(a, b, ~(c))
#include "kernels/count_rows.inc"

/* y[j] = from[j] + total - 2 * the counts of a word; from NULL: zeros. */
static void finish_lanes(const uint64_t *plane, size_t levels, int32_t total, const int32_t *from,
                         int32_t *y) {
    for (size_t j = 0; j < 64; j++) {
        int32_t count = 0;
        for (size_t l = 0; l < levels; l++)
            count += (int32_t)(plane[l] >> j & 1) << l;
        y[j] = (from != NULL ? from[j] : 0) + total - 2 * count;
    }
}

void bp_product_rows_c(const struct bp_row_segment *of, size_t segments, size_t words,
                       int32_t total, int32_t *y) {
    const size_t levels = count_levels((size_t)total);
    struct counter_word c;
    for (size_t i = 0; i < words; i++, y += 64) {
        count_segments_word(&c, of, segments, i, 1, levels);
        finish_lanes(c.plane, levels, total, NULL, y);
    }
}

void bp_product_nonzero_c(const uint64_t *x, const struct bp_nonzeros *of, size_t words,
                          int32_t *y) {
    const size_t most = count_most(of), levels = count_levels(most);
    struct counter_word c;
    for (size_t i = 0; i < words; i++, x++, y += 64) {
        count_rows_word(&c, x, of, 1, levels);
        finish_lanes(c.plane, levels, (int32_t)most, y, y);
    }
}
