/* FNV-1a, 64 bits: tells contents apart that differ by accident, piece by
 * piece; for whole contents base/hash.h is faster. */
#ifndef BP_BASE_FNV_H
#define BP_BASE_FNV_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BP_FNV_BEGIN UINT64_C(0xcbf29ce484222325)

/* The hash of what `hash` stands for, and these bytes behind it. */
static inline uint64_t bp_fnv(uint64_t hash, const void *bytes, size_t count) {
    const uint8_t *at = (const uint8_t *)bytes;
    for (size_t i = 0; i < count; i++)
        hash = (hash ^ at[i]) * UINT64_C(0x100000001b3);
    return hash;
}

#ifdef __cplusplus
}
#endif
#endif
