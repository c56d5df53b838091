/* The amx tier: one function per kernel; contracts in kernels/kernels.h. */
#ifndef BP_KERNELS_TIER_AMX_H
#define BP_KERNELS_TIER_AMX_H

#include "kernels/kernels.h"

void bp_spread_signs_amx(const uint64_t *bits, size_t n, size_t words, size_t c, int8_t *out,
                         size_t pitch);
void bp_spread_weights_amx(const uint64_t *w, size_t n, int8_t *out, int32_t *sums);
void bp_spread_samples_amx(const uint64_t *bits, const int32_t *offset, size_t samples, size_t n,
                           size_t step, int8_t *out, size_t pitch, size_t plane);
void bp_turn_codes_amx(const uint8_t *codes, const int32_t *offset, size_t n, size_t k,
                       uint8_t *out, size_t pitch);
void bp_product_tiles_i16_amx(const int8_t *x, const struct bp_tile_blocks *blocks,
                              const int32_t *tap, const int32_t *tap_w, size_t taps, size_t steps,
                              const int8_t *w, const int32_t *start, size_t lanes, int16_t *y,
                              size_t y_stride, const struct bp_lane_mask *mask);
void bp_product_tiles_i32_amx(const uint8_t *x, int is_signed, const struct bp_tile_blocks *blocks,
                              const int32_t *tap, const int32_t *tap_w, size_t taps, size_t steps,
                              const int8_t *w, size_t lanes, int32_t *y, size_t y_stride,
                              struct bp_fetch *soon);
void bp_product_turned_amx(const uint8_t *codes, int is_signed, int add, size_t k, size_t pitch,
                           const struct bp_run *runs, const size_t *begin, size_t taps,
                           const int8_t *x, size_t plane, size_t c, int32_t *y, size_t y_stride,
                           size_t y_tap);
void bp_product_bf16_amx(const uint16_t *x, size_t n, size_t x_stride, const uint16_t *w,
                         size_t steps, size_t c, int add, float *y, size_t y_stride,
                         struct bp_fetch soon);
void bp_product_bytes_amx(const uint8_t *x, const int32_t *row, size_t n, const int32_t *quad,
                          size_t quads, const int8_t *w, size_t k, int32_t *y);
void bp_product_bytes_i16_amx(const uint8_t *x, const int32_t *row, size_t n, const int32_t *quad,
                              size_t quads, const int8_t *w, size_t k, const int32_t *base,
                              const int32_t *shift, int16_t *y);

#endif
