/* Packed bits. Bits are packed along channels in 64-bit words, channel c in bit c % 64 of word
 * c / 64; a set bit means -1, a clear one +1; the pad bits of the last word are zero, always. */
#ifndef BP_BASE_BITS_H
#define BP_BASE_BITS_H

#include <stddef.h>
#include <stdint.h>

static inline size_t bp_words(size_t bits) {
    return (bits + 63) / 64;
}

static inline size_t bp_round_up(size_t value, size_t multiple) {
    return (value + multiple - 1) / multiple * multiple;
}

static inline int bp_bit(const uint64_t *words, size_t index) {
    return (int)(words[index / 64] >> (index % 64) & 1);
}

/* How many bits are set: without the instruction, which not every processor has, a compiler calls a
 * function for it. */
static inline unsigned bp_count_bits(uint64_t word) {
    word -= word >> 1 & 0x5555555555555555;
    word = (word & 0x3333333333333333) + (word >> 2 & 0x3333333333333333);
    word = (word + (word >> 4)) & 0x0f0f0f0f0f0f0f0f;
    return (unsigned)(word * 0x0101010101010101 >> 56);
}

/* value / 2^shift to the nearest integer, of two the even one: without a bias, whatever the sign.
 */
static inline int32_t bp_shift_to_even(int32_t value, int shift) {
    if (shift == 0)
        return value;
    return (value + (1 << (shift - 1)) - 1 + (value >> shift & 1)) >> shift;
}

static inline size_t bp_max_size(size_t a, size_t b) {
    return a > b ? a : b;
}

static inline size_t bp_min_size(size_t a, size_t b) {
    return a < b ? a : b;
}

#endif
