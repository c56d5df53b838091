/* --self-test: planted broken kernels of activation and normalisation, see kcheck_broken.c. */
#include "kcheck/kcheck.h"

#include <math.h>
#include <string.h>

#include "base/bits.h"
#include "kernels/c/tier_c.h"

static volatile uint64_t sink; /* keeps reads that nothing needs */

static void always_all_mask(const int16_t *y, size_t n, size_t c, const struct bp_act_norm_rows *a,
                            uint64_t *bits, uint64_t *mask) {
    bp_act_norm_signs_c(y, n, c, a, bits, mask);
    if (mask != NULL)
        mask[0] |= 1;
}

static void swaps_sums(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                       const struct bp_act_norm_rows *a, float *sum_g, float *sum_gh,
                       float *sum_gu) {
    bp_act_norm_sums_c(g, y, n, c, a, sum_gh, sum_g, sum_gu);
}

static void grad_of_last_row_twice(const struct bp_gradient_rows *g, const int16_t *y, size_t n,
                                   size_t c, const struct bp_act_norm_rows *a, float *out) {
    bp_act_norm_grad_c(g, y, n, c, a, out);
    out[n * c - 1] *= 2.0f;
}

static void range_of_first_rows(const struct bp_gradient_rows *g, const int16_t *y, size_t n,
                                size_t c, const struct bp_act_norm_rows *a, struct bp_columns to) {
    bp_act_norm_range_c(g, y, n > 4 ? n - n % 4 : n, c, a, to);
}

/* One grid for all columns, that of the first. */
static void grid_of_the_first_column(const struct bp_gradient_rows *g, const int16_t *y, size_t n,
                                     size_t c, const struct bp_act_norm_rows *a,
                                     const struct bp_rounding_both *both) {
    struct bp_grid grids[BP_BOTH_CHANNELS];
    struct bp_rounding_both other = *both;
    for (size_t j = 0; j < c; j++)
        grids[j] = both->column_grids[0];
    other.column_grids = grids;
    bp_act_norm_codes_c(g, y, n, c, a, &other);
}

static void codes_without_constant(const struct bp_gradient_rows *g, const int16_t *y, size_t n,
                                   size_t c, const float *scale, const float *shift,
                                   const float *slope, const float *ka, const float *kb,
                                   const float *kc, const struct bp_rounding_both *both) {
    bp_act_codes_i16_c(g, y, n, c, scale, shift, slope, ka, kb, g == NULL ? kb : kc, both);
}

static void range_without_constant(const struct bp_gradient_rows *g, const int16_t *y, size_t n,
                                   size_t c, const float *scale, const float *shift,
                                   const float *slope, const float *ka, const float *kb,
                                   const float *kc, struct bp_columns to) {
    bp_act_range_i16_c(g, y, n, c, scale, shift, slope, ka, kb, g == NULL ? kb : kc, to);
}

/* Sums as if they were without a sign. */
static void takes_sums_unsigned(const struct bp_gradient_rows *g, const int16_t *y, size_t n,
                                size_t c, const struct bp_act_norm_rows *a, float *out) {
    bp_act_norm_grad_c(g, y, n, c, a, out);
    if (g != NULL && g->floats == NULL && g->sums[n * c - 1] < 0)
        out[n * c - 1] += g->scale * 65536.0f;
}

static void forgets_the_scale(const struct bp_gradient_rows *g, const float *y, size_t n, size_t c,
                              const float *scale, const float *shift, const float *slope,
                              float *sum_g, float *sum_gy, float *sum_slope) {
    struct bp_gradient_rows other = *g;
    other.scale = 1.0f;
    bp_act_sums_f32_c(&other, y, n, c, scale, shift, slope, sum_g, sum_gy, sum_slope);
}

