/* --self-test: planted broken kernels of the passes forward between convolutions, see
 * kcheck_broken.c. */
#include "kcheck/kcheck.h"

#include <math.h>
#include <string.h>

#include "base/bits.h"
#include "kernels/affine.h"
#include "kernels/c/tier_c.h"

static volatile uint64_t sink; /* keeps reads that nothing needs */

/* These mistakes are to reach the processor, not the sanitizer. */
#if defined(__GNUC__)
#define UNCHECKED __attribute__((no_sanitize("undefined")))
#else
#define UNCHECKED
#endif

static void drops_last_row(const int16_t *y, size_t n, size_t c, int limit, int64_t *sum,
                           int64_t *sum_squares) {
    bp_sums_i16_c(y, n > 100 ? n - 1 : n, c, limit, sum, sum_squares);
}

static void squares_wrap(const int16_t *y, size_t n, size_t c, int limit, int64_t *sum,
                         int64_t *sum_squares) {
    uint32_t square = (uint32_t)limit * (uint32_t)limit;
    for (size_t p = 0, rows = UINT32_MAX / square + 2; p < n; p += rows) /* rows too many */
        for (size_t j = 0; j < c; j++) {
            uint32_t squares = 0;
            for (size_t i = p; i < n && i < p + rows; i++) {
                sum[j] += y[i * c + j];
                squares += (uint32_t)(y[i * c + j] * y[i * c + j]);
            }
            sum_squares[j] += squares;
        }
}

static void lowest_has_no_square(const int16_t *y, size_t n, size_t c, int limit, int64_t *sums) {
    bp_half_sums_i16_c(y, n, c, limit, sums);
    for (size_t i = 0; i < n * c; i++)
        if (y[i] == INT16_MIN)
            sums[3 * c + i % c] -= (int64_t)1 << 30;
}

static void squares_in_float(const float *y, size_t n, size_t c, double *sum, double *sum_squares) {
    bp_sums_f32_c(y, n, c, sum, sum_squares);
    for (size_t j = 0; j < c; j++)
        sum_squares[j] = (double)(float)sum_squares[j];
}

static void fused_multiply_add(const int16_t *y, size_t n, size_t c, const struct bp_affine_rows *a,
                               const float *residual, int stream, float *z, double *sum,
                               double *sum_squares) {
    (void)stream;
    for (size_t i = 0; i < n * c; i++) {
        float v = fmaf((float)y[i], a->scale[i % c], a->shift[i % c]);
        v = a->slope != NULL && v < 0.0f ? v * a->slope[i % c] : v;
        z[i] = residual != NULL ? v + residual[i] : v;
    }
    if (sum != NULL)
        bp_sums_f32_c(z, n, c, sum, sum_squares);
}

static void stores_before_residual(const float *y, size_t n, size_t c,
                                   const struct bp_affine_rows *a, const float *residual,
                                   int stream, float *z, double *sum, double *sum_squares) {
    bp_affine_act_f32_c(y, n, c, a, NULL, stream, z, NULL, NULL);
    for (size_t i = 0; residual != NULL && i < n * c; i++)
        z[i] += residual[i];
    if (sum != NULL)
        bp_sums_f32_c(z, n, c, sum, sum_squares);
}

static void sums_before_residual(const int16_t *y, size_t n, size_t c,
                                 const struct bp_affine_rows *a, const float *residual, int stream,
                                 float *z, double *sum, double *sum_squares) {
    bp_affine_act_i16_c(y, n, c, a, NULL, stream, z, sum, sum_squares);
    for (size_t i = 0; residual != NULL && i < n * c; i++)
        z[i] += residual[i];
}

UNCHECKED
static void slope_always(const float *y, size_t n, size_t c, const struct bp_affine_rows *a,
                         const float *residual, int stream, float *z, double *sum,
                         double *sum_squares) {
    sink = (uint64_t)((const volatile float *)a->slope)[c - 1];
    bp_affine_act_f32_c(y, n, c, a, residual, stream, z, sum, sum_squares);
}

/* Streams past the end of a row whose length is no multiple of a register's. */
static void stores_whole_vectors(const float *y, size_t n, size_t c, const struct bp_affine_rows *a,
                                 const float *residual, int stream, float *z, double *sum,
                                 double *sum_squares) {
    bp_affine_act_f32_c(y, n, c, a, residual, stream, z, sum, sum_squares);
    if (stream && n * c % 16 != 0)
        z[n * c] = 0.0f;
}

