/* The gradient quantizer, AVX2: ranges, stochastic rounding. */
#include "kernels/x86/tier_avx2.h"

#include "base/bits.h"
#include "kernels/x86/columns_x86.h"
#include "kernels/x86/vec_avx2.h"

/* --- ranges ----------------------------------------------------------------------------------- */

/* 8 * vectors columns from column j on; only the last vector of a row is not full. */
BP_INLINE void range_block(int vectors, const float *g, size_t n, size_t k, size_t j, int full,
                           size_t rest, struct bp_columns to) {
    struct range_256 range[4];
    for (int q = 0; q < vectors; q++)
        range[q] = range_load(&to, j + 8 * (size_t)q, full, rest);
    for (size_t i = 0; i < n; i++)
        for (int q = 0; q < vectors; q++)
            range_add(&range[q], load_ps(g + i * k + j + 8 * (size_t)q, full, rest));
    for (int q = 0; q < vectors; q++)
        range_store(&to, j + 8 * (size_t)q, full, rest, &range[q]);
}

void bp_range_columns_avx2(const float *g, size_t n, size_t k, struct bp_columns to) {
    size_t j = 0;
    for (; j + 32 <= k; j += 32)
        range_block(4, g, n, k, j, 1, 8, to);
    for (; j < k; j += 8)
        range_block(1, g, n, k, j, 0, k - j, to);
}

/* --- stochastic rounding ---------------------------------------------------------------------- */

/* u of 8 elements. (integer + 0.5) / 2^bits is exact, fused or not. */
BP_INLINE __m256 fractions_8(const uint8_t *random, int wide) {
    const float step = wide ? 1.0f / 65536.0f : 1.0f / 256.0f;
    __m256i v;
    if (wide)
        v = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)random));
    else
        v = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)random));
    return _mm256_fmadd_ps(_mm256_cvtepi32_ps(v), _mm256_set1_ps(step),
                           _mm256_set1_ps(0.5f * step));
}

/* Of the first `count` of up to 8. */
BP_INLINE __m256 fractions_few(const uint8_t *random, int wide, size_t count) {
    uint8_t part[16] = {0};
    memcpy(part, random, (wide ? 2 : 1) * count);
    return fractions_8(part, wide);
}

struct bounds {
    __m256 code_min, code_max;
};

/* The codes of 8 elements, of which `count` are written. Clamping before the floor is the same, as
 * the bounds are integers; a maximum with NaN is its second operand. */
BP_INLINE void round_8(__m256 g, __m256 lo, __m256 inv_step, __m256 u, const struct bounds *bounds,
                       size_t count, uint8_t *codes) {
    const __m256i low_bytes =
        _mm256_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 4, 8, 12,
                         -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    __m256 t = _mm256_add_ps(_mm256_mul_ps(_mm256_sub_ps(g, lo), inv_step), u);
    t = _mm256_min_ps(_mm256_max_ps(t, bounds->code_min), bounds->code_max);
    __m256i code = _mm256_cvttps_epi32(_mm256_floor_ps(t));
    code = _mm256_shuffle_epi8(code, low_bytes);
    __m128i eight =
        _mm_unpacklo_epi32(_mm256_castsi256_si128(code), _mm256_extracti128_si256(code, 1));
    if (count >= 8) {
        _mm_storel_epi64((__m128i *)(void *)codes, eight);
    } else {
        uint8_t part[8];
        _mm_storel_epi64((__m128i *)(void *)part, eight);
        memcpy(codes, part, count);
    }
}

BP_INLINE struct bounds bounds_of(const struct bp_rounding *rounding) {
    struct bounds b = {_mm256_set1_ps((float)rounding->code_min),
                       _mm256_set1_ps((float)rounding->code_max)};
    return b;
}

