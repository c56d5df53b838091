/* dW by lookup: what its plan and its product share. Layouts: bconv_wgrad_lookup.c. */
#ifndef BP_OPS_BCONV_WGRAD_LOOKUP_H
#define BP_OPS_BCONV_WGRAD_LOOKUP_H

#include "ops/bconv_internal.h"

#define BP_WGRAD_LANES   64 /* input channels of one call of the kernel */
#define BP_WGRAD_COLUMNS 4  /* output channels that the kernels multiply at once */
#define BP_STEP_SAMPLES  16 /* of the steps of all tiers, at most */

/* Where sums of 32 bits hold 256 * valid, they hold the sum of code * a^, whatever happens between.
 */
#define BP_VALID_OF_32_BITS (INT32_MAX / 256)

struct bp_wgrad_lookup {
    size_t together;       /* quads of a step of the kernels */
    size_t quads, groups;  /* of a group, whole steps; groups of the largest batch */
    size_t rows, chunks;   /* output rows of a chunk; chunks of an image */
    size_t lanes, blocks;  /* bytes of an index row; blocks of channels */
    size_t index_step;     /* from one entry of a run to the next */
    size_t columns;        /* output channels of a work item, at most */
    int can_be_wide;       /* tables, of codes of 8 bits */
    uint8_t *index;        /* [groups][blocks][h][w][quads / together][lanes][together] */
    uint8_t *count_tables; /* [rows][ow][quads][16], each counts the bits of its index */
    struct bp_run *runs;   /* of chunk i and tap t: run_begin[i * taps + t] and up */
    size_t *run_begin;     /* [chunks * taps + 1] */
};

static inline size_t bp_wgrad_lookup_chunk_quads(const struct bp_bconv *op,
                                                 const struct bp_wgrad_lookup *self) {
    return self->rows * op->shape.ow * self->quads;
}

/* From the tables of one output channel to the next: not a multiple of 4 KiB, which would put them
 * into the same few sets of the cache. */
static inline size_t bp_wgrad_lookup_column_bytes(const struct bp_bconv *op,
                                                  const struct bp_wgrad_lookup *self) {
    return bp_wgrad_lookup_chunk_quads(op, self) * BP_TABLE_BYTES + 64;
}

/* The sums of one output channel, of `passes` digits or of wide tables. */
static inline size_t bp_wgrad_lookup_sum_bytes(const struct bp_bconv *op, size_t passes) {
    return passes * op->taps * op->shape.c * sizeof(int32_t);
}

/* The sums of |code| of one output channel. */
static inline size_t bp_wgrad_lookup_total_bytes(const struct bp_wgrad_lookup *self) {
    return BP_BORDER_CLASSES * self->together * sizeof(int32_t);
}

static inline size_t bp_wgrad_lookup_list_bytes(const struct bp_bconv *op,
                                                const struct bp_wgrad_lookup *self) {
    return bp_wgrad_lookup_chunk_quads(op, self) * BP_LEFT_OUT_QUAD * sizeof(struct bp_left_out);
}

static inline size_t bp_wgrad_lookup_block_bytes(const struct bp_bconv *op,
                                                 const struct bp_wgrad_lookup *self) {
    return op->shape.h * op->shape.w * self->quads * self->lanes;
}

#endif
