/* Made-up images for timing and the self-test: noise that follows from the seed. */
#ifndef BP_TRAIN_MADE_UP_H
#define BP_TRAIN_MADE_UP_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

void bp_made_up_images(uint8_t *images, size_t bytes, uint64_t seed);
/* The mean and deviation by which they are normalised, of each channel. */
void bp_made_up_moments(float mean[3], float deviation[3]);
/* 0, 1, ..., classes - 1, 0, ... */
void bp_made_up_labels(int32_t *labels, size_t count, size_t classes);

#ifdef __cplusplus
}
#endif
#endif
