#define _DEFAULT_SOURCE /* syscall, _SC_LEVEL3_CACHE_SIZE */
#include "base/cpu.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#endif

static uint64_t os_register_state(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static int has_all(uint32_t value, uint32_t mask) {
    return (value & mask) == mask;
}

/* The tiles' registers are large, so that a process has to ask for them: for all its threads. */
static int may_use_tiles(void) {
#if defined(BP_HAVE_AMX) && defined(__linux__) && defined(SYS_arch_prctl)
    const long request = 0x1023, tile_data = 18; /* ARCH_REQ_XCOMP_PERM of the kernel's interface */
    return syscall(SYS_arch_prctl, request, tile_data) == 0;
#else
    return 0;
#endif
}

static enum bp_tier probe(void) {
    uint32_t a, b, c, d, b7, c7, d7;
    if (!__get_cpuid(1, &a, &b, &c, &d))
        return BP_TIER_C;
    const uint32_t fma = 1u << 12, popcnt = 1u << 23, osxsave = 1u << 27, avx = 1u << 28;
    const uint32_t f16c = 1u << 29;
    if (!has_all(c, fma | popcnt | osxsave | avx | f16c) ||
        !__get_cpuid_count(7, 0, &a, &b7, &c7, &d7))
        return BP_TIER_C;
    uint64_t state = os_register_state();
    const uint32_t bmi1 = 1u << 3, avx2 = 1u << 5, bmi2 = 1u << 8;
    if ((state & 0x6) != 0x6 || !has_all(b7, bmi1 | avx2 | bmi2))
        return BP_TIER_C;
    const uint32_t avx512_b = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31; /* F DQ BW VL */
    /* VBMI VBMI2 VNNI BITALG VPOPCNTDQ */
    const uint32_t avx512_c = 1u << 1 | 1u << 6 | 1u << 11 | 1u << 12 | 1u << 14;
    if ((state & 0xe6) != 0xe6 || !has_all(b7, avx512_b) || !has_all(c7, avx512_c))
        return BP_TIER_AVX2;
    const uint32_t amx = 1u << 22 | 1u << 24 | 1u << 25; /* BF16 TILE INT8 */
    if ((state & 0x60000) != 0x60000 || !has_all(d7, amx) || !may_use_tiles())
        return BP_TIER_AVX512;
    return BP_TIER_AMX;
}

int bp_cpu_has(enum bp_tier tier) {
    return tier <= probe() && tier < BP_TIER_NEON;
}

int bp_cpu_has_aes(int wide) {
    uint32_t a, b, c, d, c7;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !__get_cpuid_count(7, 0, &a, &b, &c7, &d))
        return 0;
    const uint32_t aes = 1u << 25, vaes = 1u << 9;
    return wide ? has_all(c7, vaes) : has_all(c, aes);
}

int bp_cpu_has_fast_bf16(void) {
    const uint32_t avx512_bf16 = 1u << 5;
    uint32_t a, b, c, d;
    if (!__get_cpuid_count(7, 1, &a, &b, &c, &d) || !has_all(a, avx512_bf16))
        return 0;
    return __get_cpuid(0, &a, &b, &c, &d) && b == signature_AMD_ebx;
}

#elif defined(__aarch64__)

#if defined(__linux__)
#include <sys/auxv.h>

int bp_cpu_has_aes(int wide) {
    const unsigned long aes = 1ul << 3; /* HWCAP_AES */
    return !wide && (getauxval(AT_HWCAP) & aes) != 0;
}

static enum bp_tier probe(void) {
    const unsigned long asimd = 1ul << 1; /* HWCAP_ASIMD of the kernel's interface */
    return (getauxval(AT_HWCAP) & asimd) != 0 ? BP_TIER_NEON : BP_TIER_C;
}
#else
int bp_cpu_has_aes(int wide) {
    return !wide; /* as all processors of Apple's */
}

static enum bp_tier probe(void) {
    return BP_TIER_NEON; /* systems other than Linux demand Advanced SIMD */
}
#endif

int bp_cpu_has(enum bp_tier tier) {
    return tier == BP_TIER_C || (tier == BP_TIER_NEON && probe() == BP_TIER_NEON);
}

#else

int bp_cpu_has_aes(int wide) {
    (void)wide;
    return 0;
}

static enum bp_tier probe(void) {
    return BP_TIER_C;
}

int bp_cpu_has(enum bp_tier tier) {
    return tier == BP_TIER_C;
}

#endif

#if !defined(__x86_64__)
int bp_cpu_has_fast_bf16(void) {
    return 0;
}
#endif

enum bp_tier bp_cpu_best(void) {
    return probe();
}

static const char *const tier_names[BP_TIER_COUNT] = {"c", "avx2", "avx512", "amx", "neon"};

const char *bp_tier_name(enum bp_tier tier) {
    return (unsigned)tier < BP_TIER_COUNT ? tier_names[tier] : "?";
}

bp_status bp_tier_parse(const char *name, enum bp_tier *out) {
    if (name == NULL || strcmp(name, "auto") == 0) {
        *out = bp_cpu_best();
        return BP_OK;
    }
    for (int i = 0; i < BP_TIER_COUNT; i++) {
        if (strcmp(name, tier_names[i]) != 0)
            continue;
        if (!bp_cpu_has((enum bp_tier)i))
            return bp_fail(BP_USAGE,
                           "cpu tier '%s' is not available on this machine; its best is '%s'", name,
                           bp_tier_name(bp_cpu_best()));
        *out = (enum bp_tier)i;
        return BP_OK;
    }
    return bp_fail(BP_USAGE, "unknown cpu tier '%s'; use auto, c, avx2, avx512, amx or neon", name);
}

size_t bp_cpu_last_cache(void) {
    long bytes = 0;
#ifdef _SC_LEVEL3_CACHE_SIZE
    bytes = sysconf(_SC_LEVEL3_CACHE_SIZE);
#endif
    return bytes > 0 ? (size_t)bytes : (size_t)32 << 20;
}

/* The text behind "key : " where the line begins with that key, else NULL. */
static char *value_of(char *line, const char *key) {
    const size_t length = strlen(key);
    if (strncmp(line, key, length) != 0)
        return NULL;
    char *value = line + length + strspn(line + length, " \t");
    if (*value != ':')
        return NULL;
    value += strspn(value, ": \t");
    value[strcspn(value, "\n")] = 0;
    return value;
}

const char *bp_cpu_model_in(const char *path) {
    static _Thread_local char model[128];
    char line[256], implementer[32] = "", *value;
    FILE *file = fopen(path, "r");
    snprintf(model, sizeof model, "unknown");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if ((value = value_of(line, "model name")) != NULL) {
            snprintf(model, sizeof model, "%.127s", value);
            break;
        }
        /* ARM tells numbers only; the first processor stands for all. */
        if ((value = value_of(line, "CPU implementer")) != NULL)
            snprintf(implementer, sizeof implementer, "%.31s", value);
        if ((value = value_of(line, "CPU part")) != NULL) {
            snprintf(model, sizeof model, "ARM implementer %s, part %.31s", implementer, value);
            break;
        }
    }
    if (file != NULL)
        fclose(file);
    return model;
}

const char *bp_cpu_model(void) {
    return bp_cpu_model_in("/proc/cpuinfo");
}
