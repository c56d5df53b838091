#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

static void print_side_json(const bp_bench_result *r, const bp_bench_side *side) {
    printf("{\"model\": \"%s\", \"size\": %zu, \"batch\": %zu, \"threads\": %d, \"precision\": "
           "\"%s\", "
           "\"preset\": \"%s\", \"tier\": \"%s\", \"step_ms\": %.4f, \"step_ms_min\": %.4f, "
           "\"images_per_s\": %.2f, \"peak_rss_mb\": %.1f, \"planned_mb\": %.1f, \"stages_ms\": {",
           r->model, r->size, r->batch, r->threads, side->precision, side->preset, r->tier,
           side->step_ms, side->step_ms_min, side->images_per_s, side->peak_rss_mb,
           side->planned_mb);
    for (size_t i = 0; i < side->n_stages; i++)
        printf("%s\"%s\": %.4f", i == 0 ? "" : ", ", side->stages[i].name, side->stages[i].ms);
    printf("}}");
}

static void print_side(const bp_bench_side *side) {
    printf("%s%s%s: %.2f ms a step (best %.2f), %.0f images/s, %.0f MB planned\n", side->precision,
           side->preset[0] ? " " : "", side->preset, side->step_ms, side->step_ms_min,
           side->images_per_s, side->planned_mb);
    for (size_t i = 0; i < side->n_stages; i++)
        if (side->stages[i].ms > 0.0) /* not what this network or precision lacks */
            printf("  %-16s %9.2f ms  %5.1f %%\n", side->stages[i].name, side->stages[i].ms,
                   side->step_ms > 0.0 ? 100.0 * side->stages[i].ms / side->step_ms : 0.0);
}

int cli_bench(struct cli_args *args) {
    static bp_bench_result r;
    if (strcmp(args->positional[0], "step") != 0)
        return cli_fail(BP_USAGE, "unknown bench '%s'; use 'bitprop bench step'",
                        args->positional[0]);
    bp_status status = bp_bench_step(args->config, args->versus, &r);
    if (status != BP_OK)
        return cli_report(status);
    if (args->json) {
        if (r.n_sides == 2)
            printf("{\"sides\": [");
        for (size_t i = 0; i < r.n_sides; i++) {
            fputs(i == 0 ? "" : ", ", stdout);
            print_side_json(&r, &r.sides[i]);
        }
        if (r.n_sides == 2)
            printf("], \"ratio\": %.4f}", r.ratio);
        putchar('\n');
        return 0;
    }
    printf("%s, width %g, %zu px, batch %zu, %d thread%s, %s kernels, median of %zu rounds\n",
           r.model, r.width, r.size, r.batch, r.threads, r.threads == 1 ? "" : "s", r.tier,
           r.rounds);
    for (size_t i = 0; i < r.n_sides; i++)
        print_side(&r.sides[i]);
    if (r.n_sides == 2)
        printf("%s is %.2f times as fast as %s\n", r.sides[0].precision, r.ratio,
               r.sides[1].precision);
    return 0;
}
