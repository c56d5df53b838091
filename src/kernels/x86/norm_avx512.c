/* Normalisation and activation, AVX-512: 16 channels a vector (the sums of int16: 32). The last
 * vector of a row is masked; elsewhere `m` is a constant of all ones, which the compiler drops. */
#include "kernels/x86/tier_avx512.h"

#include "base/bits.h"
#include "kernels/x86/fetch_x86.h"
#include "kernels/x86/vec_avx512.h"

/* --- sums ------------------------------------------------------------------------------------- */

#define SUM_ROWS   32768 /* per run of 32-bit sums, see struct pair_sums */
#define LEAST_ROWS 64    /* of a bounded run */

BP_INLINE void add_i64(int64_t *to, __mmask8 m, __m512i v) {
    _mm512_mask_storeu_epi64(to, m, _mm512_add_epi64(_mm512_maskz_loadu_epi64(m, to), v));
}

/* to[0 .. 15] += the 16 lanes, signed or not. */
BP_INLINE void add_i64_from_i32(int64_t *to, __mmask16 m, __m512i v, int is_signed) {
    __m256i low = _mm512_castsi512_si256(v), high = _mm512_extracti64x4_epi64(v, 1);
    add_i64(to, (__mmask8)m, is_signed ? _mm512_cvtepi32_epi64(low) : _mm512_cvtepu32_epi64(low));
    add_i64(to + 8, (__mmask8)(m >> 8),
            is_signed ? _mm512_cvtepi32_epi64(high) : _mm512_cvtepu32_epi64(high));
}

/* Sums of 32 channels over pairs of rows. Rows a and b interleaved make pairs whose sum and sum of
 * squares are one VNNI or multiply-add instruction each. Where the rows of a run are few enough for
 * their squares to fit 32 bits without sign, that is all (`bounded`, a constant). Else a pair's
 * squares fit, their sum over the rows does not: the upper 16 bits of each pair are summed beside
 * the whole (modulo 2^32), and the lower ones, below 2^16 * SUM_ROWS / 2, follow from the
 * difference. */
struct pair_sums {
    __m512i total[2], whole[2], upper[2];
};

BP_INLINE void clear_pairs(struct pair_sums *s) {
    for (int h = 0; h < 2; h++)
        s->total[h] = s->whole[h] = s->upper[h] = _mm512_setzero_si512();
}

BP_INLINE void add_pair(struct pair_sums *s, int h, int bounded, __m512i pair) {
    s->total[h] = _mm512_dpwssd_epi32(s->total[h], pair, _mm512_set1_epi16(1));
    if (bounded) {
        s->whole[h] = _mm512_dpwssd_epi32(s->whole[h], pair, pair);
        return;
    }
    __m512i squares = _mm512_madd_epi16(pair, pair);
    s->whole[h] = _mm512_add_epi32(s->whole[h], squares);
    s->upper[h] = _mm512_add_epi32(s->upper[h], _mm512_srli_epi32(squares, 16));
}

BP_INLINE void flush_pairs(const struct pair_sums *s, int bounded, __mmask32 m, int64_t *sum,
                           int64_t *sum_squares) {
    /* Channels 0-3, 8-11, 16-19, 24-27 are in the first half, the others in the second. */
    const __m512i first = _mm512_set_epi32(23, 22, 21, 20, 7, 6, 5, 4, 19, 18, 17, 16, 3, 2, 1, 0);
    const __m512i second = _mm512_add_epi32(first, _mm512_set1_epi32(8));
    for (int h = 0; h < 2; h++) {
        __m512i order = h == 0 ? first : second;
        __mmask16 half = (__mmask16)(m >> 16 * h);
        __m512i t = _mm512_permutex2var_epi32(s->total[0], order, s->total[1]);
        __m512i w = _mm512_permutex2var_epi32(s->whole[0], order, s->whole[1]);
        add_i64_from_i32(sum + 16 * h, half, t, 1);
        if (bounded) {
            add_i64_from_i32(sum_squares + 16 * h, half, w, 0);
            continue;
        }
        __m512i u = _mm512_permutex2var_epi32(s->upper[0], order, s->upper[1]);
        __m512i lower = _mm512_sub_epi32(w, _mm512_slli_epi32(u, 16));
        add_i64_from_i32(sum_squares + 16 * h, half, lower, 0);
        __m512i u0 = _mm512_cvtepu32_epi64(_mm512_castsi512_si256(u));
        __m512i u1 = _mm512_cvtepu32_epi64(_mm512_extracti64x4_epi64(u, 1));
        add_i64(sum_squares + 16 * h, (__mmask8)half, _mm512_slli_epi64(u0, 16));
        add_i64(sum_squares + 16 * h + 8, (__mmask8)(half >> 8), _mm512_slli_epi64(u1, 16));
    }
}

