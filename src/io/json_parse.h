/* Parsing JSON, with memory that ran out told apart from a text that is wrong. */
#ifndef BP_IO_JSON_PARSE_H
#define BP_IO_JSON_PARSE_H

#include <stddef.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

struct json_t; /* jansson.h */
struct json_error_t;

/* Parses `count` bytes; no key may stand twice. BP_OK: *root (json_decref it). BP_RESOURCE: out of
 * memory reading `name`. BP_DATA: not valid JSON; *error says where, and the message is left to the
 * caller, who knows what the text was. */
bp_status bp_json_parse(struct json_t **root, const char *text, size_t count, const char *name,
                        struct json_error_t *error);

#ifdef __cplusplus
}
#endif
#endif
