/* Products of bytes, AVX2. VPMADDUBSW would saturate, so bytes are widened to 16 bits: VPMADDWD
 * gives the sums of two products, and a register holds two such sums for each of 4 lanes, which are
 * added at the end. The weights of a group of quads are widened once for all rows. */
#include "kernels/x86/tier_avx2.h"

#include <string.h>

#include "base/bits.h"
#include "kernels/x86/vec_avx2.h"

#define ROWS       2 /* of a block: 8 sums, 4 registers of weights, the bytes of a row, a product */
#define WIDE_QUADS 64 /* quads whose weights of 16 lanes are kept widened: 8 KiB */

struct bytes_job {
    const uint8_t *x;
    const int32_t *row;
    size_t k, lanes;
    const int8_t *w;
    const int32_t *base;
    const float *scale;
    int32_t *y32;
    float *y;
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

/* Sums of row p and 8 lanes from j on; full is a constant: all of these lanes exist. (Masked stores
 * are slow on AMD's processors.) */
BP_INLINE void put(const struct bytes_job *job, int floats, int full, __m256i sum, size_t p,
                   size_t j) {
    size_t to = p * job->k + j, rest = job->k - j;
    if (floats) {
        sum = _mm256_add_epi32(sum, load_i32(job->base + j, full, rest));
        __m256 scale = load_ps(job->scale + j, full, rest);
        store_ps(job->y + to, full, rest, _mm256_mul_ps(scale, _mm256_cvtepi32_ps(sum)));
    } else {
        sum = _mm256_add_epi32(sum, load_i32(job->y32 + to, full, rest));
        if (full)
            store_256(job->y32 + to, sum);
        else
            _mm256_maskstore_epi32(job->y32 + to, mask_32x8(rest), sum);
    }
}

/* rows (at most ROWS) from row p on, to floats or added to y32 (both constants),  the 16 lanes from
 * b on. wide: their weights [quads][16][4]. */
BP_INLINE void bytes_block(const struct bytes_job *job, int floats, int rows, size_t p, size_t b,
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
                put(job, floats, 1, sum, p + (size_t)r, j);
            else if (j < job->k)
                put(job, floats, 0, sum, p + (size_t)r, j);
        }
}

BP_INLINE void bytes_rows(const struct bytes_job *job, int floats, size_t n, const int32_t *quad,
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
                bytes_block(job, floats, ROWS, p, b, quad, count, wide);
            for (; p < n; p++)
                bytes_block(job, floats, 1, p, b, quad, count, wide);
        }
        quad += count;
        quads -= count;
    }
}

void bp_product_bytes_avx2(const uint8_t *x, const int32_t *row, size_t n, const int32_t *quad,
                           size_t quads, const int8_t *w, size_t k, int32_t *y) {
    const struct bytes_job job = {x, row, k, bp_round_up(k, BP_BYTE_LANES), w, NULL, NULL, y, NULL};
    bytes_rows(&job, 0, n, quad, quads);
}

void bp_product_bytes_f32_avx2(const uint8_t *x, const int32_t *row, size_t n, const int32_t *quad,
                               size_t quads, const int8_t *w, size_t k, const int32_t *base,
                               const float *scale, float *y) {
    const struct bytes_job job = {x,     row,  k, bp_round_up(k, BP_BYTE_LANES), w, base,
                                  scale, NULL, y};
    bytes_rows(&job, 1, n, quad, quads);
}

/* --- codes ------------------------------------------------------------------------------------ */

/* 16 codes of row e of four, zero beyond the rows and columns that exist. */
BP_INLINE __m128i code_row(const uint8_t *codes, size_t k, size_t e, size_t rows, size_t columns) {
    uint8_t part[16] = {0};
    if (e >= rows)
        return _mm_setzero_si128();
    if (columns >= 16)
        return _mm_loadu_si128((const __m128i *)(const void *)(codes + e * k));
    memcpy(part, codes + e * k, columns);
    return _mm_loadu_si128((const __m128i *)(const void *)part);
}

/* The sums of 4 codes each of 8 lanes. */
BP_INLINE __m256i sum_quads(__m256i quads) {
    const __m256i ones = _mm256_set1_epi8(1);
    return _mm256_madd_epi16(_mm256_maddubs_epi16(ones, quads), _mm256_set1_epi16(1));
}

void bp_interleave_codes_avx2(const uint8_t *codes, size_t n, size_t k, int8_t *out, int32_t *sum) {
    size_t lanes = bp_round_up(k, BP_BYTE_LANES);
    for (size_t j = 0; j < k; j += BP_BYTE_LANES) {
        __m256i total0 = _mm256_setzero_si256(), total1 = total0;
        for (size_t p = 0; p < n; p += 4) {
            __m128i row[4];
            for (size_t e = 0; e < 4; e++)
                row[e] = code_row(codes + p * k + j, k, e, n - p, k - j);
            __m128i lo = _mm_unpacklo_epi8(row[0], row[1]), hi = _mm_unpackhi_epi8(row[0], row[1]);
            __m128i lo2 = _mm_unpacklo_epi8(row[2], row[3]);
            __m128i hi2 = _mm_unpackhi_epi8(row[2], row[3]);
            __m256i q0 = _mm256_set_m128i(_mm_unpackhi_epi16(lo, lo2), _mm_unpacklo_epi16(lo, lo2));
            __m256i q1 = _mm256_set_m128i(_mm_unpackhi_epi16(hi, hi2), _mm_unpacklo_epi16(hi, hi2));
            store_256(out + p * lanes + 4 * j, q0);
            store_256(out + p * lanes + 4 * j + 32, q1);
            total0 = _mm256_add_epi32(total0, sum_quads(q0));
            total1 = _mm256_add_epi32(total1, sum_quads(q1));
        }
        int32_t totals[16];
        store_256(totals, total0);
        store_256(totals + 8, total1);
        for (size_t i = 0; i < 16 && j + i < k; i++)
            sum[j + i] += totals[i];
    }
}
