/* Products of packed bits, AVX2: population counts of nibbles by table lookup (vpshufb), on blocks
 * of 2 rows (pixels or gradient rows) by 16 lanes (channels), in 8 accumulators of bytes. A byte
 * takes 31 words, 8 bits of each, before it is added to the sums of 64 bits. */
#include "kernels/x86/tier_avx2.h"

#include "base/bits.h"
#include "kernels/product_jobs.h"
#include "kernels/x86/vec_avx2.h"

#define BYTE_WORDS 31
#define HALF       16 /* lanes of a block: half of BP_LANES */

/* Two rows by 16 lanes. */
struct block {
    __m256i bytes[2][4];
    __m256i sum[2][4];
    size_t used; /* words in `bytes` */
};

BP_INLINE void block_clear(struct block *b, int rows) {
    for (int p = 0; p < rows; p++)
        for (int q = 0; q < 4; q++)
            b->bytes[p][q] = b->sum[p][q] = _mm256_setzero_si256();
    b->used = 0;
}

BP_INLINE void block_flush(struct block *b, int rows) {
    const __m256i zero = _mm256_setzero_si256();
    for (int p = 0; p < rows; p++)
        for (int q = 0; q < 4; q++) {
            b->sum[p][q] = _mm256_add_epi64(b->sum[p][q], _mm256_sad_epu8(b->bytes[p][q], zero));
            b->bytes[p][q] = zero;
        }
    b->used = 0;
}

/* Between two planes: flush, negate the top one if it is negative, double unless it was the last.
 */
BP_INLINE void block_next_plane(struct block *b, int rows, int negate, int last) {
    block_flush(b, rows);
    for (int p = 0; p < rows; p++)
        for (int q = 0; q < 4; q++) {
            if (negate)
                b->sum[p][q] = _mm256_sub_epi64(_mm256_setzero_si256(), b->sum[p][q]);
            if (!last)
                b->sum[p][q] = _mm256_add_epi64(b->sum[p][q], b->sum[p][q]);
        }
}

/* Adds popcount(x[p][offset .. offset + words - 1] ^ w[..][16 lanes]). */
BP_INLINE void block_add_xor(struct block *b, int rows, const uint64_t *const x[2],
                             ptrdiff_t offset, size_t words, const uint64_t *w) {
    while (words > 0) {
        size_t run = bp_min_size(words, BYTE_WORDS - b->used);
        words -= run;
        b->used += run;
        for (; run > 0; run--, offset++, w += BP_LANES)
            for (int p = 0; p < rows; p++) {
                __m256i v = _mm256_set1_epi64x((long long)x[p][offset]);
                for (int q = 0; q < 4; q++) {
                    __m256i bits = _mm256_xor_si256(v, load_256(w + 4 * q));
                    b->bytes[p][q] = _mm256_add_epi8(b->bytes[p][q], popcount_bytes(bits));
                }
            }
        if (b->used == BYTE_WORDS)
            block_flush(b, rows);
    }
}

/* --- forward ---------------------------------------------------------------------------------- */

/* Pixels p .. p + rows - 1, lanes j and up; w: the lanes' weights. */
BP_INLINE void xor_rows(int rows, const struct xor_job *job, size_t cw, size_t p, const uint64_t *w,
                        size_t j) {
    struct block b;
    const uint64_t *row[2];
    block_clear(&b, rows);
    for (int i = 0; i < rows; i++)
        row[i] = job->x + job->pixel[p + (size_t)i];
    for (size_t t = 0; t < job->taps; t++)
        block_add_xor(&b, rows, row, job->tap[t], cw, w + (size_t)job->tap_w[t] * cw * BP_LANES);
    block_flush(&b, rows);
    for (int i = 0; i < rows; i++) {
        int16_t *y = job->y + (size_t)job->to[p + (size_t)i] * job->k + j;
        __m256i low = narrow_32(b.sum[i][0], b.sum[i][1]);
        __m256i high = narrow_32(b.sum[i][2], b.sum[i][3]);
        __m256i v = _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xd8);
        v = _mm256_sub_epi16(_mm256_set1_epi16((short)job->bias), _mm256_add_epi16(v, v));
        if (job->k - j >= HALF) {
            store_256(y, v);
        } else {
            int16_t part[HALF];
            store_256(part, v);
            memcpy(y, part, (job->k - j) * sizeof *y);
        }
    }
}

