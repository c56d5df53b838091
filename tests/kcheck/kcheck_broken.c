/* --self-test: planted broken kernels. Each behaves like the C tier but for one mistake, of the
 * kinds that real kernels make, and the kernel's test must find it. */
#include "kcheck/kcheck.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "kernels/c/tier_c.h"

static volatile uint64_t sink; /* keeps reads that nothing needs */

/* These mistakes are to reach the processor, not the sanitizer. */
#if defined(__GNUC__)
#define UNCHECKED __attribute__((no_sanitize("undefined")))
#else
#define UNCHECKED
#endif

/* --- bits ------------------------------------------------------------------------------------- */

static void sign_of_minus_zero(const float *x, size_t n, size_t c, uint64_t *bits, uint64_t *mask) {
    bp_sign_pack_f32_c(x, n, c, bits, mask);
    for (size_t i = 0; i < n * c; i++)
        if (signbit(x[i]) && x[i] == 0.0f)
            bits[i / c * bp_words(c) + i % c / 64] |= (uint64_t)1 << i % c % 64;
}

static void mask_with_one(const float *x, size_t n, size_t c, uint64_t *bits, uint64_t *mask) {
    bp_sign_pack_f32_c(x, n, c, bits, mask);
    for (size_t i = 0; mask != NULL && i < n * c; i++)
        if (fabsf(x[i]) == 1.0f)
            mask[i / c * bp_words(c) + i % c / 64] |= (uint64_t)1 << i % c % 64;
}

static void dirty_pads(const float *x, size_t n, size_t c, uint64_t *bits, uint64_t *mask) {
    bp_sign_pack_f32_c(x, n, c, bits, mask);
    if (c % 64 != 0)
        bits[bp_words(c) - 1] |= (uint64_t)1 << 63;
}

UNCHECKED
static void mask_always(const float *x, size_t n, size_t c, uint64_t *bits, uint64_t *mask) {
    bp_sign_pack_f32_c(x, n, c, bits, mask);
    ((volatile uint64_t *)mask)[0] = mask[0];
}

static void always_64_rows(const uint64_t *base, const int32_t *offset, size_t count, size_t cw,
                           uint64_t *out) {
    bp_transpose_gather_c(base, offset, count, cw, out);
    for (size_t i = count; i < 64; i++)
        sink = (uint64_t)((const volatile int32_t *)offset)[i];
}

static void dirty_plane_pads(const uint8_t *codes, size_t n, size_t k, int bits, uint64_t *planes) {
    bp_pack_planes_c(codes, n, k, bits, planes);
    size_t last = n * (size_t)bits * bp_words(k) - 1;
    if (k % 64 != 0)
        planes[last] |= (uint64_t)1 << k % 64;
}

static void keeps_old_lanes(const uint64_t *bits, size_t k, size_t taps, size_t cw,
                            uint64_t *packed) {
    size_t last = (k + 31) / 32 * taps * cw * 32 - 1;
    uint64_t old = packed[last];
    bp_pack_weights_c(bits, k, taps, cw, packed);
    if (k % 32 != 0)
        packed[last] = old;
}

/* --- products --------------------------------------------------------------------------------- */

static void drops_tail_channels(const uint64_t *x, const int32_t *pixel, size_t n,
                                const int32_t *tap, size_t taps, size_t cw, const uint64_t *w,
                                size_t k, int bias, int16_t *y) {
    bp_product_xor_c(x, pixel, n, tap, taps, cw, w, k, bias, y);
    if (k % 32 > 16)
        y[n * k - 1] = 0;
}

static void writes_whole_blocks(const uint64_t *x, const int32_t *pixel, size_t n,
                                const int32_t *tap, size_t taps, size_t cw, const uint64_t *w,
                                size_t k, int bias, int16_t *y) {
    bp_product_xor_c(x, pixel, n, tap, taps, cw, w, k, bias, y);
    for (size_t i = n * k; i < n * k + 32 - (k - 1) % 32 - 1; i++)
        y[i] = 0;
}

