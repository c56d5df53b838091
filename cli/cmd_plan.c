/* plan: what a run would take. */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

static double mb(size_t bytes) {
    return (double)bytes / 1e6;
}

/* "0.4 s", "3 min 05 s", "2 h 07 min" */
static const char *time_text(char out[32], double seconds) {
    unsigned long long s = seconds > 0 ? (unsigned long long)(seconds + 0.5) : 0;
    if (seconds < 60)
        snprintf(out, 32, "%.1f s", seconds);
    else if (s < 3600)
        snprintf(out, 32, "%llu min %02llu s", s / 60, s % 60);
    else
        snprintf(out, 32, "%llu h %02llu min", s / 3600, s % 3600 / 60);
    return out;
}

static void print_head(const bp_forecast *f) {
    printf("data   %s (%s): %zu training, %zu validation images, %zu classes\n", f->data,
           f->data_kind, f->train_count, f->val_count, f->classes);
    printf("model  %s, width %g, %zux%zux%zu: %.2f M weights, %.1f %% of them 1-bit\n", f->model,
           f->width, f->input_height, f->input_width, f->input_channels,
           (double)f->parameters / 1e6,
           f->parameters ? 100.0 * (double)f->binary_weights / (double)f->parameters : 0.0);
    cli_print_size(stdout, f->input_height, f->median_side);
    printf("train  %s, batch %zu, %zu steps an epoch, %zu steps, %zu epochs; %d thread%s, %s "
           "kernels\n\n",
           f->sides[0].precision, f->batch, f->batches, f->steps, f->epochs, f->threads,
           f->threads == 1 ? "" : "s", f->tier);
}

static void print_times(const bp_forecast *f) {
    static const char *const names[] = {"step", "validation", "epoch", "run"};
    printf("%-11s", "");
    for (size_t i = 0; i < f->n_sides; i++)
        printf(" %14s", f->sides[i].precision);
    putchar('\n');
    for (int row = 0; row < 4; row++) {
        printf("%-11s", names[row]);
        for (size_t i = 0; i < f->n_sides; i++) {
            const bp_forecast_side *side = &f->sides[i];
            char text[32];
            if (row == 0)
                snprintf(text, sizeof text, "%.1f ms", 1e3 * side->step_seconds);
            else
                time_text(text, row == 1   ? side->validation_seconds
                                : row == 2 ? side->epoch_seconds
                                           : side->run_seconds);
            printf(" %14s", side->timed ? text : "unknown");
        }
        putchar('\n');
    }
    printf("%-11s", "memory");
    for (size_t i = 0; i < f->n_sides; i++)
        printf(" %11.0f MB", mb(f->sides[i].memory_bytes));
    puts("\n");
}

static int show(const bp_forecast *f) {
    char text[32];
    print_head(f);
    print_times(f);
    printf("An epoch is with validation and checkpoints (%s), the run with reading the data",
           time_text(text, f->sides[0].save_seconds));
    printf(" (%s).\n", time_text(text, f->read_seconds));
    if (f->data_wait > 0.05)
        printf("Of the steps' time, %.0f %% is waiting for data.\n", 100.0 * f->data_wait);
    if (f->n_sides == 2 && !f->sides[1].timed)
        puts("fp32 does not fit into this machine's memory.");
    printf("The model's file has %.2f MB (%.2f MB packed), the run's last.ckpt %.2f MB.\n",
           mb(f->best_bytes), mb(f->packed_bytes), mb(f->last_bytes));
    if (f->largest_batch > 0)
        printf("The largest batch of --batch auto is %zu: %.0f MB of %.0f MB.\n\n",
               f->largest_batch, mb(f->largest_bytes), mb(f->memory_allowed));
    else
        printf("No batch fits into %.0f MB (--max-mem).\n\n", mb(f->memory_allowed));
    cli_print_memory(&f->memory);
    return 0;
}

int cli_plan(struct cli_args *args) {
    bp_forecast *forecast;
    bp_status status = cli_set_data(args, "plan");
    if (status != BP_OK)
        return (int)status;
    cli_catch_signals();
    status = bp_forecast_run(args->config, &forecast);
    if (status != BP_OK)
        return cli_report(status);
    if (args->json)
        puts(forecast->json);
    else
        show(forecast);
    bp_forecast_free(forecast);
    return 0;
}
