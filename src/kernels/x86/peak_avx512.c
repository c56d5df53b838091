#include "kernels/x86/peak_loop.h"

/* Entries of 16 lanes by 8 quads to sums of 32 bits. */
#define TWO(to)                                                                                    \
    "vpermb %%zmm14, %%zmm15, %%zmm8\nvpermb %%zmm14, %%zmm13, %%zmm9\n"                           \
    "vpaddb %%zmm8, %%zmm9, %%zmm8\nvpdpbusd %%zmm12, %%zmm8, %%zmm" #to "\n"
/* Bits of 8 words that differ. */
#define POPCOUNT(to)                                                                               \
    "vpxorq %%zmm14, %%zmm15, %%zmm8\nvpopcntq %%zmm8, %%zmm8\n"                                   \
    "vpaddq %%zmm8, %%zmm" #to ", %%zmm" #to "\n"

static void twos(long n) {
    LOOP(EIGHT(TWO));
}

static void words(long n) {
    LOOP(EIGHT(POPCOUNT));
}

const struct bp_peak bp_peaks_avx512[BP_PEAK_KINDS] = {[BP_PEAK_WORDS] = {words, 8 * 512},
                                                       [BP_PEAK_MANY] = {twos, 8 * 128 * 4},
                                                       [BP_PEAK_FOURS] = {twos, 8 * 128 * 4}};
