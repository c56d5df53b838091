/* Readers of what a run folder says about the run's begin: data.json and init.json. They take text
 * from memory, so that any bytes can be tried (tests/fuzz). docs/FORMATS.md has the formats. */
#ifndef BP_TRAIN_BEGIN_RECORD_H
#define BP_TRAIN_BEGIN_RECORD_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { BP_HASH_DIGITS = 16 }; /* hexadecimal */

struct bp_data_record {
    char kind[16];                        /* "folder"; "" where it is not said */
    int64_t train, val, classes;          /* 0 where nothing sensible is said */
    char fingerprint[BP_HASH_DIGITS + 1]; /* likewise "" */
};

/* Failures are BP_MODEL; `name` is the file's for messages. */
bp_status bp_data_record_parse(const char *text, size_t count, const char *name,
                               struct bp_data_record *out);

/* The content that init.json tells. */
bp_status bp_init_record_parse(const char *text, size_t count, const char *name,
                               char content[BP_HASH_DIGITS + 1]);

#ifdef __cplusplus
}
#endif
#endif
