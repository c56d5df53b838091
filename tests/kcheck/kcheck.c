/* The program: options, the runs over kernels, versions and cases. */
#include "kcheck/kcheck.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXIT_SKIPPED 77 /* CTest's SKIP_RETURN_CODE */

/* One test per kernel: a kernel without a test does not link. */
#define BP_KERNEL(name) kc_test kcheck_##name;
#include "kernels/kernels.def"
#undef BP_KERNEL

static kc_test *const tests[] = {
#define BP_KERNEL(name) kcheck_##name,
#include "kernels/kernels.def"
#undef BP_KERNEL
};

struct options {
    const char *kernel, *tier, *shapes;
    uint64_t seed;
    long single_case;
    int entry_max;
    int quick, no_guards, self_test, list, bench, peak;
};

unsigned kc_cases_count(void) {
    return KC_CASES_DRAWN + (unsigned)kc_layers_count;
}

static struct kc_version *version_now(struct kcheck *t) {
    return &t->versions[t->position / KC_PLACEMENTS];
}

size_t kc_versions_left(const struct kcheck *t) {
    size_t left = 0;
    for (size_t i = 0; i < t->n_versions; i++)
        left += !t->versions[i].failed;
    return left;
}

void kc_fail(struct kcheck *t, const char *format, ...) {
    struct kc_version *version = version_now(t);
    version->failed = 1;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(t->failure, sizeof t->failure, format, arguments);
    va_end(arguments);
    if (t->quiet)
        return;
    printf("FAILED %s, tier %s: %s\n", t->kernel_name, version->label, t->failure);
    printf("  case %u: %s\n  content: %s; buffers %s\n", t->case_index, t->params, t->patterns,
           t->position % KC_PLACEMENTS == KC_ENDS_AT_GUARD ? "end at a guard page"
                                                           : "begin at a guard page");
    printf("  again: kcheck --kernel %s --tier %s --seed %llu --case %u\n", t->kernel_name,
           version->label, (unsigned long long)t->seed, t->case_index);
}

size_t kc_together(struct kcheck *t, int also_one) {
    t->by_together = 1;
    t->also_one = also_one;
    return t->together;
}

int kc_takes_part(const struct kcheck *t, size_t index) {
    const struct kc_version *version = &t->versions[index];
    if (version->failed)
        return 0;
    return !t->by_together || version->kernels.together == t->together ||
           (!t->is_bench && (version->tier == BP_TIER_C || (t->also_one && t->together == 1)));
}

int kc_next(struct kcheck *t) {
    if (t->is_bench)
        return kc_bench_next(t);
    if (t->in_call) {
        t->in_call = 0;
        kc_check_buffers(t);
        t->position++;
    }
    while (t->position < t->n_versions * KC_PLACEMENTS &&
           !kc_takes_part(t, t->position / KC_PLACEMENTS))
        t->position++;
    if (t->position >= t->n_versions * KC_PLACEMENTS)
        return 0;
    kc_place_buffers(t, (enum kc_placement)(t->position % KC_PLACEMENTS));
    t->kernels = &version_now(t)->kernels;
    t->in_call = 1;
    return 1;
}

/* --- faults ----------------------------------------------------------------------------------- */

static struct kcheck *catcher;

/* Faults come from the kernel's own instructions, so that printing from here is safe. */
static void on_fault(int number, siginfo_t *info, void *context) {
    (void)context;
    struct kcheck *t = catcher;
    if (t == NULL || !t->in_call) { /* the checker's own fault: let it happen */
        signal(number, SIG_DFL);
        return;
    }
    t->in_call = 0;
    char where[128];
    kc_describe_address(t, info->si_addr, where, sizeof where);
    kc_fail(t, "%s, %s", number == SIGILL ? "illegal instruction" : "memory fault", where);
    siglongjmp(t->jump, 1);
}

void kc_catch_faults(struct kcheck *t) {
    catcher = t;
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
    sigaction(SIGILL, &action, NULL);
}

/* 1: ran to its end, 0: a kernel faulted. */
static int run_test(struct kcheck *t, kc_test *test) {
    if (sigsetjmp(t->jump, 1) != 0)
        return 0;
    test(t);
    return 1;
}

/* Every case has its own random numbers, so that one case can be run alone. */
static uint64_t case_seed(const struct kcheck *t) {
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a */
    for (const char *p = t->kernel_name; *p; p++)
        hash = (hash ^ (unsigned char)*p) * 0x100000001b3u;
    return hash ^ t->seed * 0x9E3779B97F4A7C15u ^ (uint64_t)t->case_index << 40;
}

