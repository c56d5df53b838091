/* What the files of the binary convolution share: bconv.c (set-up), bconv_pack.c (weights),
 * bconv_forward.c, bconv_backward.c (from gradient rows to codes), bconv_dgrad_plan.c (dA's
 * geometry), bconv_dgrad.c, bconv_dgrad_nonzero.c (dA), bconv_wgrad.c (what dW's methods share),
 * bconv_wgrad_words.c, bconv_wgrad_lookup.c, bconv_wgrad_nonzero.c (dW's products), bconv_work.c
 * (what the products multiply). */
#ifndef BP_OPS_BCONV_INTERNAL_H
#define BP_OPS_BCONV_INTERNAL_H

#include "ops/bconv.h"
#include "ops/bconv_tiles.h"

#define BP_KEPT_BLOCK 4 /* output channels of one work item of dW on words */
#define BP_QUAD       4

/* A border class of output pixels: bit 0 top, 1 bottom, 2 left, 3 right edge cut off. */
enum { BP_CLASS_TOP = 1, BP_CLASS_BOTTOM = 2, BP_CLASS_LEFT = 4, BP_CLASS_RIGHT = 8 };
#define BP_BORDER_CLASSES 16

/* The pixels of dA whose taps have the same form: rows = parity_y, columns = parity_x modulo the
 * stride. Pixel (stride * y + parity_y, stride * x + parity_x) sees the codes at (y + row - 1, x +
 * column - 1). */
struct bp_parity {
    size_t taps;
    int32_t row[BP_TAPS_MAX], column[BP_TAPS_MAX];
    int32_t tap_w[BP_TAPS_MAX]; /* which weight tap */
};

/* The part of a product that one call of a kernel computes: whole samples where maps are small,
 * else some rows, and perhaps columns, of one. */
struct bp_tiling {
    size_t samples, rows, columns; /* the largest tile, in output pixels of the product */
};

static inline size_t bp_row_tiles(const struct bp_tiling *tiling, size_t oh) {
    return (oh + tiling->rows - 1) / tiling->rows;
}

/* At most `most` rows of oh for a tile, about equally many for all. */
static inline size_t bp_even_rows(size_t oh, size_t most) {
    size_t tiles = (oh + most - 1) / most;
    return (oh + tiles - 1) / tiles;
}

struct bp_bconv {
    struct bp_conv_shape shape;
    size_t cw, kw, cq, kq, taps; /* words and quads of the channels; kq in whole togethers */
    size_t in_words;             /* bits of one sample, halo included */
    int backward;                /* quantized backward planned */
    struct bp_quant quant_da, quant_dw;
    enum bp_product_method method_forward, method_da, method_dw;

    /* weights, repacked after every change; each product has one of its two layouts */
    uint64_t *bits;     /* [k][taps][cw] */
    uint64_t *bits_t;   /* [c][taps][kw] */
    uint64_t *w;        /* packed [ceil(k/32)][taps][cw][32] */
    uint64_t *triples;  /* [ceil(k/32)][r][cw][3][32], see product_triples; in_triples */
    uint64_t *w_t;      /* packed [ceil(c/32)][taps][kw][32] */
    uint8_t *index;     /* [ceil(k/32)][taps][cq][32] */
    uint8_t *index_t;   /* [ceil(c/32)][taps][kq / together][32][together] */
    int16_t *border;    /* [16][k] what to add at a pixel of a border class; not by_class */
    int32_t *tap_sum_t; /* [taps][c] sum over k of the signs */

    /* geometry, fixed at creation */
    int by_class;   /* the forward product leaves out what is outside the image */
    int in_triples; /* and takes rows of three taps at once */
    struct bp_tiling tiling_forward, tiling_da;
    struct bp_tiles tiles_forward, tiles_da; /* in their place, by the methods of tiles */
    int32_t *pixel_base; /* [oh ow] words from the sample's bits to the first tap */
    int32_t tap_offset[BP_TAPS_MAX];
    uint64_t *valid;                 /* [oh ow] bit t: tap t lies inside the image */
    uint8_t *border_class;           /* [oh ow] BP_CLASS_TOP, .. */
    size_t valid_count[BP_TAPS_MAX]; /* output pixels where tap t lies inside */
    struct bp_parity parity[4];      /* [stride * stride] */
    uint8_t *in_class;               /* [h w] class of valid taps of dA */
    uint8_t *zero_class;             /* [h w] zeros */
    unsigned class_masks[64];        /* class -> taps whose output pixel exists */
    size_t classes, largest_class;   /* pixels of the largest */

