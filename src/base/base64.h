/* Base64 (RFC 4648), for bytes inside JSON and HTML. */
#ifndef BP_BASE_BASE64_H
#define BP_BASE_BASE64_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* *text is the caller's (bp_free). */
bp_status bp_base64_encode(const uint8_t *bytes, size_t count, char **text);

/* 1 if `text` is Base64 with its padding, and not empty: it cannot end an HTML attribute. */
int bp_base64_is_valid(const char *text);

#ifdef __cplusplus
}
#endif
#endif
