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

#define BATCH_BLOCKS 16
#define BATCH_BYTES  (16 * BATCH_BLOCKS)
#define ROUNDS       10

/* The bytes of BATCH_BLOCKS blocks of a stream from block `index` on: Philox4x32. A lane of 64 bits
 * holds one 32-bit number of one block; its high half may hold anything, since the multiplication
 * reads the low half only. */
static void random_batch(const struct bp_stream *stream, uint64_t index,
                         uint8_t bytes[BATCH_BYTES]) {
    const __m256i m0 = _mm256_set1_epi64x(0xD2511F53), m1 = _mm256_set1_epi64x(0xCD9E8D57);
    const __m256i order = _mm256_setr_epi64x(0, 2, 1, 3); /* see the unpacking below */
    for (int batch = 0; batch < 2; batch++) {
        __m256i c0[2], c1[2], c2[2], c3[2];
        __m256i k0 = _mm256_set1_epi64x(stream->key[0]), k1 = _mm256_set1_epi64x(stream->key[1]);
        for (int h = 0; h < 2; h++) {
            long long block = (long long)index + 8 * batch + 4 * h;
            c0[h] = _mm256_add_epi64(_mm256_set1_epi64x(block), order);
            c1[h] = _mm256_srli_epi64(c0[h], 32);
            c2[h] = _mm256_set1_epi64x(stream->step);
            c3[h] = _mm256_set1_epi64x(stream->purpose_layer);
        }
        for (int round = 0; round < ROUNDS; round++) {
            for (int h = 0; h < 2; h++) {
                __m256i p0 = _mm256_mul_epu32(m0, c0[h]), p1 = _mm256_mul_epu32(m1, c2[h]);
                c0[h] = _mm256_xor_si256(_mm256_srli_epi64(p1, 32), _mm256_xor_si256(c1[h], k0));
                c2[h] = _mm256_xor_si256(_mm256_srli_epi64(p0, 32), _mm256_xor_si256(c3[h], k1));
                c1[h] = p1;
                c3[h] = p0;
            }
            k0 = _mm256_add_epi32(k0, _mm256_set1_epi64x(0x9E3779B9));
            k1 = _mm256_add_epi32(k1, _mm256_set1_epi64x(0xBB67AE85));
        }
        for (int h = 0; h < 2; h++) {
            __m256i low = _mm256_blend_epi32(c0[h], _mm256_slli_epi64(c1[h], 32), 0xaa);
            __m256i high = _mm256_blend_epi32(c2[h], _mm256_slli_epi64(c3[h], 32), 0xaa);
            /* The blocks of lanes 0 and 2, then of lanes 1 and 3. */
            uint8_t *to = bytes + 128 * batch + 64 * h;
            store_256(to, _mm256_unpacklo_epi64(low, high));
            store_256(to + 32, _mm256_unpackhi_epi64(low, high));
        }
    }
}

/* A stream's random bytes, batch by batch. */
struct fractions {
    const struct bp_stream *stream;
    uint64_t block;                  /* first of the batch */
    size_t at, count;                /* the next element and the end, within the batch */
    uint8_t bytes[BATCH_BYTES + 32]; /* loads may pass the end */
};

BP_INLINE void fractions_start(struct fractions *f, const struct bp_rounding *rounding,
                               uint64_t first, int wide) {
    f->stream = &rounding->stream;
    f->block = first / (wide ? 8 : 16);
    f->count = wide ? BATCH_BYTES / 2 : BATCH_BYTES;
    f->at = first % (wide ? 8 : 16);
    random_batch(f->stream, f->block, f->bytes);
}

/* How many of the `wanted` next elements the batch holds: at least 1. */
BP_INLINE size_t fractions_ready(struct fractions *f, size_t wanted) {
    if (f->at == f->count) {
        f->block += BATCH_BLOCKS;
        f->at = 0;
        random_batch(f->stream, f->block, f->bytes);
    }
    return bp_min_size(wanted, f->count - f->at);
}

