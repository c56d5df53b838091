/* What the files of the byte convolution share: byte_conv.c (creation, weights),
 * byte_conv_forward.c and byte_conv_backward.c. */
#ifndef BP_OPS_BYTE_CONV_INTERNAL_H
#define BP_OPS_BYTE_CONV_INTERNAL_H

#include "ops/byte_conv.h"

enum { BP_BYTE_CONV_KERNEL_MAX = 7 };

struct bp_byte_conv {
    struct bp_conv_shape shape;
    const struct bp_kernels *kernels;
    size_t taps;      /* r * r * c, in the order of the weights */
    size_t lanes;     /* k rounded up to registers */
    uint8_t zero[16]; /* z */
    float step[16];   /* s */
    uint8_t *padding; /* [w][c]: a row of z */
    /* forward */
    size_t strip_bytes;    /* of an output row: [columns][r][c], and what fills the last quad */
    size_t quads;          /* of a pixel */
    size_t block_rows;     /* output rows of one call */
    int32_t *quad_offset;  /* [quads] */
    int32_t *pixel_offset; /* [block_rows * ow] */
    int8_t *weights;       /* [quads][lanes][4]: the taps as in a strip [r columns][r][c] */
    int narrow;
    int32_t *base;   /* [k]: - sum of q z; narrow: and half of 2^shift */
    float *scale;    /* [k]: S */
    int32_t *shift;  /* narrow [k]: sums are divided by 2^shift */
    float *unit;     /* narrow [k]: S 2^shift */
    uint8_t *strips; /* [n][oh][strip_bytes]; NULL: made when they are multiplied */
    /* backward; NULL if there is none */
    size_t rows, width;      /* of a plane */
    size_t sample_bytes;     /* of all planes of a sample */
    uint8_t *planes;         /* [n][sample_bytes] */
    size_t chunk_rows;       /* output rows coded at once; even, or all */
    int32_t *tap_offset;     /* [taps] */
    int32_t *position_quads; /* [chunk_rows * ceil(ow / 4)] */
    float *partial;          /* [n][taps][k]: sums of the samples */
};

#endif