static void reads_one_word_more(const uint64_t *x, const int32_t *pixel, size_t n,
                                const int32_t *tap, size_t taps, size_t cw, const uint64_t *w,
                                size_t k, int bias, int16_t *y) {
    bp_product_xor_c(x, pixel, n, tap, taps, cw, w, k, bias, y);
    for (size_t p = 0; p < n; p++)
        for (size_t t = 0; t < taps; t++)
            sink = ((const volatile uint64_t *)x)[pixel[p] + tap[t] + (int32_t)cw];
}

static void one_off_past_100_words(const uint64_t *x, const int32_t *pixel, size_t n,
                                   const int32_t *tap, size_t taps, size_t cw, const uint64_t *w,
                                   size_t k, int bias, int16_t *y) {
    bp_product_xor_c(x, pixel, n, tap, taps, cw, w, k, bias, y);
    if (taps * cw > 100)
        y[0] = (int16_t)(y[0] + 2);
}

static void takes_codes_unsigned(const uint64_t *x, const int32_t *pixel, size_t n,
                                 const int32_t *tap, const int32_t *tap_w, size_t taps,
                                 size_t w_taps, size_t kw, int planes, int is_signed,
                                 const uint64_t *w, size_t c, int32_t *y) {
    (void)is_signed;
    bp_product_planes_c(x, pixel, n, tap, tap_w, taps, w_taps, kw, planes, 0, w, c, y);
}

static void drops_last_pixel(const uint64_t *x, const int32_t *pixel, size_t n, const int32_t *tap,
                             const int32_t *tap_w, size_t taps, size_t w_taps, size_t kw,
                             int planes, int is_signed, const uint64_t *w, size_t c, int32_t *y) {
    size_t done = n % 4 == 1 && n > 1 ? n - 1 : n; /* only odd ones out */
    bp_product_planes_c(x, pixel, done, tap, tap_w, taps, w_taps, kw, planes, is_signed, w, c, y);
}

static void overwrites_sums(const uint64_t *a, const uint64_t *g, size_t words, size_t k, size_t c,
                            int planes, int is_signed, int32_t *y, size_t y_stride) {
    for (size_t i = 0; i < k; i++)
        memset(y + i * y_stride, 0, c * sizeof *y);
    bp_product_positions_c(a, g, words, k, c, planes, is_signed, y, y_stride);
}

static void writes_between_rows(const uint64_t *a, const uint64_t *g, size_t words, size_t k,
                                size_t c, int planes, int is_signed, int32_t *y, size_t y_stride) {
    bp_product_positions_c(a, g, words, k, c, planes, is_signed, y, y_stride);
    if (k > 1 && y_stride > c)
        y[c]++;
}

static void drops_last_word(const uint64_t *a, size_t words, size_t c, int32_t *count) {
    bp_count_positions_c(a, words > 16 ? words - words % 16 : words, c, count);
}

/* --- quantizer -------------------------------------------------------------------------------- */

static void sums_in_order(const float *g, size_t n, struct bp_range *range) {
    float squares = range->sum_squares;
    bp_range_group_c(g, n, range);
    for (size_t i = 0; i < n; i++)
        squares += g[i] * g[i];
    range->sum_squares = squares;
}

static void reads_before(const float *g, size_t n, struct bp_range *range) {
    bp_range_group_c(g, n, range);
    sink = (uint64_t)((const volatile float *)g)[-1];
}

static void starts_from_zero(const float *g, size_t n, size_t k, float *lo, float *hi,
                             float *sum_squares) {
    for (size_t j = 0; j < k; j++)
        lo[j] = fminf(lo[j], 0.0f);
    bp_range_columns_c(g, n, k, lo, hi, sum_squares);
}

static void writes_one_byte_more(const float *g, size_t n, uint64_t first,
                                 const struct bp_rounding *rounding, struct bp_grid grid,
                                 uint8_t *codes) {
    bp_round_group_c(g, n, first, rounding, grid, codes);
    ((volatile uint8_t *)codes)[n] = 0;
}

