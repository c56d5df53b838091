/* What the loops of kernels/peak.h share. */
#ifndef BP_KERNELS_X86_PEAK_LOOP_H
#define BP_KERNELS_X86_PEAK_LOOP_H

#include "kernels/peak.h"

#define REGISTERS                                                                                  \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",       \
        "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "cc"
#define LOOP(body)                                                                                 \
    __asm__ volatile(".p2align 6\n1:\n" body "dec %0\njnz 1b\nvzeroupper\n" : "+r"(n)::REGISTERS)
/* The accumulators 0 .. 7. */
#define EIGHT(step) step(0) step(1) step(2) step(3) step(4) step(5) step(6) step(7)

extern const struct bp_peak bp_peaks_avx2[BP_PEAK_KINDS], bp_peaks_avx512[BP_PEAK_KINDS];
extern const struct bp_peak bp_peak_tiles;

#endif
