#include "kernels/kernels.h"

#include <assert.h>
#include <string.h>

static const char *const names[] = {
#define BP_KERNEL(name) #name,
#include "kernels/kernels.def"
#undef BP_KERNEL
};

#define KERNEL_COUNT (sizeof names / sizeof names[0])

typedef void any_function(void);

/* The table without its list of tiers is nothing but function pointers, one per name. */
_Static_assert(offsetof(struct bp_kernels, tier) == KERNEL_COUNT * sizeof(any_function *),
               "kernels.def and struct bp_kernels differ");
enum {
#define BP_KERNEL(name) AT_##name,
#include "kernels/kernels.def"
#undef BP_KERNEL
};
#define BP_KERNEL(name)                                                                            \
    _Static_assert(offsetof(struct bp_kernels, name) == AT_##name * sizeof(any_function *),        \
                   "kernels.def: another order than struct bp_kernels");
#include "kernels/kernels.def"
#undef BP_KERNEL
_Static_assert(KERNEL_COUNT <= sizeof((struct bp_kernels *)0)->tier / sizeof(enum bp_tier),
               "struct bp_kernels.tier is too short");

size_t bp_kernels_count(void) {
    return KERNEL_COUNT;
}

const char *bp_kernels_name(size_t index) {
    return names[index];
}

static void call_init(struct bp_kernels *kernels, enum bp_tier tier) {
    switch (tier) {
#if defined(BP_KERNELS_X86)
    case BP_TIER_AVX2:
        bp_kernels_init_avx2(kernels);
        break;
    case BP_TIER_AVX512:
        bp_kernels_init_avx512(kernels);
        break;
#if defined(BP_HAVE_AMX)
    case BP_TIER_AMX:
        bp_kernels_init_amx(kernels);
        break;
#endif
#elif defined(BP_KERNELS_ARM)
    case BP_TIER_NEON:
        bp_kernels_init_neon(kernels);
        break;
#endif
    default:
        (void)kernels;
        break;
    }
}

/* The i-th entry of two tables: are they the same function? Compared as bytes, since the fields
 * have different types. */
static int same_entry(const struct bp_kernels *a, const struct bp_kernels *b, size_t i) {
    const size_t bytes = sizeof(any_function *);
    return memcmp((const char *)a + i * bytes, (const char *)b + i * bytes, bytes) == 0;
}

void bp_kernels_init(struct bp_kernels *kernels, enum bp_tier tier) {
    const struct bp_kernels empty = {0};
    *kernels = empty;
    bp_kernels_init_c(kernels);
    for (size_t i = 0; i < KERNEL_COUNT; i++)
        assert(!same_entry(kernels, &empty, i));
    for (int t = BP_TIER_AVX2; t <= (int)tier; t++) {
        struct bp_kernels before = *kernels;
        call_init(kernels, (enum bp_tier)t);
        for (size_t i = 0; i < KERNEL_COUNT; i++)
            if (!same_entry(kernels, &before, i))
                kernels->tier[i] = (enum bp_tier)t;
    }
}
