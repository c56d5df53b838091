/* The first convolution in 8 bits: pixels, which are bytes, times weights coded to 8 bits, and the
 * weight gradient as pixels times output gradients coded to 8 bits. All products are exact integers
 * (kernels product_bytes). The input has no gradient. docs/METHOD.md, "The first convolution".
 *
 * The network's input x = (u / 255 - mean) / std becomes (u - z) s with s = 1 / (255 std) and z the
 * grey level nearest to the mean, 0 .. 255; outside the image it is zero. The weights are w s ~ S q
 * with one scale S per output channel:
 *     y = S sum of q (u - z) = S (sum of q u - sum of q z)
 * taps outside the image read u = z. The gradient passes to w as if w were used itself.
 *
 * The products take quads of four bytes that lie in a row, so the pixels are laid out twice. For
 * the forward product, in strips: what an output row sees of the padded image, column by column.
 * The taps of an output pixel are the bytes of r columns, without a gap.
 *
 *     strips [oh][columns][r][c]     3x3, 3 channels: 27 bytes, 7 quads; the next pixel 9 bytes on
 *
 * For the weight gradient, whose quads are four output pixels, in planes [c][stride][rows][width]:
 * column x of the padded image is element x / stride of plane x % stride. So the next output pixel
 * is the next byte, whatever the stride.
 *
 *     r = 7, stride 2    plane 0: taps 0 2 4 6 | plane 1: taps 1 3 5 - */
#ifndef BP_OPS_BYTE_CONV_H
#define BP_OPS_BYTE_CONV_H

#include "base/plan.h"
#include "ops/channel_sums.h"
#include "ops/op.h"

#ifdef __cplusplus
extern "C" {
#endif

struct bp_byte_conv;

/* Whether the output is better made again from the pixels for each pass over it than stored: where
 * that takes a thread less time than its share of the memory's takes to write and read 4 bytes an
 * element. 1 for up to 27 taps (3x3 of 3 channels) on AVX-512; the other tiers multiply bytes at a
 * third of its speed. docs/PERFORMANCE.md, "The 8-bit stem's output". */
int bp_byte_conv_is_cheap(const struct bp_conv_shape *shape, enum bp_tier tier);

/* Whether the output, which is stored, is of int16: integers with a unit for each channel, small
 * enough that none of the channel's sums can be beyond 16 bits. What is lost of a sum is below
 * 2^-15 of the largest that the codes allow; half as many bytes are moved. 1 for more than 27 taps,
 * on every tier: tiers give the same bytes. docs/PERFORMANCE.md, "ResNet-18: the stem in 16 bits,
 * sums on the way". */
int bp_byte_conv_is_narrow(const struct bp_conv_shape *shape);

/* mean, deviation [c]: of pixel / 255. Adds buffers to `plan`: the strips, from forward_time to
 * value_time, until when rows of the output may be made; for the weight gradient at backward_time
 * (-1: there is none) the planes and the sums of the samples. At most 16 channels, r up to 7,
 * stride 1 or 2. A narrow output's strips are made in the cache and not kept. */
bp_status bp_byte_conv_create(struct bp_byte_conv **out, struct bp_exec *exec, struct bp_plan *plan,
                              const struct bp_conv_shape *shape, const float *mean,
                              const float *deviation, const char *name, int forward_time,
                              int value_time, int backward_time);
void bp_byte_conv_destroy(struct bp_byte_conv *op);

/* Codes the weights w [k][r][r][c]; after every change, before forward. */
void bp_byte_conv_set_weights(struct bp_byte_conv *op, const float *w);
/* What the product uses in place of w: S q / s, [k][r][r][c]. */
void bp_byte_conv_used_weights(const struct bp_byte_conv *op, float *w);
/* [k] value of 1 in a narrow output, S times a power of two; else NULL. Valid after set_weights. */
const float *bp_byte_conv_unit(const struct bp_byte_conv *op);
/* z and s of the channels. */
void bp_byte_conv_input_grid(const struct bp_byte_conv *op, size_t channel, int *zero, float *step);

/* pixels [n][h][w][c] -> y [n][oh][ow][k], float, or int16 if narrow, each rounded to the nearest;
 * or NULL where it is float: y is not stored, but its rows can be made. sums: of y's elements, to
 * fill in, or NULL; they may be left to the reader of a y that is stored. */
void bp_byte_conv_forward(struct bp_byte_conv *op, struct bp_exec *exec, size_t n,
                          const uint8_t *pixels, void *y, struct bp_channel_sums *sums);

/* Rows of a float y, after forward until value_time: a bp_value_source. context: the op. */
void bp_byte_conv_value_rows(const void *context, size_t n, size_t row, size_t rows, float *out);

/* The scratch that bp_byte_conv_backward needs per worker for a gradient source that itself needs
 * `source_bytes`; whoever plans the backward pass asks for it (bp_exec_need_scratch). */
size_t bp_byte_conv_backward_scratch_bytes(const struct bp_conv_shape *shape, size_t source_bytes);

/* Output rows of a chunk of the weight gradient: even, or all. */
size_t bp_byte_conv_chunk_rows(const struct bp_conv_shape *shape);

/* dw [k][r][r][c], after forward. The rows that `source` gives are coded chunk by chunk while they
 * are in the cache: a channel of a chunk of one sample has a scale of its own, code = floor(g / S +
 * u), S = max |g| / 126.875. u = half-word j % 16 (j the channel) of blocks 2 p and 2 p + 1 (p the
 * flat index [n][oh][ow] of the position) / 65536 of the stream of seed and step, purpose
 * BP_RANDOM_ROUND_INPUT: channels share numbers, but not the codes that make one element of dw. Not
 * a number in g gives not a number in dw. */
void bp_byte_conv_backward(struct bp_byte_conv *op, struct bp_exec *exec, size_t n,
                           const struct bp_grad_source *source, uint64_t seed, uint32_t step,
                           float *dw);

#ifdef __cplusplus
}
#endif
#endif
