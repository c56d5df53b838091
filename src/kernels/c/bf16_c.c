/* Products of bfloat16: for the tests, as those of tiles of bytes (tiles_c.c). */
#include "kernels/c/tier_c.h"

#include <string.h>

#include "base/bits.h"

enum { STEP = 32, LANES = 16 };

void bp_pack_bf16_c(const uint16_t *x, size_t n, size_t c, size_t stride, uint16_t *out) {
    for (size_t b = 0; b < c; b += LANES)
        for (size_t p = 0; p < bp_round_up(n, STEP); p += 2)
            for (size_t j = b; j < b + LANES; j++)
                for (size_t e = 0; e < 2; e++)
                    *out++ = p + e < n ? x[(p + e) * stride + j] : 0;
}

void bp_turn_bf16_c(const uint16_t *x, size_t n, size_t c, size_t stride, uint16_t *out,
                    size_t pitch) {
    for (size_t j = 0; j < c; j++)
        for (size_t i = 0; i < bp_round_up(n, STEP); i++)
            out[j * pitch + i] = i < n ? x[i * stride + j] : 0;
}

static float value_of(uint16_t x) {
    uint32_t bits = (uint32_t)x << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* w: of one lane. */
static float step_of(const uint16_t *x, const uint16_t *w) {
    float even = 0.0f, odd = 0.0f;
    for (size_t q = 0; q < STEP; q += 2, w += 2 * LANES) {
        even += value_of(x[q]) * value_of(w[0]);
        odd += value_of(x[q + 1]) * value_of(w[1]);
    }
    return even + odd;
}

void bp_product_bf16_c(const uint16_t *x, size_t n, size_t x_stride, const uint16_t *w,
                       size_t steps, size_t c, int add, float *y, size_t y_stride,
                       struct bp_fetch soon) {
    (void)soon;
    for (size_t i = 0; i < n; i++, x += x_stride, y += y_stride)
        for (size_t j = 0; j < c; j++) {
            const uint16_t *of = w + j / LANES * steps * STEP * LANES + j % LANES * 2;
            float sum = add ? y[j] : 0.0f;
            for (size_t s = 0; s < steps; s++)
                sum += step_of(x + s * STEP, of + s * STEP * LANES);
            y[j] = sum;
        }
}
