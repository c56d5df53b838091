/* What this processor can run. A tier is a named bundle of instruction sets together with the
 * operating system's support for their registers. */
#ifndef BP_BASE_CPU_H
#define BP_BASE_CPU_H

#include <stddef.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum bp_tier {
    BP_TIER_C = 0,  /* portable C, always there */
    BP_TIER_AVX2,   /* AVX2, BMI1, BMI2, FMA, POPCNT */
    BP_TIER_AVX512, /* avx2 and AVX-512 F BW DQ VL VBMI VBMI2 VNNI VPOPCNTDQ BITALG */
    BP_TIER_AMX,  /* avx512 and AMX TILE INT8, where the system lets processes use its registers */
    BP_TIER_NEON, /* aarch64, little-endian: Advanced SIMD, which every ARMv8.0 core has */
    BP_TIER_COUNT
};

/* 1 if this machine can run the tier. */
int bp_cpu_has(enum bp_tier tier);

/* Whether it has instructions for rounds of AES, of one block or, `wide`, of four: random bytes
 * (base/rng.h). Tiers do without where they are missing. */
int bp_cpu_has_aes(int wide);

/* Whether it adds up products of bfloat16 (AVX512_BF16) twice as fast as those of floats, as AMD's
 * processors do; Intel's are half as fast (docs/KERNELS.md, "Products of bfloat16"). */
int bp_cpu_has_fast_bf16(void);

/* The best tier of this machine. */
enum bp_tier bp_cpu_best(void);

/* "c", "avx2", "avx512", "amx", "neon". */
const char *bp_tier_name(enum bp_tier tier);

/* Reads a tier's name ("auto" or NULL: the best). An unknown name is BP_USAGE, a tier that this
 * machine lacks too: never a silent fallback. */
bp_status bp_tier_parse(const char *name, enum bp_tier *out);

/* Bytes of the last level of its caches; 32 MiB where the system does not tell. */
size_t bp_cpu_last_cache(void);

/* The processor's model name for reports ("unknown" where the system does not tell). */
const char *bp_cpu_model(void);

/* The same out of a file in the form of /proc/cpuinfo; where that has no name, as on ARM, the
 * numbers of its maker and part. Valid until the thread's next call. */
const char *bp_cpu_model_in(const char *path);

#ifdef __cplusplus
}
#endif
#endif
