/* --self-test: planted broken products by lookup, see kcheck_broken.c. */
#include "kcheck/kcheck.h"

#include <string.h>

#include "base/bits.h"
#include "kernels/c/tier_c.h"

static volatile uint64_t sink; /* keeps reads that nothing needs */

static void keeps_old_index(const uint64_t *bits, size_t lanes, size_t taps, size_t words,
                            size_t quads, size_t together, uint8_t *index) {
    size_t last = (lanes + 31) / 32 * taps * quads * 32 - 1;
    uint8_t old = index[last];
    bp_index_weights_c(bits, lanes, taps, words, quads, together, index);
    if (lanes % 32 != 0)
        index[last] = old;
}

static void missing_is_top(const uint8_t *codes, size_t n, size_t k, size_t together,
                           const struct bp_digit *digit, uint8_t *tables) {
    bp_tables_of_codes_c(codes, n, k, together, digit, tables);
    if (k % 4 != 0)
        tables[n * ((k + 3) / 4) * 16 - 16] += (uint8_t)digit->top;
}

static void reads_whole_quads(const uint8_t *codes, size_t n, size_t k, size_t together,
                              const struct bp_digit *digit, uint8_t *tables) {
    bp_tables_of_codes_c(codes, n, k, together, digit, tables);
    sink = ((const volatile uint8_t *)codes)[n * k - k + (k + 3) / 4 * 4 - 1];
}

static void writes_whole_words(const uint64_t *bits, size_t n, size_t words, size_t quads,
                               uint8_t *out) {
    bp_quads_of_signs_c(bits, n, words, quads, out);
    for (size_t i = n * quads; i < n * quads + (16 - quads % 16) % 16; i++)
        ((volatile uint8_t *)out)[i] = 0;
}

static void ignores_old_sums(const uint8_t *tables, const int32_t *pixel, size_t n,
                             const int32_t *tap, const int32_t *tap_w, size_t taps, size_t w_taps,
                             size_t quads, size_t together, int entry_max, const uint8_t *index,
                             size_t c, const int32_t *base, int shift, int32_t *y,
                             struct bp_fetch *soon) {
    if (base == NULL)
        memset(y, 0, n * c * sizeof *y);
    bp_product_tables_c(tables, pixel, n, tap, tap_w, taps, w_taps, quads, together, entry_max,
                        index, c, base, shift, y, soon);
}

static void sums_in_16_bits(const uint8_t *tables, const int32_t *pixel, size_t n,
                            const int32_t *tap, const int32_t *tap_w, size_t taps, size_t w_taps,
                            size_t quads, size_t together, int entry_max, const uint8_t *index,
                            size_t c, const int32_t *base, int shift, int32_t *y,
                            struct bp_fetch *soon) {
    bp_product_tables_c(tables, pixel, n, tap, tap_w, taps, w_taps, quads, together, entry_max,
                        index, c, base, shift, y, soon);
    for (size_t i = 0; base != NULL && i < n * c; i++)
        y[i] = base[i % c] + (((y[i] - base[i % c]) >> shift & 0xffff) << shift);
}

static void stores_in_order(const uint8_t *tables, const int32_t *pixel, const int32_t *to,
                            size_t n, const int32_t *tap, const int32_t *tap_w, size_t taps,
                            size_t w_taps, size_t quads, size_t together, int entry_max,
                            const uint8_t *index, size_t c, const int32_t *base,
                            const struct bp_wide_pixels *wide, const struct bp_masked_sums *y,
                            struct bp_fetch *soon) {
    (void)to;
    for (size_t p = 0; p < n; p++)
        bp_product_tables_i16_c(tables, pixel + p, (const int32_t[]){(int32_t)p}, 1, tap, tap_w,
                                taps, w_taps, quads, together, entry_max, index, c, base, wide, y,
                                soon);
}

static void masks_by_the_first_word(const uint8_t *tables, const int32_t *pixel, const int32_t *to,
                                    size_t n, const int32_t *tap, const int32_t *tap_w, size_t taps,
                                    size_t w_taps, size_t quads, size_t together, int entry_max,
                                    const uint8_t *index, size_t c, const int32_t *base,
                                    const struct bp_wide_pixels *wide,
                                    const struct bp_masked_sums *y, struct bp_fetch *soon) {
    bp_product_tables_i16_c(tables, pixel, to, n, tap, tap_w, taps, w_taps, quads, together,
                            entry_max, index, c, base, wide, y, soon);
    for (size_t p = 0; p < n; p++)
        for (size_t j = 64; j < c; j++)
            if (!bp_bit(y->mask + (size_t)to[p] * bp_words(c), j % 64))
                y->out[(size_t)to[p] * c + j] = 0;
}