void kc_run_case(struct kcheck *t, size_t kernel, unsigned case_index) {
    t->kernel_name = bp_kernels_name(kernel);
    t->case_index = case_index;
    if (!t->is_bench)
        t->layer = case_index >= KC_CASES_DRAWN ? &kc_layers[case_index - KC_CASES_DRAWN] : NULL;
    int finished = 0;
    t->together = 1;
    t->by_together = t->also_one = 0;
    while (!finished && kc_versions_left(t) > 0) { /* again without the version that faulted */
        t->random = case_seed(t);
        t->n_buffers = t->position = 0;
        t->params[0] = t->patterns[0] = 0;
        finished = run_test(t, tests[kernel]);
        if (finished && t->by_together && t->together == 1) {
            t->together = 4;
            finished = 0;
        }
    }
}

/* --- runs ------------------------------------------------------------------------------------- */

struct tally {
    unsigned passed, failed;
};

static int is_empty(const struct bp_kernels *kernels, size_t i) {
    static const unsigned char zeros[sizeof(void (*)(void))];
    return memcmp((const char *)kernels + i * sizeof zeros, zeros, sizeof zeros) == 0;
}

/* The versions of one kernel: each tier that has its own. */
static void choose_versions(struct kcheck *t, const struct options *o, size_t kernel) {
    t->n_versions = 0;
    for (int tier = BP_TIER_C; tier < BP_TIER_COUNT; tier++) {
        if (!bp_cpu_has((enum bp_tier)tier) ||
            (o->tier != NULL && strcmp(o->tier, bp_tier_name((enum bp_tier)tier)) != 0))
            continue;
        struct kc_version *version = &t->versions[t->n_versions];
        bp_kernels_init(&version->kernels, (enum bp_tier)tier);
        version->tier = (enum bp_tier)tier;
        version->label = bp_tier_name(version->tier);
        version->failed = 0;
        if (version->kernels.tier[kernel] == version->tier)
            t->n_versions++;
    }
}

static void run_cases(struct kcheck *t, const struct options *o, size_t kernel) {
    if (o->single_case >= 0) {
        kc_run_case(t, kernel, (unsigned)o->single_case);
        return;
    }
    /* A step of 7 meets all remainders of 8, 16 and 64 within the sweeps. */
    for (unsigned i = 0; i < kc_cases_count() && kc_versions_left(t) > 0; i += o->quick ? 7 : 1)
        kc_run_case(t, kernel, i);
}

static struct tally run_all(struct kcheck *t, const struct options *o) {
    struct tally tally = {0, 0};
    for (size_t kernel = 0; kernel < bp_kernels_count(); kernel++) {
        if (o->kernel != NULL && strcmp(o->kernel, bp_kernels_name(kernel)) != 0)
            continue;
        choose_versions(t, o, kernel);
        for (size_t i = 0; i < t->n_versions; i++)
            if (is_empty(&t->versions[i].kernels, kernel)) {
                printf("FAILED %s, tier %s: the table has no such kernel\n",
                       bp_kernels_name(kernel), t->versions[i].label);
                t->versions[i].failed = 1;
            }
        run_cases(t, o, kernel);
        for (size_t i = 0; i < t->n_versions; i++) {
            tally.passed += !t->versions[i].failed;
            tally.failed += t->versions[i].failed != 0;
        }
    }
    return tally;
}

static void list_kernels(void) {
    struct bp_kernels kernels;
    bp_kernels_init(&kernels, bp_cpu_best());
    for (size_t i = 0; i < bp_kernels_count(); i++)
        printf("%-18s %s\n", bp_kernels_name(i), bp_tier_name(kernels.tier[i]));
}

static int run_bench(struct kcheck *t, const struct options *o) {
    static struct kc_layer layers[256];
    const struct kc_layer *list = kc_layers;
    long count = (long)kc_layers_count;
    if (o->shapes != NULL) {
        count = kc_layers_read(o->shapes, layers, sizeof layers / sizeof layers[0]);
        list = layers;
    }
    if (count < 0)
        return 2;
    printf("%-18s %-16s %-7s %12s %20s %8s\n", "kernel", "layer", "tier", "ns", "rate", "vs c");
    for (size_t kernel = 0; kernel < bp_kernels_count(); kernel++) {
        if (o->kernel != NULL && strcmp(o->kernel, bp_kernels_name(kernel)) != 0)
            continue;
        choose_versions(t, o, kernel);
        if (t->n_versions > 0)
            kc_bench_run(t, kernel, list, (size_t)count);
    }
    return 0;
}

/* --- options ---------------------------------------------------------------------------------- */

