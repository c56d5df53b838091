/* data check: what is in a data set, and what is wrong with it. */
#ifndef BP_DATA_CHECK_H
#define BP_DATA_CHECK_H

#include "base/hash.h"
#include "base/threads.h"
#include "data/survey.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One usable picture or image, as the report counts it. */
struct bp_checked {
    struct bp_hash hash; /* of size and pixels */
    size_t h, w;         /* upright */
    size_t index;        /* in the list; of IDX and CIFAR: in its part */
    int32_t label;
    enum bp_side side; /* TRAIN or VAL */
    int grey, png;
};

struct bp_check {
    struct bp_dataset *set;
    struct bp_survey survey;
    const struct bp_dataset_options *options;
    struct bp_threads *threads;
    bp_check_callback *callback; /* may be NULL */
    void *user;
    struct bp_checked *items;
    size_t count;
};

/* Everything. The report's findings are filled on success; the caller frees it also on failure. */
bp_status bp_check_data(const char *data, const struct bp_dataset_options *options,
                        bp_check_callback *callback, void *user, bp_data_report *report);

/* Reads and decodes all pictures of the survey: items, and findings for the others. */
bp_status bp_check_pictures(struct bp_check *check);
/* The same for images in memory, which are all usable. */
bp_status bp_check_images(struct bp_check *check);

/* What a picture is called: its path, or "train 12"; in one of two buffers, by turns. */
const char *bp_check_name(const struct bp_check *check, const struct bp_checked *item);

/* Findings about equal pictures: under two labels, in both parts, copies. Sorts the items. */
bp_status bp_check_duplicates(struct bp_check *check);

/* 1 in *same if two items have the same pixels, compared one by one. */
bp_status bp_check_same(const struct bp_check *check, const struct bp_checked *a,
                        const struct bp_checked *b, int *same);

#ifdef __cplusplus
}
#endif
#endif
