/* Products by lookup, AVX2: the blocks and passes around the sums of lookup_avx2.h. */
#include "kernels/x86/lookup_avx2.h"
#include "kernels/x86/fetch_x86.h"
#include "kernels/x86/tier_avx2.h"

#include <string.h>

#include "base/bits.h"

/* --- results ---------------------------------------------------------------------------------- */

/* 16-bit sums in two registers: lanes 0 .. 7 and 16 .. 23, lanes 8 .. 15 and 24 .. 31. */
BP_INLINE void interleave(__m256i full, __m256i odd, __m256i *low, __m256i *high) {
    __m256i even = _mm256_sub_epi16(full, _mm256_slli_epi16(odd, 8));
    *low = _mm256_unpacklo_epi16(even, odd);
    *high = _mm256_unpackhi_epi16(even, odd);
}

/* y[0 .. lanes - 1] = from + (sums << shift), 32 lanes at most. */
BP_INLINE void store_i32(__m256i full, __m256i odd, int shift, const int32_t *from, size_t lanes,
                         int32_t *y) {
    __m256i low, high;
    interleave(full, odd, &low, &high);
    const __m128i part[4] = {_mm256_castsi256_si128(low), _mm256_castsi256_si128(high),
                             _mm256_extracti128_si256(low, 1), _mm256_extracti128_si256(high, 1)};
    const __m128i by = _mm_cvtsi32_si128(shift);
    for (size_t q = 0; q < 4 && lanes > 8 * q; q++) {
        __m256i v = _mm256_sll_epi32(_mm256_cvtepu16_epi32(part[q]), by);
        if (lanes >= 8 * q + 8) {
            store_256(y + 8 * q, _mm256_add_epi32(v, load_256(from + 8 * q)));
        } else {
            __m256i m = mask_32x8(lanes - 8 * q);
            v = _mm256_add_epi32(v, _mm256_maskload_epi32(from + 8 * q, m));
            _mm256_maskstore_epi32(y + 8 * q, m, v);
        }
    }
}

static __attribute__((noinline)) void store_part_i32(__m256i full, __m256i odd, int shift,
                                                     const int32_t *from, size_t lanes,
                                                     int32_t *y) {
    store_i32(full, odd, shift, from, lanes, y);
}

/* y[0 .. lanes - 1] -= 2 * sums, or = bias - 2 * sums. */
BP_INLINE void store_i16(__m256i full, __m256i odd, int first, int bias, size_t lanes, int16_t *y) {
    __m256i low, high, old[2];
    interleave(full, odd, &low, &high);
    int16_t part[BP_LANES], *at = y;
    if (lanes < BP_LANES) {
        memset(part, 0, sizeof part);
        if (!first)
            memcpy(part, y, lanes * sizeof *y);
        at = part;
    }
    for (int h = 0; h < 2; h++)
        old[h] = first ? _mm256_set1_epi16((short)bias) : load_256(at + 16 * h);
    low = _mm256_add_epi16(low, low);
    high = _mm256_add_epi16(high, high);
    store_256(at, _mm256_sub_epi16(old[0], _mm256_permute2x128_si256(low, high, 0x20)));
    store_256(at + 16, _mm256_sub_epi16(old[1], _mm256_permute2x128_si256(low, high, 0x31)));
    if (lanes < BP_LANES)
        memcpy(y, part, lanes * sizeof *y);
}

/* --- blocks ----------------------------------------------------------------------------------- */

/* What a pass is added for: `rows` rows and up to 64 lanes. */
struct block {
    const uint8_t *row[MAX_ROWS], *index;
    size_t index_step, vector_bytes; /* to the next step, to the next 32 lanes */
    size_t rows, lanes, y_stride;
    /* 32 bits: y = from + (sums << shift), from NULL: y itself. */
    int32_t *y;
    const int32_t *from;
    int shift;
    /* Signs: y = bias - 2 * sums, or y -= 2 * sums. */
    int16_t *y16[MAX_ROWS];
    int bias, first;
};

BP_INLINE void block_store(struct shape shape, const struct sums *s, const struct block *b, int p,
                           int v) {
    size_t at = (size_t)p * b->y_stride + (size_t)(BP_LANES * v);
    size_t lanes = b->lanes - (size_t)(BP_LANES * v);
    __m256i full = s->full[p][v], odd = s->odd[p][v];
    if (shape.signs) {
        store_i16(full, odd, b->first, b->bias, bp_min_size(lanes, BP_LANES),
                  b->y16[p] + BP_LANES * v);
    } else {
        const int32_t *from = b->from != NULL ? b->from + BP_LANES * v : b->y + at;
        if (lanes >= BP_LANES)
            store_i32(full, odd, b->shift, from, BP_LANES, b->y + at);
        else
            store_part_i32(full, odd, b->shift, from, lanes, b->y + at);
    }
}

