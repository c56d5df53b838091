/* The arithmetic of bp_bench_layers. */
#ifndef BP_TRAIN_BENCH_LAYERS_H
#define BP_TRAIN_BENCH_LAYERS_H

#include <stddef.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Fills in what follows from ms, gmac and ceiling: gmac_per_s and share. */
void bp_bench_product_rate(bp_bench_product *product);

/* One product (0: forward, 1: dA, 2: dW) of all layers, each as often as it occurs: sums of ms,
 * gmac and gmac_needed; gmac_per_s, ceilings and share as means weighted by gmac. */
void bp_bench_layers_mean(const bp_bench_layer *layers, size_t count, size_t product,
                          bp_bench_product *out);

#ifdef __cplusplus
}
#endif
#endif