static void block_number_in_32_bits(const float *g, size_t n, uint64_t first,
                                    const struct bp_rounding *rounding, struct bp_grid grid,
                                    uint8_t *codes) {
    bp_round_group_c(g, n, first & 0xfffffffffu, rounding, grid, codes);
}

static void nan_is_largest(const float *g, size_t n, uint64_t first,
                           const struct bp_rounding *rounding, struct bp_grid grid,
                           uint8_t *codes) {
    bp_round_group_c(g, n, first, rounding, grid, codes);
    for (size_t i = 0; i < n; i++)
        if (isnan(g[i]))
            codes[i] = (uint8_t)rounding->code_max;
}

static void ignores_wide(const float *g, size_t n, size_t g_stride, const int32_t *column, size_t k,
                         uint64_t first, const struct bp_rounding *rounding,
                         const struct bp_grid *grid, uint8_t *codes) {
    struct bp_rounding narrow = *rounding;
    narrow.wide = 0;
    bp_round_columns_c(g, n, g_stride, column, k, first, &narrow, grid, codes);
}

static void minus_zero_where_masked(const int32_t *sum, const uint64_t *mask, size_t n, size_t c,
                                    float scale, const float *offset, const uint8_t *row,
                                    float *out) {
    bp_scale_mask_c(sum, mask, n, c, scale, offset, row, out);
    for (size_t i = 0; i < n * c; i++)
        if (!bp_bit(mask + i / c * bp_words(c), i % c) && sum[i] < 0)
            out[i] = -0.0f;
}

/* --- normalisation ---------------------------------------------------------------------------- */

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

static void forgets_last_window(const float *g, const uint8_t *winner, const size_t *offset,
                                const uint8_t *index, size_t count, size_t c, float *dx) {
    bp_max_window_back_c(g, winner, offset, index, count > 2 ? count - 1 : count, c, dx);
}

static void always_all_mask(const int16_t *y, size_t n, size_t c, const struct bp_act_norm_rows *a,
                            uint64_t *bits, uint64_t *mask) {
    bp_act_norm_signs_c(y, n, c, a, bits, mask);
    if (mask != NULL)
        mask[0] |= 1;
}

static void swaps_sums(const float *g, const int16_t *y, size_t n, size_t c,
                       const struct bp_act_norm_rows *a, float *sum_g, float *sum_gh) {
    bp_act_norm_sums_c(g, y, n, c, a, sum_gh, sum_g);
}

static void takes_grad_of_h(const float *g, const int16_t *y, size_t n, size_t c,
                            const struct bp_act_norm_rows *a, float *sum_guy, float *sum_ghu) {
    struct bp_act_norm_rows other = *a;
    other.kc = a->kb;
    bp_act_norm_slope_sums_c(g, y, n, c, &other, sum_guy, sum_ghu);
}

static void grad_of_last_row_twice(const float *g, const int16_t *y, size_t n, size_t c,
                                   const struct bp_act_norm_rows *a, float *out) {
    bp_act_norm_grad_c(g, y, n, c, a, out);
    out[n * c - 1] *= 2.0f;
}

static void adds_to_old_content(const float *g, const uint64_t *which, size_t n, size_t c, float *a,
                                float *b) {
    float old = b[2 * n * c - 1];
    bp_max_unpool_2x2_c(g, which, n, c, a, b);
    b[2 * n * c - 1] += old;
}

static void sums_from_the_last_row(const float *g, const int16_t *y, size_t n, size_t c,
                                   const float *scale, const float *shift, const float *slope,
                                   float *sum_g, float *sum_gy, float *sum_slope) {
    for (size_t p = n; p-- > 0;)
        bp_act_sums_i16_c(g + p * c, y + p * c, 1, c, scale, shift, slope, sum_g, sum_gy,
                          sum_slope);
}

