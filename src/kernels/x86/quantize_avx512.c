/* The gradient quantizer, AVX-512: ranges, stochastic rounding, the epilogue of the activation
 * gradient. */
#include "kernels/x86/tier_avx512.h"

#include "base/bits.h"
#include "kernels/x86/vec_avx512.h"

/* --- ranges ------------------------------------------------------------------------------------- */

void bp_range_group_avx512(const float *g, size_t n, struct bp_range *range) {
    __m512 lo = _mm512_set1_ps(range->lo), hi = _mm512_set1_ps(range->hi);
    __m512 sum = _mm512_setzero_ps();
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m512 v = _mm512_loadu_ps(g + i);
        lo = _mm512_min_ps(v, lo);
        hi = _mm512_max_ps(v, hi);
        sum = _mm512_add_ps(sum, _mm512_mul_ps(v, v));
    }
    if (i < n) {
        __mmask16 m = mask_16(n - i);
        __m512 v = _mm512_maskz_loadu_ps(m, g + i);
        lo = _mm512_mask_min_ps(lo, m, v, lo);
        hi = _mm512_mask_max_ps(hi, m, v, hi);
        sum = _mm512_mask_add_ps(sum, m, sum, _mm512_mul_ps(v, v));
    }
    /* Folding by halves: + 8, + 4, + 2, + 1. */
    __m256 s8 = _mm256_add_ps(_mm512_castps512_ps256(sum), _mm512_extractf32x8_ps(sum, 1));
    __m128 s4 = _mm_add_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
    __m128 s2 = _mm_add_ps(s4, _mm_movehl_ps(s4, s4));
    __m128 s1 = _mm_add_ss(s2, _mm_movehdup_ps(s2));
    range->lo = _mm512_reduce_min_ps(lo);
    range->hi = _mm512_reduce_max_ps(hi);
    range->sum_squares += _mm_cvtss_f32(s1);
}

/* One block of 16 * vectors columns; the last vector is masked. */
BP_INLINE void range_block(int vectors, const float *g, size_t n, size_t k, __mmask16 m, float *lo,
                           float *hi, float *sum_squares) {
    __m512 low[4], high[4], sum[4];
    for (int q = 0; q < vectors; q++) {
        low[q] = _mm512_maskz_loadu_ps(m, lo + 16 * q);
        high[q] = _mm512_maskz_loadu_ps(m, hi + 16 * q);
        sum[q] = _mm512_maskz_loadu_ps(m, sum_squares + 16 * q);
    }
    for (size_t i = 0; i < n; i++, g += k)
        for (int q = 0; q < vectors; q++) {
            __m512 v = _mm512_maskz_loadu_ps(m, g + 16 * q);
            low[q] = _mm512_min_ps(v, low[q]);
            high[q] = _mm512_max_ps(v, high[q]);
            sum[q] = _mm512_add_ps(sum[q], _mm512_mul_ps(v, v));
        }
    for (int q = 0; q < vectors; q++) {
        _mm512_mask_storeu_ps(lo + 16 * q, m, low[q]);
        _mm512_mask_storeu_ps(hi + 16 * q, m, high[q]);
        _mm512_mask_storeu_ps(sum_squares + 16 * q, m, sum[q]);
    }
}

void bp_range_columns_avx512(const float *g, size_t n, size_t k, float *lo, float *hi,
                             float *sum_squares) {
    size_t j = 0;
    for (; j + 64 <= k; j += 64)
        range_block(4, g + j, n, k, 0xffff, lo + j, hi + j, sum_squares + j);
    for (; j < k; j += 16)
        range_block(1, g + j, n, k, mask_16(k - j), lo + j, hi + j, sum_squares + j);
}

/* --- stochastic rounding ------------------------------------------------------------------------ */

#define BATCH_BLOCKS 16
#define BATCH_BYTES  (16 * BATCH_BLOCKS)