static void columns_in_their_order(const int16_t *y, size_t n, size_t c, const int32_t *column,
                                   size_t k, const struct bp_act_norm_rows *a, float *out) {
    bp_act_norm_columns_c(y, n, c, column, k, a, out);
    if (k > 1 && column[k - 1] != (int32_t)k - 1)
        out[k - 1] = out[0];
}

static void coefficients_in_their_order(const int16_t *y, size_t n, size_t c, const int32_t *column,
                                        size_t k, const float *kb, const float *kc, float *out) {
    bp_act_columns_i16_c(y, n, c, column, k, kb, kc, out);
    for (size_t i = 0; i < n * k; i++)
        out[i] = (float)y[i / k * c + (size_t)column[i % k]] * kb[i % k] + kc[i % k];
}

static void averages_fused(const float *g, size_t n, size_t columns, size_t c, float scale, int add,
                           float *dx) {
    if (!add)
        bp_average_back_c(g, n, columns, c, scale, add, dx);
    for (size_t i = 0; add && i < n * columns * c; i++)
        dx[i] = fmaf(scale, g[i / c / columns * c + i % c], dx[i]);
}

static void always_two_pixels(const float *g, size_t n, size_t columns, size_t c, float scale,
                              int add, float *dx) {
    bp_average_back_c(g, columns == 1 ? n / 2 : n, 2, c, scale, add, dx);
}

static void forgets_last_window(const float *g, const uint8_t *winner, const size_t *offset,
                                const uint8_t *index, size_t count, size_t n, size_t c, size_t step,
                                int add, float *dx) {
    bp_max_window_back_c(g, winner, offset, index, count > 2 ? count - 1 : count, n, c, step, add,
                         dx);
}

static void always_adds(const float *g, const uint8_t *winner, const size_t *offset,
                        const uint8_t *index, size_t count, size_t n, size_t c, size_t step,
                        int add, float *dx) {
    bp_max_window_back_c(g, winner, offset, index, count, n, c, step, add | 1, dx);
}

static void sums_from_the_last_row(const struct bp_gradient_rows *g, const int16_t *y, size_t n,
                                   size_t c, const float *scale, const float *shift,
                                   const float *slope, float *sum_g, float *sum_gy,
                                   float *sum_slope) {
    for (size_t p = n; p-- > 0;) {
        const struct bp_gradient_rows row = bp_gradient_from(g, p * c);
        bp_act_sums_i16_c(&row, y + p * c, 1, c, scale, shift, slope, sum_g, sum_gy, sum_slope);
    }
}

static void winners_of_one_row(const struct bp_gradient_rows *g, const int16_t *upper,
                               const int16_t *lower, const uint64_t *which, size_t n, size_t c,
                               const float *scale, const float *shift, const float *slope,
                               float *sum_g, float *sum_gy, float *sum_slope) {
    (void)lower;
    bp_pool_sums_i16_c(g, upper, upper, which, n, c, scale, shift, slope, sum_g, sum_gy, sum_slope);
}

static void windows_from_the_last(const struct bp_gradient_rows *g, const int16_t *upper,
                                  const int16_t *lower, const uint64_t *which, size_t n, size_t c,
                                  const float *scale, const float *shift, const float *slope,
                                  float *sum_g, float *sum_gy, float *sum_slope) {
    for (size_t p = n; p-- > 0;) {
        const struct bp_gradient_rows one = bp_gradient_from(g, p * c);
        bp_pool_sums_i16_c(&one, upper + 2 * p * c, lower + 2 * p * c, which + 2 * p * bp_words(c),
                           1, c, scale, shift, slope, sum_g, sum_gy, sum_slope);
    }
}

static void pooled_range_without_slope(const struct bp_gradient_rows *g, const int16_t *y,
                                       const uint64_t *which, size_t n, size_t c,
                                       const float *scale, const float *shift, const float *slope,
                                       const float *ka, const float *kb, const float *kc,
                                       struct bp_columns to) {
    (void)slope;
    bp_pool_range_i16_c(g, y, which, n, c, scale, shift, NULL, ka, kb, kc, to);
}

