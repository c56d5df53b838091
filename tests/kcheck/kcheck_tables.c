/* Tests of the tables and indices of the products by lookup. The references go bit by bit and digit
 * by digit. */
#include "kcheck/kcheck.h"

#include "base/bits.h"

/* --- signs ------------------------------------------------------------------------------------ */

/* Four signs of a row, from element 4 * quad on. */
static uint8_t quad_at(const uint64_t *row, size_t quad) {
    int index = 0;
    for (size_t e = 0; e < 4; e++)
        index += bp_bit(row, 4 * quad + e) << e;
    return (uint8_t)index;
}

void kcheck_index_weights(struct kcheck *t) {
    const struct kc_layer *l = t->layer;
    size_t lanes, quads, words, taps = kc_below(t, 2) ? 9 : 1 + kc_below(t, 4);
    kc_sizes(t, &lanes, &quads);
    lanes = l != NULL ? l->k : (lanes - 1) % 130 + 1;
    size_t together = kc_together(t, 1);
    quads = bp_round_up(l != NULL ? (l->c + 3) / 4 : quads, together);
    taps = l != NULL ? l->r * l->r : taps;
    words = (quads + 15) / 16 + (l != NULL ? 0 : kc_below(t, 2));
    size_t blocks = (lanes + 31) / 32;
    kc_params(t, "lanes=%zu taps=%zu words=%zu quads=%zu together=%zu", lanes, taps, words, quads,
              together);
    kc_work(t, (double)(lanes * taps * quads), "element");
    uint64_t *bits = kc_input(t, "bits", KC_U64, lanes * taps * words);
    kc_fill_bits(t, bits, 1, lanes * taps * words * 64);
    uint8_t *index = kc_output(t, "index", KC_U8, blocks * taps * quads * 32);
    for (size_t j = 0; j < blocks * 32; j++)
        for (size_t i = 0; i < taps; i++)
            for (size_t q = 0; q < quads; q++) {
                size_t row = (j / 32 * taps + i) * quads + q / together * together;
                index[row * 32 + j % 32 * together + q % together] =
                    (uint8_t)(q % together * 16 +
                              (j < lanes ? quad_at(bits + (j * taps + i) * words, q) : 0));
            }
    while (kc_next(t))
        t->kernels->index_weights(kc_at(t, bits), lanes, taps, words, quads, together,
                                  kc_at(t, index));
}

void kcheck_quads_of_signs(struct kcheck *t) {
    size_t n, quads;
    kc_sizes(t, &n, &quads);
    if (t->layer != NULL)
        quads = (quads + 3) / 4;
    size_t words = (quads + 15) / 16 + (t->layer != NULL ? 0 : kc_below(t, 2));
    kc_params(t, "n=%zu words=%zu quads=%zu", n, words, quads);
    kc_work(t, (double)(n * quads), "element");
    uint64_t *bits = kc_input(t, "bits", KC_U64, n * words);
    kc_fill_bits(t, bits, 1, n * words * 64);
    uint8_t *out = kc_output(t, "out", KC_U8, n * quads);
    for (size_t p = 0; p < n; p++)
        for (size_t q = 0; q < quads; q++)
            out[p * quads + q] = (uint8_t)(16 * quad_at(bits + p * words, q));
    while (kc_next(t))
        t->kernels->quads_of_signs(kc_at(t, bits), n, words, quads, kc_at(t, out));
}

void kcheck_index_of_samples(struct kcheck *t) {
    size_t together = kc_together(t, 0), most = 4 * together;
    size_t n, c, samples = t->layer != NULL ? most : 1 + kc_below(t, most);
    kc_sizes(t, &n, &c);
    size_t words = bp_words(c), row = (c + 31) / 32 * 32 * together;
    size_t rows = n + kc_below(t, 40), step = row + 32 * kc_below(t, 3);
    kc_params(t, "samples=%zu together=%zu n=%zu words=%zu c=%zu out_step=%zu", samples, together,
              n, words, c, step);
    kc_work(t, (double)(n * c * together), "element");
    uint64_t *bits = kc_input(t, "bits", KC_U64, rows * words);
    int32_t *offset = kc_input(t, "offset", KC_I32, samples);
    kc_fill_bits(t, bits, rows, c);
    for (size_t e = 0; e < samples; e++)
        offset[e] = (int32_t)(kc_below(t, rows - n + 1) * words);
    uint8_t *out = kc_output(t, "out", KC_U8, (n - 1) * step + row);
    kc_fill_bytes(t, out, (n - 1) * step + row);
    kc_keep_initial(t, out);
    for (size_t p = 0; p < n; p++)
        for (size_t j = 0; j < row; j++) {
            size_t lane = j / together, q = j % together, index = 16 * q;
            for (size_t e = 0; e < 4 && 4 * q + e < samples && lane < c; e++)
                index += (size_t)bp_bit(bits + (size_t)offset[4 * q + e] + p * words, lane) << e;
            out[p * step + j] = (uint8_t)index;
        }
    while (kc_next(t))
        t->kernels->index_of_samples(kc_at(t, bits), kc_at(t, offset), samples, together, n, words,
                                     c, kc_at(t, out), step);
}

/* --- digits ----------------------------------------------------------------------------------- */

static struct bp_digit draw_digit(struct kcheck *t) {
    static const int tops[] = {1, 2, 6, 14, 15};
    struct bp_digit digit = {.code_min = (int)kc_below(t, 256) - 128, .top = 15};
    if (t->layer != NULL)
        return (struct bp_digit){.code_min = -7, .top = 14};
    if (kc_below(t, 3) == 0)
        digit.shift = kc_below(t, 2) ? 4 : (int)kc_below(t, 8);
    digit.top = kc_below(t, 4) ? tops[kc_below(t, 5)] : 1 + (int)kc_below(t, 15);
    return digit;
}

