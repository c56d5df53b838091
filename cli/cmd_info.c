/* info: what a model is, and what training it takes of memory. */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

static int describe(const struct cli_args *args) {
    bp_model_info *info;
    bp_status status = bp_info(args->positional[0], &info);
    if (status != BP_OK)
        return cli_report(status);
    if (args->json) {
        puts(info->json);
    } else {
        printf("%s\n", info->path);
        printf("  network    %s, width %g, input %zux%zux%zu, %zu classes\n", info->model,
               info->width, info->input_height, info->input_width, info->input_channels,
               info->classes);
        printf("  weights    %zu, of these %zu 1-bit; %.2f MB packed\n", info->parameters,
               info->binary_weights, (double)info->bytes_packed / 1e6);
        int has_stem = strcmp(info->precision, "fqt") == 0 || strcmp(info->precision, "psq") == 0;
        printf("  trained    precision %s%s%s%s, %zu epochs, %zu steps\n", info->precision,
               has_stem ? ", " : "", has_stem ? info->stem : "", has_stem ? " stem" : "",
               info->epoch, info->step);
        if (info->accuracy >= 0.0)
            printf("  accuracy   %.2f %% (best so far %.2f %%)\n", 100.0 * info->accuracy,
                   100.0 * info->best_accuracy);
    }
    bp_info_free(info);
    return 0;
}

static double mb(size_t bytes) {
    return (double)bytes / 1e6;
}

/* --- memory ----------------------------------------------------------------------------------- */

static void print_layers(const bp_memory_info *info) {
    int widest = 8;
    for (size_t i = 0; i < info->n_layers; i++) {
        int length = (int)strlen(info->layers[i].name);
        widest = length > widest ? length : widest;
    }
    printf("%-*s  parameters  gradients  optimizer      kept   forward  backward\n", widest,
           "MB of");
    for (size_t i = 0; i < info->n_layers; i++) {
        const bp_memory_layer *row = &info->layers[i];
        printf("%-*s  %10.2f %10.2f %10.2f %9.2f %9.2f %9.2f\n", widest, row->name,
               mb(row->parameters), mb(row->gradients), mb(row->optimizer), mb(row->kept),
               mb(row->forward), mb(row->backward));
    }
}

void cli_print_memory(const bp_memory_sums *sums) {
    const struct {
        const char *name;
        size_t bytes;
        const char *what;
    } rows[] = {{"parameters", sums->parameters, "and running statistics"},
                {"gradients", sums->gradients, "of the parameters, kept"},
                {"optimizer", sums->optimizer, "its state"},
                {"averages", sums->averages, "of the parameters"},
                {"variance", sums->variance, "of --report-variance"},
                {"step", sums->step, "activations, other gradients, work"},
                {"scratch", sums->scratch, "of the threads"},
                {"batches", sums->batches, "prepared ahead"},
                {"data", sums->data, "images in memory"},
                {"program", sums->program, "an allowance"},
                {"total", sums->total, ""}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].bytes > 0)
            printf("%-11s %9.2f MB%s%s\n", rows[i].name, mb(rows[i].bytes),
                   rows[i].what[0] != 0 ? "  " : "", rows[i].what);
}

static int show_memory(const struct cli_args *args) {
    bp_memory_info *info;
    bp_status status =
        bp_memory(args->n_positional > 0 ? args->positional[0] : NULL, args->config, &info);
    if (status != BP_OK)
        return cli_report(status);
    if (args->json) {
        puts(info->json);
    } else {
        printf("training %s, width %g, %zux%zux%zu, %zu classes, %s, batch %zu, %d thread%s\n\n",
               info->model, info->width, info->size, info->size, info->channels, info->classes,
               info->precision, info->batch, info->threads, info->threads == 1 ? "" : "s");
        print_layers(info);
        printf("\nkept: from the forward to the backward pass; forward, backward: within one of "
               "them.\nWhat is not needed at the same time shares its place: %.2f MB become "
               "%.2f.\n\n",
               mb(info->sums.step_unshared), mb(info->sums.step));
        cli_print_memory(&info->sums);
        puts("\nA data set takes more: 'bitprop plan DATA' says how much.");
    }
    bp_memory_free(info);
    return 0;
}

/* The options are those of --memory. */
static int refuse_options(const struct cli_args *args) {
    size_t count;
    const bp_option *options = bp_options(&count);
    for (size_t i = 0; i < count; i++)
        if ((options[i].commands & BP_COMMAND_INFO) != 0 &&
            strcmp(bp_config_origin(args->config, options[i].name), "command line") == 0)
            return cli_fail(BP_USAGE, "--%s belongs to 'bitprop info --memory'; leave it out",
                            options[i].name);
    return 0;
}

int cli_info(struct cli_args *args) {
    if (args->memory)
        return show_memory(args);
    if (args->n_positional == 0)
        return cli_fail(BP_USAGE, "an argument is missing; usage: bitprop info FILE");
    int refused = refuse_options(args);
    return refused != 0 ? refused : describe(args);
}