/* The first row's codes in both rows. */
static void pooled_codes_of_one_row(const struct bp_gradient_rows *g, const int16_t *y,
                                    const uint64_t *which, size_t n, size_t c, const float *scale,
                                    const float *shift, const float *slope, const float *ka,
                                    const float *kb, const float *kc,
                                    const struct bp_rounding_both *both) {
    bp_pool_codes_i16_c(g, y, which, n, c, scale, shift, slope, ka, kb, kc, both);
    memcpy(both->column_codes + 2 * n * c, both->column_codes, 2 * n * c);
}

static void changes_its_input(const struct bp_gradient_rows *g, const float *y, size_t n, size_t c,
                              const float *scale, const float *shift, const float *slope,
                              float *sum_g, float *sum_gy, float *sum_slope) {
    bp_act_sums_f32_c(g, y, n, c, scale, shift, slope, sum_g, sum_gy, sum_slope);
    ((uint32_t *)(uintptr_t)y)[n * c - 1] ^= 1;
}

static void not_in_place(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                         const float *scale, const float *shift, const float *slope,
                         const float *ka, const float *kb, const float *kc, int add, float *out) {
    memset(out, 0, n * c * sizeof *out);
    bp_act_grad_i16_c(g, y, n, c, scale, shift, slope, ka, kb, kc, add, out);
}

static void not_in_place_of_y(const struct bp_gradient_rows *g, const float *y, size_t n, size_t c,
                              const float *scale, const float *shift, const float *slope,
                              const float *ka, const float *kb, const float *kc, int add,
                              float *out) {
    if ((const float *)out == y)
        memset(out, 0, n * c * sizeof *out);
    bp_act_grad_f32_c(g, y, n, c, scale, shift, slope, ka, kb, kc, add, out);
}

static void never_adds(const struct bp_gradient_rows *g, const float *y, size_t n, size_t c,
                       const float *scale, const float *shift, const float *slope, const float *ka,
                       const float *kb, const float *kc, int add, float *out) {
    (void)add;
    bp_act_grad_f32_c(g, y, n, c, scale, shift, slope, ka, kb, kc, 0, out);
}

/* The gradient as a kernel has it that does not know bfloat16. */
static struct bp_gradient_rows halves_as_sums(const struct bp_gradient_rows *g, float scale) {
    struct bp_gradient_rows other = bp_gradient_from(g, 0);
    if (other.floats == NULL && other.bf16 != NULL)
        other = (struct bp_gradient_rows){NULL, (const int16_t *)other.bf16, scale, NULL};
    return other;
}

static void sums_of_halves_i16(const struct bp_gradient_rows *g, const int16_t *y, size_t n,
                               size_t c, const float *scale, const float *shift, const float *slope,
                               float *sum_g, float *sum_gy, float *sum_slope) {
    const struct bp_gradient_rows other = halves_as_sums(g, 1.0f);
    bp_act_sums_i16_c(&other, y, n, c, scale, shift, slope, sum_g, sum_gy, sum_slope);
}

static void sums_of_halves_f32(const struct bp_gradient_rows *g, const float *y, size_t n, size_t c,
                               const float *scale, const float *shift, const float *slope,
                               float *sum_g, float *sum_gy, float *sum_slope) {
    const struct bp_gradient_rows other = halves_as_sums(g, 1.0f);
    bp_act_sums_f32_c(&other, y, n, c, scale, shift, slope, sum_g, sum_gy, sum_slope);
}

static void sums_of_halves_f16(const struct bp_gradient_rows *g, const uint16_t *y, size_t n,
                               size_t c, const float *scale, const float *shift, const float *slope,
                               float *sum_g, float *sum_gy, float *sum_slope) {
    const struct bp_gradient_rows other = halves_as_sums(g, 1.0f);
    bp_act_sums_f16_c(&other, y, n, c, scale, shift, slope, sum_g, sum_gy, sum_slope);
}

