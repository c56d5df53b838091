/* UTF-8, as far as writers of text need it. */
#ifndef BP_BASE_UTF8_H
#define BP_BASE_UTF8_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* U+FFFD, which stands for bytes that are not UTF-8. */
#define BP_UTF8_REPLACEMENT "\xef\xbf\xbd"

/* Length of the valid UTF-8 sequence at `text` (ended by a zero byte), 0 if there is none. */
size_t bp_utf8_length(const char *text);

#ifdef __cplusplus
}
#endif
#endif
