/* Products by lookup. The C tier multiplies by planes instead where it can choose: these are here
 * for the tests, and as the plainest form of the contracts. */
#include "kernels/c/tier_c.h"

#include <stdlib.h>

#include "base/bits.h"

/* --- tables and indices ----------------------------------------------------------------------- */

static void fill_table(const uint8_t digits[4], int top, uint8_t table[BP_TABLE_BYTES]) {
    for (unsigned m = 0; m < BP_TABLE_BYTES; m++) {
        int sum = 0;
        for (unsigned e = 0; e < 4; e++)
            sum += m >> e & 1 ? top - digits[e] : digits[e];
        table[m] = (uint8_t)sum;
    }
}

static uint8_t digit_of(uint8_t code, const struct bp_digit *digit) {
    return (uint8_t)((uint8_t)(code - digit->code_min) >> digit->shift & 15);
}

/* A missing element is never subtracted from top, as its sign bit is clear. */
void bp_tables_of_codes_c(const uint8_t *codes, size_t n, size_t k, size_t together,
                          const struct bp_digit *digit, uint8_t *tables) {
    for (size_t p = 0; p < n; p++, codes += k)
        for (size_t i = 0; i < bp_round_up(k, 4 * together); i += 4, tables += BP_TABLE_BYTES) {
            uint8_t digits[4] = {0};
            for (size_t e = 0; e < 4 && i + e < k; e++)
                digits[e] = digit_of(codes[i + e], digit);
            fill_table(digits, digit->top, tables);
        }
}

void bp_tables_of_samples_c(const uint8_t *codes, const int32_t *offset, size_t samples,
                            size_t together, size_t n, size_t code_step, size_t k,
                            const struct bp_digit *digit, uint8_t *out, size_t column_bytes,
                            size_t position_bytes) {
    for (size_t p = 0; p < n; p++)
        for (size_t i = 0; i < k; i++)
            for (size_t q = 0; q < together; q++) {
                uint8_t digits[4] = {0};
                for (size_t e = 0; e < 4 && 4 * q + e < samples; e++)
                    digits[e] =
                        digit_of(codes[(size_t)offset[4 * q + e] + p * code_step + i], digit);
                fill_table(digits, digit->top,
                           out + i * column_bytes + p * position_bytes + q * BP_TABLE_BYTES);
            }
}

/* A quad's wide table. at: the numbers of its codes, of those that are left out. */
static int32_t fill_wide_table(int8_t codes[4], const size_t at[4], uint8_t table[BP_TABLE_BYTES],
                               struct bp_left_out *left_out, size_t *length) {
    int total = 0;
    for (size_t e = 0; e < 4; e++)
        total += abs(codes[e]);
    while (total > BP_WIDE_MOST) {
        size_t largest = 0;
        for (size_t e = 1; e < 4; e++)
            if (abs(codes[e]) > abs(codes[largest]))
                largest = e;
        left_out[(*length)++] =
            (struct bp_left_out){(unsigned)at[largest] & 0xffffff, codes[largest]};
        total -= abs(codes[largest]);
        codes[largest] = 0;
    }
    for (unsigned m = 0; m < BP_TABLE_BYTES; m++) {
        int sum = 0;
        for (unsigned e = 0; e < 4; e++)
            if ((codes[e] < 0) == (m >> e & 1))
                sum += abs(codes[e]);
        table[m] = (uint8_t)sum;
    }
    return total;
}

size_t bp_wide_tables_of_codes_c(const uint8_t *codes, size_t n, size_t k, size_t together,
                                 uint8_t *tables, int32_t *total, struct bp_left_out *left_out) {
    size_t length = 0;
    for (size_t p = 0; p < n; p++) {
        total[p] = 0;
        for (size_t i = 0; i < bp_round_up(k, 4 * together); i += 4, tables += BP_TABLE_BYTES) {
            const size_t first = p * k + i, at[4] = {first, first + 1, first + 2, first + 3};
            int8_t quad[4] = {0};
            for (size_t e = 0; e < 4 && i + e < k; e++)
                quad[e] = (int8_t)codes[first + e];
            total[p] += fill_wide_table(quad, at, tables, left_out, &length);
        }
    }
    return length;
}