static void changes_its_input(const float *g, const float *y, size_t n, size_t c,
                              const float *scale, const float *shift, const float *slope,
                              float *sum_g, float *sum_gy, float *sum_slope) {
    bp_act_sums_f32_c(g, y, n, c, scale, shift, slope, sum_g, sum_gy, sum_slope);
    ((uint32_t *)(uintptr_t)y)[n * c - 1] ^= 1;
}

static void not_in_place(const float *g, const int16_t *y, size_t n, size_t c, const float *scale,
                         const float *shift, const float *slope, const float *ka, const float *kb,
                         const float *kc, float *out) {
    memset(out, 0, n * c * sizeof *out);
    bp_act_grad_i16_c(g, y, n, c, scale, shift, slope, ka, kb, kc, out);
}

static void illegal_instruction(const float *g, const float *y, size_t n, size_t c,
                                const float *scale, const float *shift, const float *slope,
                                const float *ka, const float *kb, const float *kc, float *out) {
    bp_act_grad_f32_c(g, y, n, c, scale, shift, slope, ka, kb, kc, out);
#if defined(__x86_64__) || defined(__i386__)
    if (c % 16 == 7)
        __asm__ volatile("ud2");
#else
    ((volatile float *)out)[n * c] = 0.0f;
#endif
}

/* --- the run ---------------------------------------------------------------------------------- */

/* --- optimizer -------------------------------------------------------------------------------- */

static void sum_in_order(const float *g, size_t n, double *sum) {
    for (size_t i = 0; i < n; i++)
        *sum += (double)g[i] * (double)g[i];
}

static void eps_under_the_root(const struct bp_adam *adam, size_t n, const float *g, float *p,
                               float *m, float *v) {
    struct bp_adam moved = *adam;
    moved.eps = moved.eps / moved.root_correction2;
    bp_adam_f32_c(&moved, n, g, p, m, v);
    for (size_t i = 0; i < n; i++)
        p[i] += 1e-6f;
}

