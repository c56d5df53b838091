/* Products by lookup, AVX-512: vpermb looks up 64 bytes in the tables of 4 quads at once, 16 lanes
 * by 4 quads. Two lookups are added as bytes (2 entries of at most 60), and vpdpbusd with ones adds
 * the 4 quads of a lane to its sum of 32 bits: nothing is widened apart.
 *
 *     vpermb     | lane 0: quads 0 1 2 3 | lane 1: quads 0 1 2 3 | ..     256 multiply-adds
 *     vpdpbusd   | sum of lane 0         | sum of lane 1         | ..
 *
 * Blocks of 4 rows (pixels, columns) by 64 lanes: 16 sums, the index of two steps in 8 registers.
 */
#include "kernels/x86/tier_avx512.h"

#include "base/bits.h"
#include "kernels/lookup_pass.h"
#include "kernels/x86/vec_avx512.h"

#define TOGETHER    4
#define STEP_TABLES ((ptrdiff_t)TOGETHER * BP_TABLE_BYTES)
#define MAX_ROWS    4
#define MAX_LANES   ((size_t)64)

/* --- sums ------------------------------------------------------------------------------------- */

/* `rows` rows and up to 64 lanes: what a pass is added for. */
struct block {
    const uint8_t *row[MAX_ROWS], *index;
    size_t index_step, half_bytes; /* to the next step, to the next 32 lanes */
    size_t rows, lanes, y_stride;
    int32_t *y; /* = from + (sums << shift); from NULL: y itself */
    const int32_t *from;
    int shift;
};

/* In assembly, so that the sum stays in its register whatever the compiler makes of the loop. */
BP_INLINE void add_fours(__m512i *sum, __m512i bytes, __m512i one) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(*sum) : "v"(bytes), "v"(one));
}

/* 64 lanes: the index bytes of a step, or the sums of a row. Blocks of them are written out,
 * without arrays and loops, which gcc 12 keeps in memory. */
struct lanes {
    __m512i v0, v1, v2, v3;
};

BP_INLINE struct lanes load_index(int vectors, const uint8_t *index, size_t half_bytes) {
    struct lanes at;
    at.v0 = _mm512_loadu_si512(index);
    at.v1 = _mm512_loadu_si512(index + 64);
    at.v2 = vectors > 2 ? _mm512_loadu_si512(index + half_bytes) : at.v0;
    at.v3 = vectors > 2 ? _mm512_loadu_si512(index + half_bytes + 64) : at.v1;
    return at;
}

BP_INLINE __m512i two_entries(__m512i i, __m512i t, __m512i j, __m512i u) {
    return _mm512_add_epi8(_mm512_permutexvar_epi8(i, t), _mm512_permutexvar_epi8(j, u));
}

BP_INLINE void add_two(struct lanes *sum, int vectors, const uint8_t *row, const struct lanes *a,
                       const struct lanes *b) {
    const __m512i one = _mm512_set1_epi8(1);
    __m512i t = _mm512_loadu_si512(row), u = _mm512_loadu_si512(row + STEP_TABLES);
    add_fours(&sum->v0, two_entries(a->v0, t, b->v0, u), one);
    add_fours(&sum->v1, two_entries(a->v1, t, b->v1, u), one);
    if (vectors == 2)
        return;
    add_fours(&sum->v2, two_entries(a->v2, t, b->v2, u), one);
    add_fours(&sum->v3, two_entries(a->v3, t, b->v3, u), one);
}

BP_INLINE void add_one(struct lanes *sum, int vectors, const uint8_t *row, const struct lanes *a) {
    const __m512i one = _mm512_set1_epi8(1);
    __m512i t = _mm512_loadu_si512(row);
    add_fours(&sum->v0, _mm512_permutexvar_epi8(a->v0, t), one);
    add_fours(&sum->v1, _mm512_permutexvar_epi8(a->v1, t), one);
    if (vectors == 2)
        return;
    add_fours(&sum->v2, _mm512_permutexvar_epi8(a->v2, t), one);
    add_fours(&sum->v3, _mm512_permutexvar_epi8(a->v3, t), one);
}

