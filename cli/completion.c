/* Completion for shells, made from the tables of commands and options. */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

/* What a value is, as far as a shell can help. */
enum kind { ANYTHING, ONE_OF, A_PATH, A_FOLDER };

static enum kind kind_of(const char *placeholder, const char *const *choices) {
    static const char *const paths[] = {"FILE", "PATH", "DATA"};
    if (choices != NULL)
        return ONE_OF;
    if (placeholder != NULL && strcmp(placeholder, "DIR") == 0)
        return A_FOLDER;
    for (size_t i = 0; placeholder != NULL && i < sizeof paths / sizeof paths[0]; i++)
        if (strcmp(placeholder, paths[i]) == 0)
            return A_PATH;
    return ANYTHING;
}

/* Words with spaces between; `before` stands in front of each. */
static void print_words(const char *const *words, const char *before, int *count) {
    for (size_t i = 0; words[i] != NULL; i++)
        printf("%s%s%s", (*count)++ > 0 ? " " : "", before, words[i]);
}

/* --vs takes a precision, or fqt with a preset. */
static void print_versus(const char *colon) {
    char before[16];
    int count = 0;
    snprintf(before, sizeof before, "fqt%s", colon);
    print_words(bp_option_find("precision")->choices, "", &count);
    print_words(bp_option_find("preset")->choices, before, &count);
}

/* --- bash ------------------------------------------------------------------------------------- */

static void bash_value(const char *name, enum kind kind, const char *const *choices, int versus) {
    int count = 0;
    printf("    --%s) echo '", name);
    if (versus)
        print_versus(":");
    else if (kind == ONE_OF)
        print_words(choices, "", &count);
    else
        fputs(kind == A_PATH ? "PATH" : kind == A_FOLDER ? "FOLDER" : "ANYTHING", stdout);
    puts("' ;;");
}

static void bash_values(void) {
    size_t count;
    const bp_option *options = bp_options(&count);
    puts("# The values of an option: words, PATH, FOLDER or ANYTHING; fails if it has none.\n"
         "_bitprop_values() {\n    case $1 in");
    for (size_t i = 0; i < count; i++)
        if (options[i].commands & ~options[i].positional && options[i].type != BP_OPTION_BOOL)
            bash_value(options[i].name, kind_of(options[i].placeholder, options[i].choices),
                       options[i].choices, 0);
    for (int i = 0; i < cli_n_options; i++)
        if (cli_options[i].placeholder != NULL)
            bash_value(cli_options[i].name,
                       kind_of(cli_options[i].placeholder, cli_options[i].choices),
                       cli_options[i].choices, cli_options[i].bit == CLI_VERSUS);
    puts("    *) return 1 ;;\n    esac\n}\n");
}

static void bash_options_of(const struct cli_command *command) {
    size_t count;
    const bp_option *options = bp_options(&count);
    printf("    %s) echo '", command->name);
    for (size_t i = 0; i < count; i++) {
        if (!cli_takes(command, &options[i]))
            continue;
        printf("--%s ", options[i].name);
        if (options[i].type == BP_OPTION_BOOL)
            printf("--no-%s ", options[i].name);
    }
    for (int i = 0; i < cli_n_options; i++)
        if (cli_takes_own(command, &cli_options[i]))
            printf("--%s ", cli_options[i].name);
    puts("' ;;");
}

static void bash_options(void) {
    puts("_bitprop_options() {\n    case $1 in");
    for (int i = 0; i < cli_n_commands; i++)
        bash_options_of(&cli_commands[i]);
    puts("    esac\n}\n");
}

static void bash_arguments(void) {
    puts("# The argument of a command, as _bitprop_values; $2: it stands right behind it.\n"
         "_bitprop_arguments() {\n    case $1 in");
    for (int i = 0; i < cli_n_commands; i++) {
        const struct cli_command *command = &cli_commands[i];
        int count = 0;
        if (command->positional_max == 0)
            continue;
        printf("    %s) ", command->name);
        if (command->words != NULL) {
            fputs(command->positional_max > 1 ? "[[ $2 == yes ]] && echo '" : "echo '", stdout);
            print_words(command->words, "", &count);
            fputs(command->positional_max > 1 ? "' || " : "'", stdout);
        }
        puts(command->words == NULL || command->positional_max > 1 ? "echo PATH ;;" : " ;;");
    }
    fputs("    help) echo '", stdout);
    for (int i = 0; i < cli_n_commands; i++)
        printf("%s%s", i > 0 ? " " : "", cli_commands[i].name);
    puts("' ;;\n    *) echo ANYTHING ;;\n    esac\n}\n");
}

