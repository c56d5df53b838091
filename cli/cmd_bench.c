#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

/* --- step ------------------------------------------------------------------------------------ */

static void print_side_json(const bp_bench_result *r, const bp_bench_side *side) {
    if (r->data[0] != 0) {
        fputs("{\"data\": ", stdout);
        cli_print_json_text(r->data);
    }
    printf("%s\"model\": \"%s\", \"size\": %zu, \"batch\": %zu, \"threads\": %d, \"precision\": "
           "\"%s\", "
           "\"preset\": \"%s\", \"tier\": \"%s\", \"step_ms\": %.4f, \"step_ms_min\": %.4f, "
           "\"images_per_s\": %.2f, \"peak_rss_mb\": %.1f, \"planned_mb\": %.1f, \"stages_ms\": {",
           r->data[0] != 0 ? ", " : "{", r->model, r->size, r->batch, r->threads, side->precision,
           side->preset, r->tier, side->step_ms, side->step_ms_min, side->images_per_s,
           side->peak_rss_mb, side->planned_mb);
    for (size_t i = 0; i < side->n_stages; i++)
        printf("%s\"%s\": %.4f", i == 0 ? "" : ", ", side->stages[i].name, side->stages[i].ms);
    putchar('}');
    if (r->data[0] != 0)
        printf(", \"data_share\": %.6f", side->data_share);
    putchar('}');
}

static void print_side(const bp_bench_result *r, const bp_bench_side *side) {
    printf("%s%s%s: %.2f ms a step (best %.2f), %.0f images/s, %.0f MB planned\n", side->precision,
           side->preset[0] ? " " : "", side->preset, side->step_ms, side->step_ms_min,
           side->images_per_s, side->planned_mb);
    for (size_t i = 0; i < side->n_stages; i++)
        if (side->stages[i].ms > 0.0) /* not what this network or precision lacks */
            printf("  %-16s %9.2f ms  %5.1f %%\n", side->stages[i].name, side->stages[i].ms,
                   side->step_ms > 0.0 ? 100.0 * side->stages[i].ms / side->step_ms : 0.0);
    if (r->data[0] != 0)
        printf("  of all steps together, %.1f %% was waiting for data\n", 100.0 * side->data_share);
}

static int bench_step(const struct cli_args *args) {
    static bp_bench_result r;
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
    if (r.data[0] != 0) {
        cli_print_text(r.data);
        fputs(": ", stdout);
    }
    printf("%s, width %g, %zu px, batch %zu, %d thread%s, %s kernels, median of %zu rounds\n",
           r.model, r.width, r.size, r.batch, r.threads, r.threads == 1 ? "" : "s", r.tier,
           r.rounds);
    for (size_t i = 0; i < r.n_sides; i++)
        print_side(&r, &r.sides[i]);
    if (r.n_sides == 2)
        printf("%s is %.2f times as fast as %s\n", r.sides[0].precision, r.ratio,
               r.sides[1].precision);
    return 0;
}

/* --- layers ----------------------------------------------------------------------------------- */

static const char *const product_names[BP_BENCH_PRODUCTS] = {"forward", "dA", "dW"};

/* The multiply-adds with the zeros around the image, as a share of all. */
static double padding(const bp_bench_product *p) {
    return p->gmac > 0 ? 1 - p->gmac_needed / p->gmac : 0;
}

static void print_products(const bp_bench_product products[BP_BENCH_PRODUCTS], const char *label) {
    for (int i = 0; i < BP_BENCH_PRODUCTS; i++) {
        const bp_bench_product *p = &products[i];
        char share[16] = "-";
        if (p->ceiling > 0)
            snprintf(share, sizeof share, "%.1f %%", 100 * p->share);
        printf("%-32s %-8s %-7s %9.3f %8.3f %8.1f %8s %7.1f %%\n", i == 0 ? label : "",
               product_names[i], p->method, p->ms, p->gmac, p->gmac_per_s, share, 100 * padding(p));
    }
}

