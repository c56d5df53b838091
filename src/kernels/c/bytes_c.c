/* Products of bytes. */
#include "kernels/c/tier_c.h"

#include <math.h>
#include <string.h>

#include "base/bits.h"

enum { WIDE_QUADS = 64 }; /* whose weights of a block of lanes are kept widened: 8 KiB */

/* Of the lanes from w on: [quads][4][16], a form of which the compiler makes vectors. */
static void widen(const int8_t *w, size_t lanes, size_t quads, int16_t *wide) {
    for (size_t t = 0; t < quads; t++, w += 4 * lanes)
        for (size_t e = 0; e < 4; e++)
            for (size_t j = 0; j < BP_BYTE_LANES; j++)
                *wide++ = w[4 * j + e];
}

__attribute__((noinline)) static void block_sums(const uint8_t *x, const int32_t *quad,
                                                 size_t quads, const int16_t *wide,
                                                 int32_t sums[BP_BYTE_LANES]) {
    memset(sums, 0, BP_BYTE_LANES * sizeof *sums);
    for (size_t t = 0; t < quads; t++)
        for (size_t e = 0; e < 4; e++, wide += BP_BYTE_LANES) {
            int16_t u = x[quad[t] + (int32_t)e];
            for (size_t j = 0; j < BP_BYTE_LANES; j++)
                sums[j] += (int32_t)u * wide[j];
        }
}

void bp_product_bytes_c(const uint8_t *x, const int32_t *row, size_t n, const int32_t *quad,
                        size_t quads, const int8_t *w, size_t k, int32_t *y) {
    size_t lanes = bp_round_up(k, BP_BYTE_LANES);
    int16_t wide[WIDE_QUADS * 4 * BP_BYTE_LANES];
    int32_t sums[BP_BYTE_LANES];
    for (size_t begin = 0; begin < quads; begin += WIDE_QUADS)
        for (size_t b = 0; b < k; b += BP_BYTE_LANES) {
            size_t count = bp_min_size(WIDE_QUADS, quads - begin);
            widen(w + 4 * (begin * lanes + b), lanes, count, wide);
            for (size_t p = 0; p < n; p++) {
                block_sums(x + row[p], quad + begin, count, wide, sums);
                for (size_t j = b; j < k && j < b + BP_BYTE_LANES; j++)
                    y[p * k + j] += sums[j - b];
            }
        }
}

/* base + sums, scaled to y or, with y NULL, shifted to y16. */
static inline void product_to(const uint8_t *x, const int32_t *row, size_t n, const int32_t *quad,
                              size_t quads, const int8_t *w, size_t k, const int32_t *base,
                              const float *scale, float *y, const int32_t *shift, int16_t *y16) {
    size_t lanes = bp_round_up(k, BP_BYTE_LANES);
    int16_t wide[WIDE_QUADS * 4 * BP_BYTE_LANES];
    int32_t sums[BP_BYTE_LANES];
    for (size_t b = 0; b < k; b += BP_BYTE_LANES) {
        widen(w + 4 * b, lanes, quads, wide);
        for (size_t p = 0; p < n; p++) {
            block_sums(x + row[p], quad, quads, wide, sums);
            for (size_t j = b; j < k && j < b + BP_BYTE_LANES; j++)
                if (y != NULL)
                    y[p * k + j] = scale[j] * (float)(base[j] + sums[j - b]);
                else
                    y16[p * k + j] = (int16_t)((base[j] + sums[j - b]) >> shift[j]);
        }
    }
}

void bp_product_bytes_f32_c(const uint8_t *x, const int32_t *row, size_t n, const int32_t *quad,
                            size_t quads, const int8_t *w, size_t k, const int32_t *base,
                            const float *scale, float *y) {
    product_to(x, row, n, quad, quads, w, k, base, scale, y, NULL, NULL);
}

void bp_product_bytes_i16_c(const uint8_t *x, const int32_t *row, size_t n, const int32_t *quad,
                            size_t quads, const int8_t *w, size_t k, const int32_t *base,
                            const int32_t *shift, int16_t *y) {
    product_to(x, row, n, quad, quads, w, k, base, NULL, NULL, shift, y);
}

/* --- codes ------------------------------------------------------------------------------------ */

/* The nearest integer, ties to even: numbers as large as the constant have no fractions. */
static int32_t nearest(float value) {
    const double large = 6755399441055744.0; /* 1.5 * 2^52 */
    double rounded = ((double)value + large) - large;
    return fabs(rounded) <= 127 * 65536 ? (int32_t)rounded : 0;
}

void bp_code_quads_c(const float *g, size_t n, size_t k, const uint8_t *random, const float *scale,
                     int8_t *out, int32_t *sum) {
    size_t lanes = bp_round_up(k, BP_BYTE_LANES);
    for (size_t p = 0; p < n; p += 4)
        for (size_t j = 0; j < lanes; j++)
            for (size_t e = 0; e < 4; e++) {
                int32_t code = 0;
                if (j < k && p + e < n) {
                    int32_t r = nearest(g[(p + e) * k + j] * scale[j]);
                    const uint8_t *u = random + 32 * (p + e) + 2 * (j % 16);
                    code = (r + 128 * 65536 + u[0] + 256 * u[1]) / 65536 - 128;
                    sum[j] += code;
                }
                *out++ = (int8_t)code;
            }
}
