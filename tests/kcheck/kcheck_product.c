/* Tests of the binary products. The references add up +-1 numbers and codes one by one. */
#include "kcheck/kcheck.h"

#include "base/bits.h"

/* Clears the pad bits of windows that overlap: every word keeps the bits that all owners may use.
 */
static void clear_pads(uint64_t *x, size_t words, const int32_t *pixel, size_t n,
                       const int32_t *tap, size_t taps, size_t planes, size_t cw, size_t c) {
    uint64_t last = c % 64 ? ((uint64_t)1 << c % 64) - 1 : UINT64_MAX;
    for (size_t p = 0; p < n; p++)
        for (size_t i = 0; i < taps; i++)
            for (size_t l = 0; l < planes; l++) {
                size_t at = (size_t)(pixel[p] + tap[i]) + l * cw + cw - 1;
                if (at < words)
                    x[at] &= last;
            }
}

/* Where output channel j of packed weights keeps its bits of (tap, word). */
static size_t weight_index(size_t j, size_t taps, size_t tap, size_t cw, size_t word) {
    return ((j / 32 * taps + tap) * cw + word) * 32 + j % 32;
}

/* Random packed weights with clear pads and zero words for the channels beyond k. */
static uint64_t *make_weights(struct kcheck *t, size_t k, size_t taps, size_t cw, size_t c) {
    size_t blocks = (k + 31) / 32;
    uint64_t *w = kc_input(t, "w", KC_U64, blocks * taps * cw * 32);
    kc_fill_bits(t, w, 1, blocks * taps * cw * 32 * 64);
    uint64_t last = c % 64 ? ((uint64_t)1 << c % 64) - 1 : UINT64_MAX;
    for (size_t j = 0; j < blocks * 32; j++)
        for (size_t tap = 0; tap < taps; tap++)
            for (size_t i = 0; i < cw; i++)
                w[weight_index(j, taps, tap, cw, i)] &= j >= k        ? 0
                                                        : i == cw - 1 ? last
                                                                      : UINT64_MAX;
    return w;
}

struct product_sizes {
    size_t n, taps, cw, c, k;
};

/* Sweeps the words, then the output channels, then the pixels. */
static struct product_sizes draw_sizes(struct kcheck *t, size_t max_taps) {
    struct product_sizes s;
    unsigned i = t->case_index;
    if (t->layer != NULL) {
        s.n = kc_positions(t);
        s.taps = t->layer->r * t->layer->r;
        s.c = t->layer->c;
        s.k = t->layer->k;
        s.cw = bp_words(s.c);
        return s;
    }
    s.n = 1 + kc_below(t, 6);
    s.k = kc_below(t, 3) ? 1 + kc_below(t, 40) : kc_edge_size(t);
    s.cw = 1 + kc_below(t, 4);
    s.taps = kc_below(t, 2) ? 9 : 1 + kc_below(t, max_taps);
    if (i < KC_SWEEP) {
        s.cw = i + 1;
        s.taps = 1 + kc_below(t, 511 / s.cw < max_taps ? 511 / s.cw : max_taps);
        s.k = i < 60 ? s.k : 1 + kc_below(t, 35);
        s.n = i < 60 ? s.n : 1 + kc_below(t, 3);
    } else if (i < 2 * KC_SWEEP) {
        s.k = i - KC_SWEEP + 1;
    } else {
        s.n = 1 + kc_below(t, 70);
        s.k = 1 + kc_below(t, 70);
        s.cw = 1 + kc_below(t, 2);
    }
    s.c = kc_below(t, 2) ? s.cw * 64 : s.cw * 64 - kc_below(t, 64);
    return s;
}

