/* Products by lookup, AVX-512: vpermb looks up 64 bytes in the tables of 4 quads at once, 16 lanes
 * by 4 quads. Two lookups are added as bytes (2 entries of at most 60), and vpdpbusd with ones adds
 * the 4 quads of a lane to its sum of 32 bits: nothing is widened apart.
 *
 *     vpermb     | lane 0: quads 0 1 2 3 | lane 1: quads 0 1 2 3 | ..     256 multiply-adds
 *     vpdpbusd   | sum of lane 0         | sum of lane 1         | ..
 *
 * Larger entries, up to 255, go to vpdpbusd one by one. Blocks of 4 rows (pixels, columns) by 64
 * lanes: 16 sums, the index of two steps in 8 registers. The loop of a whole block is in assembly:
 * which of the processor's vector units an instruction runs on is settled by the order that they
 * come in, and compilers, which move loads and copy sums, leave it a quarter slower.
 */
#include "kernels/x86/tier_avx512.h"

#include "base/bits.h"
#include "kernels/x86/fetch_x86.h"
#include "kernels/x86/vec_avx512.h"

#define TOGETHER    4
#define STEP_TABLES (TOGETHER * BP_TABLE_BYTES)
#define MOST_STEPS  BP_STEPS_AT_ONCE
#define PASS_STEPS  96 /* of a pass: 24 KiB of index, which stay in the first cache, .. */
#define GROUP       32 /* .. and with them the sums of so many pixels, 8 KiB */
#define MAX_ROWS    4
#define MAX_LANES   ((size_t)64)

/* Where the tables of a step are from the beginning of a row, and its index bytes, in bytes. */
struct step {
    int32_t table, index;
};

struct steps {
    struct step at[MOST_STEPS];
    size_t count;
};

/* --- sums ------------------------------------------------------------------------------------- */

#define MOST_OF_PAIR (BP_WIDE_MOST / 2) /* entries of which two are a byte */

/* What the loop takes. It finds the fields by their distances in bytes. */
struct loop {
    const uint8_t *row[MAX_ROWS];  /* 0 */
    const uint8_t *index, *half;   /* 32, 40: half the lanes further on */
    const struct step *step;       /* 48 */
    size_t twos, odd;              /* 56, 64 */
    uint64_t weight;               /* 72: what an entry counts, up to 127 */
    const int32_t *from[MAX_ROWS]; /* 80: what the sums of each row are added to */
};
_Static_assert(offsetof(struct loop, from) == 80, "as the loop expects it");

/* `rows` rows and up to 64 lanes: what a pass is added for. */
struct block {
    struct loop loop;
    size_t rows, lanes;
    int pairs; /* no entry is larger than MOST_OF_PAIR */
    int32_t *y;
    size_t y_stride;                /* to the next row */
    int narrow;                     /* shift of what is stored in 16 bits */
    const uint64_t *mask[MAX_ROWS]; /* in place of y, of each row: where sums are stored .. */
    int16_t *out[MAX_ROWS];         /* .. in 16 bits .. */
    int32_t less[MAX_ROWS];         /* .. less this */
};

/* The sums of a row: 64 lanes. */
struct lanes {
    __m512i v[4];
};

/* clang-format off */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Woverlength-strings" /* all compilers here take them */
#define FROM_ROW(row, s0, s1, s2, s3)                                                              \
    "movq " #row "(%[loop]), %%rax\n\tvmovdqu64 (%%rax), %[" #s0 "]\n\t"                            \
    "vmovdqu64 64(%%rax), %[" #s1 "]\n\tvmovdqu64 128(%%rax), %[" #s2 "]\n\t"                       \
    "vmovdqu64 192(%%rax), %[" #s3 "]\n\t"
#define LOAD(base, offset, v) "vmovdqu64 " #offset "(%%" #base ",%%rax), %%zmm" #v "\n\t"
#define LOAD_INDEX(v0, v1, v2, v3)                                                                 \
    LOAD(r12, 0, v0) LOAD(r12, 64, v1) LOAD(r13, 0, v2) LOAD(r13, 64, v3)
