/* The manual page in mdoc, made from the tables of commands, options and exit codes. */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

/* When what this file itself says was last changed. */
#define MANUAL_DATE "November 25, 2026"

enum { COLUMNS = 78 };

/* One word: a dash stays a dash, a backslash a backslash. */
static void print_word(const char *word, size_t length) {
    for (size_t i = 0; i < length; i++) {
        if (word[i] == '-')
            fputs("\\-", stdout);
        else if (word[i] == '\\')
            fputs("\\e", stdout);
        else
            putchar(word[i]);
    }
}

/* Text as mdoc takes it, in lines of which none is taken for a command. */
static void print_text(const char *text) {
    size_t column = 0;
    while (*(text += strspn(text, " ")) != 0) {
        size_t length = strcspn(text, " ");
        if (column > 0 && column + 1 + length > COLUMNS) {
            putchar('\n');
            column = 0;
        }
        fputs(column > 0 ? " " : *text == '.' || *text == '\'' ? "\\&" : "", stdout);
        print_word(text, length);
        column += 1 + length;
        text += length;
    }
}

static void print_line(const char *text) {
    print_text(text);
    putchar('\n');
}

/* The words of a usage line: "DATA" is an argument, "[options]" one that may be missing, others are
 * typed as they are. */
static void print_usage(const struct cli_command *command) {
    printf(".Nm bitprop\n.Cm %s", command->name);
    char words[128];
    snprintf(words, sizeof words, "%s", command->usage + strlen(command->name));
    for (char *word = strtok(words, " "); word != NULL; word = strtok(NULL, " ")) {
        if (*word == '[')
            printf(" Op Ar %.*s", (int)strlen(word) - 2, word + 1);
        else if (*word >= 'A' && *word <= 'Z')
            printf(" Ar %s", word);
        else
            printf(" Cm %s", word);
    }
    putchar('\n');
}

static void print_header(void) {
    printf(".Dd " MANUAL_DATE "\n.Dt BITPROP 1\n.Os bitprop %s\n"
           ".Sh NAME\n.Nm bitprop\n.Nd train convolutional networks in 1\\-bit arithmetic on CPUs\n"
           ".Sh SYNOPSIS\n",
           bp_version());
    for (int i = 0; i < cli_n_commands; i++)
        print_usage(&cli_commands[i]);
    fputs(".Nm bitprop\n.Fl \\-version\n"
          ".Nm bitprop\n.Cm help Op Ar command\n"
          ".Sh DESCRIPTION\n"
          ".Nm\n"
          "trains convolutional networks whose weights, activations and gradients\n"
          "have one or a few bits, on the processor alone, evaluates them and predicts with\n"
          "them.\n"
          "The method is that of\n"
          ".Rs\n.%T 1\\-Bit FQT: Pushing the Limit of Fully Quantized Training to 1\\-bit\n"
          ".%R arXiv 2408.14267\n.Re\n"
          "The same seed gives the same result, bit for bit, whatever the number of\n"
          "threads and the instruction set.\n",
          stdout);
}

static void print_commands(void) {
    puts(".Sh COMMANDS\n"
         "Options may stand anywhere behind the command, as\n"
         ".Fl \\-name Ar value\nor\n.Fl \\-name Ns = Ns Ar value ;\n"
         "behind a lone\n.Fl \\-\nall words are arguments.\n"
         ".Bl -tag -width Ds");
    for (int i = 0; i < cli_n_commands; i++) {
        const struct cli_command *command = &cli_commands[i];
        printf(".It Cm %s\n", command->name);
        print_text(command->summary);
        puts(".");
    }
    puts(".El");
}

/* "[train, bench]" */
static void print_takers(const bp_option *option) {
    int n = 0;
    for (int i = 0; i < cli_n_commands; i++)
        if ((option->commands & cli_commands[i].options) != 0)
            printf("%s%s", n++ > 0 ? ", " : "\n[", cli_commands[i].name);
    puts("]");
}

static void print_own_takers(const struct cli_option *own) {
    int n = 0;
    for (int i = 0; i < cli_n_commands; i++)
        if (cli_takes_own(&cli_commands[i], own))
            printf("%s%s", n++ > 0 ? ", " : "\n[", cli_commands[i].name);
    puts("]");
}

static void print_option(const bp_option *option) {
    char text[512];
    const char *holder = cli_option_text(option, text, sizeof text);
    if (option->positional && option->commands & ~option->positional)
        printf(".It Ar %s , Fl \\-%s Ar %s\n", option->placeholder, option->name, holder);
    else if (option->positional)
        printf(".It Ar %s\n", option->placeholder);
    else if (option->type == BP_OPTION_BOOL)
        printf(".It Fl \\-%s , \\-no\\-%s\n", option->name, option->name);
    else
        printf(".It Fl \\-%s Ar %s\n", option->name, holder);
    print_text(text);
    print_takers(option);
}

