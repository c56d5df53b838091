/* What the files of the byte convolution share. */
#ifndef BP_OPS_BYTE_CONV_INTERNAL_H
#define BP_OPS_BYTE_CONV_INTERNAL_H

#include "ops/byte_conv.h"

struct bp_byte_conv {
    struct bp_conv_shape shape;
    const struct bp_kernels *kernels;
    size_t taps;         /* r * r * c, in the order of the weights */
    size_t lanes;        /* k rounded up to registers */
    size_t rows, width;  /* of a plane */
    size_t sample_bytes; /* of all planes of a sample */
    uint8_t zero[16];    /* z */
    float step[16];      /* s */
    /* forward */
    size_t quads;          /* of a pixel */
    size_t block_rows;     /* output rows of one call */
    int32_t *quad_offset;  /* [quads] */
    int32_t *pixel_offset; /* [block_rows * ow] */
    int8_t *weights;       /* [quads][lanes][4] */
    int32_t *base;         /* [k]: - sum of q z */
    float *scale;          /* [k]: S */
    uint8_t *planes;       /* [n][sample_bytes] */
    /* backward; NULL if there is none */
    size_t chunk_rows;       /* output rows coded at once; even, or all */
    int32_t *tap_offset;     /* [taps] */
    int32_t *position_quads; /* [chunk_rows * ceil(ow / 4)] */
    float *partial;          /* [n][taps][k]: sums of the samples */
};

/* Where tap (dy, dx) of a channel lies, seen from its output pixel. */
size_t bp_byte_conv_tap(const struct bp_byte_conv *op, size_t channel, size_t dy, size_t dx);

#endif
