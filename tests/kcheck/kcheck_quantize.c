/* Tests of the gradient quantizer's loops. */
#include "kcheck/kcheck.h"

#include <math.h>
#include <string.h>

#include "base/bits.h"

static struct bp_rounding draw_rounding(struct kcheck *t) {
    int bits = t->layer != NULL ? 4 : 1 + (int)kc_below(t, 8);
    int with_zero = bits > 1 && (t->layer != NULL || kc_below(t, 2));
    struct bp_rounding rounding;
    rounding.code_max = with_zero ? (1 << (bits - 1)) - 1 : (1 << bits) - 1;
    rounding.code_min = with_zero ? -rounding.code_max : 0;
    rounding.wide = rounding.code_max > 127 || (t->layer == NULL && kc_below(t, 3) == 0);
    return rounding;
}

/* Grids that use all codes, and now and then an odd one. */
static struct bp_grid draw_grid(struct kcheck *t, const struct bp_rounding *rounding) {
    float steps = (float)(rounding->code_max - rounding->code_min);
    struct bp_grid grid = {rounding->code_min < 0 ? 0.0f : -2.0f, steps / 4.0f};
    if (kc_below(t, 4) == 0) {
        grid.lo = kc_moderate(t);
        grid.inv_step = kc_below(t, 6) == 0 ? INFINITY : kc_moderate(t) * 100.0f;
    }
    return grid;
}

/* Random bytes of n elements. */
static uint8_t *draw_random(struct kcheck *t, const struct bp_rounding *rounding, size_t n) {
    size_t bytes = n * bp_rounding_bytes(rounding);
    uint8_t *random = kc_input(t, "random", KC_U8, bytes);
    kc_fill_bytes(t, random, bytes);
    return random;
}

static uint8_t expected_code(float g, struct bp_grid grid, const struct bp_rounding *rounding,
                             const uint8_t *random, size_t i) {
    float parts = rounding->wide ? 65536.0f : 256.0f, by = grid.inv_step * parts;
    int number = rounding->wide ? random[2 * i] + 256 * random[2 * i + 1] : random[i];
    float t = (g - grid.lo) * by;
    if (isnan(t))
        return (uint8_t)rounding->code_min;
    double code = floor((rint((double)t) + number) / (double)parts);
    code = fmin(fmax(code, rounding->code_min), rounding->code_max);
    return (uint8_t)(int)code;
}

void kcheck_round_group(struct kcheck *t) {
    size_t n, c;
    kc_sizes(t, &n, &c);
    n = t->layer != NULL ? n * t->layer->k : t->case_index < KC_SWEEP ? c : n * c;
    struct bp_rounding drawn = draw_rounding(t);
    struct bp_grid grid = draw_grid(t, &drawn);
    kc_params(t, "n=%zu codes %d .. %d wide=%d lo=%g inv_step=%g", n, drawn.code_min,
              drawn.code_max, drawn.wide, (double)grid.lo, (double)grid.inv_step);
    kc_work(t, (double)n, "element");
    float *g = kc_input(t, "g", KC_F32, n);
    kc_fill_floats(t, g, n, KC_ANY_FLOAT);
    struct bp_rounding *rounding = kc_input(t, "rounding", KC_I32, sizeof drawn / 4);
    *rounding = drawn;
    const uint8_t *random = draw_random(t, &drawn, n);
    uint8_t *codes = kc_output(t, "codes", KC_U8, n);
    for (size_t i = 0; i < n; i++)
        codes[i] = expected_code(g[i], grid, &drawn, random, i);
    while (kc_next(t))
        t->kernels->round_group(kc_at(t, g), n, kc_at(t, random), kc_at(t, rounding), grid,
                                kc_at(t, codes));
}