#define LOOK_UP(table, index, to) "vpermb %%zmm" #table ", %%zmm" #index ", %%zmm" #to "\n\t"
#define ADD_FOURS(v, s) "vpdpbusd %%zmm31, %%zmm" #v ", %[" #s "]\n\t"
#define ADD_PAIR(s) "vpaddb %%zmm26, %%zmm27, %%zmm26\n\t" ADD_FOURS(26, s)
#define ADD_EACH(s) ADD_FOURS(26, s) ADD_FOURS(27, s)
#define ADD_TWO(ADD, i, j, s) LOOK_UP(24, i, 26) LOOK_UP(25, j, 27) ADD(s)
#define ADD_ONE(i, s) LOOK_UP(24, i, 26) ADD_FOURS(26, s)
#define ROW_OF_TWO(ADD, row, s0, s1, s2, s3)                                                       \
    LOAD(row, 0, 24) "vmovdqu64 (%%" #row ",%%rcx), %%zmm25\n\t"                                   \
    ADD_TWO(ADD, 16, 20, s0) ADD_TWO(ADD, 17, 21, s1)                                              \
    ADD_TWO(ADD, 18, 22, s2) ADD_TWO(ADD, 19, 23, s3)
#define ROW_OF_ONE(row, s0, s1, s2, s3)                                                            \
    LOAD(row, 0, 24) ADD_ONE(16, s0) ADD_ONE(17, s1) ADD_ONE(18, s2) ADD_ONE(19, s3)
#define SUM(i) [s##i] "=&v"(sum[i])

/* 4 rows by 64 lanes: sum[4 * row + i], 16 lanes each. Registers: 16 .. 23 index bytes, 24 and 25
 * tables, 26 and 27 entries, 31 the weight; r8 .. r11 rows. */
#define SUM_FOUR_ROWS(ADD)                                                                         \
    __asm__ volatile(                                                                              \
        FROM_ROW(80, s0, s1, s2, s3)                                                               \
        FROM_ROW(88, s4, s5, s6, s7)                                                               \
        FROM_ROW(96, s8, s9, s10, s11)                                                             \
        FROM_ROW(104, s12, s13, s14, s15)                                                          \
        "movq (%[loop]), %%r8\n\tmovq 8(%[loop]), %%r9\n\t"                                        \
        "movq 16(%[loop]), %%r10\n\tmovq 24(%[loop]), %%r11\n\t"                                   \
        "movq 32(%[loop]), %%r12\n\tmovq 40(%[loop]), %%r13\n\t"                                   \
        "movq 48(%[loop]), %%r14\n\tmovq 56(%[loop]), %%r15\n\t"                                   \
        "vpbroadcastb 72(%[loop]), %%zmm31\n\t"                                                    \
        "test %%r15, %%r15\n\tjz 2f\n\t"                                                           \
        ".p2align 6\n1:\n\t"                                                                       \
        "movslq 4(%%r14), %%rax\n\t" LOAD_INDEX(16, 17, 18, 19)                                    \
        "movslq 12(%%r14), %%rax\n\t" LOAD_INDEX(20, 21, 22, 23)                                   \
        "movslq (%%r14), %%rax\n\tmovslq 8(%%r14), %%rcx\n\t"                                      \
        ROW_OF_TWO(ADD, r8, s0, s1, s2, s3)                                                        \
        ROW_OF_TWO(ADD, r9, s4, s5, s6, s7)                                                        \
        ROW_OF_TWO(ADD, r10, s8, s9, s10, s11)                                                     \
        ROW_OF_TWO(ADD, r11, s12, s13, s14, s15)                                                   \
        "add $16, %%r14\n\tdec %%r15\n\tjnz 1b\n"                                                 \
        "2:\n\tcmpq $0, 64(%[loop])\n\tje 3f\n\t" /* the last of an odd number */                 \
        "movslq 4(%%r14), %%rax\n\t" LOAD_INDEX(16, 17, 18, 19)                                    \
        "movslq (%%r14), %%rax\n\t"                                                                \
        ROW_OF_ONE(r8, s0, s1, s2, s3)                                                             \
        ROW_OF_ONE(r9, s4, s5, s6, s7)                                                             \
        ROW_OF_ONE(r10, s8, s9, s10, s11)                                                          \
        ROW_OF_ONE(r11, s12, s13, s14, s15)                                                        \
        "3:\n\t"                                                                                   \
        : SUM(0), SUM(1), SUM(2), SUM(3), SUM(4), SUM(5), SUM(6), SUM(7), SUM(8), SUM(9), SUM(10), \
          SUM(11), SUM(12), SUM(13), SUM(14), SUM(15)                                              \
        : [loop] "r"(loop)                                                                         \
        : "memory", "cc", "rax", "rcx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",      \
          "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24",         \
          "xmm25", "xmm26", "xmm27", "xmm31")

