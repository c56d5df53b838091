#include "kernels/arm/tier_neon.h"

#include "base/cpu.h"

/* In C stay: pack_weights, which runs once a step, on weights only; product_signs and
 * quads_of_signs, since the forward product is faster on words here (ops/product_method.c);
 * act_norm_grad, of which the compiler makes as good a loop of vectors. */
void bp_kernels_init_neon(struct bp_kernels *kernels) {
    kernels->sign_pack_f32 = bp_sign_pack_f32_neon;
    kernels->transpose_gather = bp_transpose_gather_neon;
    kernels->pack_planes = bp_pack_planes_neon;
    kernels->product_xor = bp_product_xor_neon;
    kernels->product_planes = bp_product_planes_neon;
    kernels->product_positions = bp_product_positions_neon;
    kernels->count_positions = bp_count_positions_neon;
    kernels->index_weights = bp_index_weights_neon;
    kernels->tables_of_codes = bp_tables_of_codes_neon;
    kernels->product_tables = bp_product_tables_neon;
    kernels->index_of_samples = bp_index_of_samples_neon;
    kernels->tables_of_samples = bp_tables_of_samples_neon;
    kernels->product_samples = bp_product_samples_neon;
    kernels->product_bytes = bp_product_bytes_neon;
    kernels->product_bytes_f32 = bp_product_bytes_f32_neon;
    kernels->product_bytes_i16 = bp_product_bytes_i16_neon;
    if (bp_cpu_has_aes(0))
        kernels->random_blocks = bp_random_blocks_neon;
    kernels->code_quads = bp_code_quads_neon;
    kernels->range_columns = bp_range_columns_neon;
    kernels->round_group = bp_round_group_neon;
    kernels->round_columns = bp_round_columns_neon;
    kernels->scale_mask = bp_scale_mask_neon;
    kernels->mask_sums = bp_mask_sums_neon;
    kernels->scale_latent = bp_scale_latent_neon;
    kernels->sums_i16 = bp_sums_i16_neon;
    kernels->half_sums_i16 = bp_half_sums_i16_neon;
    kernels->sums_f32 = bp_sums_f32_neon;
    kernels->affine_act_i16 = bp_affine_act_i16_neon;
    kernels->affine_act_f32 = bp_affine_act_f32_neon;
    kernels->affine_act_f16 = bp_affine_act_f16_neon;
    kernels->affine_signs_i16 = bp_affine_signs_i16_neon;
    kernels->affine_signs_f32 = bp_affine_signs_f32_neon;
    kernels->affine_signs_f16 = bp_affine_signs_f16_neon;
    kernels->limit_signs_i16 = bp_limit_signs_i16_neon;
    kernels->limit_pool_signs_i16 = bp_limit_pool_signs_i16_neon;
    kernels->affine_pool_signs_i16 = bp_affine_pool_signs_i16_neon;
    kernels->max_pool_2x2 = bp_max_pool_2x2_neon;
    kernels->max_unpool_2x2 = bp_max_unpool_2x2_neon;
    kernels->max_window = bp_max_window_neon;
    kernels->max_window_back = bp_max_window_back_neon;
    kernels->act_sums_i16 = bp_act_sums_i16_neon;
    kernels->act_sums_f32 = bp_act_sums_f32_neon;
    kernels->act_sums_f16 = bp_act_sums_f16_neon;
    kernels->pool_sums_i16 = bp_pool_sums_i16_neon;
    kernels->act_grad_i16 = bp_act_grad_i16_neon;
    kernels->act_grad_f32 = bp_act_grad_f32_neon;
    kernels->act_grad_f16 = bp_act_grad_f16_neon;
    kernels->scale_grad_i16 = bp_scale_grad_i16_neon;
    kernels->scale_sums_i16 = bp_scale_sums_i16_neon;
    kernels->act_range_i16 = bp_act_range_i16_neon;
    kernels->act_columns_i16 = bp_act_columns_i16_neon;
    kernels->act_norm_signs = bp_act_norm_signs_neon;
    kernels->act_norm_sums = bp_act_norm_sums_neon;
    kernels->act_norm_range = bp_act_norm_range_neon;
    kernels->act_norm_columns = bp_act_norm_columns_neon;
    kernels->sum_squares_f32 = bp_sum_squares_f32_neon;
    kernels->adam_f32 = bp_adam_f32_neon;
}