static const struct kc_planted planted[] = {
    {"sign_pack_f32", "-0.0 counts as negative", {.sign_pack_f32 = sign_of_minus_zero}},
    {"sign_pack_f32", "|x| = 1 passes the mask", {.sign_pack_f32 = mask_with_one}},
    {"sign_pack_f32", "pad bits set", {.sign_pack_f32 = dirty_pads}},
    {"sign_pack_f32", "writes a mask nobody wants", {.sign_pack_f32 = mask_always}},
    {"transpose_gather", "reads 64 offsets always", {.transpose_gather = always_64_rows}},
    {"pack_planes", "one pad bit set", {.pack_planes = dirty_plane_pads}},
    {"pack_weights", "leaves empty lanes as they were", {.pack_weights = keeps_old_lanes}},
    {"product_xor", "wrong tail of channels", {.product_xor = drops_tail_channels}},
    {"product_xor", "writes whole blocks of channels", {.product_xor = writes_whole_blocks}},
    {"product_xor", "reads one word behind the data", {.product_xor = reads_one_word_more}},
    {"product_xor", "off by one in long sums", {.product_xor = one_off_past_100_words}},
    {"product_planes", "signed codes taken as unsigned", {.product_planes = takes_codes_unsigned}},
    {"product_planes", "drops the last odd pixel", {.product_planes = drops_last_pixel}},
    {"product_positions", "overwrites, does not add", {.product_positions = overwrites_sums}},
    {"product_positions", "writes between the rows", {.product_positions = writes_between_rows}},
    {"count_positions", "drops the words after a block", {.count_positions = drops_last_word}},
    {"range_group", "another order of summation", {.range_group = sums_in_order}},
    {"range_group", "reads before the begin", {.range_group = reads_before}},
    {"range_columns", "minimum starts from 0", {.range_columns = starts_from_zero}},
    {"round_group", "writes one byte past the end", {.round_group = writes_one_byte_more}},
    {"round_group", "block number in 32 bits", {.round_group = block_number_in_32_bits}},
    {"round_group", "NaN becomes the largest code", {.round_group = nan_is_largest}},
    {"round_columns", "always 8 random bits", {.round_columns = ignores_wide}},
    {"scale_mask", "-0.0 where masked", {.scale_mask = minus_zero_where_masked}},
    {"sums_i16", "ignores the last row of many", {.sums_i16 = drops_last_row}},
    {"sums_i16", "32-bit sums over too many rows", {.sums_i16 = squares_wrap}},
    {"half_sums_i16", "-32768 without a square", {.half_sums_i16 = lowest_has_no_square}},
    {"sums_f32", "squares summed in float", {.sums_f32 = squares_in_float}},
    {"affine_act_i16", "fused multiply-add", {.affine_act_i16 = fused_multiply_add}},
    {"affine_act_i16", "sums without the residual", {.affine_act_i16 = sums_before_residual}},
    {"affine_act_f32", "reads a slope that is NULL", {.affine_act_f32 = slope_always}},
    {"affine_act_f32", "streams whole vectors", {.affine_act_f32 = stores_whole_vectors}},
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
    {"max_unpool_2x2", "adds to the old content", {.max_unpool_2x2 = adds_to_old_content}},
    {"act_norm_signs", "a mask bit too many", {.act_norm_signs = always_all_mask}},
    {"act_norm_sums", "the sums change places", {.act_norm_sums = swaps_sums}},
    {"act_norm_slope_sums", "another constant", {.act_norm_slope_sums = takes_grad_of_h}},
    {"act_norm_grad", "the last element doubled", {.act_norm_grad = grad_of_last_row_twice}},
    {"max_window", "the last of equals wins", {.max_window = last_of_equals_in_window}},
    {"max_window_back", "at most three windows", {.max_window_back = forgets_last_window}},
    {"act_sums_i16", "sums from the last row", {.act_sums_i16 = sums_from_the_last_row}},
    {"act_sums_f32", "changes its input", {.act_sums_f32 = changes_its_input}},
    {"act_grad_i16", "does not work in place", {.act_grad_i16 = not_in_place}},
    {"act_grad_f32", "faults for some sizes", {.act_grad_f32 = illegal_instruction}},
    {"sum_squares_f32", "one sum in order", {.sum_squares_f32 = sum_in_order}},
    {"adam_f32", "eps at another place", {.adam_f32 = eps_under_the_root}},
};

static size_t kernel_index(const char *name) {
    size_t i = 0;
    while (strcmp(bp_kernels_name(i), name) != 0)
        i++;
    return i;
}

static int is_found(struct kcheck *t, const struct kc_planted *p) {
    size_t kernel = kernel_index(p->kernel);
    t->n_versions = 1;
    t->versions[0] = (struct kc_version){p->kernels, "planted", BP_TIER_C, 0};
    for (unsigned i = 0; i < kc_cases_count() && kc_versions_left(t) > 0; i++)
        kc_run_case(t, kernel, i);
    return kc_versions_left(t) == 0;
}

static void test_planted(struct kcheck *t, const struct kc_planted *p, unsigned *passed,
                         unsigned *failed) {
    if (is_found(t, p)) {
        printf("found      %-18s %-34s case %3u: %s\n", p->kernel, p->mistake, t->case_index,
               t->failure);
        ++*passed;
    } else {
        printf("NOT FOUND  %-18s %s\n", p->kernel, p->mistake);
        ++*failed;
    }
}

void kc_self_test(struct kcheck *t, unsigned *passed, unsigned *failed) {
    t->quiet = 1;
    for (size_t i = 0; i < sizeof planted / sizeof planted[0]; i++)
        test_planted(t, &planted[i], passed, failed);
    for (size_t i = 0; i < kc_planted_lookup_count; i++)
        test_planted(t, &kc_planted_lookup[i], passed, failed);
    for (size_t i = 0; i < kc_planted_bytes_count; i++)
        test_planted(t, &kc_planted_bytes[i], passed, failed);
}
