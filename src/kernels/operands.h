/* What kernels take and give: grids, roundings, digits, runs, lists. Each struct says what it
 * means; the kernels that take it are in kernels.h. */
#ifndef BP_KERNELS_OPERANDS_H
#define BP_KERNELS_OPERANDS_H

#include <stddef.h>
#include <stdint.h>

/* Output channels of a binary product are blocked by 32: packed weights are
 *     w [ceil(k / 32)][taps][cw][32]      (lane j of block b = output channel 32 * b + j)
 * with zero words for the channels beyond k. See pack_weights. */
#define BP_LANES 32

/* What one group of floats looks like. */
struct bp_range {
    float lo, hi;
    float sum_squares;
};

/* The same of columns, [k] each. */
struct bp_columns {
    float *lo, *hi, *sum_squares;
};

/* What a half counts, as what ResNet's shortcuts carry reaches some thousands and may not pass the
 * largest half where a step was too long; and that. */
#define BP_HALF_UNIT 256.0f
#define BP_HALF_MAX  65504.0f

/* A quantizer's grid for one group: the lowest level, and one divided by the distance of levels. */
struct bp_grid {
    float lo, inv_step;
};

/* Rows of a gradient g: floats, or where these are NULL bfloat16, or where both are NULL integers
 * of a convolution's product, g = scale * (float)sums, rounded. bf16 is for the kernels act_sums_*,
 * act_grad_* and act_range_i16 alone. */
struct bp_gradient_rows {
    const float *floats;
    const int16_t *sums;
    float scale;
    const uint16_t *bf16;
};

/* From element `first` on; none of none (NULL). */
static inline struct bp_gradient_rows bp_gradient_from(const struct bp_gradient_rows *g,
                                                       size_t first) {
    struct bp_gradient_rows from = {NULL, NULL, 0.0f, NULL};
    if (g != NULL && g->floats != NULL) {
        from.floats = g->floats + first;
    } else if (g != NULL && g->bf16 != NULL) {
        from.bf16 = g->bf16 + first;
    } else if (g != NULL) {
        from.sums = g->sums + first;
        from.scale = g->scale;
    }
    return from;
}

/* How g is rounded to the code of a grid, in parts of a step, an integer:
 *     parts  = 256, and wide 65536
 *     t      = (g - lo) * (inv_step * parts), all three rounded, then to the nearest integer, ties
 *              to even
 *     random = random[i], and wide random[2 * i] + 256 * random[2 * i + 1]
 *     code   = clamp(floor((t + random) / parts), code_min, code_max)
 * code_min may be negative, code_max is at most 127, and wide 255; a code is stored as its low 8
 * bits (two's complement). A t that is NaN gives code_min. */
struct bp_rounding {
    int code_min, code_max;
    int wide;
};

static inline float bp_rounding_parts(const struct bp_rounding *rounding) {
    return rounding->wide ? 65536.0f : 256.0f;
}

/* Random bytes of an element. */
static inline size_t bp_rounding_bytes(const struct bp_rounding *rounding) {
    return rounding->wide ? 2 : 1;
}

#define BP_BOTH_CHANNELS 2048

/* Rows [n][c] rounded twice: as round_group does, with one grid, and as round_columns does all
 * columns in their order. For c that are multiples of 64, up to BP_BOTH_CHANNELS, and grids whose
 * lo is 0. */
struct bp_rounding_both {
    struct bp_rounding group, columns;
    struct bp_grid group_grid;
    const struct bp_grid *column_grids; /* [c] */
    const uint8_t *group_random, *column_random;
    uint8_t *group_codes, *column_codes; /* [n][c] */
};

/* How codes become tables, for the products by lookup. u = code - code_min, a byte, is cut to the
 * digit (u >> shift) & 15; top is the largest digit, 1 .. 15. Codes of up to 4 bits: shift 0, top =
 * code_max - code_min. Codes of 8 bits have two digits, each with tables of its own: shift 0 and 4,
 * top 15. */
struct bp_digit {
    int code_min, shift, top;
};

/* A code that wide tables have not (kernels.h): number `at`, see the kernels that list them. */
struct bp_left_out {
    unsigned at : 24;
    signed code : 8;
};
#define BP_LEFT_OUT_NUMBERS (1 << 24)
#define BP_LEFT_OUT_QUAD    2   /* of a quad, at most: the other two are within .. */
#define BP_WIDE_MOST        255 /* .. what an entry of wide tables can be */

/* Pixels of products with wide tables: `total`, the sum of the |c| that are in their tables, of
 * each; and unless `more` or more[p] is NULL, what is added for codes that are not, [c]. */
struct bp_wide_pixels {
    const int32_t *total;
    const int32_t *const *more;
};

