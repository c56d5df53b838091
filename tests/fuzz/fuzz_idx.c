/* IDX files, plain and gzipped, as labels and as images. */
#include <stdint.h>
#include <stdlib.h>

#include "base/memory.h"
#include "data/dataset_format.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

static volatile uint8_t sink;

/* What was accepted must hold exactly the elements that its sizes promise, all readable. */
static void parse(const uint8_t *bytes, size_t count, int dimensions) {
    size_t sizes[3], elements = 1;
    const uint8_t *data;
    if (bp_idx_parse(bytes, count, dimensions, "input", sizes, &data) != BP_OK)
        return;
    for (int i = 0; i < dimensions; i++)
        elements *= sizes[i];
    if (elements == 0 || data < bytes || data + elements != bytes + count)
        abort();
    for (size_t i = 0; i < elements; i++)
        sink = data[i];
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
    for (int dimensions = 1; dimensions <= 3; dimensions += 2) {
        parse(bytes, count, dimensions);
        uint8_t *unpacked;
        size_t n;
        if (bp_idx_unpack(bytes, count, dimensions, "input", &unpacked, &n) == BP_OK)
            parse(unpacked, n, dimensions);
        bp_free(unpacked);
    }
    return 0;
}
