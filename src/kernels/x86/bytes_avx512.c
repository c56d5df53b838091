/* Products of bytes, AVX-512: VPDPBUSD on a block of rows by up to four registers of 16 lanes. The
 * quad of a row is broadcast, the weights of a quad are loaded once for all rows of the block. 24
 * sums stay in registers. */
#include "kernels/x86/tier_avx512.h"

#include <string.h>

#include "base/bits.h"
#include "kernels/x86/vec_avx512.h"

struct bytes_job {
    const uint8_t *x;
    const int32_t *row, *quad;
    size_t quads, k, lanes;
    const int8_t *w;
    const int32_t *base;
    const float *scale;
    int32_t *y32;
    float *y;
};

BP_INLINE __m512i broadcast_quad(const uint8_t *u) {
    int32_t v;
    memcpy(&v, u, sizeof v);
    return _mm512_set1_epi32(v);
}

/* In assembly so that the sum stays in its register whatever the compiler makes of the loop. */
BP_INLINE void add_quads(__m512i *acc, __m512i u, __m512i w) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(*acc) : "v"(u), "v"(w));
}

/* rows (at most 24 / vectors) from row p on, vectors of 16 lanes from b on, to floats or added to
 * y32; all three are constants. */
BP_INLINE void bytes_block(const struct bytes_job *job, int floats, int rows, int vectors, size_t p,
                           size_t b) {
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
    for (int v = 0; v < vectors; v++) {
        size_t j = b + 16 * (size_t)v;
        __mmask16 m = mask_16(job->k - j);
        __m512i base = _mm512_setzero_si512();
        __m512 scale = _mm512_setzero_ps();
        if (floats) {
            base = _mm512_maskz_loadu_epi32(m, job->base + j);
            scale = _mm512_maskz_loadu_ps(m, job->scale + j);
        }
        for (int r = 0; r < rows; r++) {
            size_t to = (p + (size_t)r) * job->k + j;
            __m512i sum = acc[r * vectors + v];
            if (floats) {
                sum = _mm512_add_epi32(sum, base);
                _mm512_mask_storeu_ps(job->y + to, m,
                                      _mm512_mul_ps(scale, _mm512_cvtepi32_ps(sum)));
            } else {
                sum = _mm512_add_epi32(sum, _mm512_maskz_loadu_epi32(m, job->y32 + to));
                _mm512_mask_storeu_epi32(job->y32 + to, m, sum);
            }
        }
    }
}

BP_INLINE void bytes_lanes(const struct bytes_job *job, int floats, int rows, int vectors, size_t n,
                           size_t b) {
    size_t p = 0;
    for (; p + (size_t)rows <= n; p += (size_t)rows)
        bytes_block(job, floats, rows, vectors, p, b);
    for (; p < n; p++)
        bytes_block(job, floats, 1, vectors, p, b);
}

BP_INLINE void bytes_rows(const struct bytes_job *job, int floats, size_t n) {
    for (size_t b = 0; b < job->k;) {
        size_t vectors = bp_min_size(4, (job->lanes - b) / BP_BYTE_LANES);
        if (vectors == 4)
            bytes_lanes(job, floats, 6, 4, n, b);
        else if (vectors >= 2)
            bytes_lanes(job, floats, 12, 2, n, b);
        else
            bytes_lanes(job, floats, 8, 1, n, b);
        b += (vectors == 3 ? 2 : vectors) * BP_BYTE_LANES;
    }
}

void bp_product_bytes_avx512(const uint8_t *x, const int32_t *row, size_t n, const int32_t *quad,
                             size_t quads, const int8_t *w, size_t k, int32_t *y) {
    const struct bytes_job job = {x, row,  quad, quads, k,   bp_round_up(k, BP_BYTE_LANES),
                                  w, NULL, NULL, y,     NULL};
    bytes_rows(&job, 0, n);
}

void bp_product_bytes_f32_avx512(const uint8_t *x, const int32_t *row, size_t n,
                                 const int32_t *quad, size_t quads, const int8_t *w, size_t k,
                                 const int32_t *base, const float *scale, float *y) {
    const struct bytes_job job = {x, row,  quad,  quads, k, bp_round_up(k, BP_BYTE_LANES),
                                  w, base, scale, NULL,  y};
    bytes_rows(&job, 1, n);
}

/* --- codes ------------------------------------------------------------------------------------ */

/* Four rows of 16 codes to 16 quads; count of them exist. */
BP_INLINE __m512i quads_of_rows(const uint8_t *codes, size_t k, size_t count, __mmask16 m) {
    __m128i row[4];
    for (size_t e = 0; e < 4; e++)
        row[e] = e < count ? _mm_maskz_loadu_epi8(m, codes + e * k) : _mm_setzero_si128();
    __m128i lo = _mm_unpacklo_epi8(row[0], row[1]), hi = _mm_unpackhi_epi8(row[0], row[1]);
    __m128i lo2 = _mm_unpacklo_epi8(row[2], row[3]), hi2 = _mm_unpackhi_epi8(row[2], row[3]);
    __m256i first = _mm256_set_m128i(_mm_unpackhi_epi16(lo, lo2), _mm_unpacklo_epi16(lo, lo2));
    __m256i second = _mm256_set_m128i(_mm_unpackhi_epi16(hi, hi2), _mm_unpacklo_epi16(hi, hi2));
    return _mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1);
}

void bp_interleave_codes_avx512(const uint8_t *codes, size_t n, size_t k, int8_t *out,
                                int32_t *sum) {
    const __m512i ones = _mm512_set1_epi8(1);
    size_t lanes = bp_round_up(k, BP_BYTE_LANES);
    for (size_t j = 0; j < k; j += BP_BYTE_LANES) {
        __mmask16 m = mask_16(k - j);
        __m512i total = _mm512_maskz_loadu_epi32(m, sum + j);
        for (size_t p = 0; p < n; p += 4) {
            __m512i quads = quads_of_rows(codes + p * k + j, k, bp_min_size(4, n - p), m);
            total = _mm512_dpbusd_epi32(total, ones, quads);
            _mm512_storeu_si512(out + p * lanes + 4 * j, quads);
        }
        _mm512_mask_storeu_epi32(sum + j, m, total);
    }
}