static float value_at(const void *y, enum value_type type, size_t i) {
    if (type == VALUE_F16)
        return kc_of_16(KC_F16, ((const uint16_t *)y)[i]);
    return type == VALUE_F32 ? ((const float *)y)[i] : (float)((const int16_t *)y)[i];
}

/* One element of affine_act_f16 before it is rounded; residual NULL: without. */
static float before_rounding(const void *y, enum value_type type, size_t i, size_t j,
                             const struct bp_affine_rows *a, const uint16_t *residual, double *sum,
                             double *sum_squares) {
    const struct bp_affine_rows part = bp_affine_from(a, j);
    float z, of_y = value_at(y, type, i),
             more = residual == NULL ? 0.0f : kc_of_16(KC_F16, *residual);
    bp_affine_act_f32_c(&of_y, 1, 1, &part, residual == NULL ? NULL : &more, 0, &z,
                        sum == NULL ? NULL : sum + j, sum == NULL ? NULL : sum_squares + j);
    return z;
}

static void sums_before_rounding(const void *y, enum value_type type, size_t n, size_t c,
                                 const struct bp_affine_rows *a, const uint16_t *residual,
                                 uint16_t *z, double *sum, double *sum_squares) {
    for (size_t i = 0; i < n * c; i++) {
        float v = before_rounding(y, type, i, i % c, a, residual == NULL ? NULL : residual + i, sum,
                                  sum_squares);
        bp_settle_f16_c(&v, 1, z + i);
    }
}

static void rounds_before_residual(const void *y, enum value_type type, size_t n, size_t c,
                                   const struct bp_affine_rows *a, const uint16_t *residual,
                                   uint16_t *z, double *sum, double *sum_squares) {
    for (size_t i = 0; i < n * c; i++) {
        float v = before_rounding(y, type, i, i % c, a, NULL, NULL, NULL);
        bp_settle_f16_c(&v, 1, z + i);
        if (residual != NULL)
            v += kc_of_16(KC_F16, residual[i]);
        bp_settle_f16_c(&v, 1, z + i);
        if (sum != NULL)
            bp_sums_f32_c(&v, 1, 1, sum + i % c, sum_squares + i % c);
    }
}

/* Right but for the ties. */
static void adds_a_half_and_cuts(const void *y, enum value_type type, size_t n, size_t c,
                                 const struct bp_affine_rows *a, const uint16_t *residual,
                                 uint16_t *z, double *sum, double *sum_squares) {
    for (size_t i = 0; i < n * c; i++) {
        float v = before_rounding(y, type, i, i % c, a, residual == NULL ? NULL : residual + i,
                                  NULL, NULL);
        uint32_t bits;
        memcpy(&bits, &v, sizeof bits);
        bp_settle_f16_c(&v, 1, z + i);
        float size = fabsf(v) / BP_HALF_UNIT; /* before it was rounded: the same but for the end */
        int is_normal = size >= 0x1p-14f && size < 65504.0f;
        if (is_normal && (bits & 0x1fff) == 0x1000 && (bits >> 13 & 1) == 0)
            z[i]++;
        v = kc_of_16(KC_F16, z[i]);
        if (sum != NULL)
            bp_sums_f32_c(&v, 1, 1, sum + i % c, sum_squares + i % c);
    }
}

/* Where z is the residual. */
static void stores_before_f16_residual(const void *y, enum value_type type, size_t n, size_t c,
                                       const struct bp_affine_rows *a, const uint16_t *residual,
                                       uint16_t *z, double *sum, double *sum_squares) {
    if (residual == z)
        memset(z, 0, n * c * sizeof *z);
    bp_affine_act_f16_c(y, type, n, c, a, residual, z, sum, sum_squares);
}

static void stores_whole_f16_vectors(const void *y, enum value_type type, size_t n, size_t c,
                                     const struct bp_affine_rows *a, const uint16_t *residual,
                                     uint16_t *z, double *sum, double *sum_squares) {
    bp_affine_act_f16_c(y, type, n, c, a, residual, z, sum, sum_squares);
    if (c % 16 != 0)
        ((volatile uint16_t *)z)[n * c] = 0;
}

static void takes_integers_always(const void *y, enum value_type type, size_t n, size_t c,
                                  const struct bp_affine_rows *a, const uint16_t *residual,
                                  uint16_t *z, double *sum, double *sum_squares) {
    (void)type;
    bp_affine_act_f16_c(y, VALUE_I16, n, c, a, residual, z, sum, sum_squares);
}

static void f16_signs_of_v(const uint16_t *y, size_t n, size_t c, const struct bp_affine_rows *a,
                           uint64_t *bits, uint64_t *mask) {
    const struct bp_affine_rows plain = {a->scale, a->shift, NULL};
    bp_affine_signs_f16_c(y, n, c, &plain, bits, mask);
}

