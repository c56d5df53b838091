/* Normalisation and activation, AVX2: 8 channels a vector. The last vector of a row takes only its
 * `rest` channels; `full` is a constant. */
#include "kernels/x86/tier_avx2.h"

#include "base/bits.h"
#include "kernels/x86/vec_avx2.h"

/* --- sums ------------------------------------------------------------------------------------- */

#define SUM_ROWS 32768 /* per run of 32-bit sums, see sums_run */

BP_INLINE void add_i64(int64_t *to, __m256i v) {
    store_256(to, _mm256_add_epi64(load_256(to), v));
}

/* to[0 .. 7] += the 8 lanes. */
BP_INLINE void add_i64_from_i32(int64_t *to, __m256i v) {
    add_i64(to, _mm256_cvtepi32_epi64(_mm256_castsi256_si128(v)));
    add_i64(to + 4, _mm256_cvtepi32_epi64(_mm256_extracti128_si256(v, 1)));
}

/* to[0 .. 7] += the 8 lanes without sign, times 2^shift. */
BP_INLINE void add_i64_from_u32(int64_t *to, __m256i v, int shift) {
    __m256i low = _mm256_cvtepu32_epi64(_mm256_castsi256_si128(v));
    __m256i high = _mm256_cvtepu32_epi64(_mm256_extracti128_si256(v, 1));
    add_i64(to, _mm256_slli_epi64(low, shift));
    add_i64(to + 4, _mm256_slli_epi64(high, shift));
}

/* Sums of 16 channels over pairs of rows. Rows a and b interleaved make pairs whose sum and sum of
 * squares are one multiply-add instruction each. A pair's squares fit 32 bits without sign, their
 * sum over the rows does not: the upper 16 bits of each pair are summed beside the whole (modulo
 * 2^32), and the lower ones, below 2^16 * SUM_ROWS / 2, follow from the difference. */
struct pair_sums {
    __m256i total[2], whole[2], upper[2];
};

BP_INLINE void clear_pairs(struct pair_sums *s) {
    for (int h = 0; h < 2; h++)
        s->total[h] = s->whole[h] = s->upper[h] = _mm256_setzero_si256();
}

BP_INLINE void add_pair(struct pair_sums *s, int h, __m256i pair) {
    __m256i squares = _mm256_madd_epi16(pair, pair);
    s->total[h] = _mm256_add_epi32(s->total[h], _mm256_madd_epi16(pair, _mm256_set1_epi16(1)));
    s->whole[h] = _mm256_add_epi32(s->whole[h], squares);
    s->upper[h] = _mm256_add_epi32(s->upper[h], _mm256_srli_epi32(squares, 16));
}

BP_INLINE void flush_pairs(const struct pair_sums *s, int64_t *sum, int64_t *sum_squares) {
    /* Channels 0-3, 8-11 are in the first half, 4-7, 12-15 in the second. */
    __m256i t[2] = {_mm256_permute2x128_si256(s->total[0], s->total[1], 0x20),
                    _mm256_permute2x128_si256(s->total[0], s->total[1], 0x31)};
    __m256i w[2] = {_mm256_permute2x128_si256(s->whole[0], s->whole[1], 0x20),
                    _mm256_permute2x128_si256(s->whole[0], s->whole[1], 0x31)};
    __m256i u[2] = {_mm256_permute2x128_si256(s->upper[0], s->upper[1], 0x20),
                    _mm256_permute2x128_si256(s->upper[0], s->upper[1], 0x31)};
    for (int h = 0; h < 2; h++) {
        __m256i lower = _mm256_sub_epi32(w[h], _mm256_slli_epi32(u[h], 16));
        add_i64_from_i32(sum + 8 * h, t[h]);
        add_i64_from_u32(sum_squares + 8 * h, lower, 0);
        add_i64_from_u32(sum_squares + 8 * h, u[h], 16);
    }
}

/* 16 channels, up to SUM_ROWS rows; with `half` (a constant) 1 of the elements >= 0 only, with -1
 * of those < 0. */
