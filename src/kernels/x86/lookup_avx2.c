/* Products by lookup, AVX2. vpshufb looks up 32 lanes (outputs) at once: the table of a quad stands
 * in both halves of a register, the index bytes of the lanes come from memory. Sums begin in bytes;
 * a byte takes 255 / entry_max entries. Then they are added to sums of 16 bits: `full` takes pairs
 * of bytes as 16-bit numbers, wrapping, `odd` takes the odd bytes alone, and in the end
 * even = full - 256 * odd. No shuffle is needed for that, and the shuffles are the bottleneck.
 *
 * The steps (one table, one row of indices) are cut into passes, so that the indices of 64 lanes
 * stay in the first-level cache while the rows (pixels or columns) go by. A pass is short enough
 * for 16 bits: PASS_STEPS * 60 < 65536. */
#include "kernels/x86/tier_avx2.h"

#include "base/bits.h"
#include "kernels/x86/vec_avx2.h"

#define PASS_STEPS 384
#define BYTE_MAX   255

/* `count` steps whose tables and index rows lie one behind the other. */
struct segment {
    ptrdiff_t table, index;
    size_t count;
};

struct pass {
    struct segment segments[PASS_STEPS];
    size_t n_segments;
    size_t groups; /* of 4 entries, that a byte takes */
};

/* --- sums ------------------------------------------------------------------------------------- */

#define MAX_ROWS 4
#define MANY_ROWS 4

/* Some rows (pixels, columns) by 32 or 64 lanes. */
struct sums {
    __m256i bytes[MAX_ROWS][2], full[MAX_ROWS][2], odd[MAX_ROWS][2];
};

/* What the loops are compiled for; all constants. */
struct shape {
    int rows, vectors;
    int signs;  /* rows are bytes 16 * quad instead of tables */
    int single; /* a byte takes 4 entries only */
};

/* Keeps the compiler from summing in another order, which needs more registers than there are. */
BP_INLINE __m256i in_order(__m256i v) {
    __asm__ volatile("" : "+x"(v));
    return v;
}

BP_INLINE void sums_clear(struct sums *s, struct shape shape) {
    for (int p = 0; p < shape.rows; p++)
        for (int v = 0; v < shape.vectors; v++)
            s->bytes[p][v] = s->full[p][v] = s->odd[p][v] = _mm256_setzero_si256();
}

BP_INLINE void sums_widen(struct sums *s, struct shape shape, int clear) {
    for (int p = 0; p < shape.rows; p++)
        for (int v = 0; v < shape.vectors; v++) {
            __m256i bytes = s->bytes[p][v];
            s->full[p][v] = _mm256_add_epi16(s->full[p][v], bytes);
            s->odd[p][v] = _mm256_add_epi16(s->odd[p][v], _mm256_srli_epi16(bytes, 8));
            if (clear)
                s->bytes[p][v] = _mm256_setzero_si256();
        }
}

/* Mismatches of two quads: entry m of table a = popcount(a ^ m). */
#define MISMATCH_TABLE(a)                                                                          \
    {                                                                                              \
        BITS(a), BITS(a ^ 1), BITS(a ^ 2), BITS(a ^ 3), BITS(a ^ 4), BITS(a ^ 5), BITS(a ^ 6),     \
            BITS(a ^ 7), BITS(a ^ 8), BITS(a ^ 9), BITS(a ^ 10), BITS(a ^ 11), BITS(a ^ 12),       \
            BITS(a ^ 13), BITS(a ^ 14), BITS(a ^ 15)                                               \
    }
#define BITS(m) ((m)&1) + ((m) >> 1 & 1) + ((m) >> 2 & 1) + ((m) >> 3)

static const uint8_t mismatches[16][BP_TABLE_BYTES] __attribute__((aligned(64))) = {
    MISMATCH_TABLE(0),  MISMATCH_TABLE(1),  MISMATCH_TABLE(2),  MISMATCH_TABLE(3),
    MISMATCH_TABLE(4),  MISMATCH_TABLE(5),  MISMATCH_TABLE(6),  MISMATCH_TABLE(7),
    MISMATCH_TABLE(8),  MISMATCH_TABLE(9),  MISMATCH_TABLE(10), MISMATCH_TABLE(11),
    MISMATCH_TABLE(12), MISMATCH_TABLE(13), MISMATCH_TABLE(14), MISMATCH_TABLE(15)};

