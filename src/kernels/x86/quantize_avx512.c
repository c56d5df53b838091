/* The gradient quantizer, AVX-512: ranges, stochastic rounding. */
#include "kernels/x86/tier_avx512.h"

#include <string.h>

#include "base/bits.h"
#include "kernels/x86/columns_x86.h"
#include "kernels/x86/vec_avx512.h"

/* --- ranges ----------------------------------------------------------------------------------- */

/* 16 * vectors columns from column j on; the last vector of a row is masked. */
BP_INLINE void range_block(int vectors, const float *g, size_t n, size_t k, size_t j, __mmask16 m,
                           struct bp_columns to) {
    struct range_512 range[4];
    for (int q = 0; q < vectors; q++)
        range[q] = range_load(&to, j + 16 * (size_t)q, m);
    for (size_t i = 0; i < n; i++)
        for (int q = 0; q < vectors; q++)
            range_add(&range[q], load_f32(g + i * k + j + 16 * (size_t)q, m));
    for (int q = 0; q < vectors; q++)
        range_store(&to, j + 16 * (size_t)q, m, &range[q]);
}

void bp_range_columns_avx512(const float *g, size_t n, size_t k, struct bp_columns to) {
    size_t j = 0;
    for (; j + 64 <= k; j += 64)
        range_block(4, g, n, k, j, 0xffff, to);
    for (; j < k; j += 16)
        range_block(1, g, n, k, j, mask_16(k - j), to);
}

/* --- stochastic rounding ---------------------------------------------------------------------- */

/* u of up to 16 elements. (integer + 0.5) / 2^bits is exact, fused or not. */
BP_INLINE __m512 fractions_16(const uint8_t *random, __mmask16 m, int wide) {
    const float step = wide ? 1.0f / 65536.0f : 1.0f / 256.0f;
    __m512i v = wide ? _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, random))
                     : _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(m, random));
    return _mm512_fmadd_ps(_mm512_cvtepi32_ps(v), _mm512_set1_ps(step),
                           _mm512_set1_ps(0.5f * step));
}

/* u of 64 elements, four vectors of 16. The integer becomes the last bits of a float
 * that counts in its unit, 32768 + byte / 256 or 128 + half-word / 65536; all differences are
 * exact. */
BP_INLINE void fractions_64(const uint8_t *random, int wide, __m512 u[4]) {
    const __m512i count = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i base = _mm512_castps_si512(_mm512_set1_ps(wide ? 128.0f : 32768.0f));
    const __m512 less =
        wide ? _mm512_set1_ps(128.0f - 0.5f / 65536.0f) : _mm512_set1_ps(32768.0f - 0.5f / 256.0f);
    for (int v = 0; v < 4; v++) {
        __m512i from = _mm512_loadu_si512(random + (wide ? v / 2 * 64 : 0)), w;
        if (wide) { /* bytes 2 e and 2 e + 1 of a half */
            __m512i pairs = _mm512_add_epi32(_mm512_mullo_epi32(count, _mm512_set1_epi32(0x0202)),
                                             _mm512_set1_epi32(0x0100 + v % 2 * 0x2020));
            w = _mm512_mask_permutexvar_epi8(base, 0x3333333333333333, pairs, from);
        } else {
            __m512i single = _mm512_add_epi32(count, _mm512_set1_epi32(16 * v));
            w = _mm512_mask_permutexvar_epi8(base, 0x1111111111111111, single, from);
        }
        u[v] = _mm512_sub_ps(_mm512_castsi512_ps(w), less);
    }
}

/* The codes of 16 elements. Clamping before the floor is the same, as the bounds are integers; a
 * maximum with NaN is its second operand. */
BP_INLINE __m128i round_16(__m512 g, __m512 lo, __m512 inv_step, __m512 u, __m512 code_min,
                           __m512 code_max) {
    __m512 t = _mm512_add_ps(_mm512_mul_ps(_mm512_sub_ps(g, lo), inv_step), u);
    t = _mm512_min_ps(_mm512_max_ps(t, code_min), code_max);
    return _mm512_cvtepi32_epi8(
        _mm512_cvt_roundps_epi32(t, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC));
}

BP_INLINE void load_64(const float *from, __m512 v[4]) {
    for (int i = 0; i < 4; i++)
        v[i] = _mm512_loadu_ps(from + 16 * i);
}

/* The limits of codes, for 64 at a time. */
struct limits {
    __m512 max;  /* floats */
    __m512i min; /* 16 bits */
};

BP_INLINE struct limits limits_of(const struct bp_rounding *rounding) {
    return (struct limits){_mm512_set1_ps((float)rounding->code_max),
                           _mm512_set1_epi16((short)rounding->code_min)};
}

/* The codes of 64 elements. As round_16: a t that is NaN passes the minimum, and as the smallest
 * integer then saturates to the smallest code, as any that is too small. */
