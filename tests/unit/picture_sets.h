/* Folders of drawn pictures for the tests of data sets. Include after cmocka.h. */
#ifndef PICTURE_SETS_H
#define PICTURE_SETS_H

#include "data/dataset.h"
#include "unit/picture_files.h"

/* Writes folder/name, making folders as needed: a drawing of a class; JPEG if the name ends in
 * .jpg, else PNG; every third one wide, every third one tall. */
void picture_write(const char *folder, const char *name, unsigned class_number, unsigned number);
void picture_write_bytes(const char *folder, const char *name, const void *bytes, size_t count);
/* n pictures folder/name/0.jpg, 1.png, 2.jpg ... */
void picture_write_class(const char *folder, const char *name, unsigned class_number, unsigned n);

/* Options for pictures of 16 x 16, split by seed 1, one thread. */
struct bp_dataset_options picture_options(void);
/* Fails the test if the data set cannot be opened. */
struct bp_dataset *picture_open(const char *data, const struct bp_dataset_options *options);
/* It must be refused with this status and these words. */
void picture_expect_refused(const char *data, const struct bp_dataset_options *options,
                            const char *const *words);
#define EXPECT_REFUSED(data, options, ...)                                                         \
    picture_expect_refused(data, options, (const char *const[]){__VA_ARGS__, NULL})

/* A part must have these numbers of pictures of each class. */
void picture_expect_counts(const struct bp_part *part, size_t classes, const size_t *counts);

/* 1 if both parts hold the same images and labels, kept in memory or not. */
int picture_same_part(const struct bp_part *a, const struct bp_part *b);

#endif