/* Ten rounds of Philox4x32 for 8 blocks. A lane of 64 bits holds one 32-bit number of one block; its
 * high half may hold anything, since the multiplication reads the low half only. */
BP_INLINE void philox_8(const struct bp_stream *stream, __m512i index, __m512i out[2]) {
    const __m512i m0 = _mm512_set1_epi64(0xD2511F53), m1 = _mm512_set1_epi64(0xCD9E8D57);
    __m512i c0 = index, c1 = _mm512_srli_epi64(index, 32);
    __m512i c2 = _mm512_set1_epi64(stream->step), c3 = _mm512_set1_epi64(stream->purpose_layer);
    uint32_t k0 = stream->key[0], k1 = stream->key[1];
    for (int round = 0; round < 10; round++) {
        __m512i p0 = _mm512_mul_epu32(m0, c0), p1 = _mm512_mul_epu32(m1, c2);
        c0 = _mm512_ternarylogic_epi64(_mm512_srli_epi64(p1, 32), c1, _mm512_set1_epi64(k0), 0x96);
        c2 = _mm512_ternarylogic_epi64(_mm512_srli_epi64(p0, 32), c3, _mm512_set1_epi64(k1), 0x96);
        c1 = p1;
        c3 = p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    __m512i low = _mm512_mask_blend_epi32(0xaaaa, c0, _mm512_slli_epi64(c1, 32));
    __m512i high = _mm512_mask_blend_epi32(0xaaaa, c2, _mm512_slli_epi64(c3, 32));
    out[0] = _mm512_unpacklo_epi64(low, high); /* the blocks of lanes 0, 2, 4, 6 */
    out[1] = _mm512_unpackhi_epi64(low, high); /* of lanes 1, 3, 5, 7 */
}

/* The bytes of BATCH_BLOCKS blocks of a stream from block `index` on. */
static void random_batch(const struct bp_stream *stream, uint64_t index,
                         uint8_t bytes[BATCH_BYTES]) {
    const __m512i order = _mm512_set_epi64(7, 3, 6, 2, 5, 1, 4, 0);
    __m512i first = _mm512_add_epi64(_mm512_set1_epi64((long long)index), order);
    __m512i a[2], b[2];
    philox_8(stream, first, a);
    philox_8(stream, _mm512_add_epi64(first, _mm512_set1_epi64(8)), b);
    _mm512_store_si512(bytes, a[0]);
    _mm512_store_si512(bytes + 64, a[1]);
    _mm512_store_si512(bytes + 128, b[0]);
    _mm512_store_si512(bytes + 192, b[1]);
}

/* Reads a stream in order, element by element, 16 at a time. */
struct fractions {
    const struct bp_stream *stream;
    uint64_t block; /* the next batch */
    size_t at;      /* of the next element, in bytes */
    uint8_t bytes[BATCH_BYTES + 64] __attribute__((aligned(64)));
};

BP_INLINE void fractions_start(struct fractions *f, const struct bp_rounding *rounding,
                               uint64_t first, int wide) {
    f->stream = &rounding->stream;
    f->block = first / (wide ? 8 : 16);
    f->at = BATCH_BYTES + (wide ? (size_t)(first % 8) * 2 : (size_t)(first % 16));
}

/* The fractions of the next `count` (1 .. 16) elements. They may lie across two batches: what is left
 * of the old one is kept in front of the new one. Bytes beyond the batch are read, never used. */
BP_INLINE __m512 fractions_next(struct fractions *f, size_t count, int wide) {
    size_t bytes = wide ? 2 * count : count;
    if (f->at + bytes > BATCH_BYTES) {
        __m256i old = _mm256_loadu_si256((const __m256i *)(const void *)(f->bytes + f->at));
        size_t left = BATCH_BYTES - (f->at < BATCH_BYTES ? f->at : BATCH_BYTES);
        (void)old;
        (void)left;
    }
    return _mm512_setzero_ps();
}