BP_INLINE void sum_four_rows(const struct loop *loop, int pairs, __m512i sum[16]) {
    if (pairs)
        SUM_FOUR_ROWS(ADD_PAIR);
    else
        SUM_FOUR_ROWS(ADD_EACH);
}
#pragma GCC diagnostic pop
/* clang-format on */

BP_INLINE __m512i load_entries(const uint8_t *row, const uint8_t *index) {
    return _mm512_permutexvar_epi8(_mm512_loadu_si512(index), _mm512_loadu_si512(row));
}

BP_INLINE struct block block_of(int entry_max, int weight) {
    return (struct block){.loop = {.weight = (uint64_t)weight}, .pairs = entry_max <= MOST_OF_PAIR};
}

BP_INLINE void set_index(struct block *b, const uint8_t *index, size_t half_bytes) {
    b->loop.index = index;
    b->loop.half = index + half_bytes;
}

BP_INLINE void set_steps(struct block *b, const struct step *step, size_t count) {
    b->loop.step = step;
    b->loop.twos = count / 2;
    b->loop.odd = count % 2;
}

/* One row, `vectors` times 16 lanes. */
BP_INLINE void add_row(const struct loop *loop, int vectors, const uint8_t *row, __m512i one,
                       struct lanes *sums) {
    const uint8_t *low = loop->index, *high = loop->half;
    const struct step *step = loop->step, *end = step + 2 * loop->twos + loop->odd;
    __m512i s0 = sums->v[0], s1 = sums->v[1], s2 = sums->v[2], s3 = sums->v[3];
    for (; step < end; step++) {
        s0 = _mm512_dpbusd_epi32(s0, load_entries(row + step->table, low + step->index), one);
        s1 = _mm512_dpbusd_epi32(s1, load_entries(row + step->table, low + step->index + 64), one);
        if (vectors == 2)
            continue;
        s2 = _mm512_dpbusd_epi32(s2, load_entries(row + step->table, high + step->index), one);
        s3 = _mm512_dpbusd_epi32(s3, load_entries(row + step->table, high + step->index + 64), one);
    }
    *sums = (struct lanes){{s0, s1, s2, s3}};
}

/* The same of two rows and 64 lanes: each index vector is loaded once for both, and there are twice
 * as many sums, so that they wait for one another less. */
BP_INLINE void add_two_rows(const struct loop *loop, const uint8_t *first, const uint8_t *second,
                            __m512i one, struct lanes sums[2]) {
    const uint8_t *low = loop->index, *high = loop->half;
    const struct step *step = loop->step, *end = step + 2 * loop->twos + loop->odd;
    __m512i s0 = sums[0].v[0], s1 = sums[0].v[1], s2 = sums[0].v[2], s3 = sums[0].v[3];
    __m512i t0 = sums[1].v[0], t1 = sums[1].v[1], t2 = sums[1].v[2], t3 = sums[1].v[3];
    for (; step < end; step++) {
        const __m512i i0 = _mm512_loadu_si512(low + step->index);
        const __m512i i1 = _mm512_loadu_si512(low + step->index + 64);
        const __m512i i2 = _mm512_loadu_si512(high + step->index);
        const __m512i i3 = _mm512_loadu_si512(high + step->index + 64);
        const __m512i a = _mm512_loadu_si512(first + step->table);
        const __m512i b = _mm512_loadu_si512(second + step->table);
        s0 = _mm512_dpbusd_epi32(s0, _mm512_permutexvar_epi8(i0, a), one);
        t0 = _mm512_dpbusd_epi32(t0, _mm512_permutexvar_epi8(i0, b), one);
        s1 = _mm512_dpbusd_epi32(s1, _mm512_permutexvar_epi8(i1, a), one);
        t1 = _mm512_dpbusd_epi32(t1, _mm512_permutexvar_epi8(i1, b), one);
        s2 = _mm512_dpbusd_epi32(s2, _mm512_permutexvar_epi8(i2, a), one);
        t2 = _mm512_dpbusd_epi32(t2, _mm512_permutexvar_epi8(i2, b), one);
        s3 = _mm512_dpbusd_epi32(s3, _mm512_permutexvar_epi8(i3, a), one);
        t3 = _mm512_dpbusd_epi32(t3, _mm512_permutexvar_epi8(i3, b), one);
    }
    sums[0] = (struct lanes){{s0, s1, s2, s3}};
    sums[1] = (struct lanes){{t0, t1, t2, t3}};
}

