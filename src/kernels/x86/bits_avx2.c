/* Packing signs and planes, and transposing, AVX2. */
#include "kernels/x86/tier_avx2.h"

#include "base/bits.h"
#include "kernels/x86/vec_avx2.h"

void bp_sign_pack_f32_avx2(const float *x, size_t n, size_t c, uint64_t *bits, uint64_t *mask) {
    const __m256 one = _mm256_set1_ps(1.0f), sign_bit = _mm256_set1_ps(-0.0f);
    for (size_t p = 0; p < n; p++, x += c)
        for (size_t w = 0; w < c; w += 64) {
            size_t end = bp_min_size(c, w + 64);
            uint64_t sign = 0, inside = 0;
            for (size_t j = w; j < end; j += 8) {
                __m256 v = end - j >= 8 ? load_ps(x + j, 1, 8) : load_ps(x + j, 0, end - j);
                __m256 below = _mm256_cmp_ps(v, _mm256_setzero_ps(), _CMP_LT_OQ);
                __m256 small = _mm256_cmp_ps(_mm256_andnot_ps(sign_bit, v), one, _CMP_LT_OQ);
                sign |= (uint64_t)(unsigned)_mm256_movemask_ps(below) << (j - w);
                inside |= (uint64_t)(unsigned)_mm256_movemask_ps(small) << (j - w);
            }
            *bits++ = sign;
            if (mask != NULL)
                *mask++ = end - w == 64 ? inside : inside & (((uint64_t)1 << (end - w)) - 1);
        }
}

/* Swaps blocks of `size` x `size` bits beside the diagonal between rows that lie in registers a and
 * b; mask has the low `size` bits of every 2 * size. */
BP_INLINE void swap_registers(__m256i *a, __m256i *b, int size, __m256i mask) {
    __m256i t = _mm256_and_si256(_mm256_xor_si256(_mm256_srli_epi64(*a, size), *b), mask);
    *a = _mm256_xor_si256(*a, _mm256_slli_epi64(t, size));
    *b = _mm256_xor_si256(*b, t);
}

/* The same between the rows of one register: `other` is v with the rows of a pair swapped; rows
 * first and second of a pair move bits up and down, a shift by 64 gives zero. */
BP_INLINE __m256i swap_within(__m256i v, __m256i other, __m256i up, __m256i down, __m256i keep) {
    __m256i moved = _mm256_or_si256(_mm256_sllv_epi64(other, up), _mm256_srlv_epi64(other, down));
    return _mm256_or_si256(_mm256_and_si256(v, keep), _mm256_andnot_si256(keep, moved));
}

/* Register i holds rows 4 i .. 4 i + 3. */
BP_INLINE void transpose_64x64(__m256i v[16]) {
    static const uint64_t low[4] = {0x0f0f0f0f0f0f0f0f, 0x00ff00ff00ff00ff, 0x0000ffff0000ffff,
                                    0x00000000ffffffff};
    for (int step = 3; step >= 0; step--) {
        const __m256i mask = _mm256_set1_epi64x((long long)low[step]);
        int size = 4 << step, apart = 1 << step;
        for (int i = 0; i < 16; i++)
            if ((i & apart) == 0)
                swap_registers(&v[i], &v[i + apart], size, mask);
    }
    const long long two = 0x3333333333333333, one = 0x5555555555555555;
    for (int i = 0; i < 16; i++) {
        v[i] = swap_within(v[i], _mm256_permute4x64_epi64(v[i], 0x4e),
                           _mm256_setr_epi64x(2, 2, 64, 64), _mm256_setr_epi64x(64, 64, 2, 2),
                           _mm256_setr_epi64x(two, two, ~two, ~two));
        v[i] =
            swap_within(v[i], _mm256_shuffle_epi32(v[i], 0x4e), _mm256_setr_epi64x(1, 64, 1, 64),
                        _mm256_setr_epi64x(64, 1, 64, 1), _mm256_setr_epi64x(one, ~one, one, ~one));
    }
}

void bp_transpose_gather_avx2(const uint64_t *base, const int32_t *offset, size_t count, size_t cw,
                              uint64_t *out) {
    for (size_t w = 0; w < cw; w++) {
        __m256i v[16];
        for (size_t i = 0; i < 16; i++) {
            long long row[4];
            for (size_t r = 0; r < 4; r++)
                row[r] = 4 * i + r < count ? (long long)base[offset[4 * i + r] + (ptrdiff_t)w] : 0;
            v[i] = _mm256_setr_epi64x(row[0], row[1], row[2], row[3]);
        }
        transpose_64x64(v);
        for (size_t i = 0; i < 16; i++)
            store_256(out + 64 * w + 4 * i, v[i]);
    }
}

void bp_pack_planes_avx2(const uint8_t *codes, size_t n, size_t k, int bits, uint64_t *planes) {
    size_t kw = bp_words(k);
    for (size_t p = 0; p < n; p++, planes += (size_t)bits * kw)
        for (size_t w = 0; w < kw; w++) {
            size_t rest = bp_min_size(64, k - 64 * w);
            uint8_t part[64];
            const uint8_t *from = codes;
            if (rest < 64) {
                memset(part, 0, sizeof part);
                memcpy(part, codes, rest);
                from = part;
            }
            codes += rest;
            __m256i low = load_256(from), high = load_256(from + 32);
            for (int l = 0; l < bits; l++) { /* bit l of each byte to its top */
                uint32_t first = (uint32_t)_mm256_movemask_epi8(_mm256_slli_epi16(low, 7 - l));
                uint32_t second = (uint32_t)_mm256_movemask_epi8(_mm256_slli_epi16(high, 7 - l));
                planes[(size_t)l * kw + w] = first | (uint64_t)second << 32;
            }
        }
}
