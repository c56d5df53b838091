/* Data sets of picture files: folder and list formats fill a bp_picture_list, bp_pictures_open
 * makes parts of it: reads every file, splits, decodes, keeps as many decoded as memory allows. */
#ifndef BP_DATA_PICTURES_H
#define BP_DATA_PICTURES_H

#include "data/dataset.h"

#ifdef __cplusplus
extern "C" {
#endif

enum bp_side { BP_SIDE_OPEN, BP_SIDE_TRAIN, BP_SIDE_VAL }; /* OPEN: to be split by the seed */

struct bp_picture {
    char *path;
    char *reason;     /* why it cannot be used, a line for bp_bad_files; else NULL */
    char *class_name; /* list format only, until classes are known; else NULL */
    uint64_t hash;    /* of the content */
    int32_t label;
    enum bp_side side;
    int grey;
    size_t shorter_side; /* in pixels; 0: not looked at */
};

struct bp_picture_list {
    struct bp_picture *items;
    size_t count, room;
};

/* 1 for a file that is a picture by its first bytes, or by its name: broken pictures are to be
 * reported, not overlooked. */
int bp_picture_is_likely(const char *path);

/* 1 if a folder has pictures among its first files; -1: no memory to look. */
int bp_dir_holds_pictures(const char *folder);

/* Adds a file; path is copied. Returns the item in *out (may be NULL). */
bp_status bp_picture_list_add(struct bp_picture_list *list, const char *path, int32_t label,
                              enum bp_side side, struct bp_picture **out);
void bp_picture_list_free(struct bp_picture_list *list);

/* Splits the OPEN items without a reason, class by class: of n files round(share * n), but at least
 * one and not all if n > 1, become VAL: those with the smallest random numbers drawn from (seed,
 * content hash). Files of equal content stay together. share >= 1: all. */
bp_status bp_picture_list_split(struct bp_picture_list *list, double share, uint64_t seed);

/* The files of a part, besides what bp_part has. */
struct bp_pictures {
    struct bp_preprocess preprocess;
    char **paths;               /* [count] */
    uint64_t hash;              /* of the files' contents, in the order of paths */
    size_t cached;              /* the first ones are decoded in part->images */
    uint64_t histogram[3][256]; /* of all pixels of the training part */
};

/* Fills train and val of a data set whose classes are known. Every file is read; those of the
 * wanted parts are decoded once. Files that cannot be used go to options->bad; without skip_bad
 * they are BP_DATA. */
bp_status bp_pictures_open(struct bp_dataset *set, struct bp_picture_list *list,
                           const struct bp_dataset_options *options);
/* A picture's file, bp_free it; BP_DATA where it cannot be read, or is larger than 1 GiB. */
bp_status bp_picture_read(const char *path, uint8_t **bytes, size_t *count);
/* Notes the header's channels and size, the content's hash for the split, or the reason why not. */
bp_status bp_picture_look(struct bp_picture *item, const uint8_t *bytes, size_t count);

void bp_pictures_free(struct bp_pictures *pictures, size_t count);

/* Classes of a picture data set: `found` (its names are taken over) or, for evaluation, those of
 * the model. bp_class_find says the number of a name, or -1. */
bp_status bp_classes_set(struct bp_dataset *set, const char *const *found, size_t count,
                         const struct bp_dataset_options *options);
int32_t bp_class_find(const struct bp_dataset *set, const char *name);

#ifdef __cplusplus
}
#endif
#endif
