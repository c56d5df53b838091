/* Help texts, made from the option table. */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

void cli_help_program(void) {
    printf(
        "bitprop %s trains and fine-tunes convolutional networks in 1-bit arithmetic on CPUs.\n\n"
        "usage: bitprop COMMAND [arguments] [options]\n\n",
        bp_version());
    for (int i = 0; i < cli_n_commands; i++)
        printf("  %-8s %-22s %s\n", cli_commands[i].name, cli_commands[i].usage,
               cli_commands[i].summary);
    printf(
        "\n'bitprop COMMAND --help' lists the options of a command. 'bitprop --version' prints the "
        "version.\n\nexit codes: 0 done, 1 internal error, 2 usage, 3 data, 4 model file, 5 "
        "resources,\n            6 diverged, 7 a check failed, 130 or 143 stopped after saving\n");
}

static void print_choices(const bp_option *option) {
    for (size_t i = 0; option->choices[i] != NULL; i++)
        printf("%s%s", i == 0 ? "" : ", ", option->choices[i]);
}

static void print_option(const bp_option *option) {
    char left[64];
    const char *holder = option->type == BP_OPTION_CHOICE ? "NAME" : option->placeholder;
    snprintf(left, sizeof left, "--%s%s%s", option->name, holder != NULL ? " " : "",
             holder != NULL ? holder : "");
    printf("  %-24s %s", left, option->help);
    if (option->choices != NULL && strncmp(option->help, "as --", 5) != 0) {
        printf("\n  %-24s ", "");
        print_choices(option);
    }
    if (option->fallback != NULL && option->type != BP_OPTION_BOOL)
        printf(" (default: %s)", option->fallback);
    putchar('\n');
}

void cli_help_command(const struct cli_command *command) {
    printf("bitprop %s: %s\n\nusage: bitprop %s %s\n\nexamples:\n%s", command->name,
           command->summary, command->name, command->usage, command->examples);
    size_t count;
    const bp_option *options = bp_options(&count);
    const char *group = "";
    for (size_t i = 0; i < count; i++) {
        if ((options[i].commands & command->options) == 0 || options[i].positional)
            continue;
        if (strcmp(group, options[i].group) != 0)
            printf("\n%s:\n", options[i].group);
        group = options[i].group;
        print_option(&options[i]);
    }
    printf("\nOutput:\n");
    if (command->run == cli_train || command->run == cli_resume)
        printf(
            "  --progress MODE          bar, plain, json, none (default: bar on a terminal, else "
            "plain)\n");
    if (command->run == cli_train)
        printf("  --config FILE            options from a JSON file, such as a run's config.json\n"
               "  --print-config           show every option's value and origin, and stop\n");
    if (command->run == cli_bench)
        printf("  --vs MODE                a second side in the same run: fp32, qat, psq, fqt or "
               "fqt:PRESET\n");
    printf("  --json                   one JSON object on standard output\n"
           "  --help                   this text\n");
    if (command->options != 0)
        printf("\nEvery option can also stand in the environment: --grad-bits 4 is "
               "BITPROP_GRAD_BITS=4.\n");
}
