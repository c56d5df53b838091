/* Help texts, made from the option tables. */
#include "cli/cli.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { INDENT = 27, COLUMNS = 100 };

void cli_help_program(void) {
    printf("bitprop %s trains convolutional networks in 1-bit arithmetic on CPUs.\n\n"
           "usage: bitprop COMMAND [arguments] [options]\n\ncommands:\n",
           bp_version());
    for (int i = 0; i < cli_n_commands; i++)
        printf("  %-26s %s\n", cli_commands[i].usage, cli_commands[i].summary);
    printf(
        "\nexamples:\n"
        "  bitprop train /usr/share/datasets/fashion-mnist --epochs 5\n"
        "  bitprop eval runs/fashion-mnist-vgg16-1 /usr/share/datasets/fashion-mnist\n"
        "\n'bitprop COMMAND --help' lists the options of a command, 'bitprop --version' prints the "
        "version.\n\nexit codes: 0 done, 1 internal error, 2 usage, 3 data, 4 model file, 5 "
        "resources,\n            6 diverged, 7 a check failed, 130 or 143 stopped after saving\n");
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

/* Choices and default, unless the help text tells them itself. */
static void print_option(const bp_option *option) {
    char text[512];
    const char *first = option->choices != NULL ? option->choices[0] : NULL;
    const char *holder = option->placeholder;
    size_t used = (size_t)snprintf(text, sizeof text, "%s", option->help);
    if (first != NULL) {
        char told[32];
        holder = isdigit((unsigned char)first[0]) ? "N" : "NAME";
        snprintf(told, sizeof told, "%s: ", first);
        int lists = strstr(option->help, told) == NULL && strncmp(option->help, "as --", 5) != 0;
        for (size_t i = 0; lists && option->choices[i] != NULL && used < sizeof text; i++)
            used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", i == 0 ? ": " : ", ",
                                     option->choices[i]);
    }
    if (option->fallback != NULL && option->type != BP_OPTION_BOOL && used < sizeof text &&
        strstr(option->help, "(default: ") == NULL)
        snprintf(text + used, sizeof text - used, " (default: %s)", option->fallback);
    if (option->positional)
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
        print_option(&options[i]);
    }
    printf("\nProgram:\n");
    for (int i = 0; i < cli_n_options; i++)
        if ((cli_options[i].bit & (command->own | CLI_ALWAYS)) != 0)
            print_wrapped("--", cli_options[i].name, cli_options[i].placeholder,
                          cli_options[i].help);
    if (command->options != 0)
        printf("\nAll but the last group can also stand in the environment: BITPROP_THREADS=2 is "
               "--threads 2.\nThe command line wins%s.\n",
               (command->own & CLI_CONFIG) != 0 ? " over the environment, the environment over a "
                                                  "--config file"
                                                : "");
}