struct sums {
    struct lanes r0, r1, r2, r3;
};

BP_INLINE void add_steps(struct sums *s, int rows, int vectors, const struct segment *segment,
                         const struct block *b) {
    const ptrdiff_t begin = segment->table, end = begin + (ptrdiff_t)segment->fours * STEP_TABLES;
    const uint8_t *index = b->index + segment->index;
    ptrdiff_t at = begin;
    for (; at + STEP_TABLES < end; at += 2 * STEP_TABLES, index += 2 * b->index_step) {
        struct lanes i0 = load_index(vectors, index, b->half_bytes);
        struct lanes i1 = load_index(vectors, index + b->index_step, b->half_bytes);
        add_two(&s->r0, vectors, b->row[0] + at, &i0, &i1);
        if (rows == 1)
            continue;
        add_two(&s->r1, vectors, b->row[1] + at, &i0, &i1);
        add_two(&s->r2, vectors, b->row[2] + at, &i0, &i1);
        add_two(&s->r3, vectors, b->row[3] + at, &i0, &i1);
    }
    if (at == end)
        return;
    struct lanes i0 = load_index(vectors, index, b->half_bytes);
    add_one(&s->r0, vectors, b->row[0] + at, &i0);
    if (rows == 1)
        return;
    add_one(&s->r1, vectors, b->row[1] + at, &i0);
    add_one(&s->r2, vectors, b->row[2] + at, &i0);
    add_one(&s->r3, vectors, b->row[3] + at, &i0);
}

BP_INLINE void store_vector(__m512i sum, __m128i shift, const int32_t *from, size_t lanes,
                            int32_t *y) {
    __mmask16 mask = mask_16(lanes);
    sum = _mm512_sll_epi32(sum, shift);
    _mm512_mask_storeu_epi32(y, mask, _mm512_add_epi32(sum, _mm512_maskz_loadu_epi32(mask, from)));
}

BP_INLINE void store_row(const struct lanes *sum, int vectors, const struct block *b, size_t row) {
    const __m128i shift = _mm_cvtsi32_si128(b->shift);
    int32_t *y = b->y + row * b->y_stride;
    const int32_t *from = b->from != NULL ? b->from : y;
    if (b->lanes == MAX_LANES && vectors == 4) {
        store_vector(sum->v0, shift, from, 16, y);
        store_vector(sum->v1, shift, from + 16, 16, y + 16);
        store_vector(sum->v2, shift, from + 32, 16, y + 32);
        store_vector(sum->v3, shift, from + 48, 16, y + 48);
        return;
    }
    store_vector(sum->v0, shift, from, b->lanes, y);
    if (b->lanes > 16)
        store_vector(sum->v1, shift, from + 16, b->lanes - 16, y + 16);
    if (vectors == 2)
        return;
    if (b->lanes > 32)
        store_vector(sum->v2, shift, from + 32, b->lanes - 32, y + 32);
    if (b->lanes > 48)
        store_vector(sum->v3, shift, from + 48, b->lanes - 48, y + 48);
}

BP_INLINE void add_block(int rows, int vectors, const struct pass *pass, const struct block *b) {
    const __m512i zero = _mm512_setzero_si512();
    const struct lanes none = {zero, zero, zero, zero};
    struct sums s = {none, none, none, none};
    for (size_t i = 0; i < pass->n_segments; i++)
        add_steps(&s, rows, vectors, &pass->segments[i], b);
    store_row(&s.r0, vectors, b, 0);
    if (rows == 1)
        return;
    store_row(&s.r1, vectors, b, 1);
    store_row(&s.r2, vectors, b, 2);
    store_row(&s.r3, vectors, b, 3);
}

/* Not inlined: the loops get all registers. */
static __attribute__((noinline)) void add_wide(const struct pass *pass, const struct block *b) {
    if (b->rows == MAX_ROWS)
        add_block(MAX_ROWS, 4, pass, b);
    else
        add_block(1, 4, pass, b);
}

