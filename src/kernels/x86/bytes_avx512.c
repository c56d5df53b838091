/* Products of bytes, AVX-512: VPDPBUSD on a block of rows by up to four registers of 16 lanes. The
 * quad of a row is broadcast, the weights of a quad are loaded once for all rows of the block. 24
 * sums stay in registers. */
#include "kernels/x86/tier_avx512.h"

#include <string.h>

#include "kernels/x86/bytes_avx512.h"

BP_INLINE __m512i broadcast_quad(const uint8_t *u) {
    int32_t v;
    memcpy(&v, u, sizeof v);
    return _mm512_set1_epi32(v);
}

/* In assembly so that the sum stays in its register whatever the compiler makes of the loop. */
BP_INLINE void add_quads(__m512i *acc, __m512i u, __m512i w) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(*acc) : "v"(u), "v"(w));
}

/* rows (at most 24 / vectors) from row p on, vectors of 16 lanes from b on; both are constants. */
BP_INLINE void bytes_block(const struct bytes_job *job, enum out out, int rows, int vectors,
                           size_t p, size_t b) {
    __m512i acc[24];
    const uint8_t *u[24];
    const int8_t *w = job->w + 4 * b;
    for (int r = 0; r < rows; r++) {
        u[r] = job->x + job->row[p + (size_t)r];
        for (int v = 0; v < vectors; v++)
            acc[r * vectors + v] = _mm512_setzero_si512();
    }
    for (size_t t = 0; t < job->quads; t++, w += 4 * job->lanes) {
        __m512i weights[4];
        ptrdiff_t at = job->quad[t];
        for (int v = 0; v < vectors; v++)
            weights[v] = _mm512_load_si512(w + 64 * v);
        for (int r = 0; r < rows; r++) {
            __m512i quad = broadcast_quad(u[r] + at);
            for (int v = 0; v < vectors; v++)
                add_quads(&acc[r * vectors + v], quad, weights[v]);
        }
    }
    for (int v = 0; v < vectors; v++)
        put(job, out, rows, acc + v, vectors, p, b + 16 * (size_t)v);
}

BP_INLINE void bytes_lanes(const struct bytes_job *job, enum out out, int rows, int vectors,
                           size_t n, size_t b) {
    size_t p = 0;
    for (; p + (size_t)rows <= n; p += (size_t)rows)
        bytes_block(job, out, rows, vectors, p, b);
    for (; p < n; p++)
        bytes_block(job, out, 1, vectors, p, b);
}

BP_INLINE void bytes_rows(const struct bytes_job *job, enum out out, size_t n) {
    for (size_t b = 0; b < job->k;) {
        size_t vectors = bp_min_size(4, (job->lanes - b) / BP_BYTE_LANES);
        if (vectors == 4)
            bytes_lanes(job, out, 6, 4, n, b);
        else if (vectors >= 2)
            bytes_lanes(job, out, 12, 2, n, b);
        else
            bytes_lanes(job, out, 8, 1, n, b);
        b += (vectors == 3 ? 2 : vectors) * BP_BYTE_LANES;
    }
}

void bp_product_bytes_avx512(const uint8_t *x, const int32_t *row, size_t n, const int32_t *quad,
                             size_t quads, const int8_t *w, size_t k, int32_t *y) {
    struct bytes_job job = job_of(x, row, quad, quads, w, k);
    job.y32 = y;
    bytes_rows(&job, OUT_I32, n);
}

void bp_product_bytes_f32_avx512(const uint8_t *x, const int32_t *row, size_t n,
                                 const int32_t *quad, size_t quads, const int8_t *w, size_t k,
                                 const int32_t *base, const float *scale, float *y) {
    struct bytes_job job = job_of(x, row, quad, quads, w, k);
    job.base = base;
    job.scale = scale;
    job.y = y;
    bytes_rows(&job, OUT_F32, n);
}

