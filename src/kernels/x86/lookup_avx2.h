/* The sums of the products by lookup, AVX2. vpshufb looks up 32 lanes (outputs) at once: the table
 * of a quad stands in both halves of a register, the index bytes of the lanes come from memory.
 * Sums begin in bytes; a byte takes 255 / entry_max entries. Then they are added to sums of 16
 * bits: `full` takes pairs of bytes as 16-bit numbers, wrapping, `odd` takes the odd bytes alone,
 * and in the end even = full - 256 * odd. No shuffle is needed for that, and the shuffles are the
 * bottleneck. */
#ifndef BP_KERNELS_X86_LOOKUP_AVX2_H
#define BP_KERNELS_X86_LOOKUP_AVX2_H

#include "kernels/lookup_pass.h"
#include "kernels/x86/vec_avx2.h"

#define MAX_ROWS 4

/* --- sums ------------------------------------------------------------------------------------- */

/* Some rows (pixels, columns) by 32 or 64 lanes. */
struct sums {
    __m256i bytes[MAX_ROWS][2], full[MAX_ROWS][2], odd[MAX_ROWS][2];
};

/* What the loops are compiled for; all constants. */
struct shape {
    int rows, vectors;
    int signs;  /* rows are bytes 16 * quad instead of tables */
    int single; /* a byte takes one group */
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
        for (size_t fours = segment->fours; fours > 0; fours--) {
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
        if (segment->rest == 0)
            continue;
        sums_step(s, shape, shape.single, row, 0, at, vector_bytes);
        for (size_t g = 1; g < segment->rest; g++)
            sums_step(s, shape, 0, row, g, at + g * index_step, vector_bytes);
        if (shape.single || --left == 0) {
            sums_widen(s, shape, !shape.single);
            left = groups;
        }
    }
    if (!shape.single)
        sums_widen(s, shape, 0);
}

#undef BITS
#undef MISMATCH_TABLE

#endif
