/* What the files of the binary convolution share: bconv.c (set-up, packing, forward),
 * bconv_backward.c (from gradient rows to codes), bconv_dgrad.c (dA), bconv_wgrad.c (dW). */
#ifndef BP_OPS_BCONV_INTERNAL_H
#define BP_OPS_BCONV_INTERNAL_H

#include "ops/bconv.h"

#define BP_TAPS_MAX    9
#define BP_TILE_PIXELS 64 /* pixels of one call of a product kernel */
#define BP_KEPT_BLOCK  4  /* output channels of one work item of the weight gradient */

/* The pixels of dA whose taps have the same form: rows = parity_y, columns = parity_x modulo the
 * stride. Offsets in words of one sample's code planes. */
struct bp_parity {
    size_t taps;
    int32_t tap[BP_TAPS_MAX];   /* from the pixel's base to the tap's code words */
    int32_t tap_w[BP_TAPS_MAX]; /* which weight tap */
    size_t pixels;              /* of one sample */
    int32_t *pixel_base;        /* [tile samples][pixels] offset of the code words */
    int32_t *pixel_index;       /* [pixels] flat input pixel */
};

struct bp_bconv {
    struct bp_conv_shape shape;
    size_t cw, kw, taps;
    size_t in_words; /* bits of one sample, halo included */
    int backward;    /* quantized backward planned */
    struct bp_quant quant_da, quant_dw;

    /* weights, repacked after every change */
    uint64_t *bits;     /* [k][taps][cw] */
    uint64_t *bits_t;   /* [c][taps][kw] */
    uint64_t *w;        /* packed [ceil(k/32)][taps][cw][32] */
    uint64_t *w_t;      /* packed [ceil(c/32)][taps][kw][32] */
    int32_t *tap_sum_t; /* [taps][c] sum over k of the signs */
    int16_t *border;    /* [16][k] what to add at a pixel of a border class */

    /* geometry tables, filled at creation */
    size_t tile_samples;  /* samples walked together where maps are small */
    int32_t *pixel_base;  /* [tile_samples][oh ow] words from the sample's bits to the first tap */
    uint8_t *pixel_class; /* [oh ow] border class */
    int32_t tap_offset[BP_TAPS_MAX];
    uint64_t *valid;                 /* [oh ow] bit t: tap t lies inside the image */
    size_t valid_count[BP_TAPS_MAX]; /* output pixels where tap t lies inside */
    struct bp_parity parity[4];      /* [stride * stride] */
    uint8_t *in_class;               /* [h w] class of valid taps of dA */
    uint8_t *zero_class;             /* [h w] zeros */
    unsigned class_masks[64];        /* class -> taps whose output pixel exists */
    size_t classes;
    size_t code_words; /* code planes of one sample of dA, halo included */

    /* workspace of the backward pass */
    size_t slots_da;               /* samples that can be kept */
    size_t slots_dw;               /* channels that can be kept */
    struct bp_group *groups_da;    /* [n] */
    struct bp_group *groups_dw;    /* [max(n, k)] */
    uint32_t *order;               /* [max(n, k)] */
    float *column_ranges;          /* [n][3][k] lo, hi, sum of squares of each sample */
    int32_t *slot_of_sample;       /* [n] slot in codes_da, or -1 */
    int32_t *sample_of_slot;       /* [slots_da] */
    int32_t *kept_channel;         /* [slots_dw] */
    struct bp_grid *kept_grid;     /* [slots_dw] */
    uint64_t *codes_da;            /* [slots_da][oh + 2][ow + 2][bits][kw] */
    uint64_t *codes_dw;            /* [n][oh ow][bits][kept words] */
    float *offset_table;           /* [threads][classes][c] and one row of zeros */
    uint64_t *tile_a;              /* [taps][tile_words][c] */
    uint64_t *tile_g;              /* [kept blocks][tile_words][bits][BP_KEPT_BLOCK] */
    uint64_t *tile_valid;          /* [tile_words][taps] */
    int32_t *sum_dw;               /* [slots_dw rounded][taps][c] */
    int32_t *sum_codes;            /* [slots_dw rounded][taps] */
    int32_t *count_a;              /* [taps][c] */
    int64_t *wide_dw, *wide_codes; /* the same in 64 bits where 32 could overflow; else NULL */
    size_t tile_words;
    size_t samples; /* of the last backward call */
    size_t kept_da, kept_dw;
    size_t chunk_rows; /* output rows of one piece of the gradient */
};

/* Rows of the gradient are walked in pieces of op->chunk_rows (even, or the whole height). */
size_t bp_bconv_chunk_rows(const struct bp_conv_shape *shape);

/* bconv_dgrad.c */
bp_status bp_bconv_dgrad_plan(struct bp_bconv *op, struct bp_exec *exec);
bp_status bp_bconv_dgrad_buffers(struct bp_bconv *op, struct bp_exec *exec, struct bp_plan *plan,
                                 const char *name, int time);
void bp_bconv_dgrad_run(struct bp_bconv *op, struct bp_exec *exec, size_t n, const uint64_t *mask,
                        float *dx);

/* bconv_wgrad.c */
bp_status bp_bconv_wgrad_buffers(struct bp_bconv *op, struct bp_exec *exec, struct bp_plan *plan,
                                 const char *name, int time);
void bp_bconv_wgrad_run(struct bp_bconv *op, struct bp_exec *exec, size_t n, const uint64_t *x,
                        float *dw);

#endif