static void signs_take_taps_in_order(const uint8_t *x, const int32_t *pixel, const int32_t *to,
                                     size_t n, const int32_t *tap, const int32_t *tap_w,
                                     size_t taps, size_t w_taps, size_t quads, const uint8_t *index,
                                     size_t k, int bias, int16_t *y) {
    int32_t in_order[9];
    (void)tap_w;
    for (size_t t = 0; t < taps; t++)
        in_order[t] = (int32_t)t;
    bp_product_signs_c(x, pixel, to, n, tap, in_order, taps, w_taps, quads, index, k, bias, y);
}

/* Wrong only where a byte of the sums would overflow: all of 64 quads differ in all signs. */
static void byte_overflows(const uint8_t *x, const int32_t *pixel, const int32_t *to, size_t n,
                           const int32_t *tap, const int32_t *tap_w, size_t taps, size_t w_taps,
                           size_t quads, const uint8_t *index, size_t k, int bias, int16_t *y) {
    bp_product_signs_c(x, pixel, to, n, tap, tap_w, taps, w_taps, quads, index, k, bias, y);
    for (size_t i = 0; taps * quads >= 64 && i < n * k; i++)
        if (y[i] == bias - 8 * (int)(taps * quads))
            y[i] = (int16_t)(y[i] + 512);
}

static void reads_four_samples(const uint64_t *bits, const int32_t *offset, size_t samples,
                               size_t together, size_t n, size_t words, size_t c, uint8_t *out,
                               size_t out_step) {
    bp_index_of_samples_c(bits, offset, samples, together, n, words, c, out, out_step);
    sink = (uint64_t)((const volatile int32_t *)offset)[3];
}

static void clears_between_rows(const uint64_t *bits, const int32_t *offset, size_t samples,
                                size_t together, size_t n, size_t words, size_t c, uint8_t *out,
                                size_t out_step) {
    memset(out, 0, (n - 1) * out_step);
    bp_index_of_samples_c(bits, offset, samples, together, n, words, c, out, out_step);
}

static void ignores_code_step(const uint8_t *codes, const int32_t *offset, size_t samples,
                              size_t together, size_t n, size_t code_step, size_t k,
                              const struct bp_digit *digit, uint8_t *out, size_t column_bytes,
                              size_t position_bytes) {
    (void)code_step;
    bp_tables_of_samples_c(codes, offset, samples, together, n, k, k, digit, out, column_bytes,
                           position_bytes);
}

/* Wrong only of wide tables. */
static void counts_entries_once(const uint8_t *tables, size_t k, size_t column_bytes,
                                const struct bp_tap_runs *runs, const uint8_t *index,
                                size_t index_step, size_t c, size_t together, int entry_max,
                                int add, int32_t *y, size_t y_stride, size_t tap_stride) {
    const struct bp_tap_runs once = {runs->runs, runs->begin, runs->taps, 1};
    bp_product_samples_c(tables, k, column_bytes, &once, index, index_step, c, together, entry_max,
                         add, y, y_stride, tap_stride);
}

/* As if two entries were added as bytes. */
static void large_entries_wrap(const uint8_t *tables, size_t k, size_t column_bytes,
                               const struct bp_tap_runs *runs, const uint8_t *index,
                               size_t index_step, size_t c, size_t together, int entry_max, int add,
                               int32_t *y, size_t y_stride, size_t tap_stride) {
    bp_product_samples_c(tables, k, column_bytes, runs, index, index_step, c, together, entry_max,
                         add, y, y_stride, tap_stride);
    if (entry_max > BP_WIDE_MOST / 2 && runs->begin[0] < runs->begin[1] && !add)
        y[0] %= 256;
}

static void forgets_what_is_left_out(const uint8_t *tables, const int32_t *pixel, const int32_t *to,
                                     size_t n, const int32_t *tap, const int32_t *tap_w,
                                     size_t taps, size_t w_taps, size_t quads, size_t together,
                                     int entry_max, const uint8_t *index, size_t c,
                                     const int32_t *base, const struct bp_wide_pixels *wide,
                                     const struct bp_masked_sums *y, struct bp_fetch *soon) {
    const struct bp_wide_pixels less = {wide == NULL ? NULL : wide->total, NULL};
    bp_product_tables_i16_c(tables, pixel, to, n, tap, tap_w, taps, w_taps, quads, together,
                            entry_max, index, c, base, wide == NULL ? NULL : &less, y, soon);
}

