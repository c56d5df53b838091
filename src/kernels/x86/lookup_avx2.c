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
    int per_byte; /* entries that a byte takes */
};

/* --- sums ------------------------------------------------------------------------------------- */

/* 2 rows by 64 lanes. */
struct sums {
    __m256i bytes[2][2], full[2][2], odd[2][2];
};

BP_INLINE void sums_clear(struct sums *s, int rows, int vectors) {
    for (int p = 0; p < rows; p++)
        for (int v = 0; v < vectors; v++)
            s->bytes[p][v] = s->full[p][v] = s->odd[p][v] = _mm256_setzero_si256();
}

BP_INLINE void sums_widen(struct sums *s, int rows, int vectors, int clear) {
    for (int p = 0; p < rows; p++)
        for (int v = 0; v < vectors; v++) {
            s->full[p][v] = _mm256_add_epi16(s->full[p][v], s->bytes[p][v]);
            s->odd[p][v] = _mm256_add_epi16(s->odd[p][v], _mm256_srli_epi16(s->bytes[p][v], 8));
            if (clear)
                s->bytes[p][v] = _mm256_setzero_si256();
        }
}

/* Keeps the compiler from summing in another order, which needs more registers than there are. */
BP_INLINE __m256i in_order(__m256i v) {
    __asm__ volatile("" : "+x"(v));
    return v;
}

/* One step; `begin`: the bytes begin with it. */
BP_INLINE void sums_step(struct sums *s, int rows, int vectors, int begin,
                         const uint8_t *const table[2], ptrdiff_t step, const uint8_t *index,
                         size_t vector_bytes) {
    __m256i at[2];
    for (int v = 0; v < vectors; v++)
        at[v] = in_order(load_256(index + (size_t)v * vector_bytes));
    for (int p = 0; p < rows; p++) {
        const __m128i *from = (const __m128i *)(table[p] + step * BP_TABLE_BYTES);
        __m256i entries = _mm256_broadcastsi128_si256(_mm_loadu_si128(from));
        for (int v = 0; v < vectors; v++) {
            __m256i looked_up = _mm256_shuffle_epi8(entries, at[v]);
            s->bytes[p][v] =
                in_order(begin ? looked_up : _mm256_add_epi8(s->bytes[p][v], looked_up));
        }
    }
}

/* Adds a pass in groups of 4 steps; the bytes are widened after `groups` of them (1: they begin
 * anew with each group). The rest of a segment counts as a group. */
BP_INLINE void sums_add(struct sums *s, int rows, int vectors, int single, size_t groups,
                        const struct pass *pass, const uint8_t *const row[2], const uint8_t *index,
                        size_t index_step, size_t vector_bytes) {
    size_t left = groups;
    for (size_t i = 0; i < pass->n_segments; i++) {
        const struct segment *segment = &pass->segments[i];
        const uint8_t *table[2], *at = index + segment->index;
        for (int p = 0; p < rows; p++)
            table[p] = row[p] + segment->table;
        size_t count = segment->count;
        for (; count >= 4; count -= 4) {
            for (int g = 0; g < 4; g++)
                sums_step(s, rows, vectors, single && g == 0, table, g, at + (size_t)g * index_step,
                          vector_bytes);
            at += 4 * index_step;
            for (int p = 0; p < rows; p++)
                table[p] += 4 * BP_TABLE_BYTES;
            if (single || --left == 0) {
                sums_widen(s, rows, vectors, !single);
                left = groups;
            }
        }
        if (count == 0)
            continue;
        sums_step(s, rows, vectors, single, table, 0, at, vector_bytes);
        for (size_t g = 1; g < count; g++)
            sums_step(s, rows, vectors, 0, table, (ptrdiff_t)g, at + g * index_step, vector_bytes);
        if (single || --left == 0) {
            sums_widen(s, rows, vectors, !single);
            left = groups;
        }
    }
    if (!single)
        sums_widen(s, rows, vectors, 0);
}