void bp_product_xor_avx2(const uint64_t *x, const int32_t *pixel, const int32_t *to, size_t n,
                         const int32_t *tap, const int32_t *tap_w, size_t taps, size_t w_taps,
                         size_t cw, const uint64_t *w, size_t k, int bias, int16_t *y) {
    const struct xor_job job = {x, pixel, to, tap, tap_w, taps, k, bias, y};
    for (size_t j = 0; j < k; j += HALF) {
        const uint64_t *block = w + j / BP_LANES * w_taps * cw * BP_LANES + j % BP_LANES;
        size_t p = 0;
        for (; p + 2 <= n; p += 2)
            xor_rows(2, &job, cw, p, block, j);
        if (p < n)
            xor_rows(1, &job, cw, p, block, j);
    }
}

/* --- activation gradient ---------------------------------------------------------------------- */

BP_INLINE void add_i32(int32_t *y, size_t lanes, __m256i v, int replace) {
    __m256i m = mask_32x8(lanes);
    if (!replace)
        v = _mm256_add_epi32(v, _mm256_maskload_epi32(y, m));
    if (lanes >= 8)
        store_256(y, v);
    else
        _mm256_maskstore_epi32(y, m, v);
}

BP_INLINE void planes_rows(int rows, const struct planes_job *job, const int32_t *pixel,
                           const uint64_t *w, size_t c, size_t lanes, const __m256i correction[2],
                           int32_t *y) {
    struct block b;
    const uint64_t *row[2];
    block_clear(&b, rows);
    for (int p = 0; p < rows; p++)
        row[p] = job->x + pixel[p] + (ptrdiff_t)(job->planes - 1) * (ptrdiff_t)job->kw;
    for (int l = job->planes - 1; l >= 0; l--) {
        for (size_t t = 0; t < job->taps; t++)
            block_add_xor(&b, rows, row, job->tap[t], job->kw,
                          w + (size_t)job->tap_w[t] * job->kw * BP_LANES);
        for (int p = 0; p < rows; p++)
            row[p] -= job->kw;
        block_next_plane(&b, rows, job->is_signed && l == job->planes - 1, l == 0);
    }
    for (int p = 0; p < rows; p++)
        for (int h = 0; h < 2 && lanes > (size_t)(8 * h); h++) {
            __m256i v = narrow_32(b.sum[p][2 * h], b.sum[p][2 * h + 1]);
            add_i32(y + (size_t)p * c + 8 * h, lanes - (size_t)(8 * h),
                    _mm256_sub_epi32(v, correction[h]), 1);
        }
}

/* The sum over planes, taps and words of value * popcount(w), for 16 lanes. */
BP_INLINE void weight_counts(const struct planes_job *job, const uint64_t *w,
                             __m256i correction[2]) {
    __m256i sum[4];
    for (int q = 0; q < 4; q++)
        sum[q] = _mm256_setzero_si256();
    for (size_t t = 0; t < job->taps; t++) {
        const uint64_t *word = w + (size_t)job->tap_w[t] * job->kw * BP_LANES;
        for (size_t i = 0; i < job->kw; i++, word += BP_LANES)
            for (int q = 0; q < 4; q++) {
                __m256i count = popcount_bytes(load_256(word + 4 * q));
                sum[q] = _mm256_add_epi64(sum[q], _mm256_sad_epu8(count, _mm256_setzero_si256()));
            }
    }
    /* The planes' values sum to 2^planes - 1, less twice the top one if it is negative: to -1. */
    int32_t value = job->is_signed ? -1 : (int32_t)(((uint32_t)1 << job->planes) - 1);
    for (int h = 0; h < 2; h++)
        correction[h] =
            _mm256_mullo_epi32(narrow_32(sum[2 * h], sum[2 * h + 1]), _mm256_set1_epi32(value));
}

