#define _POSIX_C_SOURCE 200809L
/* Arguments: the library's option table, plus the few options that only concern the program. */
#include "cli/cli.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_BYTES 64
#define PREFIX     "BITPROP_"

extern char **environ;

static const char *const progress_modes[] = {"auto", "bar", "plain", "json", "none", NULL};

const struct cli_option cli_options[] = {
    {"config", "FILE", NULL, CLI_CONFIG, "options from a JSON file, such as a run's config.json"},
    {"print-config", NULL, NULL, CLI_PRINT_CONFIG,
     "show the value of every option and where it comes from, and stop"},
    {"vs", "MODE", NULL, CLI_VERSUS,
     "a second side in the same run: fp32, qat, psq, fqt or fqt:PRESET"},
    {"output", "FILE", NULL, CLI_OUTPUT,
     "file to write, also -o FILE (default, for one run: report.html in its folder)"},
    {"progress", "MODE", progress_modes, CLI_PROGRESS,
     "bar, plain, json or none (default: bar on a terminal, else plain; none with --json)"},
    {"memory", NULL, NULL, CLI_MEMORY,
     "show what training takes of memory, by layer: the model's, or that of the options"},
    {"json", NULL, NULL, CLI_JSON, "print JSON on standard output, and nothing else there"},
    {"help", NULL, NULL, CLI_ALWAYS, "show this text, and stop"},
};
const int cli_n_options = (int)(sizeof cli_options / sizeof cli_options[0]);

int cli_takes_own(const struct cli_command *command, const struct cli_option *option) {
    return (option->bit & (command->own | CLI_ALWAYS)) != 0;
}

int cli_takes(const struct cli_command *command, const bp_option *option) {
    return (option->commands & command->options) != 0 && !option->positional;
}

static const char *closest_option(const char *name, const struct cli_command *command) {
    const char *names[256];
    size_t count, n = 0;
    const bp_option *options = bp_options(&count);
    for (size_t i = 0; i < count && n < 200; i++)
        if (cli_takes(command, &options[i]))
            names[n++] = options[i].name;
    for (int i = 0; i < cli_n_options; i++)
        if (cli_takes_own(command, &cli_options[i]))
            names[n++] = cli_options[i].name;
    return bp_closest(name, names, n);
}

static bp_status unknown_option(const char *name, const struct cli_command *command) {
    const char *near = closest_option(name, command);
    if (near != NULL && strcmp(near, name) != 0)
        cli_fail(BP_USAGE, "unknown option '--%s'; did you mean '--%s'?", name, near);
    else
        cli_fail(BP_USAGE, "'bitprop %s' has no option '--%s'; see 'bitprop %s --help'",
                 command->name, name, command->name);
    return BP_USAGE;
}

/* --config is read before all others, so it does nothing here. */
static void set_own(struct cli_args *args, const char *name, const char *value) {
    if (strcmp(name, "help") == 0)
        args->help = 1;
    else if (strcmp(name, "json") == 0)
        args->json = 1;
    else if (strcmp(name, "print-config") == 0)
        args->print_config = 1;
    else if (strcmp(name, "memory") == 0)
        args->memory = 1;
    else if (strcmp(name, "vs") == 0)
        args->versus = value;
    else if (strcmp(name, "output") == 0)
        args->output = value;
    else if (strcmp(name, "progress") == 0)
        args->progress = value;
}

/* One option as it stands on the command line. */
struct parsed {
    char name[NAME_BYTES];
    const struct cli_option *own; /* one of these two */
    const bp_option *option;
    const char *value;
};

static void find_option(const struct cli_command *command, struct parsed *p, int *negated) {
    p->own = NULL;
    for (int i = 0; i < cli_n_options; i++)
        if (strcmp(cli_options[i].name, p->name) == 0 && cli_takes_own(command, &cli_options[i]))
            p->own = &cli_options[i];
    p->option = bp_option_find(p->name);
    *negated = p->option == NULL && strncmp(p->name, "no-", 3) == 0;
    if (*negated)
        p->option = bp_option_find(p->name + 3);
    if (p->option != NULL &&
        (!cli_takes(command, p->option) || (*negated && p->option->type != BP_OPTION_BOOL)))
        p->option = NULL;
}

/* The only option with a letter of its own, as everywhere. */
static int is_output(const char *word) {
    return strcmp(word, "-o") == 0;
}

/* The option at words[*at]; advances over its value. */
static bp_status parse_option(const struct cli_command *command, int count, char **words, int *at,
                              struct parsed *p) {
    const char *word = is_output(words[*at]) ? "output" : words[*at] + 2,
               *equals = strchr(word, '=');
    size_t length = equals != NULL ? (size_t)(equals - word) : strlen(word);
    int negated;
    snprintf(p->name, sizeof p->name, "%.*s", (int)(length < NAME_BYTES ? length : NAME_BYTES - 1),
             word);
    find_option(command, p, &negated);
    if (p->own == NULL && p->option == NULL)
        return unknown_option(p->name, command);
    int is_switch =
        p->own != NULL ? p->own->placeholder == NULL : p->option->type == BP_OPTION_BOOL;
    if (equals != NULL && is_switch && (negated || p->own != NULL)) {
        cli_fail(BP_USAGE, "option '--%s' takes no value; leave out '%s'", p->name, equals);
        return BP_USAGE;
    }
    if (equals != NULL) {
        p->value = equals + 1;
    } else if (is_switch) {
        p->value = negated ? "false" : "true";
    } else if (*at + 1 < count) {
        p->value = words[++*at];
    } else {
        cli_fail(BP_USAGE, "option '--%s' needs a value; see 'bitprop %s --help'", p->name,
                 command->name);
        return BP_USAGE;
    }
    return BP_OK;
}

