/* A data set: images as bytes, labels, class names. Its format is recognised by content; a prefix
 * such as `idx:PATH` forces one. */
#ifndef BP_DATA_DATASET_H
#define BP_DATA_DATASET_H

#include <stddef.h>
#include <stdint.h>

#include "data/bad_files.h"
#include "data/preprocess.h"

#ifdef __cplusplus
extern "C" {
#endif

struct bp_pictures; /* data/pictures.h */
struct bp_survey;   /* data/survey.h */

/* One part (training, or validation/test) of a data set. All images have one size; pictures have
 * that to which they were resized. */
struct bp_part {
    size_t count;
    size_t h, w, c;               /* c: 1 grey, 3 RGB */
    uint8_t *images;              /* [count][h][w][c]; pictures: of those kept decoded */
    int32_t *labels;              /* [count], 0 .. classes - 1 */
    struct bp_pictures *pictures; /* NULL: all images are in `images` */
};

struct bp_dataset {
    struct bp_part train, val;
    size_t classes;
    char **class_names;              /* [classes]; "0", "1", ... where the format has no names */
    struct bp_preprocess preprocess; /* what was done to the images; side 0: see the loader */
    size_t median_side; /* of the pictures' shorter sides, where it chose preprocess.side; else 0 */
    char kind[16];      /* "idx" */
    char path[1024];
};

struct bp_dataset_options {
    /* 0 (all) or the number of samples to take: a seeded choice without replacement that keeps the
     * order of the file, spread over the whole part, so a limited set is not the file's beginning.
     */
    size_t limit_train, limit_val;
    uint64_t seed;
    /* The rest is for pictures. */
    struct bp_preprocess preprocess; /* side 0: chosen from the pictures (bp_picture_side), for
                                        training with `augment`; channels 0: 3, or 1 if all are
                                        grey */
    struct bp_augment augment;
    double val_share;         /* of each class, where no part is for validation */
    int val_only;             /* the training part is not read, unless to be split */
    int skip_bad;             /* go on without files that cannot be used */
    char *const *class_names; /* a model's classes take the place of the training part's */
    size_t classes;           /* of class_names; 0: from the training part */
    size_t cache_bytes;       /* for decoded pictures; 0: half of what may be used */
    /* Says it instead, when sizes, classes and samples are known; NULL: cache_bytes holds. */
    bp_status (*choose_cache)(void *context, const struct bp_dataset *dataset, size_t *bytes);
    void *context;
    int threads;              /* for decoding; 0: bp_threads_available */
    struct bp_bad_files *bad; /* receives files that cannot be used; may be NULL */
    struct bp_survey *survey; /* data check: pictures are only listed, in it, and mistakes
                                 in classes and lines noted; else NULL */
};

/* Reads DATA. BP_DATA names the file, the offset where it makes sense, the reason and what to do.
 */
bp_status bp_dataset_open(struct bp_dataset **out, const char *data,
                          const struct bp_dataset_options *options);
void bp_dataset_destroy(struct bp_dataset *dataset);

/* BP_DATA where there is but one class: nothing could be told from it. */
bp_status bp_dataset_check_classes(const struct bp_dataset *dataset);

/* Points *image to a sample's bytes, [h][w][c]: in the part, or decoded into scratch [h][w][c]. */
bp_status bp_part_image(const struct bp_part *part, size_t sample, uint8_t *scratch,
                        const uint8_t **image);
/* 1 if no sample has to be decoded. */
int bp_part_in_memory(const struct bp_part *part);

/* Bytes that a data set takes, decoded pictures included. */
size_t bp_dataset_bytes(const struct bp_dataset *dataset);

/* A hash of what a run sees of a data set: counts, labels, names of the classes, and the images,
 * for pictures the contents of their files. Not of paths: a data set may move. */
uint64_t bp_dataset_fingerprint(const struct bp_dataset *dataset);

/* Mean and standard deviation per channel of the training part (of any part without pictures), of
 * pixel / 255, exact integer sums. A channel without variance gets deviation 1. */
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
