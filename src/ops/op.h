/* Operations: they know shapes. An op plans its memory, splits the work over threads, walks over
 * tiles and calls kernels. It knows nothing of layers, parameters or files.
 *
 * Tensors. Activations are NHWC:
 *   f32   [n][h][w][c]
 *   i16   [n][h][w][c]            outputs of binary convolutions, exact integers
 *   bits  [n][h + 2][w + 2][cw]   one pixel of zero words around each image ("halo"), so that
 *                                 windows may reach over its edge; mask [n][h][w][cw] beside the
 *                                 bits (the straight-through mask) has none. */
#ifndef BP_OPS_OP_H
#define BP_OPS_OP_H

#include <stddef.h>
#include <stdint.h>

#include "base/bits.h"
#include "base/status.h"
#include "base/threads.h"
#include "kernels/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Parts of an op's work whose times are told apart (bp_exec.spent_ns). */
enum bp_spent {
    BP_SPENT_RANGES, /* gradient rows, their ranges, choice of the groups */
    BP_SPENT_CODES,  /* gradient rows again, rounded to codes */
    BP_SPENT_DGRAD,  /* product for the activation gradient */
    BP_SPENT_WGRAD,  /* product for the weight gradient */
    BP_SPENT_COUNT
};

/* What every op runs on: the kernel table, the workers, one scratch block per worker. */
struct bp_exec {
    enum bp_tier tier;
    struct bp_kernels kernels; /* of that tier */
    struct bp_threads *threads;
    size_t stream_bytes;  /* outputs from here on leave the caches before they are read */
    size_t scratch_bytes; /* per worker; ops raise it while planning (bp_exec_need_scratch) */
    char *scratch;        /* [threads][scratch_bytes], taken once by bp_exec_allocate */
    uint64_t spent_ns[BP_SPENT_COUNT]; /* since whoever asks has cleared it */
};

/* Adds the time since *since_ns (bp_clock_ns) to one part, and sets *since_ns to now. */
void bp_exec_spent(struct bp_exec *exec, enum bp_spent part, uint64_t *since_ns);

bp_status bp_exec_create(struct bp_exec **out, enum bp_tier tier, int threads);
void bp_exec_destroy(struct bp_exec *exec);

/* While planning: this op's workers need `bytes` of scratch each (the largest request counts). */
void bp_exec_need_scratch(struct bp_exec *exec, size_t bytes);
/* After planning: takes the scratch blocks. */
bp_status bp_exec_allocate(struct bp_exec *exec);
/* The scratch block of a worker; 64-byte aligned. */
void *bp_exec_scratch(const struct bp_exec *exec, int thread);

/* Hands out parts of a scratch block; each 64-byte aligned. */
struct bp_carver {
    char *next;
};
void *bp_carve(struct bp_carver *carver, size_t bytes);

/* A convolution's geometry. Square kernel, same stride and padding on both axes; r is 1, 3 or (fp32
 * only) 7; oh = (h + 2 * pad - r) / stride + 1. */
struct bp_conv_shape {
    size_t n, h, w, c; /* input; n is the largest batch planned for */
    size_t k;          /* output channels */
    size_t r, stride, pad;
    size_t oh, ow;
};

/* Fills oh and ow; BP_INTERNAL if the shape is impossible. */
bp_status bp_conv_shape_set(struct bp_conv_shape *shape, size_t n, size_t h, size_t w, size_t c,
                            size_t k, size_t r, size_t stride, size_t pad);

/* The gradient at a convolution's output is never stored: it is produced row by row, as often as
 * needed, by whoever owns the operation that consumed the output.
 *
 * rows(context, n, row, rows, out, scratch): writes dL/dY of sample n, output rows row .. row +
 * rows - 1 into out [rows][ow][k]. `row` is always even, `rows` too
 * unless the last row is among them.
 * `scratch` has scratch_bytes bytes and belongs to the calling worker. Calls for different samples
 * may run at the same time. The same call gives the same bytes every time.
 *
 * rows_bf16: the same rows rounded to bfloat16; NULL: there is no shorter way than from the floats.
 *
 * ranges(context, n, to, scratch): adds the rows of sample n to the ranges of the k columns, as the
 * kernel range_columns does; NULL: whoever needs the ranges takes them from the rows.
 *
 * columns(context, n, row, rows, column, k, out): writes columns column[0 .. k - 1], rising, of the
 * rows into out [rows][ow][k] and returns 1, or returns 0 where that is no cheaper than the whole
 * rows; NULL: it never is.
 *
 * codes(context, n, row, rows, both, scratch): the codes of the rows, which `both` tells, without
 * writing them; where the kernels have codes_at_once, and of k as these take it. NULL: there is no
 * shorter way than from the rows. */
struct bp_grad_source {
    void (*rows)(const void *context, size_t n, size_t row, size_t rows, float *out, void *scratch);
    const void *context;
    size_t scratch_bytes;
    void (*rows_bf16)(const void *context, size_t n, size_t row, size_t rows, uint16_t *out,
                      void *scratch);
    void (*ranges)(const void *context, size_t n, struct bp_columns to, void *scratch);
    int (*columns)(const void *context, size_t n, size_t row, size_t rows, const int32_t *column,
                   size_t k, float *out);
    void (*codes)(const void *context, size_t n, size_t row, size_t rows,
                  const struct bp_rounding_both *both, void *scratch);
};

/* A gradient dL/dx [n][h][w][c] in memory: floats, these rounded to bfloat16, or the integers of a
 * convolution's product, which take half of the room and are the same numbers. */
struct bp_gradient {
    const float *floats;  /* or, where NULL: */
    const uint16_t *bf16; /* or, where NULL: */
    const int16_t *sums;  /* sample n's are scale[n] * sums */
    const float *scale;   /* [n] */
    const uint8_t *kept;  /* [n] or NULL (all): 0 where a sample's is zero; it is not read */
};

/* What is of sample n, from element `first` of the whole tensor on. */
struct bp_gradient_rows bp_gradient_at(const struct bp_gradient *g, size_t n, size_t first);
/* `count` elements for kernels that do not read bfloat16: these are made floats in `buffer`. */
struct bp_gradient_rows bp_gradient_in(const struct bp_gradient *g,
                                       const struct bp_kernels *kernels, size_t n, size_t first,
                                       size_t count, float *buffer);

/* Reads a gradient on the way, while whoever writes it last has its rows in the cache: begin, then
 * all rows [rows][w][c] of every sample once, floats or bfloat16, those of a sample in their order
 * by one worker.
 * `scratch` has scratch_bytes bytes and belongs to the calling worker. rows NULL: nobody reads. */
struct bp_grad_reader {
    void (*begin)(void *context, struct bp_exec *exec);
    void (*rows)(void *context, size_t n, size_t row, size_t rows, const struct bp_gradient_rows *g,
                 void *scratch);
    void *context;
    size_t scratch_bytes;
};

/* A float tensor that is not stored, or not kept for the backward pass: whoever makes it makes its
 * rows again.
 *
 * rows(context, n, row, rows, out): rows row .. row + rows - 1 of sample n, the bytes that the
 * forward pass wrote, or would have written, into out [rows][w][c]. Calls may run at the same time.
 * NULL: it is kept. */
struct bp_value_source {
    void (*rows)(const void *context, size_t n, size_t row, size_t rows, float *out);
    const void *context;
};

#ifdef __cplusplus
}
#endif
#endif
