#include "ops/product_method.h"

#include <stdint.h>

const char *bp_product_method_name(enum bp_product_method method) {
    static const char *const names[] = {"words", "lookup", "nonzero", "tiles"};
    return names[method];
}

/* AVX2 counts bits by looking up nibbles anyway, and a lookup of four products costs as much as one
 * of four bits. Tiers that count bits in one instruction do better on words: NEON takes 3
 * instructions for 128 products, a lookup 2 for 64. Tiles multiply 1024 bytes in a
 * cycle, where others count 512 bits. */
enum bp_product_method bp_product_method_forward(enum bp_tier tier) {
    if (tier == BP_TIER_AMX)
        return BP_PRODUCT_TILES;
    return tier == BP_TIER_AVX2 ? BP_PRODUCT_LOOKUP : BP_PRODUCT_BITS;
}

/* The cost on words grows with the planes; that of lookups steps up at 5 bits only. */
enum bp_product_method bp_product_method_gradient(enum bp_tier tier, int bits) {
    switch (tier) {
    case BP_TIER_AMX:
        return BP_PRODUCT_TILES;
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

/* Tiles add up codes of 8 bits, times 1 or -1, in 32 bits. */
#define MOST_POSITIONS_OF_TILES (INT32_MAX / 255)

enum bp_product_method bp_product_method_weights(enum bp_tier tier, int bits, size_t batch,
                                                 size_t positions) {
    if (tier == BP_TIER_AMX && positions > MOST_POSITIONS_OF_TILES)
        tier = BP_TIER_AVX512;
    if (tier == BP_TIER_AVX512 && batch < FEWEST_SAMPLES)
        return BP_PRODUCT_BITS;
    return bp_product_method_gradient(tier, bits);
}

/* Cycles as measured, of Zen 5; with tiles those of Granite Rapids (docs/KERNELS.md, "Which
 * method"). */
#define LOOK_UP_WORD 0.2 /* a tap of a code, 64 channels */

/* Of dW, for a code. */
#define LOOK_UP   0.5
#define LIST      1.7
#define ROW       0.2 /* a tap of a bit that is set */
#define ROW_WORD  0.35
#define END_COUNT 1060.0 /* a row of taps, up to 8 words, of one output channel */

/* The same with tiles. */
#define TILE_LIST   1.8
#define TILE_TURN   0.2
#define TILE_WORD   0.145 /* a tap of a code */
#define TILE_SPREAD 14.0  /* a word of signs */

int bp_product_zeros_pay_weights(enum bp_tier tier, size_t r, size_t words, size_t positions,
                                 double looked_up, double pixels, double set_bits) {
    const double taps = (double)(r * r), w = (double)words;
    double counts = (double)(r * ((r * words + 7) / 8)) * END_COUNT / (double)positions;
    double nonzero = taps * set_bits * (ROW + ROW_WORD * w) + counts;
    if (tier == BP_TIER_AMX)
        return TILE_LIST + nonzero < TILE_TURN + (taps * TILE_WORD + TILE_SPREAD * pixels) * w;
    /* not measured elsewhere */
    return tier == BP_TIER_AVX512 &&
           LIST + nonzero < looked_up * (LOOK_UP + taps * LOOK_UP_WORD * w);
}

/* Of dA, for a pixel. */
#define PIXEL     540.0 /* up to 8 words */
#define LIST_CODE 1.2
#define SIGN_WORD 1.7  /* of the weights, once for all pixels: copied, and its complement */
#define FILL      15.0 /* rows that fill up the lists of a pixel */
#define ROW_FOUR  1.7  /* of up to 4 words */
#define ROW_EIGHT 2.5

int bp_product_zeros_pay_activations(enum bp_tier tier, size_t k, size_t pixels, double taps,
                                     size_t words, double set_bits) {
    const double codes = (double)k, parts = (double)((words + 7) / 8);
    if (tier != BP_TIER_AVX512)
        return 0;
    double rows = taps * (codes * set_bits + FILL);
    double weights = taps * codes * (double)words * SIGN_WORD / (double)pixels;
    double nonzero = weights + LIST_CODE * codes + parts * PIXEL +
                     rows * (words <= 4 ? ROW_FOUR : ROW_EIGHT * parts);
    return nonzero < taps * codes * LOOK_UP_WORD * (double)words;
}