void kcheck_round_columns(struct kcheck *t) {
    size_t n, k;
    kc_sizes(t, &n, &k);
    k = t->layer != NULL ? (t->layer->k + 3) / 4 : k;
    size_t stride = t->layer != NULL ? t->layer->k : k + kc_below(t, 2) * kc_below(t, 3 * k);
    int in_order = t->layer != NULL || kc_below(t, 2);
    struct bp_rounding drawn = draw_rounding(t);
    kc_params(t, "n=%zu k=%zu g_stride=%zu columns %s codes %d .. %d wide=%d", n, k, stride,
              in_order ? "in order" : "anyhow", drawn.code_min, drawn.code_max, drawn.wide);
    kc_work(t, (double)(n * k), "element");
    float *g = kc_input(t, "g", KC_F32, n * stride);
    kc_fill_floats(t, g, n * stride, KC_ANY_FLOAT);
    int32_t *column = kc_input(t, "column", KC_I32, k);
    struct bp_grid *grid = kc_input(t, "grid", KC_F32, 2 * k);
    struct bp_rounding *rounding = kc_input(t, "rounding", KC_I32, sizeof drawn / 4);
    *rounding = drawn;
    for (size_t j = 0; j < k; j++) {
        column[j] = (int32_t)(in_order ? j * stride / k : kc_below(t, stride));
        grid[j] = draw_grid(t, &drawn);
    }
    const uint8_t *random = draw_random(t, &drawn, n * k);
    uint8_t *codes = kc_output(t, "codes", KC_U8, n * k);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < k; j++)
            codes[i * k + j] = expected_code(g[i * stride + (size_t)column[j]], grid[j], &drawn,
                                             random, i * k + j);
    while (kc_next(t))
        t->kernels->round_columns(kc_at(t, g), n, stride, kc_at(t, column), k, kc_at(t, random),
                                  kc_at(t, rounding), kc_at(t, grid), kc_at(t, codes));
}

/* --- both at once ----------------------------------------------------------------------------- */

static struct bp_grid draw_grid_with_zero(struct kcheck *t, const struct bp_rounding *rounding) {
    struct bp_grid grid = draw_grid(t, rounding);
    grid.lo = 0.0f;
    return grid;
}

struct bp_rounding_both kc_make_both(struct kcheck *t, size_t n, size_t c) {
    struct bp_rounding_both both = {.group = draw_rounding(t), .columns = draw_rounding(t)};
    struct bp_grid *grids = kc_input(t, "column_grids", KC_F32, 2 * c);
    both.group_grid = draw_grid_with_zero(t, &both.group);
    for (size_t j = 0; j < c; j++)
        grids[j] = draw_grid_with_zero(t, &both.columns);
    both.column_grids = grids;
    both.group_random = draw_random(t, &both.group, n * c);
    both.column_random = draw_random(t, &both.columns, n * c);
    both.group_codes = kc_output(t, "group_codes", KC_U8, n * c);
    both.column_codes = kc_output(t, "column_codes", KC_U8, n * c);
    return both;
}

void kc_both_expect(const struct bp_rounding_both *both, size_t c, size_t i, float g) {
    both->group_codes[i] = expected_code(g, both->group_grid, &both->group, both->group_random, i);
    both->column_codes[i] =
        expected_code(g, both->column_grids[i % c], &both->columns, both->column_random, i);
}

struct bp_rounding_both kc_both_at(struct kcheck *t, const struct bp_rounding_both *both) {
    struct bp_rounding_both at = *both;
    at.column_grids = kc_at(t, both->column_grids);
    at.group_random = kc_at(t, both->group_random);
    at.column_random = kc_at(t, both->column_random);
    at.group_codes = kc_at(t, both->group_codes);
    at.column_codes = kc_at(t, both->column_codes);
    return at;
}

void kcheck_scale_mask(struct kcheck *t) {
    size_t n, c, rows = 1 + kc_below(t, 9);
    kc_sizes(t, &n, &c);
    size_t cw = bp_words(c);
    float scale = kc_below(t, 8) ? kc_moderate(t) : -0.0f;
    kc_params(t, "n=%zu c=%zu rows=%zu scale=%g", n, c, rows, (double)scale);
    kc_work(t, (double)(n * c), "element");
    int32_t *sum = kc_input(t, "sum", KC_I32, n * c);
    uint64_t *mask = kc_input(t, "mask", KC_U64, n * cw);
    float *offset = kc_input(t, "offset", KC_F32, rows * c);
    uint8_t *row = kc_input(t, "row", KC_U8, n);
    int small = kc_below(t, 2) != 0; /* else some sums that a float cannot hold */
    for (size_t i = 0; i < n * c; i++)
        sum[i] = small ? (int32_t)kc_below(t, 20001) - 10000 : (int32_t)kc_random(t);
    kc_fill_bits(t, mask, n, c);
    kc_fill_floats(t, offset, rows * c, KC_ANY_FLOAT);
    for (size_t p = 0; p < n; p++)
        row[p] = (uint8_t)kc_below(t, rows);
    float *out = kc_output(t, "out", KC_F32, n * c);
    for (size_t p = 0; p < n; p++)
        for (size_t j = 0; j < c; j++)
            if (bp_bit(mask + p * cw, j)) {
                float product = scale * (float)sum[p * c + j];
                out[p * c + j] = product + offset[row[p] * c + j];
            }
    while (kc_next(t))
        t->kernels->scale_mask(kc_at(t, sum), kc_at(t, mask), n, c, scale, kc_at(t, offset),
                               kc_at(t, row), kc_at(t, out));
}

