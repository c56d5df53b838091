/* CIFAR files, as CIFAR-10 and as CIFAR-100. */
#include <stdint.h>
#include <stdlib.h>

#include "base/memory.h"
#include "data/dataset_format.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

/* Room for exactly the records that the file's size promises. */
static void parse(const uint8_t *bytes, size_t count, size_t label_bytes, size_t classes) {
    size_t records = count / (label_bytes + 3072);
    uint8_t *images;
    int32_t *labels;
    if (bp_alloc_array(&images, records, 3072, "images") != BP_OK ||
        bp_alloc_array(&labels, records, sizeof *labels, "labels") != BP_OK)
        abort();
    if (bp_cifar_parse(bytes, count, label_bytes, classes, "input", images, labels) == BP_OK)
        for (size_t i = 0; i < records; i++)
            if (labels[i] < 0 || (size_t)labels[i] >= classes)
                abort();
    bp_free(images);
    bp_free(labels);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
    parse(bytes, count, 1, 10);
    parse(bytes, count, 2, 100);
    return 0;
}
