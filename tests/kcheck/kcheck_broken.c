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

static void drops_tail_channels(const uint64_t *x, const int32_t *pixel, const int32_t *to,
                                size_t n, const int32_t *tap, const int32_t *tap_w, size_t taps,
                                size_t w_taps, size_t cw, const uint64_t *w, size_t k, int bias,
                                int16_t *y) {
    bp_product_xor_c(x, pixel, to, n, tap, tap_w, taps, w_taps, cw, w, k, bias, y);
    if (k % 32 > 16)
        y[n * k - 1] = 0;
}

/* The last pixel lands where the first belongs. */
static void loses_a_place(const uint64_t *x, const int32_t *pixel, const int32_t *to, size_t n,
                          const int32_t *tap, const int32_t *tap_w, size_t taps, size_t w_taps,
                          size_t cw, const uint64_t *w, size_t k, int bias, int16_t *y) {
    bp_product_xor_c(x, pixel, to, n, tap, tap_w, taps, w_taps, cw, w, k, bias, y);
    bp_product_xor_c(x, pixel + n - 1, to, 1, tap, tap_w, taps, w_taps, cw, w, k, bias, y);
}

static void writes_whole_blocks(const uint64_t *x, const int32_t *pixel, const int32_t *to,
                                size_t n, const int32_t *tap, const int32_t *tap_w, size_t taps,
                                size_t w_taps, size_t cw, const uint64_t *w, size_t k, int bias,
                                int16_t *y) {
    bp_product_xor_c(x, pixel, to, n, tap, tap_w, taps, w_taps, cw, w, k, bias, y);
    for (size_t i = n * k; i < n * k + 32 - (k - 1) % 32 - 1; i++)
        y[i] = 0;
}

static void reads_one_word_more(const uint64_t *x, const int32_t *pixel, const int32_t *to,
                                size_t n, const int32_t *tap, const int32_t *tap_w, size_t taps,
                                size_t w_taps, size_t cw, const uint64_t *w, size_t k, int bias,
                                int16_t *y) {
    bp_product_xor_c(x, pixel, to, n, tap, tap_w, taps, w_taps, cw, w, k, bias, y);
    for (size_t p = 0; p < n; p++)
        for (size_t t = 0; t < taps; t++)
            sink = ((const volatile uint64_t *)x)[pixel[p] + tap[t] + (int32_t)cw];
}

static void one_off_past_100_words(const uint64_t *x, const int32_t *pixel, const int32_t *to,
                                   size_t n, const int32_t *tap, const int32_t *tap_w, size_t taps,
                                   size_t w_taps, size_t cw, const uint64_t *w, size_t k, int bias,
                                   int16_t *y) {
    bp_product_xor_c(x, pixel, to, n, tap, tap_w, taps, w_taps, cw, w, k, bias, y);
    if (taps * cw > 100)
        y[0] = (int16_t)(y[0] + 2);
}

static void adds_first_row_to_all(const uint64_t *x, const uint64_t *parity, const int32_t *pixel,
                                  const int32_t *to, size_t n, const int32_t *row,
                                  const int32_t *row_w, size_t rows, size_t w_rows, size_t cw,
                                  const uint64_t *w, size_t k, int bias, const int16_t *add,
                                  const uint8_t *add_row, int16_t *y) {
    for (size_t p = 0; p < n; p++) /* one by one: of all the first pixel's */
        bp_product_triples_c(x, parity, pixel + p, to + p, 1, row, row_w, rows, w_rows, cw, w, k,
                             bias, add, add_row, y);
}

static void adds_nothing(const uint64_t *x, const uint64_t *parity, const int32_t *pixel,
                         const int32_t *to, size_t n, const int32_t *row, const int32_t *row_w,
                         size_t rows, size_t w_rows, size_t cw, const uint64_t *w, size_t k,
                         int bias, const int16_t *add, const uint8_t *add_row, int16_t *y) {
    (void)add;
    bp_product_triples_c(x, parity, pixel, to, n, row, row_w, rows, w_rows, cw, w, k, bias, NULL,
                         add_row, y);
}

