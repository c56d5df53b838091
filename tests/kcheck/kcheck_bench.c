/* --bench: times of the kernels on real layers. */
#include "kcheck/kcheck.h"

#include <stdio.h>

#include "base/clock.h"

#define ROUNDS         5
#define ROUND_NS       1e6
#define VERSION_NS     2e8 /* a slow version gets fewer rounds */
#define TOLERATED_LOSS 1.05

void kc_work(struct kcheck *t, double amount, const char *unit) {
    t->bench.work = amount;
    t->bench.unit = unit;
}

static void begin_round(struct kcheck *t, long calls) {
    t->bench.calls = calls;
    t->bench.left = calls - 1;
    t->bench.begin_ns = (double)bp_clock_ns();
}

static int begin_version(struct kcheck *t) {
    while (t->position < t->n_versions && !kc_takes_part(t, t->position))
        t->position++;
    if (t->position == t->n_versions) {
        t->bench.calls = 0;
        return 0;
    }
    kc_place_buffers(t, KC_BEGINS_AT_GUARD);
    t->kernels = &t->versions[t->position].kernels;
    t->bench.round = 0;
    t->bench.best_ns = 1e30;
    t->bench.total_ns = 0;
    begin_round(t, 1);
    return 1;
}

/* Per version: one call to warm up and to learn how many make a round, then the best of the rounds.
 */
int kc_bench_next(struct kcheck *t) {
    struct kc_bench *b = &t->bench;
    if (b->left > 0) {
        b->left--;
        return 1;
    }
    if (b->calls == 0)
        return begin_version(t);
    double elapsed_ns = (double)bp_clock_ns() - b->begin_ns;
    double ns = elapsed_ns / (double)b->calls;
    b->total_ns += elapsed_ns;
    b->best_ns = ns < b->best_ns ? ns : b->best_ns;
    if (b->round++ < ROUNDS && b->total_ns < VERSION_NS) {
        begin_round(t, ns < ROUND_NS ? (long)(ROUND_NS / (ns + 1)) + 1 : 1);
        return 1;
    }
    b->rate[t->position] = b->work / b->best_ns;
    b->ns[t->position++] = b->best_ns;
    return begin_version(t);
}

static void print_version(const struct kcheck *t, size_t index) {
    const struct kc_bench *b = &t->bench;
    double ns = b->ns[index], rate = b->rate[index];
    size_t fastest = 0; /* of the lower tiers */
    for (size_t i = 0; i < index; i++)
        fastest = b->ns[i] < b->ns[fastest] ? i : fastest;
    int is_slower = index > 0 && ns > b->ns[fastest] * TOLERATED_LOSS;
    int is_mac = b->unit[0] == 'M';
    printf("%-18s %-16s %-7s %12.0f %10.2f %9s %7.1fx%s%s", t->kernel_name, t->layer->name,
           t->versions[index].label, ns, rate, is_mac ? "GMAC/s" : "elem/ns", b->ns[0] / ns,
           is_slower ? "  SLOWER than " : "", is_slower ? t->versions[fastest].label : "");
    double peak = b->with_peak ? kc_peak(t, t->versions[index].tier) : 0;
    if (peak > 0)
        printf("  %.0f %% of %.0f", 100 * rate / peak, peak);
    printf("\n");
}

void kc_bench_run(struct kcheck *t, size_t kernel, const struct kc_layer *layers, size_t count) {
    t->is_bench = 1;
    for (size_t i = 0; i < count; i++) {
        t->layer = &layers[i];
        t->bench.calls = t->bench.left = 0;
        t->bench.planes = 0;
        kc_run_case(t, kernel, 0);
        for (size_t v = 0; v < t->n_versions; v++)
            print_version(t, v);
    }
}
