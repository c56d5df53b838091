/* Pooling in floats, forward and backward, NHWC. Backward functions write or add (accumulate). */
#ifndef BP_OPS_POOL_H
#define BP_OPS_POOL_H

#include "ops/op.h"

#ifdef __cplusplus
extern "C" {
#endif

enum bp_pool_kind {
    BP_POOL_MAX_3X3_S2, /* pad 1, as after ResNet's 7x7 stem; the first largest wins */
    BP_POOL_AVG_2X2,    /* stride 2; odd sizes: the last row and column average what is there */
    BP_POOL_GLOBAL_AVG
};

struct bp_pool_shape {
    enum bp_pool_kind kind;
    size_t h, w, c;
    size_t oh, ow;
};

/* Fills oh and ow. */
struct bp_pool_shape bp_pool_shape_make(enum bp_pool_kind kind, size_t h, size_t w, size_t c);

/* Bytes of the winners of a max pooling of n samples, [n][oh][ow][c]; 0 for averages. */
size_t bp_pool_winner_bytes(const struct bp_pool_shape *shape, size_t n);

/* x [n][h][w][c] -> z [n][oh][ow][c]. winner: of max pooling, for the backward pass; NULL: none. */
void bp_pool_forward(const struct bp_pool_shape *shape, struct bp_exec *exec, size_t n,
                     const float *x, float *z, uint8_t *winner);

/* BP_POOL_AVG_2X2 alone: x in halves, z in bfloat16 (kernel average_bf16); scratch for a worker. */
size_t bp_pool_bf16_scratch_bytes(const struct bp_pool_shape *shape);
void bp_pool_forward_bf16(const struct bp_pool_shape *shape, struct bp_exec *exec, size_t n,
                          const uint16_t *x, uint16_t *z);

/* The gradient g [n][oh][ow][c] of a 2x2 average pooling (BP_POOL_AVG_2X2), not sent to its input
 * yet; g NULL: none. */
struct bp_pooled_gradient {
    struct bp_pool_shape shape;
    const float *g;
};
/* Sends it to input rows row .. row + rows - 1 of sample n: writes dx [rows][w][c], or adds to it.
 */
void bp_pool_average_back(const struct bp_pooled_gradient *pooled, const struct bp_kernels *kernels,
                          size_t n, size_t row, size_t rows, int accumulate, float *dx);

/* g [n][oh][ow][c] -> dx [n][h][w][c]; winner: from the forward pass (max pooling only). */
void bp_pool_backward(const struct bp_pool_shape *shape, struct bp_exec *exec, size_t n,
                      const uint8_t *winner, const float *g, float *dx, int accumulate);

/* Max pooling one row at a time, for who makes or takes rows in a cache. Output row y: x is the
 * first row of its windows, [..][w][c], the one below the last of row y - 1 where there is one:
 * bp_pool_first_row(y). z and winner (or NULL): [ow][c] of this row. */
size_t bp_pool_first_row(const struct bp_pool_shape *shape, size_t y);
void bp_pool_max_row(const struct bp_pool_shape *shape, const struct bp_kernels *kernels, size_t y,
                     const float *x, float *z, uint8_t *winner);
/* The same of integers, the largest or, where flip [c] is -1 and not 0, the smallest. */
void bp_pool_max_row_i16(const struct bp_pool_shape *shape, const struct bp_kernels *kernels,
                         size_t y, const int16_t *x, const int16_t *flip, int16_t *z,
                         uint8_t *winner);
/* Input row y: g and winner of one sample, from output row `first` on, [..][ow][c] -> dx [w][c],
 * written or added to. Rows y .. y + rows - 1 need `count` output rows from the returned one on. */
void bp_pool_max_row_back(const struct bp_pool_shape *shape, const struct bp_kernels *kernels,
                          size_t y, size_t first, const float *g, const uint8_t *winner,
                          int accumulate, float *dx);
size_t bp_pool_rows_over(const struct bp_pool_shape *shape, size_t y, size_t rows, size_t *count);

#ifdef __cplusplus
}
#endif
#endif
