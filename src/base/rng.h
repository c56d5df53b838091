/* Counter-based random numbers (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as
 * 1, 2, 3", SC 2011). A number depends only on (seed, purpose, layer, step, index), never on
 * threads, kernels or the order of calls; nothing has to be saved to resume.
 *
 * Philox4x32-10 gives the numbers, ARS4x32-7 the bytes for stochastic rounding, of which a step
 * takes millions: it is rounds of AES, a third of Philox's time where a processor has them
 * (docs/PERFORMANCE.md). Neither is for secrets. */
#ifndef BP_BASE_RNG_H
#define BP_BASE_RNG_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One block: four 32-bit numbers from a 128-bit counter and a 64-bit key. */
void bp_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* The same as 16 bytes, by seven rounds of AES; key: two 64-bit numbers, the low one first. */
void bp_ars(const uint32_t counter[4], const uint64_t key[2], uint8_t out[16]);

/* What a round adds to the halves of the key, modulo 2^64. */
#define BP_ARS_STEP_LOW  0x9E3779B97F4A7C15u
#define BP_ARS_STEP_HIGH 0xBB67AE8584CAA73Bu
#define BP_ARS_ROUNDS    7

/* What a stream of numbers is for; two purposes never share numbers. */
enum bp_purpose {
    BP_RANDOM_INIT = 1, /* layer = parameter index, step = 0 */
    BP_RANDOM_SHUFFLE,  /* step = epoch */
    BP_RANDOM_AUGMENT,  /* step = epoch, block = sample index */
    BP_RANDOM_ROUND_DA, /* layer = binary layer, step = training step */
    BP_RANDOM_ROUND_DW,
    BP_RANDOM_SELECT_DA,
    BP_RANDOM_SELECT_DW,
    BP_RANDOM_TEST,
    BP_RANDOM_SPLIT,      /* block = content hash of a file */
    BP_RANDOM_VARIANCE,   /* seeds of repeated draws: layer = binary layer, block = draw */
    BP_RANDOM_ROUND_INPUT /* the first convolution's weight gradient: step = training step */
};

/* A stream: block i of it is bp_philox({i low, i high, step, purpose << 16 | layer}, seed), or, as
 * bytes, bp_ars(the same, {seed, 0}). */
struct bp_stream {
    uint32_t key[2]; /* the seed */
    uint32_t step;
    uint32_t purpose_layer;
};

struct bp_stream bp_stream_make(uint64_t seed, enum bp_purpose purpose, unsigned layer,
                                uint32_t step);

/* Block `index` of a stream. */
void bp_stream_block(const struct bp_stream *stream, uint64_t index, uint32_t out[4]);

void bp_stream_bytes(const struct bp_stream *stream, uint64_t index, uint8_t out[16]);

/* Word `index` of a stream: word index % 4 of block index / 4. */
uint32_t bp_stream_u32(const struct bp_stream *stream, uint64_t index);

/* Uniform in [0, 1), 24 bits, from word `index`. */
float bp_stream_uniform(const struct bp_stream *stream, uint64_t index);

/* Standard normal (Box-Muller) from words 2 * index and 2 * index + 1. */
float bp_stream_normal(const struct bp_stream *stream, uint64_t index);

/* Uniform in 0 .. n - 1 (n >= 1), by multiplication of 32 bits: bias below n / 2^32. */
uint32_t bp_stream_below(const struct bp_stream *stream, uint64_t index, uint32_t n);

#ifdef __cplusplus
}
#endif
#endif
