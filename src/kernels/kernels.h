/* Kernels: the inner loops, and nothing else. No memory allocation, threads, errors or globals
 * here.
 *
 * struct bp_kernels is a table of function pointers; the comment of each field is its whole
 * contract, and it stands only here. bp_kernels_init fills the C version of every kernel first,
 * then each tier up to the one asked for overwrites the fields that it has. All tiers give the same
 * bytes: integer results are exact, and float results are defined operation by operation (no fused
 * multiply-add where it would round differently, sums in the stated order), so that they can be
 * compared with ==. Open are the bits of a NaN, and the sign of a range's lo or hi that is zero.
 *
 * Common rules. Sizes may be any number >= 1 unless said otherwise; pointers never alias unless
 * said otherwise; no alignment is required beyond the type's, except for packed weights (64 bytes).
 * Kernels read and write exactly the elements named: never a byte beyond (tests put guard pages
 * behind every buffer). cw = words of 64 channels = ceil(c / 64); pad bits of inputs are zero, and
 * pad bits of outputs are written as zero. */
#ifndef BP_KERNELS_KERNELS_H
#define BP_KERNELS_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "base/cpu.h"
#include "base/rng.h"
#include "kernels/operands.h"
#include "kernels/value_type.h"

#ifdef __cplusplus
extern "C" {
#endif

struct bp_kernels {
    /* --- bits --------------------------------------------------------------------------------- */

    /* x [n][c] -> bits [n][cw], bit set where x < 0 (so -0.0 and NaN are clear), and, unless mask
     * is NULL, mask [n][cw], bit set where |x| < 1 (strict; NaN is clear). */
    void (*sign_pack_f32)(const float *x, size_t n, size_t c, uint64_t *bits, uint64_t *mask);

    /* Gathers `count` (1 .. 64) rows of cw words, row i at base + offset[i], and transposes 64 x 64
     * bits at a time: bit i of out[64 * w + j] = bit j of word w of row i. Rows i >= count count as
     * zero. out [cw][64]. */
    void (*transpose_gather)(const uint64_t *base, const int32_t *offset, size_t count, size_t cw,
                             uint64_t *out);

    /* codes [n][k] (bytes) -> planes [n][bits][kw]: bit c of plane j = bit j of code c. bits 1
     * .. 8. */
    void (*pack_planes)(const uint8_t *codes, size_t n, size_t k, int bits, uint64_t *planes);

    /* Sign bits [k][taps][cw] -> packed weights [ceil(k / 32)][taps][cw][32], see BP_LANES. */
    void (*pack_weights)(const uint64_t *bits, size_t k, size_t taps, size_t cw, uint64_t *packed);

    /* --- products ----------------------------------------------------------------------------- */

    /* The forward product. For pixel p (0 .. n - 1) and output channel j (0 .. k - 1):
     *     y[to[p] * k + j] = bias - 2 * sum over t, i of
     *         popcount(x[pixel[p] + tap[t] + i] ^ w(j, tap_w[t], i))
     * t = 0 .. taps - 1, i = 0 .. cw - 1, offsets in words (here and below, a tap's may be
     * negative, its sum with a pixel's not); w: packed weights with w_taps taps, 64-byte aligned,
     * of which tap_w[t] picks one; no two pixels have the same `to`; bias is the number of bits
     * compared (taps * c). taps * cw * 64 <= 32767. */
    void (*product_xor)(const uint64_t *x, const int32_t *pixel, const int32_t *to, size_t n,
                        const int32_t *tap, const int32_t *tap_w, size_t taps, size_t w_taps,
                        size_t cw, const uint64_t *w, size_t k, int bias, int16_t *y);

    /* product_xor of taps that lie in rows of three, cw words apart:
     *     y[to[p] * k + j] = bias + add[add_row[p] * k + j] - 2 * sum over r, e = 0 .. 2, i of
     *         popcount(x[pixel[p] + row[r] + e * cw + i] ^ w(j, row_w[r], e, i))
     * r = 0 .. rows - 1; add NULL: nothing is added. parity[a] = x[a] ^ x[a + cw] ^ x[a + 2 * cw],
     * where e = 0 reads x. w: triples [ceil(k / 32)][w_rows][cw][3][32], 64-byte aligned, of which
     * row_w[r] picks a row: the words of e = 0 and 1, as packed weights have them, and the parity
     * of all three. rows * cw <= 170. Used where in_triples. */
    void (*product_triples)(const uint64_t *x, const uint64_t *parity, const int32_t *pixel,
                            const int32_t *to, size_t n, const int32_t *row, const int32_t *row_w,
                            size_t rows, size_t w_rows, size_t cw, const uint64_t *w, size_t k,
                            int bias, const int16_t *add, const uint8_t *add_row, int16_t *y);

    /* The activation gradient's product: a sum of codes, with signs, over bit planes. With
     *     value(plane j) = 2^j, except -2^j for j = planes - 1 if is_signed,
     *     y[p * c + j] = sum over t, plane l, i of value(l) *
     *         (popcount(x(p, t, l, i)) - 2 * popcount(x(p, t, l, i) & w(j, tap_w[t], i)))
     *     x(p, t, l, i) = x[pixel[p] + tap[t] + l * kw + i]
     * t = 0 .. taps - 1; i = 0 .. kw - 1; j = 0 .. c - 1. w: packed weights
     * [ceil(c / 32)][w_taps][kw][32], 64-byte aligned; tap_w[t] < w_taps picks the tap. int32 must
     * suffice for the result (the caller's bound: taps * 64 * kw * 2^planes < 2^31). */
    void (*product_planes)(const uint64_t *x, const int32_t *pixel, size_t n, const int32_t *tap,
                           const int32_t *tap_w, size_t taps, size_t w_taps, size_t kw, int planes,
                           int is_signed, const uint64_t *w, size_t c, int32_t *y);

    /* The weight gradient's product over `words` words of 64 positions:
     *     y[i * y_stride + j] += sum over word s, plane l of value(l) *
     *         popcount(g[(s * planes + l) * k + i] & a[s * c + j])
     * i = 0 .. k - 1, j = 0 .. c - 1; a [words][c] and g [words][planes][k] hold 64 positions a
     * word; value(l) as in product_planes. */
    void (*product_positions)(const uint64_t *a, const uint64_t *g, size_t words, size_t k,
                              size_t c, int planes, int is_signed, int32_t *y, size_t y_stride);

    /* count[j] += sum over s of popcount(a[s * c + j]). */
    void (*count_positions)(const uint64_t *a, size_t words, size_t c, int32_t *count);

    /* --- products by lookup ------------------------------------------------------------------- */

    /* Four contracted elements, a quad, are multiplied at once. A quad of digits d_0 .. d_3 (struct
     * bp_digit) has a table of 16 bytes, one for every pattern m of four signs:
     *     entry(m) = sum over e of (bit e of m ? top - d_e : d_e)                    (0 .. 4 * top)
     * A quad of signs is an index byte, 0 .. 15: bit e set = element e is negative. Hence
     *     sum of d * sign = sum of entries - top * (number of negative signs)
     * Elements beyond the end have digit 0 and sign +, so they add nothing. Lanes (outputs) are
     * blocked by 32, as in packed weights.
     *
     * `together`: the index bytes of as many quads, 1 or 4, stand side by side, for a lookup in the
     * tables of 4 quads at once: byte [lane][q] is 16 * q + the index of quad q. The number of
     * quads is a multiple of it. A tier has one value (the field below), and only for that one its
     * functions are called; index_weights for 1 too, as product_signs takes. The C tier has all. */

    /* Sign bits [lanes][taps][words] -> index [ceil(lanes / 32)][taps][quads / together][32]
     * [together], signs + for the lanes beyond the end. quads <= 16 * words. */
    void (*index_weights)(const uint64_t *bits, size_t lanes, size_t taps, size_t words,
                          size_t quads, size_t together, uint8_t *index);

    /* codes [n][k] -> tables [n][quads][16], quads = ceil(k / 4 / together) * together. */
    void (*tables_of_codes)(const uint8_t *codes, size_t n, size_t k, size_t together,
                            const struct bp_digit *digit, uint8_t *tables);

    /* Sign bits [n][words] -> 16 * index byte of each quad, [n][quads]. quads <= 16 * words. */
    void (*quads_of_signs)(const uint64_t *bits, size_t n, size_t words, size_t quads,
                           uint8_t *out);

    /* The activation gradient's product. For pixel p and lane j:
     *     s = sum over t, i, q of tables[16 * (pixel[p] + tap[t] + i * together) +
     *                                    index(j, tap_w[t], i, q)]
     *     y[p * c + j] = base[j] + (s << shift), or with base NULL y[p * c + j] += s << shift
     * t = 0 .. taps - 1; i = 0 .. quads / together - 1; q = 0 .. together - 1; index:
     * [ceil(c / 32)][w_taps][quads / together][32][together]. No entry is larger than entry_max
     * (1 .. 60); shift: 0 .. 6. int32 must suffice for y. tables: 16-byte aligned, index: 32-byte
     * aligned. soon: about as much of it as y has bytes; NULL: nothing. */
    void (*product_tables)(const uint8_t *tables, const int32_t *pixel, size_t n,
                           const int32_t *tap, const int32_t *tap_w, size_t taps, size_t w_taps,
                           size_t quads, size_t together, int entry_max, const uint8_t *index,
                           size_t c, const int32_t *base, int shift, int32_t *y,
                           struct bp_fetch *soon);

    /* The same of one digit, or of wide tables (below), as mask_sums stores it, where the pixels
     * belong:
     *     row to[p], lane j of y->out = base[j] + s
     *     or unless wide is NULL        base[j] + 2 * s - wide->total[p] + wide->more[p][j]
     * With wide, entry_max is up to BP_WIDE_MOST. Those whose bit is set fit 16 bits. taps * quads
     * / together <= BP_STEPS_AT_ONCE. Only where sums_at_once. */
    void (*product_tables_i16)(const uint8_t *tables, const int32_t *pixel, const int32_t *to,
                               size_t n, const int32_t *tap, const int32_t *tap_w, size_t taps,
                               size_t w_taps, size_t quads, size_t together, int entry_max,
                               const uint8_t *index, size_t c, const int32_t *base,
                               const struct bp_wide_pixels *wide, const struct bp_masked_sums *y,
                               struct bp_fetch *soon);

    /* The forward product, as product_xor: y[to[p] * k + j] = bias - 2 * sum over t, i of
     *     popcount(x[pixel[p] + tap[t] + i] / 16 ^ index(j, tap_w[t], i))
     * x: bytes from quads_of_signs; index: [ceil(k / 32)][w_taps][quads][32], 32-byte aligned, that
     * is with one quad together.
     * taps * quads * 4 <= 32767. */
    void (*product_signs)(const uint8_t *x, const int32_t *pixel, const int32_t *to, size_t n,
                          const int32_t *tap, const int32_t *tap_w, size_t taps, size_t w_taps,
                          size_t quads, const uint8_t *index, size_t k, int bias, int16_t *y);

    /* For the weight gradient a quad is four samples at one position. Signs: for pixel p = 0 .. n -
     * 1, an index row at out + p * out_step, [32 * ceil(c / 32)][together]: byte (j, q) has bit e =
     * bit j of bits[offset[4 * q + e] + p * words .. + words - 1], where 4 * q + e < samples (1 ..
     * 4 * together); the others, and those of the lanes beyond c, are +. */
    void (*index_of_samples)(const uint64_t *bits, const int32_t *offset, size_t samples,
                             size_t together, size_t n, size_t words, size_t c, uint8_t *out,
                             size_t out_step);

    /* Tables: for column i = 0 .. k - 1 and position p = 0 .. n - 1, the `together` tables from
     *     out + i * column_bytes + p * position_bytes
     * on, that of quad q of the digits of codes[offset[4 * q + e] + p * code_step + i], 4 * q + e =
     * 0 .. samples - 1. */
    void (*tables_of_samples)(const uint8_t *codes, const int32_t *offset, size_t samples,
                              size_t together, size_t n, size_t code_step, size_t k,
                              const struct bp_digit *digit, uint8_t *out, size_t column_bytes,
                              size_t position_bytes);

    /* The weight gradient's product, of several taps:
     *     y[i * y_stride + t * tap_stride + j] = (add ? itself : 0) + runs->weight *
     *         sum over the runs r of tap t, s = 0 .. r.count - 1, q of
     *             tables[i * column_bytes + r.table + 16 * s * together +
     *                    index[r.index + s * index_step + j * together + q]]
     * i = 0 .. k - 1, j = 0 .. c - 1. The index rows hold 32 * ceil(c / 32) * together bytes and
     * are 32-byte aligned, as index_step is. entry_max as above, where sums_at_once up to
     * BP_WIDE_MOST, and only there is the weight not 1. */
    void (*product_samples)(const uint8_t *tables, size_t k, size_t column_bytes,
                            const struct bp_tap_runs *runs, const uint8_t *index, size_t index_step,
                            size_t c, size_t together, int entry_max, int add, int32_t *y,
                            size_t y_stride, size_t tap_stride);

    /* Wide tables: a quad of signed codes c_0 .. c_3, -127 .. 127, has one table
     *     entry(m) = sum over e of max(0, bit e of m ? -c_e : c_e)
     *     sum of c * sign = 2 * sum of entries - sum of |c|
     * where |c_0| + .. + |c_3| <= BP_WIDE_MOST. In other quads the code of largest |c_e|, the first
     * of equal ones, is taken for 0 and put on a list, until that is so: returned is the length of
     * the list, in any order, BP_LEFT_OUT_QUAD of a quad at most. Only where sums_at_once. */

    /* codes [n][k] -> tables [n][quads][16], quads as in tables_of_codes; total[p] = sum of the |c|
     * of pixel p that are in its tables. Code j of pixel p is number p * k + j of the list. */
    size_t (*wide_tables_of_codes)(const uint8_t *codes, size_t n, size_t k, size_t together,
                                   uint8_t *tables, int32_t *total, struct bp_left_out *left_out);

    /* As tables_of_samples; total[kind[p] * k + i][q] += sum of the |c| in the table of column i,
     * position p, quad q. Sample s of position p, column i is number (p * k + i) * 16 + s of the
     * list. */
    size_t (*wide_tables_of_samples)(const uint8_t *codes, const int32_t *offset, size_t samples,
                                     size_t together, size_t n, size_t code_step, size_t k,
                                     uint8_t *out, size_t column_bytes, size_t position_bytes,
                                     const uint8_t *kind, int32_t *total,
                                     struct bp_left_out *left_out);

    /* y[j] += bit j of bits ? -value : value, j = 0 .. n - 1. */
    void (*add_signs)(const uint64_t *bits, size_t n, int32_t value, int32_t *y);

    /* --- products that leave out zeros -------------------------------------------------------- */

    /* Lists the codes of columns that are not zero. For column j = 0 .. k - 1 and row p = 0 .. n -
     * 1 in order: for each digit d of weight w of (int8_t)codes[p * step + j] that is not zero,
     * at[p] is appended to the list l = (j * weights + w) * 2 + (d < 0) that is to[l *
     * capacity + count[l]] = at[p], count[l]++. No list grows beyond capacity - 64: what is behind
     * its end may be written. weights <= BP_ROW_WEIGHTS. */
    void (*list_nonzero)(const uint8_t *codes, size_t n, size_t step, size_t k, size_t weights,
                         const uint16_t *at, uint16_t *to, size_t capacity, int32_t *count);

    /* Lists the codes of pixels that are not zero. For pixel p = 0 .. n - 1 and channel j = 0 ..
     * k - 1 in order: for each digit d of weight w of (int8_t)codes[p * k + j] that is not zero,
     * the number of a row
     *     first + p * step + j / 64 * 128 + j % 64 + (d < 0 ? BP_ROW_MINUS : 0)
     * is appended to the list of weight w, empty at first, at to + w * room. count[w]: its length;
     * total[p]: the sum of |d| * 2^w. Numbers are below 65536; weights <= BP_ROW_WEIGHTS. room >= n
     * * k + 64: what is behind a list's end may be written. */
    void (*list_row)(const uint8_t *codes, size_t n, size_t k, size_t weights, size_t first,
                     size_t step, uint16_t *to, size_t room, size_t *count, int32_t *total);

    /* For weight w, lists 0 .. n - 1, to whose numbers their `first` is added, one behind the other
     * at to + w * room, then `none` up to a multiple of BP_ROW_BLOCK, which count[w] is. What is
     * up to 64 numbers behind a list's end is read, 128 behind that of the result written. */
    void (*join_rows)(const struct bp_row_lists *lists, size_t n, size_t weights, uint16_t none,
                      uint16_t *to, size_t room, size_t *count);

    /* Counts bits: for lane j = 0 .. 64 * words - 1, words = 1 .. BP_ROW_WORDS,
     *     y[j] = total[j / 64 / words_each] - 2 * sum over weights w, i = 0 .. count[w] - 1 of
     *                2^w * bit j % 64 of rows[at[w * room + i] * BP_ROW_WORDS + j / 64]
     * where bit j of the mask is set, else 0. rows: 64-byte aligned is faster; each
     * count is a multiple of BP_ROW_BLOCK. No lane is counted more than 65535 times; y that are
     * wanted fit 16 bits. */
    void (*product_rows)(const uint64_t *rows, size_t weights, const uint16_t *at, size_t room,
                         const size_t *count, const int32_t *total, size_t words_each, size_t words,
                         const uint64_t *mask, int16_t *y);

    /* The same of all lanes, in 32 bits: no lane is counted 2^24 times. */
    void (*product_rows_i32)(const uint64_t *rows, size_t weights, const uint16_t *at, size_t room,
                             const size_t *count, const int32_t *total, size_t words_each,
                             size_t words, int32_t *y);

    /* A sum of small integers with signs: for lane j = 0 .. 64 * words - 1
     *     y[j] += sum over lists l = 0 .. 2 * weights - 1, i = 0 .. count[l] - 1 of
     *                 2^(l / 2) * (l odd ? -1 : 1) * s(at[l * capacity + i], j)
     * s(at, j) = -1 where bit j % 64 of x[at + j / 64] is set, else 1. The weights of all rows add
     * up to less than 2^24, and int32 must suffice for y. 16 numbers behind a list's end may be
     * read. */
    void (*product_nonzero)(const uint64_t *x, size_t weights, const uint16_t *at, size_t capacity,
                            const int32_t *count, size_t words, int32_t *y);

    /* --- products of tiles of bytes ----------------------------------------------------------- */

    /* Where a processor multiplies tiles of bytes, signs are spread to bytes: a step is 64
     * contracted bytes, by 16 rows of x and 16 lanes of w. Exact: int32 must suffice for every
     * sum. Only tiers that have product_turned call these; the C tier has all.
     *
     * Those of x are one more than they stand for: half of them are zero, which multiplies faster
     * (docs/KERNELS.md, "Zeros are faster"), and sums are too large by those of the weights. */

    /* For pixel p = 0 .. n - 1 and channel i = 0 .. 64 * ceil(c / 64) - 1
     *     out[p * pitch + i] = 1 + (i >= c ? 0 : bit i % 64 of bits[p * words + i / 64] ? -1 : 1)
     * words >= ceil(c / 64): from one pixel to the next. */
    void (*spread_signs)(const uint64_t *bits, size_t n, size_t words, size_t c, int8_t *out,
                         size_t pitch);

    /* A block of packed weights, [n][32] words (pack_weights), as n steps of 32 lanes:
     *     out [n][2][16][16][4], 64-byte aligned: byte (s, half, q, j, e) is
     *         bit 4 * q + e of w[s * 32 + half * 16 + j] ? -1 : 1
     * sums [n][32], 64-byte aligned: the sum of the bytes of a step's lane; NULL: not wanted. */
    void (*spread_weights)(const uint64_t *w, size_t n, int8_t *out, int32_t *sums);

    /* For block b, its row i and lane j = 0 .. lanes - 1 (1 .. 32), where r = to[16 * b + i] >= 0:
     *     y[r * y_stride + j] = start[j] + sum over t = 0 .. taps - 1, s = 0 .. steps - 1,
     *       e = 0 .. 63 of
     *         x[at[b] + i * pitch + tap[t] + s * step + e] * w(tap_w[t] * steps + s, e, j)
     * w: as spread_weights writes it, 64-byte aligned. x: signed bytes; rows that are not wanted
     * are read all the same. start [32]; NULL: zeros. No two rows have the same `to`, no sum is
     * beyond int16. Those that the mask leaves out are 0; NULL: none is. */
    void (*product_tiles_i16)(const int8_t *x, const struct bp_tile_blocks *blocks,
                              const int32_t *tap, const int32_t *tap_w, size_t taps, size_t steps,
                              const int8_t *w, const int32_t *start, size_t lanes, int16_t *y,
                              size_t y_stride, const struct bp_lane_mask *mask);

    /* The same from zero and without a mask, with sums of 32 bits; x: codes, signed bytes if
     * is_signed, else unsigned ones. soon: as much as y, or less, of all lanes; NULL: nothing. */
    void (*product_tiles_i32)(const uint8_t *x, int is_signed, const struct bp_tile_blocks *blocks,
                              const int32_t *tap, const int32_t *tap_w, size_t taps, size_t steps,
                              const int8_t *w, size_t lanes, int32_t *y, size_t y_stride,
                              struct bp_fetch *soon);

    /* Signs of up to four samples at a time, for the weight gradient: for pixel p = 0 .. n - 1,
     * lane j = 0 .. 63 and e = 0 .. 3
     *     out[j / 16 * plane + p * pitch + j % 16 * 4 + e] =
     *         e >= samples ? 0 : bit j of bits[offset[e] + p * step] ? -1 : 1
     * samples: 0 .. 4; offset and step count words. */
    void (*spread_samples)(const uint64_t *bits, const int32_t *offset, size_t samples, size_t n,
                           size_t step, int8_t *out, size_t pitch, size_t plane);

    /* Turns columns of codes to rows: for column j = 0 .. k - 1 and i = 0 .. 63
     *     out[j * pitch + i] = i < n ? codes[offset[i] + j] : 0
     * n: 1 .. 64 */
    void (*turn_codes)(const uint8_t *codes, const int32_t *offset, size_t n, size_t k,
                       uint8_t *out, size_t pitch);

    /* The weight gradient's product, for tap t = 0 .. taps - 1, row i = 0 .. k - 1 (up to 32) and
     * lane j = 0 .. c - 1 (up to 64):
     *     y[t * y_tap + i * y_stride + j] = (add ? itself : 0) +
     *         sum over runs r = begin[t] .. begin[t + 1] - 1, s = 0 .. runs[r].count - 1,
     *         q = 0 .. 15, e = 0 .. 3 of
     *         codes[i * pitch + runs[r].table + 64 * s + 4 * q + e] *
     *             x[j / 16 * plane + runs[r].index + 64 * (16 * s + q) + j % 16 * 4 + e]
     * codes: signed bytes if is_signed, else unsigned ones. Rows of codes up to a multiple of 16
     * are read, and lanes of x up to a multiple of 32. */
    void (*product_turned)(const uint8_t *codes, int is_signed, int add, size_t k, size_t pitch,
                           const struct bp_run *runs, const size_t *begin, size_t taps,
                           const int8_t *x, size_t plane, size_t c, int32_t *y, size_t y_stride,
                           size_t y_tap);

    /* --- products of bfloat16 ----------------------------------------------------------------- */

    /* Rows of x times rows of w, a step of 32 contracted elements at a time; c: lanes, a multiple
     * of 32. Tiers: AVX-512, AMX; C's are for the tests (fp32/bf16_pointwise.h). */

    /* Rows [n][c] as steps of tiles: for step s = 0 .. ceil(n / 32) - 1, b = 0 .. c / 16 - 1,
     * q, j = 0 .. 15 and e = 0 .. 1, with p = 32 * s + 2 * q + e,
     *     out[(((b * ceil(n / 32) + s) * 16 + q) * 16 + j) * 2 + e] =
     *         p < n ? x[p * stride + 16 * b + j] : 0
     * out: 64-byte aligned. */
    void (*pack_bf16)(const uint16_t *x, size_t n, size_t c, size_t stride, uint16_t *out);

    /* Columns of [n][c] as rows, filled up to whole steps: for i = 0 .. 32 * ceil(n / 32) - 1
     *     out[j * pitch + i] = i < n ? x[i * stride + j] : 0 */
    void (*turn_bf16)(const uint16_t *x, size_t n, size_t c, size_t stride, uint16_t *out,
                      size_t pitch);

    /* For row i = 0 .. n - 1 and lane j = 0 .. c - 1, y[i * y_stride + j], or 0 unless `add`, plus
     * for each step s = 0 .. steps - 1, in their order,
     *     (sum over q of a(q, 0)) + (sum over q of a(q, 1)), q = 0 .. 15 in order, with
     *     a(q, e) = x[i * x_stride + 32 * s + 2 * q + e] * w(s, q, j, e)
     * w: as pack_bf16 writes it. Products are exact, each sum is rounded; below 2^-126 a number may
     * count as zero. soon: fetched meanwhile; NULL: nothing. */
    void (*product_bf16)(const uint16_t *x, size_t n, size_t x_stride, const uint16_t *w,
                         size_t steps, size_t c, int add, float *y, size_t y_stride,
                         struct bp_fetch soon);

    /* --- products of bytes -------------------------------------------------------------------- */

    /* Unsigned bytes x times signed bytes w, four contracted elements, a quad, at a time. Lanes
     * (outputs) are blocked by 16: lanes = 16 * ceil(k / 16). For row p and lane j
     *     s(p, j) = sum over t = 0 .. quads - 1, e = 0 .. 3 of
     *         x[row[p] + quad[t] + e] * w[(t * lanes + j) * 4 + e]
     * p = 0 .. n - 1; j = 0 .. k - 1; w: [quads][lanes][4], 64-byte aligned, zero in the lanes
     * beyond k. Exact: int32 must suffice for every s, base[j] + s and y. */

    /* y[p * k + j] += s(p, j) */
    void (*product_bytes)(const uint8_t *x, const int32_t *row, size_t n, const int32_t *quad,
                          size_t quads, const int8_t *w, size_t k, int32_t *y);

    /* y[p * k + j] = scale[j] * (float)(base[j] + s(p, j)), both operations rounded. quads <= 64.
     */
    void (*product_bytes_f32)(const uint8_t *x, const int32_t *row, size_t n, const int32_t *quad,
                              size_t quads, const int8_t *w, size_t k, const int32_t *base,
                              const float *scale, float *y);

    /* y[p * k + j] = floor((base[j] + s(p, j)) / 2^shift[j]), which must fit 16 bits; shift 0
     * .. 31. quads <= 64. */
    void (*product_bytes_i16)(const uint8_t *x, const int32_t *row, size_t n, const int32_t *quad,
                              size_t quads, const int8_t *w, size_t k, const int32_t *base,
                              const int32_t *shift, int16_t *y);

    /* out [n][16]: the bytes of n blocks of a stream, from block `first` on: bp_stream_bytes. */
    void (*random_blocks)(const struct bp_stream *stream, uint64_t first, size_t n, uint8_t *out);

    /* Stochastic rounding to quads: g [n][k] -> out [ceil(n / 4)][lanes][4]. Element e of quad t
     * and lane j is the code of g at row p = 4 * t + e, column j: code = floor((r + u) / 65536), u
     * = random[32 * p + i] + 256 * random[32 * p + i + 1], i = 2 * (j % 16) r = g * scale[j], then
     * rounded to the nearest integer, ties to even; |r| <= 127 * 65536, else codes and sums are
     * anything. Zero beyond n and k. sum[j] += the codes of column j. */
    void (*code_quads)(const float *g, size_t n, size_t k, const uint8_t *random,
                       const float *scale, int8_t *out, int32_t *sum);

    /* --- gradient quantizer ------------------------------------------------------------------- */

    /* Smallest, largest element and sum of squares of each column of g [n][k], added to what `to`
     * holds: lo[j], hi[j] by min and max, sum_squares[j] += g * g in order of the rows. A NaN in a
     * column makes sum_squares NaN; lo and hi then hold anything, and not the same on every tier.
     */
    void (*range_columns)(const float *g, size_t n, size_t k, struct bp_columns to);

    /* codes[i] of element i = 0 .. n - 1, one grid for all. random: of n elements, as struct
     * bp_rounding says. */
    void (*round_group)(const float *g, size_t n, const uint8_t *random,
                        const struct bp_rounding *rounding, struct bp_grid grid, uint8_t *codes);

    /* g [n][g_stride], of which columns column[0 .. k - 1] are coded: codes [n][k]; code (i, j) is
     * element i * k + j and uses grid[j]. random: of n * k elements. */
    void (*round_columns)(const float *g, size_t n, size_t g_stride, const int32_t *column,
                          size_t k, const uint8_t *random, const struct bp_rounding *rounding,
                          const struct bp_grid *grid, uint8_t *codes);

    /* The epilogue of the activation gradient: out [n][c]; for pixel p, channel j
     *     out = scale * (float)sum[p * c + j] + offset[(size_t)row[p] * c + j]
     * where the mask's bit is set, else +0.0. mask [n][cw]; row[p] picks the row of `offset`
     * (border class). One multiplication, one addition, both rounded. */
    void (*scale_mask)(const int32_t *sum, const uint64_t *mask, size_t n, size_t c, float scale,
                       const float *offset, const uint8_t *row, float *out);

    /* The same without an offset, in integers: out [n][c] = bp_shift_to_even(sum, shift) where the
     * mask's bit is set, else 0. These fit 16 bits; the others may not. */
    void (*mask_sums)(const int32_t *sum, const uint64_t *mask, size_t n, size_t c, int shift,
                      int16_t *out);

    /* The epilogue of the weight gradient, n elements:
     *     out = scale * (float)(sum[j] + 16 * high[j] + known - off * neg[j])
     *           + offset * (float)(valid - 2 * neg[j])
     * where |w[j]| < 1, else +0.0. The sum of integers fits into 32 bits, its terms need not; each
     * operation of floats is rounded. high NULL: without that term. neg NULL, and high too: without
     * off, and nothing is added. w NULL: everywhere. */
    void (*scale_latent)(const struct bp_latent_scale *by, const int32_t *sum, const int32_t *high,
                         const int32_t *neg, const float *w, size_t n, float *out);

    /* The same in 16 bits: the sum of integers, which fits then, by bp_shift_to_even; and what that
     * becomes later,
     *     out[j] = |w[j]| < 1 ? scale * (float)sum[j] : +0.0 */
    void (*narrow_sums)(const struct bp_latent_scale *by, const int32_t *sum, const int32_t *high,
                        const int32_t *neg, size_t n, int16_t *out);
    void (*latent_gradient)(const int16_t *sum, float scale, const float *w, size_t n, float *out);

    /* --- normalisation, activation, pooling --------------------------------------------------- */

    /* sum[j] += y, sum_squares[j] += y * y over y [n][c], exact. No |y| is larger than limit (1 ..
     * 32768). */
    void (*sums_i16)(const int16_t *y, size_t n, size_t c, int limit, int64_t *sum,
                     int64_t *sum_squares);

    /* The same for elements >= 0 and elements < 0 apart. sums [4][c]: sum and sum of squares of the
     * former, then of the latter. */
    void (*half_sums_i16)(const int16_t *y, size_t n, size_t c, int limit, int64_t *sums);

    /* sum[j] += y, sum_squares[j] += y * y in double (y is converted first), in order of the rows.
     */
    void (*sums_f32)(const float *y, size_t n, size_t c, double *sum, double *sum_squares);

    /* With the coefficients a: v = y * scale[j] + shift[j] (two roundings); z = v < 0 ? v *
     * slope[j] : v; z = z + residual, unless that is NULL (residual and z [n][c]). slope may be
     * NULL: z = v. z may be the residual, and y in the f32 version. sum, sum_squares: unless NULL,
     * as sums_f32 of z. stream: z is not read soon, so it may go past the caches. */
    void (*affine_act_i16)(const int16_t *y, size_t n, size_t c, const struct bp_affine_rows *a,
                           const float *residual, int stream, float *z, double *sum,
                           double *sum_squares);
    void (*affine_act_f32)(const float *y, size_t n, size_t c, const struct bp_affine_rows *a,
                           const float *residual, int stream, float *z, double *sum,
                           double *sum_squares);

    /* The same of y of any type but bfloat16, with residual (or NULL) and z [n][c] in halves: z is
     * rounded as by settle_f16 once the residual is added, and the sums (or NULL) are those of the
     * rounded z. z may be the residual. */
    void (*affine_act_f16)(const void *y, enum value_type type, size_t n, size_t c,
                           const struct bp_affine_rows *a, const uint16_t *residual, uint16_t *z,
                           double *sum, double *sum_squares);

    /* bits and mask (may be NULL) as sign_pack_f32 of z = v < 0 ? v * slope[j] : v as above. */
    void (*affine_signs_i16)(const int16_t *y, size_t n, size_t c, const struct bp_affine_rows *a,
                             uint64_t *bits, uint64_t *mask);
    void (*affine_signs_f32)(const float *y, size_t n, size_t c, const struct bp_affine_rows *a,
                             uint64_t *bits, uint64_t *mask);

    /* y in halves */
    void (*affine_signs_f16)(const uint16_t *y, size_t n, size_t c, const struct bp_affine_rows *a,
                             uint64_t *bits, uint64_t *mask);

    /* bits: sign_low[j] <= y && y <= sign_high[j], mask (may be NULL) likewise. */
    void (*limit_signs_i16)(const int16_t *y, size_t n, size_t c,
                            const struct bp_limit_rows *limits, uint64_t *bits, uint64_t *mask);

    /* The same of the winners of 2x2 max pooling, stride 2, of two rows upper, lower [2 * n or
     * more][c]: the first largest y ^ flip[j]. bits, mask and which as in affine_pool_signs_i16. */
    void (*limit_pool_signs_i16)(const int16_t *upper, const int16_t *lower, size_t n, size_t c,
                                 const struct bp_limit_rows *limits, uint64_t *bits, uint64_t *mask,
                                 uint64_t *which);

    /* bits and mask of max_pool_2x2 of z: two rows upper, lower [2 * n or more][c] of integers ->
     * bits, mask [n][cw] and which [n][2][cw] (mask and which may be NULL). */
    void (*affine_pool_signs_i16)(const int16_t *upper, const int16_t *lower, size_t n, size_t c,
                                  const struct bp_affine_rows *a, uint64_t *bits, uint64_t *mask,
                                  uint64_t *which);

    /* 2x2 max pooling, stride 2, of two rows a, b [2 * n or more][c] -> z [n][c] and, unless NULL,
     * which [n][2][cw]: the low and the high bit of the winner's index 2 * dy + dx. The first
     * largest in index order wins (a later one only if it is greater, or NaN). */
    void (*max_pool_2x2)(const float *a, const float *b, size_t n, size_t c, float *z,
                         uint64_t *which);

    /* The reverse: g [n][c] goes to the winner, +0.0 to the others; a, b [2 * n][c]. */
    void (*max_unpool_2x2)(const struct bp_gradient_rows *g, const uint64_t *which, size_t n,
                           size_t c, float *a, float *b);

    /* Max pooling of any window: n windows of rows x columns pixels (1 .. 255 in all), the first at
     * x, each `step` floats after the one before; rows of a window are row_step floats apart.
     *     z[p * c + j] = max over y, i of x[p * step + y * row_step + i * c + j]
     *     winner[p * c + j] = y * columns + i of that pixel         (winner may be NULL)
     * The first largest wins (a later one only if it is greater, or NaN). */
    void (*max_window)(const float *x, size_t n, size_t step, size_t rows, size_t columns,
                       size_t row_step, size_t c, float *z, uint8_t *winner);

    /* The same of integers, the largest x ^ flip[j] (0, or -1: the smallest x); z is the x itself.
     * The first wins. 3x3 windows and those that a border leaves of them: rows, columns 1 .. 3. */
    void (*max_window_i16)(const int16_t *x, size_t n, size_t step, size_t rows, size_t columns,
                           size_t row_step, size_t c, const int16_t *flip, int16_t *z,
                           uint8_t *winner);

    /* The reverse for n pixels that lie in `count` windows each, a pixel's c floats behind those of
     * the pixel before: dx[p * step + j] is set to +0.0 unless `add`; then, in order of w, dx[p *
     * step + j] += g[offset[w] + p * c + j] where winner[offset[w] + p * c + j] == index[w] */
    void (*max_window_back)(const float *g, const uint8_t *winner, const size_t *offset,
                            const uint8_t *index, size_t count, size_t n, size_t c, size_t step,
                            int add, float *dx);

    /* The reverse of averages, for one row of their input: n windows side by side, of `columns` (1
     * or 2) pixels each in this row: scale * g[p * c + j] is written to dx[(p * columns + i) * c +
     * j], i < columns, or if `add` added to what stands there. */
    void (*average_back)(const float *g, size_t n, size_t columns, size_t c, float scale, int add,
                         float *dx);

    /* Backward of affine_act for one block of rows. g [n][c] is dL/dz. With v = y * scale + shift:
     *     ga = v < 0 ? g * slope : g          (slope NULL: ga = g)
     *     sum_g[j] += ga;  sum_gy[j] += ga * y;  sum_slope[j] += v < 0 ? g * v : 0
     * in float, in order of the rows, into sums that the caller cleared before each block of at
     * most 1024 rows (slope NULL: sum_slope untouched). */
    void (*act_sums_i16)(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                         const float *scale, const float *shift, const float *slope, float *sum_g,
                         float *sum_gy, float *sum_slope);
    void (*act_sums_f32)(const struct bp_gradient_rows *g, const float *y, size_t n, size_t c,
                         const float *scale, const float *shift, const float *slope, float *sum_g,
                         float *sum_gy, float *sum_slope);

    /* y in halves */
    void (*act_sums_f16)(const struct bp_gradient_rows *g, const uint16_t *y, size_t n, size_t c,
                         const float *scale, const float *shift, const float *slope, float *sum_g,
                         float *sum_gy, float *sum_slope);

    /* act_sums_i16 behind 2x2 max pooling: g [n][c] of the pooled row, y that of each window's
     * winner in the rows upper, lower [2 * n or more][c], see max_pool_2x2; in order of the
     * windows, into sums that the caller cleared before a block of them. */
    void (*pool_sums_i16)(const struct bp_gradient_rows *g, const int16_t *upper,
                          const int16_t *lower, const uint64_t *which, size_t n, size_t c,
                          const float *scale, const float *shift, const float *slope, float *sum_g,
                          float *sum_gy, float *sum_slope);

    /* The gradient at the affine's input: out = (ga * ka[j] + y * kb[j]) + kc[j], each operation
     * rounded, ga as above, or if `add` what stands in out plus that; with g NULL (zeros) without
     * the first term, and scale, shift, slope and ka are not read. out may be g's floats, and y in
     * the f32 version, unless it adds. */
    void (*act_grad_i16)(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                         const float *scale, const float *shift, const float *slope,
                         const float *ka, const float *kb, const float *kc, int add, float *out);
    void (*act_grad_f32)(const struct bp_gradient_rows *g, const float *y, size_t n, size_t c,
                         const float *scale, const float *shift, const float *slope,
                         const float *ka, const float *kb, const float *kc, int add, float *out);

    /* y in halves, out in bfloat16: `add`, floats or bfloat16, which may be out, or NULL for
     * nothing, plus that, then rounded as by round_bf16. out is neither g's nor y. */
    void (*act_grad_f16)(const struct bp_gradient_rows *g, const uint16_t *y, size_t n, size_t c,
                         const float *scale, const float *shift, const float *slope,
                         const float *ka, const float *kb, const float *kc,
                         const struct bp_gradient_rows *add, uint16_t *out);

    /* Backward of a plain scale of integers, one that batch norm does not follow, and activation:
     * with v = y * scale[j] and g [n][c] at its output, each operation rounded,
     *     ga = v < 0 ? g * slope[j] : g          (slope NULL: ga = g)
     *     r  = ga * scale[j]
     * out = r; y is above -32768. */
    void (*scale_grad_i16)(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                           const float *scale, const float *slope, float *out);

    /* Ranges and sums of it, in order of the rows: r as range_columns does, sum_gy[j] += ga * y,
     * sum_slope[j] += v < 0 ? g * v : 0 (slope NULL: untouched). */
    void (*scale_sums_i16)(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                           const float *scale, const float *slope, struct bp_columns to,
                           float *sum_gy, float *sum_slope);

    /* range_columns of the rows that act_grad_i16 would write. */
    void (*act_range_i16)(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                          const float *scale, const float *shift, const float *slope,
                          const float *ka, const float *kb, const float *kc, struct bp_columns to);

    /* The codes, see struct bp_rounding_both, of the rows that act_grad_i16 would write, and of
     * those of scale_grad_i16. Only where codes_at_once. */
    void (*act_codes_i16)(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                          const float *scale, const float *shift, const float *slope,
                          const float *ka, const float *kb, const float *kc,
                          const struct bp_rounding_both *both);
    void (*scale_codes_i16)(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                            const float *scale, const float *slope,
                            const struct bp_rounding_both *both);

    /* The same of a pair of rows behind 2x2 max pooling, y [2][2 * n][c], of which the gradient g
     * [n][c] goes to the winners, see max_unpool_2x2, and is 0 elsewhere; ka is finite. Ranges in
     * order of the pixels, codes [2][2 * n][c]. Only where codes_at_once; g is not bf16. */
    void (*pool_range_i16)(const struct bp_gradient_rows *g, const int16_t *y,
                           const uint64_t *which, size_t n, size_t c, const float *scale,
                           const float *shift, const float *slope, const float *ka, const float *kb,
                           const float *kc, struct bp_columns to);
    void (*pool_codes_i16)(const struct bp_gradient_rows *g, const int16_t *y,
                           const uint64_t *which, size_t n, size_t c, const float *scale,
                           const float *shift, const float *slope, const float *ka, const float *kb,
                           const float *kc, const struct bp_rounding_both *both);

    /* Some columns of such rows: out[p * k + j] = y[p * c + i] * kb[i] + kc[i] with i = column[j],
     * rising. */
    void (*act_columns_i16)(const int16_t *y, size_t n, size_t c, const int32_t *column, size_t k,
                            const float *kb, const float *kc, float *out);

    /* --- activation before normalisation ------------------------------------------------------ */

    /* Scale, PReLU and batch norm of integers y [n][c] in one pass, with the coefficients a of
     * struct bp_act_norm_rows; each operation rounded:
     *     u = y * alpha[j];  h = u < 0 ? u * slope[j] : u;  v = h * scale[j] + shift[j] */

    /* bits and mask (may be NULL) of v, as sign_pack_f32. */
    void (*act_norm_signs)(const int16_t *y, size_t n, size_t c, const struct bp_act_norm_rows *a,
                           uint64_t *bits, uint64_t *mask);

    /* Backward, g [n][c] = dL/dv: sum_g[j] += g; sum_gh[j] += g * h; sum_gu[j] += u < 0 ? g * u :
     * 0, in float, in order of the rows, into sums that the caller cleared before each block of at
     * most 1024 rows. */
    void (*act_norm_sums)(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                          const struct bp_act_norm_rows *a, float *sum_g, float *sum_gh,
                          float *sum_gu);

    /* dL/dy: gh = (g * ka[j] + h * kb[j]) + kc[j], or with g NULL h * kb[j] + kc[j];
     *     gu = u < 0 ? gh * slope[j] : gh;  out = gu * alpha[j]. out may be g's floats. */
    void (*act_norm_grad)(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                          const struct bp_act_norm_rows *a, float *out);

    /* range_columns of the rows that act_norm_grad would write. */
    void (*act_norm_range)(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                           const struct bp_act_norm_rows *a, struct bp_columns to);

    /* The codes of these rows, see struct bp_rounding_both. Only where codes_at_once. */
    void (*act_norm_codes)(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                           const struct bp_act_norm_rows *a, const struct bp_rounding_both *both);

    /* Some columns of the rows that act_norm_grad would write with g NULL: out [n][k], column [k]
     * rising. */
    void (*act_norm_columns)(const int16_t *y, size_t n, size_t c, const int32_t *column, size_t k,
                             const struct bp_act_norm_rows *a, float *out);

    /* --- bfloat16: the upper half of a float ------------------------------------------------ */

    /* out[i] = x[i] rounded to the nearest bfloat16, ties to the even one; small numbers keep their
     * bits as far as they go, numbers beyond the largest become infinite. A NaN keeps its upper
     * half, with the quiet bit (0x40) set. */
    void (*round_bf16)(const float *x, size_t n, uint16_t *out);

    /* out[i] = the number x[i] */
    void (*widen_bf16)(const uint16_t *x, size_t n, float *out);

    /* Averages of windows like those of max_window, of 1 or 2 rows and columns, rounded as above:
     *     z[p * c + j] = sum over y, i of x[p * step + y * row_step + i * c + j], / (rows *
     * columns) summed in float in order of y, then i, beginning with the first. */
    void (*average_bf16)(const float *x, size_t n, size_t step, size_t rows, size_t columns,
                         size_t row_step, size_t c, uint16_t *z);

    /* --- halves: a number / BP_HALF_UNIT as IEEE 754 binary16 ------------------------------- */

    /* x[i] becomes the nearest number of halves, ties to the even one, whose bits go to out: 11
     * bits from 2^-6 on, multiples of 2^-16 below; what is beyond the largest, infinite or not,
     * becomes that. A NaN keeps its sign and the upper 10 bits of its fraction, with the quiet bit
     * (0x200) set. */
    void (*settle_f16)(float *x, size_t n, uint16_t *out);

    /* out[i] = the number of halves x[i]; a NaN is made quiet. */
    void (*widen_f16)(const uint16_t *x, size_t n, float *out);

    /* --- optimizer ---------------------------------------------------------------------------- */

    /* *sum += the sum of g * g, in double (g is converted first): 8 partial sums s[i % 8] from 0 in
     * order, folded s[i] += s[i + 4], then + 2, + 1. */
    void (*sum_squares_f32)(const float *g, size_t n, double *sum);

    /* Adam on n parameters p with gradients g and moments m, v; every operation rounded:
     *     d = clip * g + decay * p
     *     m = beta1 * m + one_minus_beta1 * d
     *     v = beta2 * v + (one_minus_beta2 * d) * d
     *     p = p * shrink - (lr * m) / (sqrt(v) / root_correction2 + eps) */
    void (*adam_f32)(const struct bp_adam *adam, size_t n, const float *g, float *p, float *m,
                     float *v);

    /* Which tier serves each kernel, in the order of kernels.def. */
    enum bp_tier tier[96];

    /* How many quads stand together in this tier's products by lookup. */
    size_t together;

    /* 1 where this tier has the kernels *_codes* and pool_range_i16 of its own; C's are for the
     * tests: rows, round_* and max_unpool_2x2 are faster. */
    int codes_at_once;

    /* 1 where it has product_triples. */
    int in_triples;

    /* 1 where it has product_tables_i16: on the others product_tables and mask_sums are faster. */
    int sums_at_once;
};

/* The table of a tier: C first, then every tier up to `tier` that this build has. */
void bp_kernels_init(struct bp_kernels *kernels, enum bp_tier tier);

/* The kernels' names, in the order of kernels.def. */
size_t bp_kernels_count(void);
const char *bp_kernels_name(size_t index);

/* Each tier's own overwriting function (defined in its folder). Called by bp_kernels_init only. */
void bp_kernels_init_c(struct bp_kernels *kernels);
void bp_kernels_init_avx2(struct bp_kernels *kernels);
void bp_kernels_init_avx512(struct bp_kernels *kernels);
void bp_kernels_init_amx(struct bp_kernels *kernels);
void bp_kernels_init_neon(struct bp_kernels *kernels);

#ifdef __cplusplus
}
#endif
#endif
