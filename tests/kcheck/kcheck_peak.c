/* What lookups can reach on one core: loops of vpshufb and adds on registers alone, timed beside
 * the products by lookup. */
#include "kcheck/kcheck.h"

#include <string.h>

#include "base/clock.h"

#if defined(__x86_64__)

#define ROUNDS     12
#define LOOPS      4096
#define LOOKUP_MAC 128 /* 32 lanes by 4 elements */

#define REGISTERS                                                                                  \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm12", "xmm13",      \
        "xmm14", "xmm15", "cc"
#define LOOP(body)                                                                                 \
    __asm__ volatile(".p2align 6\n1:\n" body "dec %0\njnz 1b\nvzeroupper\n" : "+r"(n)::REGISTERS)

#define LOOK_UP "vpshufb %%ymm14, %%ymm15, "
/* Adds an entry to the bytes in register `to`. */
#define ADD(to) LOOK_UP "%%ymm13\nvpaddb %%ymm13, %%ymm" #to ", %%ymm" #to "\n"
/* Four entries to bytes, and these to sums of 16 bits. */
#define FOUR(full, odd)                                                                            \
    LOOK_UP "%%ymm12\n" ADD(12) ADD(12) ADD(12) "vpaddw %%ymm12, %%ymm" #full ", %%ymm" #full "\n" \
                                                "vpsrlw $8, %%ymm12, %%ymm12\n"                    \
                                                "vpaddw %%ymm12, %%ymm" #odd ", %%ymm" #odd "\n"

/* 16 lookups each. */
static void loop_bytes(long n) {
    LOOP(ADD(0) ADD(1) ADD(2) ADD(3) ADD(4) ADD(5) ADD(6) ADD(7) ADD(0) ADD(1) ADD(2) ADD(3) ADD(4)
             ADD(5) ADD(6) ADD(7));
}

static void loop_fours(long n) {
    LOOP(FOUR(0, 1) FOUR(2, 3) FOUR(4, 5) FOUR(6, 7));
}

double kc_peak(const struct kcheck *t) {
    int signs = strcmp(t->kernel_name, "product_signs") == 0;
    int sums = strcmp(t->kernel_name, "product_tables") == 0 ||
               strcmp(t->kernel_name, "product_samples") == 0;
    if ((!signs && !sums) || !bp_cpu_has(BP_TIER_AVX2))
        return 0;
    int fours = sums && 255 / t->entry_max < 12;
    double best_ns = 1e30;
    for (int round = 0; round < ROUNDS; round++) {
        double begin_ns = (double)bp_clock_ns();
        if (fours)
            loop_fours(LOOPS);
        else
            loop_bytes(LOOPS);
        double ns = (double)bp_clock_ns() - begin_ns;
        best_ns = ns < best_ns ? ns : best_ns;
    }
    return 16.0 * LOOPS * LOOKUP_MAC / best_ns;
}

#else

double kc_peak(const struct kcheck *t) {
    (void)t;
    return 0;
}

#endif