/* What the sums of row r, of which lanes exist, are added to. */
BP_INLINE struct lanes load_from(const struct block *b, size_t r) {
    struct lanes sums;
    for (size_t i = 0; i < 4; i++)
        sums.v[i] = 16 * i < b->lanes ? _mm512_maskz_loadu_epi32(mask_16(b->lanes - 16 * i),
                                                                 b->loop.from[r] + 16 * i)
                                      : _mm512_setzero_si512();
    return sums;
}

/* Rows r and, of 64 lanes, r + 1, if there is one. Returns how many. */
BP_INLINE size_t add_rows(const struct block *b, size_t r, struct lanes sums[2]) {
    const struct loop *loop = &b->loop;
    const __m512i weight = _mm512_set1_epi8((char)loop->weight);
    sums[0] = load_from(b, r);
    if (b->lanes < MAX_LANES || r + 1 == b->rows) {
        add_row(loop, b->lanes <= BP_LANES ? 2 : 4, loop->row[r], weight, sums);
        return 1;
    }
    sums[1] = load_from(b, r + 1);
    add_two_rows(loop, loop->row[r], loop->row[r + 1], weight, sums);
    return 2;
}

BP_INLINE void store_64(const struct block *b, size_t row, __m512i v0, __m512i v1, __m512i v2,
                        __m512i v3) {
    int32_t *y = b->y + row * b->y_stride;
    _mm512_storeu_si512(y, v0);
    _mm512_storeu_si512(y + 16, v1);
    _mm512_storeu_si512(y + 32, v2);
    _mm512_storeu_si512(y + 48, v3);
}

/* Without loops over the sums: gcc 12 would copy them to memory for one. */
BP_INLINE void add_four_rows(const struct block *b, int pairs) {
    __m512i sum[16];
    sum_four_rows(&b->loop, pairs, sum);
    store_64(b, 0, sum[0], sum[1], sum[2], sum[3]);
    store_64(b, 1, sum[4], sum[5], sum[6], sum[7]);
    store_64(b, 2, sum[8], sum[9], sum[10], sum[11]);
    store_64(b, 3, sum[12], sum[13], sum[14], sum[15]);
}

static __attribute__((noinline)) void add_by_pairs(const struct block *b) {
    add_four_rows(b, 1);
}

static __attribute__((noinline)) void add_one_by_one(const struct block *b) {
    add_four_rows(b, 0);
}

/* Fewer than 64 lanes, or than 4 rows. */
static void add_few(const struct block *b) {
    struct lanes sums[2];
    for (size_t r = 0, rows; r < b->rows; r += rows) {
        rows = add_rows(b, r, sums);
        for (size_t i = 0; i < rows * 4; i++) {
            const size_t lane = i % 4 * 16;
            if (lane < b->lanes)
                _mm512_mask_storeu_epi32(b->y + (r + i / 4) * b->y_stride + lane,
                                         mask_16(b->lanes - lane), sums[i / 4].v[i % 4]);
        }
    }
}

static void add_pass(const struct block *b) {
    if (b->lanes < MAX_LANES || b->rows < MAX_ROWS)
        add_few(b);
    else if (b->pairs)
        add_by_pairs(b);
    else
        add_one_by_one(b);
}

