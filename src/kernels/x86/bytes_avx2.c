/* Products of bytes, AVX2. VPMADDUBSW would saturate, so bytes are widened to 16 bits: VPMADDWD
 * gives the sums of two products, and a register holds two such sums for each of 4 lanes, which are
 * added at the end. The weights of a group of quads are widened once for all rows. */
#include "kernels/x86/tier_avx2.h"

#include <string.h>

#include "base/bits.h"
#include "kernels/x86/vec_avx2.h"

#define ROWS       2 /* of a block: 8 sums, 4 registers of weights, the bytes of a row, a product */
#define WIDE_QUADS 64 /* quads whose weights of 16 lanes are kept widened: 8 KiB */

/* What becomes of the sums: they are added to y32, scaled to y, or shifted to y16. A constant. */
enum out { OUT_I32, OUT_F32, OUT_I16 };

struct bytes_job {
    const uint8_t *x;
    const int32_t *row;
    size_t k, lanes;
    const int8_t *w;
    const int32_t *base;
    const float *scale;
    const int32_t *shift;
    int32_t *y32;
    float *y;
    int16_t *y16;
};

/* The four bytes of a quad, again and again, as 16-bit numbers. In assembly since gcc 12 makes
 * three instructions of the broadcast. */
BP_INLINE __m256i broadcast_quad(const uint8_t *u) {
    __m128i v;
    __asm__("vpbroadcastd %1, %0" : "=x"(v) : "m"(*(const uint8_t(*)[4])u));
    return _mm256_cvtepu8_epi16(v);
}

/* acc += pairs of products. The addition is in assembly so that the sum stays in its register
 * whatever the compiler makes of the loop. */
BP_INLINE void add_pairs(__m256i *acc, __m256i u, __m256i w) {
    __m256i pairs = _mm256_madd_epi16(u, w);
    __asm__("vpaddd %1, %0, %0" : "+x"(*acc) : "x"(pairs));
}

BP_INLINE __m256i load_i32(const int32_t *p, int full, size_t rest) {
    return full ? load_256(p) : _mm256_maskload_epi32(p, mask_32x8(rest));
}

/* The two sums of each lane of a and b added, in order. */
BP_INLINE __m256i add_halves(__m256i a, __m256i b) {
    return _mm256_permute4x64_epi64(_mm256_hadd_epi32(a, b), 0xd8);
}

/* Eight sums that fit 16 bits. */
BP_INLINE void store_i16(int16_t *to, int full, size_t rest, __m256i sum) {
    __m128i v = _mm_packs_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    int16_t values[8];
    _mm_storeu_si128((__m128i *)(void *)(full ? to : values), v);
    if (!full)
        memcpy(to, values, rest * sizeof *to);
}

/* Sums of row p and 8 lanes from j on; full is a constant: all of these lanes exist. (Masked stores
 * are slow on AMD's processors.) */
BP_INLINE void put(const struct bytes_job *job, enum out out, int full, __m256i sum, size_t p,
                   size_t j) {
    size_t to = p * job->k + j, rest = job->k - j;
    sum =
        _mm256_add_epi32(sum, load_i32(out == OUT_I32 ? job->y32 + to : job->base + j, full, rest));
    if (out == OUT_F32) {
        __m256 scale = load_ps(job->scale + j, full, rest);
        store_ps(job->y + to, full, rest, _mm256_mul_ps(scale, _mm256_cvtepi32_ps(sum)));
    } else if (out == OUT_I16) {
        sum = _mm256_srav_epi32(sum, load_i32(job->shift + j, full, rest));
        store_i16(job->y16 + to, full, rest, sum);
    } else if (full) {
        store_256(job->y32 + to, sum);
    } else {
        _mm256_maskstore_epi32(job->y32 + to, mask_32x8(rest), sum);
    }
}

/* rows (at most ROWS, a constant) from row p on, the 16 lanes from b on. wide: their weights
 * [quads][16][4]. */
BP_INLINE void bytes_block(const struct bytes_job *job, enum out out, int rows, size_t p, size_t b,
                           const int32_t *quad, size_t quads, const int16_t *wide) {
    __m256i acc[ROWS][4];
    const uint8_t *u[ROWS];
    for (int r = 0; r < rows; r++) {
        u[r] = job->x + job->row[p + (size_t)r];
        for (int v = 0; v < 4; v++)
            acc[r][v] = _mm256_setzero_si256();
    }
    for (size_t t = 0; t < quads; t++, wide += 64) {
        __m256i weights[4];
        for (int v = 0; v < 4; v++)
            weights[v] = _mm256_load_si256((const __m256i *)(const void *)(wide + 16 * v));
        for (int r = 0; r < rows; r++) {
            __m256i bytes = broadcast_quad(u[r] + quad[t]);
            for (int v = 0; v < 4; v++)
                add_pairs(&acc[r][v], bytes, weights[v]);
        }
    }
    for (int r = 0; r < rows; r++)
        for (int h = 0; h < 2; h++) {
            size_t j = b + 8 * (size_t)h;
            __m256i sum = add_halves(acc[r][2 * h], acc[r][2 * h + 1]);
            if (j + 8 <= job->k)
                put(job, out, 1, sum, p + (size_t)r, j);
            else if (j < job->k)
                put(job, out, 0, sum, p + (size_t)r, j);
        }
}