/* Of the last row only the first two taps. */
static void loses_the_third_tap(const uint64_t *x, const uint64_t *parity, const int32_t *pixel,
                                const int32_t *to, size_t n, const int32_t *row,
                                const int32_t *row_w, size_t rows, size_t w_rows, size_t cw,
                                const uint64_t *w, size_t k, int bias, const int16_t *add,
                                const uint8_t *add_row, int16_t *y) {
    bp_product_triples_c(x, parity, pixel, to, n, row, row_w, rows, w_rows, cw, w, k, bias, add,
                         add_row, y);
    for (size_t j = 0; j < k; j += 32)
        y[(size_t)to[0] * k + j] =
            (int16_t)(y[(size_t)to[0] * k + j] +
                      2 * __builtin_popcountll(parity[pixel[0] + row[rows - 1]] ^
                                               x[pixel[0] + row[rows - 1]]));
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

static void reads_before(const float *g, size_t n, size_t k, struct bp_columns to) {
    bp_range_columns_c(g, n, k, to);
    sink = (uint64_t)((const volatile float *)g)[-1];
}

static void starts_from_zero(const float *g, size_t n, size_t k, struct bp_columns to) {
    for (size_t j = 0; j < k; j++)
        to.lo[j] = fminf(to.lo[j], 0.0f);
    bp_range_columns_c(g, n, k, to);
}

static void writes_one_byte_more(const float *g, size_t n, const uint8_t *random,
                                 const struct bp_rounding *rounding, struct bp_grid grid,
                                 uint8_t *codes) {
    bp_round_group_c(g, n, random, rounding, grid, codes);
    ((volatile uint8_t *)codes)[n] = 0;
}

static void reads_whole_vectors(const float *g, size_t n, const uint8_t *random,
                                const struct bp_rounding *rounding, struct bp_grid grid,
                                uint8_t *codes) {
    bp_round_group_c(g, n, random, rounding, grid, codes);
    sink = ((const volatile uint8_t *)random)[bp_round_up(n * bp_rounding_bytes(rounding), 16) - 1];
}

static void nan_is_largest(const float *g, size_t n, const uint8_t *random,
                           const struct bp_rounding *rounding, struct bp_grid grid,
                           uint8_t *codes) {
    bp_round_group_c(g, n, random, rounding, grid, codes);
    for (size_t i = 0; i < n; i++)
        if (isnan(g[i]))
            codes[i] = (uint8_t)rounding->code_max;
}

static void ignores_wide(const float *g, size_t n, size_t g_stride, const int32_t *column, size_t k,
                         const uint8_t *random, const struct bp_rounding *rounding,
                         const struct bp_grid *grid, uint8_t *codes) {
    struct bp_rounding narrow = *rounding;
    narrow.wide = 0;
    bp_round_columns_c(g, n, g_stride, column, k, random, &narrow, grid, codes);
}

static void minus_zero_where_masked(const int32_t *sum, const uint64_t *mask, size_t n, size_t c,
                                    float scale, const float *offset, const uint8_t *row,
                                    float *out) {
    bp_scale_mask_c(sum, mask, n, c, scale, offset, row, out);
    for (size_t i = 0; i < n * c; i++)
        if (!bp_bit(mask + i / c * bp_words(c), i % c) && sum[i] < 0)
            out[i] = -0.0f;
}

static void repeats_the_first_word(const int32_t *sum, const uint64_t *mask, size_t n, size_t c,
                                   int shift, int16_t *out) {
    for (size_t i = 0; i < n * c; i++)
        out[i] = (int16_t)(bp_bit(mask + i / c * bp_words(c), i % c % 64)
                               ? bp_shift_to_even(sum[i], shift)
                               : 0);
}

static void rounds_halves_up(const int32_t *sum, const uint64_t *mask, size_t n, size_t c,
                             int shift, int16_t *out) {
    for (size_t i = 0; i < n * c; i++)
        out[i] = (int16_t)(bp_bit(mask + i / c * bp_words(c), i % c)
                               ? (sum[i] + (1 << shift >> 1)) >> shift
                               : 0);
}

/* A pack to 16 bits without the permutation that belongs to it. */
static void packs_within_halves(const int32_t *sum, const uint64_t *mask, size_t n, size_t c,
                                int shift, int16_t *out) {
    bp_mask_sums_c(sum, mask, n, c, shift, out);
    for (size_t p = 0; p < n; p++)
        for (size_t j = 0; j + 16 <= c; j += 16)
            for (size_t i = p * c + j + 4; i < p * c + j + 8; i++) {
                int16_t first = out[i];
                out[i] = out[i + 4];
                out[i + 4] = first;
            }
}

static void shifts_first(const struct bp_latent_scale *by, const int32_t *sum, const int32_t *high,
                         const int32_t *neg, size_t n, int16_t *out) {
    struct bp_latent_scale whole = *by;
    whole.known = 0;
    bp_narrow_sums_c(&whole, sum, high, neg, n, out);
    for (size_t j = 0; j < n; j++)
        out[j] = (int16_t)(out[j] + bp_shift_to_even(by->known, by->shift));
}

static void counts_weights_of_one(const int16_t *sum, float scale, const float *w, size_t n,
                                  float *out) {
    for (size_t j = 0; j < n; j++)
        out[j] = fabsf(w[j]) <= 1.0f ? scale * (float)sum[j] : 0.0f;
}

static void keeps_weights_of_one(const struct bp_latent_scale *by, const int32_t *sum,
                                 const int32_t *high, const int32_t *neg, const float *w, size_t n,
                                 float *out) {
    bp_scale_latent_c(by, sum, high, neg, w, n, out);
    for (size_t j = 0; w != NULL && j < n; j++)
        if (w[j] == 1.0f)
            bp_scale_latent_c(by, sum + j, high == NULL ? NULL : high + j,
                              neg == NULL ? NULL : neg + j, NULL, 1, out + j);
}

static void sums_of_floats(const struct bp_latent_scale *by, const int32_t *sum,
                           const int32_t *high, const int32_t *neg, const float *w, size_t n,
                           float *out) {
    struct bp_latent_scale rest = *by;
    rest.known = 0;
    bp_scale_latent_c(&rest, sum, high, neg, w, n, out);
    for (size_t j = 0; j < n; j++)
        if (w == NULL || fabsf(w[j]) < 1.0f)
            out[j] += by->scale * (float)by->known;
}

/* --- normalisation ---------------------------------------------------------------------------- */

static void adds_to_old_content(const struct bp_gradient_rows *g, const uint64_t *which, size_t n,
                                size_t c, float *a, float *b) {
    float old = b[2 * n * c - 1];
    bp_max_unpool_2x2_c(g, which, n, c, a, b);
    b[2 * n * c - 1] += old;
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
    {"product_triples", "adds the first row to all", {.product_triples = adds_first_row_to_all}},
    {"product_triples", "adds nothing", {.product_triples = adds_nothing}},
    {"product_triples", "loses the third tap", {.product_triples = loses_the_third_tap}},
    {"product_xor", "wrong tail of channels", {.product_xor = drops_tail_channels}},
    {"product_xor", "two pixels at one place", {.product_xor = loses_a_place}},
    {"product_xor", "writes whole blocks of channels", {.product_xor = writes_whole_blocks}},
    {"product_xor", "reads one word behind the data", {.product_xor = reads_one_word_more}},
    {"product_xor", "off by one in long sums", {.product_xor = one_off_past_100_words}},
    {"product_planes", "signed codes taken as unsigned", {.product_planes = takes_codes_unsigned}},
    {"product_planes", "drops the last odd pixel", {.product_planes = drops_last_pixel}},
    {"product_positions", "overwrites, does not add", {.product_positions = overwrites_sums}},
    {"product_positions", "writes between the rows", {.product_positions = writes_between_rows}},
    {"count_positions", "drops the words after a block", {.count_positions = drops_last_word}},
    {"range_columns", "reads before the begin", {.range_columns = reads_before}},
    {"range_columns", "minimum starts from 0", {.range_columns = starts_from_zero}},
    {"round_group", "writes one byte past the end", {.round_group = writes_one_byte_more}},
    {"round_group", "reads 16 random bytes", {.round_group = reads_whole_vectors}},
    {"round_group", "NaN becomes the largest code", {.round_group = nan_is_largest}},
    {"round_columns", "always 8 random bits", {.round_columns = ignores_wide}},
    {"scale_mask", "-0.0 where masked", {.scale_mask = minus_zero_where_masked}},
    {"mask_sums", "first word of the mask for all", {.mask_sums = repeats_the_first_word}},
    {"mask_sums", "packs within 128 bits", {.mask_sums = packs_within_halves}},
    {"mask_sums", "halves up", {.mask_sums = rounds_halves_up}},
    {"narrow_sums", "shifts first", {.narrow_sums = shifts_first}},
    {"latent_gradient", "counts weights of one", {.latent_gradient = counts_weights_of_one}},
    {"scale_latent", "keeps weights of one", {.scale_latent = keeps_weights_of_one}},
    {"scale_latent", "adds floats", {.scale_latent = sums_of_floats}},
    {"max_unpool_2x2", "adds to the old content", {.max_unpool_2x2 = adds_to_old_content}},
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
    for (size_t i = 0; i < kc_planted_act_count; i++)
        test_planted(t, &kc_planted_act[i], passed, failed);
    for (size_t i = 0; i < kc_planted_lookup_count; i++)
        test_planted(t, &kc_planted_lookup[i], passed, failed);
    for (size_t i = 0; i < kc_planted_float16_count; i++)
        test_planted(t, &kc_planted_float16[i], passed, failed);
    for (size_t i = 0; i < kc_planted_act_scale_count; i++)
        test_planted(t, &kc_planted_act_scale[i], passed, failed);
    for (size_t i = 0; i < kc_planted_bf16_count; i++)
        test_planted(t, &kc_planted_bf16[i], passed, failed);
    for (size_t i = 0; i < kc_planted_bytes_count; i++)
        test_planted(t, &kc_planted_bytes[i], passed, failed);
    for (size_t i = 0; i < kc_planted_tiles_count; i++)
        test_planted(t, &kc_planted_tiles[i], passed, failed);
    for (size_t i = 0; i < kc_planted_norm_count; i++)
        test_planted(t, &kc_planted_norm[i], passed, failed);
}
