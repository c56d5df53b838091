/* The neon tier: one function per kernel that it has; contracts in kernels/kernels.h. */
#ifndef BP_KERNELS_TIER_NEON_H
#define BP_KERNELS_TIER_NEON_H

#include "kernels/kernels.h"

void bp_sign_pack_f32_neon(const float *x, size_t n, size_t c, uint64_t *bits, uint64_t *mask);
void bp_transpose_gather_neon(const uint64_t *base, const int32_t *offset, size_t count, size_t cw,
                              uint64_t *out);
void bp_pack_planes_neon(const uint8_t *codes, size_t n, size_t k, int bits, uint64_t *planes);
void bp_product_xor_neon(const uint64_t *x, const int32_t *pixel, const int32_t *to, size_t n,
                         const int32_t *tap, const int32_t *tap_w, size_t taps, size_t w_taps,
                         size_t cw, const uint64_t *w, size_t k, int bias, int16_t *y);
void bp_product_planes_neon(const uint64_t *x, const int32_t *pixel, size_t n, const int32_t *tap,
                            const int32_t *tap_w, size_t taps, size_t w_taps, size_t kw, int planes,
                            int is_signed, const uint64_t *w, size_t c, int32_t *y);
void bp_product_positions_neon(const uint64_t *a, const uint64_t *g, size_t words, size_t k,
                               size_t c, int planes, int is_signed, int32_t *y, size_t y_stride);
void bp_count_positions_neon(const uint64_t *a, size_t words, size_t c, int32_t *count);
void bp_index_weights_neon(const uint64_t *bits, size_t lanes, size_t taps, size_t words,
                           size_t quads, size_t together, uint8_t *index);
void bp_tables_of_codes_neon(const uint8_t *codes, size_t n, size_t k, size_t together,
                             const struct bp_digit *digit, uint8_t *tables);
void bp_index_of_samples_neon(const uint64_t *bits, const int32_t *offset, size_t samples,
                              size_t together, size_t n, size_t words, size_t c, uint8_t *out,
                              size_t out_step);
void bp_tables_of_samples_neon(const uint8_t *codes, const int32_t *offset, size_t samples,
                               size_t together, size_t n, size_t code_step, size_t k,
                               const struct bp_digit *digit, uint8_t *out, size_t column_bytes,
                               size_t position_bytes);
void bp_product_tables_neon(const uint8_t *tables, const int32_t *pixel, size_t n,
                            const int32_t *tap, const int32_t *tap_w, size_t taps, size_t w_taps,
                            size_t quads, size_t together, int entry_max, const uint8_t *index,
                            size_t c, const int32_t *base, int shift, int32_t *y,
                            struct bp_fetch *soon);
void bp_product_samples_neon(const uint8_t *tables, size_t k, size_t column_bytes,
                             const struct bp_tap_runs *runs, const uint8_t *index,
                             size_t index_step, size_t c, size_t together, int entry_max, int add,
                             int32_t *y, size_t y_stride, size_t tap_stride);
void bp_product_bytes_neon(const uint8_t *x, const int32_t *row, size_t n, const int32_t *quad,
                           size_t quads, const int8_t *w, size_t k, int32_t *y);
void bp_product_bytes_f32_neon(const uint8_t *x, const int32_t *row, size_t n, const int32_t *quad,
                               size_t quads, const int8_t *w, size_t k, const int32_t *base,
                               const float *scale, float *y);
void bp_product_bytes_i16_neon(const uint8_t *x, const int32_t *row, size_t n, const int32_t *quad,
                               size_t quads, const int8_t *w, size_t k, const int32_t *base,
                               const int32_t *shift, int16_t *y);
void bp_random_blocks_neon(const struct bp_stream *stream, uint64_t first, size_t n, uint8_t *out);
void bp_code_quads_neon(const float *g, size_t n, size_t k, const uint8_t *random,
                        const float *scale, int8_t *out, int32_t *sum);
void bp_range_columns_neon(const float *g, size_t n, size_t k, struct bp_columns to);
void bp_round_group_neon(const float *g, size_t n, const uint8_t *random,
                         const struct bp_rounding *rounding, struct bp_grid grid, uint8_t *codes);
void bp_round_columns_neon(const float *g, size_t n, size_t g_stride, const int32_t *column,
                           size_t k, const uint8_t *random, const struct bp_rounding *rounding,
                           const struct bp_grid *grid, uint8_t *codes);
void bp_scale_mask_neon(const int32_t *sum, const uint64_t *mask, size_t n, size_t c, float scale,
                        const float *offset, const uint8_t *row, float *out);
void bp_mask_sums_neon(const int32_t *sum, const uint64_t *mask, size_t n, size_t c, int shift,
                       int16_t *out);
void bp_scale_latent_neon(const struct bp_latent_scale *by, const int32_t *sum, const int32_t *high,
                          const int32_t *neg, const float *w, size_t n, float *out);
void bp_sums_i16_neon(const int16_t *y, size_t n, size_t c, int limit, int64_t *sum,
                      int64_t *sum_squares);
void bp_half_sums_i16_neon(const int16_t *y, size_t n, size_t c, int limit, int64_t *sums);
void bp_sums_f32_neon(const float *y, size_t n, size_t c, double *sum, double *sum_squares);
void bp_affine_act_i16_neon(const int16_t *y, size_t n, size_t c, const struct bp_affine_rows *a,
                            const float *residual, int stream, float *z, double *sum,
                            double *sum_squares);
