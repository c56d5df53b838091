/* Readers of what a run folder says about the run's begin: data.json, init.json, settings.json.
 * They take text from memory, so that any bytes can be tried (tests/fuzz). docs/FORMATS.md has the
 * formats. */
#ifndef BP_TRAIN_BEGIN_RECORD_H
#define BP_TRAIN_BEGIN_RECORD_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { BP_HASH_DIGITS = 16 }; /* hexadecimal */
enum { BP_TIME_BYTES = 64 };  /* of a time as --time takes it */

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

/* The time of --time that a run's steps were fitted to, from the text of settings.json: "30m", or
 * "" where there was none or nothing sensible is said. */
void bp_settings_record_time(const char *text, size_t count, char time[BP_TIME_BYTES]);

#ifdef __cplusplus
}
#endif
#endif
