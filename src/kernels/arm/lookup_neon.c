/* Products by lookup, NEON. tbl looks up 16 lanes (outputs) at once: the table of a quad is one
 * register, the index bytes of the lanes come from memory. Sums begin in bytes, which take
 * 255 / entry_max entries, and are added to sums of 16 bits (uaddw), 4 rows by 32 lanes: 8 and 16
 * registers, so that with two of indices, a table and an entry everything fits. */
#include "kernels/arm/tier_neon.h"

#include "base/bits.h"
#include "kernels/arm/vec_neon.h"
#include "kernels/lookup_pass.h"

#define MAX_ROWS 4

/* --- sums ------------------------------------------------------------------------------------- */

/* Some rows (pixels, columns) by 32 lanes; wide: lanes 8 i .. 8 i + 7. */
struct sums {
    uint8x16_t bytes[MAX_ROWS][2];
    uint16x8_t wide[MAX_ROWS][4];
};

BP_INLINE void sums_clear(struct sums *s, int rows) {
    for (int p = 0; p < rows; p++)
        for (int v = 0; v < 2; v++) {
            s->bytes[p][v] = vdupq_n_u8(0);
            s->wide[p][2 * v] = s->wide[p][2 * v + 1] = vdupq_n_u16(0);
        }
}

BP_INLINE void sums_widen_row(struct sums *s, int p, int rows, int clear) {
    if (p >= rows)
        return;
    uint8x16_t low = s->bytes[p][0], high = s->bytes[p][1];
    s->wide[p][0] = vaddw_u8(s->wide[p][0], vget_low_u8(low));
    s->wide[p][1] = vaddw_high_u8(s->wide[p][1], low);
    s->wide[p][2] = vaddw_u8(s->wide[p][2], vget_low_u8(high));
    s->wide[p][3] = vaddw_high_u8(s->wide[p][3], high);
    if (clear)
        s->bytes[p][0] = s->bytes[p][1] = vdupq_n_u8(0);
}

/* Without a loop, which clang unrolls too late to see that the sums fit registers. */
BP_INLINE void sums_widen(struct sums *s, int rows, int clear) {
    sums_widen_row(s, 0, rows, clear);
    sums_widen_row(s, 1, rows, clear);
    sums_widen_row(s, 2, rows, clear);
    sums_widen_row(s, 3, rows, clear);
}

/* One step; `begin`: the bytes begin with it. */
BP_INLINE void sums_step(struct sums *s, int rows, int begin, const uint8_t *const row[MAX_ROWS],
                         size_t step, const uint8_t *index) {
    const uint8x16_t first = vld1q_u8(index), second = vld1q_u8(index + 16);
    for (int p = 0; p < rows; p++) {
        uint8x16_t table = vld1q_u8(row[p] + step * BP_TABLE_BYTES);
        uint8x16_t low = vqtbl1q_u8(table, first), high = vqtbl1q_u8(table, second);
        s->bytes[p][0] = in_order(begin ? low : vaddq_u8(s->bytes[p][0], low));
        s->bytes[p][1] = in_order(begin ? high : vaddq_u8(s->bytes[p][1], high));
    }
}

/* Adds a pass in groups of 4 steps; the bytes are widened after `groups` of them (single: they
 * begin anew with each). The rest of a segment counts as a group. */
BP_INLINE void sums_add(struct sums *s, int rows, int single, const struct pass *pass,
                        const uint8_t *const table[MAX_ROWS], const uint8_t *index) {
    size_t left = pass->groups;
    for (size_t i = 0; i < pass->n_segments; i++) {
        const struct segment *segment = &pass->segments[i];
        const uint8_t *row[MAX_ROWS], *at = index + segment->index;
        for (int p = 0; p < rows; p++)
            row[p] = table[p] + segment->table;
        for (size_t fours = segment->fours; fours > 0; fours--) {
            for (size_t g = 0; g < 4; g++)
                sums_step(s, rows, single && g == 0, row, g, at + g * BP_LANES);
            at += 4 * BP_LANES;
            for (int p = 0; p < rows; p++)
                row[p] += 4 * BP_TABLE_BYTES;
            if (single || __builtin_expect(--left == 0, 0)) { /* out of the loop */
                sums_widen(s, rows, !single);
                left = pass->groups;
            }
        }
        if (segment->rest == 0)
            continue;
        sums_step(s, rows, single, row, 0, at);
        for (size_t g = 1; g < segment->rest; g++)
            sums_step(s, rows, 0, row, g, at + g * BP_LANES);
        if (single || --left == 0) {
            sums_widen(s, rows, !single);
            left = pass->groups;
        }
    }
    if (!single)
        sums_widen(s, rows, 0);
}

/* --- blocks ----------------------------------------------------------------------------------- */

/* What a pass is added for: `rows` rows and up to 32 lanes; y = from + (sums << shift), from NULL:
 * y itself. */
struct block {
    const uint8_t *row[MAX_ROWS], *index;
    size_t rows, lanes, y_stride;
    int32_t *y;
    const int32_t *from;
    int shift;
};

/* 4 lanes, of which `rest` are there. */
BP_INLINE void store_sums(uint32x4_t sums, int shift, const int32_t *from, size_t rest,
                          int32_t *y) {
    int32x4_t v = vreinterpretq_s32_u32(vshlq_u32(sums, vdupq_n_s32(shift)));
    store_i32(y, rest, vaddq_s32(load_i32(from, rest), v));
}

/* 8 lanes from lane `at` on. */
BP_INLINE void block_store_8(uint16x8_t wide, const struct block *b, size_t at, int32_t *y) {
    const int32_t *from = b->from != NULL ? b->from : y;
    if (b->lanes > at)
        store_sums(vmovl_u16(vget_low_u16(wide)), b->shift, from + at, b->lanes - at, y + at);
    at += 4;
    if (b->lanes > at)
        store_sums(vmovl_high_u16(wide), b->shift, from + at, b->lanes - at, y + at);
}

