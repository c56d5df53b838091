/* Affine -> activation -> (max pooling) -> (+ residual) -> (sgn): everything that stands
 * between two convolutions, in one pass forward and, backward, one pass for the sums and one that
 * produces gradient rows on demand. Nothing of full size is kept in floats for the backward pass:
 * the convolution's output, the winners of the pooling (2 bits, or a byte of 3x3 windows) and the
 * per-channel coefficients suffice. */
#ifndef BP_OPS_NORM_ACT_H
#define BP_OPS_NORM_ACT_H

#include "ops/batch_norm.h"
#include "ops/channel_sums.h"
#include "ops/op.h"
#include "ops/pool.h"
#include "ops/sign_limits.h"

#ifdef __cplusplus
extern "C" {
#endif

enum bp_affine { BP_AFFINE_BATCH_NORM, BP_AFFINE_SCALE };
enum bp_activation { BP_ACT_NONE, BP_ACT_RELU, BP_ACT_PRELU };

struct bp_norm_act_shape {
    size_t n, h, w, c;
    int input_i16; /* integers; they may have a unit, see norm, with batch norm */
    int input_f16; /* halves, its gradient is bfloat16; with neither: f32 */
    enum bp_affine affine;
    enum bp_activation activation;
    int max_pool;    /* odd sizes: the last row or column is dropped */
    int window_pool; /* 3x3, stride 2 (BP_POOL_MAX_3X3_S2): of floats, without sign_out or residual
                      */
    int sign_out;
    int output_f16; /* without sign_out: the output and the residual are halves, the gradient of
                       either is bfloat16, else f32; not with 2x2 pooling */
};

/* Per-channel parameters, all [c]; those that the shape does not use are NULL. */
struct bp_norm_act_params {
    const float *weight;               /* batch norm's gain, or alpha */
    const float *bias;                 /* batch norm */
    const float *slope;                /* PReLU */
    float *running_mean, *running_var; /* batch norm */
};

/* Their gradients. */
struct bp_norm_act_grads {
    float *weight, *bias, *slope;
};

struct bp_norm_act {
    struct bp_norm_act_shape shape;
    size_t oh, ow, cw;            /* output size, words of c */
    size_t chunk_rows;            /* input rows walked at once; even if pooling */
    struct bp_batch_norm norm;    /* coefficients, of a plain scale too */
    struct bp_channel_sums sums;  /* of the input, for batch norm; its producer may fill them in */
    struct bp_sign_limits limits; /* of integers that become signs */
    float *slope;                 /* [c], zeros for ReLU; NULL without activation */
    void *partial;                /* [n][3][c] of 8 bytes: sums per sample */
    float *ranges;                /* plain scale of integers: [n][3][c] of the gradient rows */
    uint64_t *which;              /* [n][oh][ow][2][cw] winners of the 2x2 pooling */
    struct bp_pool_shape window;  /* of window_pool */
    uint8_t *winner;              /* [n][oh][ow][c] its winners */
    int16_t *flip;                /* [c] -1 where the smallest integer wins, else 0 */
    /* Set by whoever plans: where rows of y come from in passes that get none (y NULL), and those
     * of the residual in the backward pass, if it is not kept; not both. */
    struct bp_value_source y_source, residual_source;
    /* what the output's rows are made of, set by forward, and those of the gradient, set by
     * backward_sums */
    const void *y;
    const void *residual;
    const void *out;      /* forward's */
    int sums_from_output; /* those of a reader, see bp_norm_act_reader, which then reads out */
    int sums_read;        /* they were taken on the way, see bp_norm_act_reader */
    struct bp_gradient g;
    /* Set before backward_all: it sends the gradient of a pooling of dx's tensor to dx on the way,
     * and lets somebody read dx. */
    struct bp_pooled_gradient pooled;
    struct bp_grad_reader reader;
    const struct bp_kernels *kernels;
};

/* Adds the op's buffers to `plan`: sums of the input from input_time, when it is written;
 * coefficients and winners from forward_time to last_time. */
bp_status bp_norm_act_create(struct bp_norm_act **out, struct bp_exec *exec, struct bp_plan *plan,
                             const struct bp_norm_act_shape *shape, const char *name,
                             int input_time, int forward_time, int last_time);
void bp_norm_act_destroy(struct bp_norm_act *op);

/* y: [n][h][w][c] as the shape tells; floats may be NULL: y_source makes its rows. For batch
 * statistics of these, and of halves, whoever made them has filled in the sums. residual
 * [n][oh][ow][c] or NULL. Writes `out` [n][oh][ow][c], or with
 * sign_out `bits` (halo cleared) and, unless NULL, `mask`. batch_statistics: normalise by this
 * batch and update the running statistics; else by the running ones. out.sums: sums of `out` to
 * fill in, or NULL. */
struct bp_norm_act_out {
    void *out; /* as the shape tells */
    struct bp_channel_sums *sums;
    uint64_t *bits, *mask;
};
void bp_norm_act_forward(struct bp_norm_act *op, struct bp_exec *exec, size_t n, const void *y,
                         const void *residual, const struct bp_norm_act_params *params,
                         int batch_statistics, const struct bp_norm_act_out *out);

/* Rows of a float `out` again, after forward, without pooling and sign_out: a bp_value_source.
 * context: the op. y must be kept, or NULL. */
void bp_norm_act_value_rows(const void *context, size_t n, size_t row, size_t rows, float *out);

/* After forward with batch_statistics: y as there, or NULL if it was not kept; from g = dL/d(value
 * before residual and sgn) [n][oh][ow][c], in floats with window_pool, the parameters' gradients
 * and the coefficients of the gradient rows. What g points to must live as long as rows are asked
 * for.
 */
void bp_norm_act_backward_sums(struct bp_norm_act *op, struct bp_exec *exec, size_t n,
                               const void *y, const struct bp_gradient *g,
                               const struct bp_norm_act_params *params,
                               const struct bp_norm_act_grads *grads);

/* Takes these sums, between forward and backward_sums, while somebody else writes g, of which all
 * samples must have a gradient; y, and with window_pool out, as in forward. Not with 2x2 pooling.
 */
struct bp_grad_reader bp_norm_act_reader(struct bp_norm_act *op);
size_t bp_norm_act_reader_scratch_bytes(const struct bp_norm_act_shape *shape);

/* dL/dy of input rows row .. row + rows - 1 of sample n; a bp_grad_source. context: the op. */
void bp_norm_act_grad_rows(const void *context, size_t n, size_t row, size_t rows, float *out,
                           void *scratch);
/* The same rounded to bfloat16, where input_f16: a bp_grad_source's too. */
void bp_norm_act_grad_rows_bf16(const void *context, size_t n, size_t row, size_t rows,
                                uint16_t *out, void *scratch);
/* Their codes, where input_i16: a bp_grad_source's too. */
void bp_norm_act_grad_codes(const void *context, size_t n, size_t row, size_t rows,
                            const struct bp_rounding_both *both, void *scratch);
/* The ranges of these rows of sample n, where input_i16: a bp_grad_source's too. */
void bp_norm_act_grad_ranges(const void *context, size_t n, struct bp_columns to, void *scratch);
/* Columns of the rows, of samples that have no gradient: a bp_grad_source's too. */
int bp_norm_act_grad_columns(const void *context, size_t n, size_t row, size_t rows,
                             const int32_t *column, size_t k, float *out);
size_t bp_norm_act_grad_scratch_bytes(const struct bp_norm_act_shape *shape);

/* All rows, written or added to dx [n][h][w][c], floats or, of y in halves, bfloat16; scratch for a
 * worker, with a reader that needs `reader_bytes` itself. */
size_t bp_norm_act_backward_scratch_bytes(const struct bp_norm_act_shape *shape,
                                          size_t reader_bytes);
void bp_norm_act_backward_all(struct bp_norm_act *op, struct bp_exec *exec, size_t n, void *dx,
                              int accumulate);

#ifdef __cplusplus
}
#endif
#endif
