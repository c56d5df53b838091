/* bfloat16 and halves, C. */
#include "kernels/c/kernels_c.h"
#include "kernels/c/tier_c.h"

static inline uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Without a branch, so that loops become vectors. */
static inline uint16_t rounded(float x) {
    uint32_t bits = bits_of(x);
    uint32_t up = (bits + 0x7fff + (bits >> 16 & 1)) >> 16, nan = bits >> 16 | 0x40;
    return (uint16_t)((bits & 0x7fffffff) > 0x7f800000 ? nan : up);
}

void bp_round_bf16_c(const float *x, size_t n, uint16_t *out) {
    for (size_t i = 0; i < n; i++)
        out[i] = rounded(x[i]);
}

static inline float widened(uint16_t x) {
    return float_of((uint32_t)x << 16);
}

void bp_widen_bf16_c(const uint16_t *x, size_t n, float *out) {
    for (size_t i = 0; i < n; i++)
        out[i] = widened(x[i]);
}

enum {
    HALF_INFINITE = 0x7c00,
    BIAS = 112 << 23 /* what a float's exponent has more */
};

static inline uint16_t half_of(float x) {
    uint32_t bits = bits_of(x), size = bits & 0x7fffffff, sign = bits >> 16 & 0x8000;
    if (size > 0x7f800000)
        return (uint16_t)(sign | HALF_INFINITE | 0x200 | (size >> 13 & 0x3ff));
    if (size >= bits_of(BP_HALF_MAX))
        return (uint16_t)(sign | (HALF_INFINITE - 1));
    if (size >= bits_of(0x1p-14f))
        return (uint16_t)(sign | (size + 0xfff + (size >> 13 & 1) - BIAS) >> 13);
    /* Below 1, what is added to 1/2 is rounded to steps of 2^-24, as halves so small are. */
    return (uint16_t)(sign | (bits_of(float_of(size) + 0.5f) - bits_of(0.5f)));
}

static inline float of_half(uint16_t x) {
    uint32_t size = x & 0x7fff, sign = (uint32_t)(x & 0x8000) << 16;
    if (size > HALF_INFINITE)
        return float_of(sign | 0x7fc00000 | size << 13);
    if (size == HALF_INFINITE)
        return float_of(sign | 0x7f800000);
    if (size < 0x400)
        return float_of(sign | bits_of((float)size * 0x1p-24f));
    return float_of(sign | ((size << 13) + BIAS));
}

void bp_settle_f16_c(float *x, size_t n, uint16_t *out) {
    for (size_t i = 0; i < n; i++) {
        out[i] = half_of(x[i] * (1.0f / BP_HALF_UNIT));
        x[i] = of_half(out[i]) * BP_HALF_UNIT;
    }
}

void bp_widen_f16_c(const uint16_t *x, size_t n, float *out) {
    for (size_t i = 0; i < n; i++)
        out[i] = of_half(x[i]) * BP_HALF_UNIT;
}

/* Inlined where rows and columns are constants. */
static inline void average(const float *x, size_t n, size_t step, size_t rows, size_t columns,
                           size_t row_step, size_t c, uint16_t *z) {
    const float scale = 1.0f / (float)(rows * columns);
    for (size_t p = 0; p < n; p++, x += step, z += c)
        for (size_t j = 0; j < c; j++) {
            float sum = x[j];
            if (columns == 2)
                sum += x[c + j];
            if (rows == 2)
                sum += x[row_step + j];
            if (rows == 2 && columns == 2)
                sum += x[row_step + c + j];
            z[j] = rounded(sum * scale);
        }
}

void bp_average_bf16_c(const float *x, size_t n, size_t step, size_t rows, size_t columns,
                       size_t row_step, size_t c, uint16_t *z) {
    if (rows == 2 && columns == 2)
        average(x, n, step, 2, 2, row_step, c, z);
    else if (columns == 2)
        average(x, n, step, 1, 2, row_step, c, z);
    else if (rows == 2)
        average(x, n, step, 2, 1, row_step, c, z);
    else
        average(x, n, step, 1, 1, row_step, c, z);
}