BP_INLINE void bytes_rows(const struct bytes_job *job, enum out out, size_t n, const int32_t *quad,
                          size_t quads) {
    _Alignas(32) int16_t wide[WIDE_QUADS * 64];
    const int8_t *w = job->w;
    for (; quads > 0; w += 4 * WIDE_QUADS * job->lanes) {
        size_t count = bp_min_size(quads, WIDE_QUADS);
        for (size_t b = 0; b < job->k; b += BP_BYTE_LANES) {
            size_t p = 0;
            for (size_t i = 0; i < 4 * count; i++) {
                const int8_t *from = w + i / 4 * 4 * job->lanes + 4 * b + i % 4 * 16;
                store_256(wide + 16 * i, _mm256_cvtepi8_epi16(
                                             _mm_load_si128((const __m128i *)(const void *)from)));
            }
            for (; p + ROWS <= n; p += ROWS)
                bytes_block(job, out, ROWS, p, b, quad, count, wide);
            for (; p < n; p++)
                bytes_block(job, out, 1, p, b, quad, count, wide);
        }
        quad += count;
        quads -= count;
    }
}

static struct bytes_job job_of(const uint8_t *x, const int32_t *row, const int8_t *w, size_t k) {
    return (struct bytes_job){
        .x = x, .row = row, .w = w, .k = k, .lanes = bp_round_up(k, BP_BYTE_LANES)};
}

void bp_product_bytes_avx2(const uint8_t *x, const int32_t *row, size_t n, const int32_t *quad,
                           size_t quads, const int8_t *w, size_t k, int32_t *y) {
    struct bytes_job job = job_of(x, row, w, k);
    job.y32 = y;
    bytes_rows(&job, OUT_I32, n, quad, quads);
}

void bp_product_bytes_f32_avx2(const uint8_t *x, const int32_t *row, size_t n, const int32_t *quad,
                               size_t quads, const int8_t *w, size_t k, const int32_t *base,
                               const float *scale, float *y) {
    struct bytes_job job = job_of(x, row, w, k);
    job.base = base;
    job.scale = scale;
    job.y = y;
    bytes_rows(&job, OUT_F32, n, quad, quads);
}

void bp_product_bytes_i16_avx2(const uint8_t *x, const int32_t *row, size_t n, const int32_t *quad,
                               size_t quads, const int8_t *w, size_t k, const int32_t *base,
                               const int32_t *shift, int16_t *y) {
    struct bytes_job job = job_of(x, row, w, k);
    job.base = base;
    job.shift = shift;
    job.y16 = y;
    bytes_rows(&job, OUT_I16, n, quad, quads);
}

/* --- codes ------------------------------------------------------------------------------------ */

/* 8 random half-words as 32-bit numbers. */
BP_INLINE __m256i load_words(const uint8_t *random) {
    return _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)random));
}

/* The sums of 4 codes each of 8 lanes. */
BP_INLINE __m256i sum_quads(__m256i quads) {
    __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), quads);
    return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

/* count rows (1 .. 4) of 8 columns to 8 quads: the code is the third byte of r + u. */
BP_INLINE __m256i code_rows(const float *g, size_t k, size_t count, int full, size_t rest,
                            const uint8_t *random, __m256 scale) {
    __m256i s[4];
    for (size_t e = 0; e < 4; e++) {
        s[e] = _mm256_setzero_si256();
        if (e < count) {
            __m256 v = _mm256_mul_ps(load_ps(g + e * k, full, rest), scale);
            s[e] = _mm256_add_epi32(_mm256_cvtps_epi32(v), load_words(random + 32 * e));
        }
    }
    const __m256i third = _mm256_set1_epi32(0xff0000);
    __m256i s0 = _mm256_srli_epi32(_mm256_and_si256(s[0], third), 16);
    __m256i s1 = _mm256_srli_epi32(_mm256_and_si256(s[1], third), 8);
    __m256i s2 = _mm256_and_si256(s[2], third);
    __m256i s3 = _mm256_slli_epi32(_mm256_and_si256(s[3], third), 8);
    return _mm256_or_si256(_mm256_or_si256(s0, s1), _mm256_or_si256(s2, s3));
}

/* 8 columns; full is a constant. */
BP_INLINE void code_block(const float *g, size_t n, size_t k, int full, size_t rest,
                          const uint8_t *random, const float *scale, int8_t *out, size_t lanes,
                          int32_t *sum) {
    __m256 scales = load_ps(scale, full, rest);
    __m256i total = _mm256_setzero_si256();
    int32_t totals[8];
    for (size_t p = 0; p < n; p += 4, g += 4 * k, random += 128, out += 4 * lanes) {
        size_t count = bp_min_size(4, n - p);
        __m256i quads = count == 4 ? code_rows(g, k, 4, full, rest, random, scales)
                                   : code_rows(g, k, count, full, rest, random, scales);
        total = _mm256_add_epi32(total, sum_quads(quads));
        store_256(out, quads);
    }
    store_256(totals, total);
    for (size_t j = 0; j < 8 && j < rest; j++)
        sum[j] += totals[j];
}

void bp_code_quads_avx2(const float *g, size_t n, size_t k, const uint8_t *random,
                        const float *scale, int8_t *out, int32_t *sum) {
    size_t lanes = bp_round_up(k, BP_BYTE_LANES);
    for (size_t j = 0; j < lanes; j += 8) {
        const uint8_t *words = random + 2 * (j % 16);
        if (j + 8 <= k)
            code_block(g + j, n, k, 1, 8, words, scale + j, out + 4 * j, lanes, sum + j);
        else if (j < k)
            code_block(g + j, n, k, 0, k - j, words, scale + j, out + 4 * j, lanes, sum + j);
        else
            for (size_t p = 0; p < n; p += 4)
                memset(out + p * lanes + 4 * j, 0, 32);
    }
}
