/* data check: what is in a data set, and what is wrong with it. */
#define _POSIX_C_SOURCE 200809L
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Of the kinds that can be very many, so many are shown; --json has all. */
enum { SHOWN = 20 };

static void print_size_json(const char *name, const bp_picture_size *size) {
    printf(", \"%s\": [%zu, %zu]", name, size->width, size->height);
}

static void print_findings_json(const bp_data_report *r) {
    printf(", \"errors\": %zu, \"findings\": [", r->errors);
    for (size_t i = 0; i < r->n_findings; i++) {
        const bp_finding *f = &r->findings[i];
        printf("%s{\"kind\": \"%s\", \"error\": %s, \"text\": ", i == 0 ? "" : ", ", f->kind,
               f->is_error ? "true" : "false");
        cli_print_json_text(f->text);
        fputs(", \"paths\": [", stdout);
        for (size_t j = 0; j < f->n_paths; j++) {
            fputs(j == 0 ? "" : ", ", stdout);
            cli_print_json_text(f->paths[j]);
        }
        fputs("]}", stdout);
    }
    puts("]}");
}

static void print_json(const bp_data_report *r) {
    fputs("{\"data\": ", stdout);
    cli_print_json_text(r->data);
    printf(", \"kind\": \"%s\", \"train\": %zu, \"val\": %zu, \"unusable\": %zu, \"split\": %s",
           r->kind, r->train, r->val, r->unusable, r->is_split ? "true" : "false");
    print_size_json("smallest", &r->smallest);
    print_size_json("median", &r->median);
    print_size_json("largest", &r->largest);
    printf(", \"grey\": %zu, \"colour\": %zu, \"jpeg\": %zu, \"png\": %zu, \"classes\": [", r->grey,
           r->colour, r->jpeg, r->png);
    for (size_t i = 0; i < r->classes; i++) {
        fputs(i == 0 ? "{\"class\": " : ", {\"class\": ", stdout);
        cli_print_json_text(r->class_names[i]);
        printf(", \"train\": %zu, \"val\": %zu}", r->train_count[i], r->val_count[i]);
    }
    putchar(']');
    print_findings_json(r);
}

static void print_classes(const bp_data_report *r) {
    size_t columns = strlen("class");
    for (size_t i = 0; i < r->classes; i++)
        if (cli_text_columns(r->class_names[i]) > columns)
            columns = cli_text_columns(r->class_names[i]);
    printf("\n%-*s  training         validation\n", (int)columns, "class");
    for (size_t i = 0; i < r->classes; i++) {
        cli_print_text(r->class_names[i]);
        printf("%*s  %8zu %5.1f %%  %8zu %5.1f %%\n",
               (int)(columns - cli_text_columns(r->class_names[i])), "", r->train_count[i],
               r->train > 0 ? 100.0 * (double)r->train_count[i] / (double)r->train : 0.0,
               r->val_count[i],
               r->val > 0 ? 100.0 * (double)r->val_count[i] / (double)r->val : 0.0);
    }
    putchar('\n');
}

static int is_listed_whole(const char *kind) {
    return strcmp(kind, "unreadable") == 0 || strcmp(kind, "line") == 0;
}

static void print_findings(const bp_data_report *r) {
    size_t shown = 0, left = 0;
    for (size_t i = 0; i < r->n_findings; i++) {
        const bp_finding *f = &r->findings[i];
        int same = i > 0 && strcmp(f->kind, r->findings[i - 1].kind) == 0;
        shown = same ? shown + 1 : 1;
        if (shown <= SHOWN || is_listed_whole(f->kind)) {
            fputs(f->is_error ? "ERROR  " : "note   ", stdout);
            cli_print_text(f->text);
            putchar('\n');
        } else {
            left++;
        }
    }
    if (left > 0)
        printf("       and %zu more; --json lists all\n", left);
}

static void print_report(const bp_data_report *r) {
    printf("data    ");
    cli_print_text(r->data);
    printf(" (%s): %zu training, %zu validation images%s, %zu classes\n", r->kind, r->train, r->val,
           r->is_split ? " (split by --val and --seed)" : "", r->classes);
    if (r->jpeg + r->png > 0)
        printf("files   %zu JPEG, %zu PNG; %zu colour, %zu grey; %zu cannot be used\n", r->jpeg,
               r->png, r->colour, r->grey, r->unusable);
    printf("sizes   smallest %zux%zu, median %zux%zu, largest %zux%zu\n", r->smallest.width,
           r->smallest.height, r->median.width, r->median.height, r->largest.width,
           r->largest.height);
    print_classes(r);
    print_findings(r);
    printf("%zu error%s, %zu note%s\n", r->errors, r->errors == 1 ? "" : "s",
           r->n_findings - r->errors, r->n_findings - r->errors == 1 ? "" : "s");
}

struct progress {
    double shown; /* when, in seconds */
    int is_shown;
};

/* A line on a terminal that is gone at the end. */
static void show_progress(void *user, size_t done, size_t total) {
    struct progress *progress = user;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    double now = (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
    if (now < progress->shown + 0.2)
        return;
    progress->shown = now;
    progress->is_shown = 1;
    fprintf(stderr, "\r\033[Klooked at %zu of %zu pictures", done, total);
}

static bp_status check(const struct cli_args *args, bp_data_report **report) {
    struct progress progress = {0};
    int terminal = isatty(STDERR_FILENO);
    bp_status status = bp_data_check(args->positional[1], args->config,
                                     terminal ? show_progress : NULL, &progress, report);
    if (progress.is_shown)
        fputs("\r\033[K", stderr);
    return status;
}

int cli_data(struct cli_args *args) {
    if (strcmp(args->positional[0], "check") != 0)
        return cli_fail(BP_USAGE, "unknown word '%s'; use 'bitprop data check DATA'",
                        args->positional[0]);
    if (args->n_positional < 2)
        return cli_fail(BP_USAGE, "an argument is missing; usage: bitprop data check DATA");
    bp_data_report *report;
    bp_status status = check(args, &report);
    if (status != BP_OK && status != BP_CHECK)
        return cli_report(status);
    if (args->json)
        print_json(report);
    else
        print_report(report);
    bp_data_report_free(report);
    if (fflush(stdout) != 0)
        return cli_fail(BP_RESOURCE, "cannot write the output; is the disk full?");
    return cli_report(status);
}
