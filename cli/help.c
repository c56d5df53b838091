/* Help texts, made from the option tables. */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

enum { INDENT = 27, COLUMNS = 100 };

const struct cli_exit_code cli_exit_codes[] = {
    {BP_OK, "done", "What was asked for is done."},
    {BP_INTERNAL, "internal error", "A mistake of the program; please report it."},
    {BP_USAGE, "usage", "An unknown option, an impossible value or combination."},
    {BP_DATA, "data", "The data set, or a picture to predict, is missing, truncated or malformed."},
    {BP_MODEL, "model file", "The checkpoint is missing, malformed or of another network."},
    {BP_RESOURCE, "resources", "Memory, disk, permission, or a folder that exists already."},
    {BP_DIVERGED, "diverged", "The loss became NaN or infinite."},
    {BP_CHECK, "a check failed", "A check ran to its end and found something wrong."},
    {BP_INTERRUPT, "stopped by SIGINT after saving", "Stopped by Ctrl-C after saving."},
    {BP_TERMINATE, "stopped by SIGTERM after saving", "Stopped by SIGTERM or SIGHUP after saving."},
};
const int cli_n_exit_codes = (int)(sizeof cli_exit_codes / sizeof cli_exit_codes[0]);

static void print_exit_codes(void) {
    fputs("exit codes:", stdout);
    int column = 11;
    for (int i = 0; i < cli_n_exit_codes; i++) {
        char text[64];
        int length = snprintf(text, sizeof text, " %d %s%s", cli_exit_codes[i].code,
                              cli_exit_codes[i].meaning, i + 1 < cli_n_exit_codes ? "," : "");
        if (column + length > COLUMNS) {
            printf("\n%11s", "");
            column = 11;
        }
        fputs(text, stdout);
        column += length;
    }
    putchar('\n');
}

void cli_help_program(void) {
    printf("bitprop %s trains convolutional networks in 1-bit arithmetic on CPUs.\n\n"
           "usage: bitprop COMMAND [arguments] [options]\n\ncommands:\n",
           bp_version());
    for (int i = 0; i < cli_n_commands; i++)
        printf("  %-27s %s\n", cli_commands[i].usage, cli_commands[i].summary);
    printf(
        "\nexamples:\n"
        "  bitprop train /usr/share/datasets/fashion-mnist --epochs 5\n"
        "  bitprop eval runs/fashion-mnist-vgg16-1 /usr/share/datasets/fashion-mnist\n"
        "\n'bitprop COMMAND --help' lists the options of a command, 'bitprop --version' prints the "
        "version,\n'bitprop manual | man -l -' shows the whole manual.\n\n");
    print_exit_codes();
}

/* "  NAME HOLDER   help", the help broken at spaces. */
static void print_wrapped(const char *dashes, const char *name, const char *holder,
                          const char *text) {
    char left[64];
    snprintf(left, sizeof left, "%s%s%s%s", dashes, name, holder != NULL ? " " : "",
             holder != NULL ? holder : "");
    printf("  %-24s", left);
    int column = INDENT - 1;
    while (*text != 0) {
        int length = (int)strcspn(text, " ");
        if (column + 1 + length > COLUMNS) {
            printf("\n%*s", INDENT - 1, "");
            column = INDENT - 1;
        }
        printf(" %.*s", length, text);
        column += 1 + length;
        text += length;
        text += *text == ' ';
    }
    putchar('\n');
}

/* Choices and default are added unless the help tells them itself. */
const char *cli_option_text(const bp_option *option, char *text, size_t size) {
    const char *first = option->type == BP_OPTION_CHOICE ? option->choices[0] : NULL;
    const char *holder = option->placeholder;
    size_t used = (size_t)snprintf(text, size, "%s", option->help);
    if (first != NULL) {
        char told[32];
        holder = strspn(first, "0123456789") == strlen(first) ? "N" : "NAME";
        snprintf(told, sizeof told, "%s: ", first);
        int lists = strstr(option->help, told) == NULL && strncmp(option->help, "as --", 5) != 0;
        for (size_t i = 0; lists && option->choices[i] != NULL && used < size; i++)
            used += (size_t)snprintf(text + used, size - used, "%s%s", i == 0 ? ": " : ", ",
                                     option->choices[i]);
    }
    if (option->fallback != NULL && option->type != BP_OPTION_BOOL && used < size &&
        strstr(option->help, "(default: ") == NULL)
        snprintf(text + used, size - used, " (default: %s)", option->fallback);
    return holder;
}

static void print_option(const struct cli_command *command, const bp_option *option) {
    char text[512];
    const char *holder = cli_option_text(option, text, sizeof text);
    if (option->positional & command->options)
        print_wrapped("", option->placeholder, NULL, text);
    else
        print_wrapped("--", option->name, holder, text);
}

void cli_help_command(const struct cli_command *command) {
    printf("bitprop %s: %s\n\nusage: bitprop %s\n\nexamples:\n%s", command->name, command->summary,
           command->usage, command->examples);
    size_t count;
    const bp_option *options = bp_options(&count);
    const char *group = "";
    for (size_t i = 0; i < count; i++) {
        if ((options[i].commands & command->options) == 0)
            continue;
        if (strcmp(group, options[i].group) != 0)
            printf("\n%s:\n", options[i].group);
        group = options[i].group;
        print_option(command, &options[i]);
    }
    printf("\nProgram:\n");
    for (int i = 0; i < cli_n_options; i++)
        if (cli_takes_own(command, &cli_options[i]))
            print_wrapped("--", cli_options[i].name, cli_options[i].placeholder,
                          cli_options[i].help);
    if (command->options != 0)
        printf("\nAll but the last group can also stand in the environment: BITPROP_THREADS=2 is "
               "--threads 2.\nThe command line wins%s.\n",
               (command->own & CLI_CONFIG) != 0 ? " over the environment, the environment over a "
                                                  "--config file"
                                                : "");
}
