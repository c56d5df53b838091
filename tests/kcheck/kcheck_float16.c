/* Tests of the kernels of bfloat16 and of halves, and planted mistakes. Every bit counts, those of
 * a NaN too. */
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

static float of_bf16(uint16_t x) {
    return float_of((uint32_t)x << 16);
}

/* The nearer of the two neighbours that have 16 bits, by their distance in double. */
static uint16_t to_bf16(float x) {
    uint32_t low = bits_of(x) >> 16, high = low + 1;
    if (isnan(x))
        return (uint16_t)(low | 0x40);
    if (isinf(x))
        return (uint16_t)low;
    double below = fabs((double)x - (double)float_of(low << 16));
    /* Beyond the largest stands what would be the next number. */
    double next = (high & 0x7fff) == 0x7f80 ? copysign(ldexp(1.0, 128), (double)x)
                                            : (double)float_of(high << 16);
    double above = fabs(next - (double)x);
    int up = above < below || (above == below && low % 2 != 0);
    return (uint16_t)(up ? high : low);
}

static float of_f16(uint16_t x) {
    int exponent = x >> 10 & 31, fraction = x & 0x3ff;
    double size = exponent == 0    ? ldexp(fraction, -24)
                  : exponent == 31 ? (fraction == 0 ? INFINITY : NAN)
                                   : ldexp(1024 + fraction, exponent - 25);
    return (float)(x & 0x8000 ? -size : size) * BP_HALF_UNIT;
}

/* In steps of a half as large as x, whose number rint makes even where there are two. */
static uint16_t to_f16(float x) {
    uint32_t sign = bits_of(x) >> 16 & 0x8000;
    int exponent;
    x /= BP_HALF_UNIT;
    if (isnan(x))
        return (uint16_t)(sign | 0x7e00 | (bits_of(x) >> 13 & 0x3ff));
    if (fabsf(x) > BP_HALF_MAX)
        return (uint16_t)(sign | 0x7bff);
    frexp((double)x, &exponent);
    exponent = x == 0.0f || exponent < -13 ? -13 : exponent;
    double steps = rint(ldexp(fabs((double)x), 11 - exponent)); /* up to 2048 */
    return (uint16_t)(sign | (((uint32_t)(exponent + 13) << 10) + (uint32_t)steps));
}

uint16_t kc_to_16(enum kc_type type, float x) {
    return type == KC_F16 ? to_f16(x) : to_bf16(x);
}

float kc_of_16(enum kc_type type, uint16_t x) {
    return type == KC_F16 ? of_f16(x) : of_bf16(x);
}