/* 32 channels, the rows of a run: sums [2][c], or with `halves` (a constant) [4][c]. */
BP_INLINE void sums_run(const int16_t *y, size_t n, size_t c, __mmask32 m, int bounded, int halves,
                        int64_t *const sums[4]) {
    const __m512i zero = _mm512_setzero_si512();
    struct pair_sums s, lower;
    clear_pairs(&s);
    clear_pairs(&lower);
    for (size_t p = 0; p < n; p += 2, y += 2 * c) {
        __m512i a = _mm512_maskz_loadu_epi16(m, y);
        __m512i b = _mm512_maskz_loadu_epi16(p + 1 < n ? m : 0, y + c);
        __m512i pair[2] = {_mm512_unpacklo_epi16(a, b), _mm512_unpackhi_epi16(a, b)};
        for (int h = 0; h < 2; h++) {
            add_pair(&s, h, bounded, halves ? _mm512_max_epi16(pair[h], zero) : pair[h]);
            if (halves)
                add_pair(&lower, h, bounded, _mm512_min_epi16(pair[h], zero));
        }
    }
    flush_pairs(&s, bounded, m, sums[0], sums[1]);
    if (halves)
        flush_pairs(&lower, bounded, m, sums[2], sums[3]);
}

/* All channels, in runs of rows. A run takes what 32 bits hold, if that is worth it. */
BP_INLINE void sums_all(const int16_t *y, size_t n, size_t c, int limit, int halves,
                        int64_t *const sums[4]) {
    size_t held = (size_t)(UINT32_MAX / ((uint32_t)limit * (uint32_t)limit));
    size_t rows = held < LEAST_ROWS ? SUM_ROWS : bp_min_size(held / 2 * 2, SUM_ROWS);
    for (size_t p = 0; p < n; p += rows)
        for (size_t j = 0; j < c; j += 32) {
            int64_t *const at[4] = {sums[0] + j, sums[1] + j, halves ? sums[2] + j : NULL,
                                    halves ? sums[3] + j : NULL};
            const int16_t *from = y + p * c + j;
            if (held < LEAST_ROWS)
                sums_run(from, bp_min_size(rows, n - p), c, mask_32(c - j), 0, halves, at);
            else
                sums_run(from, bp_min_size(rows, n - p), c, mask_32(c - j), 1, halves, at);
        }
}

void bp_sums_i16_avx512(const int16_t *y, size_t n, size_t c, int limit, int64_t *sum,
                        int64_t *sum_squares) {
    int64_t *const sums[4] = {sum, sum_squares};
    sums_all(y, n, c, limit, 0, sums);
}

void bp_half_sums_i16_avx512(const int16_t *y, size_t n, size_t c, int limit, int64_t *sums) {
    int64_t *const at[4] = {sums, sums + c, sums + 2 * c, sums + 3 * c};
    sums_all(y, n, c, limit, 1, at);
}

/* Sums of 16 channels in double. */
struct double_sums {
    __m512d s0, s1, q0, q1;
};

BP_INLINE void load_sums(struct double_sums *s, const double *sum, const double *sum_squares,
                         __mmask16 m) {
    s->s0 = _mm512_maskz_loadu_pd((__mmask8)m, sum);
    s->s1 = _mm512_maskz_loadu_pd((__mmask8)(m >> 8), sum + 8);
    s->q0 = _mm512_maskz_loadu_pd((__mmask8)m, sum_squares);
    s->q1 = _mm512_maskz_loadu_pd((__mmask8)(m >> 8), sum_squares + 8);
}

BP_INLINE void store_sums(const struct double_sums *s, double *sum, double *sum_squares,
                          __mmask16 m) {
    _mm512_mask_storeu_pd(sum, (__mmask8)m, s->s0);
    _mm512_mask_storeu_pd(sum + 8, (__mmask8)(m >> 8), s->s1);
    _mm512_mask_storeu_pd(sum_squares, (__mmask8)m, s->q0);
    _mm512_mask_storeu_pd(sum_squares + 8, (__mmask8)(m >> 8), s->q1);
}

/* The square of a float is exact in double: fused or not is the same. */
BP_INLINE void add_sums(struct double_sums *s, __m512 v) {
    __m512d v0 = _mm512_cvtps_pd(_mm512_castps512_ps256(v));
    __m512d v1 = _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1));
    s->s0 = _mm512_add_pd(s->s0, v0);
    s->s1 = _mm512_add_pd(s->s1, v1);
    s->q0 = _mm512_fmadd_pd(v0, v0, s->q0);
    s->q1 = _mm512_fmadd_pd(v1, v1, s->q1);
}

