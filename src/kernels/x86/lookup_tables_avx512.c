/* Tables of the products by lookup, AVX-512, 4 quads together. */
#include "kernels/x86/tier_avx512.h"

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "kernels/x86/lookup_avx512.h"
#include "kernels/x86/vec_avx512.h"

#define TOGETHER    4
#define STEP_TABLES ((size_t)TOGETHER * BP_TABLE_BYTES)

/* --- tables ----------------------------------------------------------------------------------- */

/* A digit's vectors: codes become digits, digits become top - digit. */
struct digits {
    __m512i code_min, mask, top;
    __m128i shift;
};

BP_INLINE struct digits digits_of(const struct bp_digit *digit) {
    const struct digits d = {_mm512_set1_epi8((char)digit->code_min),
                             _mm512_set1_epi8((char)(255 >> digit->shift & 15)),
                             _mm512_set1_epi8((char)digit->top), _mm_cvtsi32_si128(digit->shift)};
    return d;
}

BP_INLINE __m512i cut_digits(const struct digits *d, __m512i codes) {
    const __m512i u = _mm512_sub_epi8(codes, d->code_min);
    return _mm512_and_si512(_mm512_srl_epi16(u, d->shift), d->mask);
}

/* What elements add to an entry if their bit is clear, and if it is set. */
struct parts {
    __m512i clear, set;
};

BP_INLINE struct parts parts_of_digits(const struct digits *d, __m512i digits) {
    return (struct parts){digits, _mm512_sub_epi8(d->top, digits)};
}

/* Of signed codes, for wide tables. */
BP_INLINE struct parts parts_of_codes(__m512i codes) {
    const __m512i positive = _mm512_max_epi8(codes, _mm512_setzero_si512());
    return (struct parts){positive, _mm512_sub_epi8(positive, codes)};
}

BP_INLINE __m512i shuffle(__m512i v, int b0, int b4, int b8, int b12) {
    return _mm512_shuffle_epi8(v, _mm512_broadcast_i32x4(_mm_setr_epi32(b0, b4, b8, b12)));
}

/* Sums of two quads in each 16 bytes: v holds what their elements add if clear and, 8 bytes behind
 * it, if set. Of each quad, the four sums of elements 0 and 1, then those of 2 and 3. */
BP_INLINE __m512i sums_of_two(__m512i v) {
    return _mm512_add_epi8(shuffle(v, 0x08000800, 0x0a020a02, 0x0c040c04, 0x0e060e06),
                           shuffle(v, 0x09090101, 0x0b0b0303, 0x0d0d0505, 0x0f0f0707));
}

/* Entry m of a table is one of the four sums of elements 0 and 1 plus one of 2 and 3. */
BP_INLINE void two_tables(__m512i sums, __m512i table[2]) {
    table[0] = _mm512_add_epi8(_mm512_shuffle_epi32(sums, _MM_PERM_AAAA),
                               shuffle(sums, 0x04040404, 0x05050505, 0x06060606, 0x07070707));
    table[1] = _mm512_add_epi8(_mm512_shuffle_epi32(sums, _MM_PERM_CCCC),
                               shuffle(sums, 0x0c0c0c0c, 0x0d0d0d0d, 0x0e0e0e0e, 0x0f0f0f0f));
}

/* The sums of 4 quads in each 16 bytes: 0 and 1, 2 and 3. */
BP_INLINE void sums_of_four(struct parts quads, __m512i sums[2]) {
    sums[0] = sums_of_two(_mm512_unpacklo_epi64(quads.clear, quads.set));
    sums[1] = sums_of_two(_mm512_unpackhi_epi64(quads.clear, quads.set));
}

/* 4 quads in each 16 bytes: table[i], byte 16 x and up, is that of quad i of part x. */
BP_INLINE void sixteen_tables(struct parts quads, __m512i table[4]) {
    __m512i sums[2];
    sums_of_four(quads, sums);
    two_tables(sums[0], table);
    two_tables(sums[1], table + 2);
}