struct kc_float16 kc_make_float16(struct kcheck *t, enum kc_type type, const char *name,
                                  size_t count, int is_output) {
    struct kc_float16 x = {is_output ? kc_output(t, name, type, count)
                                     : kc_input(t, name, type, count),
                           kc_input(t, "floats", KC_F32, count)};
    int with_any = !t->is_bench && kc_below(t, 4) == 0;
    if (type == KC_F16 && kc_below(t, 4) != 0)
        kc_fill_moderate(t, x.value, count);
    else
        kc_fill_floats(t, x.value, count, KC_ANY_FLOAT);
    for (size_t i = 0; i < count; i++) {
        x.bits[i] = kc_to_16(type, x.value[i]);
        if (with_any && kc_below(t, 16) == 0) /* below the normal ones, zero, or any */
            x.bits[i] = (uint16_t)(kc_random(t) & (kc_below(t, 2) != 0 ? 0xffff : 0x807f));
        x.value[i] = kc_of_16(type, x.bits[i]);
    }
    if (is_output)
        kc_keep_initial(t, x.bits);
    return x;
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

static size_t draw_count(struct kcheck *t) {
    size_t rows, c;
    kc_sizes(t, &rows, &c);
    size_t n = t->is_bench ? rows * c : c + (rows > 40 ? rows : 0);
    kc_params(t, "n=%zu", n);
    kc_work(t, (double)n, "element");
    return n;
}

void kcheck_round_bf16(struct kcheck *t) {
    size_t n = draw_count(t);
    float *x = kc_input(t, "x", KC_F32, n);
    fill_near_ties(t, x, n);
    uint16_t *out = kc_output(t, "out", KC_I16, n);
    for (size_t i = 0; i < n; i++)
        out[i] = to_bf16(x[i]);
    while (kc_next(t))
        t->kernels->round_bf16(kc_at(t, x), n, kc_at(t, out));
}

/* Likewise of halves, of the sizes that they have and somewhat beyond. */
static void fill_near_half_ties(struct kcheck *t, float *x, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint32_t bits = (uint32_t)kc_random(t), exponent = 108 + (uint32_t)kc_below(t, 46);
        if (kc_below(t, 16) == 0) { /* any */
            x[i] = float_of(bits);
            continue;
        }
        bits = (bits & 0x807fffff) | exponent << 23;
        if (kc_below(t, 2) == 0) /* of those with 11 bits and more */
            bits = (bits & 0xffffe000) + 0xfff + (uint32_t)kc_below(t, 3);
        else if (kc_below(t, 2) == 0) /* of few bits: small ones */
            bits &= 0xff800000 | (uint32_t)0x7fffff << kc_below(t, 23);
        x[i] = float_of(bits);
    }
}

void kcheck_settle_f16(struct kcheck *t) {
    size_t n = draw_count(t);
    float *x = kc_output(t, "x", KC_F32, n);
    fill_near_half_ties(t, x, n);
    kc_keep_initial(t, x);
    uint16_t *out = kc_output(t, "out", KC_I16, n);
    for (size_t i = 0; i < n; i++) {
        out[i] = to_f16(x[i]);
        x[i] = of_f16(out[i]);
    }
    while (kc_next(t))
        t->kernels->settle_f16(kc_at(t, x), n, kc_at(t, out));
}

struct widened {
    size_t n;
    uint16_t *x;
    float *out;
};

static struct widened make_widened(struct kcheck *t, enum kc_type type) {
    struct widened w = {.n = draw_count(t)};
    w.x = kc_input(t, "x", KC_I16, w.n);
    w.out = kc_output(t, "out", KC_F32, w.n);
    for (size_t i = 0; i < w.n; i++) {
        w.x[i] = (uint16_t)kc_random(t);
        if (kc_below(t, 8) == 0)
            w.x[i] &= 0x83ff;
        w.out[i] = kc_of_16(type, w.x[i]);
    }
    return w;
}

void kcheck_widen_bf16(struct kcheck *t) {
    struct widened w = make_widened(t, KC_BF16);
    while (kc_next(t))
        t->kernels->widen_bf16(kc_at(t, w.x), w.n, kc_at(t, w.out));
}

