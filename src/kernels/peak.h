/* What the products can reach: loops of their instructions on registers alone, to be timed beside
 * them. They compute nothing. Only the vector tiers of x86 have such loops. */
#ifndef BP_KERNELS_PEAK_H
#define BP_KERNELS_PEAK_H

#include <stddef.h>

#include "base/cpu.h"

#ifdef __cplusplus
extern "C" {
#endif

enum bp_peak_kind {
    BP_PEAK_WORDS, /* bits that differ, or are set in both: one plane of codes */
    BP_PEAK_MANY,  /* lookups of which a byte takes many entries */
    BP_PEAK_FOURS, /* lookups of which a byte takes four */
    BP_PEAK_TILES, /* tiles of bytes, codes of any number of bits */
    BP_PEAK_KINDS
};

struct bp_peak {
    void (*run)(long iterations);
    double macs; /* of an iteration */
};

/* The loop of a kind. Returns 0 where the tier has none, or this machine lacks the tier. */
int bp_peak_find(enum bp_tier tier, enum bp_peak_kind kind, struct bp_peak *out);

/* The kind of a lookup in tables whose entries are at most entry_max. */
enum bp_peak_kind bp_peak_of_lookup(int entry_max);

#ifdef __cplusplus
}
#endif
#endif
