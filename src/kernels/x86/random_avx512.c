/* A stream's random bytes, by the AES instructions of four blocks: ARS4x32-7, base/rng.h. */
#include "kernels/x86/tier_avx512.h"

#include "base/bits.h"
#include "kernels/x86/vec_avx512.h"

#define VECTORS 4 /* of four blocks: an instruction takes four cycles, one begins in each */
#define AT_ONCE ((size_t)4 * VECTORS)

/* Up to AT_ONCE blocks, of which n are written. */
BP_INLINE void some_blocks(const __m512i keys[BP_ARS_ROUNDS + 1], __m512i counter, size_t n,
                           uint8_t *out) {
    const __m512i four = _mm512_set_epi64(0, 4, 0, 4, 0, 4, 0, 4);
    __m512i state[VECTORS];
    for (int i = 0; i < VECTORS; i++, counter = _mm512_add_epi64(counter, four))
        state[i] = _mm512_xor_si512(counter, keys[0]);
    for (int round = 1; round < BP_ARS_ROUNDS; round++)
        for (int i = 0; i < VECTORS; i++)
            state[i] = _mm512_aesenc_epi128(state[i], keys[round]);
    for (size_t i = 0; i < VECTORS; i++) {
        size_t bytes = n > 4 * i ? 16 * (n - 4 * i) : 0;
        _mm512_mask_storeu_epi8(out + 64 * i, mask_64(bytes),
                                _mm512_aesenclast_epi128(state[i], keys[BP_ARS_ROUNDS]));
    }
}

void bp_random_blocks_avx512(const struct bp_stream *stream, uint64_t first, size_t n,
                             uint8_t *out) {
    const __m512i step = _mm512_broadcast_i32x4(
        _mm_set_epi64x((long long)BP_ARS_STEP_HIGH, (long long)BP_ARS_STEP_LOW));
    const __m512i order = _mm512_set_epi64(0, 3, 0, 2, 0, 1, 0, 0);
    const uint64_t key = (uint64_t)stream->key[1] << 32 | stream->key[0];
    const uint64_t high = (uint64_t)stream->purpose_layer << 32 | stream->step;
    __m512i keys[BP_ARS_ROUNDS + 1] = {_mm512_broadcast_i32x4(_mm_set_epi64x(0, (long long)key))};
    for (int round = 1; round <= BP_ARS_ROUNDS; round++)
        keys[round] = _mm512_add_epi64(keys[round - 1], step);
    for (size_t i = 0; i < n; i += AT_ONCE) {
        __m512i counter =
            _mm512_broadcast_i32x4(_mm_set_epi64x((long long)high, (long long)(first + i)));
        some_blocks(keys, _mm512_add_epi64(counter, order), bp_min_size(AT_ONCE, n - i),
                    out + 16 * i);
    }
}
