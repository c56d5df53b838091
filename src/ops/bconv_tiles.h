/* Maps as the products of tiles read them. A tile of the work is some rows of some samples; what it
 * sees of the image, its window, is bytes in which the samples of a group stand side by side, so
 * that 16 positions in a row, a block, are equally far apart on maps of any width:
 *
 *   window [groups][steps][rows][columns][samples][64]     steps of 64 channels
 *
 * Pixels outside the image are given by bytes of one value. With stride 2 the even columns come
 * first, then the odd ones, so that neighbours in the output stay neighbours. */
#ifndef BP_OPS_BCONV_TILES_H
#define BP_OPS_BCONV_TILES_H

#include "ops/op.h"

#define BP_TAPS_MAX 9

struct bp_tiles {
    size_t h, w, channels; /* the image that is read */
    size_t oh, ow;         /* positions of the product; (y, x) sees the pixels */
    size_t stride, before; /* (stride * y + ty - before, stride * x + tx - before) */
    size_t reach;          /* ty, tx = 0 .. reach - 1 */
    size_t samples;        /* of a group: 1, 2, 4, 8 or 16 */
    size_t groups, rows;   /* of a tile, at most */
    uint8_t outside;       /* the bytes of pixels outside the image */
};

/* A tap, by its ty and tx, and which of the weights' taps it is. */
struct bp_tile_tap {
    size_t y, x;
    int32_t w;
};

/* A tile of the batch: `count` samples from `sample` on, and rows of positions. */
struct bp_tile {
    size_t sample, count, row, rows;
};

/* Blocks that see the same taps inside the image. */
struct bp_tile_class {
    size_t first, count; /* blocks */
    int32_t tap[BP_TAPS_MAX], tap_w[BP_TAPS_MAX];
    size_t taps;
};

/* Where a position of sample i of the tile, in its row y and column x, goes:
 *     (samples == NULL ? i : samples[i]) * sample + y * row + x * column */
struct bp_tile_target {
    size_t sample, row, column;
    const int32_t *samples;
};

#define BP_TILE_CLASSES 9 /* by edge, middle and edge of either axis */

struct bp_tile_list {
    int32_t *at, *to; /* [blocks], [blocks][16] */
    struct bp_tile_class classes[BP_TILE_CLASSES];
    size_t n_classes;
};

/* Chooses samples, groups and rows for a batch of n, so that there is work for all workers.
 * position_bytes: what a position needs beside the window. */
void bp_tiles_choose(struct bp_tiles *t, size_t n, size_t position_bytes, int workers);

/* Bytes of the window of a tile, and of its lists; both in whole cache lines. */
size_t bp_tiles_window_bytes(const struct bp_tiles *t);
size_t bp_tiles_list_bytes(const struct bp_tiles *t);
struct bp_tile_list bp_tiles_carve_list(const struct bp_tiles *t, struct bp_carver *carver);

/* Writes 64 channels, those of step `of`, of pixels x, x + step, .. of row y of a sample to out,
 * `pitch` bytes apart; zeros for channels beyond the end. */
typedef void bp_tile_row(const void *context, size_t sample, size_t of, size_t y, size_t x,
                         size_t step, size_t count, uint8_t *out, size_t pitch);
void bp_tiles_fill(const struct bp_tiles *t, const struct bp_tile *tile, bp_tile_row *row,
                   const void *context, uint8_t *window);

/* Lists the blocks of columns 0 .. columns - 1 of a tile by class. */
void bp_tiles_list(const struct bp_tiles *t, const struct bp_tile *tile, size_t columns,
                   const struct bp_tile_tap *taps, size_t n_taps,
                   const struct bp_tile_target *target, struct bp_tile_list *list);

/* Where column `column` of `columns` stands: with stride 2 the even ones first. */
static inline size_t bp_tiles_slot(size_t stride, size_t columns, size_t column) {
    return stride == 1 ? column : column % 2 * ((columns + 1) / 2) + column / 2;
}

/* Steps of a pixel. */
static inline size_t bp_tiles_steps(const struct bp_tiles *t) {
    return (t->channels + BP_TILE_STEP - 1) / BP_TILE_STEP;
}

/* From a step of a group's window to the next, in bytes. */
size_t bp_tiles_step_bytes(const struct bp_tiles *t);

/* Blocks of a class of a list. */
struct bp_tile_blocks bp_tiles_blocks(const struct bp_tiles *t, const struct bp_tile_list *list,
                                      const struct bp_tile_class *of);

/* At how many positions of a sample the taps are taken, together, inside the image or not. */
size_t bp_tiles_joined(const struct bp_tiles *t, const struct bp_tile_tap *taps, size_t n_taps);

/* Items for parallel work: (groups that are walked together, some rows). */
static inline size_t bp_tiles_row_tiles(const struct bp_tiles *t) {
    return (t->oh + t->rows - 1) / t->rows;
}
struct bp_tile bp_tiles_item(const struct bp_tiles *t, size_t item, size_t groups, size_t n);

#endif