BP_INLINE void round_one_grid(const float *g, size_t n, const uint8_t *random,
                              const struct bp_rounding *rounding, int wide, struct bp_grid grid,
                              uint8_t *codes) {
    const __m256 lo = _mm256_set1_ps(grid.lo), inv_step = _mm256_set1_ps(grid.inv_step);
    const struct bounds bounds = bounds_of(rounding);
    size_t bytes = wide ? 2 : 1, i = 0;
    for (; i + 8 <= n; i += 8)
        round_8(_mm256_loadu_ps(g + i), lo, inv_step, fractions_8(random + bytes * i, wide),
                &bounds, 8, codes + i);
    if (i < n)
        round_8(load_ps(g + i, 0, n - i), lo, inv_step,
                fractions_few(random + bytes * i, wide, n - i), &bounds, n - i, codes + i);
}

void bp_round_group_avx2(const float *g, size_t n, const uint8_t *random,
                         const struct bp_rounding *rounding, struct bp_grid grid, uint8_t *codes) {
    if (rounding->wide)
        round_one_grid(g, n, random, rounding, 1, grid, codes);
    else
        round_one_grid(g, n, random, rounding, 0, grid, codes);
}

/* Splits 8 grids into lo and inv_step. */
BP_INLINE void load_grids(const struct bp_grid *grid, __m256 *lo, __m256 *inv_step) {
    __m256 a = _mm256_loadu_ps(&grid->lo), b = _mm256_loadu_ps(&grid->lo + 8);
    __m256i even = _mm256_castps_si256(_mm256_shuffle_ps(a, b, 0x88));
    __m256i odd = _mm256_castps_si256(_mm256_shuffle_ps(a, b, 0xdd));
    *lo = _mm256_castsi256_ps(_mm256_permute4x64_epi64(even, 0xd8));
    *inv_step = _mm256_castsi256_ps(_mm256_permute4x64_epi64(odd, 0xd8));
}

/* Up to 7 elements: the same on copies. */
static void round_few(const float *g, const int32_t *column, const struct bp_grid *grid, __m256 u,
                      const struct bounds *bounds, size_t count, uint8_t *codes) {
    float v[8] = {0};
    struct bp_grid part[8] = {{0, 0}};
    __m256 lo, inv_step;
    for (size_t e = 0; e < count; e++) {
        v[e] = g[column[e]];
        part[e] = grid[e];
    }
    load_grids(part, &lo, &inv_step);
    round_8(_mm256_loadu_ps(v), lo, inv_step, u, bounds, count, codes);
}

BP_INLINE void round_grids(const float *g, size_t n, size_t g_stride, const int32_t *column,
                           size_t k, const uint8_t *random, const struct bp_rounding *rounding,
                           int wide, int run, const struct bp_grid *grid, uint8_t *codes) {
    const struct bounds bounds = bounds_of(rounding);
    size_t bytes = wide ? 2 : 1;
    for (size_t i = 0; i < n; i++, g += g_stride, codes += k, random += bytes * k) {
        size_t j = 0;
        for (; j + 8 <= k; j += 8) {
            __m256 lo, inv_step;
            __m256 v = run ? _mm256_loadu_ps(g + column[0] + j) : load_columns_8(g, column + j);
            load_grids(grid + j, &lo, &inv_step);
            round_8(v, lo, inv_step, fractions_8(random + bytes * j, wide), &bounds, 8, codes + j);
        }
        if (j < k)
            round_few(g, column + j, grid + j, fractions_few(random + bytes * j, wide, k - j),
                      &bounds, k - j, codes + j);
    }
}

void bp_round_columns_avx2(const float *g, size_t n, size_t g_stride, const int32_t *column,
                           size_t k, const uint8_t *random, const struct bp_rounding *rounding,
                           const struct bp_grid *grid, uint8_t *codes) {
    int run = is_run(column, k);
    if (rounding->wide)
        round_grids(g, n, g_stride, column, k, random, rounding, 1, run, grid, codes);
    else if (run)
        round_grids(g, n, g_stride, column, k, random, rounding, 0, 1, grid, codes);
    else
        round_grids(g, n, g_stride, column, k, random, rounding, 0, 0, grid, codes);
}