static __attribute__((noinline)) void add_narrow(const struct pass *pass, const struct block *b) {
    if (b->rows == MAX_ROWS)
        add_block(MAX_ROWS, 2, pass, b);
    else
        add_block(1, 2, pass, b);
}

static void add_pass(const struct pass *pass, const struct block *b) {
    if (b->lanes > BP_LANES)
        add_wide(pass, b);
    else
        add_narrow(pass, b);
}

/* --- activation gradient ---------------------------------------------------------------------- */

void bp_product_tables_avx512(const uint8_t *tables, const int32_t *pixel, size_t n,
                              const int32_t *tap, const int32_t *tap_w, size_t taps, size_t w_taps,
                              size_t quads, size_t together, int entry_max, const uint8_t *index,
                              size_t c, const int32_t *base, int shift, int32_t *y) {
    (void)together, (void)entry_max;
    struct pass pass;
    struct block b = {.index_step = (size_t)TOGETHER * BP_LANES,
                      .half_bytes = w_taps * quads * BP_LANES,
                      .shift = shift,
                      .y_stride = c};
    for (size_t step = 0; step < taps * quads;) {
        const int32_t *from = step == 0 ? base : NULL;
        step = pass_of_windows(&pass, step, tap, tap_w, taps, quads, BP_TABLE_BYTES);
        for (size_t j = 0; j < c; j += MAX_LANES) {
            b.index = index + j * w_taps * quads;
            b.lanes = bp_min_size(c - j, MAX_LANES);
            b.from = from != NULL ? from + j : NULL;
            for (size_t p = 0; p < n; p += b.rows) {
                b.rows = n - p >= MAX_ROWS ? MAX_ROWS : 1;
                for (size_t r = 0; r < b.rows; r++)
                    b.row[r] = tables + (ptrdiff_t)pixel[p + r] * BP_TABLE_BYTES;
                b.y = y + p * c + j;
                add_pass(&pass, &b);
            }
        }
    }
}

/* --- weight gradient -------------------------------------------------------------------------- */

/* The next steps of the runs, as many as a pass takes. */
static void next_steps(struct pass *pass, struct run_cursor *at, size_t index_step) {
    size_t left = PASS_STEPS / TOGETHER;
    for (pass->n_segments = 0; at->run < at->n_runs && left > 0;) {
        const struct bp_run *r = &at->runs[at->run];
        size_t count = bp_min_size((size_t)r->count - at->done, left);
        if (count > 0)
            pass->segments[pass->n_segments++] =
                (struct segment){r->table + (ptrdiff_t)at->done * STEP_TABLES,
                                 r->index + (ptrdiff_t)(at->done * index_step), (uint32_t)count, 0};
        left -= count;
        at->done += count;
        if (at->done == (size_t)r->count) {
            at->done = 0;
            at->run++;
        }
    }
}

void bp_product_samples_avx512(const uint8_t *tables, size_t k, size_t column_bytes,
                               const struct bp_run *runs, size_t n_runs, const uint8_t *index,
                               size_t index_step, size_t c, size_t together, int entry_max,
                               int shift, int32_t *y, size_t y_stride) {
    (void)together, (void)entry_max;
    struct pass pass;
    struct block b = {.index_step = index_step,
                      .half_bytes = (size_t)TOGETHER * BP_LANES,
                      .shift = shift,
                      .y_stride = y_stride};
    struct run_cursor cursor = {.runs = runs, .n_runs = n_runs};
    while (cursor.run < n_runs) {
        next_steps(&pass, &cursor, index_step);
        for (size_t j = 0; j < c; j += MAX_LANES) {
            b.index = index + j * TOGETHER;
            b.lanes = bp_min_size(c - j, MAX_LANES);
            for (size_t i = 0; i < k; i += b.rows) {
                b.rows = k - i >= MAX_ROWS ? MAX_ROWS : 1;
                for (size_t r = 0; r < b.rows; r++)
                    b.row[r] = tables + (i + r) * column_bytes;
                b.y = y + i * y_stride + j;
                add_pass(&pass, &b);
            }
        }
    }
}
