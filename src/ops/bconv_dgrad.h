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

/* How many of `count` positions from `first` on, along an axis, are input pixels of this parity. */
static inline size_t bp_dgrad_count_along(size_t first, size_t count, size_t stride, size_t parity,
                                          size_t length) {
    size_t all = length > parity ? (length - parity + stride - 1) / stride : 0;
    return first < all ? bp_min_size(count, all - first) : 0;
}

/* bconv_dgrad_tiles.c */
void bp_dgrad_tiles_run(struct bp_dgrad_job *job);

#endif