static size_t leaves_out_the_last_of_equals(const uint8_t *codes, size_t n, size_t k,
                                            size_t together, uint8_t *tables, int32_t *total,
                                            struct bp_left_out *left_out) {
    const size_t length = bp_wide_tables_of_codes_c(codes, n, k, together, tables, total, left_out);
    for (size_t i = 0; i < length; i++) {
        const size_t at = left_out[i].at;
        if (at % k % 4 < 3 && at % k + 1 < k && codes[at] == codes[at + 1] &&
            (i + 1 == length || left_out[i + 1].at != at + 1))
            left_out[i].at++;
    }
    return length;
}

static size_t totals_of_all_kinds(const uint8_t *codes, const int32_t *offset, size_t samples,
                                  size_t together, size_t n, size_t code_step, size_t k,
                                  uint8_t *out, size_t column_bytes, size_t position_bytes,
                                  const uint8_t *kind, int32_t *total,
                                  struct bp_left_out *left_out) {
    (void)kind;
    static const uint8_t first[4096];
    return bp_wide_tables_of_samples_c(codes, offset, samples, together, n, code_step, k, out,
                                       column_bytes, position_bytes, first, total, left_out);
}

static void adds_whole_words(const uint64_t *bits, size_t n, int32_t value, int32_t *y) {
    bp_add_signs_c(bits, n, value, y);
    if (n % 64 != 0)
        ((volatile int32_t *)y)[n] += value;
}

static void shifts_before_the_base(const uint8_t *tables, const int32_t *pixel, const int32_t *to,
                                   size_t n, const int32_t *tap, const int32_t *tap_w, size_t taps,
                                   size_t w_taps, size_t quads, size_t together, int entry_max,
                                   const uint8_t *index, size_t c, const int32_t *base,
                                   const struct bp_wide_pixels *wide,
                                   const struct bp_masked_sums *y, struct bp_fetch *soon) {
    int32_t multiples[4096];
    for (size_t j = 0; j < c && j < 4096; j++)
        multiples[j] = bp_shift_to_even(base[j], y->shift) * (1 << y->shift);
    bp_product_tables_i16_c(tables, pixel, to, n, tap, tap_w, taps, w_taps, quads, together,
                            entry_max, index, c, multiples, wide, y, soon);
}

static void always_adds(const uint8_t *tables, size_t k, size_t column_bytes,
                        const struct bp_tap_runs *runs, const uint8_t *index, size_t index_step,
                        size_t c, size_t together, int entry_max, int add, int32_t *y,
                        size_t y_stride, size_t tap_stride) {
    (void)add;
    bp_product_samples_c(tables, k, column_bytes, runs, index, index_step, c, together, entry_max,
                         1, y, y_stride, tap_stride);
}

static void overwrites_with_each_run(const uint8_t *tables, size_t k, size_t column_bytes,
                                     const struct bp_tap_runs *runs, const uint8_t *index,
                                     size_t index_step, size_t c, size_t together, int entry_max,
                                     int add, int32_t *y, size_t y_stride, size_t tap_stride) {
    for (size_t t = 0; t < runs->taps; t++)
        for (size_t r = runs->begin[t]; r == runs->begin[t] || r < runs->begin[t + 1]; r++) {
            const size_t begin[2] = {r, r < runs->begin[t + 1] ? r + 1 : r};
            const struct bp_tap_runs one = {runs->runs, begin, 1, runs->weight};
            bp_product_samples_c(tables, k, column_bytes, &one, index, index_step, c, together,
                                 entry_max, add, y + t * tap_stride, y_stride, tap_stride);
        }
}

static void leaves_empty_taps(const uint8_t *tables, size_t k, size_t column_bytes,
                              const struct bp_tap_runs *runs, const uint8_t *index,
                              size_t index_step, size_t c, size_t together, int entry_max, int add,
                              int32_t *y, size_t y_stride, size_t tap_stride) {
    for (size_t t = 0; t < runs->taps; t++) {
        const struct bp_tap_runs one = {runs->runs, runs->begin + t, 1, runs->weight};
        if (runs->begin[t] < runs->begin[t + 1])
            bp_product_samples_c(tables, k, column_bytes, &one, index, index_step, c, together,
                                 entry_max, add, y + t * tap_stride, y_stride, tap_stride);
    }
}

static void drops_short_runs(const uint8_t *tables, size_t k, size_t column_bytes,
                             const struct bp_tap_runs *runs, const uint8_t *index,
                             size_t index_step, size_t c, size_t together, int entry_max, int add,
                             int32_t *y, size_t y_stride, size_t tap_stride) {
    struct bp_run longer[64];
    for (size_t r = runs->begin[0]; r < runs->begin[runs->taps]; r++) {
        longer[r] = runs->runs[r];
        longer[r].count -= longer[r].count == 1;
    }
    const struct bp_tap_runs all = {longer, runs->begin, runs->taps, runs->weight};
    bp_product_samples_c(tables, k, column_bytes, &all, index, index_step, c, together, entry_max,
                         add, y, y_stride, tap_stride);
}

