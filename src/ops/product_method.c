#include "ops/product_method.h"

const char *bp_product_method_name(enum bp_product_method method) {
    static const char *const names[] = {"words", "lookup", "nonzero"};
    return names[method];
}

/* AVX2 counts bits by looking up nibbles anyway, and a lookup of four products costs as much as one
 * of four bits. Tiers that count bits in one instruction do better on words: NEON takes 3
 * instructions for 128 products, a lookup 2 for 64. */
enum bp_product_method bp_product_method_forward(enum bp_tier tier) {
    return tier == BP_TIER_AVX2 ? BP_PRODUCT_LOOKUP : BP_PRODUCT_BITS;
}

/* The cost on words grows with the planes; that of lookups steps up at 5 bits only. */
enum bp_product_method bp_product_method_gradient(enum bp_tier tier, int bits) {
    switch (tier) {
    case BP_TIER_AVX2:
        return BP_PRODUCT_LOOKUP;
    case BP_TIER_AVX512:
    case BP_TIER_NEON:
        return bits == 1 ? BP_PRODUCT_BITS : BP_PRODUCT_LOOKUP;
    default:
        return BP_PRODUCT_BITS;
    }
}

/* AVX-512 looks up 16 samples at once, those that are missing too. */
#define FEWEST_SAMPLES 8

enum bp_product_method bp_product_method_weights(enum bp_tier tier, int bits, size_t batch) {
    if (tier == BP_TIER_AVX512 && batch < FEWEST_SAMPLES)
        return BP_PRODUCT_BITS;
    return bp_product_method_gradient(tier, bits);
}

/* Cycles of Zen 4 for a code, all taps of 3 x 3, as measured (docs/KERNELS.md, "Which method"); the
 * other kernel sizes in proportion. */
#define LOOK_UP      0.5
#define LOOK_UP_WORD 3.0 /* for each word of channels */
#define LIST         2.5
#define ROW          3.0 /* of a bit that is set */
#define ROW_WORD     3.7
#define END_COUNT    450.0 /* a row of taps, up to 8 words, of one output channel */

int bp_product_zeros_pay(enum bp_tier tier, size_t r, size_t words, size_t positions,
                         double set_bits) {
    const double share = (double)(r * r) / 9, w = (double)words;
    if (tier != BP_TIER_AVX512) /* not measured elsewhere */
        return 0;
    double counts = (double)(r * ((r * words + 7) / 8)) * END_COUNT / (double)positions;
    double nonzero = LIST + share * set_bits * (ROW + ROW_WORD * w) + counts;
    return nonzero < LOOK_UP + share * LOOK_UP_WORD * w;
}
