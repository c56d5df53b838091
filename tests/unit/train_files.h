/* Helpers of the training tests: a tiny data set, configs for it, comparing what runs leave.
 * Include after cmocka.h. */
#ifndef TRAIN_FILES_H
#define TRAIN_FILES_H

#include <stddef.h>
#include <stdint.h>

#include "bitprop.h"

/* Training part 18 images of 8 x 8 in 3 classes, validation part 6. With --batch 4 an epoch has 4
 * batches (2 images are left out). */
enum { TRAIN_BATCH = 4, TRAIN_BATCHES = 4, TRAIN_EPOCHS = 3, TRAIN_STEPS = 12 };

/* cmocka set-up (with data_folder_teardown): *state is a folder with the data set in "data". */
int train_folder_setup(void **state);

/* A config for the tiny set: vgg16 of width 0.05, batch 4, 3 epochs, one thread, run folder
 * "folder/run"; then the given names and values, ended by NULL. bp_config_destroy it. */
bp_config *train_config(const char *folder, const char *run, const char *const *options);
#define TRAIN_CONFIG(folder, run, ...)                                                             \
    train_config(folder, run, (const char *const[]){__VA_ARGS__, NULL})

/* Event callback; *user is the step after which it calls bp_interrupt(SIGINT). */
void train_interrupt_at(void *user, const bp_event *event);

/* A whole file with a zero byte behind (bp_free it). */
char *train_read(const char *folder, const char *run, const char *file, size_t *count);

/* Fails unless both runs left the same file; times in metrics.jsonl may differ. */
void train_expect_same_file(const char *folder, const char *run_a, const char *run_b,
                            const char *file);
/* The same for last.ckpt, best.ckpt and metrics.jsonl. */
void train_expect_same_run(const char *folder, const char *run_a, const char *run_b);

/* Writes one (finite or not) text into a file. */
void train_write(const char *folder, const char *run, const char *file, const char *text);

#endif