/* Wrong only where four quads stand together. */
static void numbers_every_second(const uint64_t *bits, size_t lanes, size_t taps, size_t words,
                                 size_t quads, size_t together, uint8_t *index) {
    bp_index_weights_c(bits, lanes, taps, words, quads, together, index);
    for (size_t i = 0; i < (lanes + 31) / 32 * taps * quads * 32; i++)
        index[i] &= 0x2f;
}

static void one_table_a_step(const uint8_t *tables, size_t k, size_t column_bytes,
                             const struct bp_tap_runs *runs, const uint8_t *index,
                             size_t index_step, size_t c, size_t together, int entry_max, int add,
                             int32_t *y, size_t y_stride, size_t tap_stride) {
    for (size_t t = 0; t < runs->taps; t++) {
        const size_t none[2] = {0, 0}, first[2] = {0, 1};
        const struct bp_tap_runs empty = {NULL, none, 1, 1};
        int32_t *to = y + t * tap_stride;
        bp_product_samples_c(tables, k, column_bytes, &empty, index, index_step, c, together,
                             entry_max, add, to, y_stride, tap_stride);
        for (size_t r = runs->begin[t]; r < runs->begin[t + 1]; r++)
            for (int32_t s = 0; s < runs->runs[r].count; s++) {
                const struct bp_run step = {runs->runs[r].table + BP_TABLE_BYTES * s,
                                            runs->runs[r].index + s * (int32_t)index_step, 1};
                const struct bp_tap_runs one = {&step, first, 1, runs->weight};
                bp_product_samples_c(tables, k, column_bytes, &one, index, index_step, c, together,
                                     entry_max, 1, to, y_stride, tap_stride);
            }
    }
}

static void few_samples_stay(const uint64_t *bits, const int32_t *offset, size_t samples,
                             size_t together, size_t n, size_t words, size_t c, uint8_t *out,
                             size_t out_step) {
    bp_index_of_samples_c(bits, offset, samples > 8 ? 8 : samples, together, n, words, c, out,
                          out_step);
}

/* Of more than 255 rows only the low bits count. */
static void counts_in_bytes(const uint64_t *x, size_t weights, const uint16_t *at, size_t capacity,
                            const int32_t *count, size_t words, int32_t *y) {
    int32_t less[2 * BP_ROW_WEIGHTS];
    for (size_t l = 0; l < 2 * weights; l++)
        less[l] = count[l] % 256;
    bp_product_nonzero_c(x, weights, at, capacity, less, words, y);
}

static void forgets_last_row(const uint64_t *x, size_t weights, const uint16_t *at, size_t capacity,
                             const int32_t *count, size_t words, int32_t *y) {
    int32_t less[2 * BP_ROW_WEIGHTS];
    for (size_t l = 0; l < 2 * weights; l++)
        less[l] = count[l] - (l % 2 == 1 && count[l] % 16 == 1);
    bp_product_nonzero_c(x, weights, at, capacity, less, words, y);
}

static void takes_five_for_one(const uint8_t *codes, size_t n, size_t step, size_t k,
                               size_t weights, const uint16_t *at, uint16_t *to, size_t capacity,
                               int32_t *count) {
    for (size_t p = 0; p < n; p++)
        for (size_t j = 0; j < k; j++) {
            uint8_t code = (uint8_t)(codes[p * step + j] == 5 ? 1 : codes[p * step + j]);
            bp_list_nonzero_c(&code, 1, 1, 1, weights, at + p, to + j * 2 * weights * capacity,
                              capacity, count + j * 2 * weights);
        }
}

static void counts_two_words_as_one(const uint64_t *rows, size_t weights, const uint16_t *at,
                                    size_t room, const size_t *count, const int32_t *total,
                                    size_t words_each, size_t words, const uint64_t *mask,
                                    int16_t *y) {
    bp_product_rows_c(rows, weights, at, room, count, total, words_each == 2 ? 1 : words_each,
                      words_each == 2 ? (words + 1) / 2 : words, mask, y);
}

