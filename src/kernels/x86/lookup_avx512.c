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
#define MAX_VECTORS 4 /* of 16 lanes */
#define LANES       ((size_t)16 * MAX_VECTORS)

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

BP_INLINE void load_index(__m512i at[MAX_VECTORS], int vectors, const uint8_t *index,
                          size_t half_bytes) {
    for (int v = 0; v < vectors; v++)
        at[v] = _mm512_loadu_si512(index + (size_t)(v / 2) * half_bytes + 64 * (v % 2));
}

BP_INLINE void add_steps(__m512i sums[MAX_ROWS][MAX_VECTORS], int rows, int vectors,
                         const uint8_t *const first[MAX_ROWS], const struct segment *segment,
                         const struct block *b) {
    const __m512i one = _mm512_set1_epi8(1);
    const uint8_t *row[MAX_ROWS], *index = b->index + segment->index;
    uint32_t steps = segment->fours;
    for (int p = 0; p < rows; p++)
        row[p] = first[p] + segment->table;
    for (; steps >= 2; steps -= 2) {
        __m512i at[2][MAX_VECTORS];
        load_index(at[0], vectors, index, b->half_bytes);
        load_index(at[1], vectors, index + b->index_step, b->half_bytes);
        for (int p = 0; p < rows; p++) {
            __m512i t0 = _mm512_loadu_si512(row[p]), t1 = _mm512_loadu_si512(row[p] + STEP_TABLES);
            for (int v = 0; v < vectors; v++)
                add_fours(&sums[p][v],
                          _mm512_add_epi8(_mm512_permutexvar_epi8(at[0][v], t0),
                                          _mm512_permutexvar_epi8(at[1][v], t1)),
                          one);
            row[p] += 2 * STEP_TABLES;
        }
        index += 2 * b->index_step;
    }
    if (steps > 0) {
        __m512i at[MAX_VECTORS];
        load_index(at, vectors, index, b->half_bytes);
        for (int p = 0; p < rows; p++) {
            __m512i t = _mm512_loadu_si512(row[p]);
            for (int v = 0; v < vectors; v++)
                add_fours(&sums[p][v], _mm512_permutexvar_epi8(at[v], t), one);
        }
    }
}

BP_INLINE void store_row(const __m512i sums[MAX_VECTORS], int vectors, const struct block *b,
                         int32_t *y) {
    const __m128i by = _mm_cvtsi32_si128(b->shift);
    const int32_t *from = b->from != NULL ? b->from : y;
    for (int v = 0; v < vectors && b->lanes > (size_t)(16 * v); v++) {
        __mmask16 mask = mask_16(b->lanes - (size_t)(16 * v));
        __m512i old = _mm512_maskz_loadu_epi32(mask, from + 16 * v);
        _mm512_mask_storeu_epi32(y + 16 * v, mask,
                                 _mm512_add_epi32(old, _mm512_sll_epi32(sums[v], by)));
    }
}

BP_INLINE void add_block(int rows, int vectors, const struct pass *pass, const struct block *b) {
    __m512i sums[MAX_ROWS][MAX_VECTORS];
    for (int p = 0; p < rows; p++)
        for (int v = 0; v < vectors; v++)
            sums[p][v] = _mm512_setzero_si512();
    for (size_t i = 0; i < pass->n_segments; i++)
        add_steps(sums, rows, vectors, b->row, &pass->segments[i], b);
    for (int p = 0; p < rows; p++)
        store_row(sums[p], vectors, b, b->y + (size_t)p * b->y_stride);
}

/* Not inlined: the loops get all registers. */
static __attribute__((noinline)) void add_wide(const struct pass *pass, const struct block *b) {
    if (b->rows == MAX_ROWS)
        add_block(MAX_ROWS, MAX_VECTORS, pass, b);
    else
        add_block(1, MAX_VECTORS, pass, b);
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
        for (size_t j = 0; j < c; j += LANES) {
            b.index = index + j * w_taps * quads;
            b.lanes = bp_min_size(c - j, LANES);
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
        for (size_t j = 0; j < c; j += LANES) {
            b.index = index + j * TOGETHER;
            b.lanes = bp_min_size(c - j, LANES);
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
