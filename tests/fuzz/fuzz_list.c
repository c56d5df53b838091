/* List files, line by line. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "data/dataset_format.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
    char *text = malloc(count + 1), *fields[BP_LIST_FIELDS];
    size_t n_fields;
    if (text == NULL)
        abort();
    if (count > 0)
        memcpy(text, bytes, count);
    for (size_t offset = 0, line = 1; offset < count; line++) {
        size_t before = offset;
        bp_status status =
            bp_list_parse_line(text, count, &offset, "input", line, fields, &n_fields);
        if (offset <= before || offset > count || n_fields > BP_LIST_FIELDS)
            abort();
        for (size_t i = 0; status == BP_OK && i < n_fields; i++)
            if (fields[i] < text || fields[i] + strlen(fields[i]) > text + offset)
                abort();
        if (status != BP_OK)
            break;
    }
    free(text);
    return 0;
}