/* One step; `begin`: the bytes begin with it. */
BP_INLINE void sums_step(struct sums *s, struct shape shape, int begin,
                         const uint8_t *const row[MAX_ROWS], size_t step, const uint8_t *index,
                         size_t vector_bytes) {
    __m256i at[2];
    for (int v = 0; v < shape.vectors; v++)
        at[v] = in_order(load_256(index + (size_t)v * vector_bytes));
    for (int p = 0; p < shape.rows; p++) {
        const uint8_t *from =
            shape.signs ? mismatches[0] + row[p][step] : row[p] + step * BP_TABLE_BYTES;
        __m256i table = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)from));
        for (int v = 0; v < shape.vectors; v++) {
            __m256i entries = _mm256_shuffle_epi8(table, at[v]);
            s->bytes[p][v] = in_order(begin ? entries : _mm256_add_epi8(s->bytes[p][v], entries));
        }
    }
}

/* Adds a pass in groups of 4 steps; the bytes are widened after `groups` of them (single: they
 * begin anew with each). The rest of a segment counts as a group. */
BP_INLINE void sums_add(struct sums *s, struct shape shape, const struct pass *pass,
                        const uint8_t *const rows[MAX_ROWS], const uint8_t *index,
                        size_t index_step, size_t vector_bytes) {
    const size_t step_bytes = shape.signs ? 1 : BP_TABLE_BYTES, groups = pass->groups;
    size_t left = groups;
    for (size_t i = 0; i < pass->n_segments; i++) {
        const struct segment *segment = &pass->segments[i];
        const uint8_t *row[MAX_ROWS], *at = index + segment->index;
        for (int p = 0; p < shape.rows; p++)
            row[p] = rows[p] + segment->table;
        size_t count = segment->count;
        for (; count >= 4; count -= 4) {
            for (size_t g = 0; g < 4; g++)
                sums_step(s, shape, shape.single && g == 0, row, g, at + g * index_step,
                          vector_bytes);
            at += 4 * index_step;
            for (int p = 0; p < shape.rows; p++)
                row[p] += 4 * step_bytes;
            if (shape.single || --left == 0) {
                sums_widen(s, shape, !shape.single);
                left = groups;
            }
        }
        if (count == 0)
            continue;
        sums_step(s, shape, shape.single, row, 0, at, vector_bytes);
        for (size_t g = 1; g < count; g++)
            sums_step(s, shape, 0, row, g, at + g * index_step, vector_bytes);
        if (shape.single || --left == 0) {
            sums_widen(s, shape, !shape.single);
            left = groups;
        }
    }
    if (!shape.single)
        sums_widen(s, shape, 0);
}

/* --- results ---------------------------------------------------------------------------------- */

/* 16-bit sums in two registers: lanes 0 .. 7 and 16 .. 23, lanes 8 .. 15 and 24 .. 31. */
BP_INLINE void interleave(__m256i full, __m256i odd, __m256i *low, __m256i *high) {
    __m256i even = _mm256_sub_epi16(full, _mm256_slli_epi16(odd, 8));
    *low = _mm256_unpacklo_epi16(even, odd);
    *high = _mm256_unpackhi_epi16(even, odd);
}

/* y[0 .. lanes - 1] = from + (sums << shift), of 32 lanes at most. */
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
    int16_t *y16;
    int bias, first;
};

BP_INLINE void block_add(struct shape shape, const struct pass *pass, const struct block *b) {
    struct sums s;
    sums_clear(&s, shape);
    sums_add(&s, shape, pass, b->row, b->index, b->index_step, b->vector_bytes);
    for (int p = 0; p < shape.rows; p++)
        for (int v = 0; v < shape.vectors; v++) {
            size_t at = (size_t)p * b->y_stride + (size_t)(BP_LANES * v);
            size_t lanes = bp_min_size(b->lanes - (size_t)(BP_LANES * v), BP_LANES);
            if (shape.signs) {
                store_i16(s.full[p][v], s.odd[p][v], b->first, b->bias, lanes, b->y16 + at);
            } else {
                const int32_t *from = b->from != NULL ? b->from + BP_LANES * v : b->y + at;
                store_i32(s.full[p][v], s.odd[p][v], b->shift, from, lanes, b->y + at);
            }
        }
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
    if (b->rows == MANY_ROWS)
        block_lanes(MANY_ROWS, 0, 0, pass, b);
    else
        block_lanes(1, 0, 0, pass, b);
}

static __attribute__((noinline)) void add_signs(const struct pass *pass, const struct block *b) {
    if (b->rows == MAX_ROWS)
        block_lanes(MAX_ROWS, 1, 0, pass, b);
    else
        block_lanes(1, 1, 0, pass, b);
}

/* Entries of at most entry_max; returns the rows of a block. */
static size_t choose_rows(struct pass *pass, int entry_max) {
    pass->groups = (size_t)(BYTE_MAX / entry_max / 4);
    return pass->groups == 1 ? 2 : MANY_ROWS;
}

static void add_block(const struct pass *pass, const struct block *b) {
    if (pass->groups == 1)
        add_single(pass, b);
    else
        add_many(pass, b);
}