/* Quad 4 i + x of 64 bytes to quad i of part x. */
BP_INLINE __m512i quads_by_part(__m512i v) {
    const __m512i by_part = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return _mm512_permutexvar_epi32(by_part, v);
}

/* The tables of fewer than 64 codes: their digits, those that are missing 0. */
BP_INLINE void tables_of_digits(const struct digits *d, __m512i digits, size_t steps,
                                uint8_t *tables) {
    __m512i table[4];
    sixteen_tables(parts_of_digits(d, quads_by_part(digits)), table);
    store_first(tables, STEP_TABLES, table, steps);
}

/* The tables of blocks of 64 codes. What makes a block's tables waits for itself all the way, so
 * that four blocks are under way, each a stage behind the next: an instruction finds its operands
 * ready. Where no block is left, the last one goes in again and does not come out. */
static void tables_of_blocks(const struct digits *d, const uint8_t *codes, size_t blocks,
                             uint8_t *tables) {
    const size_t last = blocks - 1;
    const uint8_t *second = codes + 64 * bp_min_size(1, last);
    const uint8_t *third = codes + 64 * bp_min_size(2, last);
    __m512i sums[2], quads, digits;
    sums_of_four(parts_of_digits(d, quads_by_part(cut_digits(d, _mm512_loadu_si512(codes)))), sums);
    quads = quads_by_part(cut_digits(d, _mm512_loadu_si512(second)));
    digits = cut_digits(d, _mm512_loadu_si512(third));
    for (size_t i = 0; i < blocks; i++, tables += 4 * STEP_TABLES) {
        const uint8_t *next = codes + 64 * bp_min_size(i + 3, last);
        __m512i table[4];
        two_tables(sums[0], table);
        two_tables(sums[1], table + 2);
        store_first(tables, STEP_TABLES, table, 4);
        sums_of_four(parts_of_digits(d, quads), sums);
        quads = quads_by_part(digits);
        digits = cut_digits(d, _mm512_loadu_si512(next));
    }
}

void bp_tables_of_codes_avx512(const uint8_t *codes, size_t n, size_t k, size_t together,
                               const struct bp_digit *digit, uint8_t *tables) {
    (void)together;
    const struct digits d = digits_of(digit);
    if (k % 16 == 0) { /* no rest in the rows: they are one */
        k *= n;
        n = 1;
    }
    for (size_t p = 0; p < n; p++) {
        const size_t blocks = k / 64, left = k % 64;
        if (blocks > 0)
            tables_of_blocks(&d, codes, blocks, tables);
        codes += 64 * blocks;
        tables += blocks * 4 * STEP_TABLES;
        if (left == 0)
            continue;
        const __mmask64 mask = mask_64(left);
        const size_t steps = (left + 15) / 16;
        const __m512i v = cut_digits(&d, _mm512_maskz_loadu_epi8(mask, codes));
        tables_of_digits(&d, _mm512_maskz_mov_epi8(mask, v), steps, tables);
        codes += left;
        tables += steps * STEP_TABLES;
    }
}

/* --- wide tables ------------------------------------------------------------------------------ */

/* What wide tables leave out. */
struct left_out {
    struct bp_left_out *list;
    size_t length;
    /* from the number of an element to that of the next quad's in 16 bytes, and in the next 16 */
    size_t next, next_part;
};

/* The sum of |c| of each quad. */
BP_INLINE __m512i sums_of_quads(__m512i codes) {
    return _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_abs_epi8(codes), _mm512_set1_epi8(1));
}