/* 32 lanes, of which m exist, in 16 bits, where their bits are set. With a shift the sums are half
 * a unit too large: that rounds to the nearest, and the even one of two where what is shifted out
 * is then 0 (bp_shift_to_even). */
BP_INLINE void store_masked(__m512i low, __m512i high, int shift, uint32_t inside, __mmask32 m,
                            int16_t *out) {
    __m512i v;
    if (shift == 0) {
        v = low_halves(inside, low, high);
    } else {
        const __m128i by = _mm_cvtsi32_si128(shift);
        const __m512i below = _mm512_set1_epi16((int16_t)((1 << shift) - 1));
        const __mmask32 ties = _mm512_testn_epi16_mask(low_halves(0xffffffff, low, high), below);
        v = low_halves(inside, _mm512_sra_epi32(low, by), _mm512_sra_epi32(high, by));
        v = _mm512_andnot_si512(_mm512_maskz_mov_epi16(ties, _mm512_set1_epi16(1)), v);
    }
    _mm512_mask_storeu_epi16(out, m, v);
}

BP_INLINE void store_64_masked(const struct block *b, size_t row, __m512i v0, __m512i v1,
                               __m512i v2, __m512i v3) {
    const uint64_t inside = *b->mask[row];
    store_masked(v0, v1, b->narrow, (uint32_t)inside, 0xffffffff, b->out[row]);
    store_masked(v2, v3, b->narrow, (uint32_t)(inside >> 32), 0xffffffff, b->out[row] + 32);
}

static __attribute__((noinline)) void store_by_pairs(const struct block *b) {
    __m512i sum[16];
    sum_four_rows(&b->loop, 1, sum);
    store_64_masked(b, 0, sum[0], sum[1], sum[2], sum[3]);
    store_64_masked(b, 1, sum[4], sum[5], sum[6], sum[7]);
    store_64_masked(b, 2, sum[8], sum[9], sum[10], sum[11]);
    store_64_masked(b, 3, sum[12], sum[13], sum[14], sum[15]);
}

/* Of wide tables: less what sums of a row are too large by. */
BP_INLINE void store_64_less(const struct block *b, size_t row, __m512i v0, __m512i v1, __m512i v2,
                             __m512i v3) {
    const __m512i less = _mm512_set1_epi32(b->less[row]);
    store_64_masked(b, row, _mm512_sub_epi32(v0, less), _mm512_sub_epi32(v1, less),
                    _mm512_sub_epi32(v2, less), _mm512_sub_epi32(v3, less));
}

static __attribute__((noinline)) void store_one_by_one(const struct block *b) {
    __m512i sum[16];
    sum_four_rows(&b->loop, 0, sum);
    store_64_less(b, 0, sum[0], sum[1], sum[2], sum[3]);
    store_64_less(b, 1, sum[4], sum[5], sum[6], sum[7]);
    store_64_less(b, 2, sum[8], sum[9], sum[10], sum[11]);
    store_64_less(b, 3, sum[12], sum[13], sum[14], sum[15]);
}

/* Fewer than 64 lanes, or than 4 rows. */
static void store_few(const struct block *b) {
    struct lanes sums[2];
    for (size_t r = 0, rows; r < b->rows; r += rows) {
        rows = add_rows(b, r, sums);
        for (size_t i = 0; i < rows * 2; i++) {
            const size_t lane = i % 2 * 32, row = r + i / 2;
            const __m512i less = _mm512_set1_epi32(b->less[row]);
            const __m512i *of = sums[i / 2].v + i % 2 * 2;
            if (lane < b->lanes)
                store_masked(_mm512_sub_epi32(of[0], less), _mm512_sub_epi32(of[1], less),
                             b->narrow, (uint32_t)(*b->mask[row] >> lane), mask_32(b->lanes - lane),
                             b->out[row] + lane);
        }
    }
}

/* The same of y. */
static void store_pass(const struct block *b) {
    if (b->lanes < MAX_LANES || b->rows < MAX_ROWS)
        store_few(b);
    else if (b->pairs)
        store_by_pairs(b);
    else
        store_one_by_one(b);
}

