/* What the products can reach on one core: loops of their instructions on registers alone, timed
 * beside them. */
#include "kcheck/kcheck.h"

#include <string.h>

#include "base/clock.h"

#if defined(__x86_64__)

#define ROUNDS 12
#define LOOPS  4096

#define REGISTERS                                                                                  \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",       \
        "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "cc"
#define LOOP(body)                                                                                 \
    __asm__ volatile(".p2align 6\n1:\n" body "dec %0\njnz 1b\nvzeroupper\n" : "+r"(n)::REGISTERS)
/* The accumulators 0 .. 7. */
#define EIGHT(step) step(0) step(1) step(2) step(3) step(4) step(5) step(6) step(7)

/* --- AVX2 ------------------------------------------------------------------------------------- */

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

static void bytes_avx2(long n) {
    LOOP(EIGHT(ADD));
}

static void fours_avx2(long n) {
    LOOP(FOUR(0, 1) FOUR(2, 3));
}

static void words_avx2(long n) {
    LOOP(EIGHT(COUNT));
}

/* --- AVX-512 ---------------------------------------------------------------------------------- */

/* Entries of 16 lanes by 8 quads to sums of 32 bits. */
#define TWO(to)                                                                                    \
    "vpermb %%zmm14, %%zmm15, %%zmm8\nvpermb %%zmm14, %%zmm13, %%zmm9\n"                           \
    "vpaddb %%zmm8, %%zmm9, %%zmm8\nvpdpbusd %%zmm12, %%zmm8, %%zmm" #to "\n"
/* Bits of 8 words that differ. */
#define POPCOUNT(to)                                                                               \
    "vpxorq %%zmm14, %%zmm15, %%zmm8\nvpopcntq %%zmm8, %%zmm8\n"                                   \
    "vpaddq %%zmm8, %%zmm" #to ", %%zmm" #to "\n"

static void twos_avx512(long n) {
    LOOP(EIGHT(TWO));
}

static void words_avx512(long n) {
    LOOP(EIGHT(POPCOUNT));
}

/* --- choice ----------------------------------------------------------------------------------- */

enum kind { BYTES, FOURS, WORDS, KINDS };

static const struct {
    void (*run)(long n);
    double macs; /* of one iteration */
} loops[][KINDS] = {
    [BP_TIER_AVX2] = {[BYTES] = {bytes_avx2, 8 * 32 * 4},
                      [FOURS] = {fours_avx2, 8 * 32 * 4},
                      [WORDS] = {words_avx2, 8 * 256}},
    [BP_TIER_AVX512] = {[BYTES] = {twos_avx512, 8 * 128 * 4},
                        [FOURS] = {twos_avx512, 8 * 128 * 4},
                        [WORDS] = {words_avx512, 8 * 512}},
};

/* -1: no product. */
static int kind_of(const struct kcheck *t) {
    static const struct {
        const char *name;
        enum kind kind;
    } products[] = {{"product_xor", WORDS},       {"product_planes", WORDS},
                    {"product_positions", WORDS}, {"product_signs", BYTES},
                    {"product_tables", FOURS},    {"product_samples", FOURS}};
    for (size_t i = 0; i < sizeof products / sizeof products[0]; i++)
        if (strcmp(t->kernel_name, products[i].name) == 0)
            return (int)(products[i].kind == FOURS && 255 / t->entry_max >= 12 ? BYTES
                                                                               : products[i].kind);
    return -1;
}

double kc_peak(const struct kcheck *t, enum bp_tier tier) {
    int kind = kind_of(t);
    if (kind < 0 || (size_t)tier >= sizeof loops / sizeof loops[0] || !bp_cpu_has(tier) ||
        loops[tier][kind].run == NULL)
        return 0;
    double best_ns = 1e30;
    for (int round = 0; round < ROUNDS; round++) {
        double begin_ns = (double)bp_clock_ns();
        loops[tier][kind].run(LOOPS);
        double ns = (double)bp_clock_ns() - begin_ns;
        best_ns = ns < best_ns ? ns : best_ns;
    }
    int planes = t->bench.planes > 1 ? t->bench.planes : 1;
    return LOOPS * loops[tier][kind].macs / best_ns / planes;
}

#else

double kc_peak(const struct kcheck *t, enum bp_tier tier) {
    (void)t, (void)tier;
    return 0;
}

#endif