/* A number that becomes one of 16 bits, the largest ones too, by a shift; halves often. */
static int32_t shifts_to_16_bits(struct kcheck *t, int shift, int16_t *to) {
    int32_t wanted = (int32_t)kc_below(t, 65536) - 32768, value;
    if (kc_below(t, 4) == 0)
        wanted = kc_below(t, 2) ? INT16_MAX : INT16_MIN;
    *to = (int16_t)wanted;
    value = wanted * (1 << shift);
    if (shift == 0)
        return value;
    const int32_t half = 1 << (shift - 1), most = wanted % 2 == 0 ? half : half - 1;
    return kc_below(t, 4) == 0 ? value + (kc_below(t, 2) ? most : -most)
                               : value - most + (int32_t)kc_below(t, (size_t)(2 * most + 1));
}

void kcheck_mask_sums(struct kcheck *t) {
    size_t n, c;
    kc_sizes(t, &n, &c);
    size_t cw = bp_words(c);
    const int shift = (int)kc_below(t, 9);
    kc_params(t, "n=%zu c=%zu shift=%d", n, c, shift);
    kc_work(t, (double)(n * c), "element");
    int32_t *sum = kc_input(t, "sum", KC_I32, n * c);
    uint64_t *mask = kc_input(t, "mask", KC_U64, n * cw);
    kc_fill_bits(t, mask, n, c);
    int16_t *out = kc_output(t, "out", KC_I16, n * c);
    for (size_t p = 0; p < n; p++)
        for (size_t j = 0; j < c; j++) {
            int32_t value = (int32_t)kc_below(t, (size_t)1 << 31) - (1 << 30);
            if (bp_bit(mask + p * cw, j))
                value = shifts_to_16_bits(t, shift, &out[p * c + j]);
            sum[p * c + j] = value;
        }
    while (kc_next(t))
        t->kernels->mask_sums(kc_at(t, sum), kc_at(t, mask), n, c, shift, kc_at(t, out));
}

void kcheck_scale_latent(struct kcheck *t) {
    size_t n = 1 + kc_below(t, 700);
    int with_neg = kc_below(t, 3) != 0, with_high = with_neg && kc_below(t, 2), with_w;
    int32_t valid = (int32_t)kc_below(t, 100000);
    struct bp_latent_scale by = {(int32_t)kc_below(t, 2000001) - 1000000,
                                 (int32_t)kc_below(t, 511) - 255,
                                 valid,
                                 kc_moderate(t),
                                 kc_moderate(t),
                                 (int32_t)kc_below(t, 9)}; /* for others */
    with_w = kc_below(t, 8) != 0;
    kc_params(t, "n=%zu known=%d off=%d valid=%d scale=%g offset=%g%s%s%s", n, by.known, by.off,
              by.valid, (double)by.scale, (double)by.offset, with_high ? " high" : "",
              with_neg ? " neg" : "", with_w ? " w" : "");
    kc_work(t, (double)n, "element");
    int32_t *sum = kc_input(t, "sum", KC_I32, n);
    int32_t *high = with_high ? kc_input(t, "high", KC_I32, n) : NULL;
    int32_t *neg = with_neg ? kc_input(t, "neg", KC_I32, n) : NULL;
    float *w = with_w ? kc_input(t, "w", KC_F32, n) : NULL;
    struct bp_latent_scale *given = kc_input(t, "by", KC_I32, sizeof by / sizeof(int32_t));
    float *out = kc_output(t, "out", KC_F32, n);
    memcpy(given, &by, sizeof by);
    if (with_w)
        kc_fill_floats(t, w, n, KC_ANY_FLOAT);
    for (size_t j = 0; j < n; j++) {
        /* Terms that do not fit alone, too: a large `high` is taken back by `sum`. */
        int32_t many = with_high ? (int32_t)kc_random(t) : 0, minus = 0;
        if (with_high)
            high[j] = many;
        if (with_neg)
            neg[j] = minus = (int32_t)kc_below(t, (size_t)valid + 1);
        if (with_w && kc_below(t, 8) == 0)
            w[j] = kc_below(t, 2) ? 1.0f : -1.0f;
        int64_t total = (int64_t)kc_below(t, 1 << 30) - (1 << 29);
        int64_t rest = total - 16 * (int64_t)many - by.known + (int64_t)by.off * minus;
        sum[j] = (int32_t)(uint32_t)(uint64_t)rest;
        float value = by.scale * (float)total;
        if (with_neg)
            value += by.offset * (float)(valid - 2 * minus);
        out[j] = !with_w || fabsf(w[j]) < 1.0f ? value : 0.0f;
    }
    while (kc_next(t))
        t->kernels->scale_latent(kc_at(t, given), kc_at(t, sum), kc_at(t, high), kc_at(t, neg),
                                 kc_at(t, w), n, kc_at(t, out));
}

