/* doctor: what this machine is, what it may use, and whether its kernels compute what they should.
 */
#include "cli/cli.h"

#include <stdio.h>

static void print_limits_json(const bp_system_info *s) {
    printf(
        ", \"threads\": %d, \"processors\": %d, \"processors_online\": %d, \"processor_limit\": ",
        s->threads, s->processors, s->processors_online);
    if (s->processor_limit > 0)
        printf("%.6g", s->processor_limit);
    else
        fputs("null", stdout);
    printf(", \"memory_mb\": %.1f, \"memory_limit_mb\": ", (double)s->memory_bytes / 1e6);
    if (s->memory_limit > 0)
        printf("%.1f", (double)s->memory_limit / 1e6);
    else
        fputs("null", stdout);
}

static void print_json(const bp_system_info *s, const bp_self_test_result *test, bp_status status) {
    const struct {
        const char *key, *text;
    } texts[] = {{"version", s->version}, {"commit", s->commit},       {"compiler", s->compiler},
                 {"cpu", s->cpu},         {"best_tier", s->best_tier}, {"fp32", s->fp32},
                 {"zlib", s->zlib},       {"jansson", s->jansson}};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        printf("%s\"%s\": ", i == 0 ? "{" : ", ", texts[i].key);
        cli_print_json_text(texts[i].text);
    }
    print_limits_json(s);
    fputs(", \"kernels\": {", stdout);
    const char *kernel, *tier;
    for (size_t i = 0; bp_kernel_at(i, "auto", &kernel, &tier); i++)
        printf("%s\"%s\": \"%s\"", i == 0 ? "" : ", ", kernel, tier);
    printf("}, \"self_test\": {\"ok\": %s, \"networks\": %zu, \"seconds\": %.3f, \"tiers\": [",
           status == BP_OK ? "true" : "false", test->networks, test->seconds);
    for (size_t i = 0; i < test->n_tiers; i++) {
        const bp_self_test_tier *t = &test->tiers[i];
        printf("%s{\"tier\": \"%s\", \"present\": %s, \"ok\": %s, \"difference\": ",
               i == 0 ? "" : ", ", t->tier, t->present ? "true" : "false",
               !t->present          ? "null"
               : t->status == BP_OK ? "true"
                                    : "false");
        cli_print_json_text(t->difference);
        putchar('}');
    }
    puts("]}}");
}

static void print_limits(const bp_system_info *s) {
    if (s->processor_limit <= 0 && s->memory_limit == 0) {
        puts("container  no limit on time or memory");
        return;
    }
    fputs("container  allows", stdout);
    if (s->processor_limit > 0)
        printf(" the time of %.3g processors", s->processor_limit);
    if (s->memory_limit > 0)
        printf("%s %.1f GB of memory", s->processor_limit > 0 ? " and" : "",
               (double)s->memory_limit / 1e9);
    putchar('\n');
}

static void print_machine(const bp_system_info *s) {
    printf("bitprop %s%s%s, %s\n", s->version, s->commit[0] ? ", commit " : "", s->commit,
           s->compiler);
    printf("processor  %s\n", s->cpu);
    if (s->threads < s->processors)
        printf("threads    %d: the container allows no more time, of %d processors\n", s->threads,
               s->processors);
    else if (s->processors < s->processors_online)
        printf("threads    %d: this process may use %d of %d processors\n", s->processors,
               s->processors, s->processors_online);
    else
        printf("threads    %d, one per processor\n", s->processors);
    printf("memory     %.1f GB\n", (double)s->memory_bytes / 1e9);
    print_limits(s);
    printf("float      %s\n", s->fp32);
    printf("libraries  zlib %s, jansson %s\n", s->zlib, s->jansson);
    const char *kernel, *tier;
    for (size_t i = 0; bp_kernel_at(i, "auto", &kernel, &tier); i++)
        printf("kernel     %-20s %s\n", kernel, tier);
}

static void print_tiers(const bp_self_test_result *test) {
    for (size_t i = 0; i < test->n_tiers; i++) {
        const bp_self_test_tier *t = &test->tiers[i];
        const char *verdict = !t->present          ? "not on this machine"
                              : t->status == BP_OK ? "ok"
                                                   : "WRONG: ";
        printf("tier       %-8s %s%s\n", t->tier, verdict, t->difference);
    }
    printf("self-test  %zu small networks trained on each tier with 1 and 2 threads, %.1f s\n",
           test->networks, test->seconds);
}

int cli_doctor(struct cli_args *args) {
    static bp_self_test_result test;
    bp_system_info system;
    bp_system(&system);
    if (!args->json) {
        print_machine(&system);
        fflush(stdout); /* the rest takes seconds */
    }
    bp_status status = bp_self_test(&test);
    if (status != BP_OK && status != BP_CHECK)
        return cli_report(status);
    if (args->json)
        print_json(&system, &test, status);
    else
        print_tiers(&test);
    return cli_report(status);
}
