#include "kernels/x86/tier_avx2.h"

void bp_kernels_init_avx2(struct bp_kernels *kernels) {
    (void)kernels;
}
