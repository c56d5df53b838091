/* What the products can reach on one core (kernels/peak.h), timed beside them. */
#include "kcheck/kcheck.h"

#include <string.h>

#include "base/clock.h"
#include "kernels/peak.h"

#define ROUNDS     12
#define ITERATIONS 4096

/* Returns 0 where the kernel is no product. */
static int kind_of(const struct kcheck *t, enum bp_peak_kind *out) {
    static const struct {
        const char *name;
        int is_lookup, entry_max;    /* entry_max 0: the bench's */
        enum bp_peak_kind otherwise; /* not a lookup */
    } products[] = {
        {"product_triples", 0, 0, BP_PEAK_WORDS},   {"product_xor", 0, 0, BP_PEAK_WORDS},
        {"product_planes", 0, 0, BP_PEAK_WORDS},    {"product_positions", 0, 0, BP_PEAK_WORDS},
        {"product_signs", 1, 4, BP_PEAK_WORDS},     {"product_tables", 1, 0, BP_PEAK_WORDS},
        {"product_samples", 1, 0, BP_PEAK_WORDS},   {"product_tables_i16", 1, 0, BP_PEAK_WORDS},
        {"product_tiles_i16", 0, 0, BP_PEAK_TILES}, {"product_tiles_i32", 0, 0, BP_PEAK_TILES},
        {"product_turned", 0, 0, BP_PEAK_TILES}};
    for (size_t i = 0; i < sizeof products / sizeof products[0]; i++) {
        if (strcmp(t->kernel_name, products[i].name) != 0)
            continue;
        int entry_max = products[i].entry_max > 0 ? products[i].entry_max : t->entry_max;
        *out = products[i].is_lookup ? bp_peak_of_lookup(entry_max) : products[i].otherwise;
        return 1;
    }
    return 0;
}

double kc_peak(const struct kcheck *t, enum bp_tier tier) {
    enum bp_peak_kind kind;
    struct bp_peak peak;
    if (!kind_of(t, &kind) || !bp_peak_find(tier, kind, &peak))
        return 0;
    double best_ns = 1e30;
    for (int round = 0; round < ROUNDS; round++) {
        double begin_ns = (double)bp_clock_ns();
        peak.run(ITERATIONS);
        double ns = (double)bp_clock_ns() - begin_ns;
        best_ns = ns < best_ns ? ns : best_ns;
    }
    int planes = t->bench.planes > 1 ? t->bench.planes : 1;
    return ITERATIONS * peak.macs / best_ns / planes;
}
