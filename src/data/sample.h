/* One sample of a batch: from a part's image to the network's input, with the random changes of
 * training. The loader's inner part. */
#ifndef BP_DATA_SAMPLE_H
#define BP_DATA_SAMPLE_H

#include "data/dataset.h"

#ifdef __cplusplus
extern "C" {
#endif

struct bp_sample_options {
    size_t height, width, channels; /* of the network's input */
    struct bp_augment augment;
    uint64_t seed;
    uint32_t epoch;
};

size_t bp_sample_scratch_bytes(const struct bp_part *part, size_t height, size_t width);

/* Writes out [height][width][channels]. The random numbers depend on (seed, epoch, sample) only. */
bp_status bp_sample_prepare(const struct bp_part *part, uint32_t sample,
                            const struct bp_sample_options *options, uint8_t *out, void *scratch);

#ifdef __cplusplus
}
#endif
#endif
