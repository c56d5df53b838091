#include "ops/product_method.h"

const char *bp_product_method_name(enum bp_product_method method) {
    return method == BP_PRODUCT_LOOKUP ? "lookup" : "bits";
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