/* --- activation gradient ---------------------------------------------------------------------- */

/* Of passes of `most` steps or fewer, about equally long, in pairs of steps. */
static size_t pass_of(size_t all, size_t most) {
    const size_t passes = (all + most - 1) / most;
    return bp_round_up((all + passes - 1) / passes, 2);
}

/* The steps of the windows from `step` on, those of a pass of `most` or fewer; returns the next
 * one. */
static size_t steps_of_windows(struct steps *steps, size_t step, const int32_t *tap,
                               const int32_t *tap_w, size_t taps, size_t tap_steps, size_t most) {
    const size_t all = taps * tap_steps, end = bp_min_size(all, step + pass_of(all, most));
    size_t t = step / tap_steps, i = step % tap_steps;
    for (steps->count = 0; step < end; t++, i = 0) {
        const size_t count = bp_min_size(tap_steps - i, end - step);
        const int32_t table = (tap[t] + (int32_t)i * TOGETHER) * BP_TABLE_BYTES;
        const int32_t index = (int32_t)(((size_t)tap_w[t] * tap_steps + i) * TOGETHER * BP_LANES);
        struct step *to = steps->at + steps->count;
        for (int32_t s = 0; s < (int32_t)count; s++)
            to[s] = (struct step){table + s * (int32_t)STEP_TABLES,
                                  index + s * (int32_t)(TOGETHER * BP_LANES)};
        steps->count += count;
        step += count;
    }
    return end;
}

void bp_product_tables_avx512(const uint8_t *tables, const int32_t *pixel, size_t n,
                              const int32_t *tap, const int32_t *tap_w, size_t taps, size_t w_taps,
                              size_t quads, size_t together, int entry_max, const uint8_t *index,
                              size_t c, const int32_t *base, int shift, int32_t *y,
                              struct bp_fetch *soon) {
    (void)together;
    struct steps steps;
    const size_t half_bytes = w_taps * quads * BP_LANES;
    struct block b = block_of(entry_max, 1 << shift);
    b.y_stride = c;
    for (size_t step = 0; step < taps * (quads / TOGETHER);) {
        const int32_t *from = step == 0 ? base : NULL;
        step = steps_of_windows(&steps, step, tap, tap_w, taps, quads / TOGETHER, PASS_STEPS);
        for (size_t j = 0; j < c; j += MAX_LANES) {
            set_index(&b, index + j * w_taps * quads, half_bytes);
            set_steps(&b, steps.at, steps.count);
            b.lanes = bp_min_size(c - j, MAX_LANES);
            for (size_t p = 0; p < n; p += b.rows) {
                b.rows = bp_min_size(n - p, MAX_ROWS);
                b.y = y + p * c + j;
                for (size_t r = 0; r < b.rows; r++) {
                    b.loop.row[r] = tables + (ptrdiff_t)pixel[p + r] * BP_TABLE_BYTES;
                    b.loop.from[r] = from != NULL ? from + j : b.y + r * c;
                }
                fetch_soon(soon, b.rows * b.lanes * sizeof *y);
                add_pass(&b);
            }
        }
    }
}

/* What product_tables_i16 gets. */
struct masked_job {
    const uint8_t *tables;
    const int32_t *pixel, *to;
    const struct bp_wide_pixels *wide;
    const uint64_t *mask;
    int16_t *out;
    size_t c, cw;
};

/* What the sums of the block's lanes begin with, the same for all pixels, .. */
struct initial {
    int32_t of_all[MAX_LANES];
    int32_t of_row[MAX_ROWS][MAX_LANES]; /* .. or those which codes were left out of */
};

/* The block's rows: pixels p and up, lanes j and up. */
BP_INLINE void place_rows(const struct masked_job *job, size_t p, size_t j, struct block *b) {
    for (size_t r = 0; r < b->rows; r++) {
        const size_t to = (size_t)job->to[p + r];
        b->loop.row[r] = job->tables + (ptrdiff_t)job->pixel[p + r] * BP_TABLE_BYTES;
        b->mask[r] = job->mask + to * job->cw + j / 64;
        b->out[r] = job->out + to * job->c + j;
        b->less[r] = job->wide == NULL ? 0 : job->wide->total[p + r];
    }
}