    /* workspace of the backward pass */
    size_t slots_da;            /* samples that can be kept */
    size_t slots_dw;            /* channels that can be kept */
    struct bp_group *groups_da; /* [n] */
    struct bp_group *groups_dw; /* [max(n, k)] */
    uint32_t *order;            /* [2][max(n, k)] */
    float *column_ranges;       /* [n][3][k] lo, hi, sum of squares of each sample */
    int32_t *slot_of_sample;    /* [n] slot in codes_da, or -1 */
    int32_t *sample_of_slot;    /* [slots_da] */
    int32_t *kept_channel;      /* [slots_dw] */
    int32_t *slot_of_column;    /* [slots_dw] 0, 1, 2, ...: columns that are packed already */
    struct bp_grid *kept_grid;  /* [slots_dw] */
    size_t pixel_da;            /* bytes of a pixel of codes_da: planes [bits][kw], or codes [k] */
    uint8_t *codes_da;          /* [slots_da][oh][ow][pixel_da] */
    uint64_t *rows_t;           /* without zeros: [rows][8], see bconv_dgrad_nonzero.c */
    float *offset_table;        /* [threads][classes][c] and one row of zeros */
    int32_t *class_sum;         /* [classes][c] sum of the weights' signs of the class's taps */
    int32_t *base_da;           /* by lookup: [classes][c] what the entries are off by */
    uint8_t *codes_dw;          /* [n][oh ow]: planes [bits][kept words], or codes [kept] */
    int32_t *sum_dw;            /* on words: [slots_dw rounded][taps][c] */
    int32_t *count_a;           /* [taps][c] negative activations at valid positions */
    size_t samples;             /* of the last backward call */
    size_t kept_da, kept_dw;
    int shift_da, shift_dw;          /* bits that dx_sums, and dw too, leave out; -1: no integers */
    int nonzero_da, nonzero_dw;      /* the last ones were made of the codes that are not zero */
    size_t chunk_rows;               /* output rows of one piece of the gradient */
    struct bp_wgrad_words *dw_words; /* one of these three, as method_dw says */
    struct bp_wgrad_lookup *dw_lookup;
    struct bp_wgrad_tiles *dw_tiles;
};

/* Rows of the gradient are walked in pieces of op->chunk_rows (even, or the whole height). */
size_t bp_bconv_chunk_rows(const struct bp_conv_shape *shape);

/* 1 if tap `tap` of an r x r kernel lies outside the image at pixels of this class. */
int bp_bconv_tap_is_cut(unsigned border_class, size_t tap, size_t r);

/* The codes of a quantizer as digits for tables: how many, and their grid. */
size_t bp_bconv_digits(const struct bp_quant *quant, struct bp_digit digits[2]);

/* By how many bits sums of so many codes are shifted to fit 16 bits; -1: not on this grid, or by
 * more than `most`. */
int bp_bconv_sums_shift(const struct bp_quant *quant, size_t terms, int most);

/* Pairs of an input and an output pixel of one sample that a tap inside the image joins. */
size_t bp_bconv_joined_pixels(const struct bp_bconv *op);

/* bconv_pack.c */
bp_status bp_bconv_pack_buffers(struct bp_bconv *op, struct bp_exec *exec, struct bp_plan *plan,
                                const char *name, int last);

/* bconv_forward.c */
void bp_bconv_forward_plan(struct bp_bconv *op, struct bp_exec *exec);

/* bconv_forward_tiles.c */
void bp_forward_tiles_plan(struct bp_bconv *op, struct bp_exec *exec);
void bp_forward_tiles_run(const struct bp_bconv *op, struct bp_exec *exec, size_t n,
                          const uint64_t *x, int16_t *y, struct bp_channel_sums *sums);
