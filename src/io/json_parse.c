#include "io/json_parse.h"

#include <jansson.h>

#include "base/memory.h"

/* More than jansson takes: each value and key has its own blocks, and the text is copied. */
static size_t bytes_needed(const char *text, size_t count) {
    enum { FIXED = 1 << 16, EACH = 160, COPIES = 4 };
    size_t values = 1;
    for (size_t i = 0; i < count; i++)
        values += text[i] == ',' || text[i] == ':' || text[i] == '{' || text[i] == '[';
    return FIXED + EACH * values + COPIES * count;
}

/* Jansson does not bear to run out of memory in the middle of a token: it ends the process
 * (lex_unget_unsave), or calls the text wrong. So it begins only where there is enough. */
bp_status bp_json_parse(json_t **root, const char *text, size_t count, const char *name,
                        json_error_t *error) {
    void *reserve;
    *root = NULL;
    BP_TRY(bp_alloc(&reserve, bytes_needed(text, count), name));
    bp_free(reserve);
    *root = json_loadb(text, count, JSON_REJECT_DUPLICATES, error);
    if (*root != NULL)
        return BP_OK;
    if (json_error_code(error) == json_error_out_of_memory || error->text[0] == 0)
        return bp_fail(BP_RESOURCE, "out of memory reading %s; close other programs", name);
    return BP_DATA;
}