static void print_options(void) {
    size_t count;
    const bp_option *options = bp_options(&count);
    const char *group = "";
    puts(".Sh OPTIONS\nBehind each option stand the commands that take it.");
    for (size_t i = 0; i < count; i++) {
        if (strcmp(group, options[i].group) != 0) {
            printf("%s.Ss ", i > 0 ? ".El\n" : "");
            print_line(options[i].group);
            puts(".Bl -tag -width Ds");
        }
        group = options[i].group;
        print_option(&options[i]);
    }
    puts(".El\n.Ss Program\n.Bl -tag -width Ds");
    for (int i = 0; i < cli_n_options; i++) {
        const struct cli_option *own = &cli_options[i];
        printf(".It Fl \\-%s%s%s\n", own->name, own->placeholder != NULL ? " Ar " : "",
               own->placeholder != NULL ? own->placeholder : "");
        print_text(own->help);
        print_own_takers(own);
    }
    puts(".El");
}

static void print_environment(void) {
    puts(
        ".Sh ENVIRONMENT\n"
        "Every option of\n.Sx OPTIONS ,\nbut those of the program, is also a variable: its name\n"
        "in capitals, with\n.Ql _\nfor\n.Ql \\- ,\nbehind\n.Ql BITPROP_ .\n"
        ".Ev BITPROP_THREADS Ns =2\nis\n.Fl \\-threads Cm 2 ;\n"
        ".Ev BITPROP_AUG_FLIP Ns =true\nis\n.Fl \\-aug\\-flip .\n"
        "A variable that no option has is an error; one whose option only another\n"
        "command has is not looked at.\n"
        "The command line wins over the environment, and the environment over the file of\n"
        ".Fl \\-config .\n"
        ".Sh CONFIGURATION FILES\n"
        "The file of\n.Fl \\-config\nis one JSON object of option names without the dashes:\n"
        ".Dl {\\(dqepochs\\(dq: 60, \\(dqmodel\\(dq: \\(dqvgg16\\(dq, \\(dqaug\\-flip\\(dq: true}\n"
        "The argument\n.Ar DATA\nmay stand there as\n.Ql data .\n"
        "The\n.Pa config.json\nof a run is such a file: with it the run can be made again, bit for "
        "bit.\n"
        ".Fl \\-print\\-config\nshows what all options come to, and where each value stood;\n"
        "with\n.Fl \\-json\nit prints a configuration file.");
}

static void print_files(void) {
    static const char *const files[][2] = {
        {"config.json", "The options of the run."},
        {"env.json", "Version, processor, threads, and which instruction set serves each kernel."},
        {"classes.txt", "Names of the classes, one a line, in the order of the network's outputs."},
        {"last.ckpt", "The state of the run, all that resume needs; a safetensors file."},
        {"best.ckpt", "The network with the best validation accuracy so far; a safetensors file."},
        {"metrics.jsonl",
         "One JSON object for each epoch, and for some steps (\\-\\-log\\-every)."},
        {"report.html", "All of it to look at; one file for any browser."},
        {"settings.json", "What every option came to, and why."},
        {"validation.json",
         "What the best network takes for what, and its worst mistakes, for the report."},
        {"layers.json", "Bits and times of the layers, for the report."},
        {"variance.jsonl", "Variance of the gradients (\\-\\-report\\-variance)."},
        {"log.txt", "What happened, with local times."},
        {"result.json", "How the run ended."}};
    puts(".Sh FILES\n"
         "Training makes one folder for each run,\n.Pa runs/<data>\\-<model>\\-<n>\n"
         "or that of\n.Fl \\-run ,\nand never writes over one.\nIn it lie:\n"
         ".Bl -tag -width validation.json -compact");
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        printf(".It Pa %s\n%s\n", files[i][0], files[i][1]);
    puts(".El");
}

static void print_exit_status(void) {
    puts(".Sh EXIT STATUS\n.Bl -tag -width 100 -compact");
    for (int i = 0; i < cli_n_exit_codes; i++) {
        printf(".It %d\n", cli_exit_codes[i].code);
        print_line(cli_exit_codes[i].detail);
    }
    puts(".El\nErrors are one line on standard error.");
}

/* The lines of all commands' examples. */
static void print_examples(void) {
    puts(".Sh EXAMPLES");
    for (int i = 0; i < cli_n_commands; i++) {
        print_text(cli_commands[i].summary);
        puts(":\n.Bd -literal -offset 2n -compact");
        for (const char *at = cli_commands[i].examples; *at != 0; at += *at == '\n') {
            at += strspn(at, " ");
            size_t length = strcspn(at, "\n");
            print_word(at, length);
            putchar('\n');
            at += length;
        }
        puts(i + 1 < cli_n_commands ? ".Ed\n.Pp" : ".Ed");
    }
}

int cli_manual(struct cli_args *args) {
    (void)args;
    print_header();
    print_commands();
    print_options();
    print_environment();
    print_files();
    print_exit_status();
    print_examples();
    return 0;
}