void bp_product_planes_avx2(const uint64_t *x, const int32_t *pixel, size_t n, const int32_t *tap,
                            const int32_t *tap_w, size_t taps, size_t w_taps, size_t kw, int planes,
                            int is_signed, const uint64_t *w, size_t c, int32_t *y) {
    const struct planes_job job = {x, tap, tap_w, taps, kw, planes, is_signed};
    for (size_t j = 0; j < c; j += HALF) {
        const uint64_t *block = w + j / BP_LANES * w_taps * kw * BP_LANES + j % BP_LANES;
        size_t p = 0;
        __m256i correction[2];
        weight_counts(&job, block, correction);
        for (; p + 2 <= n; p += 2)
            planes_rows(2, &job, pixel + p, block, c, c - j, correction, y + p * c + j);
        if (p < n)
            planes_rows(1, &job, pixel + p, block, c, c - j, correction, y + p * c + j);
    }
}

/* --- weight gradient -------------------------------------------------------------------------- */

BP_INLINE void positions_rows(int rows, const uint64_t *a, const uint64_t *g, size_t words,
                              size_t k, size_t c, int planes, int is_signed, int full, size_t lanes,
                              int32_t *y, size_t y_stride) {
    struct block b;
    __m256i mask[4];
    for (size_t q = 0; q < 4; q++)
        mask[q] = mask_64x4(lanes > 4 * q ? lanes - 4 * q : 0);
    block_clear(&b, rows);
    for (int l = planes - 1; l >= 0; l--) {
        const uint64_t *from = a, *word = g + (size_t)l * k;
        for (size_t s = 0; s < words;) {
            size_t end = bp_min_size(words, s + BYTE_WORDS);
            for (; s < end; s++, from += c, word += (size_t)planes * k)
                for (int r = 0; r < rows; r++) {
                    __m256i v = _mm256_set1_epi64x((long long)word[r]);
                    for (int q = 0; q < 4; q++) {
                        const uint64_t *p = from + 4 * q;
                        __m256i bits = full ? load_256(p)
                                            : _mm256_maskload_epi64((const long long *)p, mask[q]);
                        bits = popcount_bytes(_mm256_and_si256(v, bits));
                        b.bytes[r][q] = _mm256_add_epi8(b.bytes[r][q], bits);
                    }
                }
            block_flush(&b, rows);
        }
        block_next_plane(&b, rows, is_signed && l == planes - 1, l == 0);
    }
    for (int r = 0; r < rows; r++)
        for (int h = 0; h < 2 && lanes > (size_t)(8 * h); h++)
            add_i32(y + (size_t)r * y_stride + 8 * h, lanes - (size_t)(8 * h),
                    narrow_32(b.sum[r][2 * h], b.sum[r][2 * h + 1]), 0);
}

void bp_product_positions_avx2(const uint64_t *a, const uint64_t *g, size_t words, size_t k,
                               size_t c, int planes, int is_signed, int32_t *y, size_t y_stride) {
    for (size_t j = 0; j < c; j += HALF)
        for (size_t i = 0; i < k; i += 2) {
            int32_t *to = y + i * y_stride + j;
            if (k - i == 1)
                positions_rows(1, a + j, g + i, words, k, c, planes, is_signed, 0, c - j, to,
                               y_stride);
            else if (c - j < HALF)
                positions_rows(2, a + j, g + i, words, k, c, planes, is_signed, 0, c - j, to,
                               y_stride);
            else
                positions_rows(2, a + j, g + i, words, k, c, planes, is_signed, 1, HALF, to,
                               y_stride);
        }
}

void bp_count_positions_avx2(const uint64_t *a, size_t words, size_t c, int32_t *count) {
    for (size_t j = 0; j < c; j += 8) {
        __m256i m0 = mask_64x4(c - j), m1 = mask_64x4(c - j > 4 ? c - j - 4 : 0);
        __m256i zero = _mm256_setzero_si256(), sum0 = zero, sum1 = zero;
        for (size_t s = 0; s < words; s++) {
            const long long *from = (const long long *)(a + s * c + j);
            __m256i v0 = popcount_bytes(_mm256_maskload_epi64(from, m0));
            __m256i v1 = popcount_bytes(_mm256_maskload_epi64(from + 4, m1));
            sum0 = _mm256_add_epi64(sum0, _mm256_sad_epu8(v0, zero));
            sum1 = _mm256_add_epi64(sum1, _mm256_sad_epu8(v1, zero));
        }
        add_i32(count + j, c - j, narrow_32(sum0, sum1), 0);
    }
}
