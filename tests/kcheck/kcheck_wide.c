/* Tests of wide tables, and of what is added for the codes that they leave out. The references go
 * code by code. */
#include "kcheck/kcheck.h"

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"

/* Codes -127 .. 127: small ones, large ones, or any, so that quads of some cases are within the
 * limit, of some are not. */
static void fill_wide_codes(struct kcheck *t, uint8_t *codes, size_t count) {
    const int large = t->layer != NULL ? 0 : (int)kc_below(t, 3);
    kc_fill_bytes(t, codes, count);
    for (size_t i = 0; i < count; i++) {
        int code = (int8_t)codes[i];
        if (large == 0)
            code /= 4;
        if (large == 1 && code % 2 == 0)
            code = code < 0 ? -127 : 127;
        codes[i] = (uint8_t)(code == -128 ? 0 : code);
    }
}

/* Leaves out of a quad, code e of which has number first + e, what is too much, then makes its
 * table; returns the sum of the rest. */
static int expect_wide_table(const int8_t quad[4], size_t first, uint8_t *table,
                             struct bp_left_out *left_out, size_t *length) {
    int size[4], total = 0;
    for (size_t e = 0; e < 4; e++) {
        size[e] = abs(quad[e]);
        total += size[e];
    }
    while (total > BP_WIDE_MOST) {
        size_t e = 0, largest = 0;
        for (; e < 4; e++)
            largest = size[e] > size[largest] ? e : largest;
        left_out[(*length)++] =
            (struct bp_left_out){(unsigned)(first + largest) & 0xffffff, quad[largest]};
        total -= size[largest];
        size[largest] = 0;
    }
    for (int m = 0; m < 16; m++) {
        int sum = 0;
        for (int e = 0; e < 4; e++)
            sum += (quad[e] > 0) != (m / (1 << e) % 2) ? size[e] : 0;
        table[m] = (uint8_t)sum;
    }
    return total;
}

static int by_number(const void *a, const void *b) {
    const unsigned x = ((const struct bp_left_out *)a)->at, y = ((const struct bp_left_out *)b)->at;
    return (x > y) - (x < y);
}

/* In order, as the kernel may list them in any, and their number behind them. */
static void finish_list(struct bp_left_out *left_out, size_t length, uint64_t *count) {
    qsort(left_out, length, sizeof *left_out, by_number);
    *count = length;
}

void kcheck_wide_tables_of_codes(struct kcheck *t) {
    size_t n, k;
    kc_sizes(t, &n, &k);
    if (t->layer != NULL)
        k = t->layer->k;
    const size_t together = KC_WIDE_TOGETHER, quads = bp_round_up((k + 3) / 4, together);
    kc_params(t, "n=%zu k=%zu together=%zu", n, k, together);
    kc_work(t, (double)(n * k), "element");
    uint8_t *codes = kc_input(t, "codes", KC_U8, n * k);
    fill_wide_codes(t, codes, n * k);
    uint8_t *tables = kc_output(t, "tables", KC_U8, n * quads * 16);
    int32_t *total = kc_output(t, "total", KC_I32, n);
    struct bp_left_out *left_out = kc_output(t, "left_out", KC_I32, n * quads * BP_LEFT_OUT_QUAD);
    uint64_t *count = kc_output(t, "count", KC_U64, 1);
    kc_keep_initial(t, left_out); /* behind its end nothing is written */
    size_t length = 0;
    for (size_t i = 0; i < n * quads; i++) {
        const size_t p = i / quads, j = i % quads * 4;
        int8_t quad[4] = {0};
        for (size_t e = 0; e < 4 && j + e < k; e++)
            quad[e] = (int8_t)codes[p * k + j + e];
        total[p] += expect_wide_table(quad, p * k + j, tables + 16 * i, left_out, &length);
    }
    finish_list(left_out, length, count);
    while (kc_next(t)) {
        struct bp_left_out *list = kc_at(t, left_out);
        finish_list(list,
                    t->kernels->wide_tables_of_codes(kc_at(t, codes), n, k, together,
                                                     kc_at(t, tables), kc_at(t, total), list),
                    kc_at(t, count));
    }
}

#define MOST_KINDS 3

