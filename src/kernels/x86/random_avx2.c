/* A stream's random bytes, by the AES instructions of one block: ARS4x32-7, base/rng.h. */
#include "kernels/x86/tier_avx2.h"

#include "base/bits.h"
#include "kernels/x86/vec_avx2.h"

#define AT_ONCE 8 /* an instruction takes four cycles, one or two begin in each */

/* Up to AT_ONCE blocks, of which n are written. */
BP_INLINE void some_blocks(const __m128i keys[BP_ARS_ROUNDS + 1], __m128i counter, size_t n,
                           uint8_t *out) {
    const __m128i one = _mm_set_epi64x(0, 1);
    __m128i state[AT_ONCE];
    for (int i = 0; i < AT_ONCE; i++, counter = _mm_add_epi64(counter, one))
        state[i] = _mm_xor_si128(counter, keys[0]);
    for (int round = 1; round < BP_ARS_ROUNDS; round++)
        for (int i = 0; i < AT_ONCE; i++)
            state[i] = _mm_aesenc_si128(state[i], keys[round]);
    for (int i = 0; i < AT_ONCE; i++)
        if ((size_t)i < n)
            _mm_storeu_si128((__m128i *)(void *)(out + 16 * i),
                             _mm_aesenclast_si128(state[i], keys[BP_ARS_ROUNDS]));
}

void bp_random_blocks_avx2(const struct bp_stream *stream, uint64_t first, size_t n, uint8_t *out) {
    const __m128i step = _mm_set_epi64x((long long)BP_ARS_STEP_HIGH, (long long)BP_ARS_STEP_LOW);
    const uint64_t key = (uint64_t)stream->key[1] << 32 | stream->key[0];
    const uint64_t high = (uint64_t)stream->purpose_layer << 32 | stream->step;
    __m128i keys[BP_ARS_ROUNDS + 1] = {_mm_set_epi64x(0, (long long)key)};
    for (int round = 1; round <= BP_ARS_ROUNDS; round++)
        keys[round] = _mm_add_epi64(keys[round - 1], step);
    for (size_t i = 0; i < n; i += AT_ONCE)
        some_blocks(keys, _mm_set_epi64x((long long)high, (long long)(first + i)),
                    bp_min_size(AT_ONCE, n - i), out + 16 * i);
}
