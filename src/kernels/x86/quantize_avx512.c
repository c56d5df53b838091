/* The gradient quantizer, AVX-512: ranges, stochastic rounding. */
#include "kernels/x86/tier_avx512.h"

#include <string.h>

#include "base/bits.h"
#include "kernels/x86/columns_x86.h"
#include "kernels/x86/round_avx512.h"
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

/* The codes of up to 16 elements, t not yet rounded. Clamped before the random number is added they
 * are the same; a maximum with NaN is its second operand. */
BP_INLINE __m128i round_16(__m512 t, const uint8_t *random, __mmask16 m, int wide,
                           const struct rounder *r) {
    __m512i v = wide ? _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, random))
                     : _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(m, random));
    v = _mm512_add_epi32(to_nearest(_mm512_min_ps(_mm512_max_ps(t, r->least_32), r->most)), v);
    return _mm512_cvtepi32_epi8(_mm512_srai_epi32(v, wide ? 16 : 8));
}

BP_INLINE void load_64(const float *from, __m512 v[4]) {
    for (int i = 0; i < 4; i++)
        v[i] = _mm512_loadu_ps(from + 16 * i);
}

/* (g - lo) * by of 64 elements; lo NULL: zeros. */
BP_INLINE void scale_64(const float *g, const __m512 lo[4], const __m512 by[4], __m512 t[4]) {
    load_64(g, t);
    for (int v = 0; v < 4; v++)
        t[v] = _mm512_mul_ps(lo != NULL ? _mm512_sub_ps(t[v], lo[v]) : t[v], by[v]);
}

BP_INLINE void round_one_grid(const float *g, size_t n, const uint8_t *random,
                              const struct bp_rounding *rounding, int wide, int with_lo,
                              struct bp_grid grid, uint8_t *codes) {
    const struct rounder r = rounder_of(rounding);
    const __m512 lo = _mm512_set1_ps(grid.lo), by = _mm512_set1_ps(grid.inv_step * r.parts);
    const __m512 los[4] = {lo, lo, lo, lo}, bys[4] = {by, by, by, by};
    size_t bytes = wide ? 2 : 1, i = 0;
    for (; i + 64 <= n; i += 64) {
        __m512 t[4];
        scale_64(g + i, with_lo ? los : NULL, bys, t);
        _mm512_storeu_si512(codes + i, round_64(t, random + bytes * i, wide, &r));
    }
    for (; i < n; i += 16) {
        __mmask16 m = mask_16(n - i);
        __m512 t = _mm512_mul_ps(_mm512_sub_ps(_mm512_maskz_loadu_ps(m, g + i), lo), by);
        _mm_mask_storeu_epi8(codes + i, m, round_16(t, random + bytes * i, m, wide, &r));
    }
}