BP_INLINE void sums_run(const int16_t *y, size_t n, size_t c, int half, int64_t *sum,
                        int64_t *sum_squares) {
    const __m256i zero = _mm256_setzero_si256();
    struct pair_sums s;
    clear_pairs(&s);
    for (size_t p = 0; p < n; p += 2, y += 2 * c) {
        __m256i a = load_256(y), b = p + 1 < n ? load_256(y + c) : zero;
        if (half != 0) {
            a = half > 0 ? _mm256_max_epi16(a, zero) : _mm256_min_epi16(a, zero);
            b = half > 0 ? _mm256_max_epi16(b, zero) : _mm256_min_epi16(b, zero);
        }
        add_pair(&s, 0, _mm256_unpacklo_epi16(a, b));
        add_pair(&s, 1, _mm256_unpackhi_epi16(a, b));
    }
    flush_pairs(&s, sum, sum_squares);
}

void bp_sums_i16_avx2(const int16_t *y, size_t n, size_t c, int limit, int64_t *sum,
                      int64_t *sum_squares) {
    (void)limit;
    size_t j = 0;
    for (; j + 16 <= c; j += 16)
        for (size_t p = 0; p < n; p += SUM_ROWS)
            sums_run(y + p * c + j, bp_min_size(SUM_ROWS, n - p), c, 0, sum + j, sum_squares + j);
    for (size_t p = 0; p < n && j < c; p++)
        for (size_t i = j; i < c; i++) {
            int32_t v = y[p * c + i];
            sum[i] += v;
            sum_squares[i] += v * v;
        }
}

/* One half after the other: the registers do not hold the sums of both. */
void bp_half_sums_i16_avx2(const int16_t *y, size_t n, size_t c, int limit, int64_t *sums) {
    (void)limit;
    size_t j = 0;
    for (; j + 16 <= c; j += 16)
        for (size_t p = 0; p < n; p += SUM_ROWS) {
            const int16_t *from = y + p * c + j;
            size_t rows = bp_min_size(SUM_ROWS, n - p);
            sums_run(from, rows, c, 1, sums + j, sums + c + j);
            sums_run(from, rows, c, -1, sums + 2 * c + j, sums + 3 * c + j);
        }
    for (size_t p = 0; p < n && j < c; p++)
        for (size_t i = j; i < c; i++) {
            int32_t v = y[p * c + i];
            size_t half = v < 0 ? 2 * c : 0;
            sums[half + i] += v;
            sums[half + c + i] += v * v;
        }
}

/* Channels from j on. The square of a float is exact in double: fused or not is the same. */
BP_INLINE void sums_block(const void *y, enum value_type type, size_t n, size_t c, size_t j,
                          int full, size_t rest, double *sum, double *sum_squares) {
    double s[8] = {0}, q[8] = {0};
    if (!full) {
        memcpy(s, sum, rest * sizeof *s);
        memcpy(q, sum_squares, rest * sizeof *q);
    }
    const double *from_s = full ? sum : s, *from_q = full ? sum_squares : q;
    __m256d s0 = _mm256_loadu_pd(from_s), s1 = _mm256_loadu_pd(from_s + 4);
    __m256d q0 = _mm256_loadu_pd(from_q), q1 = _mm256_loadu_pd(from_q + 4);
    for (size_t p = 0; p < n; p++) {
        __m256 v = load_y(y, p * c + j, type, full, rest);
        __m256d v0 = _mm256_cvtps_pd(_mm256_castps256_ps128(v));
        __m256d v1 = _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1));
        s0 = _mm256_add_pd(s0, v0);
        s1 = _mm256_add_pd(s1, v1);
        q0 = _mm256_fmadd_pd(v0, v0, q0);
        q1 = _mm256_fmadd_pd(v1, v1, q1);
    }
    double *to_s = full ? sum : s, *to_q = full ? sum_squares : q;
    _mm256_storeu_pd(to_s, s0);
    _mm256_storeu_pd(to_s + 4, s1);
    _mm256_storeu_pd(to_q, q0);
    _mm256_storeu_pd(to_q + 4, q1);
    if (!full) {
        memcpy(sum, s, rest * sizeof *s);
        memcpy(sum_squares, q, rest * sizeof *q);
    }
}