void kcheck_product_xor(struct kcheck *t) {
    struct product_sizes s = draw_sizes(t, 9);
    size_t n = s.n, taps = s.taps, cw = s.cw, c = s.c, k = s.k;
    int bias = (int)(taps * c);
    size_t w_taps = kc_draw_w_taps(t, taps);
    kc_params(t, "n=%zu taps=%zu w_taps=%zu cw=%zu c=%zu k=%zu bias=%d", n, taps, w_taps, cw, c, k,
              bias);
    kc_work(t, (double)(n * taps * c) * (double)k, "MAC");
    int32_t *pixel = kc_input(t, "pixel", KC_I32, n);
    int32_t *tap = kc_input(t, "tap", KC_I32, taps);
    int32_t *to = kc_make_places(t, n), *tap_w = kc_make_tap_w(t, taps, w_taps);
    size_t words = kc_make_windows(t, pixel, n, tap, taps, cw);
    uint64_t *x = kc_input(t, "x", KC_U64, words);
    kc_fill_bits(t, x, 1, words * 64);
    clear_pads(x, words, pixel, n, tap, taps, 1, cw, c);
    uint64_t *w = make_weights(t, k, w_taps, cw, c);
    int16_t *y = kc_output(t, "y", KC_I16, n * k);
    if (t->layer != NULL)
        t->reference->product_xor(x, pixel, to, n, tap, tap_w, taps, w_taps, cw, w, k, bias, y);
    else
        for (size_t p = 0; p < n; p++)
            for (size_t j = 0; j < k; j++) {
                int sum = 0;
                for (size_t i = 0; i < taps; i++)
                    for (size_t b = 0; b < c; b++) {
                        int a = bp_bit(x + pixel[p] + tap[i], b) ? -1 : 1;
                        size_t at = weight_index(j, w_taps, (size_t)tap_w[i], cw, b / 64);
                        sum += (w[at] >> b % 64 & 1) ? -a : a;
                    }
                y[(size_t)to[p] * k + j] = (int16_t)sum;
            }
    while (kc_next(t))
        t->kernels->product_xor(kc_at(t, x), kc_at(t, pixel), kc_at(t, to), n, kc_at(t, tap),
                                kc_at(t, tap_w), taps, w_taps, cw, kc_at(t, w), k, bias,
                                kc_at(t, y));
}

/* Packed weights of 3 * w_rows taps as triples. */
static uint64_t *make_triples(struct kcheck *t, const uint64_t *w, size_t k, size_t w_rows,
                              size_t cw) {
    uint64_t *triples = kc_input(t, "triples", KC_U64, (k + 31) / 32 * w_rows * cw * 96);
    for (size_t j = 0; j < (k + 31) / 32 * 32; j++)
        for (size_t r = 0; r < w_rows; r++)
            for (size_t i = 0; i < cw; i++) {
                uint64_t *to = triples + ((j / 32 * w_rows + r) * cw + i) * 96 + j % 32, all = 0;
                for (size_t e = 0; e < 3; e++) {
                    to[32 * e] = w[weight_index(j, 3 * w_rows, 3 * r + e, cw, i)];
                    all ^= to[32 * e];
                }
                to[64] = all;
            }
    return triples;
}