/* The steps of windows from `step` on, at most PASS_STEPS; returns the next one. unit: bytes of a
 * row's step; tap_w NULL: the taps in order. */
static size_t pass_of_windows(struct pass *pass, size_t step, const int32_t *tap,
                              const int32_t *tap_w, size_t taps, size_t quads, ptrdiff_t unit) {
    size_t end = bp_min_size(taps * quads, step + PASS_STEPS);
    for (pass->n_segments = 0; step < end;) {
        size_t t = step / quads, i = step % quads, count = bp_min_size(quads - i, end - step);
        size_t t_w = tap_w != NULL ? (size_t)tap_w[t] : t;
        pass->segments[pass->n_segments++] =
            (struct segment){((ptrdiff_t)tap[t] + (ptrdiff_t)i) * unit,
                             (ptrdiff_t)((t_w * quads + i) * BP_LANES), count};
        step += count;
    }
    return step;
}

/* --- forward ---------------------------------------------------------------------------------- */

void bp_product_signs_avx2(const uint8_t *x, const int32_t *pixel, size_t n, const int32_t *tap,
                           size_t taps, size_t quads, const uint8_t *index, size_t k, int bias,
                           int16_t *y) {
    struct pass pass = {.groups = BYTE_MAX / 4 / 4};
    struct block b = {.index_step = BP_LANES,
                      .vector_bytes = taps * quads * BP_LANES,
                      .y_stride = k,
                      .bias = bias};
    for (size_t step = 0; step < taps * quads;) {
        b.first = step == 0;
        step = pass_of_windows(&pass, step, tap, NULL, taps, quads, 1);
        for (size_t j = 0; j < k; j += 2 * BP_LANES) {
            b.index = index + j * taps * quads;
            b.lanes = bp_min_size(k - j, 2 * BP_LANES);
            for (size_t p = 0; p < n; p += b.rows) {
                b.rows = n - p >= MAX_ROWS ? MAX_ROWS : 1;
                for (size_t r = 0; r < b.rows; r++)
                    b.row[r] = x + pixel[p + r];
                b.y16 = y + p * k + j;
                add_signs(&pass, &b);
            }
        }
    }
}

/* --- activation gradient ---------------------------------------------------------------------- */

void bp_product_tables_avx2(const uint8_t *tables, const int32_t *pixel, size_t n,
                            const int32_t *tap, const int32_t *tap_w, size_t taps, size_t w_taps,
                            size_t quads, int entry_max, const uint8_t *index, size_t c,
                            const int32_t *base, int shift, int32_t *y) {
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
                add_block(&pass, &b);
            }
        }
    }
}

/* --- weight gradient -------------------------------------------------------------------------- */

/* Takes steps of the runs from (*run, *done) on until the pass is full or the runs end. */
static void pass_of_runs(struct pass *pass, const struct bp_run *runs, size_t n_runs,
                         size_t index_step, size_t *run, size_t *done) {
    size_t room = PASS_STEPS;
    for (pass->n_segments = 0; *run < n_runs && room > 0;) {
        const struct bp_run *r = &runs[*run];
        size_t count = bp_min_size((size_t)r->count - *done, room);
        if (count > 0)
            pass->segments[pass->n_segments++] =
                (struct segment){r->table + (ptrdiff_t)(*done * BP_TABLE_BYTES),
                                 r->index + (ptrdiff_t)(*done * index_step), count};
        room -= count;
        *done += count;
        if (*done == (size_t)r->count) {
            *done = 0;
            ++*run;
        }
    }
}

void bp_product_samples_avx2(const uint8_t *tables, size_t k, size_t column_bytes,
                             const struct bp_run *runs, size_t n_runs, const uint8_t *index,
                             size_t index_step, size_t c, int entry_max, int shift, int32_t *y,
                             size_t y_stride) {
    struct pass pass;
    struct block b = {
        .index_step = index_step, .vector_bytes = BP_LANES, .shift = shift, .y_stride = y_stride};
    const size_t rows = choose_rows(&pass, entry_max);
    for (size_t run = 0, done = 0; run < n_runs;) {
        pass_of_runs(&pass, runs, n_runs, index_step, &run, &done);
        for (size_t j = 0; j < c; j += 2 * BP_LANES) {
            b.index = index + j;
            b.lanes = bp_min_size(c - j, 2 * BP_LANES);
            for (size_t i = 0; i < k; i += b.rows) {
                b.rows = k - i >= rows ? rows : 1;
                for (size_t r = 0; r < b.rows; r++)
                    b.row[r] = tables + (i + r) * column_bytes;
                b.y = y + i * y_stride + j;
                add_block(&pass, &b);
            }
        }
    }
}
