#include "kernels/c/tier_c.h"

void bp_kernels_init_c(struct bp_kernels *kernels) {
    kernels->sign_pack_f32 = bp_sign_pack_f32_c;
    kernels->transpose_gather = bp_transpose_gather_c;
    kernels->pack_planes = bp_pack_planes_c;
    kernels->pack_weights = bp_pack_weights_c;
    kernels->product_xor = bp_product_xor_c;
    kernels->product_planes = bp_product_planes_c;
    kernels->product_positions = bp_product_positions_c;
    kernels->count_positions = bp_count_positions_c;
    kernels->index_weights = bp_index_weights_c;
    kernels->tables_of_codes = bp_tables_of_codes_c;
    kernels->quads_of_signs = bp_quads_of_signs_c;
    kernels->product_tables = bp_product_tables_c;
    kernels->product_signs = bp_product_signs_c;
    kernels->index_of_samples = bp_index_of_samples_c;
    kernels->tables_of_samples = bp_tables_of_samples_c;
    kernels->product_samples = bp_product_samples_c;
    kernels->product_bytes = bp_product_bytes_c;
    kernels->product_bytes_f32 = bp_product_bytes_f32_c;
    kernels->random_blocks = bp_random_blocks_c;
    kernels->code_quads = bp_code_quads_c;
    kernels->range_group = bp_range_group_c;
    kernels->range_columns = bp_range_columns_c;
    kernels->round_group = bp_round_group_c;
    kernels->round_columns = bp_round_columns_c;
    kernels->scale_mask = bp_scale_mask_c;
    kernels->sums_i16 = bp_sums_i16_c;
    kernels->sums_f32 = bp_sums_f32_c;
    kernels->affine_act_i16 = bp_affine_act_i16_c;
    kernels->affine_act_f32 = bp_affine_act_f32_c;
    kernels->max_pool_2x2 = bp_max_pool_2x2_c;
    kernels->max_unpool_2x2 = bp_max_unpool_2x2_c;
    kernels->max_window = bp_max_window_c;
    kernels->max_window_back = bp_max_window_back_c;
    kernels->act_sums_i16 = bp_act_sums_i16_c;
    kernels->act_sums_f32 = bp_act_sums_f32_c;
    kernels->act_grad_i16 = bp_act_grad_i16_c;
    kernels->act_grad_f32 = bp_act_grad_f32_c;
    kernels->act_norm_moments = bp_act_norm_moments_c;
    kernels->act_norm_signs = bp_act_norm_signs_c;
    kernels->act_norm_sums = bp_act_norm_sums_c;
    kernels->act_norm_slope_sums = bp_act_norm_slope_sums_c;
    kernels->act_norm_grad = bp_act_norm_grad_c;
    kernels->sum_squares_f32 = bp_sum_squares_f32_c;
    kernels->adam_f32 = bp_adam_f32_c;
}