/* Without loops around block_store, so that the sums stay in registers. */
BP_INLINE void block_store_row(struct shape shape, const struct sums *s, const struct block *b,
                               int p) {
    if (p >= shape.rows)
        return;
    block_store(shape, s, b, p, 0);
    if (shape.vectors == 2)
        block_store(shape, s, b, p, 1);
}

BP_INLINE void block_add(struct shape shape, const struct pass *pass, const struct block *b) {
    struct sums s;
    sums_clear(&s, shape);
    sums_add(&s, shape, pass, b->row, b->index, b->index_step, b->vector_bytes);
    block_store_row(shape, &s, b, 0);
    block_store_row(shape, &s, b, 1);
    block_store_row(shape, &s, b, 2);
    block_store_row(shape, &s, b, 3);
}

BP_INLINE void block_lanes(int rows, int signs, int single, const struct pass *pass,
                           const struct block *b) {
    if (b->lanes > BP_LANES)
        block_add((struct shape){rows, 2, signs, single}, pass, b);
    else
        block_add((struct shape){rows, 1, signs, single}, pass, b);
}

/* Not inlined: the loops get all registers. Rows: 12 sums fill the registers where bytes are
 * widened often; else 8 sums of bytes, and the wide ones are in memory. */
static __attribute__((noinline)) void add_single(const struct pass *pass, const struct block *b) {
    if (b->rows == 2)
        block_lanes(2, 0, 1, pass, b);
    else
        block_lanes(1, 0, 1, pass, b);
}

static __attribute__((noinline)) void add_many(const struct pass *pass, const struct block *b) {
    if (b->rows == MAX_ROWS)
        block_lanes(MAX_ROWS, 0, 0, pass, b);
    else
        block_lanes(1, 0, 0, pass, b);
}

static __attribute__((noinline)) void add_signs(const struct pass *pass, const struct block *b) {
    if (b->rows == MAX_ROWS)
        block_lanes(MAX_ROWS, 1, 0, pass, b);
    else
        block_lanes(1, 1, 0, pass, b);
}

/* Sets how many entries, of at most entry_max, a byte takes; returns the rows of a block: where
 * bytes are widened often, two rows, so that the wide sums stay in registers. */
static size_t choose_rows(struct pass *pass, int entry_max) {
    pass->groups = pass_groups(entry_max);
    return pass->groups == 1 ? 2 : MAX_ROWS;
}

static void add_block(const struct pass *pass, const struct block *b) {
    if (pass->groups == 1)
        add_single(pass, b);
    else
        add_many(pass, b);
}

/* --- forward ---------------------------------------------------------------------------------- */

void bp_product_signs_avx2(const uint8_t *x, const int32_t *pixel, const int32_t *to, size_t n,
                           const int32_t *tap, const int32_t *tap_w, size_t taps, size_t w_taps,
                           size_t quads, const uint8_t *index, size_t k, int bias, int16_t *y) {
    struct pass pass = {.groups = BYTE_MAX / 4 / 4};
    struct block b = {
        .index_step = BP_LANES, .vector_bytes = w_taps * quads * BP_LANES, .bias = bias};
    for (size_t step = 0; step < taps * quads;) {
        b.first = step == 0;
        step = pass_of_windows(&pass, step, tap, tap_w, taps, quads, 1);
        for (size_t j = 0; j < k; j += 2 * BP_LANES) {
            b.index = index + j * w_taps * quads;
            b.lanes = bp_min_size(k - j, 2 * BP_LANES);
            for (size_t p = 0; p < n; p += b.rows) {
                b.rows = n - p >= MAX_ROWS ? MAX_ROWS : 1;
                for (size_t r = 0; r < b.rows; r++) {
                    b.row[r] = x + pixel[p + r];
                    b.y16[r] = y + (size_t)to[p + r] * k + j;
                    fetch_place(b.y16[r], b.lanes * sizeof *y);
                }
                add_signs(&pass, &b);
            }
        }
    }
}

/* --- activation gradient ---------------------------------------------------------------------- */

