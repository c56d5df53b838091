/* A data set, decoded and in memory: images as bytes, labels, class names. Readers are recognised
 * by content; `idx:PATH` forces one. */
#ifndef BP_DATA_DATASET_H
#define BP_DATA_DATASET_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One part (training, or validation/test) of a data set. All images have one size. */
struct bp_part {
    size_t count;
    size_t h, w, c;  /* c: 1 grey, 3 RGB */
    uint8_t *images; /* [count][h][w][c] */
    int32_t *labels; /* [count], 0 .. classes - 1 */
};

struct bp_dataset {
    struct bp_part train, val;
    size_t classes;
    char **class_names; /* [classes]; "0", "1", ... where the format has no names */
    char kind[16];      /* "idx" */
    char path[1024];
};

/* Limits are 0 (all) or the number of samples to take: a seeded choice without replacement that
 * keeps the order of the file, spread over the whole part, so a limited set is not the file's
 * beginning. */
struct bp_dataset_options {
    size_t limit_train, limit_val;
    uint64_t seed;
};

/* Reads DATA. BP_DATA names the file, the offset where it makes sense, the reason and what to do.
 */
bp_status bp_dataset_open(struct bp_dataset **out, const char *data,
                          const struct bp_dataset_options *options);
void bp_dataset_destroy(struct bp_dataset *dataset);

/* Mean and standard deviation per channel of a part, of pixel / 255, exact integer sums. A channel
 * without variance gets deviation 1. */
void bp_part_moments(const struct bp_part *part, float mean[3], float deviation[3]);

/* Parses an IDX file's bytes (already unpacked): unsigned bytes, `dimensions` dimensions (1 labels,
 * 3 images). For the reader and its fuzz target. sizes receives the dimensions; *data points into
 * bytes. `name` is for messages. */
bp_status bp_idx_parse(const uint8_t *bytes, size_t count, int dimensions, const char *name,
                       size_t sizes[3], const uint8_t **data);

#ifdef __cplusplus
}
#endif
#endif