void kcheck_widen_f16(struct kcheck *t) {
    struct widened w = make_widened(t, KC_F16);
    while (kc_next(t))
        t->kernels->widen_f16(kc_at(t, w.x), w.n, kc_at(t, w.out));
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
    uint16_t *z = kc_output(t, "z", KC_I16, n * c);
    for (size_t p = 0; p < n; p++)
        for (size_t j = 0; j < c; j++) {
            volatile float sum = x[p * step + j];
            for (size_t i = 1; i < rows * columns; i++)
                sum += x[p * step + i / columns * row_step + i % columns * c + j];
            z[p * c + j] = to_bf16(sum / (float)(rows * columns));
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

static void settles_nothing(float *x, size_t n, uint16_t *out) {
    for (size_t i = 0; i < n; i++) {
        float value = x[i];
        bp_settle_f16_c(&value, 1, out + i);
    }
}

static void settles_whole_vectors(float *x, size_t n, uint16_t *out) {
    float last = x[n - 1];
    bp_settle_f16_c(x, n, out);
    if (n % 16 != 0)
        x[n - 1] = last;
}

static void widens_signed(const uint16_t *x, size_t n, float *out) {
    bp_widen_bf16_c(x, n, out);
    for (size_t i = 0; i < n; i++)
        if (x[i] & 0x8000)
            out[i] = float_of(bits_of(out[i]) | 1);
}

/* By way of bfloat16. */
static void loses_three_bits(float *x, size_t n, uint16_t *out) {
    for (size_t i = 0; i < n; i++)
        x[i] = of_bf16(to_bf16(x[i]));
    bp_settle_f16_c(x, n, out);
}

static void small_halves_become_zero(float *x, size_t n, uint16_t *out) {
    bp_settle_f16_c(x, n, out);
    for (size_t i = 0; i < n; i++)
        if ((out[i] & 0x7c00) == 0) {
            out[i] &= 0x8000;
            x[i] = copysignf(0.0f, x[i]);
        }
}

static void large_ones_become_infinite(float *x, size_t n, uint16_t *out) {
    for (size_t i = 0; i < n; i++) {
        int is_large = fabsf(x[i]) >= 65520.0f * BP_HALF_UNIT;
        bp_settle_f16_c(x + i, 1, out + i);
        if (is_large)
            x[i] = of_f16(++out[i]);
    }
}

static void half_ties_away_from_zero(float *x, size_t n, uint16_t *out) {
    for (size_t i = 0; i < n; i++) {
        int is_tie =
            (bits_of(x[i]) & 0x3fff) == 0x1000 && fabsf(x[i]) > 0x1p-14f && fabsf(x[i]) < 65504.0f;
        bp_settle_f16_c(x + i, 1, out + i);
        if (is_tie)
            x[i] = of_f16(++out[i]);
    }
}

static void widens_small_halves_to_zero(const uint16_t *x, size_t n, float *out) {
    bp_widen_f16_c(x, n, out);
    for (size_t i = 0; i < n; i++)
        if ((x[i] & 0x7c00) == 0)
            out[i] = copysignf(0.0f, out[i]);
}

static void widens_as_bf16(const uint16_t *x, size_t n, float *out) {
    bp_widen_bf16_c(x, n, out);
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

const struct kc_planted kc_planted_float16[] = {
    {"round_bf16", "cuts instead of rounding", {.round_bf16 = cuts}},
    {"round_bf16", "ties away from zero", {.round_bf16 = ties_away_from_zero}},
    {"round_bf16", "NaN becomes a number", {.round_bf16 = nan_becomes_infinite}},
    {"round_bf16", "tiny numbers become zero", {.round_bf16 = tiny_becomes_zero}},
    {"round_bf16", "writes pairs", {.round_bf16 = writes_pairs}},
    {"widen_bf16", "as signed numbers", {.widen_bf16 = widens_signed}},
    {"settle_f16", "x stays as it is", {.settle_f16 = settles_nothing}},
    {"settle_f16", "whole vectors of x only", {.settle_f16 = settles_whole_vectors}},
    {"settle_f16", "by way of bfloat16", {.settle_f16 = loses_three_bits}},
    {"settle_f16", "small ones become zero", {.settle_f16 = small_halves_become_zero}},
    {"settle_f16", "large ones become infinite", {.settle_f16 = large_ones_become_infinite}},
    {"settle_f16", "ties away from zero", {.settle_f16 = half_ties_away_from_zero}},
    {"widen_f16", "small ones become zero", {.widen_f16 = widens_small_halves_to_zero}},
    {"widen_f16", "takes them for bfloat16", {.widen_f16 = widens_as_bf16}},
    {"average_bf16", "always of four", {.average_bf16 = always_quarter}},
    {"average_bf16", "sums down the columns", {.average_bf16 = sums_columns_first}},
};
const size_t kc_planted_float16_count = sizeof kc_planted_float16 / sizeof kc_planted_float16[0];
