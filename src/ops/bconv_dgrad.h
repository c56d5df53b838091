/* What the methods of the activation gradient share. */
#ifndef BP_OPS_BCONV_DGRAD_H
#define BP_OPS_BCONV_DGRAD_H

#include "ops/bconv_internal.h"

struct bp_dgrad_job {
    struct bp_bconv *op;
    struct bp_exec *exec;
    const uint64_t *mask;
    float *dx;                           /* or, unless NULL: */
    const struct bp_bconv_sums *dx_sums; /* as integers */
    int is_signed;
    struct bp_digit digits[2];
    size_t n_digits;
    size_t samples; /* of a tile: kept ones; on tiles of bytes groups of them */
    size_t items;   /* of the work that is shared out */
    int at_once;    /* sums go from the product to dx_sums */
    int wide;       /* tables, else those of digits */
};

/* Which rows of offsets a sample needs, filled for its scale: [classes][c], or one row of zeros.
 * Begin with sample = -1. */
struct bp_dgrad_offsets {
    const float *table;
    const uint8_t *classes;
    int32_t sample;
};

/* Scales, adds the offset, masks and stores the sums [count][c] of pixels at, at + 1, .. of the
 * image of a slot. */
void bp_dgrad_finish(const struct bp_dgrad_job *job, size_t slot, size_t at, size_t count,
                     const int32_t *sums, struct bp_dgrad_offsets *offsets, int thread);

/* Kept samples from slot `slot` on, output rows and columns. */
struct bp_dgrad_tile {
    size_t slot, samples, row, rows, column, columns;
};

/* The rows of dx that the tile is written to, of the samples that lie one behind the other: they
 * are in the cache when the product is done. */
struct bp_fetch bp_dgrad_tile_of_dx(const struct bp_dgrad_job *job,
                                    const struct bp_dgrad_tile *tile);

/* The codes, or tables of them, that a tile's product reads: those of rows first_row and up,
 * columns first_column and up of each sample; pixels of `unit` elements. */
struct bp_dgrad_window {
    size_t unit, first_row, rows, first_column, columns, sample_pixels;
};

/* How many of `count` positions from `first` on, along an axis, are input pixels of this parity. */
static inline size_t bp_dgrad_count_along(size_t first, size_t count, size_t stride, size_t parity,
                                          size_t length) {
    size_t all = length > parity ? (length - parity + stride - 1) / stride : 0;
    return first < all ? bp_min_size(count, all - first) : 0;
}

/* bconv_dgrad_wide.c: what a worker has beside wide tables. */
struct bp_dgrad_wide {
    int32_t *of_window;      /* [pixels of the window] sum of the |code| that are in its tables */
    int32_t *total;          /* [pixels of the product] the same of what each sees */
    const int32_t **more_of; /* [pixels of the product] their rows of more, or NULL */
    struct bp_left_out *left_out;
    uint8_t *has_more; /* [input pixels of the tile] */
    int32_t *more;     /* [input pixels of the tile][c] */
    int has_any;       /* else has_more is not valid */
};
/* bp_product_lookup_passes with them, if the codes are of 8 bits. */
double bp_dgrad_wide_passes(const struct bp_bconv *op, const struct bp_exec *exec);
struct bp_dgrad_wide bp_dgrad_wide_carve(const struct bp_bconv *op, struct bp_carver *carver);
/* The tables of a tile's window, with what they leave out. */
void bp_dgrad_wide_tables(const struct bp_dgrad_job *job, const struct bp_dgrad_tile *tile,
                          const struct bp_dgrad_window *window, uint8_t *tables,
                          struct bp_dgrad_wide *wide);
/* Of the pixels of a class, in order; tap [taps]: from a pixel of the window to what is seen. */
struct bp_wide_pixels bp_dgrad_wide_pixels(const struct bp_dgrad_job *job,
                                           const struct bp_dgrad_tile *tile,
                                           const struct bp_pixel_run *runs, size_t n,
                                           unsigned pixel_class, const int32_t *tap, size_t taps,
                                           struct bp_dgrad_wide *wide);

/* bconv_dgrad_tiles.c */
void bp_dgrad_tiles_run(struct bp_dgrad_job *job);

#endif
