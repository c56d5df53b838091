/* Tests of the bfloat16 kernels, and planted mistakes. Every bit counts, those of a NaN too. */
#include "kcheck/kcheck.h"

#include <math.h>
#include <string.h>

#include "kernels/c/tier_c.h"

static uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* The nearer of the two neighbours that have 16 bits, by their distance in double. */
static int16_t expected_bf16(float x) {
    uint32_t low = bits_of(x) >> 16, high = low + 1;
    if (isnan(x))
        return (int16_t)(uint16_t)(low | 0x40);
    if (isinf(x))
        return (int16_t)(uint16_t)low;
    double below = fabs((double)x - (double)float_of(low << 16));
    /* Beyond the largest stands what would be the next number. */
    double next = (high & 0x7fff) == 0x7f80 ? copysign(ldexp(1.0, 128), (double)x)
                                            : (double)float_of(high << 16);
    double above = fabs(next - (double)x);
    int up = above < below || (above == below && low % 2 != 0);
    return (int16_t)(uint16_t)(up ? high : low);
}

/* Numbers at ties and next to them, NaNs, and whatever bits come. */
static void fill_near_ties(struct kcheck *t, float *x, size_t count) {
    kc_fill_floats(t, x, count, KC_ANY_FLOAT);
    for (size_t i = 0; i < count; i++) {
        uint32_t bits = (uint32_t)kc_random(t);
        if (kc_below(t, 2) == 0)
            x[i] = float_of((bits & 0xffff0000) + 0x7fff + (uint32_t)kc_below(t, 3));
        else if (kc_below(t, 4) == 0)
            x[i] = float_of(bits);
    }
}

void kcheck_round_bf16(struct kcheck *t) {
    size_t rows, c;
    kc_sizes(t, &rows, &c);
    size_t n = t->is_bench ? rows * c : c + (rows > 40 ? rows : 0);
    kc_params(t, "n=%zu", n);
    kc_work(t, (double)n, "element");
    float *x = kc_input(t, "x", KC_F32, n);
    fill_near_ties(t, x, n);
    int16_t *out = kc_output(t, "out", KC_I16, n);
    for (size_t i = 0; i < n; i++)
        out[i] = expected_bf16(x[i]);
    while (kc_next(t))
        t->kernels->round_bf16(kc_at(t, x), n, kc_at(t, out));
}

void kcheck_average_bf16(struct kcheck *t) {
    size_t n, c, rows = 1 + kc_below(t, 2), columns = 1 + kc_below(t, 2);
    kc_sizes(t, &n, &c);
    if (t->is_bench)
        rows = columns = 2;
    size_t step = 2 * c, row_step = (2 * n + kc_below(t, 3)) * c;
    kc_params(t, "n=%zu c=%zu rows=%zu columns=%zu row_step=%zu", n, c, rows, columns, row_step);
    kc_work(t, (double)(rows * columns * n * c), "element");
    size_t count = (rows - 1) * row_step + (n - 1) * step + columns * c;
    float *x = kc_input(t, "x", KC_F32, count);
    kc_fill_floats(t, x, count, KC_FINITE);
    if (columns == 2 && kc_below(t, 2) == 0) /* large numbers that the first addition takes away */
        for (size_t i = 0; i < n * c; i++)
            x[i / c * step + c + i % c] = -x[i / c * step + i % c];
    int16_t *z = kc_output(t, "z", KC_I16, n * c);
    for (size_t p = 0; p < n; p++)
        for (size_t j = 0; j < c; j++) {
            volatile float sum = x[p * step + j];
            for (size_t i = 1; i < rows * columns; i++)
                sum += x[p * step + i / columns * row_step + i % columns * c + j];
            z[p * c + j] = expected_bf16(sum / (float)(rows * columns));
        }
    while (kc_next(t))
        t->kernels->average_bf16(kc_at(t, x), n, step, rows, columns, row_step, c, kc_at(t, z));
}

/* --- planted mistakes ------------------------------------------------------------------------- */

static void cuts(const float *x, size_t n, uint16_t *out) {
    for (size_t i = 0; i < n; i++)
        out[i] = (uint16_t)(bits_of(x[i]) >> 16 | (isnan(x[i]) ? 0x40 : 0));
}

static void ties_away_from_zero(const float *x, size_t n, uint16_t *out) {
    for (size_t i = 0; i < n; i++)
        out[i] =
            (uint16_t)(isnan(x[i]) ? bits_of(x[i]) >> 16 | 0x40 : (bits_of(x[i]) + 0x8000) >> 16);
}

static void nan_becomes_infinite(const float *x, size_t n, uint16_t *out) {
    bp_round_bf16_c(x, n, out);
    for (size_t i = 0; i < n; i++)
        if (bits_of(x[i]) == 0x7f800001 || bits_of(x[i]) << 1 > 0xff000000)
            out[i] = (uint16_t)((bits_of(x[i]) + 0x7fff) >> 16);
}

static void tiny_becomes_zero(const float *x, size_t n, uint16_t *out) {
    bp_round_bf16_c(x, n, out);
    for (size_t i = 0; i < n; i++)
        if (fpclassify(x[i]) == FP_SUBNORMAL)
            out[i] &= 0x8000;
}

static void writes_pairs(const float *x, size_t n, uint16_t *out) {
    bp_round_bf16_c(x, n, out);
    if (n % 2 != 0)
        ((volatile uint16_t *)out)[n] = 0;
}

static void always_quarter(const float *x, size_t n, size_t step, size_t rows, size_t columns,
                           size_t row_step, size_t c, uint16_t *z) {
    bp_average_bf16_c(x, n, step, rows, columns, row_step, c, z);
    for (size_t i = 0; rows * columns < 4 && i < n * c; i++)
        z[i] = (uint16_t)(z[i] - 0x80);
}

static void sums_columns_first(const float *x, size_t n, size_t step, size_t rows, size_t columns,
                               size_t row_step, size_t c, uint16_t *z) {
    bp_average_bf16_c(x, n, step, rows, columns, row_step, c, z);
    for (size_t i = 0; rows * columns == 4 && i < n * c; i++) {
        const float *at = x + i / c * step + i % c;
        float sum = ((at[0] + at[row_step]) + at[c]) + at[row_step + c];
        sum *= 0.25f;
        bp_round_bf16_c(&sum, 1, z + i);
    }
}

const struct kc_planted kc_planted_bf16[] = {
    {"round_bf16", "cuts instead of rounding", {.round_bf16 = cuts}},
    {"round_bf16", "ties away from zero", {.round_bf16 = ties_away_from_zero}},
    {"round_bf16", "NaN becomes a number", {.round_bf16 = nan_becomes_infinite}},
    {"round_bf16", "tiny numbers become zero", {.round_bf16 = tiny_becomes_zero}},
    {"round_bf16", "writes pairs", {.round_bf16 = writes_pairs}},
    {"average_bf16", "always of four", {.average_bf16 = always_quarter}},
    {"average_bf16", "sums down the columns", {.average_bf16 = sums_columns_first}},
};
const size_t kc_planted_bf16_count = sizeof kc_planted_bf16 / sizeof kc_planted_bf16[0];
