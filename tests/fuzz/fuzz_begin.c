/* Any bytes as what a run folder says about its begin: the first one picks the reader, of init.json
 * or of data.json. Refused in one line, or read into something that can be compared. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "train/begin_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

static void check_failure(bp_status status) {
    const char *message = bp_status_message();
    if ((status != BP_MODEL && status != BP_RESOURCE) || message[0] == 0 || strchr(message, '\n'))
        abort();
}

static void check_hash(const char *hash, int may_be_empty) {
    size_t digits = strspn(hash, "0123456789abcdef");
    if (hash[digits] != 0 || (digits != BP_HASH_DIGITS && !(may_be_empty && digits == 0)))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
    char content[BP_HASH_DIGITS + 1];
    struct bp_data_record record;
    if (count == 0)
        return 0;
    const char *text = (const char *)bytes + 1;
    bp_status status;
    if (bytes[0] == 'i') {
        status = bp_init_record_parse(text, count - 1, "fuzz", content);
        if (status == BP_OK)
            check_hash(content, 0);
    } else {
        status = bp_data_record_parse(text, count - 1, "fuzz", &record);
        if (status == BP_OK)
            check_hash(record.fingerprint, 1);
    }
    if (status != BP_OK)
        check_failure(status);
    return 0;
}
