#include "kernels/x86/tier_avx2.h"

void bp_kernels_init_avx2(struct bp_kernels *kernels) {
    kernels->product_xor = bp_product_xor_avx2;
    kernels->product_planes = bp_product_planes_avx2;
    kernels->product_positions = bp_product_positions_avx2;
    kernels->count_positions = bp_count_positions_avx2;
}