void bp_affine_act_f32_neon(const float *y, size_t n, size_t c, const struct bp_affine_rows *a,
                            const float *residual, int stream, float *z, double *sum,
                            double *sum_squares);
void bp_affine_signs_i16_neon(const int16_t *y, size_t n, size_t c, const struct bp_affine_rows *a,
                              uint64_t *bits, uint64_t *mask);
void bp_affine_signs_f32_neon(const float *y, size_t n, size_t c, const struct bp_affine_rows *a,
                              uint64_t *bits, uint64_t *mask);
void bp_limit_signs_i16_neon(const int16_t *y, size_t n, size_t c,
                             const struct bp_limit_rows *limits, uint64_t *bits, uint64_t *mask);
void bp_limit_pool_signs_i16_neon(const int16_t *upper, const int16_t *lower, size_t n, size_t c,
                                  const struct bp_limit_rows *limits, uint64_t *bits,
                                  uint64_t *mask, uint64_t *which);
void bp_affine_pool_signs_i16_neon(const int16_t *upper, const int16_t *lower, size_t n, size_t c,
                                   const struct bp_affine_rows *a, uint64_t *bits, uint64_t *mask,
                                   uint64_t *which);
void bp_max_pool_2x2_neon(const float *a, const float *b, size_t n, size_t c, float *z,
                          uint64_t *which);
void bp_max_unpool_2x2_neon(const struct bp_gradient_rows *g, const uint64_t *which, size_t n,
                            size_t c, float *a, float *b);
void bp_max_window_neon(const float *x, size_t n, size_t step, size_t rows, size_t columns,
                        size_t row_step, size_t c, float *z, uint8_t *winner);
void bp_max_window_back_neon(const float *g, const uint8_t *winner, const size_t *offset,
                             const uint8_t *index, size_t count, size_t n, size_t c, size_t step,
                             int add, float *dx);
void bp_act_sums_i16_neon(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                          const float *scale, const float *shift, const float *slope, float *sum_g,
                          float *sum_gy, float *sum_slope);
void bp_act_sums_f32_neon(const struct bp_gradient_rows *g, const float *y, size_t n, size_t c,
                          const float *scale, const float *shift, const float *slope, float *sum_g,
                          float *sum_gy, float *sum_slope);
void bp_pool_sums_i16_neon(const struct bp_gradient_rows *g, const int16_t *upper,
                           const int16_t *lower, const uint64_t *which, size_t n, size_t c,
                           const float *scale, const float *shift, const float *slope, float *sum_g,
                           float *sum_gy, float *sum_slope);
void bp_act_grad_i16_neon(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                          const float *scale, const float *shift, const float *slope,
                          const float *ka, const float *kb, const float *kc, int add, float *out);
void bp_act_grad_f32_neon(const struct bp_gradient_rows *g, const float *y, size_t n, size_t c,
                          const float *scale, const float *shift, const float *slope,
                          const float *ka, const float *kb, const float *kc, int add, float *out);
void bp_scale_grad_i16_neon(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                            const float *scale, const float *slope, float *out);
void bp_scale_sums_i16_neon(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                            const float *scale, const float *slope, struct bp_columns to,
                            float *sum_gy, float *sum_slope);
void bp_act_range_i16_neon(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                           const float *scale, const float *shift, const float *slope,
                           const float *ka, const float *kb, const float *kc, struct bp_columns to);
void bp_act_columns_i16_neon(const int16_t *y, size_t n, size_t c, const int32_t *column, size_t k,
                             const float *kb, const float *kc, float *out);
void bp_act_norm_signs_neon(const int16_t *y, size_t n, size_t c, const struct bp_act_norm_rows *a,
                            uint64_t *bits, uint64_t *mask);
void bp_act_norm_sums_neon(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                           const struct bp_act_norm_rows *a, float *sum_g, float *sum_gh,
                           float *sum_gu);
void bp_act_norm_range_neon(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                            const struct bp_act_norm_rows *a, struct bp_columns to);
void bp_act_norm_columns_neon(const int16_t *y, size_t n, size_t c, const int32_t *column, size_t k,
                              const struct bp_act_norm_rows *a, float *out);
void bp_affine_act_f16_neon(const void *y, enum value_type type, size_t n, size_t c,
                            const struct bp_affine_rows *a, const uint16_t *residual, uint16_t *z,
                            double *sum, double *sum_squares);
void bp_affine_signs_f16_neon(const uint16_t *y, size_t n, size_t c, const struct bp_affine_rows *a,
                              uint64_t *bits, uint64_t *mask);
void bp_act_sums_f16_neon(const struct bp_gradient_rows *g, const uint16_t *y, size_t n, size_t c,
                          const float *scale, const float *shift, const float *slope, float *sum_g,
                          float *sum_gy, float *sum_slope);
void bp_act_grad_f16_neon(const struct bp_gradient_rows *g, const uint16_t *y, size_t n, size_t c,
                          const float *scale, const float *shift, const float *slope,
                          const float *ka, const float *kb, const float *kc,
                          const struct bp_gradient_rows *add, uint16_t *out);
void bp_sum_squares_f32_neon(const float *g, size_t n, double *sum);
void bp_adam_f32_neon(const struct bp_adam *adam, size_t n, const float *g, float *p, float *m,
                      float *v);

#endif