static void reads_whole_vectors(const struct bp_gradient_rows *g, const uint16_t *y, size_t n,
                                size_t c, const float *scale, const float *shift,
                                const float *slope, float *sum_g, float *sum_gy, float *sum_slope) {
    bp_act_sums_f16_c(g, y, n, c, scale, shift, slope, sum_g, sum_gy, sum_slope);
    if (c % 16 != 0)
        sink = ((const volatile uint16_t *)y)[n * c + 15 - c % 16];
}

static void reads_whole_vectors_of_g(const struct bp_gradient_rows *g, const uint16_t *y, size_t n,
                                     size_t c, const float *scale, const float *shift,
                                     const float *slope, float *sum_g, float *sum_gy,
                                     float *sum_slope) {
    bp_act_sums_f16_c(g, y, n, c, scale, shift, slope, sum_g, sum_gy, sum_slope);
    if (c % 16 != 0 && g->floats == NULL && g->bf16 != NULL)
        sink = ((const volatile uint16_t *)g->bf16)[n * c + 15 - c % 16];
}

static void grad_of_halves_i16(const struct bp_gradient_rows *g, const int16_t *y, size_t n,
                               size_t c, const float *scale, const float *shift, const float *slope,
                               const float *ka, const float *kb, const float *kc, int add,
                               float *out) {
    const struct bp_gradient_rows other = halves_as_sums(g, 1.0f);
    bp_act_grad_i16_c(g == NULL ? NULL : &other, y, n, c, scale, shift, slope, ka, kb, kc, add,
                      out);
}

static void grad_of_halves_f32(const struct bp_gradient_rows *g, const float *y, size_t n, size_t c,
                               const float *scale, const float *shift, const float *slope,
                               const float *ka, const float *kb, const float *kc, int add,
                               float *out) {
    const struct bp_gradient_rows other = halves_as_sums(g, 1.0f);
    bp_act_grad_f32_c(g == NULL ? NULL : &other, y, n, c, scale, shift, slope, ka, kb, kc, add,
                      out);
}

/* One element of act_grad_f16 without what is added, not rounded. */
static float grad_element(const struct bp_gradient_rows *g, const uint16_t *y, size_t i, size_t c,
                          const float *scale, const float *shift, const float *slope,
                          const float *ka, const float *kb, const float *kc) {
    const struct bp_gradient_rows one = bp_gradient_from(g, i);
    size_t j = i % c;
    float of_y = kc_of_16(KC_F16, y[i]), out;
    bp_act_grad_f32_c(g == NULL ? NULL : &one, &of_y, 1, 1, scale + j, shift + j,
                      slope == NULL ? NULL : slope + j, ka + j, kb + j, kc + j, 0, &out);
    return out;
}

static float added_element(const struct bp_gradient_rows *add, size_t i) {
    if (add == NULL)
        return 0.0f;
    return add->floats != NULL ? add->floats[i] : kc_of_16(KC_BF16, add->bf16[i]);
}

static void grad_without_constant(const struct bp_gradient_rows *g, const uint16_t *y, size_t n,
                                  size_t c, const float *scale, const float *shift,
                                  const float *slope, const float *ka, const float *kb,
                                  const float *kc, const struct bp_gradient_rows *add,
                                  uint16_t *out) {
    bp_act_grad_f16_c(g, y, n, c, scale, shift, slope, ka, kb, g == NULL ? kb : kc, add, out);
}

static void rounds_before_it_adds(const struct bp_gradient_rows *g, const uint16_t *y, size_t n,
                                  size_t c, const float *scale, const float *shift,
                                  const float *slope, const float *ka, const float *kb,
                                  const float *kc, const struct bp_gradient_rows *add,
                                  uint16_t *out) {
    for (size_t i = 0; i < n * c; i++) {
        float v = grad_element(g, y, i, c, scale, shift, slope, ka, kb, kc);
        float stood = added_element(add, i);
        v = kc_of_16(KC_BF16, kc_to_16(KC_BF16, v));
        v = add != NULL ? stood + v : v;
        bp_round_bf16_c(&v, 1, out + i);
    }
}

