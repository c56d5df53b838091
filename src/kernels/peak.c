#include "kernels/peak.h"

#if BP_KERNELS_X86
#include "kernels/x86/peak_loop.h"
#endif

int bp_peak_find(enum bp_tier tier, enum bp_peak_kind kind, struct bp_peak *out) {
    *out = (struct bp_peak){0};
#if BP_KERNELS_X86
    if (tier == BP_TIER_AVX2 && bp_cpu_has(tier))
        *out = bp_peaks_avx2[kind];
    if ((tier == BP_TIER_AVX512 || tier == BP_TIER_AMX) && bp_cpu_has(tier))
        *out = bp_peaks_avx512[kind];
#if defined(BP_HAVE_AMX)
    if (tier == BP_TIER_AMX && kind == BP_PEAK_TILES && bp_cpu_has(tier))
        *out = bp_peak_tiles;
#endif
#else
    (void)tier, (void)kind;
#endif
    return out->run != NULL;
}

/* From three groups of four on, the widening to 16 bits is seldom. */
enum bp_peak_kind bp_peak_of_lookup(int entry_max) {
    return 255 / entry_max >= 12 ? BP_PEAK_MANY : BP_PEAK_FOURS;
}