/* `count` (0 and more) steps in a row, of as many tables as stand together: from byte `table` on,
 * and the index rows that belong to them, from byte `index` on. */
struct bp_run {
    int32_t table, index, count;
};

/* The runs of each of some taps: those of tap t are runs[begin[t]] .. runs[begin[t + 1] - 1]. */
struct bp_tap_runs {
    const struct bp_run *runs;
    const size_t *begin; /* [taps + 1] */
    size_t taps;
    int weight; /* what an entry counts */
};

#define BP_TABLE_BYTES 16 /* of one quad */

/* A product that leaves out zeros takes codes apart: code = sum over w of digit_w * 2^w, digits -1,
 * 0 and 1. Of |code| < 2^weights, weights up to 7, they are the bits of its magnitude, with its
 * sign. Of 8 weights they are the non-adjacent form: |code| < 128, and of two digits side by side
 * one is zero, so that a third of all digits is not, where half of the bits are. */
#define BP_NONZERO_WEIGHTS 3 /* for codes of up to 4 bits */
#define BP_NONZERO_FORM    8 /* for those of 8 bits */

/* Rows of dA without zeros are numbered; those of an element and of its negative are so far apart,
 * and the elements of one are by 64. */
#define BP_ROW_MINUS 64
#define BP_ROW_WORDS 8  /* of a row */
#define BP_ROW_BLOCK 16 /* rows are counted by so many */

#define BP_ROW_WEIGHTS 8 /* at most */

/* Lists of numbers of rows, for weight w count[w] of them from at + w * room on, and what is added
 * to them. */
struct bp_row_lists {
    const uint16_t *at;
    size_t room;
    const size_t *count;
    size_t first;
};

/* Lookups of a quad's tables, one behind the other, that add up in registers. */
#define BP_STEPS_AT_ONCE 288

/* Memory that the caller writes or reads soon, from `at` to before `end`; `rows` more rows of
 * row_bytes, each `step` bytes behind the one before; and unless NULL, what `then` says. A kernel
 * whose loop leaves the memory idle may fetch its lines into the cache meanwhile, and leaves in
 * `soon` what it did not get to. */
struct bp_fetch {
    const char *at, *end;
    size_t rows, row_bytes, step;
    const struct bp_fetch *then;
};

/* Rows of bytes that are multiplied as tiles: blocks of 16 rows. Distances in bytes. */
#define BP_TILE_ROWS 16
#define BP_TILE_STEP 64 /* contracted bytes of a row */
struct bp_tile_blocks {
    size_t count;
    const int32_t *at; /* [count] bytes to the first row */
    const int32_t *to; /* [count][16] the row of the result, or -1: it is not wanted */
    size_t pitch;      /* from one row of a block to the next */
    size_t step;       /* from 64 contracted bytes to the next */
};

/* Which sums of a product are wanted: lane j of row r where bit shift + j of words[r * stride] is
 * set. */
struct bp_lane_mask {
    const uint64_t *words;
    size_t stride;
    unsigned shift; /* shift + lanes is at most 64 */
};

#define BP_BYTE_LANES 16 /* outputs of a product of bytes are blocked by so many */

/* Where sums go in 16 bits: bp_shift_to_even of them where the bit of mask [pixels][cw] is set,
 * else 0, to out [pixels][c]. */
struct bp_masked_sums {
    const uint64_t *mask;
    int16_t *out;
    int shift;
};

/* How the sums of a row of the weight gradient become floats, or 16 bits: scale_latent,
 * narrow_sums. */
struct bp_latent_scale {
    int32_t known, off, valid;
    float scale, offset;
    int32_t shift;
};

/* The scalars of one step of Adam, already rounded to float; train/optim.c makes them. */
struct bp_adam {
    float lr, decay, shrink, clip;
    float beta1, one_minus_beta1, beta2, one_minus_beta2;
    float root_correction2, eps;
};

/* Coefficients of the affine kernels, [c] each. */
struct bp_affine_rows {
    const float *scale, *shift;
    const float *slope; /* of PReLU; NULL: no activation */
};

/* Limits of integers, [c] each: a value is negative, or of magnitude below 1, for low <= y <= high.
 * y ^ flip (0 or -1) has the order of the values. */
struct bp_limit_rows {
    const int16_t *sign_low, *sign_high, *mask_low, *mask_high;
    const int16_t *flip;
};

/* Coefficients of the act_norm kernels, [c] each. */
struct bp_act_norm_rows {
    const float *alpha, *slope; /* scale and PReLU of the integers */
    const float *scale, *shift; /* batch norm */
    const float *ka, *kb, *kc;  /* its gradient */
};

#endif