static void cuts_the_sum(const struct bp_gradient_rows *g, const uint16_t *y, size_t n, size_t c,
                         const float *scale, const float *shift, const float *slope,
                         const float *ka, const float *kb, const float *kc,
                         const struct bp_gradient_rows *add, uint16_t *out) {
    for (size_t i = 0; i < n * c; i++) {
        float v = grad_element(g, y, i, c, scale, shift, slope, ka, kb, kc);
        v = add != NULL ? added_element(add, i) + v : v;
        uint32_t bits;
        memcpy(&bits, &v, sizeof bits);
        out[i] = (uint16_t)(isnan(v) ? 0x7fc0 : bits >> 16);
    }
}

static void adds_bf16_always(const struct bp_gradient_rows *g, const uint16_t *y, size_t n,
                             size_t c, const float *scale, const float *shift, const float *slope,
                             const float *ka, const float *kb, const float *kc,
                             const struct bp_gradient_rows *add, uint16_t *out) {
    const struct bp_gradient_rows to_out = {.bf16 = out};
    bp_act_grad_f16_c(g, y, n, c, scale, shift, slope, ka, kb, kc, add != NULL ? add : &to_out,
                      out);
}

static void adds_to_out(const struct bp_gradient_rows *g, const uint16_t *y, size_t n, size_t c,
                        const float *scale, const float *shift, const float *slope, const float *ka,
                        const float *kb, const float *kc, const struct bp_gradient_rows *add,
                        uint16_t *out) {
    const struct bp_gradient_rows to_out = {.bf16 = out};
    bp_act_grad_f16_c(g, y, n, c, scale, shift, slope, ka, kb, kc, add != NULL ? &to_out : NULL,
                      out);
}

static void adds_floats_cut(const struct bp_gradient_rows *g, const uint16_t *y, size_t n, size_t c,
                            const float *scale, const float *shift, const float *slope,
                            const float *ka, const float *kb, const float *kc,
                            const struct bp_gradient_rows *add, uint16_t *out) {
    for (size_t i = 0; i < n * c; i++) {
        float v = grad_element(g, y, i, c, scale, shift, slope, ka, kb, kc);
        float of = kc_of_16(KC_BF16, kc_to_16(KC_BF16, added_element(add, i)));
        v = add != NULL ? of + v : v;
        bp_round_bf16_c(&v, 1, out + i);
    }
}

static void range_without_bf16(const struct bp_gradient_rows *g, const int16_t *y, size_t n,
                               size_t c, const float *scale, const float *shift, const float *slope,
                               const float *ka, const float *kb, const float *kc,
                               struct bp_columns to) {
    const struct bp_gradient_rows other = halves_as_sums(g, 0.0f);
    bp_act_range_i16_c(g == NULL ? NULL : &other, y, n, c, scale, shift, slope, ka, kb, kc, to);
}

static void illegal_instruction(const struct bp_gradient_rows *g, const float *y, size_t n,
                                size_t c, const float *scale, const float *shift,
                                const float *slope, const float *ka, const float *kb,
                                const float *kc, int add, float *out) {
    bp_act_grad_f32_c(g, y, n, c, scale, shift, slope, ka, kb, kc, add, out);
#if defined(__x86_64__) || defined(__i386__)
    if (c % 16 == 7)
        __asm__ volatile("ud2");
#else
    ((volatile float *)out)[n * c] = 0.0f;
#endif
}