void kcheck_wide_tables_of_samples(struct kcheck *t) {
    const size_t together = KC_WIDE_TOGETHER, most = 4 * together, bytes_each = 16 * together;
    size_t n, k, samples = t->layer != NULL || kc_below(t, 2) ? most : 1 + kc_below(t, most);
    kc_sizes(t, &n, &k);
    const struct kc_layer *l = t->layer;
    if (l != NULL) { /* a chunk of bconv_wgrad_lookup.c */
        n = t->is_bench ? 64 : 16;
        k = bp_min_size(l->k, 32);
    }
    const size_t code_step = l != NULL ? l->k : k + kc_below(t, 2) * kc_below(t, 40);
    const size_t position_bytes = bytes_each + 16 * (l != NULL ? 0 : kc_below(t, 3));
    const size_t column_bytes = n * position_bytes + (l != NULL ? 64 : 16 * kc_below(t, 3));
    const size_t bytes = (n - 1) * position_bytes + (k - 1) * column_bytes + bytes_each;
    const size_t sample_bytes = (n - 1) * code_step + k;
    const size_t span = l != NULL ? samples * n * code_step : sample_bytes + kc_below(t, 300);
    kc_params(t,
              "samples=%zu together=%zu n=%zu code_step=%zu k=%zu column_bytes=%zu "
              "position_bytes=%zu",
              samples, together, n, code_step, k, column_bytes, position_bytes);
    kc_work(t, (double)(n * k * samples), "element");
    uint8_t *codes = kc_input(t, "codes", KC_U8, span);
    int32_t *offset = kc_input(t, "offset", KC_I32, samples);
    uint8_t *kind = kc_input(t, "kind", KC_U8, n);
    fill_wide_codes(t, codes, span);
    for (size_t e = 0; e < samples; e++) /* the last one ends with the codes */
        offset[e] = (int32_t)(e + 1 == samples ? span - sample_bytes
                              : l != NULL      ? e * n * code_step
                                               : kc_below(t, span - sample_bytes + 1));
    for (size_t p = 0; p < n; p++)
        kind[p] = (uint8_t)kc_below(t, MOST_KINDS);
    uint8_t *out = kc_output(t, "out", KC_U8, bytes);
    int32_t *total = kc_output(t, "total", KC_I32, MOST_KINDS * k * together);
    struct bp_left_out *left_out =
        kc_output(t, "left_out", KC_I32, n * k * together * BP_LEFT_OUT_QUAD);
    uint64_t *count = kc_output(t, "count", KC_U64, 1);
    kc_keep_initial(t, left_out); /* behind its end nothing is written */
    kc_fill_bytes(t, out, bytes);
    kc_fill_i32(t, total, MOST_KINDS * k * together);
    kc_keep_initial(t, out);
    kc_keep_initial(t, total);
    size_t length = 0;
    for (size_t i = 0; i < n * k * together; i++) {
        const size_t q = i % together, column = i / together % k, p = i / together / k;
        int8_t quad[4] = {0};
        for (size_t e = 0; e < 4 && 4 * q + e < samples; e++)
            quad[e] = (int8_t)codes[(size_t)offset[4 * q + e] + p * code_step + column];
        total[(kind[p] * k + column) * together + q] += expect_wide_table(
            quad, (p * k + column) * 16 + 4 * q,
            out + column * column_bytes + p * position_bytes + 16 * q, left_out, &length);
    }
    finish_list(left_out, length, count);
    while (kc_next(t)) {
        struct bp_left_out *list = kc_at(t, left_out);
        finish_list(list,
                    t->kernels->wide_tables_of_samples(kc_at(t, codes), kc_at(t, offset), samples,
                                                       together, n, code_step, k, kc_at(t, out),
                                                       column_bytes, position_bytes, kc_at(t, kind),
                                                       kc_at(t, total), list),
                    kc_at(t, count));
    }
}

void kcheck_add_signs(struct kcheck *t) {
    size_t unused, n;
    kc_sizes(t, &unused, &n);
    if (t->layer != NULL)
        n = t->layer->c;
    const int32_t value = (int32_t)kc_below(t, 255) - 127;
    kc_params(t, "n=%zu value=%d", n, (int)value);
    kc_work(t, (double)n, "element");
    uint64_t *bits = kc_input(t, "bits", KC_U64, bp_words(n));
    int32_t *y = kc_output(t, "y", KC_I32, n);
    kc_fill_bits(t, bits, 1, bp_words(n) * 64);
    kc_fill_i32(t, y, n);
    kc_keep_initial(t, y);
    for (size_t j = 0; j < n; j++)
        y[j] += bp_bit(bits, j) ? -value : value;
    while (kc_next(t))
        t->kernels->add_signs(kc_at(t, bits), n, value, kc_at(t, y));
}
