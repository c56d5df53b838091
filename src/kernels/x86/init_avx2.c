#include "kernels/x86/tier_avx2.h"

#include "base/cpu.h"

/* pack_weights stays in C: it runs once a step, on weights only. */
void bp_kernels_init_avx2(struct bp_kernels *kernels) {
    kernels->sign_pack_f32 = bp_sign_pack_f32_avx2;
    kernels->transpose_gather = bp_transpose_gather_avx2;
    kernels->pack_planes = bp_pack_planes_avx2;
    kernels->product_xor = bp_product_xor_avx2;
    kernels->product_planes = bp_product_planes_avx2;
    kernels->product_positions = bp_product_positions_avx2;
    kernels->count_positions = bp_count_positions_avx2;
    kernels->index_weights = bp_index_weights_avx2;
    kernels->tables_of_codes = bp_tables_of_codes_avx2;
    kernels->quads_of_signs = bp_quads_of_signs_avx2;
    kernels->product_tables = bp_product_tables_avx2;
    kernels->product_signs = bp_product_signs_avx2;
    kernels->index_of_samples = bp_index_of_samples_avx2;
    kernels->tables_of_samples = bp_tables_of_samples_avx2;
    kernels->product_samples = bp_product_samples_avx2;
    kernels->product_bytes = bp_product_bytes_avx2;
    kernels->product_bytes_f32 = bp_product_bytes_f32_avx2;
    kernels->product_bytes_i16 = bp_product_bytes_i16_avx2;
    if (bp_cpu_has_aes(0))
        kernels->random_blocks = bp_random_blocks_avx2;
    kernels->code_quads = bp_code_quads_avx2;
    kernels->range_columns = bp_range_columns_avx2;
    kernels->round_group = bp_round_group_avx2;
    kernels->round_columns = bp_round_columns_avx2;
    kernels->scale_mask = bp_scale_mask_avx2;
    kernels->mask_sums = bp_mask_sums_avx2;
    kernels->narrow_sums = bp_narrow_sums_avx2;
    kernels->latent_gradient = bp_latent_gradient_avx2;
    kernels->scale_latent = bp_scale_latent_avx2;
    kernels->sums_i16 = bp_sums_i16_avx2;
    kernels->half_sums_i16 = bp_half_sums_i16_avx2;
    kernels->sums_f32 = bp_sums_f32_avx2;
    kernels->affine_act_i16 = bp_affine_act_i16_avx2;
    kernels->affine_act_f32 = bp_affine_act_f32_avx2;
    kernels->affine_act_f16 = bp_affine_act_f16_avx2;
    kernels->affine_signs_i16 = bp_affine_signs_i16_avx2;
    kernels->affine_signs_f32 = bp_affine_signs_f32_avx2;
    kernels->affine_signs_f16 = bp_affine_signs_f16_avx2;
    kernels->limit_signs_i16 = bp_limit_signs_i16_avx2;
    kernels->limit_pool_signs_i16 = bp_limit_pool_signs_i16_avx2;
    kernels->affine_pool_signs_i16 = bp_affine_pool_signs_i16_avx2;
    kernels->max_pool_2x2 = bp_max_pool_2x2_avx2;
    kernels->max_unpool_2x2 = bp_max_unpool_2x2_avx2;
    kernels->max_window = bp_max_window_avx2;
    kernels->max_window_i16 = bp_max_window_i16_avx2;
    kernels->max_window_back = bp_max_window_back_avx2;
    kernels->act_sums_i16 = bp_act_sums_i16_avx2;
    kernels->act_sums_f32 = bp_act_sums_f32_avx2;
    kernels->act_sums_f16 = bp_act_sums_f16_avx2;
    kernels->pool_sums_i16 = bp_pool_sums_i16_avx2;
    kernels->act_grad_i16 = bp_act_grad_i16_avx2;
    kernels->act_grad_f32 = bp_act_grad_f32_avx2;
    kernels->act_grad_f16 = bp_act_grad_f16_avx2;
    kernels->scale_grad_i16 = bp_scale_grad_i16_avx2;
    kernels->scale_sums_i16 = bp_scale_sums_i16_avx2;
    kernels->act_range_i16 = bp_act_range_i16_avx2;
    kernels->act_norm_signs = bp_act_norm_signs_avx2;
    kernels->act_norm_sums = bp_act_norm_sums_avx2;
    kernels->act_norm_grad = bp_act_norm_grad_avx2;
    kernels->act_norm_range = bp_act_norm_range_avx2;
    kernels->average_back = bp_average_back_avx2;
    kernels->round_bf16 = bp_round_bf16_avx2;
    kernels->settle_f16 = bp_settle_f16_avx2;
    kernels->widen_bf16 = bp_widen_bf16_avx2;
    kernels->widen_f16 = bp_widen_f16_avx2;
    kernels->average_bf16 = bp_average_bf16_avx2;
    kernels->sum_squares_f32 = bp_sum_squares_f32_avx2;
    kernels->adam_f32 = bp_adam_f32_avx2;
}