/* As bp_bconv_joined_pixels, with the pairs that lie outside the image but are multiplied. */
size_t bp_forward_tiles_joined(const struct bp_bconv *op);

/* bconv_dgrad_tiles.c; bp_dgrad_tiles_run: bconv_dgrad.h */
void bp_dgrad_tiles_plan(struct bp_bconv *op, struct bp_exec *exec);
size_t bp_dgrad_tiles_joined(const struct bp_bconv *op);

/* bconv_dgrad.c: whether sums go from the product to dx_sums, by lookup. */
int bp_dgrad_at_once(const struct bp_bconv *op, const struct bp_exec *exec);

/* bconv_dgrad_wide.c: codes of 8 bits in one table. */
int bp_dgrad_wide_possible(const struct bp_bconv *op, const struct bp_exec *exec);
size_t bp_dgrad_wide_scratch_bytes(const struct bp_bconv *op);

/* bconv_dgrad_plan.c */
/* Pixels of a class that are neighbours in a row of a tile. */
struct bp_pixel_run {
    uint32_t sample, at; /* in the tile, in the image */
    int32_t code;        /* the pixel of the window that the middle tap sees */
    uint16_t count, pixel_class;
};

/* Pixels and tables of a tile's window, pixels of the product of a tile, at most of one class,
 * bytes of the codes of a sample. */
size_t bp_dgrad_window_pixels(const struct bp_bconv *op, const struct bp_tiling *t);
size_t bp_dgrad_window_tables(const struct bp_bconv *op, const struct bp_tiling *t);
size_t bp_dgrad_tile_pixels(const struct bp_tiling *t);
size_t bp_dgrad_sum_pixels(const struct bp_bconv *op, const struct bp_tiling *t);
size_t bp_dgrad_sample_bytes(const struct bp_bconv *op);
bp_status bp_bconv_dgrad_plan(struct bp_bconv *op, struct bp_exec *exec);
bp_status bp_bconv_dgrad_buffers(struct bp_bconv *op, struct bp_exec *exec, struct bp_plan *plan,
                                 const char *name, int time);

/* bconv_work.c: how many digits (kernels/operands.h) of signed codes [positions][k] are not zero,
 * on average; seen at some positions. */
double bp_bconv_set_digits(const uint8_t *codes, size_t positions, size_t k, size_t weights);

/* Where the quads of a position are: `count`, code e of quad i at i * next + e * step. */
struct bp_quads {
    size_t count, next, step;
};
/* The share of quads that wide tables leave a code out of; seen at some positions. */
double bp_bconv_over_wide(const uint8_t *codes, size_t positions, size_t k, struct bp_quads quads);

/* The weights of the digits of codes of so many bits. */
static inline size_t bp_nonzero_weights(int bits) {
    return bits <= 4 ? BP_NONZERO_WEIGHTS : BP_NONZERO_FORM;
}

/* bconv_dgrad_nonzero.c: from codes that are not zero, in place of lookups where these are few. */
int bp_dgrad_nonzero_possible(const struct bp_bconv *op);
/* passes: bp_product_lookup_passes. */
int bp_dgrad_nonzero_pays(const struct bp_bconv *op, const struct bp_exec *exec, double passes);
size_t bp_dgrad_nonzero_rows(const struct bp_bconv *op); /* of op->rows_t */
size_t bp_dgrad_nonzero_scratch_bytes(const struct bp_bconv *op);
/* dA of kept samples, to dx, or to dx_sums unless NULL; dropped ones are not touched. */
void bp_dgrad_nonzero_run(struct bp_bconv *op, struct bp_exec *exec, const uint64_t *mask,
                          float *dx, const struct bp_bconv_sums *dx_sums);

/* bconv_dgrad.c */
/* To dx, or dx_sums unless NULL. leave_dropped: what is not kept is not touched, else it is written
 * as zero. */
