/* What a data set format brings: one file per format, listed in the table of dataset.c. To add one,
 * write dataset_<name>.c with a bp_format and name it there. */
#ifndef BP_DATA_DATASET_FORMAT_H
#define BP_DATA_DATASET_FORMAT_H

#include "data/dataset.h"

#ifdef __cplusplus
extern "C" {
#endif

struct bp_format {
    const char *name;  /* the prefix that forces it: "idx" in idx:PATH */
    const char *files; /* for messages: what a data set of this format consists of */
    int (*recognise)(const char *path); /* 1: looks like this format; reads names only */
    /* Fills train and val (all samples) and, where the format has them, classes and class_names. On
     * failure whatever was allocated stays in dataset. */
    bp_status (*read)(struct bp_dataset *dataset, const char *path);
};

extern const struct bp_format bp_format_idx;

/* Unpacks the bytes of a gzipped IDX file (bp_free them). The sizes in its header limit what is
 * allocated and unpacked. */
bp_status bp_idx_unpack(const uint8_t *packed, size_t packed_count, int dimensions,
                        const char *name, uint8_t **bytes, size_t *count);

#ifdef __cplusplus
}
#endif
#endif