void bp_round_group_avx512(const float *g, size_t n, const uint8_t *random,
                           const struct bp_rounding *rounding, struct bp_grid grid,
                           uint8_t *codes) {
    if (rounding->wide)
        round_one_grid(g, n, random, rounding, 1, 1, grid, codes);
    else if (grid.lo != 0.0f)
        round_one_grid(g, n, random, rounding, 0, 1, grid, codes);
    else
        round_one_grid(g, n, random, rounding, 0, 0, grid, codes);
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
    const struct rounder r = rounder_of(rounding);
    const __m512 parts = _mm512_set1_ps(r.parts);
    size_t bytes = wide ? 2 : 1;
    for (size_t i = 0; i < n; i++, g += g_stride, codes += k, random += bytes * k)
        for (size_t j = 0; j < k; j += 16) {
            size_t count = bp_min_size(16, k - j);
            __mmask16 m = mask_16(count);
            __m512 lo, inv_step;
            load_grids(grid + j, count, &lo, &inv_step);
            __m512 v = count == 16 ? load_columns_16(g, column + j)
                                   : load_columns_few(g, column + j, count);
            v = _mm512_mul_ps(_mm512_sub_ps(v, lo), _mm512_mul_ps(inv_step, parts));
            _mm_mask_storeu_epi8(codes + j, m, round_16(v, random + bytes * j, m, wide, &r));
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
    float by[PICK_COLUMNS + 64]; /* inv_step in parts */
    int with_lo;                 /* not all are zero */
};

static int can_pick(const int32_t *column, size_t k) {
    for (size_t j = 1; j < k; j++)
        if (column[j] <= column[j - 1])
            return 0;
    return column[k - 1] < PICK_COLUMNS;
}

static void picks_start(struct picks *p, const int32_t *column, size_t k,
                        const struct bp_grid *grid, float parts) {
    struct pick *step = NULL;
    p->k = k;
    p->steps = 0;
    p->with_lo = 0;
    for (size_t j = 0; j < k; j++) {
        int32_t from = column[j] / 32 * 32;
        if (step == NULL || step->from != from || step->count == 16) {
            step = &p->step[p->steps++];
            memset(step, 0, sizeof *step);
            step->from = from;
        }
        step->index[step->count++] = column[j] - from;
    }
    for (size_t j = 0; j < k + 64; j++) {
        p->lo[j] = j < k ? grid[j].lo : p->lo[j - k];
        p->by[j] = j < k ? grid[j].inv_step * parts : p->by[j - k];
        p->with_lo |= p->lo[j] != 0.0f;
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

BP_INLINE void round_picked(const float *g, size_t n, size_t g_stride, const struct picks *p,
                            float *picked, const uint8_t *random,
                            const struct bp_rounding *rounding, int wide, int with_lo,
                            uint8_t *codes) {
    const struct rounder r = rounder_of(rounding);
    size_t k = p->k, at_once = k < PICK_FLOATS ? PICK_FLOATS / k : 1, bytes = wide ? 2 : 1;
    int all = k == g_stride; /* nothing to pick */
    for (size_t row = 0; row < n; row += at_once) {
        size_t rows = bp_min_size(at_once, n - row), channel = 0, i = 0;
        const float *flat = all ? g : picked;
        float *to = picked;
        for (size_t q = 0; q < rows; q++, g += g_stride)
            for (size_t v = 0; !all && v < p->steps; v++)
                to = pick(&p->step[v], g, g_stride, to);
        for (; i + 64 <= rows * k; i += 64) {
            __m512 t[4], los[4], bys[4];
            if (with_lo)
                load_64(p->lo + channel, los);
            load_64(p->by + channel, bys);
            scale_64(flat + i, with_lo ? los : NULL, bys, t);
            _mm512_storeu_si512(codes + i, round_64(t, random + bytes * i, wide, &r));
            channel = wrapped(channel + 64, k);
        }
        for (; i < rows * k; i += 16) {
            __mmask16 m = mask_16(rows * k - i);
            __m512 t =
                _mm512_sub_ps(_mm512_maskz_loadu_ps(m, flat + i), _mm512_loadu_ps(p->lo + channel));
            t = _mm512_mul_ps(t, _mm512_loadu_ps(p->by + channel));
            _mm_mask_storeu_epi8(codes + i, m, round_16(t, random + bytes * i, m, wide, &r));
            channel = wrapped(channel + 16, k);
        }
        codes += rows * k;
        random += bytes * rows * k;
    }
}

static void round_rising(const float *g, size_t n, size_t g_stride, const int32_t *column, size_t k,
                         const uint8_t *random, const struct bp_rounding *rounding,
                         const struct bp_grid *grid, uint8_t *codes) {
    struct picks p;
    float picked[PICK_FLOATS + PICK_COLUMNS + 16];
    picks_start(&p, column, k, grid, bp_rounding_parts(rounding));
    if (rounding->wide)
        round_picked(g, n, g_stride, &p, picked, random, rounding, 1, 1, codes);
    else if (p.with_lo)
        round_picked(g, n, g_stride, &p, picked, random, rounding, 0, 1, codes);
    else
        round_picked(g, n, g_stride, &p, picked, random, rounding, 0, 0, codes);
}

/* 64 columns of n rows of k, to their places in the codes; lo NULL: zeros. */
BP_INLINE void round_block(const float *g, size_t n, size_t k, const __m512 lo[4],
                           const __m512 by[4], const uint8_t *random, int wide,
                           const struct rounder *r, uint8_t *codes) {
    for (size_t at = 0; at < n * k; at += k) {
        __m512 t[4];
        scale_64(g + at, lo, by, t);
        _mm512_storeu_si512(codes + at, round_64(t, random + (wide ? 2 : 1) * at, wide, r));
    }
}

/* All columns of a row, in multiples of 64, whose grids stay in registers. */
BP_INLINE void round_all(const float *g, size_t n, size_t k, const uint8_t *random,
                         const struct bp_rounding *rounding, int wide, const struct bp_grid *grid,
                         uint8_t *codes) {
    const struct rounder r = rounder_of(rounding);
    for (size_t j = 0; j < k; j += 64) {
        __m512 lo[4], by[4];
        __mmask16 some = 0;
        for (size_t v = 0; v < 4; v++) {
            load_grids(grid + j + 16 * v, 16, &lo[v], &by[v]);
            by[v] = _mm512_mul_ps(by[v], _mm512_set1_ps(r.parts));
            some |= _mm512_cmp_ps_mask(lo[v], _mm512_setzero_ps(), _CMP_NEQ_UQ);
        }
        const uint8_t *of_block = random + (wide ? 2 : 1) * j;
        if (some)
            round_block(g + j, n, k, lo, by, of_block, wide, &r, codes + j);
        else
            round_block(g + j, n, k, NULL, by, of_block, wide, &r, codes + j);
    }
}

void bp_round_columns_avx512(const float *g, size_t n, size_t g_stride, const int32_t *column,
                             size_t k, const uint8_t *random, const struct bp_rounding *rounding,
                             const struct bp_grid *grid, uint8_t *codes) {
    const int rising = can_pick(column, k);
    if (rising && k == g_stride && k % 64 == 0 && rounding->wide)
        round_all(g, n, k, random, rounding, 1, grid, codes);
    else if (rising && k == g_stride && k % 64 == 0)
        round_all(g, n, k, random, rounding, 0, grid, codes);
    else if (rising)
        round_rising(g, n, g_stride, column, k, random, rounding, grid, codes);
    else
        round_grids(g, n, g_stride, column, k, random, rounding, rounding->wide != 0, grid, codes);
}

/* --- epilogue of the activation gradient ------------------------------------------------------ */
