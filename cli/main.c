#define _POSIX_C_SOURCE 200809L
#include "cli/cli.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const bench_words[] = {"step", "layers", NULL};
static const char *const data_words[] = {"check", NULL};
static const char *const shells[] = {"bash", "zsh", NULL};

const struct cli_command cli_commands[] = {
    {"data", "data check DATA", "look for mistakes in a data set",
     "  bitprop data check photos\n"
     "  bitprop data check list.csv --json\n",
     BP_COMMAND_DATA, CLI_JSON, 1, 2, data_words, cli_data},
    {"plan", "plan DATA [options]", "say what a training run would take of time and memory",
     "  bitprop plan photos --model resnet18 --batch 64\n"
     "  bitprop plan photos --batch auto --max-mem 2000 --time 30m --json\n"
     "  bitprop plan --config runs/mine/config.json\n",
     BP_COMMAND_TRAIN, CLI_CONFIG | CLI_JSON, 0, 1, NULL, cli_plan},
    {"train", "train DATA [options]", "train a network on a data set",
     "  bitprop train /usr/share/datasets/fashion-mnist --epochs 5\n"
     "  bitprop train DATA --model resnet18 --preset balanced --run runs/mine\n"
     "  bitprop train DATA --precision qat --lr 0.002 --limit-train 10000\n"
     "  bitprop train PICTURES --init runs/mine        # fine-tune that network\n"
     "  bitprop train --config runs/mine/config.json   # the same run again\n",
     BP_COMMAND_TRAIN, CLI_CONFIG | CLI_PRINT_CONFIG | CLI_PROGRESS | CLI_JSON, 0, 1, NULL,
     cli_train},
    {"resume", "resume RUN [options]", "go on with a run that was stopped",
     "  bitprop resume runs/fashion-mnist-vgg16-1\n"
     "  bitprop resume runs/fashion-mnist-vgg16-1 --threads 4\n",
     BP_COMMAND_RESUME, CLI_PROGRESS | CLI_JSON, 1, 1, NULL, cli_resume},
    {"eval", "eval MODEL DATA [options]", "measure a model's accuracy",
     "  bitprop eval runs/fashion-mnist-vgg16-1 /usr/share/datasets/fashion-mnist\n"
     "  bitprop eval best.ckpt DATA --json\n",
     BP_COMMAND_EVAL, CLI_JSON, 2, 2, NULL, cli_eval},
    {"predict", "predict MODEL [PATH...]",
     "classify pictures, folders of them, or a list on standard input",
     "  bitprop predict runs/photos-resnet18-1 new/1.jpg new/2.png\n"
     "  bitprop predict best.ckpt new --top 3 --json   # all pictures in a folder\n"
     "  find new -name '*.jpg' | bitprop predict best.ckpt -\n",
     BP_COMMAND_PREDICT, CLI_JSON, 1, CLI_MANY, NULL, cli_predict},
    {"info", "info [FILE] [options]",
     "describe a model or a run, or the memory that training takes",
     "  bitprop info runs/fashion-mnist-vgg16-1\n"
     "  bitprop info best.ckpt --json\n"
     "  bitprop info --memory best.ckpt --batch 32\n"
     "  bitprop info --memory --model resnet18 --size 224 --batch 64\n",
     BP_COMMAND_INFO, CLI_MEMORY | CLI_JSON, 0, 1, NULL, cli_info},
    {"report", "report RUN... [options]", "draw the report of a run, or compare runs",
     "  bitprop report runs/fashion-mnist-vgg16-1      # writes report.html there\n"
     "  bitprop report runs/a runs/b runs/c -o comparison.html\n",
     0, CLI_OUTPUT, 1, CLI_MANY, NULL, cli_report_page},
    {"bench", "bench step|layers [options]",
     "time a whole training step, or the 1-bit products of each layer",
     "  bitprop bench step --width 1 --preset one-bit --vs fp32\n"
     "  bitprop bench step --model resnet18 --preset balanced --json\n"
     "  bitprop bench step --data photos --aug light    # with waiting for data\n"
     "  bitprop bench layers --model vgg16 --preset balanced --cpu avx2\n",
     BP_COMMAND_BENCH, CLI_CONFIG | CLI_VERSUS | CLI_JSON, 1, 1, bench_words, cli_bench},
    {"doctor", "doctor", "show this machine and its limits, and test its kernels",
     "  bitprop doctor\n  bitprop doctor --json\n", 0, CLI_JSON, 0, 0, NULL, cli_doctor},
    {"completion", "completion bash|zsh", "print the completion of a shell",
     "  eval \"$(bitprop completion bash)\"\n"
     "  bitprop completion zsh > ~/.zsh/_bitprop   # a folder of $fpath\n",
     0, 0, 1, 1, shells, cli_completion},
    {"manual", "manual", "print the manual page",
     "  bitprop manual | man -l -\n"
     "  bitprop manual | mandoc -T html > bitprop.html\n",
     0, 0, 0, 0, NULL, cli_manual},
};
const int cli_n_commands = (int)(sizeof cli_commands / sizeof cli_commands[0]);

