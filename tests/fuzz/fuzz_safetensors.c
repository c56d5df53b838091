/* Any bytes as a checkpoint: refused or read, without a fault; and what was read can be touched. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "io/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
    struct bp_safetensors *file;
    bp_status status = bp_safetensors_parse(&file, bytes, count, "fuzz");
    if (status != BP_OK) {
        if (status != BP_MODEL || file != NULL || bp_status_message()[0] == 0)
            abort();
        return 0;
    }
    size_t total = 0;
    volatile uint8_t sum = 0;
    for (size_t i = 0; i < bp_safetensors_count(file); i++) {
        const struct bp_saved_tensor *tensor = bp_safetensors_at(file, i);
        if ((uintptr_t)tensor->data % bp_dtype_bytes(tensor->dtype) != 0 ||
            bp_safetensors_find(file, tensor->name) == NULL)
            abort();
        for (size_t b = 0; b < tensor->bytes; b++)
            sum = (uint8_t)(sum ^ ((const uint8_t *)tensor->data)[b]);
        total += tensor->bytes;
    }
    if (total > count)
        abort(); /* a byte was used twice */
    (void)bp_safetensors_text(file, "format");
    bp_safetensors_close(file);
    return 0;
}
