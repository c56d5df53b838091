/* Windows of bytes and lists of blocks for the products of tiles. */
#include "ops/bconv_internal.h"

#include <string.h>

#define POSITIONS  1024                /* of a tile: weights are spread once for them */
#define TILE_BYTES ((size_t)768 << 10) /* of a tile, beside its weights in L2 */

/* --- geometry --------------------------------------------------------------------------------- */

static size_t window_rows(const struct bp_tiles *t, size_t rows) {
    return (rows - 1) * t->stride + t->reach;
}

static size_t window_columns(const struct bp_tiles *t) {
    return (t->ow - 1) * t->stride + t->reach;
}

/* Where a column of the window stands. */
static size_t slot_of(const struct bp_tiles *t, size_t column) {
    return bp_tiles_slot(t->stride, window_columns(t), column);
}

static size_t column_bytes(const struct bp_tiles *t) {
    return t->samples * BP_TILE_STEP;
}

static size_t row_bytes(const struct bp_tiles *t) {
    return window_columns(t) * column_bytes(t);
}

size_t bp_tiles_step_bytes(const struct bp_tiles *t) {
    return window_rows(t, t->rows) * row_bytes(t);
}

static size_t group_bytes(const struct bp_tiles *t) {
    return bp_tiles_steps(t) * bp_tiles_step_bytes(t);
}

static size_t row_blocks(const struct bp_tiles *t) {
    return (t->ow * t->samples + BP_TILE_ROWS - 1) / BP_TILE_ROWS;
}

static size_t tile_blocks(const struct bp_tiles *t) {
    return t->groups * t->rows * row_blocks(t);
}

/* The last block of a row may reach over its end. */
size_t bp_tiles_window_bytes(const struct bp_tiles *t) {
    return t->groups * group_bytes(t) + BP_TILE_ROWS * BP_TILE_STEP;
}

struct bp_tile_blocks bp_tiles_blocks(const struct bp_tiles *t, const struct bp_tile_list *list,
                                      const struct bp_tile_class *of) {
    return (struct bp_tile_blocks){of->count, list->at + of->first,
                                   list->to + of->first * BP_TILE_ROWS, BP_TILE_STEP,
                                   bp_tiles_step_bytes(t)};
}

size_t bp_tiles_list_bytes(const struct bp_tiles *t) {
    return bp_round_up(tile_blocks(t) * sizeof(int32_t), 64) +
           tile_blocks(t) * BP_TILE_ROWS * sizeof(int32_t);
}

struct bp_tile_list bp_tiles_carve_list(const struct bp_tiles *t, struct bp_carver *carver) {
    struct bp_tile_list list = {.n_classes = 0};
    list.at = bp_carve(carver, tile_blocks(t) * sizeof(int32_t));
    list.to = bp_carve(carver, tile_blocks(t) * BP_TILE_ROWS * sizeof(int32_t));
    return list;
}

/* --- choice ----------------------------------------------------------------------------------- */

/* On small maps a block is one position of 16 samples, so that taps outside the image are left
 * out; else as few samples as make blocks of whole rows. */
static size_t samples_of_group(const struct bp_tiles *t, size_t n) {
    size_t samples = 1;
    while (samples < BP_TILE_ROWS && samples < n &&
           (t->ow <= 4 || samples * t->ow % BP_TILE_ROWS != 0))
        samples *= 2;
    return samples;
}

static size_t tile_bytes(const struct bp_tiles *t, size_t position_bytes) {
    return bp_tiles_window_bytes(t) + bp_tiles_list_bytes(t) +
           t->groups * t->rows * t->ow * t->samples * position_bytes;
}

void bp_tiles_choose(struct bp_tiles *t, size_t n, size_t position_bytes, int workers) {
    size_t map, groups;
    t->samples = samples_of_group(t, n);
    map = t->oh * t->ow * t->samples;
    t->groups = 1;
    t->rows = t->oh;
    if (map > POSITIONS)
        t->rows = bp_max_size(POSITIONS / (t->ow * t->samples), 1);
    else
        t->groups = bp_min_size(POSITIONS / map, (n + t->samples - 1) / t->samples);
    while (t->groups > 1 && tile_bytes(t, position_bytes) > TILE_BYTES)
        t->groups--;
    while (t->rows > 1 && tile_bytes(t, position_bytes) > TILE_BYTES)
        t->rows--;
    groups = (n + t->samples - 1) / t->samples; /* at least so many tiles of these rows */
    while (t->rows > 1 && groups * bp_tiles_row_tiles(t) < (size_t)workers)
        t->rows = (t->rows + 1) / 2;
    t->rows = bp_even_rows(t->oh, t->rows);
}