size_t bp_wide_tables_of_samples_c(const uint8_t *codes, const int32_t *offset, size_t samples,
                                   size_t together, size_t n, size_t code_step, size_t k,
                                   uint8_t *out, size_t column_bytes, size_t position_bytes,
                                   const uint8_t *kind, int32_t *total,
                                   struct bp_left_out *left_out) {
    size_t length = 0;
    for (size_t p = 0; p < n; p++)
        for (size_t i = 0; i < k; i++)
            for (size_t q = 0; q < together; q++) {
                const size_t first = (p * k + i) * 16 + 4 * q;
                const size_t at[4] = {first, first + 1, first + 2, first + 3};
                int8_t quad[4] = {0};
                for (size_t e = 0; e < 4 && 4 * q + e < samples; e++)
                    quad[e] = (int8_t)codes[(size_t)offset[4 * q + e] + p * code_step + i];
                total[(kind[p] * k + i) * together + q] += fill_wide_table(
                    quad, at, out + i * column_bytes + p * position_bytes + q * BP_TABLE_BYTES,
                    left_out, &length);
            }
    return length;
}

static uint8_t quad_of(const uint64_t *words, size_t quad) {
    return (uint8_t)(words[quad / 16] >> 4 * (quad % 16) & 15);
}

void bp_index_weights_c(const uint64_t *bits, size_t lanes, size_t taps, size_t words, size_t quads,
                        size_t together, uint8_t *index) {
    for (size_t block = 0; block < lanes; block += BP_LANES)
        for (size_t t = 0; t < taps; t++)
            for (size_t i = 0; i < quads; i += together)
                for (size_t j = block; j < block + BP_LANES; j++)
                    for (size_t q = 0; q < together; q++) {
                        int quad = j < lanes ? quad_of(bits + (j * taps + t) * words, i + q) : 0;
                        *index++ = (uint8_t)(16 * q + (size_t)quad);
                    }
}

void bp_quads_of_signs_c(const uint64_t *bits, size_t n, size_t words, size_t quads, uint8_t *out) {
    for (size_t p = 0; p < n; p++, bits += words)
        for (size_t i = 0; i < quads; i++)
            *out++ = (uint8_t)(quad_of(bits, i) << 4);
}

void bp_index_of_samples_c(const uint64_t *bits, const int32_t *offset, size_t samples,
                           size_t together, size_t n, size_t words, size_t c, uint8_t *out,
                           size_t out_step) {
    for (size_t p = 0; p < n; p++, out += out_step)
        for (size_t j = 0; j < bp_round_up(c, BP_LANES); j++)
            for (size_t q = 0; q < together; q++) {
                size_t quad = 16 * q;
                for (size_t e = 0; e < 4 && 4 * q + e < samples && j < c; e++)
                    quad += (size_t)bp_bit(bits + offset[4 * q + e] + p * words, j) << e;
                out[j * together + q] = (uint8_t)quad;
            }
}

/* --- products --------------------------------------------------------------------------------- */

void bp_product_tables_c(const uint8_t *tables, const int32_t *pixel, size_t n, const int32_t *tap,
                         const int32_t *tap_w, size_t taps, size_t w_taps, size_t quads,
                         size_t together, int entry_max, const uint8_t *index, size_t c,
                         const int32_t *base, int shift, int32_t *y, struct bp_fetch *soon) {
    (void)entry_max, (void)soon;
    for (size_t p = 0; p < n; p++)
        for (size_t b = 0; b < c; b += BP_LANES) {
            int32_t sums[BP_LANES] = {0};
            for (size_t t = 0; t < taps; t++) {
                const uint8_t *table = tables + ((ptrdiff_t)pixel[p] + tap[t]) * BP_TABLE_BYTES;
                const uint8_t *at = index + (b * w_taps + (size_t)tap_w[t] * BP_LANES) * quads;
                for (size_t i = 0; i < quads; i += together, table += together * BP_TABLE_BYTES)
                    for (size_t j = 0; j < BP_LANES; j++)
                        for (size_t q = 0; q < together; q++)
                            sums[j] += table[*at++];
            }
            for (size_t j = 0; j < BP_LANES && b + j < c; j++) {
                int32_t *to = y + p * c + b + j;
                *to = (base != NULL ? base[b + j] : *to) + sums[j] * (1 << shift);
            }
        }
}