/* y[0 .. lanes - 1] = from + (sums << shift), of 32 lanes at most. */
BP_INLINE void store_sums(__m256i full, __m256i odd, int shift, const int32_t *from, size_t lanes,
                          int32_t *y) {
    __m256i even = _mm256_sub_epi16(full, _mm256_slli_epi16(odd, 8));
    __m256i low = _mm256_unpacklo_epi16(even, odd), high = _mm256_unpackhi_epi16(even, odd);
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

/* One block: its rows of tables, its lanes of the index; from NULL: y itself. */
struct block {
    const uint8_t *row[2], *index;
    size_t index_step, vector_bytes;
    const int32_t *from;
    size_t lanes;
    int shift;
    int32_t *y;
    size_t y_stride;
};

BP_INLINE void block_rows(int rows, int vectors, int fours, size_t index_step,
                          const struct pass *pass, const struct block *b) {
    struct sums s;
    sums_clear(&s, rows, vectors);
    sums_add(&s, rows, vectors, fours, (size_t)pass->per_byte / 4, pass, b->row, b->index,
             index_step, b->vector_bytes);
    for (int p = 0; p < rows; p++)
        for (int v = 0; v < vectors; v++) {
            int32_t *y = b->y + (size_t)p * b->y_stride + BP_LANES * v;
            const int32_t *from = b->from != NULL ? b->from + BP_LANES * v : y;
            size_t lanes = bp_min_size(b->lanes - (size_t)(BP_LANES * v), BP_LANES);
            store_sums(s.full[p][v], s.odd[p][v], b->shift, from, lanes, y);
        }
}

BP_INLINE void block_shapes(int rows, int fours, size_t index_step, const struct pass *pass,
                            const struct block *b) {
    if (b->lanes > BP_LANES)
        block_rows(rows, 2, fours, index_step, pass, b);
    else
        block_rows(rows, 1, fours, index_step, pass, b);
}

/* Not inlined: the loops get all registers. */
static __attribute__((noinline)) void add_fours(const struct pass *pass, const struct block *b) {
    if (b->row[1] != NULL)
        block_shapes(2, 1, b->index_step, pass, b);
    else
        block_shapes(1, 1, b->index_step, pass, b);
}

static __attribute__((noinline)) void add_many(const struct pass *pass, const struct block *b) {
    if (b->row[1] != NULL)
        block_shapes(2, 0, b->index_step, pass, b);
    else
        block_shapes(1, 0, b->index_step, pass, b);
}

static void add_block(const struct pass *pass, const struct block *b) {
    if (pass->per_byte < 8)
        add_fours(pass, b);
    else
        add_many(pass, b);
}

/* --- activation gradient ---------------------------------------------------------------------- */

void bp_product_tables_avx2(const uint8_t *tables, const int32_t *pixel, size_t n,
                            const int32_t *tap, const int32_t *tap_w, size_t taps, size_t w_taps,
                            size_t quads, int entry_max, const uint8_t *index, size_t c,
                            const int32_t *base, int shift, int32_t *y) {
    struct pass pass = {.per_byte = BYTE_MAX / entry_max};
    struct block b = {.index_step = BP_LANES,
                      .vector_bytes = w_taps * quads * BP_LANES,
                      .shift = shift,
                      .y_stride = c};
    const size_t steps = taps * quads;
    for (size_t step = 0; step < steps;) {
        size_t end = bp_min_size(steps, step + PASS_STEPS);
        const int32_t *from = step == 0 ? base : NULL;
        for (pass.n_segments = 0; step < end;) {
            size_t t = step / quads, i = step % quads;
            size_t count = bp_min_size(quads - i, end - step);
            pass.segments[pass.n_segments++] =
                (struct segment){((ptrdiff_t)tap[t] + (ptrdiff_t)i) * BP_TABLE_BYTES,
                                 (ptrdiff_t)(((size_t)tap_w[t] * quads + i) * BP_LANES), count};
            step += count;
        }
        for (size_t j = 0; j < c; j += 2 * BP_LANES) {
            b.index = index + j * w_taps * quads;
            b.lanes = bp_min_size(c - j, 2 * BP_LANES);
            b.from = from != NULL ? from + j : NULL;
            for (size_t p = 0; p < n; p += 2) {
                b.row[0] = tables + (ptrdiff_t)pixel[p] * BP_TABLE_BYTES;
                b.row[1] = p + 1 < n ? tables + (ptrdiff_t)pixel[p + 1] * BP_TABLE_BYTES : NULL;
                b.y = y + p * c + j;
                add_block(&pass, &b);
            }
        }
    }
}

/* --- weight gradient -------------------------------------------------------------------------- */

/* Takes steps of the runs from (*run, *done) on until the pass is full or the runs end. */
static void fill_pass(struct pass *pass, const struct bp_run *runs, size_t n_runs,
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
    struct pass pass = {.per_byte = BYTE_MAX / entry_max};
    struct block b = {
        .index_step = index_step, .vector_bytes = BP_LANES, .shift = shift, .y_stride = y_stride};
    for (size_t run = 0, done = 0; run < n_runs;) {
        fill_pass(&pass, runs, n_runs, index_step, &run, &done);
        for (size_t j = 0; j < c; j += 2 * BP_LANES) {
            b.index = index + j;
            b.lanes = bp_min_size(c - j, 2 * BP_LANES);
            for (size_t i = 0; i < k; i += 2) {
                b.row[0] = tables + i * column_bytes;
                b.row[1] = i + 1 < k ? tables + (i + 1) * column_bytes : NULL;
                b.y = y + i * y_stride + j;
                add_block(&pass, &b);
            }
        }
    }
}