static const char usage[] =
    "usage: kcheck [--kernel NAME] [--tier c|avx2|avx512|amx|neon] [--seed N] [--case N]\n"
    "              [--quick] [--no-guards]\n"
    "       kcheck --self-test | --list\n"
    "       kcheck --bench [--shapes FILE] [--kernel NAME] [--tier NAME]\n"
    "              [--entry-max 1..255]  largest entry of the tables of product_tables, _samples\n"
    "              [--peak]              products: share of a loop on registers alone\n"
    "exit: 0 passed, 1 failed, 2 usage, 77 the tier is not here\n";

static int read_number(const char *text, uint64_t *out) {
    char *end;
    *out = strtoull(text, &end, 0);
    return *text >= '0' && *text <= '9' && *end == 0;
}

static int read_options(int argc, char **argv, struct options *o) {
    uint64_t number;
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        int *flag = strcmp(name, "--quick") == 0       ? &o->quick
                    : strcmp(name, "--self-test") == 0 ? &o->self_test
                    : strcmp(name, "--no-guards") == 0 ? &o->no_guards
                    : strcmp(name, "--list") == 0      ? &o->list
                    : strcmp(name, "--bench") == 0     ? &o->bench
                    : strcmp(name, "--peak") == 0      ? &o->peak
                                                       : NULL;
        if (flag != NULL) {
            *flag = 1;
            continue;
        }
        i++;
        if (value == NULL)
            return 0;
        if (strcmp(name, "--kernel") == 0)
            o->kernel = value;
        else if (strcmp(name, "--tier") == 0)
            o->tier = value;
        else if (strcmp(name, "--shapes") == 0)
            o->shapes = value;
        else if (strcmp(name, "--seed") == 0 && read_number(value, &o->seed))
            continue;
        else if (strcmp(name, "--case") == 0 && read_number(value, &number) &&
                 number < kc_cases_count())
            o->single_case = (long)number;
        else if (strcmp(name, "--entry-max") == 0 && read_number(value, &number) && number >= 1 &&
                 number <= 255)
            o->entry_max = (int)number;
        else
            return 0;
    }
    return 1;
}

static int is_kernel(const char *name) {
    for (size_t i = 0; i < bp_kernels_count(); i++)
        if (strcmp(name, bp_kernels_name(i)) == 0)
            return 1;
    return 0;
}

/* 0: the tier can be tested here, else the exit status. */
static int check_tier(const char *name) {
    for (int tier = 0; tier < BP_TIER_COUNT; tier++) {
        if (strcmp(name, bp_tier_name((enum bp_tier)tier)) != 0)
            continue;
        if (!bp_cpu_has((enum bp_tier)tier)) {
            printf("skipped: this machine cannot run the tier %s (%s)\n", name, bp_cpu_model());
            return EXIT_SKIPPED;
        }
        struct bp_kernels kernels;
        bp_kernels_init(&kernels, (enum bp_tier)tier);
        for (size_t i = 0; i < bp_kernels_count(); i++)
            if (kernels.tier[i] == (enum bp_tier)tier)
                return 0;
        printf("skipped: this build has no kernel of the tier %s\n", name);
        return EXIT_SKIPPED;
    }
    fprintf(stderr, "kcheck: unknown tier '%s'\n", name);
    return 2;
}

int main(int argc, char **argv) {
    static struct kcheck t;
    static struct bp_kernels reference;
    struct options o = {.seed = 1, .single_case = -1, .entry_max = 60};
    if (!read_options(argc, argv, &o)) {
        fputs(usage, stderr);
        return 2;
    }
    if (o.kernel != NULL && !is_kernel(o.kernel)) {
        fprintf(stderr, "kcheck: no kernel is called '%s'; see kcheck --list\n", o.kernel);
        return 2;
    }
    int status = o.tier != NULL ? check_tier(o.tier) : 0;
    if (status != 0)
        return status;
    if (o.list) {
        list_kernels();
        return 0;
    }
    bp_kernels_init(&reference, BP_TIER_C);
    t.reference = &reference;
    t.seed = o.seed;
    t.entry_max = o.entry_max;
    t.no_guards = o.no_guards;
    setvbuf(stdout, NULL, _IOLBF, 0);
    t.bench.with_peak = o.peak;
    if (o.bench) {
        status = run_bench(&t, &o);
    } else {
        printf("kcheck: seed %llu, %s\n", (unsigned long long)o.seed, bp_cpu_model());
        kc_catch_faults(&t);
        struct tally tally = {0, 0};
        if (o.self_test)
            kc_self_test(&t, &tally.passed, &tally.failed);
        else
            tally = run_all(&t, &o);
        printf("%u passed, %u failed\n", tally.passed, tally.failed);
        status = tally.failed > 0 || tally.passed == 0;
    }
    kc_free_buffers(&t);
    return status;
}
