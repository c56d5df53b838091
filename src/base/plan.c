#include "base/plan.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/memory.h"

struct bp_plan {
    struct bp_plan_entry *entries;
    size_t count, capacity;
    size_t bytes;
    int placed;
    void *block;
};

bp_status bp_plan_create(struct bp_plan **out) {
    return bp_alloc(out, sizeof(struct bp_plan), "a memory plan");
}

void bp_plan_destroy(struct bp_plan *plan) {
    if (plan == NULL)
        return;
    bp_free(plan->block);
    bp_free(plan->entries);
    bp_free(plan);
}

bp_status bp_plan_add(struct bp_plan *plan, const char *name, size_t bytes, int first, int last,
                      void *where) {
    if (plan->count == plan->capacity) {
        size_t larger = plan->capacity == 0 ? 64 : 2 * plan->capacity;
        BP_TRY(bp_grow(&plan->entries, plan->count * sizeof *plan->entries,
                       larger * sizeof *plan->entries, "a memory plan"));
        plan->capacity = larger;
    }
    struct bp_plan_entry *entry = &plan->entries[plan->count++];
    *entry = (struct bp_plan_entry){.bytes = bytes, .first = first, .last = last, .where = where};
    snprintf(entry->name, sizeof entry->name, "%s", name);
    if (bytes > SIZE_MAX / 4)
        return bp_fail(BP_RESOURCE, "out of memory: %s is too large to address", name);
    return BP_OK;
}

static int larger_first(const void *left, const void *right) {
    const struct bp_plan_entry *a = *(struct bp_plan_entry *const *)left;
    const struct bp_plan_entry *b = *(struct bp_plan_entry *const *)right;
    if (a->bytes != b->bytes)
        return a->bytes > b->bytes ? -1 : 1;
    return a < b ? -1 : 1; /* same size: in the order they were added */
}

static int meet(const struct bp_plan_entry *a, const struct bp_plan_entry *b) {
    return a->first <= b->last && b->first <= a->last;
}

/* First fit, largest first: an entry goes to the lowest offset where no entry that lives at the
 * same time stands. Quadratic in the number of entries that meet; plans have a few hundred. */
static size_t lowest_free_offset(struct bp_plan_entry **placed, size_t count,
                                 const struct bp_plan_entry *entry) {
    size_t offset = 0;
    for (int moved = 1; moved;) {
        moved = 0;
        for (size_t i = 0; i < count; i++) {
            const struct bp_plan_entry *other = placed[i];
            size_t end = other->offset + bp_round_up(other->bytes, BP_ALIGN);
            if (meet(entry, other) && offset < end &&
                other->offset < offset + bp_round_up(entry->bytes, BP_ALIGN)) {
                offset = end;
                moved = 1;
            }
        }
    }
    return offset;
}

bp_status bp_plan_place(struct bp_plan *plan) {
    struct bp_plan_entry **order;
    BP_TRY(bp_alloc_array(&order, plan->count + 1, sizeof(void *), "a memory plan"));
    for (size_t i = 0; i < plan->count; i++)
        order[i] = &plan->entries[i];
    qsort(order, plan->count, sizeof *order, larger_first);
    plan->bytes = 0;
    for (size_t i = 0; i < plan->count; i++) {
        order[i]->offset = lowest_free_offset(order, i, order[i]);
        size_t end = order[i]->offset + bp_round_up(order[i]->bytes, BP_ALIGN);
        if (end > plan->bytes)
            plan->bytes = end;
    }
    bp_free(order);
    plan->placed = 1;
    return BP_OK;
}

bp_status bp_plan_allocate(struct bp_plan *plan, const char *what) {
    BP_TRY(bp_plan_place(plan));
    BP_TRY(bp_alloc(&plan->block, plan->bytes, what));
    for (size_t i = 0; i < plan->count; i++)
        if (plan->entries[i].where != NULL)
            *plan->entries[i].where = (char *)plan->block + plan->entries[i].offset;
    return BP_OK;
}

size_t bp_plan_bytes(const struct bp_plan *plan) {
    return plan->bytes;
}

size_t bp_plan_unshared_bytes(const struct bp_plan *plan) {
    size_t sum = 0;
    for (size_t i = 0; i < plan->count; i++)
        sum += bp_round_up(plan->entries[i].bytes, BP_ALIGN);
    return sum;
}

size_t bp_plan_count(const struct bp_plan *plan) {
    return plan->count;
}

const struct bp_plan_entry *bp_plan_entry_at(const struct bp_plan *plan, size_t index) {
    return &plan->entries[index];
}