BP_INLINE void block_store_row(const struct sums *s, int rows, const struct block *b, int p) {
    int32_t *y = b->y + (size_t)p * b->y_stride;
    if (p >= rows)
        return;
    block_store_8(s->wide[p][0], b, 0, y);
    block_store_8(s->wide[p][1], b, 8, y);
    block_store_8(s->wide[p][2], b, 16, y);
    block_store_8(s->wide[p][3], b, 24, y);
}

BP_INLINE void block_add(int rows, int single, const struct pass *pass, const struct block *b) {
    struct sums s;
    sums_clear(&s, rows);
    sums_add(&s, rows, single, pass, b->row, b->index);
    block_store_row(&s, rows, b, 0); /* without loops, so that the sums stay in registers */
    block_store_row(&s, rows, b, 1);
    block_store_row(&s, rows, b, 2);
    block_store_row(&s, rows, b, 3);
}

/* Not inlined: the loops get all registers. */
static __attribute__((noinline)) void add_single(const struct pass *pass, const struct block *b) {
    if (b->rows == MAX_ROWS)
        block_add(MAX_ROWS, 1, pass, b);
    else
        block_add(1, 1, pass, b);
}

static __attribute__((noinline)) void add_many(const struct pass *pass, const struct block *b) {
    if (b->rows == MAX_ROWS)
        block_add(MAX_ROWS, 0, pass, b);
    else
        block_add(1, 0, pass, b);
}

static void add_block(const struct pass *pass, const struct block *b) {
    if (pass->groups == 1)
        add_single(pass, b);
    else
        add_many(pass, b);
}

/* --- activation gradient ---------------------------------------------------------------------- */

void bp_product_tables_neon(const uint8_t *tables, const int32_t *pixel, size_t n,
                            const int32_t *tap, const int32_t *tap_w, size_t taps, size_t w_taps,
                            size_t quads, size_t together, int entry_max, const uint8_t *index,
                            size_t c, const int32_t *base, int shift, int32_t *y,
                            struct bp_fetch *soon) {
    (void)together, (void)soon; /* 1; nothing is fetched */
    struct pass pass;
    struct block b = {.shift = shift, .y_stride = c};
    pass.groups = pass_groups(entry_max);
    for (size_t step = 0; step < taps * quads;) {
        const int32_t *from = step == 0 ? base : NULL;
        step = pass_of_windows(&pass, step, tap, tap_w, taps, quads, BP_TABLE_BYTES);
        for (size_t j = 0; j < c; j += BP_LANES) {
            b.index = index + j * w_taps * quads;
            b.lanes = bp_min_size(c - j, BP_LANES);
            b.from = from != NULL ? from + j : NULL;
            for (size_t p = 0; p < n; p += b.rows) {
                b.rows = n - p >= MAX_ROWS ? MAX_ROWS : 1;
                for (size_t r = 0; r < b.rows; r++)
                    b.row[r] = tables + (ptrdiff_t)pixel[p + r] * BP_TABLE_BYTES;
                b.y = y + p * c + j;
                add_block(&pass, &b);
            }
        }
    }
}

/* --- weight gradient -------------------------------------------------------------------------- */

/* Copies the index bytes of 32 lanes: they are read for every few columns, and in wide rows they
 * would share a few sets of the cache. */
static void gather_index(const struct pass *pass, const ptrdiff_t *origin, const uint8_t *index,
                         size_t index_step, uint8_t *dense) {
    for (size_t i = 0; i < pass->n_segments; i++) {
        const uint8_t *from = index + origin[i];
        size_t count = (size_t)pass->segments[i].fours * 4 + pass->segments[i].rest;
        for (; count > 0; count--, from += index_step, dense += BP_LANES) {
            vst1q_u8(dense, vld1q_u8(from));
            vst1q_u8(dense + 16, vld1q_u8(from + 16));
        }
    }
}

/* The sums of one tap; without steps they are 0. */
static void tap_product(const uint8_t *tables, size_t k, size_t column_bytes,
                        const struct bp_run *runs, size_t n_runs, const uint8_t *index,
                        size_t index_step, size_t c, int entry_max, int add, int32_t *y,
                        size_t y_stride) {
    static const int32_t zeros[BP_LANES];
    uint8_t dense[PASS_STEPS * BP_LANES];
    ptrdiff_t origin[PASS_STEPS];
    struct pass pass;
    struct block b = {.index = dense, .y_stride = y_stride};
    struct run_cursor cursor = first_run(runs, n_runs);
    pass.groups = pass_groups(entry_max);
    do {
        pass_of_runs(&pass, &cursor, index_step, BP_LANES, origin);
        for (size_t j = 0; j < c; j += BP_LANES) {
            b.lanes = bp_min_size(c - j, BP_LANES);
            gather_index(&pass, origin, index + j, index_step, dense);
            for (size_t i = 0; i < k; i += b.rows) {
                b.rows = k - i >= MAX_ROWS ? MAX_ROWS : 1;
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

void bp_product_samples_neon(const uint8_t *tables, size_t k, size_t column_bytes,
                             const struct bp_tap_runs *runs, const uint8_t *index,
                             size_t index_step, size_t c, size_t together, int entry_max, int add,
                             int32_t *y, size_t y_stride, size_t tap_stride) {
    (void)together; /* 1 */
    for (size_t t = 0; t < runs->taps; t++)
        tap_product(tables, k, column_bytes, runs->runs + runs->begin[t],
                    runs->begin[t + 1] - runs->begin[t], index, index_step, c, entry_max, add,
                    y + t * tap_stride, y_stride);
}