struct bp_tile bp_tiles_item(const struct bp_tiles *t, size_t item, size_t groups, size_t n) {
    size_t row_tiles = bp_tiles_row_tiles(t), together = groups * t->samples;
    struct bp_tile tile = {.sample = item / row_tiles * together,
                           .row = item % row_tiles * t->rows};
    tile.count = bp_min_size(together, n - tile.sample);
    tile.rows = bp_min_size(t->rows, t->oh - tile.row);
    return tile;
}

/* --- windows ---------------------------------------------------------------------------------- */

/* The columns of the window inside the image: first .. end - 1. */
static void columns_inside(const struct bp_tiles *t, size_t *first, size_t *end) {
    *first = t->before;
    *end = bp_min_size(window_columns(t), t->w + t->before);
}

static void fill_row(const struct bp_tiles *t, size_t sample, size_t of, size_t y, bp_tile_row *row,
                     const void *context, uint8_t *out) {
    size_t first, end;
    columns_inside(t, &first, &end);
    for (size_t from = first; from < bp_min_size(first + t->stride, end); from++)
        row(context, sample, of, y, from - t->before, t->stride,
            (end - from + t->stride - 1) / t->stride, out + slot_of(t, from) * column_bytes(t),
            column_bytes(t));
}

static void clear_borders(const struct bp_tiles *t, uint8_t *row) {
    size_t first, end;
    columns_inside(t, &first, &end);
    for (size_t x = 0; x < first; x++)
        memset(row + slot_of(t, x) * column_bytes(t), t->outside, column_bytes(t));
    for (size_t x = end; x < window_columns(t); x++)
        memset(row + slot_of(t, x) * column_bytes(t), t->outside, column_bytes(t));
}

void bp_tiles_fill(const struct bp_tiles *t, const struct bp_tile *tile, bp_tile_row *row,
                   const void *context, uint8_t *window) {
    size_t steps = bp_tiles_steps(t), groups = (tile->count + t->samples - 1) / t->samples;
    for (size_t p = 0; p < groups * steps; p++, window += bp_tiles_step_bytes(t)) {
        size_t i = p / steps * t->samples, of = p % steps;
        size_t samples = bp_min_size(t->samples, tile->count - i);
        uint8_t *out = window;
        for (size_t r = 0; r < window_rows(t, tile->rows); r++, out += row_bytes(t)) {
            size_t y = tile->row * t->stride + r;
            if (y < t->before || y >= t->h + t->before) {
                memset(out, t->outside, row_bytes(t));
                continue;
            }
            clear_borders(t, out);
            for (size_t s = 0; s < samples; s++)
                fill_row(t, tile->sample + i + s, of, y - t->before, row, context,
                         out + s * BP_TILE_STEP);
        }
    }
}

/* --- blocks ----------------------------------------------------------------------------------- */

/* The offsets along an axis, of reach, that lie inside the image at a position. */
static unsigned reach_inside(const struct bp_tiles *t, size_t position, size_t length) {
    unsigned inside = 0;
    size_t first = position * t->stride;
    if (first >= t->before && first - t->before + t->reach <= length)
        return (1u << t->reach) - 1;
    for (size_t i = 0; i < t->reach; i++) {
        size_t at = first + i;
        if (at >= t->before && at - t->before < length)
            inside |= 1u << i;
    }
    return inside;
}

/* What a block at row y, column x takes of the window's rows, and of its columns: those that some
 * of its positions see inside the image. */
static unsigned rows_taken(const struct bp_tiles *t, size_t y) {
    return reach_inside(t, y, t->h);
}

static unsigned columns_taken(const struct bp_tiles *t, size_t x) {
    return t->samples == BP_TILE_ROWS ? reach_inside(t, x, t->w) : (1u << t->reach) - 1;
}

static int is_taken(const struct bp_tile_tap *tap, unsigned rows, unsigned columns) {
    return rows >> tap->y & 1 && columns >> tap->x & 1;
}

size_t bp_tiles_joined(const struct bp_tiles *t, const struct bp_tile_tap *taps, size_t n_taps) {
    size_t count = 0;
    for (size_t y = 0; y < t->oh; y++)
        for (size_t x = 0; x < t->ow; x++)
            for (size_t i = 0; i < n_taps; i++)
                count += (size_t)is_taken(&taps[i], rows_taken(t, y), columns_taken(t, x));
    return count;
}

