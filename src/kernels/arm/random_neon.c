/* A stream's random bytes, by the AES instructions that most cores have: ARS4x32-7, base/rng.h. */
#include "kernels/arm/tier_neon.h"

#include "base/bits.h"
#include "kernels/arm/vec_neon.h"

#define AT_ONCE 4 /* a round takes four cycles or so, one or two begin in each */

/* Up to AT_ONCE blocks, of which n are written. AESE adds the key before it substitutes, not after
 * the columns are mixed. */
BP_INLINE void some_blocks(const uint8x16_t keys[BP_ARS_ROUNDS + 1], uint64x2_t counter, size_t n,
                           uint8_t *out) {
    const uint64x2_t one = {1, 0};
    uint8x16_t state[AT_ONCE];
    for (int i = 0; i < AT_ONCE; i++, counter = vaddq_u64(counter, one))
        state[i] = vreinterpretq_u8_u64(counter);
    for (int round = 0; round < BP_ARS_ROUNDS - 1; round++)
        for (int i = 0; i < AT_ONCE; i++)
            state[i] = vaesmcq_u8(vaeseq_u8(state[i], keys[round]));
    for (size_t i = 0; i < AT_ONCE && i < n; i++)
        vst1q_u8(out + 16 * i,
                 veorq_u8(vaeseq_u8(state[i], keys[BP_ARS_ROUNDS - 1]), keys[BP_ARS_ROUNDS]));
}

void bp_random_blocks_neon(const struct bp_stream *stream, uint64_t first, size_t n, uint8_t *out) {
    const uint64x2_t step = {BP_ARS_STEP_LOW, BP_ARS_STEP_HIGH};
    uint64x2_t key = {(uint64_t)stream->key[1] << 32 | stream->key[0], 0};
    uint8x16_t keys[BP_ARS_ROUNDS + 1];
    for (int round = 0; round <= BP_ARS_ROUNDS; round++, key = vaddq_u64(key, step))
        keys[round] = vreinterpretq_u8_u64(key);
    for (size_t i = 0; i < n; i += AT_ONCE) {
        const uint64x2_t counter = {first + i,
                                    (uint64_t)stream->purpose_layer << 32 | stream->step};
        some_blocks(keys, counter, bp_min_size(AT_ONCE, n - i), out + 16 * i);
    }
}
