/* A memory plan: buffers with names, sizes and lifetimes are added first, then placed so that
 * buffers whose lifetimes do not meet share addresses, then one block is taken for all.
 *
 *      time ->   0    1    2    3    4    5
 *      y1        [---------------------]        offset 0
 *      bits2          [-----------]             offset |y1|
 *      grad                          [----]     offset |y1|  (shares with bits2)
 *
 * Times are step numbers of whoever plans (nn/graph.h). Offsets are multiples of 64.
 */
#ifndef BP_BASE_PLAN_H
#define BP_BASE_PLAN_H

#include <stddef.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

struct bp_plan;

struct bp_plan_entry {
    char name[64];
    size_t bytes;
    int first, last; /* inclusive times */
    size_t offset;
    void **where; /* receives the address; may be NULL */
};

bp_status bp_plan_create(struct bp_plan **out);
void bp_plan_destroy(struct bp_plan *plan); /* also frees the block */

/* Adds a buffer that is in use from time `first` to `last`. *where receives its address when
 * bp_plan_allocate runs. `name` is copied (cut at 63 characters). */
bp_status bp_plan_add(struct bp_plan *plan, const char *name, size_t bytes, int first, int last,
                      void *where);

/* Places all entries and takes one zeroed block; call once, after the last add. The content of a
 * buffer at the begin of its lifetime is whatever an earlier owner left. */
bp_status bp_plan_allocate(struct bp_plan *plan, const char *what);

/* After placing: total bytes of the block, and the sum of the sizes without sharing. */
size_t bp_plan_bytes(const struct bp_plan *plan);
size_t bp_plan_unshared_bytes(const struct bp_plan *plan);
size_t bp_plan_count(const struct bp_plan *plan);
const struct bp_plan_entry *bp_plan_entry_at(const struct bp_plan *plan, size_t index);

/* Places without allocating (for forecasts). */
bp_status bp_plan_place(struct bp_plan *plan);

#ifdef __cplusplus
}
#endif
#endif