/* Takes the largest codes out of the quads that `over` has; the first of all has number `first`. */
static __attribute__((noinline)) __m512i leave_out(struct left_out *l, __m512i quads,
                                                   __mmask16 over, size_t first) {
    int8_t c[16][4] __attribute__((aligned(64)));
    _mm512_store_si512(c, quads);
    for (unsigned left = over; left != 0; left &= left - 1) {
        const size_t i = (size_t)__builtin_ctz(left);
        int8_t *quad = c[i];
        int total = abs(quad[0]) + abs(quad[1]) + abs(quad[2]) + abs(quad[3]);
        while (total > BP_WIDE_MOST) {
            size_t e = 0, at = first + i % 4 * l->next + i / 4 * l->next_part;
            for (size_t next = 1; next < 4; next++)
                e = abs(quad[next]) > abs(quad[e]) ? next : e;
            l->list[l->length++] = (struct bp_left_out){(unsigned)(at + e) & 0xffffff, quad[e]};
            total -= abs(quad[e]);
            quad[e] = 0;
        }
    }
    return _mm512_load_si512(c);
}

/* Quads that an entry can be of; *sums: of each. */
BP_INLINE __m512i keep_within(struct left_out *l, __m512i quads, size_t first, __m512i *sums) {
    *sums = sums_of_quads(quads);
    const __mmask16 over = _mm512_cmpgt_epi32_mask(*sums, _mm512_set1_epi32(BP_WIDE_MOST));
    if (__builtin_expect(over != 0, 0)) {
        quads = leave_out(l, quads, over, first);
        *sums = sums_of_quads(quads);
    }
    return quads;
}

/* As tables_of_blocks. total[i / each] += of block i. */
static void wide_tables_of_blocks(struct left_out *l, const uint8_t *codes, size_t first,
                                  size_t blocks, size_t each, uint8_t *tables, int32_t *total) {
    __m512i sums[2], quads, next, totals;
    size_t pixel = 0, part = 0;
    sums[0] = sums[1] = quads = next = _mm512_setzero_si512();
    for (size_t i = 0; i < blocks + 3; i++) {
        if (i >= 3) {
            __m512i table[4];
            two_tables(sums[0], table);
            two_tables(sums[1], table + 2);
            store_first(tables, STEP_TABLES, table, 4);
            tables += 4 * STEP_TABLES;
        }
        sums_of_four(parts_of_codes(quads), sums);
        quads = quads_by_part(next);
        if (i >= blocks)
            continue;
        next = keep_within(l, _mm512_loadu_si512(codes + 64 * i), first + 64 * i, &totals);
        total[pixel] += _mm512_reduce_add_epi32(totals);
        if (++part == each) {
            part = 0;
            pixel++;
        }
    }
}

size_t bp_wide_tables_of_codes_avx512(const uint8_t *codes, size_t n, size_t k, size_t together,
                                      uint8_t *tables, int32_t *total,
                                      struct bp_left_out *left_out) {
    (void)together;
    struct left_out l = {left_out, 0, 4, 16};
    const size_t blocks = k / 64, left = k % 64, steps = (left + 15) / 16;
    memset(total, 0, n * sizeof *total);
    if (left == 0) {
        wide_tables_of_blocks(&l, codes, 0, blocks * n, blocks, tables, total);
        return l.length;
    }
    for (size_t p = 0; p < n; p++) {
        __m512i table[4], totals, rest = _mm512_maskz_loadu_epi8(mask_64(left), codes + k - left);
        if (blocks > 0)
            wide_tables_of_blocks(&l, codes, p * k, blocks, blocks, tables, total + p);
        tables += blocks * 4 * STEP_TABLES;
        rest = keep_within(&l, rest, p * k + k - left, &totals);
        total[p] += _mm512_reduce_add_epi32(totals);
        sixteen_tables(parts_of_codes(quads_by_part(rest)), table);
        store_first(tables, STEP_TABLES, table, steps);
        codes += k;
        tables += steps * STEP_TABLES;
    }
    return l.length;
}

/* --- tables of samples ------------------------------------------------------------------------ */

/* What the functions of both kinds of tables get. */
struct of_samples {
    const uint8_t *codes;
    const int32_t *offset;
    size_t samples, n, code_step, k;
    uint8_t *out;
    size_t column_bytes, position_bytes;
    struct digits digit; /* not of wide tables; the others of those only */
    struct left_out left_out;
    const uint8_t *kind;
    int32_t *total;
};

