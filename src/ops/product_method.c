#include "ops/product_method.h"

#include <stdint.h>

#include "kernels/operands.h"

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
 * method"). What leaves out zeros counts rows of so many words at once: */
#define ROW_WORDS 8

/* Of dW, for a code. */
#define LOOK_UP      0.3
#define LOOK_UP_WORD 0.17 /* a tap, 64 channels */
#define LIST         0.15 /* a weight */
#define LIST_CODES   0.15
#define ROW          2.6   /* of a bit that is set */
#define END_COUNT    270.0 /* a row of one output channel, for each chunk of positions */
#define END_WEIGHT   75.0
#define CHUNK        4096.0
#define CHUNK_WORDS  36000.0 /* of signs, that positions of a chunk see first */

/* The same with tiles. */
#define TILE_LIST   1.4 /* with these lists not measured */
#define TILE_TURN   0.2
#define TILE_WORD   0.145 /* a tap of a code */
#define TILE_SPREAD 14.0  /* a word of signs */

#define WIDE_PASSES 1.3  /* wide tables, of which entries are not added in pairs */
#define MOST_OVER   0.01 /* of quads: a code that is left out takes 300 cycles of 64 channels */

double bp_product_lookup_passes(int bits, double over) {
    if (bits <= 4)
        return 1;
    return over < MOST_OVER ? WIDE_PASSES : 2;
}

int bp_product_zeros_pay_weights(enum bp_tier tier, size_t r, size_t words, size_t positions,
                                 double looked_up, double pixels, size_t weights, double digits) {
    const double taps = (double)(r * r), w = (double)words;
    const double rows = (double)(r * ((r * words + ROW_WORDS - 1) / ROW_WORDS));
    double chunk = CHUNK_WORDS / w < CHUNK ? CHUNK_WORDS / w : CHUNK;
    chunk = (double)positions < chunk ? (double)positions : chunk;
    const double lists = (double)weights, end = END_COUNT + lists * END_WEIGHT;
    double nonzero = rows * (digits * ROW + end / chunk);
    if (tier == BP_TIER_AMX)
        return weights == BP_NONZERO_WEIGHTS &&
               TILE_LIST + nonzero < TILE_TURN + (taps * TILE_WORD + TILE_SPREAD * pixels) * w;
    /* not measured elsewhere */
    return tier == BP_TIER_AVX512 &&
           LIST_CODES + lists * LIST + nonzero < looked_up * (LOOK_UP + taps * LOOK_UP_WORD * w);
}

/* Of dA, for a pixel. */
#define LOOK_UP_TAP 0.21  /* a tap of a code, 64 channels */
#define UNIT        190.0 /* pixels that are counted at once */
#define UNIT_WEIGHT 75.0
#define LIST_CODE   0.2
#define LIST_WEIGHT 0.05
#define PIXEL_ROW   1.75
#define FILL_ROW    10.0 /* of the weights, once for all pixels */

int bp_product_zeros_pay_activations(enum bp_tier tier, size_t k, size_t pixels, size_t r,
                                     double taps, size_t words, double passes, size_t weights,
                                     double digits) {
    const double codes = (double)k, unit = words < ROW_WORDS ? (double)(ROW_WORDS / words) : 1;
    const double parts = (double)((words + ROW_WORDS - 1) / ROW_WORDS);
    const double columns = unit + (double)r - 1; /* of codes that a unit sees */
    if (tier != BP_TIER_AVX512)
        return 0;
    const double list = LIST_CODE + LIST_WEIGHT * (double)weights;
    const double end = UNIT + UNIT_WEIGHT * (double)weights;
    double rows = codes * digits * taps / (double)r * columns;
    double fill = (double)r * columns * 2 * codes * parts * FILL_ROW / (double)pixels;
    double nonzero = fill + (list * columns * codes + parts * (end + rows * PIXEL_ROW)) / unit;
    return nonzero < taps * codes * LOOK_UP_TAP * (double)words * passes;
}