/* u of the 8 elements from `at` on. (integer + 0.5) / 2^bits is exact, fused or not. */
BP_INLINE __m256 fractions_load(const struct fractions *f, size_t at, int wide) {
    const float step = wide ? 1.0f / 65536.0f : 1.0f / 256.0f;
    __m256i v;
    if (wide)
        v = _mm256_cvtepu16_epi32(
            _mm_loadu_si128((const __m128i *)(const void *)(f->bytes + 2 * at)));
    else
        v = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(f->bytes + at)));
    return _mm256_fmadd_ps(_mm256_cvtepi32_ps(v), _mm256_set1_ps(step),
                           _mm256_set1_ps(0.5f * step));
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

BP_INLINE void round_one_grid(const float *g, size_t n, uint64_t first,
                              const struct bp_rounding *rounding, int wide, struct bp_grid grid,
                              uint8_t *codes) {
    const __m256 lo = _mm256_set1_ps(grid.lo), inv_step = _mm256_set1_ps(grid.inv_step);
    const struct bounds bounds = bounds_of(rounding);
    struct fractions f;
    fractions_start(&f, rounding, first, wide);
    for (size_t i = 0; i < n;) {
        size_t end = i + fractions_ready(&f, n - i);
        for (; i + 8 <= end; i += 8, f.at += 8)
            round_8(_mm256_loadu_ps(g + i), lo, inv_step, fractions_load(&f, f.at, wide), &bounds,
                    8, codes + i);
        if (i < end) {
            round_8(load_ps(g + i, 0, end - i), lo, inv_step, fractions_load(&f, f.at, wide),
                    &bounds, end - i, codes + i);
            f.at += end - i;
            i = end;
        }
    }
}

void bp_round_group_avx2(const float *g, size_t n, uint64_t first,
                         const struct bp_rounding *rounding, struct bp_grid grid, uint8_t *codes) {
    if (rounding->wide)
        round_one_grid(g, n, first, rounding, 1, grid, codes);
    else
        round_one_grid(g, n, first, rounding, 0, grid, codes);
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
                           size_t k, uint64_t first, const struct bp_rounding *rounding, int wide,
                           int run, const struct bp_grid *grid, uint8_t *codes) {
    const struct bounds bounds = bounds_of(rounding);
    struct fractions f;
    fractions_start(&f, rounding, first, wide);
    for (size_t i = 0; i < n; i++, g += g_stride, codes += k)
        for (size_t j = 0; j < k;) {
            size_t count = fractions_ready(&f, bp_min_size(8, k - j));
            __m256 u = fractions_load(&f, f.at, wide);
            if (count == 8) {
                __m256 lo, inv_step;
                __m256 v = run ? _mm256_loadu_ps(g + column[0] + j) : load_columns_8(g, column + j);
                load_grids(grid + j, &lo, &inv_step);
                round_8(v, lo, inv_step, u, &bounds, 8, codes + j);
            } else {
                round_few(g, column + j, grid + j, u, &bounds, count, codes + j);
            }
            f.at += count;
            j += count;
        }
}

void bp_round_columns_avx2(const float *g, size_t n, size_t g_stride, const int32_t *column,
                           size_t k, uint64_t first, const struct bp_rounding *rounding,
                           const struct bp_grid *grid, uint8_t *codes) {
    int run = is_run(column, k);
    if (rounding->wide)
        round_grids(g, n, g_stride, column, k, first, rounding, 1, run, grid, codes);
    else if (run)
        round_grids(g, n, g_stride, column, k, first, rounding, 0, 1, grid, codes);
    else
        round_grids(g, n, g_stride, column, k, first, rounding, 0, 0, grid, codes);
}

void bp_random_blocks_avx2(const struct bp_stream *stream, uint64_t first, size_t n, uint8_t *out) {
    uint8_t bytes[BATCH_BYTES];
    for (size_t i = 0; i < n; i += BATCH_BLOCKS) {
        random_batch(stream, first + i, bytes);
        memcpy(out + 16 * i, bytes, 16 * bp_min_size(BATCH_BLOCKS, n - i));
    }
}
