#define _POSIX_C_SOURCE 200809L
#include "cli/cli.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

/* The first signal asks the run to save and stop, the second one ends the program as usual. A
 * terminal that is closed (SIGHUP) stops the run like SIGTERM. */
static void on_signal(int number) {
    bp_interrupt(number);
    signal(number, SIG_DFL);
}

void cli_catch_signals(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART; /* output that is being written arrives whole */
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    struct sigaction old;
    if (sigaction(SIGHUP, NULL, &old) == 0 && old.sa_handler != SIG_IGN) /* not under nohup */
        sigaction(SIGHUP, &action, NULL);
    signal(SIGPIPE, SIG_IGN); /* a reader of the progress that left does not end the run */
}

static void print_result(const struct cli_args *args, const bp_train_result *r) {
    if (args->json) {
        fputs("{\"run\": ", stdout);
        cli_print_json_text(r->run);
        printf(", \"accuracy\": %.6g, \"best_accuracy\": %.6g, \"best_epoch\": %zu, "
               "\"epoch\": %zu, \"ended_by\": \"%s\", \"seconds\": %.3f, \"images_per_s\": %.6g, "
               "\"peak_rss_mb\": "
               "%.1f, \"advice\": ",
               r->accuracy, r->best_accuracy, r->best_epoch, r->epoch, r->ended_by, r->seconds,
               r->images_per_s, (double)r->peak_rss_bytes / 1e6);
        cli_print_json_text(r->advice);
        puts("}");
    } else {
        fprintf(
            stderr,
            "done: %.2f %% validation accuracy (best %.2f %% in epoch %zu), %.0f images/s, %.0f "
            "MB, %.1f s\n",
            100.0 * r->accuracy, 100.0 * r->best_accuracy, r->best_epoch, r->images_per_s,
            (double)r->peak_rss_bytes / 1e6, r->seconds);
        if (r->advice[0] != 0)
            fprintf(stderr, "advice: %s\n", r->advice);
        fprintf(stderr, "run folder: %s\n", r->run);
        if (strcmp(r->ended_by, "patience") == 0)
            fprintf(stderr, "ended after epoch %zu by --patience: no better for %zu epochs\n",
                    r->epoch, r->epoch - r->best_epoch);
        if (r->report[0] != 0)
            fprintf(stderr, "report: %s\n", r->report);
    }
}

/* Behind bp_train and bp_resume. */
static int finish(const struct cli_args *args, bp_status status, const bp_train_result *result) {
    cli_progress_end();
    if (status != BP_OK)
        return cli_report(status);
    print_result(args, result);
    return 0;
}

/* Shows the options even where they do not fit together, and then says so. */
static int show_config(const struct cli_args *args) {
    bp_status fits = bp_config_load_init(args->config);
    if (fits == BP_OK)
        fits = bp_config_check(args->config, BP_COMMAND_TRAIN);
    if (fits != BP_OK)
        cli_report(fits);
    if (args->json) {
        char *json;
        bp_status status = bp_config_to_json(args->config, &json);
        if (status != BP_OK)
            return cli_report(status);
        puts(json);
        bp_text_free(json);
        return (int)fits;
    }
    static bp_config_value value;
    size_t count;
    const bp_option *options = bp_options(&count);
    for (size_t i = 0; i < count; i++)
        if ((options[i].commands & BP_COMMAND_TRAIN) != 0 &&
            bp_config_explain(args->config, options[i].name, &value) == BP_OK)
            printf("%-18s %-20s %s\n", options[i].name, value.value[0] != 0 ? value.value : "-",
                   value.origin);
    return (int)fits;
}

static bp_event_callback *progress_of(const struct cli_args *args) {
    bp_event_callback *callback = cli_progress(args->progress != NULL ? args->progress
                                               : args->json           ? "none"
                                                                      : "auto");
    if (callback == NULL)
        cli_fail(BP_USAGE, "unknown progress mode '%s'; use auto, bar, plain, json or none",
                 args->progress);
    return callback;
}

bp_status cli_set_data(const struct cli_args *args, const char *command) {
    bp_status status = BP_OK;
    if (args->n_positional > 0)
        status = bp_config_set(args->config, "data", args->positional[0], "command line");
    if (status != BP_OK)
        return (bp_status)cli_report(status);
    if (bp_config_is_set(args->config, "data"))
        return BP_OK;
    return (bp_status)cli_fail(BP_USAGE, "an argument is missing; usage: bitprop %s DATA [options]",
                               command);
}

int cli_train(struct cli_args *args) {
    bp_event_callback *callback = progress_of(args);
    if (callback == NULL)
        return BP_USAGE;
    bp_status status = cli_set_data(args, "train");
    if (status != BP_OK)
        return (int)status;
    if (args->print_config)
        return show_config(args);
    cli_catch_signals();
    bp_train_result result;
    status = bp_train(args->config, callback, NULL, &result);
    return finish(args, status, &result);
}

int cli_resume(struct cli_args *args) {
    bp_event_callback *callback = progress_of(args);
    if (callback == NULL)
        return BP_USAGE;
    cli_catch_signals();
    bp_train_result result;
    bp_status status = bp_resume(args->positional[0], args->config, callback, NULL, &result);
    return finish(args, status, &result);
}