void kcheck_product_triples(struct kcheck *t) {
    struct product_sizes s = draw_sizes(t, 3);
    if (t->layer != NULL ? t->layer->r != 3 : s.taps > 3) /* 1x1 layers as 3x3, small */
        s.taps = t->layer != NULL ? 9 : 3;
    size_t n = s.n, cw = s.cw > 170 ? 170 : s.cw, c = s.cw > 170 ? 170 * 64 : s.c, k = s.k;
    size_t rows = t->layer != NULL ? 3 : bp_min_size(s.taps, 170 / cw);
    int bias = (int)(3 * rows * c), with_add = t->layer != NULL || kc_below(t, 2);
    size_t w_rows = kc_draw_w_taps(t, rows), add_rows = 1 + kc_below(t, 9);
    kc_params(t, "n=%zu rows=%zu w_rows=%zu cw=%zu c=%zu k=%zu bias=%d add_rows=%zu", n, rows,
              w_rows, cw, c, k, bias, with_add ? add_rows : 0);
    kc_work(t, (double)(n * 3 * rows * c) * (double)k, "MAC");
    int32_t *pixel = kc_input(t, "pixel", KC_I32, n);
    int32_t *row = kc_input(t, "row", KC_I32, rows);
    int32_t *to = kc_make_places(t, n), *row_w = kc_make_tap_w(t, rows, w_rows);
    size_t words = kc_make_windows(t, pixel, n, row, rows, 3 * cw);
    uint64_t *x = kc_input(t, "x", KC_U64, words);
    uint64_t *parity = kc_input(t, "parity", KC_U64, words - 2 * cw);
    kc_fill_bits(t, x, 1, words * 64);
    clear_pads(x, words, pixel, n, row, rows, 3, cw, c);
    for (size_t i = 0; i < words - 2 * cw; i++)
        parity[i] = x[i] ^ x[i + cw] ^ x[i + 2 * cw];
    uint64_t *w = make_weights(t, k, 3 * w_rows, cw, c);
    uint64_t *triples = make_triples(t, w, k, w_rows, cw);
    int16_t *add = kc_input(t, "add", KC_I16, add_rows * k);
    uint8_t *add_row = kc_input(t, "add_row", KC_U8, n);
    for (size_t i = 0; i < add_rows * k; i++)
        add[i] = (int16_t)((int)kc_below(t, 401) - 200);
    for (size_t i = 0; i < n; i++)
        add_row[i] = (uint8_t)kc_below(t, (uint32_t)add_rows);
    int16_t *y = kc_output(t, "y", KC_I16, n * k);
    if (t->layer != NULL)
        t->reference->product_triples(x, parity, pixel, to, n, row, row_w, rows, w_rows, cw,
                                      triples, k, bias, add, add_row, y);
    else
        for (size_t p = 0; p < n; p++)
            for (size_t j = 0; j < k; j++) {
                int sum = with_add ? add[add_row[p] * k + j] : 0;
                for (size_t i = 0; i < 3 * rows; i++)
                    for (size_t b = 0; b < c; b++) {
                        int a = bp_bit(x + pixel[p] + row[i / 3] + i % 3 * cw, b) ? -1 : 1;
                        size_t tap = 3 * (size_t)row_w[i / 3] + i % 3;
                        size_t at = weight_index(j, 3 * w_rows, tap, cw, b / 64);
                        sum += (w[at] >> b % 64 & 1) ? -a : a;
                    }
                y[(size_t)to[p] * k + j] = (int16_t)sum;
            }
    while (kc_next(t))
        t->kernels->product_triples(kc_at(t, x), kc_at(t, parity), kc_at(t, pixel), kc_at(t, to), n,
                                    kc_at(t, row), kc_at(t, row_w), rows, w_rows, cw,
                                    kc_at(t, triples), k, bias, with_add ? kc_at(t, add) : NULL,
                                    kc_at(t, add_row), kc_at(t, y));
}

/* Code number `bit` of `planes` planes that lie `stride` words apart. */
static int code_at(const uint64_t *planes_words, size_t stride, size_t bit, int planes,
                   int is_signed) {
    int code = 0;
    for (int l = 0; l < planes; l++)
        code |= bp_bit(planes_words + (size_t)l * stride, bit) << l;
    return is_signed && code >> (planes - 1) ? code - (1 << planes) : code;
}

/* Planes of a case: any number, signed or not; 4 for layers. */
static int draw_planes(struct kcheck *t, int *is_signed) {
    *is_signed = t->layer != NULL || kc_below(t, 2);
    t->bench.planes = t->layer != NULL ? 4 : 1 + (int)kc_below(t, 8);
    return t->bench.planes;
}

void kcheck_product_planes(struct kcheck *t) {
    struct product_sizes s = draw_sizes(t, 9);
    int is_signed, planes = draw_planes(t, &is_signed);
    /* The sizes of the forward product with the roles of inputs and outputs exchanged. */
    size_t n = s.n, taps = s.taps, kw = s.cw, k = s.c, c = s.k;
    if (t->layer != NULL) {
        k = s.k;
        kw = bp_words(k);
        c = s.c;
    }
    size_t w_taps = kc_draw_w_taps(t, taps);
    size_t row = (size_t)planes * kw;
    kc_params(t, "n=%zu taps=%zu w_taps=%zu kw=%zu k=%zu planes=%d is_signed=%d c=%zu", n, taps,
              w_taps, kw, k, planes, is_signed, c);
    kc_work(t, (double)(n * taps * c) * (double)k, "MAC");
    int32_t *pixel = kc_input(t, "pixel", KC_I32, n);
    int32_t *tap = kc_input(t, "tap", KC_I32, taps);
    int32_t *tap_w = kc_make_tap_w(t, taps, w_taps);
    size_t words = kc_make_windows(t, pixel, n, tap, taps, row);
    uint64_t *x = kc_input(t, "x", KC_U64, words);
    kc_fill_bits(t, x, 1, words * 64);
    clear_pads(x, words, pixel, n, tap, taps, (size_t)planes, kw, k);
    uint64_t *w = make_weights(t, c, w_taps, kw, k);
    int32_t *y = kc_output(t, "y", KC_I32, n * c);
    if (t->layer != NULL)
        t->reference->product_planes(x, pixel, n, tap, tap_w, taps, w_taps, kw, planes, is_signed,
                                     w, c, y);
    else
        for (size_t p = 0; p < n; p++)
            for (size_t i = 0; i < taps; i++)
                for (size_t b = 0; b < kw * 64; b++) {
                    const uint64_t *at = x + pixel[p] + tap[i];
                    int code = code_at(at, kw, b, planes, is_signed);
                    for (size_t j = 0; code != 0 && j < c; j++) {
                        size_t index = weight_index(j, w_taps, (size_t)tap_w[i], kw, b / 64);
                        y[p * c + j] += (w[index] >> b % 64 & 1) ? -code : code;
                    }
                }
    while (kc_next(t))
        t->kernels->product_planes(kc_at(t, x), kc_at(t, pixel), n, kc_at(t, tap), kc_at(t, tap_w),
                                   taps, w_taps, kw, planes, is_signed, kc_at(t, w), c,
                                   kc_at(t, y));
}

