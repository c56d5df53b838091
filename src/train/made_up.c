#include "train/made_up.h"

#include "base/rng.h"

void bp_made_up_images(uint8_t *images, size_t bytes, uint64_t seed) {
    struct bp_stream stream = bp_stream_make(seed, BP_RANDOM_TEST, 0, 0);
    uint32_t block[4];
    for (size_t i = 0; i < bytes; i++) {
        if (i % 16 == 0)
            bp_stream_block(&stream, i / 16, block);
        images[i] = (uint8_t)(block[i % 16 / 4] >> (8 * (i % 4)));
    }
}

void bp_made_up_moments(float mean[3], float deviation[3]) {
    for (int c = 0; c < 3; c++) {
        mean[c] = 0.5f;
        deviation[c] = 0.25f;
    }
}

void bp_made_up_labels(int32_t *labels, size_t count, size_t classes) {
    for (size_t i = 0; i < count; i++)
        labels[i] = (int32_t)(i % classes);
}