BP_INLINE void sums(const void *y, enum value_type type, size_t n, size_t c, double *sum,
                    double *sum_squares) {
    size_t j = 0;
    for (; j + 8 <= c; j += 8)
        sums_block(y, type, n, c, j, 1, 8, sum + j, sum_squares + j);
    if (j < c)
        sums_block(y, type, n, c, j, 0, c - j, sum + j, sum_squares + j);
}

void bp_sums_f32_avx2(const float *y, size_t n, size_t c, double *sum, double *sum_squares) {
    sums(y, VALUE_F32, n, c, sum, sum_squares);
}

/* --- batch norm and PReLU --------------------------------------------------------------------- */

/* out, a constant: of residual and z. */
BP_INLINE void affine_8(const void *y, size_t at, enum value_type type, size_t j, int full,
                        size_t rest, const struct bp_affine_rows *a, const void *residual,
                        enum value_type out, int stream, void *z) {
    __m256 v = _mm256_mul_ps(load_y(y, at, type, full, rest), load_ps(a->scale + j, full, rest));
    v = _mm256_add_ps(v, load_ps(a->shift + j, full, rest));
    if (a->slope != NULL) {
        __m256 negative = _mm256_cmp_ps(v, _mm256_setzero_ps(), _CMP_LT_OQ);
        v = _mm256_blendv_ps(v, _mm256_mul_ps(v, load_ps(a->slope + j, full, rest)), negative);
    }
    if (residual != NULL)
        v = _mm256_add_ps(v, load_y(residual, at, out, full, rest));
    if (stream)
        _mm256_stream_ps((float *)z + at, v);
    else
        store_y(z, at, out, full, rest, v);
}

BP_INLINE void affine_rows(const void *y, enum value_type type, size_t n, size_t c,
                           const struct bp_affine_rows *a, const void *residual,
                           enum value_type out, int stream, void *z) {
    for (size_t p = 0; p < n; p++) {
        size_t j = 0;
        for (; j + 8 <= c; j += 8)
            affine_8(y, p * c + j, type, j, 1, 8, a, residual, out, stream, z);
        if (j < c)
            affine_8(y, p * c + j, type, j, 0, c - j, a, residual, out, 0, z);
    }
}

BP_INLINE void affine_act(const void *y, enum value_type type, size_t n, size_t c,
                          const struct bp_affine_rows *a, const float *residual, int stream,
                          float *z, double *sum, double *sum_squares) {
    if (stream && sum == NULL && c % 8 == 0 && (uintptr_t)z % 32 == 0) {
        affine_rows(y, type, n, c, a, residual, VALUE_F32, 1, z);
        _mm_sfence();
        return;
    }
    affine_rows(y, type, n, c, a, residual, VALUE_F32, 0, z);
    if (sum != NULL)
        bp_sums_f32_avx2(z, n, c, sum, sum_squares);
}

void bp_affine_act_i16_avx2(const int16_t *y, size_t n, size_t c, const struct bp_affine_rows *a,
                            const float *residual, int stream, float *z, double *sum,
                            double *sum_squares) {
    affine_act(y, VALUE_I16, n, c, a, residual, stream, z, sum, sum_squares);
}

void bp_affine_act_f32_avx2(const float *y, size_t n, size_t c, const struct bp_affine_rows *a,
                            const float *residual, int stream, float *z, double *sum,
                            double *sum_squares) {
    affine_act(y, VALUE_F32, n, c, a, residual, stream, z, sum, sum_squares);
}

void bp_affine_act_f16_avx2(const void *y, enum value_type type, size_t n, size_t c,
                            const struct bp_affine_rows *a, const uint16_t *residual, uint16_t *z,
                            double *sum, double *sum_squares) {
    if (type == VALUE_I16)
        affine_rows(y, VALUE_I16, n, c, a, residual, VALUE_F16, 0, z);
    else if (type == VALUE_F16)
        affine_rows(y, VALUE_F16, n, c, a, residual, VALUE_F16, 0, z);
    else
        affine_rows(y, VALUE_F32, n, c, a, residual, VALUE_F16, 0, z);
    if (sum != NULL)
        sums(z, VALUE_F16, n, c, sum, sum_squares);
}
