/* The products by lookup cut their steps (one table, one row of indices) into passes, so that the
 * indices of a block of lanes stay in the first-level cache while the rows (pixels or columns) go
 * by. A pass is short enough for sums of 16 bits: PASS_STEPS * 60 < 65536. For every vector tier.
 */
#ifndef BP_KERNELS_LOOKUP_PASS_H
#define BP_KERNELS_LOOKUP_PASS_H

#include "base/bits.h"
#include "kernels/kernels.h"

#define PASS_STEPS 384
#define BYTE_MAX   255

/* Steps whose tables and index rows lie one behind the other: 4 * fours + rest. */
struct segment {
    ptrdiff_t table, index;
    uint32_t fours, rest;
};

struct pass {
    struct segment segments[PASS_STEPS];
    size_t n_segments;
    size_t groups; /* of 4 entries, that a byte takes */
};

static inline void pass_append(struct pass *pass, ptrdiff_t table, ptrdiff_t index, size_t count) {
    pass->segments[pass->n_segments++] =
        (struct segment){table, index, (uint32_t)(count / 4), (uint32_t)(count % 4)};
}

/* How many groups of 4 entries, of at most entry_max, a byte takes before it is widened. With two,
 * beginning anew with each group is cheaper than clearing. */
static inline size_t pass_groups(int entry_max) {
    size_t groups = (size_t)(BYTE_MAX / entry_max / 4);
    return groups <= 2 ? 1 : groups;
}

/* --- windows ---------------------------------------------------------------------------------- */

/* Steps of a pass: the passes are about equally long, in whole fours. */
static inline size_t pass_steps(size_t steps) {
    size_t passes = (steps + PASS_STEPS - 1) / PASS_STEPS;
    return passes <= 1 ? PASS_STEPS : bp_round_up((steps + passes - 1) / passes, 4);
}

/* The steps of windows from `step` on, for one pass; returns the next one. unit: bytes of a
 * row's step. */
static inline size_t pass_of_windows(struct pass *pass, size_t step, const int32_t *tap,
                                     const int32_t *tap_w, size_t taps, size_t quads,
                                     ptrdiff_t unit) {
    const size_t steps = taps * quads, end = bp_min_size(steps, step + pass_steps(steps));
    for (pass->n_segments = 0; step < end;) {
        size_t t = step / quads, i = step % quads, count = bp_min_size(quads - i, end - step);
        pass_append(pass, ((ptrdiff_t)tap[t] + (ptrdiff_t)i) * unit,
                    (ptrdiff_t)(((size_t)tap_w[t] * quads + i) * BP_LANES), count);
        step += count;
    }
    return step;
}

/* --- runs ------------------------------------------------------------------------------------- */

/* Where the steps of a pass are in the runs. */
struct run_cursor {
    const struct bp_run *runs;
    size_t n_runs, steps; /* steps of a pass */
    size_t run, done;
};

static inline struct run_cursor first_run(const struct bp_run *runs, size_t n_runs) {
    struct run_cursor cursor = {runs, n_runs, 0, 0, 0};
    for (size_t r = 0; r < n_runs; r++)
        cursor.steps += (size_t)runs[r].count;
    cursor.steps = pass_steps(cursor.steps);
    return cursor;
}

/* The next steps of the runs; origin: where the index rows of each segment are. The index rows are
 * to be copied to a dense place, dense_step bytes apart. */
static inline void pass_of_runs(struct pass *pass, struct run_cursor *at, size_t index_step,
                                size_t dense_step, ptrdiff_t origin[PASS_STEPS]) {
    size_t taken = 0;
    for (pass->n_segments = 0; at->run < at->n_runs && taken < at->steps;) {
        const struct bp_run *r = &at->runs[at->run];
        size_t count = bp_min_size((size_t)r->count - at->done, at->steps - taken);
        if (count > 0) {
            origin[pass->n_segments] = r->index + (ptrdiff_t)(at->done * index_step);
            pass_append(pass, r->table + (ptrdiff_t)(at->done * BP_TABLE_BYTES),
                        (ptrdiff_t)(taken * dense_step), count);
        }
        taken += count;
        at->done += count;
        if (at->done == (size_t)r->count) {
            at->done = 0;
            at->run++;
        }
    }
}

#endif