BP_INLINE __m512i round_64(const __m512 g[4], const __m512 lo[4], const __m512 inv_step[4],
                           const __m512 u[4], const struct limits *limits) {
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i low = _mm512_set1_epi16(0xff);
    __m512i code[4];
    for (int v = 0; v < 4; v++) {
        __m512 t = _mm512_add_ps(_mm512_mul_ps(_mm512_sub_ps(g[v], lo[v]), inv_step[v]), u[v]);
        code[v] = _mm512_cvt_roundps_epi32(_mm512_min_ps(limits->max, t),
                                           _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    }
    __m512i a = _mm512_max_epi16(_mm512_packs_epi32(code[0], code[1]), limits->min);
    __m512i b = _mm512_max_epi16(_mm512_packs_epi32(code[2], code[3]), limits->min);
    /* Packed within quarters: a quarter holds four codes of each vector. */
    return _mm512_permutexvar_epi32(
        order, _mm512_packus_epi16(_mm512_and_si512(a, low), _mm512_and_si512(b, low)));
}

BP_INLINE void round_one_grid(const float *g, size_t n, const uint8_t *random,
                              const struct bp_rounding *rounding, int wide, struct bp_grid grid,
                              uint8_t *codes) {
    const __m512 lo = _mm512_set1_ps(grid.lo), inv_step = _mm512_set1_ps(grid.inv_step);
    const __m512 code_min = _mm512_set1_ps((float)rounding->code_min);
    const __m512 code_max = _mm512_set1_ps((float)rounding->code_max);
    const __m512 los[4] = {lo, lo, lo, lo}, inv_steps[4] = {inv_step, inv_step, inv_step, inv_step};
    const struct limits limits = limits_of(rounding);
    size_t bytes = wide ? 2 : 1, i = 0;
    for (; i + 64 <= n; i += 64) {
        __m512 v[4], u[4];
        fractions_64(random + bytes * i, wide, u);
        load_64(g + i, v);
        _mm512_storeu_si512(codes + i, round_64(v, los, inv_steps, u, &limits));
    }
    for (; i < n; i += 16) {
        __mmask16 m = mask_16(n - i);
        __m512 u = fractions_16(random + bytes * i, m, wide);
        __m512 v = _mm512_maskz_loadu_ps(m, g + i);
        _mm_mask_storeu_epi8(codes + i, m, round_16(v, lo, inv_step, u, code_min, code_max));
    }
}

void bp_round_group_avx512(const float *g, size_t n, const uint8_t *random,
                           const struct bp_rounding *rounding, struct bp_grid grid,
                           uint8_t *codes) {
    if (rounding->wide)
        round_one_grid(g, n, random, rounding, 1, grid, codes);
    else
        round_one_grid(g, n, random, rounding, 0, grid, codes);
}

/* Splits 16 grids into lo and inv_step. */
BP_INLINE void load_grids(const struct bp_grid *grid, size_t count, __m512 *lo, __m512 *inv_step) {
    const __m512i even =
        _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    const float *from = &grid->lo;
    uint32_t m = mask_32(2 * count);
    __m512 a = _mm512_maskz_loadu_ps((__mmask16)m, from);
    __m512 b = _mm512_maskz_loadu_ps((__mmask16)(m >> 16), from + 16);
    *lo = _mm512_permutex2var_ps(a, even, b);
    *inv_step = _mm512_permutex2var_ps(a, odd, b);
}

BP_INLINE __m512 load_columns_16(const float *g, const int32_t *column) {
    return _mm512_insertf32x8(_mm512_castps256_ps512(load_columns_8(g, column)),
                              load_columns_8(g, column + 8), 1);
}

static __m512 load_columns_few(const float *g, const int32_t *column, size_t count) {
    float part[16] = {0};
    for (size_t e = 0; e < count; e++)
        part[e] = g[column[e]];
    return _mm512_loadu_ps(part);
}

/* Columns in any order, one by one. */
BP_INLINE void round_grids(const float *g, size_t n, size_t g_stride, const int32_t *column,
                           size_t k, const uint8_t *random, const struct bp_rounding *rounding,
                           int wide, const struct bp_grid *grid, uint8_t *codes) {
    const __m512 code_min = _mm512_set1_ps((float)rounding->code_min);
    const __m512 code_max = _mm512_set1_ps((float)rounding->code_max);
    size_t bytes = wide ? 2 : 1;
    for (size_t i = 0; i < n; i++, g += g_stride, codes += k, random += bytes * k)
        for (size_t j = 0; j < k; j += 16) {
            size_t count = bp_min_size(16, k - j);
            __mmask16 m = mask_16(count);
            __m512 lo, inv_step;
            load_grids(grid + j, count, &lo, &inv_step);
            __m512 v = count == 16 ? load_columns_16(g, column + j)
                                   : load_columns_few(g, column + j, count);
            __m512 u = fractions_16(random + bytes * j, m, wide);
            _mm_mask_storeu_epi8(codes + j, m, round_16(v, lo, inv_step, u, code_min, code_max));
        }
}

#define PICK_COLUMNS 2048 /* of a row */
#define PICK_FLOATS  2048 /* of some rows */

/* Rising columns are picked from whole vectors of a row, up to 16 of 32 columns in a step, and
 * packed, row after row, so that codes fill their vectors whatever k is. */
struct pick {
    int32_t index[16]; /* within the 32 columns */
    int32_t from, count;
};

struct picks {
    size_t k, steps;
    struct pick step[PICK_COLUMNS / 16 + PICK_COLUMNS / 32];
    float lo[PICK_COLUMNS + 64]; /* grids; from k on they begin again */
    float inv_step[PICK_COLUMNS + 64];
    float picked[PICK_FLOATS + PICK_COLUMNS + 16];
};

static int can_pick(const int32_t *column, size_t k) {
    for (size_t j = 1; j < k; j++)
        if (column[j] <= column[j - 1])
            return 0;
    return column[k - 1] < PICK_COLUMNS;
}

static void picks_start(struct picks *p, const int32_t *column, size_t k,
                        const struct bp_grid *grid) {
    struct pick *step = p->step - 1;
    p->k = k;
    for (size_t j = 0; j < k; j++) {
        int32_t from = column[j] / 32 * 32;
        if (j == 0 || step->from != from || step->count == 16) {
            step++;
            memset(step, 0, sizeof *step);
            step->from = from;
        }
        step->index[step->count++] = column[j] - from;
    }
    p->steps = (size_t)(step - p->step) + 1;
    for (size_t j = 0; j < k + 64; j++) {
        p->lo[j] = j < k ? grid[j].lo : p->lo[j - k];
        p->inv_step[j] = j < k ? grid[j].inv_step : p->inv_step[j - k];
    }
}

/* One step of one row of `width` floats; returns where the next one goes. */
BP_INLINE float *pick(const struct pick *step, const float *row, size_t width, float *to) {
    const float *g = row + step->from;
    size_t rest = width - (size_t)step->from;
    __m512 a, b;
    if (rest >= 32) {
        a = _mm512_loadu_ps(g);
        b = _mm512_loadu_ps(g + 16);
    } else {
        a = _mm512_maskz_loadu_ps(mask_16(rest), g);
        b = _mm512_maskz_loadu_ps((__mmask16)(mask_32(rest) >> 16), g + 16);
    }
    _mm512_storeu_ps(to, _mm512_permutex2var_ps(a, _mm512_loadu_si512(step->index), b));
    return to + step->count;
}

BP_INLINE size_t wrapped(size_t channel, size_t k) {
    while (channel >= k)
        channel -= k;
    return channel;
}

BP_INLINE void round_picked(const float *g, size_t n, size_t g_stride, const int32_t *column,
                            size_t k, const uint8_t *random, const struct bp_rounding *rounding,
                            int wide, const struct bp_grid *grid, uint8_t *codes) {
    const __m512 code_min = _mm512_set1_ps((float)rounding->code_min);
    const __m512 code_max = _mm512_set1_ps((float)rounding->code_max);
    struct picks p;
    size_t at_once = k < PICK_FLOATS ? PICK_FLOATS / k : 1, bytes = wide ? 2 : 1;
    const struct limits limits = limits_of(rounding);
    int all = k == g_stride; /* nothing to pick */
    picks_start(&p, column, k, grid);
    for (size_t row = 0; row < n; row += at_once) {
        size_t rows = bp_min_size(at_once, n - row), channel = 0, i = 0;
        const float *flat = all ? g : p.picked;
        float *to = p.picked;
        for (size_t r = 0; r < rows; r++, g += g_stride)
            for (size_t v = 0; !all && v < p.steps; v++)
                to = pick(&p.step[v], g, g_stride, to);
        for (; i + 64 <= rows * k; i += 64) {
            __m512 v[4], u[4], los[4], inv_steps[4];
            fractions_64(random + bytes * i, wide, u);
            load_64(flat + i, v);
            load_64(p.lo + channel, los);
            load_64(p.inv_step + channel, inv_steps);
            _mm512_storeu_si512(codes + i, round_64(v, los, inv_steps, u, &limits));
            channel = wrapped(channel + 64, k);
        }
        for (; i < rows * k; i += 16) {
            __mmask16 m = mask_16(rows * k - i);
            __m512 u = fractions_16(random + bytes * i, m, wide);
            __m128i code =
                round_16(_mm512_maskz_loadu_ps(m, flat + i), _mm512_loadu_ps(p.lo + channel),
                         _mm512_loadu_ps(p.inv_step + channel), u, code_min, code_max);
            _mm_mask_storeu_epi8(codes + i, m, code);
            channel = wrapped(channel + 16, k);
        }
        codes += rows * k;
        random += bytes * rows * k;
    }
}

void bp_round_columns_avx512(const float *g, size_t n, size_t g_stride, const int32_t *column,
                             size_t k, const uint8_t *random, const struct bp_rounding *rounding,
                             const struct bp_grid *grid, uint8_t *codes) {
    int wide = rounding->wide != 0;
    if (!can_pick(column, k))
        round_grids(g, n, g_stride, column, k, random, rounding, wide, grid, codes);
    else if (wide)
        round_picked(g, n, g_stride, column, k, random, rounding, 1, grid, codes);
    else
        round_picked(g, n, g_stride, column, k, random, rounding, 0, grid, codes);
}

/* --- epilogue of the activation gradient ------------------------------------------------------ */
