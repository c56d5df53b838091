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

#define COUNT(name)                 name##_word
#define VEC                         uint64_t
#define VEC_WORDS                   1
#define VEC_LOAD(p, n)              ((void)(n), *(p))
#define VEC_STORE(p, v)             (*(p) = (v))
#define VEC_ZERO()                  ((uint64_t)0)
#define VEC_FLIP(a)                 (~(a))
#define VEC_SUM(a, b, c)            ((a) ^ (b) ^ (c))
#define VEC_NO_SUM(a, b, c)         (~VEC_SUM(a, b, c))
#define VEC_CARRY(a, b, c)          (((a) & ((b) | (c))) | ((b) & (c)))
#define VEC_NO_CARRY(a, b, c)       (~VEC_CARRY(a, b, c))
#define VEC_CARRY_NOT_LAST(a, b, c) VEC_CARRY(a, b, ~(c))
#include "kernels/count_rows.inc"

void bp_product_nonzero_c(const uint64_t *x, const struct bp_nonzeros *of, size_t words,
                          int32_t *y) {
    const size_t most = count_most(of), levels = count_levels(most);
    uint64_t plane[COUNT_LEVELS];
    for (size_t i = 0; i < words; i++, x++, y += 64) {
        count_rows_word(x, of, 1, levels, plane);
        for (size_t j = 0; j < 64; j++) {
            int32_t count = 0;
            for (size_t l = 0; l < levels; l++)
                count += (int32_t)(plane[l] >> j & 1) << l;
            y[j] += (int32_t)most - 2 * count;
        }
    }
}