/* What their sums are added to before the first pass. */
BP_INLINE void begin_rows(const struct masked_job *job, size_t p, size_t j, struct initial *initial,
                          struct block *b) {
    for (size_t r = 0; r < b->rows; r++) {
        const int32_t *more =
            job->wide == NULL || job->wide->more == NULL ? NULL : job->wide->more[p + r];
        b->loop.from[r] = more == NULL ? initial->of_all : initial->of_row[r];
        for (size_t i = 0; more != NULL && i < b->lanes; i++)
            initial->of_row[r][i] = initial->of_all[i] + more[j + i];
    }
}

void bp_product_tables_i16_avx512(const uint8_t *tables, const int32_t *pixel, const int32_t *to,
                                  size_t n, const int32_t *tap, const int32_t *tap_w, size_t taps,
                                  size_t w_taps, size_t quads, size_t together, int entry_max,
                                  const uint8_t *index, size_t c, const int32_t *base,
                                  const struct bp_wide_pixels *wide, const struct bp_masked_sums *y,
                                  struct bp_fetch *soon) {
    (void)together;
    struct steps steps;
    steps_of_windows(&steps, 0, tap, tap_w, taps, quads / TOGETHER, MOST_STEPS);
    const size_t pass = pass_of(steps.count, PASS_STEPS);
    const int one_pass = steps.count <= PASS_STEPS;
    const size_t group = one_pass ? n : GROUP;
    int32_t part[GROUP * MAX_LANES] __attribute__((aligned(64))); /* sums of the first passes */
    struct initial initial __attribute__((aligned(64)));
    const struct masked_job job = {tables, pixel, to, wide, y->mask, y->out, c, bp_words(c)};
    const size_t half_bytes = w_taps * quads * BP_LANES;
    struct block b = block_of(entry_max, wide == NULL ? 1 : 2);
    b.pairs = b.pairs && wide == NULL;
    b.y_stride = MAX_LANES;
    b.narrow = y->shift;
    for (size_t j = 0; j < c; j += MAX_LANES) {
        set_index(&b, index + j * w_taps * quads, half_bytes);
        b.lanes = bp_min_size(c - j, MAX_LANES);
        for (size_t i = 0; i < b.lanes; i++) /* and half a unit, see store_masked */
            initial.of_all[i] = base[j + i] + (1 << y->shift >> 1);
        for (size_t first = 0; first < n; first += group)
            for (size_t s = 0; s < steps.count; s += pass) {
                const size_t end = bp_min_size(n, first + group);
                const int last = s + pass >= steps.count;
                set_steps(&b, steps.at + s, last ? steps.count - s : pass);
                for (size_t p = first; p < end; p += b.rows) {
                    b.rows = bp_min_size(end - p, MAX_ROWS);
                    b.y = part + (one_pass ? 0 : p - first) * MAX_LANES;
                    place_rows(&job, p, j, &b);
                    if (s == 0)
                        begin_rows(&job, p, j, &initial, &b);
                    for (size_t r = 0; s > 0 && r < b.rows; r++)
                        b.loop.from[r] = b.y + r * MAX_LANES;
                    if (last) {
                        fetch_soon(soon, b.rows * b.lanes * sizeof(int32_t));
                        store_pass(&b);
                    } else
                        add_pass(&b);
                }
            }
    }
}

/* --- weight gradient -------------------------------------------------------------------------- */

#define MOST_TAP_STEPS 640 /* of the taps that go together: 9 times 64, and more */
#define MOST_TAPS      9

/* A tap's steps, or those of them that are in the list: steps->at[first] and up. */
struct tap_steps {
    size_t tap, first, count;
    int add; /* to sums that are there */
};

/* Steps of some taps, in order. */
struct tap_list {
    struct step at[MOST_TAP_STEPS];
    struct tap_steps taps[MOST_TAPS];
    size_t steps, n;
};

/* Where the next steps are in the runs: `done` of run `run` of tap `tap` are in lists. */
struct tap_cursor {
    size_t tap, run, done;
    int add;
};