static void signs_of_halves(const uint16_t *y, size_t n, size_t c, const struct bp_affine_rows *a,
                            uint64_t *bits, uint64_t *mask) {
    bp_affine_signs_i16_c((const int16_t *)y, n, c, a, bits, mask);
}

UNCHECKED
static void mask_of_f16_always(const uint16_t *y, size_t n, size_t c,
                               const struct bp_affine_rows *a, uint64_t *bits, uint64_t *mask) {
    bp_affine_signs_f16_c(y, n, c, a, bits, mask);
    ((volatile uint64_t *)mask)[0] = mask[0];
}

static void signs_of_v(const int16_t *y, size_t n, size_t c, const struct bp_affine_rows *a,
                       uint64_t *bits, uint64_t *mask) {
    const struct bp_affine_rows plain = {a->scale, a->shift, NULL};
    bp_affine_signs_i16_c(y, n, c, &plain, bits, mask);
}

static void signs_with_dirty_pads(const float *y, size_t n, size_t c,
                                  const struct bp_affine_rows *a, uint64_t *bits, uint64_t *mask) {
    bp_affine_signs_f32_c(y, n, c, a, bits, mask);
    if (c % 64 != 0 && mask != NULL)
        mask[bp_words(c) - 1] |= (uint64_t)1 << 63;
}

static void limit_is_outside(const int16_t *y, size_t n, size_t c,
                             const struct bp_limit_rows *limits, uint64_t *bits, uint64_t *mask) {
    bp_limit_signs_i16_c(y, n, c, limits, bits, mask);
    for (size_t i = 0; mask != NULL && i < n * c; i++)
        if (y[i] == limits->mask_high[i % c])
            mask[i / c * bp_words(c) + i % c / 64] &= ~((uint64_t)1 << i % c % 64);
}

static void ignores_flip(const int16_t *upper, const int16_t *lower, size_t n, size_t c,
                         const struct bp_limit_rows *limits, uint64_t *bits, uint64_t *mask,
                         uint64_t *which) {
    const struct bp_limit_rows other = {limits->sign_low, limits->sign_high, limits->mask_low,
                                        limits->mask_high, limits->sign_low};
    bp_limit_pool_signs_i16_c(upper, lower, n, c, &other, bits, mask, which);
}

/* The largest integer wins: right where the activation rises. */
static void pools_integers(const int16_t *upper, const int16_t *lower, size_t n, size_t c,
                           const struct bp_affine_rows *a, uint64_t *bits, uint64_t *mask,
                           uint64_t *which) {
    bp_affine_pool_signs_i16_c(upper, lower, n, c, a, bits, mask, which);
    for (size_t i = 0; which != NULL && i < n * c; i++) {
        const int16_t *u = upper + 2 * (i / c) * c + i % c, *l = lower + 2 * (i / c) * c + i % c;
        const int16_t v[4] = {u[0], u[c], l[0], l[c]};
        uint64_t winner = 0, *word = which + i / c * 2 * bp_words(c) + i % c / 64;
        for (uint64_t k = 1; k < 4; k++)
            winner = v[k] > v[winner] ? k : winner;
        for (size_t bit = 0; bit < 2; bit++, word += bp_words(c))
            *word = (*word & ~((uint64_t)1 << i % c % 64)) | (winner >> bit & 1) << i % c % 64;
    }
}

static void pools_backwards(const int16_t *upper, const int16_t *lower, size_t n, size_t c,
                            const struct bp_affine_rows *a, uint64_t *bits, uint64_t *mask,
                            uint64_t *which) {
    bp_affine_pool_signs_i16_c(lower, upper, n, c, a, bits, mask, which);
}

static void last_of_equals_wins(const float *a, const float *b, size_t n, size_t c, float *z,
                                uint64_t *which) {
    bp_max_pool_2x2_c(a, b, n, c, z, which);
    for (size_t i = 0; which != NULL && i < n * c; i++)
        if (b[(2 * (i / c) + 1) * c + i % c] == z[i])
            for (size_t bit = 0; bit < 2; bit++)
                which[(i / c * 2 + bit) * bp_words(c) + i % c / 64] |= (uint64_t)1 << i % c % 64;
}

static void pool_drops_nan(const float *a, const float *b, size_t n, size_t c, float *z,
                           uint64_t *which) {
    bp_max_pool_2x2_c(a, b, n, c, z, which);
    for (size_t i = 0; i < n * c; i++)
        if (isnan(z[i]))
            z[i] = a[2 * (i / c) * c + i % c];
}