void bp_bconv_dgrad_run(struct bp_bconv *op, struct bp_exec *exec, size_t n, const uint64_t *mask,
                        float *dx, const struct bp_bconv_sums *dx_sums, int leave_dropped);

/* bconv_wgrad.c: what the methods of dW share; it calls one of those below. */
bp_status bp_bconv_wgrad_buffers(struct bp_bconv *op, struct bp_exec *exec, struct bp_plan *plan,
                                 const char *name, int time);
/* Where the codes of dW of `position` (n oh + y) ow + x begin, `kept` channels of each position. */
uint8_t *bp_bconv_wgrad_codes(const struct bp_bconv *op, size_t position, size_t kept);
/* To dw, or dw_sums unless NULL. zero_rows [k] or NULL: bp_bconv_zeros.dw_rows. The methods below
 * do not touch these rows. */
void bp_bconv_wgrad_run(struct bp_bconv *op, struct bp_exec *exec, size_t n, const uint64_t *x,
                        const float *w, float *dw, const struct bp_bconv_dw_sums *dw_sums,
                        uint8_t *zero_rows);
/* 1 if output channel k has a row of dW that is not zero. */
int bp_bconv_wgrad_has_row(const struct bp_bconv *op, size_t k);
/* n elements of a row of dW from their sums (scale_latent): to `narrow`, or unless that is given
 * the same as floats to out, 0 where not |w| < 1 (w NULL: nowhere). */
void bp_bconv_wgrad_finish(const struct bp_bconv *op, const struct bp_kernels *kernels,
                           const struct bp_latent_scale *by, const int32_t *sum,
                           const int32_t *high, const int32_t *neg, const float *w, size_t n,
                           float *out, int16_t *narrow);
/* dw[i] = 0 where not |w[i]| < 1; w NULL: nothing. */
void bp_bconv_mask_row(const float *w, size_t n, float *dw);

/* bconv_wgrad_words.c */
struct bp_wgrad_words;
bp_status bp_wgrad_words_create(struct bp_bconv *op, struct bp_exec *exec, struct bp_plan *plan,
                                const char *name, int time);
void bp_wgrad_words_run(struct bp_bconv *op, struct bp_exec *exec, size_t n, const uint64_t *x,
                        const float *w, float *dw);

/* bconv_wgrad_lookup.c: channel groups only. */
struct bp_wgrad_lookup;
bp_status bp_wgrad_lookup_create(struct bp_bconv *op, struct bp_exec *exec, struct bp_plan *plan,
                                 const char *name, int time);
void bp_wgrad_lookup_destroy(struct bp_wgrad_lookup *self);
void bp_wgrad_lookup_run(struct bp_bconv *op, struct bp_exec *exec, size_t n, const uint64_t *x,
                         const float *w, float *dw, const struct bp_bconv_dw_sums *dw_sums,
                         double passes);

/* bp_product_lookup_passes of the codes of n samples. */
double bp_wgrad_lookup_passes(const struct bp_bconv *op, size_t n);

/* bconv_wgrad_tiles.c: channel groups only. */
struct bp_wgrad_tiles;
bp_status bp_wgrad_tiles_create(struct bp_bconv *op, struct bp_exec *exec, struct bp_plan *plan,
                                const char *name, int time);
void bp_wgrad_tiles_run(struct bp_bconv *op, struct bp_exec *exec, size_t n, const uint64_t *x,
                        const float *w, float *dw);
size_t bp_wgrad_tiles_joined(const struct bp_bconv *op);

/* bconv_wgrad_nonzero.c: from codes that are not zero, in place of lookups where these are few. */
void bp_wgrad_nonzero_plan(const struct bp_bconv *op, struct bp_exec *exec);
/* passes: bp_product_lookup_passes. */
int bp_wgrad_nonzero_pays(const struct bp_bconv *op, const struct bp_exec *exec, size_t n,
                          double passes);
void bp_wgrad_nonzero_run(struct bp_bconv *op, struct bp_exec *exec, size_t n, const uint64_t *x,
                          const float *w, float *dw, const struct bp_bconv_dw_sums *dw_sums);

#endif