int cli_fail(bp_status status, const char *format, ...) {
    char text[2048];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    for (char *c = text; *c != 0; c++)
        if ((unsigned char)*c < 32 || *c == 127)
            *c = '?'; /* one line, whatever the arguments held */
    fprintf(stderr, "bitprop: %s\n", text);
    return (int)status;
}

int cli_report(bp_status status) {
    return status == BP_OK ? 0 : cli_fail(status, "%s", bp_last_error());
}

static const struct cli_command *find_command(const char *name) {
    for (int i = 0; i < cli_n_commands; i++)
        if (strcmp(cli_commands[i].name, name) == 0)
            return &cli_commands[i];
    return NULL;
}

static int unknown_command(const char *name) {
    const char *names[sizeof cli_commands / sizeof cli_commands[0]];
    for (int i = 0; i < cli_n_commands; i++)
        names[i] = cli_commands[i].name;
    const char *near = bp_closest(name, names, (size_t)cli_n_commands);
    if (near != NULL)
        return cli_fail(BP_USAGE, "unknown command '%s'; did you mean '%s'?", name, near);
    return cli_fail(BP_USAGE, "unknown command '%s'; 'bitprop --help' lists the commands", name);
}

static int is_help(const char *word) {
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0;
}

/* The exit code, or another one if the output did not arrive. */
static int flush_output(int code) {
    if (code == 0 && (fflush(stdout) != 0 || ferror(stdout)))
        return cli_fail(BP_RESOURCE,
                        "cannot write the output; is the disk full, or the pipe closed?");
    return code;
}

static int run_command(const struct cli_command *command, int count, char **words) {
    struct cli_args args = {0};
    bp_status status = bp_config_create(&args.config);
    if (status != BP_OK)
        return cli_report(status);
    args.positional = calloc((size_t)count + 1, sizeof *args.positional);
    if (args.positional == NULL) {
        bp_config_destroy(args.config);
        return cli_fail(BP_RESOURCE, "out of memory: no room for the arguments");
    }
    status = cli_parse(command, count, words, &args);
    int code = (int)status;
    if (status == BP_OK && args.help)
        cli_help_command(command);
    else if (status == BP_OK)
        code = command->run(&args);
    bp_config_destroy(args.config);
    free(args.positional);
    return flush_output(code);
}

int main(int argc, char **argv) {
    /* A file that outgrows its limit is a write that fails, with a message, not a dead program. */
    signal(SIGXFSZ, SIG_IGN);
    if (argc < 2)
        return cli_fail(BP_USAGE, "no command given; 'bitprop --help' lists the commands");
    if (strcmp(argv[1], "--version") == 0) {
        printf("bitprop %s\n", bp_version());
        return flush_output(0);
    }
    int asks_help = is_help(argv[1]);
    if (asks_help && argc == 2) {
        cli_help_program();
        return flush_output(0);
    }
    const char *name = argv[asks_help ? 2 : 1];
    const struct cli_command *command = find_command(name);
    if (command == NULL)
        return unknown_command(name);
    if (!asks_help)
        return run_command(command, argc - 2, argv + 2);
    cli_help_command(command);
    return flush_output(0);
}
