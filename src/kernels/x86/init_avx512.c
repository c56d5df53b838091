#include "kernels/x86/tier_avx512.h"

void bp_kernels_init_avx512(struct bp_kernels *kernels) {
    kernels->product_xor = bp_product_xor_avx512;
    kernels->product_planes = bp_product_planes_avx512;
    kernels->product_positions = bp_product_positions_avx512;
    kernels->count_positions = bp_count_positions_avx512;
}
