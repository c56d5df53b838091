/* Helpers of the file and data tests: a temporary folder, files with any bytes, gzipped files,
 * small IDX data sets, and acting as a user without rights. Include after cmocka.h. */
#ifndef DATA_FILES_H
#define DATA_FILES_H

#include <stddef.h>
#include <stdint.h>

/* cmocka set-up and tear-down: *state is the path of an empty temporary folder of the test. */
int data_folder_setup(void **state);
int data_folder_teardown(void **state);

/* "folder/name" in one of four static buffers. */
const char *data_path(const char *folder, const char *name);

void data_write(const char *path, const uint8_t *bytes, size_t count);
void data_write_gz(const char *path, const uint8_t *bytes, size_t count);
/* Packs into out (room bytes); returns the packed size. */
size_t data_pack(const uint8_t *bytes, size_t count, uint8_t *out, size_t room);
size_t data_files_in(const char *folder); /* how many entries */

/* Writes an IDX file's bytes to out: header and elements; returns their number. */
size_t data_idx(uint8_t *out, int dimensions, const size_t *sizes, const uint8_t *elements);

struct data_set {
    size_t train, val, h, w; /* images: pixel i of the part is (uint8_t)(i * 7 + i / 256) */
    size_t classes;          /* labels: sample number % classes */
    int gz, dots;            /* packed; names with a dot before idx */
};
/* Writes the four files of an IDX data set. */
void data_write_set(const char *folder, const struct data_set *set);
uint8_t data_pixel(size_t i);

/* A user without rights until data_end_nobody; 0 if that is impossible here. */
int data_begin_nobody(void);
void data_end_nobody(void);

/* The last failure's message is one line and holds each word (the list ends with NULL). */
void data_expect_message(const char *const *words);
#define EXPECT_MESSAGE(...) data_expect_message((const char *const[]){__VA_ARGS__, NULL})

#endif