void kcheck_product_positions(struct kcheck *t) {
    size_t words, c, k = 1 + kc_below(t, 9);
    int is_signed, planes = draw_planes(t, &is_signed);
    kc_sizes(t, &words, &c);
    if (t->layer != NULL) {
        words = t->is_bench ? 64 : 4;
        k = 4;
    } else if (t->case_index >= 2 * KC_SWEEP && words <= 40) {
        k = words;
        words = 1 + kc_below(t, 4);
        c = (c - 1) % 130 + 1;
    } else if (t->case_index >= KC_SWEEP) {
        c = (c - 1) % 20 + 1;
    }
    size_t stride = t->layer != NULL ? 9 * c : c + kc_below(t, 2) * kc_below(t, 20);
    kc_params(t, "words=%zu k=%zu c=%zu planes=%d is_signed=%d y_stride=%zu", words, k, c, planes,
              is_signed, stride);
    kc_work(t, (double)(words * 64 * k) * (double)c, "MAC");
    uint64_t *a = kc_input(t, "a", KC_U64, words * c);
    uint64_t *g = kc_input(t, "g", KC_U64, words * (size_t)planes * k);
    kc_fill_bits(t, a, 1, words * c * 64);
    kc_fill_bits(t, g, 1, words * (size_t)planes * k * 64);
    int32_t *y = kc_output(t, "y", KC_I32, (k - 1) * stride + c);
    kc_fill_i32(t, y, (k - 1) * stride + c);
    kc_keep_initial(t, y);
    if (t->layer != NULL)
        t->reference->product_positions(a, g, words, k, c, planes, is_signed, y, stride);
    else
        for (size_t s = 0; s < words; s++)
            for (size_t i = 0; i < k; i++)
                for (size_t b = 0; b < 64; b++) {
                    const uint64_t *at = g + s * (size_t)planes * k + i;
                    int code = code_at(at, k, b, planes, is_signed);
                    for (size_t j = 0; code != 0 && j < c; j++)
                        y[i * stride + j] += (a[s * c + j] >> b & 1) ? code : 0;
                }
    while (kc_next(t))
        t->kernels->product_positions(kc_at(t, a), kc_at(t, g), words, k, c, planes, is_signed,
                                      kc_at(t, y), stride);
}

void kcheck_count_positions(struct kcheck *t) {
    size_t words, c;
    kc_sizes(t, &words, &c);
    kc_params(t, "words=%zu c=%zu", words, c);
    kc_work(t, (double)(words * c * 64), "element");
    uint64_t *a = kc_input(t, "a", KC_U64, words * c);
    kc_fill_bits(t, a, 1, words * c * 64);
    int32_t *count = kc_output(t, "count", KC_I32, c);
    kc_fill_i32(t, count, c);
    kc_keep_initial(t, count);
    for (size_t s = 0; s < words; s++)
        for (size_t j = 0; j < c; j++)
            for (size_t b = 0; b < 64; b++)
                count[j] += (int32_t)(a[s * c + j] >> b & 1);
    while (kc_next(t))
        t->kernels->count_positions(kc_at(t, a), words, c, kc_at(t, count));
}
