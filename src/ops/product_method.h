/* How the integer products of a binary layer are computed: on words of 64 bits (XOR or AND, then
 * population count, one plane of the codes after the other), or four elements at a time by lookup
 * in tables. Both give the same integers; only speed decides. docs/KERNELS.md, "Which method". */
#ifndef BP_OPS_PRODUCT_METHOD_H
#define BP_OPS_PRODUCT_METHOD_H

#include <stddef.h>

#include "base/cpu.h"

#ifdef __cplusplus
extern "C" {
#endif

enum bp_product_method { BP_PRODUCT_BITS, BP_PRODUCT_LOOKUP };

/* "bits", "lookup" */
const char *bp_product_method_name(enum bp_product_method method);

enum bp_product_method bp_product_method_forward(enum bp_tier tier);

/* Of a gradient product with codes of `bits` bits (1, 2, 3, 4, 8). */
enum bp_product_method bp_product_method_gradient(enum bp_tier tier, int bits);

/* The same for the weight gradient of `batch` samples. */
enum bp_product_method bp_product_method_weights(enum bp_tier tier, int bits, size_t batch);

#ifdef __cplusplus
}
#endif
#endif
