/* predict: pictures to classes, a line each, as they are done. */
#define _POSIX_C_SOURCE 200809L
#include "cli/cli.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/path_list.h"

struct prediction_job {
    const struct cli_args *args;
    int next; /* of the arguments */
    int in_list;
    struct cli_path_list list;
    size_t class_columns; /* of the widest class name; 0: not known yet */
};

/* The arguments in turn; "-" stands for the list on standard input. */
static const char *next_path(void *user) {
    struct prediction_job *job = user;
    for (;;) {
        if (job->in_list) {
            const char *path = cli_path_list_next(&job->list);
            if (path != NULL)
                return path;
            job->in_list = 0;
        }
        if (job->list.fault != NULL || job->next == job->args->n_positional)
            return NULL;
        const char *word = job->args->positional[job->next++];
        job->in_list = strcmp(word, "-") == 0;
        if (!job->in_list)
            return word;
    }
}

static void print_json(const bp_prediction *p) {
    fputs("{\"path\": ", stdout);
    cli_print_json_text(p->path);
    if (p->error != NULL) {
        fputs(", \"error\": ", stdout);
        cli_print_json_text(p->error);
        puts("}");
        return;
    }
    fputs(", \"class\": ", stdout);
    cli_print_json_text(p->class_names[p->top[0]]);
    printf(", \"probability\": %.6g, \"top\": [", (double)p->probabilities[0]);
    for (size_t i = 0; i < p->n_top; i++) {
        fputs(i == 0 ? "{\"class\": " : ", {\"class\": ", stdout);
        cli_print_json_text(p->class_names[p->top[i]]);
        printf(", \"probability\": %.6g}", (double)p->probabilities[i]);
    }
    puts("]}");
}

/* Paths have any length, so they stand behind. */
static void print_line(struct prediction_job *job, const bp_prediction *p) {
    for (size_t i = 0; i < p->classes && p->top != NULL; i++) {
        size_t columns = cli_text_columns(p->class_names[i]);
        if (columns > job->class_columns)
            job->class_columns = columns;
    }
    for (size_t i = 0; i < p->n_top; i++) {
        const char *name = p->class_names[p->top[i]];
        cli_print_text(name);
        printf("%*s %6.2f %%  ", (int)(job->class_columns - cli_text_columns(name)), "",
               100.0 * (double)p->probabilities[i]);
    }
    cli_print_text(p->path);
    putchar('\n');
}

/* Whoever reads a pipe sees each picture at once. */
static int on_prediction(void *user, const bp_prediction *p) {
    struct prediction_job *job = user;
    if (job->args->json)
        print_json(p);
    else if (p->error != NULL)
        cli_fail(BP_DATA, "%s", p->error);
    else
        print_line(job, p);
    return fflush(stdout) != 0;
}

static int predict(struct prediction_job *job) {
    const struct cli_args *args = job->args;
    bp_predict_result result = {0};
    bp_status status =
        bp_predict(args->positional[0], args->config, next_path, on_prediction, job, &result);
    if (result.passed_over > 0)
        fprintf(stderr, "passed over in folders, as they are no pictures: %zu\n",
                result.passed_over);
    if (ferror(stdout))
        return cli_fail(BP_RESOURCE, "cannot write the output; is the disk full?");
    if (job->list.fault != NULL)
        return cli_fail(BP_DATA, "standard input: line %zu %s", job->list.number, job->list.fault);
    return cli_report(status);
}

int cli_predict(struct cli_args *args) {
    static char line[CLI_PATH_LINE];
    struct prediction_job job = {.args = args, .next = 1, .list = {.file = stdin, .line = line}};
    job.in_list = args->n_positional == 1;
    if (job.in_list && isatty(STDIN_FILENO))
        return cli_fail(BP_USAGE, "no picture given; name pictures or folders, or send a list of "
                                  "paths to standard input");
    signal(SIGPIPE, SIG_DFL); /* a reader that has seen enough ends the program, quietly */
    return predict(&job);
}