/* BITPROP_GRAD_BITS=4 is --grad-bits 4. A name that no command knows is a mistake too. */
static bp_status read_variable(const struct cli_command *command, const char *variable,
                               struct cli_args *args) {
    char name[NAME_BYTES], text[NAME_BYTES];
    const char *equals = strchr(variable, '=');
    size_t length = equals != NULL ? (size_t)(equals - variable) : 0;
    if (strncmp(variable, PREFIX, strlen(PREFIX)) != 0 || equals == NULL)
        return BP_OK;
    snprintf(text, sizeof text, "%.*s", (int)(length < NAME_BYTES ? length : NAME_BYTES - 1),
             variable);
    snprintf(name, sizeof name, "%s", text + strlen(PREFIX));
    for (char *c = name; *c != 0; c++)
        *c = *c == '_' ? '-' : (char)tolower((unsigned char)*c);
    const bp_option *option = bp_option_find(name);
    if (option != NULL && !option->positional) {
        if (!cli_takes(command, option))
            return BP_OK;
        return (bp_status)cli_report(bp_config_set(args->config, name, equals + 1, text));
    }
    char near[NAME_BYTES] = "";
    const char *closest = closest_option(name, command);
    snprintf(near, sizeof near, "%s", closest != NULL ? closest : "");
    for (char *c = near; *c != 0; c++)
        *c = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
    if (bp_option_find(closest != NULL ? closest : "") != NULL)
        cli_fail(BP_USAGE, "unknown variable %s in the environment; did you mean %s%s?", text,
                 PREFIX, near);
    else
        cli_fail(BP_USAGE,
                 "unknown variable %s in the environment; unset it, or see 'bitprop %s "
                 "--help'",
                 text, command->name);
    return BP_USAGE;
}

static bp_status read_environment(const struct cli_command *command, struct cli_args *args) {
    bp_status status = BP_OK;
    for (char **variable = environ; *variable != NULL && status == BP_OK; variable++)
        status = read_variable(command, *variable, args);
    return status;
}

static bp_status add_positional(const struct cli_command *command, char *word,
                                struct cli_args *args) {
    if (command->positional_max == CLI_MANY || args->n_positional < command->positional_max) {
        args->positional[args->n_positional++] = word;
        return BP_OK;
    }
    cli_fail(BP_USAGE, "unexpected argument '%s'; usage: bitprop %s", word, command->usage);
    return BP_USAGE;
}

/* Reads the words twice: for the config file alone, then for all the rest. */
static bp_status read_words(const struct cli_command *command, int count, char **words,
                            int only_config, struct cli_args *args) {
    bp_status status = BP_OK;
    int only_positional = 0;
    for (int i = 0; i < count && status == BP_OK; i++) {
        struct parsed p;
        if (only_positional || words[i][0] != '-' || words[i][1] == 0) {
            if (!only_config)
                status = add_positional(command, words[i], args);
        } else if (strcmp(words[i], "--") == 0) {
            only_positional = 1;
        } else if (strcmp(words[i], "-h") == 0) {
            args->help = 1;
        } else if (words[i][1] != '-' && !is_output(words[i])) {
            cli_fail(BP_USAGE,
                     "unknown option '%s'; options have two dashes, see 'bitprop %s "
                     "--help'",
                     words[i], command->name);
            status = BP_USAGE;
        } else {
            status = parse_option(command, count, words, &i, &p);
            if (status == BP_OK && only_config && p.own != NULL && p.own->bit == CLI_CONFIG)
                status = (bp_status)cli_report(bp_config_load_json(args->config, p.value));
            else if (status == BP_OK && !only_config && p.own != NULL)
                set_own(args, p.name, p.value);
            else if (status == BP_OK && !only_config)
                status = (bp_status)cli_report(
                    bp_config_set(args->config, p.option->name, p.value, "command line"));
        }
    }
    return status;
}

bp_status cli_parse(const struct cli_command *command, int count, char **words,
                    struct cli_args *args) {
    bp_status status = read_words(command, count, words, 1, args);
    if (status == BP_OK)
        status = read_environment(command, args);
    if (status == BP_OK)
        status = read_words(command, count, words, 0, args);
    if (status == BP_OK && !args->help && args->n_positional < command->positional_min) {
        cli_fail(BP_USAGE, "an argument is missing; usage: bitprop %s", command->usage);
        status = BP_USAGE;
    }
    return status;
}
