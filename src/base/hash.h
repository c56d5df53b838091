/* A hash of 128 bits to find equal contents by. It is fast and spreads well, but it is no secret:
 * where it decides something, compare the contents too. */
#ifndef BP_BASE_HASH_H
#define BP_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct bp_hash {
    uint64_t words[2];
};

/* The same on every machine. */
struct bp_hash bp_hash_bytes(const uint8_t *bytes, size_t count);

/* -1, 0 or 1, for sorting. */
int bp_hash_compare(const struct bp_hash *a, const struct bp_hash *b);

#ifdef __cplusplus
}
#endif
#endif