static void counts_in_16_bits(const uint64_t *rows, size_t weights, const uint16_t *at, size_t room,
                              const size_t *count, const int32_t *total, size_t words_each,
                              size_t words, int32_t *y) {
    bp_product_rows_i32_c(rows, weights, at, room, count, total, words_each, words, y);
    for (size_t j = 0; j < 64 * words; j++) {
        const int32_t all = total[j / 64 / words_each];
        y[j] = all - 2 * ((all - y[j]) / 2 & 0xffff);
    }
}

static void fills_up_with_first_row(const struct bp_row_lists *lists, size_t n, size_t weights,
                                    uint16_t none, uint16_t *to, size_t room, size_t *count) {
    (void)none;
    bp_join_rows_c(lists, n, weights, 0, to, room, count);
}

static void numbers_on_from_63(const uint8_t *codes, size_t n, size_t k, size_t weights,
                               size_t first, size_t step, uint16_t *to, size_t room, size_t *count,
                               int32_t *total) {
    bp_list_row_c(codes, n, k, weights, first, step, to, room, count, total);
    for (size_t w = 0; w < weights; w++)
        for (size_t i = 0; i < count[w]; i++)
            if ((to[w * room + i] - first) / 128 > 0 && n == 1)
                to[w * room + i] = (uint16_t)(to[w * room + i] - 64);
}

const struct kc_planted kc_planted_lookup[] = {
    {"product_rows", "takes a total for each word", {.product_rows = counts_two_words_as_one}},
    {"product_rows_i32", "counts in 16 bits", {.product_rows_i32 = counts_in_16_bits}},
    {"join_rows", "fills up with the first row", {.join_rows = fills_up_with_first_row}},
    {"list_row", "numbers on from 63", {.list_row = numbers_on_from_63}},
    {"list_nonzero", "takes 5 for 1", {.list_nonzero = takes_five_for_one}},
    {"product_nonzero", "counts in bytes", {.product_nonzero = counts_in_bytes}},
    {"product_nonzero", "forgets the last of 17", {.product_nonzero = forgets_last_row}},
    {"index_weights", "numbers every second quad", {.index_weights = numbers_every_second}},
    {"product_samples", "one table a step", {.product_samples = one_table_a_step}},
    {"index_of_samples", "takes 8 samples at most", {.index_of_samples = few_samples_stay}},
    {"index_weights", "leaves empty lanes as they were", {.index_weights = keeps_old_index}},
    {"tables_of_codes", "a missing digit is the largest", {.tables_of_codes = missing_is_top}},
    {"tables_of_codes", "reads whole quads of codes", {.tables_of_codes = reads_whole_quads}},
    {"quads_of_signs", "writes the quads of whole words", {.quads_of_signs = writes_whole_words}},
    {"product_tables", "overwrites, does not add", {.product_tables = ignores_old_sums}},
    {"product_tables", "sums in 16 bits", {.product_tables = sums_in_16_bits}},
    {"product_tables_i16", "stores in order", {.product_tables_i16 = stores_in_order}},
    {"product_tables_i16",
     "first word of the mask for all",
     {.product_tables_i16 = masks_by_the_first_word}},
    {"product_signs", "takes the taps in order", {.product_signs = signs_take_taps_in_order}},
    {"product_signs", "a byte of the sums overflows", {.product_signs = byte_overflows}},
    {"index_of_samples", "reads 4 offsets always", {.index_of_samples = reads_four_samples}},
    {"index_of_samples", "clears between the rows", {.index_of_samples = clears_between_rows}},
    {"tables_of_samples", "ignores the step of codes", {.tables_of_samples = ignores_code_step}},
    {"product_samples", "always adds", {.product_samples = always_adds}},
    {"product_samples", "counts entries once", {.product_samples = counts_entries_once}},
    {"product_samples", "large entries wrap", {.product_samples = large_entries_wrap}},
    {"product_tables_i16",
     "forgets what is left out",
     {.product_tables_i16 = forgets_what_is_left_out}},
    {"wide_tables_of_codes",
     "leaves out the last of equals",
     {.wide_tables_of_codes = leaves_out_the_last_of_equals}},
    {"wide_tables_of_samples",
     "one total of all kinds",
     {.wide_tables_of_samples = totals_of_all_kinds}},
    {"add_signs", "adds beyond the end", {.add_signs = adds_whole_words}},
    {"product_tables_i16",
     "shifts before the base",
     {.product_tables_i16 = shifts_before_the_base}},
    {"product_samples", "each run overwrites", {.product_samples = overwrites_with_each_run}},
    {"product_samples", "leaves empty taps as they were", {.product_samples = leaves_empty_taps}},
    {"product_samples", "drops runs of one table", {.product_samples = drops_short_runs}},
};
const size_t kc_planted_lookup_count = sizeof kc_planted_lookup / sizeof kc_planted_lookup[0];