/* Codes, less the smallest one unless they are for wide tables, of up to 16 columns of samples
 * first, first + 4, .. first + 12, 16 bytes each; those that do not exist 0. */
BP_INLINE __m512i rows_of_samples(const struct of_samples *of, int wide, const uint8_t *codes,
                                  size_t first, size_t columns) {
    __m512i v = _mm512_setzero_si512();
    __mmask64 mask = 0;
    for (size_t q = 0; q < TOGETHER && 4 * q + first < of->samples; q++) {
        const __mmask16 here = mask_16(columns);
        __m128i row = _mm_maskz_loadu_epi8(here, codes + of->offset[4 * q + first]);
        v = _mm512_mask_broadcast_i32x4(v, (__mmask16)(0xf << 4 * q), row);
        mask |= (__mmask64)here << 16 * q;
    }
    return wide ? v : _mm512_maskz_mov_epi8(mask, cut_digits(&of->digit, v));
}

/* The same of 32 columns, of samples that all exist: to[0] those of columns 0 .. 15. */
BP_INLINE void rows_of_32_columns(const struct of_samples *of, int wide, const uint8_t *codes,
                                  size_t first, __m512i to[2]) {
    __m256i row[TOGETHER];
    for (size_t q = 0; q < TOGETHER; q++)
        row[q] =
            _mm256_loadu_si256((const __m256i *)(const void *)(codes + of->offset[4 * q + first]));
    __m512i low = _mm512_inserti64x4(_mm512_castsi256_si512(row[0]), row[1], 1);
    __m512i high = _mm512_inserti64x4(_mm512_castsi256_si512(row[2]), row[3], 1);
    to[0] = _mm512_shuffle_i32x4(low, high, 0x88);
    to[1] = _mm512_shuffle_i32x4(low, high, 0xdd);
    if (wide)
        return;
    to[0] = cut_digits(&of->digit, to[0]);
    to[1] = cut_digits(&of->digit, to[1]);
}

/* The tables of up to 4 columns, i and up, at position p; 16 bytes of each are a quad of all. */
BP_INLINE void tables_of_quads(struct of_samples *of, int wide, __m512i quads, size_t columns,
                               size_t p, size_t i) {
    __m512i table[4], sums;
    uint8_t *out = of->out + i * of->column_bytes + p * of->position_bytes;
    if (wide) {
        int32_t *total = of->total + (of->kind[p] * of->k + i) * TOGETHER;
        const __mmask16 here = mask_16(TOGETHER * columns);
        quads = keep_within(&of->left_out, quads, (p * of->k + i) * 4 * TOGETHER, &sums);
        sums = _mm512_add_epi32(quads_by_part(sums), _mm512_maskz_loadu_epi32(here, total));
        _mm512_mask_storeu_epi32(total, here, sums);
    }
    sixteen_tables(wide ? parts_of_codes(quads) : parts_of_digits(&of->digit, quads), table);
    store_first(out, of->column_bytes, table, columns);
}

/* The tables of up to 16 columns, i and up, at position p, from the codes of samples e, e + 4, ..
 */
BP_INLINE void tables_of_rows(struct of_samples *of, int wide, int full, const __m512i row[4],
                              size_t columns, size_t p, size_t i) {
    __m512i pair[4];
    for (size_t h = 0; h < 2; h++) { /* samples 0, 1 and 2, 3 of each quad */
        pair[h] = _mm512_unpacklo_epi8(row[2 * h], row[2 * h + 1]);
        pair[2 + h] = _mm512_unpackhi_epi8(row[2 * h], row[2 * h + 1]);
    }
    for (size_t g = 0; g < 4; g++) { /* 4 columns; the parts are the quads */
        const __m512i *half = pair + g / 2 * 2;
        if (!full && 4 * g >= columns)
            return;
        tables_of_quads(of, wide,
                        g % 2 == 0 ? _mm512_unpacklo_epi16(half[0], half[1])
                                   : _mm512_unpackhi_epi16(half[0], half[1]),
                        full ? 4 : bp_min_size(columns - 4 * g, 4), p, i + 4 * g);
    }
}