void bp_product_bytes_i16_avx512(const uint8_t *x, const int32_t *row, size_t n,
                                 const int32_t *quad, size_t quads, const int8_t *w, size_t k,
                                 const int32_t *base, const int32_t *shift, int16_t *y) {
    struct bytes_job job = job_of(x, row, quad, quads, w, k);
    job.base = base;
    job.shift = shift;
    job.y16 = y;
    bytes_rows(&job, OUT_I16, n);
}

/* --- codes ------------------------------------------------------------------------------------ */

/* 16 random half-words as 32-bit numbers. */
BP_INLINE __m512i load_words(const uint8_t *random) {
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)random));
}

/* count rows (1 .. 4) of 16 columns to 16 quads. u: the random numbers of these rows. */
BP_INLINE __m512i code_rows(const float *g, size_t k, int count, __mmask16 m, __m512 scale,
                            const __m512i u[4]) {
    __m512i s[4];
    for (int e = 0; e < 4; e++) {
        s[e] = _mm512_setzero_si512();
        if (e < count) {
            __m512 v = _mm512_maskz_loadu_ps(m, g + (size_t)e * k);
            s[e] = _mm512_add_epi32(_mm512_cvtps_epi32(_mm512_mul_ps(v, scale)), u[e]);
        }
    }
    /* The code is the third byte of s; 0xca: a where the mask is set, else b. */
    const __m512i first = _mm512_set1_epi32(0xff), low = _mm512_set1_epi32(0xffff);
    const __m512i third = _mm512_set1_epi32(0xff0000);
    __m512i s0 = _mm512_srli_epi32(s[0], 16), s1 = _mm512_srli_epi32(s[1], 8);
    __m512i a = _mm512_ternarylogic_epi32(first, s0, s1, 0xca);
    __m512i b = _mm512_ternarylogic_epi32(third, s[2], _mm512_slli_epi32(s[3], 8), 0xca);
    return _mm512_ternarylogic_epi32(low, a, b, 0xca);
}

/* vectors (a constant) of 16 columns from g on; only the last of a row is not full. */
BP_INLINE void code_block(int vectors, const float *g, size_t n, size_t k, __mmask16 m,
                          const uint8_t *random, const float *scale, int8_t *out, size_t lanes,
                          int32_t *sum) {
    const __m512i ones = _mm512_set1_epi8(1);
    __m512i total[4];
    __m512 scales[4];
    for (int v = 0; v < vectors; v++) {
        total[v] = _mm512_maskz_loadu_epi32(m, sum + 16 * v);
        scales[v] = _mm512_maskz_loadu_ps(m, scale + 16 * v);
    }
    for (size_t p = 0; p < n; p += 4, g += 4 * k, out += 4 * lanes) {
        __m512i u[4];
        int count = n - p < 4 ? (int)(n - p) : 4;
        for (int e = 0; e < 4; e++)
            u[e] = e < count ? load_words(random + 32 * (p + (size_t)e)) : _mm512_setzero_si512();
        for (int v = 0; v < vectors; v++) {
            __m512i quads = code_rows(g + 16 * v, k, count, m, scales[v], u);
            total[v] = _mm512_dpbusd_epi32(total[v], ones, quads);
            _mm512_storeu_si512(out + 64 * v, quads);
        }
    }
    for (int v = 0; v < vectors; v++)
        _mm512_mask_storeu_epi32(sum + 16 * v, m, total[v]);
}

void bp_code_quads_avx512(const float *g, size_t n, size_t k, const uint8_t *random,
                          const float *scale, int8_t *out, int32_t *sum) {
    size_t lanes = bp_round_up(k, BP_BYTE_LANES), j = 0;
    for (; j + 64 <= k; j += 64)
        code_block(4, g + j, n, k, 0xffff, random, scale + j, out + 4 * j, lanes, sum + j);
    for (; j < k; j += 16)
        code_block(1, g + j, n, k, mask_16(k - j), random, scale + j, out + 4 * j, lanes, sum + j);
}