void kcheck_narrow_sums(struct kcheck *t) {
    const size_t n = 1 + kc_below(t, 700);
    const int with_neg = kc_below(t, 2) != 0, with_high = with_neg && kc_below(t, 2);
    const struct bp_latent_scale by = {.known = (int32_t)kc_below(t, 2000001) - 1000000,
                                       .off = (int32_t)kc_below(t, 511) - 255,
                                       .shift = (int32_t)kc_below(t, 9)};
    kc_params(t, "n=%zu known=%d off=%d shift=%d%s%s", n, by.known, by.off, by.shift,
              with_high ? " high" : "", with_neg ? " neg" : "");
    kc_work(t, (double)n, "element");
    int32_t *sum = kc_input(t, "sum", KC_I32, n);
    int32_t *high = with_high ? kc_input(t, "high", KC_I32, n) : NULL;
    int32_t *neg = with_neg ? kc_input(t, "neg", KC_I32, n) : NULL;
    struct bp_latent_scale *given = kc_input(t, "by", KC_I32, sizeof by / sizeof(int32_t));
    int16_t *out = kc_output(t, "out", KC_I16, n);
    memcpy(given, &by, sizeof by);
    for (size_t j = 0; j < n; j++) {
        int64_t rest = shifts_to_16_bits(t, by.shift, &out[j]) - by.known;
        if (with_high)
            rest -= 16 * (int64_t)(high[j] = (int32_t)kc_random(t));
        if (with_neg)
            rest += (int64_t)by.off * (neg[j] = (int32_t)kc_below(t, 100000));
        sum[j] = (int32_t)(uint32_t)(uint64_t)rest;
    }
    while (kc_next(t))
        t->kernels->narrow_sums(kc_at(t, given), kc_at(t, sum), kc_at(t, high), kc_at(t, neg), n,
                                kc_at(t, out));
}

void kcheck_latent_gradient(struct kcheck *t) {
    const size_t n = 1 + kc_below(t, 700);
    const float scale = kc_below(t, 16) == 0 ? INFINITY : kc_moderate(t);
    kc_params(t, "n=%zu scale=%g", n, (double)scale);
    kc_work(t, (double)n, "element");
    int16_t *sum = kc_input(t, "sum", KC_I16, n);
    float *w = kc_input(t, "w", KC_F32, n), *out = kc_output(t, "out", KC_F32, n);
    kc_fill_floats(t, w, n, KC_ANY_FLOAT);
    for (size_t j = 0; j < n; j++) {
        sum[j] = (int16_t)((int32_t)kc_below(t, 65536) - 32768);
        if (kc_below(t, 8) == 0)
            w[j] = kc_below(t, 2) ? 1.0f : -1.0f;
        out[j] = fabsf(w[j]) < 1.0f ? scale * (float)sum[j] : 0.0f;
    }
    while (kc_next(t))
        t->kernels->latent_gradient(kc_at(t, sum), scale, kc_at(t, w), n, kc_at(t, out));
}