void bp_product_tables_avx2(const uint8_t *tables, const int32_t *pixel, size_t n,
                            const int32_t *tap, const int32_t *tap_w, size_t taps, size_t w_taps,
                            size_t quads, size_t together, int entry_max, const uint8_t *index,
                            size_t c, const int32_t *base, int shift, int32_t *y,
                            struct bp_fetch *soon) {
    (void)together; /* 1 */
    struct pass pass;
    struct block b = {.index_step = BP_LANES,
                      .vector_bytes = w_taps * quads * BP_LANES,
                      .shift = shift,
                      .y_stride = c};
    const size_t rows = choose_rows(&pass, entry_max);
    for (size_t step = 0; step < taps * quads;) {
        const int32_t *from = step == 0 ? base : NULL;
        step = pass_of_windows(&pass, step, tap, tap_w, taps, quads, BP_TABLE_BYTES);
        for (size_t j = 0; j < c; j += 2 * BP_LANES) {
            b.index = index + j * w_taps * quads;
            b.lanes = bp_min_size(c - j, 2 * BP_LANES);
            b.from = from != NULL ? from + j : NULL;
            for (size_t p = 0; p < n; p += b.rows) {
                b.rows = n - p >= rows ? rows : 1;
                for (size_t r = 0; r < b.rows; r++)
                    b.row[r] = tables + (ptrdiff_t)pixel[p + r] * BP_TABLE_BYTES;
                b.y = y + p * c + j;
                fetch_soon(soon, b.rows * b.lanes * sizeof *y);
                add_block(&pass, &b);
            }
        }
    }
}

/* --- weight gradient -------------------------------------------------------------------------- */

#define DENSE_STEP ((size_t)2 * BP_LANES)

/* Copies the index bytes of up to 64 lanes: they are read for every pair of columns, and in wide
 * rows they would share a few sets of the cache. */
static void gather_index(const struct pass *pass, const ptrdiff_t *origin, const uint8_t *index,
                         size_t index_step, size_t lanes, uint8_t *dense) {
    for (size_t i = 0; i < pass->n_segments; i++) {
        const uint8_t *from = index + origin[i];
        size_t count = (size_t)pass->segments[i].fours * 4 + pass->segments[i].rest;
        for (; count > 0; count--, from += index_step, dense += DENSE_STEP) {
            store_256(dense, load_256(from));
            if (lanes > BP_LANES)
                store_256(dense + BP_LANES, load_256(from + BP_LANES));
        }
    }
}

/* The sums of one tap; without steps they are 0. */
static void tap_product(const uint8_t *tables, size_t k, size_t column_bytes,
                        const struct bp_run *runs, size_t n_runs, const uint8_t *index,
                        size_t index_step, size_t c, int entry_max, int add, int32_t *y,
                        size_t y_stride) {
    static const int32_t zeros[2 * BP_LANES];
    uint8_t dense[PASS_STEPS * DENSE_STEP] __attribute__((aligned(64)));
    ptrdiff_t origin[PASS_STEPS];
    struct pass pass;
    struct block b = {
        .index = dense, .index_step = DENSE_STEP, .vector_bytes = BP_LANES, .y_stride = y_stride};
    struct run_cursor cursor = first_run(runs, n_runs);
    const size_t rows = choose_rows(&pass, entry_max);
    do {
        pass_of_runs(&pass, &cursor, index_step, DENSE_STEP, origin);
        for (size_t j = 0; j < c; j += 2 * BP_LANES) {
            b.lanes = bp_min_size(c - j, 2 * BP_LANES);
            gather_index(&pass, origin, index + j, index_step, b.lanes, dense);
            for (size_t i = 0; i < k; i += b.rows) {
                b.rows = k - i >= rows ? rows : 1;
                for (size_t r = 0; r < b.rows; r++)
                    b.row[r] = tables + (i + r) * column_bytes;
                b.y = y + i * y_stride + j;
                b.from = add ? NULL : zeros;
                add_block(&pass, &b);
            }
        }
        add = 1;
    } while (cursor.run < n_runs);
}

void bp_product_samples_avx2(const uint8_t *tables, size_t k, size_t column_bytes,
                             const struct bp_tap_runs *runs, const uint8_t *index,
                             size_t index_step, size_t c, size_t together, int entry_max, int add,
                             int32_t *y, size_t y_stride, size_t tap_stride) {
    (void)together; /* 1 */
    for (size_t t = 0; t < runs->taps; t++)
        tap_product(tables, k, column_bytes, runs->runs + runs->begin[t],
                    runs->begin[t + 1] - runs->begin[t], index, index_step, c, entry_max, add,
                    y + t * tap_stride, y_stride);
}