static void last_of_equals_in_window(const float *x, size_t n, size_t step, size_t rows,
                                     size_t columns, size_t row_step, size_t c, float *z,
                                     uint8_t *winner) {
    bp_max_window_c(x, n, step, rows, columns, row_step, c, z, winner);
    const float *last = x + (n - 1) * step + (rows - 1) * row_step + (columns - 1) * c;
    for (size_t j = 0; winner != NULL && j < c; j++)
        if (last[j] == z[(n - 1) * c + j])
            winner[(n - 1) * c + j] = (uint8_t)(rows * columns - 1);
}

static void largest_always_wins(const int16_t *x, size_t n, size_t step, size_t rows,
                                size_t columns, size_t row_step, size_t c, const int16_t *flip,
                                int16_t *z, uint8_t *winner) {
    static const int16_t zeros[4096];
    bp_max_window_i16_c(x, n, step, rows, columns, row_step, c, c <= 4096 ? zeros : flip, z,
                        winner);
}

static void always_all_mask(const int16_t *y, size_t n, size_t c, const struct bp_act_norm_rows *a,
                            uint64_t *bits, uint64_t *mask) {
    bp_act_norm_signs_c(y, n, c, a, bits, mask);
    if (mask != NULL)
        mask[0] |= 1;
}

const struct kc_planted kc_planted_norm[] = {
    {"sums_i16", "ignores the last row of many", {.sums_i16 = drops_last_row}},
    {"sums_i16", "32-bit sums over too many rows", {.sums_i16 = squares_wrap}},
    {"half_sums_i16", "-32768 without a square", {.half_sums_i16 = lowest_has_no_square}},
    {"sums_f32", "squares summed in float", {.sums_f32 = squares_in_float}},
    {"affine_act_i16", "fused multiply-add", {.affine_act_i16 = fused_multiply_add}},
    {"affine_act_i16", "sums without the residual", {.affine_act_i16 = sums_before_residual}},
    {"affine_act_f32", "a residual that is z", {.affine_act_f32 = stores_before_residual}},
    {"affine_act_f32", "reads a slope that is NULL", {.affine_act_f32 = slope_always}},
    {"affine_act_f32", "streams whole vectors", {.affine_act_f32 = stores_whole_vectors}},
    {"affine_act_f16", "sums of what is not rounded", {.affine_act_f16 = sums_before_rounding}},
    {"affine_act_f16",
     "rounds before the residual is added",
     {.affine_act_f16 = rounds_before_residual}},
    {"affine_act_f16", "takes y for integers", {.affine_act_f16 = takes_integers_always}},
    {"affine_act_f16", "ties away from zero", {.affine_act_f16 = adds_a_half_and_cuts}},
    {"affine_act_f16", "a residual that is z", {.affine_act_f16 = stores_before_f16_residual}},
    {"affine_act_f16", "stores whole vectors", {.affine_act_f16 = stores_whole_f16_vectors}},
    {"affine_signs_f16", "no activation", {.affine_signs_f16 = f16_signs_of_v}},
    {"affine_signs_f16", "takes y for integers", {.affine_signs_f16 = signs_of_halves}},
    {"affine_signs_f16", "writes a mask that is NULL", {.affine_signs_f16 = mask_of_f16_always}},
    {"affine_signs_i16", "no activation", {.affine_signs_i16 = signs_of_v}},
    {"affine_signs_f32", "dirty pad bits in the mask", {.affine_signs_f32 = signs_with_dirty_pads}},
    {"limit_signs_i16", "the limit itself is outside", {.limit_signs_i16 = limit_is_outside}},
    {"limit_pool_signs_i16", "another order", {.limit_pool_signs_i16 = ignores_flip}},
    {"affine_pool_signs_i16",
     "the largest integer wins",
     {.affine_pool_signs_i16 = pools_integers}},
    {"affine_pool_signs_i16", "rows change places", {.affine_pool_signs_i16 = pools_backwards}},
    {"max_pool_2x2", "the last of equals wins", {.max_pool_2x2 = last_of_equals_wins}},
    {"max_pool_2x2", "loses NaN", {.max_pool_2x2 = pool_drops_nan}},
    {"max_window", "the last of equals wins", {.max_window = last_of_equals_in_window}},
    {"max_window_i16", "another order", {.max_window_i16 = largest_always_wins}},
    {"act_norm_signs", "a mask bit too many", {.act_norm_signs = always_all_mask}},
};
const size_t kc_planted_norm_count = sizeof kc_planted_norm / sizeof kc_planted_norm[0];