void bp_product_tables_i16_c(const uint8_t *tables, const int32_t *pixel, const int32_t *to,
                             size_t n, const int32_t *tap, const int32_t *tap_w, size_t taps,
                             size_t w_taps, size_t quads, size_t together, int entry_max,
                             const uint8_t *index, size_t c, const int32_t *base,
                             const struct bp_wide_pixels *wide, const struct bp_masked_sums *y,
                             struct bp_fetch *soon) {
    for (size_t p = 0; p < n; p++)
        for (size_t b = 0; b < c; b += BP_LANES) {
            const size_t lanes = bp_min_size(c - b, BP_LANES), at = (size_t)to[p] * c + b;
            const uint64_t inside = y->mask[(size_t)to[p] * bp_words(c) + b / 64] >> b % 64;
            const int32_t *more = wide == NULL || wide->more == NULL ? NULL : wide->more[p];
            int32_t sums[BP_LANES];
            bp_product_tables_c(tables, &pixel[p], 1, tap, tap_w, taps, w_taps, quads, together,
                                entry_max, index + b * w_taps * quads, lanes, base + b,
                                wide == NULL ? 0 : 1, sums, soon);
            for (size_t j = 0; j < lanes; j++) {
                sums[j] += (more == NULL ? 0 : more[b + j]) - (wide == NULL ? 0 : wide->total[p]);
                y->out[at + j] =
                    (int16_t)(inside >> j & 1 ? bp_shift_to_even(sums[j], y->shift) : 0);
            }
        }
}

void bp_product_signs_c(const uint8_t *x, const int32_t *pixel, const int32_t *to, size_t n,
                        const int32_t *tap, const int32_t *tap_w, size_t taps, size_t w_taps,
                        size_t quads, const uint8_t *index, size_t k, int bias, int16_t *y) {
    for (size_t p = 0; p < n; p++)
        for (size_t b = 0; b < k; b += BP_LANES) {
            int32_t mismatches[BP_LANES] = {0};
            for (size_t t = 0; t < taps; t++) {
                const uint8_t *at = index + (b * w_taps + (size_t)tap_w[t] * BP_LANES) * quads;
                for (size_t i = 0; i < quads; i++, at += BP_LANES) {
                    unsigned quad = x[(ptrdiff_t)pixel[p] + tap[t] + (ptrdiff_t)i] >> 4;
                    for (size_t j = 0; j < BP_LANES; j++)
                        mismatches[j] += __builtin_popcount(quad ^ at[j]);
                }
            }
            for (size_t j = 0; j < BP_LANES && b + j < k; j++)
                y[(size_t)to[p] * k + b + j] = (int16_t)(bias - 2 * mismatches[j]);
        }
}

/* y += weight times the sums of one run. */
static void add_run(const uint8_t *tables, int weight, const struct bp_run *run,
                    const uint8_t *index, size_t index_step, size_t c, size_t together,
                    int32_t *y) {
    const uint8_t *table = tables + run->table, *at = index + run->index;
    for (int32_t s = 0; s < run->count; s++) {
        for (size_t j = 0; j < c; j++)
            for (size_t q = 0; q < together; q++)
                y[j] += weight * table[at[j * together + q]];
        table += together * BP_TABLE_BYTES;
        at += index_step;
    }
}

void bp_product_samples_c(const uint8_t *tables, size_t k, size_t column_bytes,
                          const struct bp_tap_runs *runs, const uint8_t *index, size_t index_step,
                          size_t c, size_t together, int entry_max, int add, int32_t *y,
                          size_t y_stride, size_t tap_stride) {
    (void)entry_max;
    for (size_t i = 0; i < k; i++)
        for (size_t t = 0; t < runs->taps; t++) {
            int32_t *to = y + i * y_stride + t * tap_stride;
            for (size_t j = 0; j < c && !add; j++)
                to[j] = 0;
            for (size_t r = runs->begin[t]; r < runs->begin[t + 1]; r++)
                add_run(tables + i * column_bytes, runs->weight, &runs->runs[r], index, index_step,
                        c, together, to);
        }
}

void bp_add_signs_c(const uint64_t *bits, size_t n, int32_t value, int32_t *y) {
    for (size_t j = 0; j < n; j++)
        y[j] += bp_bit(bits, j) ? -value : value;
}
