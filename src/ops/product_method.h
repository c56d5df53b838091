/* How the integer products of a binary layer are computed: on words of 64 bits (XOR or AND, then
 * population count, one plane of the codes after the other), four elements at a time by lookup in
 * tables, from the codes that are not zero alone, or as tiles of bytes, where the processor
 * multiplies these. All give the same integers; only speed decides. docs/KERNELS.md, "Which
 * method". */
#ifndef BP_OPS_PRODUCT_METHOD_H
#define BP_OPS_PRODUCT_METHOD_H

#include <stddef.h>

#include "base/cpu.h"

#ifdef __cplusplus
extern "C" {
#endif

enum bp_product_method { BP_PRODUCT_BITS, BP_PRODUCT_LOOKUP, BP_PRODUCT_NONZERO, BP_PRODUCT_TILES };

/* Whether its gradient products take codes as bytes, else they take planes of bits. */
static inline int bp_product_takes_bytes(enum bp_product_method method) {
    return method != BP_PRODUCT_BITS;
}

/* "words", "lookup", "nonzero", "tiles" */
const char *bp_product_method_name(enum bp_product_method method);

enum bp_product_method bp_product_method_forward(enum bp_tier tier);

/* Of a gradient product with codes of `bits` bits (1, 2, 3, 4, 8). */
enum bp_product_method bp_product_method_gradient(enum bp_tier tier, int bits);

/* The same for the weight gradient of `batch` samples, over `positions` of the output in all. */
enum bp_product_method bp_product_method_weights(enum bp_tier tier, int bits, size_t batch,
                                                 size_t positions);

/* What lookups of codes of `bits` bits take, in those of 4 bits. Codes of 8 bits are two digits, or
 * where `over`, the share of quads that wide tables (kernels/kernels.h) leave a code out of, is
 * small, go by these: then it is less than 2. over: 1 where there are none. */
double bp_product_lookup_passes(int bits, double over);

/* Whether the weight gradient of an r x r kernel is faster from the codes that are not zero than by
 * lookup or tiles. words: of a pixel's input channels; positions: of the output, in the whole
 * batch; looked_up: samples that a lookup takes for each that there is, 1 or more, times
 * bp_product_lookup_passes; pixels: of the input, for each code; weights: of a code's digits,
 * digits: how many of them are not zero, on average (kernels/operands.h). */
int bp_product_zeros_pay_weights(enum bp_tier tier, size_t r, size_t words, size_t positions,
                                 double looked_up, double pixels, size_t weights, double digits);

/* The same for the activation gradient and lookups; never with tiles. k: output channels; pixels:
 * of the input, in all samples; taps: of r * r, that one of them sees, on average; passes:
 * bp_product_lookup_passes. */
int bp_product_zeros_pay_activations(enum bp_tier tier, size_t k, size_t pixels, size_t r,
                                     double taps, size_t words, double passes, size_t weights,
                                     double digits);

#ifdef __cplusplus
}
#endif
#endif