static void print_layers(const bp_bench_layers_result *r) {
    printf("%s, width %g, %zu px, batch %zu, %s%s%s, %d thread%s, %s kernels, median of %zu "
           "rounds\n\n",
           r->model, r->width, r->size, r->batch, r->precision, r->preset[0] ? " " : "", r->preset,
           r->threads, r->threads == 1 ? "" : "s", r->tier, r->rounds);
    printf("%-13s %6s %-6s %4s %-8s %-7s %9s %8s %8s %8s %9s\n", "input", "output", "kernel", "",
           "product", "method", "ms", "GMAC", "GMAC/s", "of peak", "padding");
    for (size_t i = 0; i < r->n_layers; i++) {
        const bp_bench_layer *layer = &r->layers[i];
        char input[64], label[128];
        snprintf(input, sizeof input, "%zux%zux%zu", layer->h, layer->w, layer->c);
        snprintf(label, sizeof label, "%-13s %6zu %zux%zu/%zu  %3zux", input, layer->k, layer->r,
                 layer->r, layer->stride, layer->count);
        print_products(layer->products, label);
    }
    print_products(r->mean, "all");
    puts("\nms and GMAC are of one layer, in the last rows of all; GMAC/s and peak there are means "
         "of the\nlayers, weighted by GMAC. Of pruned gradients, the kept groups count. nonzero: "
         "codes that are\nzero are left out, but count. Padding: the share of the multiply-adds "
         "that are with the zeros\naround the images.");
    if (r->mean[0].ceiling <= 0)
        return;
    printf("Peak: a loop of the method's instructions on registers alone, on all threads, the best "
           "of all\nrounds: forward %.0f, dA %.0f, dW %.0f GMAC/s; their mean: %.0f, %.0f, %.0f.\n",
           r->mean[0].ceiling, r->mean[1].ceiling, r->mean[2].ceiling, r->mean[0].ceiling_mean,
           r->mean[1].ceiling_mean, r->mean[2].ceiling_mean);
    if (r->loop_words > 0)
        printf("Tiles stand in for loops of words, %.0f GMAC/s a bit of the codes, and of lookups, "
               "%.0f for\neach four bits.\n",
               r->loop_words, r->loop_lookup);
}

static void print_products_json(const bp_bench_product products[BP_BENCH_PRODUCTS]) {
    for (int i = 0; i < BP_BENCH_PRODUCTS; i++) {
        const bp_bench_product *p = &products[i];
        printf("%s\"%s\": {\"method\": \"%s\", \"ms\": %.6f, \"gmac\": %.9f, \"gmac_needed\": "
               "%.9f, \"gmac_per_s\": %.3f, ",
               i == 0 ? "" : ", ", product_names[i], p->method, p->ms, p->gmac, p->gmac_needed,
               p->gmac_per_s);
        if (p->ceiling > 0)
            printf("\"ceiling\": %.3f, \"ceiling_mean\": %.3f, \"share\": %.6f}", p->ceiling,
                   p->ceiling_mean, p->share);
        else
            printf("\"ceiling\": null, \"ceiling_mean\": null, \"share\": null}");
    }
}

static void print_layers_json(const bp_bench_layers_result *r) {
    printf("{\"model\": \"%s\", \"width\": %g, \"size\": %zu, \"batch\": %zu, \"threads\": %d, "
           "\"precision\": \"%s\", \"preset\": \"%s\", \"tier\": \"%s\", \"rounds\": %zu, "
           "\"layers\": [",
           r->model, r->width, r->size, r->batch, r->threads, r->precision, r->preset, r->tier,
           r->rounds);
    for (size_t i = 0; i < r->n_layers; i++) {
        const bp_bench_layer *l = &r->layers[i];
        printf("%s{\"height\": %zu, \"width\": %zu, \"in_channels\": %zu, \"out_channels\": %zu, "
               "\"kernel\": %zu, \"stride\": %zu, \"count\": %zu, ",
               i == 0 ? "" : ", ", l->h, l->w, l->c, l->k, l->r, l->stride, l->count);
        print_products_json(l->products);
        putchar('}');
    }
    fputs("], \"mean\": {", stdout);
    print_products_json(r->mean);
    if (r->loop_words > 0)
        printf("}, \"loop_words\": %.3f, \"loop_lookup\": %.3f}\n", r->loop_words, r->loop_lookup);
    else
        puts("}, \"loop_words\": null, \"loop_lookup\": null}");
}

static int bench_layers(const struct cli_args *args) {
    static bp_bench_layers_result r;
    if (args->versus != NULL)
        return cli_fail(BP_USAGE,
                        "--vs is for 'bench step'; run 'bench layers' once for each side");
    bp_status status = bp_bench_layers(args->config, &r);
    if (status != BP_OK)
        return cli_report(status);
    if (args->json)
        print_layers_json(&r);
    else
        print_layers(&r);
    return 0;
}

int cli_bench(struct cli_args *args) {
    if (strcmp(args->positional[0], "step") == 0)
        return bench_step(args);
    if (strcmp(args->positional[0], "layers") == 0)
        return bench_layers(args);
    return cli_fail(BP_USAGE,
                    "unknown bench '%s'; use 'bitprop bench step' or 'bitprop bench layers'",
                    args->positional[0]);
}