static const char bash_function[] =
    "# Offers what `words` says for a value of which $2 is typed; paths are left to the shell.\n"
    "_bitprop_offer() {\n"
    "    local words=$1 value=$2 typed=$3 before\n"
    "    case $words in\n"
    "    PATH) ;;\n"
    "    FOLDER) compopt +o default -o dirnames 2> /dev/null ;;\n"
    "    ANYTHING) compopt +o default 2> /dev/null ;;\n"
    "    *)\n"
    "        COMPREPLY=($(compgen -W \"$words\" -- \"$value\"))\n"
    "        before=${value%\"$typed\"} # bash completes what follows the last = or :\n"
    "        COMPREPLY=(\"${COMPREPLY[@]#\"$before\"}\")\n"
    "        [[ ${#COMPREPLY[@]} -gt 0 ]] || compopt +o default 2> /dev/null\n"
    "        ;;\n"
    "    esac\n"
    "}\n\n"
    "_bitprop() {\n"
    "    local -a words=()\n"
    "    local i last=-1 join=0 typed=${COMP_WORDS[COMP_CWORD]} now words_of first=no\n"
    "    COMPREPLY=()\n"
    "    # Bash splits --cpu=c and fqt:paper: put them together again.\n"
    "    for ((i = 0; i <= COMP_CWORD; i++)); do\n"
    "        if [[ $last -ge 1 && ${COMP_WORDS[i]} == [=:] ]]; then\n"
    "            words[last]+=${COMP_WORDS[i]} join=1\n"
    "        elif [[ $join -eq 1 ]]; then\n"
    "            words[last]+=${COMP_WORDS[i]} join=0\n"
    "        else\n"
    "            words[++last]=${COMP_WORDS[i]}\n"
    "        fi\n"
    "    done\n"
    "    [[ $typed == [=:] ]] && typed=\n"
    "    now=${words[last]}\n"
    "    if [[ $last -eq 1 ]]; then\n"
    "        _bitprop_offer \"$(_bitprop_arguments help) help --help --version\" \"$now\" "
    "\"$typed\"\n"
    "    elif [[ $now == --*=* ]]; then\n"
    "        words_of=$(_bitprop_values \"${now%%=*}\") || words_of=ANYTHING\n"
    "        _bitprop_offer \"$words_of\" \"${now#*=}\" \"$typed\"\n"
    "    elif words_of=$(_bitprop_values \"${words[last - 1]}\"); then\n"
    "        _bitprop_offer \"$words_of\" \"$now\" \"$typed\"\n"
    "    elif [[ $now == -* ]]; then\n"
    "        _bitprop_offer \"$(_bitprop_options \"${words[1]}\")\" \"$now\" \"$typed\"\n"
    "    else\n"
    "        [[ $last -eq 2 ]] && first=yes\n"
    "        _bitprop_offer \"$(_bitprop_arguments \"${words[1]}\" $first)\" \"$now\" \"$typed\"\n"
    "    fi\n"
    "}\n\n"
    "complete -o default -F _bitprop bitprop\n";

static void print_bash(void) {
    puts("# Completion of bitprop for bash, made by 'bitprop completion bash'.\n");
    bash_values();
    bash_options();
    bash_arguments();
    fputs(bash_function, stdout);
}

/* --- zsh -------------------------------------------------------------------------------------- */

/* Inside '...': the quote itself, and what _arguments gives a meaning. */
static void zsh_text(const char *text) {
    for (; *text != 0; text++) {
        if (*text == '\'')
            fputs("'\\''", stdout);
        else if (strchr("[]:\\", *text) != NULL)
            printf("\\%c", *text);
        else
            putchar(*text);
    }
}