const struct kc_planted kc_planted_act[] = {
    {"act_norm_signs", "a mask bit too many", {.act_norm_signs = always_all_mask}},
    {"act_norm_sums", "the sums change places", {.act_norm_sums = swaps_sums}},
    {"act_norm_grad", "the last element doubled", {.act_norm_grad = grad_of_last_row_twice}},
    {"act_norm_grad", "sums without their sign", {.act_norm_grad = takes_sums_unsigned}},
    {"act_norm_codes",
     "the first column's grid for all",
     {.act_norm_codes = grid_of_the_first_column}},
    {"act_codes_i16", "another constant without g", {.act_codes_i16 = codes_without_constant}},
    {"act_norm_range", "drops the last rows", {.act_norm_range = range_of_first_rows}},
    {"act_range_i16", "another constant without g", {.act_range_i16 = range_without_constant}},
    {"act_range_i16", "takes bfloat16 for zero", {.act_range_i16 = range_without_bf16}},
    {"act_norm_columns",
     "the last column is the first",
     {.act_norm_columns = columns_in_their_order}},
    {"act_columns_i16",
     "coefficients not picked",
     {.act_columns_i16 = coefficients_in_their_order}},
    {"average_back", "fused multiply-add", {.average_back = averages_fused}},
    {"average_back", "always two pixels", {.average_back = always_two_pixels}},
    {"max_window_back", "at most three windows", {.max_window_back = forgets_last_window}},
    {"max_window_back", "adds to what stood there", {.max_window_back = always_adds}},
    {"act_sums_i16", "sums from the last row", {.act_sums_i16 = sums_from_the_last_row}},
    {"act_sums_f32", "forgets the scale of sums", {.act_sums_f32 = forgets_the_scale}},
    {"act_sums_f32", "changes its input", {.act_sums_f32 = changes_its_input}},
    {"act_sums_i16", "takes bfloat16 for sums", {.act_sums_i16 = sums_of_halves_i16}},
    {"act_sums_f32", "takes bfloat16 for sums", {.act_sums_f32 = sums_of_halves_f32}},
    {"act_sums_f16", "takes bfloat16 for sums", {.act_sums_f16 = sums_of_halves_f16}},
    {"act_sums_f16", "reads whole vectors", {.act_sums_f16 = reads_whole_vectors}},
    {"act_sums_f16", "reads whole vectors of g", {.act_sums_f16 = reads_whole_vectors_of_g}},
    {"pool_range_i16", "no slope", {.pool_range_i16 = pooled_range_without_slope}},
    {"pool_codes_i16", "one row twice", {.pool_codes_i16 = pooled_codes_of_one_row}},
    {"pool_sums_i16", "winners of one row", {.pool_sums_i16 = winners_of_one_row}},
    {"pool_sums_i16", "windows from the last", {.pool_sums_i16 = windows_from_the_last}},
    {"act_grad_i16", "does not work in place", {.act_grad_i16 = not_in_place}},
    {"act_grad_i16", "takes bfloat16 for sums", {.act_grad_i16 = grad_of_halves_i16}},
    {"act_grad_f32", "takes bfloat16 for sums", {.act_grad_f32 = grad_of_halves_f32}},
    {"act_grad_f16", "another constant without g", {.act_grad_f16 = grad_without_constant}},
    {"act_grad_f16", "rounds before it adds", {.act_grad_f16 = rounds_before_it_adds}},
    {"act_grad_f16", "cuts instead of rounding", {.act_grad_f16 = cuts_the_sum}},
    {"act_grad_f16", "adds to what stood there", {.act_grad_f16 = adds_bf16_always}},
    {"act_grad_f16", "adds out, whatever it is to add", {.act_grad_f16 = adds_to_out}},
    {"act_grad_f16", "rounds floats that it adds", {.act_grad_f16 = adds_floats_cut}},
    {"act_grad_f32", "does not work in place of y", {.act_grad_f32 = not_in_place_of_y}},
    {"act_grad_f32", "overwrites, does not add", {.act_grad_f32 = never_adds}},
    {"act_grad_f32", "faults for some sizes", {.act_grad_f32 = illegal_instruction}},
};
const size_t kc_planted_act_count = sizeof kc_planted_act / sizeof kc_planted_act[0];
