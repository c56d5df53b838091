/* The commands that look at a model or a run: eval, report. */
#include "cli/cli.h"

#include <stdio.h>

static void print_eval_json(const bp_eval_result *r) {
    printf("{\"accuracy\": %.8g, \"loss\": %.8g, \"n\": %zu, \"per_class\": [", r->accuracy,
           r->loss, r->n);
    for (size_t i = 0; i < r->classes; i++) {
        fputs(i == 0 ? "{\"class\": " : ", {\"class\": ", stdout);
        cli_print_json_text(r->class_names[i]);
        printf(", \"n\": %zu, \"correct\": %zu}", r->class_count[i], r->class_correct[i]);
    }
    puts("]}");
}

int cli_eval(struct cli_args *args) {
    bp_eval_result *r;
    bp_status status = bp_eval(args->positional[0], args->positional[1], args->config, &r);
    if (status != BP_OK)
        return cli_report(status);
    if (args->json) {
        print_eval_json(r);
    } else {
        printf("accuracy %.2f %%  loss %.4f  (%zu images, %.0f images/s)\n", 100.0 * r->accuracy,
               r->loss, r->n, r->images_per_s);
        for (size_t i = 0; i < r->classes; i++)
            printf("  %-20s %6.2f %%  (%zu of %zu)\n", r->class_names[i],
                   r->class_count[i]
                       ? 100.0 * (double)r->class_correct[i] / (double)r->class_count[i]
                       : 0.0,
                   r->class_correct[i], r->class_count[i]);
    }
    bp_eval_free(r);
    return 0;
}

int cli_report_page(struct cli_args *args) {
    char written[BP_PATH_BYTES];
    bp_status status =
        bp_report(args->positional, (size_t)args->n_positional, args->output, written);
    if (status != BP_OK)
        return cli_report(status);
    puts(written);
    return 0;
}