/* "'--name=[help]:N:action'" */
static void zsh_option(const char *name, const char *holder, const char *help, enum kind kind,
                       const char *const *choices, int versus) {
    int count = 0;
    printf(" \\\n            '--%s=[", name);
    zsh_text(help);
    fputs("]:", stdout);
    zsh_text(holder);
    if (versus || kind == ONE_OF)
        fputs(":(", stdout);
    if (versus)
        print_versus("\\:");
    else if (kind == ONE_OF)
        print_words(choices, "", &count);
    if (versus || kind == ONE_OF)
        fputs(")'", stdout);
    else
        fputs(kind == A_PATH ? ":_files'" : kind == A_FOLDER ? ":_files -/'" : ": '", stdout);
}

static void zsh_switch(const char *before, const char *name, const char *other, const char *help) {
    printf(" \\\n            '(%s%s)--%s%s[", other, name, before, name);
    zsh_text(help);
    fputs("]'", stdout);
}

static void zsh_arguments(const struct cli_command *command) {
    int count = 0, first_path = 1;
    if (command->words != NULL) {
        fputs(" \\\n            '1:word:(", stdout);
        print_words(command->words, "", &count);
        fputs(")'", stdout);
        first_path = 2;
    }
    for (int i = first_path; i <= command->positional_max; i++)
        printf(" \\\n            '%d:path:_files'", i);
    if (command->positional_max == CLI_MANY)
        printf(" \\\n            '*:path:_files'");
}

static void zsh_command(const struct cli_command *command) {
    size_t count;
    const bp_option *options = bp_options(&count);
    printf("        %s)\n            _arguments", command->name);
    for (size_t i = 0; i < count; i++) {
        const bp_option *option = &options[i];
        char text[512];
        if (!cli_takes(command, option))
            continue;
        const char *holder = cli_option_text(option, text, sizeof text);
        if (option->type == BP_OPTION_BOOL) {
            zsh_switch("", option->name, "--no-", option->help);
            zsh_switch("no-", option->name, "--", option->help);
        } else {
            zsh_option(option->name, holder, text, kind_of(option->placeholder, option->choices),
                       option->choices, 0);
        }
    }
    for (int i = 0; i < cli_n_options; i++) {
        const struct cli_option *own = &cli_options[i];
        if (!cli_takes_own(command, own))
            continue;
        if (own->placeholder != NULL)
            zsh_option(own->name, own->placeholder, own->help,
                       kind_of(own->placeholder, own->choices), own->choices,
                       own->bit == CLI_VERSUS);
        else
            zsh_switch("", own->name, "--", own->help);
    }
    zsh_arguments(command);
    puts("\n            ;;");
}

static void print_zsh(void) {
    puts("#compdef bitprop\n"
         "# Completion of bitprop for zsh, made by 'bitprop completion zsh'.\n\n"
         "_bitprop() {\n"
         "    local context state line\n"
         "    typeset -A opt_args\n"
         "    local -a commands=(");
    for (int i = 0; i < cli_n_commands; i++) {
        printf("        '%s:", cli_commands[i].name);
        zsh_text(cli_commands[i].summary);
        puts("'");
    }
    puts("    )\n"
         "    _arguments -C '(- *)--version[print the version]' '(- *)--help[list the commands]' "
         "\\\n"
         "        '1:command:->command' '*::argument:->argument'\n"
         "    case $state in\n"
         "    command)\n"
         "        _describe command commands\n"
         "        ;;\n"
         "    argument)\n"
         "        case $words[1] in\n"
         "        help)\n"
         "            _describe command commands\n"
         "            ;;");
    for (int i = 0; i < cli_n_commands; i++)
        zsh_command(&cli_commands[i]);
    puts("        esac\n"
         "        ;;\n"
         "    esac\n"
         "}\n\n"
         "if [[ $funcstack[1] == _bitprop ]]; then\n"
         "    _bitprop \"$@\"\n"
         "else\n"
         "    compdef _bitprop bitprop\n"
         "fi");
}

int cli_completion(struct cli_args *args) {
    const char *shell = args->positional[0];
    if (strcmp(shell, "bash") == 0)
        print_bash();
    else if (strcmp(shell, "zsh") == 0)
        print_zsh();
    else
        return cli_fail(BP_USAGE, "no completion for '%s'; use bash or zsh", shell);
    return 0;
}
