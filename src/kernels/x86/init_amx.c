#include "kernels/x86/tier_amx.h"

void bp_kernels_init_amx(struct bp_kernels *kernels) {
    kernels->spread_signs = bp_spread_signs_amx;
    kernels->spread_weights = bp_spread_weights_amx;
    kernels->spread_samples = bp_spread_samples_amx;
    kernels->turn_codes = bp_turn_codes_amx;
    kernels->product_tiles_i16 = bp_product_tiles_i16_amx;
    kernels->product_tiles_i32 = bp_product_tiles_i32_amx;
    kernels->product_turned = bp_product_turned_amx;
    kernels->product_bf16 = bp_product_bf16_amx;
    kernels->product_bytes = bp_product_bytes_amx;
    kernels->product_bytes_i16 = bp_product_bytes_i16_amx;
}