BP_INLINE void tables_of_32_columns(struct of_samples *of, int wide, const uint8_t *codes, size_t p,
                                    size_t i) {
    __m512i row[2][4];
    for (size_t e = 0; e < 4; e++) {
        __m512i both[2];
        rows_of_32_columns(of, wide, codes, e, both);
        row[0][e] = both[0];
        row[1][e] = both[1];
    }
    tables_of_rows(of, wide, 1, row[0], 16, p, i);
    tables_of_rows(of, wide, 1, row[1], 16, p, i + 16);
}

/* The samples' codes at a position some steps ahead: 16 samples lie as far apart as no processor
 * looks, often in one set of the cache. They need not be there. */
#define POSITIONS_AHEAD 8
BP_INLINE void fetch_samples(const uint8_t *codes, const int32_t offset[16]) {
    for (size_t e = 0; e < 16; e++)
        _mm_prefetch((const char *)codes + offset[e], _MM_HINT_T0);
}

/* Columns i .. of samples that all exist, as many as there are whole 32; returns the next one. A
 * line of codes, 64 columns, is read once: so many samples may not stay in the cache. */
BP_INLINE size_t tables_of_lines(struct of_samples *of, int wide) {
    const uint8_t *codes = of->codes;
    for (size_t p = 0; p < of->n; p++, codes += of->code_step)
        for (size_t i = 0; i + 32 <= of->k; i += 32) {
            if (i % 64 == 0)
                fetch_samples(codes + POSITIONS_AHEAD * of->code_step + i, of->offset);
            tables_of_32_columns(of, wide, codes + i, p, i);
        }
    return of->k / 32 * 32;
}

BP_INLINE void tables_of_all(struct of_samples *of, int wide) {
    for (size_t i = of->samples == 4 * TOGETHER ? tables_of_lines(of, wide) : 0; i < of->k; i += 16)
        for (size_t p = 0; p < of->n; p++) {
            const size_t columns = bp_min_size(of->k - i, 16);
            __m512i row[4];
            for (size_t e = 0; e < 4; e++)
                row[e] = rows_of_samples(of, wide, of->codes + p * of->code_step + i, e, columns);
            tables_of_rows(of, wide, 0, row, columns, p, i);
        }
}

void bp_tables_of_samples_avx512(const uint8_t *codes, const int32_t *offset, size_t samples,
                                 size_t together, size_t n, size_t code_step, size_t k,
                                 const struct bp_digit *digit, uint8_t *out, size_t column_bytes,
                                 size_t position_bytes) {
    (void)together;
    struct of_samples of = {.codes = codes,
                            .offset = offset,
                            .samples = samples,
                            .n = n,
                            .code_step = code_step,
                            .k = k,
                            .out = out,
                            .column_bytes = column_bytes,
                            .position_bytes = position_bytes,
                            .digit = digits_of(digit)};
    tables_of_all(&of, 0);
}

size_t bp_wide_tables_of_samples_avx512(const uint8_t *codes, const int32_t *offset, size_t samples,
                                        size_t together, size_t n, size_t code_step, size_t k,
                                        uint8_t *out, size_t column_bytes, size_t position_bytes,
                                        const uint8_t *kind, int32_t *total,
                                        struct bp_left_out *left_out) {
    (void)together;
    struct of_samples of = {.codes = codes,
                            .offset = offset,
                            .samples = samples,
                            .n = n,
                            .code_step = code_step,
                            .k = k,
                            .out = out,
                            .column_bytes = column_bytes,
                            .position_bytes = position_bytes,
                            .left_out = {left_out, 0, 4 * TOGETHER, 4},
                            .kind = kind,
                            .total = total};
    tables_of_all(&of, 1);
    return of.left_out.length;
}
