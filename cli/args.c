/* Arguments: the library's option table, plus the few options that only concern the program. */
#include "cli/cli.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_BYTES 64

/* The program's own options. */
static const struct {
    const char *name;
    int has_value;
} own_options[] = {{"help", 0}, {"json", 0},   {"print-config", 0},
                   {"vs", 1},   {"config", 1}, {"progress", 1}};

static const char *closest_option(const char *name, const struct cli_command *command) {
    const char *names[256];
    size_t count, n = 0;
    const bp_option *options = bp_options(&count);
    for (size_t i = 0; i < count && n < 200; i++)
        if ((options[i].commands & command->options) != 0 && !options[i].positional)
            names[n++] = options[i].name;
    for (size_t i = 0; i < sizeof own_options / sizeof own_options[0]; i++)
        names[n++] = own_options[i].name;
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

static bp_status own_option(struct cli_args *args, const char *name, const char *value) {
    if (strcmp(name, "help") == 0)
        args->help = 1;
    else if (strcmp(name, "json") == 0)
        args->json = 1;
    else if (strcmp(name, "print-config") == 0)
        args->print_config = 1;
    else if (strcmp(name, "vs") == 0)
        args->versus = value;
    else if (strcmp(name, "progress") == 0)
        args->progress = value;
    else
        return (bp_status)cli_report(bp_config_load_json(args->config, value));
    return BP_OK;
}

static int find_own(const char *name) {
    for (int i = 0; i < (int)(sizeof own_options / sizeof own_options[0]); i++)
        if (strcmp(own_options[i].name, name) == 0)
            return i;
    return -1;
}

/* One option at words[*at]; advances over its value. */
static bp_status parse_option(const struct cli_command *command, int count, char **words, int *at,
                              struct cli_args *args) {
    const char *word = words[*at] + 2, *equals = strchr(word, '='), *value = NULL;
    size_t length = equals != NULL ? (size_t)(equals - word) : strlen(word);
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "%.*s", (int)(length < NAME_BYTES ? length : NAME_BYTES - 1), word);
    int own = find_own(name);
    const bp_option *option = bp_option_find(name);
    int negated = option == NULL && strncmp(name, "no-", 3) == 0;
    if (negated)
        option = bp_option_find(name + 3);
    if (option != NULL && ((option->commands & command->options) == 0 || option->positional ||
                           (negated && option->type != BP_OPTION_BOOL)))
        option = NULL;
    if (own < 0 && option == NULL)
        return unknown_option(name, command);
    int is_switch = own >= 0 ? !own_options[own].has_value : option->type == BP_OPTION_BOOL;
    if (equals != NULL) {
        value = equals + 1;
    } else if (is_switch) {
        value = negated ? "false" : "true";
    } else if (*at + 1 < count) {
        value = words[++*at];
    } else {
        cli_fail(BP_USAGE, "option '--%s' needs a value", name);
        return BP_USAGE;
    }
    if (own >= 0)
        return own_option(args, name, value);
    return (bp_status)cli_report(bp_config_set(args->config, option->name, value, "command line"));
}

/* BITPROP_GRAD_BITS=4 is --grad-bits 4; the command line wins, since it is read later. */
static bp_status read_environment(const struct cli_command *command, struct cli_args *args) {
    size_t count;
    const bp_option *options = bp_options(&count);
    for (size_t i = 0; i < count; i++) {
        char name[NAME_BYTES];
        int length = snprintf(name, sizeof name, "BITPROP_%s", options[i].name);
        for (int j = 0; j < length; j++)
            name[j] = name[j] == '-' ? '_' : (char)toupper((unsigned char)name[j]);
        const char *value = getenv(name);
        if (value == NULL || (options[i].commands & command->options) == 0)
            continue;
        bp_status status = bp_config_set(args->config, options[i].name, value, name);
        if (status != BP_OK)
            return (bp_status)cli_report(status);
    }
    return BP_OK;
}

bp_status cli_parse(const struct cli_command *command, int count, char **words,
                    struct cli_args *args) {
    bp_status status = read_environment(command, args);
    int only_positional = 0;
    for (int i = 0; i < count && status == BP_OK; i++) {
        if (!only_positional && strcmp(words[i], "--") == 0) {
            only_positional = 1;
        } else if (!only_positional && strcmp(words[i], "-h") == 0) {
            args->help = 1;
        } else if (!only_positional && strncmp(words[i], "--", 2) == 0) {
            status = parse_option(command, count, words, &i, args);
        } else if (args->n_positional < command->positional_max) {
            args->positional[args->n_positional++] = words[i];
        } else {
            cli_fail(BP_USAGE, "unexpected argument '%s'; usage: bitprop %s %s", words[i],
                     command->name, command->usage);
            status = BP_USAGE;
        }
    }
    if (status == BP_OK && !args->help && args->n_positional < command->positional_min) {
        cli_fail(BP_USAGE, "something is missing; usage: bitprop %s %s", command->name,
                 command->usage);
        status = BP_USAGE;
    }
    return status;
}