/* The next steps of a tap, as many as the list has room for. */
static void list_tap(struct tap_list *list, struct tap_cursor *at, const struct bp_tap_runs *runs,
                     size_t index_step) {
    struct tap_steps *tap = &list->taps[list->n++];
    *tap = (struct tap_steps){.tap = at->tap, .first = list->steps, .add = at->add};
    while (at->run < runs->begin[at->tap + 1] && list->steps < MOST_TAP_STEPS) {
        const struct bp_run *r = &runs->runs[at->run];
        size_t count = bp_min_size((size_t)r->count - at->done, MOST_TAP_STEPS - list->steps);
        int32_t table = r->table + (int32_t)at->done * STEP_TABLES;
        int32_t index = r->index + (int32_t)(at->done * index_step);
        for (size_t i = 0; i < count; i++, table += STEP_TABLES, index += (int32_t)index_step)
            list->at[list->steps + i] = (struct step){table, index};
        list->steps += count;
        at->done += count;
        if (at->done == (size_t)r->count) {
            at->done = 0;
            at->run++;
        }
    }
    tap->count = list->steps - tap->first;
}

/* The next steps of the taps, as many as the list has room for. */
static void list_taps(struct tap_list *list, struct tap_cursor *at, const struct bp_tap_runs *runs,
                      int add, size_t index_step) {
    list->steps = list->n = 0;
    while (at->tap < runs->taps && list->steps < MOST_TAP_STEPS && list->n < MOST_TAPS) {
        list_tap(list, at, runs, index_step);
        at->add = 1;
        if (at->run == runs->begin[at->tap + 1]) {
            at->tap++;
            at->add = add;
        }
    }
}

/* All taps of 4 columns, then the next 4: their tables stay in the first cache, and the index rows
 * of 64 lanes, which neighbouring taps share, nearly do. So every second four begins where the one
 * before ended, with the last tap. */
void bp_product_samples_avx512(const uint8_t *tables, size_t k, size_t column_bytes,
                               const struct bp_tap_runs *runs, const uint8_t *index,
                               size_t index_step, size_t c, size_t together, int entry_max, int add,
                               int32_t *y, size_t y_stride, size_t tap_stride) {
    (void)together;
    static const int32_t zeros[MAX_LANES];
    struct tap_list list;
    struct tap_cursor cursor = {.run = runs->begin[0], .add = add};
    struct block b = block_of(entry_max, runs->weight);
    b.y_stride = y_stride;
    while (cursor.tap < runs->taps) {
        list_taps(&list, &cursor, runs, add, index_step);
        for (size_t j = 0; j < c; j += MAX_LANES) {
            set_index(&b, index + j * TOGETHER, (size_t)TOGETHER * BP_LANES);
            b.lanes = bp_min_size(c - j, MAX_LANES);
            for (size_t i = 0; i < k; i += b.rows) {
                b.rows = bp_min_size(k - i, MAX_ROWS);
                for (size_t r = 0; r < b.rows; r++)
                    b.loop.row[r] = tables + (i + r) * column_bytes;
                for (size_t o = 0; o < list.n; o++) {
                    const struct tap_steps *t = list.taps + (i / MAX_ROWS % 2 ? list.n - 1 - o : o);
                    b.y = y + i * y_stride + t->tap * tap_stride + j;
                    for (size_t r = 0; r < b.rows; r++)
                        b.loop.from[r] = t->add ? b.y + r * y_stride : zeros;
                    set_steps(&b, list.at + t->first, t->count);
                    add_pass(&b);
                }
            }
        }
    }
}

void bp_add_signs_avx512(const uint64_t *bits, size_t n, int32_t value, int32_t *y) {
    const __m512i plus = _mm512_set1_epi32(value), minus = _mm512_set1_epi32(-value);
    for (size_t j = 0; j < n; j += 16) {
        const __mmask16 here = mask_16(n - j), negative = (__mmask16)(bits[j / 64] >> j % 64);
        const __m512i v = _mm512_maskz_loadu_epi32(here, y + j);
        _mm512_mask_storeu_epi32(y + j, here,
                                 _mm512_add_epi32(v, _mm512_mask_mov_epi32(plus, negative, minus)));
    }
}
