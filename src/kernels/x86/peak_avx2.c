#include "kernels/x86/peak_loop.h"

#define LOOK_UP "vpshufb %%ymm14, %%ymm15, "
/* Adds an entry to the bytes in register `to`. */
#define ADD(to) LOOK_UP "%%ymm13\nvpaddb %%ymm13, %%ymm" #to ", %%ymm" #to "\n"
/* Four entries to bytes, and these to sums of 16 bits. */
#define FOUR(full, odd)                                                                            \
    LOOK_UP "%%ymm12\n" ADD(12) ADD(12) ADD(12) "vpaddw %%ymm12, %%ymm" #full ", %%ymm" #full "\n" \
                                                "vpsrlw $8, %%ymm12, %%ymm12\n"                    \
                                                "vpaddw %%ymm12, %%ymm" #odd ", %%ymm" #odd "\n"
/* Bits of 4 words that differ, counted by nibbles. */
#define COUNT(to)                                                                                  \
    "vpxor %%ymm14, %%ymm15, %%ymm8\nvpand %%ymm13, %%ymm8, %%ymm9\nvpsrlw $4, %%ymm8, %%ymm8\n"   \
    "vpand %%ymm13, %%ymm8, %%ymm8\nvpshufb %%ymm9, %%ymm12, %%ymm9\n"                             \
    "vpshufb %%ymm8, %%ymm12, %%ymm8\nvpaddb %%ymm8, %%ymm9, %%ymm8\n"                             \
    "vpaddb %%ymm8, %%ymm" #to ", %%ymm" #to "\n"

static void many(long n) {
    LOOP(EIGHT(ADD));
}

static void fours(long n) {
    LOOP(FOUR(0, 1) FOUR(2, 3));
}

static void words(long n) {
    LOOP(EIGHT(COUNT));
}

const struct bp_peak bp_peaks_avx2[BP_PEAK_KINDS] = {[BP_PEAK_WORDS] = {words, 8 * 256},
                                                     [BP_PEAK_MANY] = {many, 8 * 32 * 4},
                                                     [BP_PEAK_FOURS] = {fours, 8 * 32 * 4}};
