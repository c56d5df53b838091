#include "kernels/x86/tier_avx512.h"

void bp_kernels_init_avx512(struct bp_kernels *kernels) {
    kernels->sign_pack_f32 = bp_sign_pack_f32_avx512;
    kernels->transpose_gather = bp_transpose_gather_avx512;
    kernels->pack_planes = bp_pack_planes_avx512;
    kernels->pack_weights = bp_pack_weights_avx512;
    kernels->product_xor = bp_product_xor_avx512;
    kernels->product_planes = bp_product_planes_avx512;
    kernels->product_positions = bp_product_positions_avx512;
    kernels->count_positions = bp_count_positions_avx512;
    kernels->product_bytes = bp_product_bytes_avx512;
    kernels->product_bytes_f32 = bp_product_bytes_f32_avx512;
    kernels->random_blocks = bp_random_blocks_avx512;
    kernels->code_quads = bp_code_quads_avx512;
    kernels->range_group = bp_range_group_avx512;
    kernels->range_columns = bp_range_columns_avx512;
    kernels->round_group = bp_round_group_avx512;
    kernels->round_columns = bp_round_columns_avx512;
    kernels->scale_mask = bp_scale_mask_avx512;
    kernels->sums_i16 = bp_sums_i16_avx512;
    kernels->half_sums_i16 = bp_half_sums_i16_avx512;
    kernels->sums_f32 = bp_sums_f32_avx512;
    kernels->affine_act_i16 = bp_affine_act_i16_avx512;
    kernels->affine_act_f32 = bp_affine_act_f32_avx512;
    kernels->affine_signs_i16 = bp_affine_signs_i16_avx512;
    kernels->affine_signs_f32 = bp_affine_signs_f32_avx512;
    kernels->limit_signs_i16 = bp_limit_signs_i16_avx512;
    kernels->limit_pool_signs_i16 = bp_limit_pool_signs_i16_avx512;
    kernels->affine_pool_signs_i16 = bp_affine_pool_signs_i16_avx512;
    kernels->act_norm_signs = bp_act_norm_signs_avx512;
    kernels->max_pool_2x2 = bp_max_pool_2x2_avx512;
    kernels->max_unpool_2x2 = bp_max_unpool_2x2_avx512;
    kernels->act_sums_i16 = bp_act_sums_i16_avx512;
    kernels->act_sums_f32 = bp_act_sums_f32_avx512;
    kernels->act_grad_i16 = bp_act_grad_i16_avx512;
    kernels->act_grad_f32 = bp_act_grad_f32_avx512;
}