/* 16 * vectors channels: rows of up to 64 are read in one go. */
BP_INLINE void sums_f32_block(const float *y, size_t n, size_t c, int vectors, __mmask16 m,
                              double *sum, double *sum_squares) {
    struct double_sums sums[4];
    for (int q = 0; q < vectors; q++)
        load_sums(&sums[q], sum + 16 * q, sum_squares + 16 * q, m);
    for (size_t p = 0; p < n; p++, y += c)
        for (int q = 0; q < vectors; q++)
            add_sums(&sums[q], load_f32(y + 16 * q, m));
    for (int q = 0; q < vectors; q++)
        store_sums(&sums[q], sum + 16 * q, sum_squares + 16 * q, m);
}

void bp_sums_f32_avx512(const float *y, size_t n, size_t c, double *sum, double *sum_squares) {
    size_t j = 0;
    for (; j + 64 <= c; j += 64)
        sums_f32_block(y + j, n, c, 4, 0xffff, sum + j, sum_squares + j);
    for (; j < c; j += 16)
        sums_f32_block(y + j, n, c, 1, mask_16(c - j), sum + j, sum_squares + j);
}

/* --- batch norm and PReLU --------------------------------------------------------------------- */

struct affine_job {
    const void *y;
    size_t n, c;
    const struct bp_affine_rows *a;
    const void *residual;
    int stream;
    void *z;
    double *sum, *sum_squares;
};

/* What the rows behind these read, and where theirs of halves go. */
BP_INLINE void fetch_affine(const struct affine_job *job, enum value_type type, size_t done) {
    const size_t count = job->n * job->c;
    fetch_elements_behind(job->y, type, count, done, 16);
    if (job->residual != NULL)
        fetch_elements_behind(job->residual, VALUE_F16, count, done, 16);
    fetch_elements_behind(job->z, VALUE_F16, count, done, 16);
}

/* 16 * vectors channels from channel j on, all rows; the coefficients stay in registers. Without an
 * activation the slope is 1, which changes nothing. */
BP_INLINE void affine_block(const struct affine_job *job, enum value_type type, int with_sums,
                            int vectors, size_t j, __mmask16 m) {
    __m512 scale[4], shift[4], slope[4];
    struct double_sums sums[4];
    for (int q = 0; q < vectors; q++) {
        size_t at = j + 16 * (size_t)q;
        scale[q] = load_f32(job->a->scale + at, m);
        shift[q] = load_f32(job->a->shift + at, m);
        slope[q] = job->a->slope != NULL ? load_f32(job->a->slope + at, m) : _mm512_set1_ps(1.0f);
        if (with_sums)
            load_sums(&sums[q], job->sum + at, job->sum_squares + at, m);
    }
    for (size_t p = 0; p < job->n; p++)
        for (int q = 0; q < vectors; q++) {
            size_t at = p * job->c + j + 16 * (size_t)q;
            __m512 v = _mm512_mul_ps(load_y(job->y, at, type, m), scale[q]);
            v = _mm512_add_ps(v, shift[q]);
            __mmask16 negative = _mm512_cmp_ps_mask(v, _mm512_setzero_ps(), _CMP_LT_OQ);
            v = _mm512_mask_mul_ps(v, negative, v, slope[q]);
            if (job->residual != NULL)
                v = _mm512_add_ps(v, load_f32((const float *)job->residual + at, m));
            if (job->stream)
                _mm512_stream_ps((float *)job->z + at, v);
            else
                store_f32((float *)job->z + at, m, v);
            if (with_sums)
                add_sums(&sums[q], v);
        }
    for (int q = 0; q < vectors && with_sums; q++) {
        size_t at = j + 16 * (size_t)q;
        store_sums(&sums[q], job->sum + at, job->sum_squares + at, m);
    }
}

/* What 16 channels of halves keep in registers. */
struct halves_channels {
    __m512 scale, shift, slope;
    struct double_sums sums;
    __m256i last; /* halves that are not in the sums yet */
};

/* 16 outputs from element `at` on. */
BP_INLINE __m256i half_of(const struct affine_job *job, enum value_type type,
                          const struct halves_channels *k, size_t at, __mmask16 m) {
    __m512 v = _mm512_mul_ps(load_y(job->y, at, type, m), k->scale);
    v = _mm512_add_ps(v, k->shift);
    __mmask16 negative = _mm512_cmp_ps_mask(v, _mm512_setzero_ps(), _CMP_LT_OQ);
    v = _mm512_mask_mul_ps(v, negative, v, k->slope);
    if (job->residual != NULL)
        v = _mm512_add_ps(v, load_y(job->residual, at, VALUE_F16, m));
    return halved(v);
}