static int digit_at(uint8_t code, const struct bp_digit *digit) {
    int u = (code - digit->code_min) & 255;
    return u / (1 << digit->shift) % 16;
}

/* Codes with digits 0 .. top; the other bits are any. */
static void fill_codes(struct kcheck *t, uint8_t *codes, size_t count,
                       const struct bp_digit *digit) {
    kc_fill_bytes(t, codes, count);
    for (size_t i = 0; i < count; i++) {
        int u = codes[i], d = u >> digit->shift & 15;
        u -= (d - (d == 15 ? digit->top : d % (digit->top + 1))) << digit->shift;
        codes[i] = (uint8_t)(u + digit->code_min);
    }
}

/* The table of `count` digits (the others are 0), by its definition. */
static void expect_table(const int digits[4], int top, uint8_t *table) {
    for (int m = 0; m < 16; m++) {
        int sum = 0;
        for (int e = 0; e < 4; e++)
            sum += m / (1 << e) % 2 ? top - digits[e] : digits[e];
        table[m] = (uint8_t)sum;
    }
}

void kcheck_tables_of_codes(struct kcheck *t) {
    size_t n, k;
    kc_sizes(t, &n, &k);
    if (t->layer != NULL)
        k = t->layer->k;
    struct bp_digit digit = draw_digit(t);
    size_t together = kc_together(t, 0), quads = bp_round_up((k + 3) / 4, together);
    kc_params(t, "n=%zu k=%zu together=%zu code_min=%d shift=%d top=%d", n, k, together,
              digit.code_min, digit.shift, digit.top);
    kc_work(t, (double)(n * k), "element");
    uint8_t *codes = kc_input(t, "codes", KC_U8, n * k);
    fill_codes(t, codes, n * k, &digit);
    uint8_t *tables = kc_output(t, "tables", KC_U8, n * quads * 16);
    for (size_t p = 0; p < n; p++)
        for (size_t q = 0; q < quads; q++) {
            int digits[4] = {0};
            for (size_t e = 0; e < 4 && 4 * q + e < k; e++)
                digits[e] = digit_at(codes[p * k + 4 * q + e], &digit);
            expect_table(digits, digit.top, tables + (p * quads + q) * 16);
        }
    while (kc_next(t))
        t->kernels->tables_of_codes(kc_at(t, codes), n, k, together, &digit, kc_at(t, tables));
}

void kcheck_tables_of_samples(struct kcheck *t) {
    size_t together = kc_together(t, 0), most = 4 * together, bytes_each = 16 * together;
    size_t n, k, samples = t->layer != NULL || kc_below(t, 2) ? most : 1 + kc_below(t, most);
    kc_sizes(t, &n, &k);
    const struct kc_layer *l = t->layer;
    if (l != NULL) { /* a chunk of bconv_wgrad_lookup.c */
        n = t->is_bench ? 64 : 16;
        k = bp_min_size(l->k, 32);
    }
    struct bp_digit digit = draw_digit(t);
    size_t code_step = l != NULL ? l->k : k + kc_below(t, 2) * kc_below(t, 40);
    /* Positions of a column in a row, or columns of a position; with gaps. */
    int by_column = l != NULL || kc_below(t, 2);
    size_t gap = 16 * (l != NULL ? 0 : kc_below(t, 3));
    size_t position_bytes = by_column ? bytes_each + gap : k * (bytes_each + gap);
    size_t column_bytes = by_column ? n * position_bytes + (l != NULL ? 64 : 0) : bytes_each + gap;
    size_t bytes = (n - 1) * position_bytes + (k - 1) * column_bytes + bytes_each;
    size_t sample_bytes = (n - 1) * code_step + k;
    size_t span = l != NULL ? samples * n * code_step : sample_bytes + kc_below(t, 300);
    kc_params(t,
              "samples=%zu together=%zu n=%zu code_step=%zu k=%zu code_min=%d shift=%d top=%d "
              "column_bytes=%zu position_bytes=%zu",
              samples, together, n, code_step, k, digit.code_min, digit.shift, digit.top,
              column_bytes, position_bytes);
    kc_work(t, (double)(n * k * samples), "element");
    uint8_t *codes = kc_input(t, "codes", KC_U8, span);
    int32_t *offset = kc_input(t, "offset", KC_I32, samples);
    fill_codes(t, codes, span, &digit);
    for (size_t e = 0; e < samples; e++) /* the last one ends with the codes */
        offset[e] = (int32_t)(e + 1 == samples ? span - sample_bytes
                              : l != NULL      ? e * n * code_step
                                               : kc_below(t, span - sample_bytes + 1));
    uint8_t *out = kc_output(t, "out", KC_U8, bytes);
    kc_fill_bytes(t, out, bytes);
    kc_keep_initial(t, out);
    for (size_t i = 0; i < n * k * together; i++) {
        const size_t q = i % together, column = i / together % k, p = i / together / k;
        int of_quad[4] = {0};
        for (size_t e = 0; e < 4 && 4 * q + e < samples; e++)
            of_quad[e] =
                digit_at(codes[(size_t)offset[4 * q + e] + p * code_step + column], &digit);
        expect_table(of_quad, digit.top, out + column * column_bytes + p * position_bytes + 16 * q);
    }
    while (kc_next(t))
        t->kernels->tables_of_samples(kc_at(t, codes), kc_at(t, offset), samples, together, n,
                                      code_step, k, &digit, kc_at(t, out), column_bytes,
                                      position_bytes);
}