static void fill_taps(const struct bp_tiles *t, const struct bp_tile_tap *taps, size_t n_taps,
                      unsigned rows, unsigned columns, struct bp_tile_class *to) {
    to->taps = 0;
    for (size_t i = 0; i < n_taps; i++) {
        if (!is_taken(&taps[i], rows, columns))
            continue;
        to->tap[to->taps] =
            (int32_t)(taps[i].y * row_bytes(t) + slot_of(t, taps[i].x) * column_bytes(t));
        to->tap_w[to->taps++] = taps[i].w;
    }
}

struct walk {
    const struct bp_tiles *t;
    const struct bp_tile *tile;
    size_t columns;
    const struct bp_tile_target *target;
};

/* How far behind the first place of a block the 16 rows go, of samples from i of the tile on, where
 * all are there. */
static void fill_offsets(const struct walk *walk, size_t i, int32_t offset[BP_TILE_ROWS]) {
    const struct bp_tile_target *target = walk->target;
    for (size_t j = 0; j < BP_TILE_ROWS; j++) {
        size_t s = bp_min_size(i + j % walk->t->samples, walk->tile->count - 1);
        size_t sample = target->samples == NULL ? s : (size_t)target->samples[s];
        offset[j] = (int32_t)(sample * target->sample + j / walk->t->samples * target->column);
    }
}

/* Where the rows of a block go that begins with column x of row y. */
static void fill_block(const struct walk *walk, size_t i, size_t y, size_t x,
                       const int32_t offset[BP_TILE_ROWS], int32_t *to) {
    size_t samples = walk->t->samples, there = bp_min_size(walk->tile->count - i, samples);
    int32_t at = (int32_t)(y * walk->target->row + x * walk->target->column);
    for (size_t j = 0; j < BP_TILE_ROWS; j++)
        to[j] = at + offset[j];
    if (there == samples && x + BP_TILE_ROWS / samples <= walk->columns)
        return;
    for (size_t j = 0; j < BP_TILE_ROWS; j++)
        if (x + j / samples >= walk->columns || j % samples >= there)
            to[j] = -1;
}

/* Appends the blocks of the tile that take these rows and columns. Returns the place behind them.
 */
static size_t append_class(const struct walk *walk, unsigned rows, unsigned columns,
                           struct bp_tile_list *list, size_t n) {
    const struct bp_tiles *t = walk->t;
    const struct bp_tile *tile = walk->tile;
    size_t block_columns = BP_TILE_ROWS / t->samples, group = 0;
    int32_t offset[BP_TILE_ROWS];
    for (size_t i = 0; i < tile->count; i += t->samples, group += group_bytes(t)) {
        fill_offsets(walk, i, offset);
        for (size_t y = 0; y < tile->rows; y++) {
            if (rows_taken(t, tile->row + y) != rows)
                continue;
            for (size_t x = 0; x < walk->columns; x += block_columns) {
                if (columns_taken(t, x) != columns)
                    continue;
                list->at[n] = (int32_t)(group + y * t->stride * row_bytes(t) + x * column_bytes(t));
                fill_block(walk, i, y, x, offset, list->to + n++ * BP_TILE_ROWS);
            }
        }
    }
    return n;
}

void bp_tiles_list(const struct bp_tiles *t, const struct bp_tile *tile, size_t columns,
                   const struct bp_tile_tap *taps, size_t n_taps,
                   const struct bp_tile_target *target, struct bp_tile_list *list) {
    const struct walk walk = {t, tile, columns, target};
    uint32_t some_rows = 0, some_columns = 0; /* bit i: some take i */
    size_t n = 0;
    for (size_t y = 0; y < tile->rows; y++)
        some_rows |= 1u << rows_taken(t, tile->row + y);
    for (size_t x = 0; x < columns; x++)
        some_columns |= 1u << columns_taken(t, x);
    list->n_classes = 0;
    for (unsigned rows = 0; some_rows >> rows != 0; rows++)
        for (unsigned of = 0; some_columns >> of != 0; of++) {
            if (!(some_rows >> rows & some_columns >> of & 1))
                continue;
            struct bp_tile_class *to = &list->classes[list->n_classes++];
            to->first = n;
            n = append_class(&walk, rows, of, list, n);
            to->count = n - to->first;
            fill_taps(t, taps, n_taps, rows, of, to);
        }
}