/* The same to halves, of which sums are one row behind: by then they are there, and the processor,
 * which holds so many instructions that wait, none of theirs. */
BP_INLINE void halves_block(const struct affine_job *job, enum value_type type, int with_sums,
                            int vectors, size_t j, __mmask16 m) {
    struct halves_channels k[2];
    for (int q = 0; q < vectors; q++) {
        size_t at = j + 16 * (size_t)q;
        k[q].scale = load_f32(job->a->scale + at, m);
        k[q].shift = load_f32(job->a->shift + at, m);
        k[q].slope = job->a->slope != NULL ? load_f32(job->a->slope + at, m) : _mm512_set1_ps(1.0f);
        k[q].last = _mm256_setzero_si256();
        if (with_sums)
            load_sums(&k[q].sums, job->sum + at, job->sum_squares + at, m);
    }
    for (size_t p = 0; p < job->n; p++)
        for (int q = 0; q < vectors; q++) {
            size_t at = p * job->c + j + 16 * (size_t)q;
            fetch_affine(job, type, j * job->n + 16 * ((size_t)vectors * p + (size_t)q));
            __m256i half = half_of(job, type, &k[q], at, m);
            store_u16((uint16_t *)job->z + at, m, half);
            if (with_sums)
                add_sums(&k[q].sums, of_halves(k[q].last));
            k[q].last = half;
        }
    for (int q = 0; q < vectors && with_sums; q++) {
        size_t at = j + 16 * (size_t)q;
        add_sums(&k[q].sums, of_halves(k[q].last));
        store_sums(&k[q].sums, job->sum + at, job->sum_squares + at, m);
    }
}

BP_INLINE void affine_blocks(const struct affine_job *job, enum value_type type, int with_sums) {
    size_t j = 0;
    for (; j + 64 <= job->c; j += 64)
        affine_block(job, type, with_sums, 4, j, 0xffff);
    for (; j + 32 <= job->c; j += 32)
        affine_block(job, type, with_sums, 2, j, 0xffff);
    for (; j < job->c; j += 16)
        affine_block(job, type, with_sums, 1, j, mask_16(job->c - j));
}

BP_INLINE void halves_blocks(const struct affine_job *job, enum value_type type, int with_sums) {
    size_t j = 0;
    for (; j + 32 <= job->c; j += 32)
        halves_block(job, type, with_sums, 2, j, 0xffff);
    for (; j < job->c; j += 16)
        halves_block(job, type, with_sums, 1, j, mask_16(job->c - j));
}

BP_INLINE void affine_act(struct affine_job *job, enum value_type type) {
    job->stream = job->stream && job->c % 16 == 0 && (uintptr_t)job->z % 64 == 0;
    if (job->sum != NULL)
        affine_blocks(job, type, 1);
    else
        affine_blocks(job, type, 0);
    if (job->stream)
        _mm_sfence();
}

BP_INLINE void to_halves(const struct affine_job *job, enum value_type type) {
    if (job->sum != NULL)
        halves_blocks(job, type, 1);
    else
        halves_blocks(job, type, 0);
}

void bp_affine_act_i16_avx512(const int16_t *y, size_t n, size_t c, const struct bp_affine_rows *a,
                              const float *residual, int stream, float *z, double *sum,
                              double *sum_squares) {
    struct affine_job job = {y, n, c, a, residual, stream, z, sum, sum_squares};
    affine_act(&job, VALUE_I16);
}

void bp_affine_act_f32_avx512(const float *y, size_t n, size_t c, const struct bp_affine_rows *a,
                              const float *residual, int stream, float *z, double *sum,
                              double *sum_squares) {
    struct affine_job job = {y, n, c, a, residual, stream, z, sum, sum_squares};
    affine_act(&job, VALUE_F32);
}

void bp_affine_act_f16_avx512(const void *y, enum value_type type, size_t n, size_t c,
                              const struct bp_affine_rows *a, const uint16_t *residual, uint16_t *z,
                              double *sum, double *sum_squares) {
    const struct affine_job job = {y, n, c, a, residual, 0, z, sum, sum_squares};
    if (type == VALUE_I16)
        to_halves(&job, VALUE_I16);
    else if (type == VALUE_F16)
        to_halves(&job, VALUE_F16);
    else
        to_halves(&job, VALUE_F32);
}
