/* The program: everything it can do goes through the public header. Each command is one function
 * that gets the arguments behind its name and returns the exit code; errors are one line on stderr.
 */
#ifndef BP_CLI_CLI_H
#define BP_CLI_CLI_H

#include <stdio.h>

#include "bitprop.h"

/* What a command line said, beside the library's options. */
struct cli_args {
    bp_config *config;
    const char **positional; /* [n_positional] */
    int n_positional;
    int json;             /* --json: one object on stdout, nothing else */
    const char *progress; /* --progress auto|bar|plain|json|none */
    const char *versus;   /* --vs MODE */
    const char *output;   /* --output FILE */
    int print_config;     /* --print-config */
    int memory;           /* --memory */
    int help;
};

/* An option of the program, beside the library's. */
struct cli_option {
    const char *name;
    const char *placeholder;    /* of its value; NULL: it has none */
    const char *const *choices; /* NULL-ended; NULL: anything */
    unsigned bit;               /* in cli_command.own */
    const char *help;
};
enum {
    CLI_CONFIG = 1,
    CLI_PRINT_CONFIG = 2,
    CLI_VERSUS = 4,
    CLI_PROGRESS = 8,
    CLI_JSON = 16,
    CLI_OUTPUT = 32,
    CLI_MEMORY = 64,
    CLI_ALWAYS = 128
};

extern const struct cli_option cli_options[];
extern const int cli_n_options;

enum { CLI_MANY = -1 };

struct cli_command {
    const char *name;
    const char *usage;                  /* behind "bitprop ": the name and the arguments */
    const char *summary;                /* one line */
    const char *examples;               /* lines of "  bitprop ..." */
    unsigned options;                   /* BP_COMMAND_...; 0: none of the library's */
    unsigned own;                       /* CLI_...: the program's */
    int positional_min, positional_max; /* max CLI_MANY: no limit */
    const char *const *words; /* what the first argument may be, NULL-ended; NULL: paths */
    int (*run)(struct cli_args *args);
};

extern const struct cli_command cli_commands[];
extern const int cli_n_commands;

/* Prints "bitprop: <message>" and returns the status as the exit code. */
int cli_fail(bp_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same with the library's last message. */
int cli_report(bp_status status);

/* Reads the --config file, then BITPROP_* variables, then the other arguments, so that each wins
 * over the ones before, into args (config made by the caller). */
bp_status cli_parse(const struct cli_command *command, int count, char **words,
                    struct cli_args *args);

/* 1 if the command takes the option (positional ones are arguments, not options). */
int cli_takes(const struct cli_command *command, const bp_option *option);
int cli_takes_own(const struct cli_command *command, const struct cli_option *option);

struct cli_exit_code {
    int code;
    const char *meaning; /* a few words */
    const char *detail;  /* a sentence */
};
extern const struct cli_exit_code cli_exit_codes[];
extern const int cli_n_exit_codes;

/* The help of an option with its choices and default, into text; returns the placeholder of its
 * value, NULL if it has none. */
const char *cli_option_text(const bp_option *option, char *text, size_t size);

void cli_help_program(void);
void cli_help_command(const struct cli_command *command);

int cli_train(struct cli_args *args);
int cli_plan(struct cli_args *args);
int cli_resume(struct cli_args *args);
int cli_eval(struct cli_args *args);
int cli_predict(struct cli_args *args);
int cli_data(struct cli_args *args);
int cli_info(struct cli_args *args);
int cli_report_page(struct cli_args *args);
int cli_bench(struct cli_args *args);
int cli_doctor(struct cli_args *args);
int cli_completion(struct cli_args *args);
int cli_manual(struct cli_args *args);

/* Sets DATA of train and plan from the arguments; a failure is reported and returned. */
bp_status cli_set_data(const struct cli_args *args, const char *command);

/* The first signal asks the library to stop, a second one ends the program. */
void cli_catch_signals(void);

/* progress.c: draws events as `mode` says; NULL is "auto". Returns NULL for an unknown mode. */
bp_event_callback *cli_progress(const char *mode);
/* Clears a bar that a failed run left on the terminal's last line. */
void cli_progress_end(void);

/* Says why a run has the size that it has, where the pictures chose it (median > 0). */
void cli_print_size(FILE *out, size_t size, size_t median);

/* A table of what a run takes of memory. */
void cli_print_memory(const bp_memory_sums *sums);

/* Prints text as a JSON string, with its quotes, on stdout. */
void cli_print_json_text(const char *text);
/* Prints text for people on stdout: control characters, which paths may hold, become '?'. */
void cli_print_text(const char *text);
/* Columns that it takes, one for each character. */
size_t cli_text_columns(const char *text);

#endif
