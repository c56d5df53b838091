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
    int (*recognise)(const char *path); /* 1: looks like this format; -1: no memory to look */
    /* Fills train and val (all samples) and, where the format has them, classes and class_names. On
     * failure whatever was allocated stays in dataset. */
    bp_status (*read)(struct bp_dataset *dataset, const char *path,
                      const struct bp_dataset_options *options);
};

extern const struct bp_format bp_format_idx, bp_format_cifar10, bp_format_cifar100, bp_format_list,
    bp_format_folder;

/* Keeps `limit` samples (0: all), chosen by the seed: of images and labels, or, where `chosen` is
 * given, of labels and chosen. `which` tells parts apart. */
void bp_part_choose(struct bp_part *part, size_t limit, uint64_t seed, unsigned which,
                    size_t *chosen);

/* Parses a CIFAR file's bytes: records of `label_bytes` labels (the last one counts) and 3072 bytes
 * in planes. Appends nothing: images [n][32][32][3] and labels [n] have room for n = count / (3072
 * + label_bytes) records. */
bp_status bp_cifar_parse(const uint8_t *bytes, size_t count, size_t label_bytes, size_t classes,
                         const char *name, uint8_t *images, int32_t *labels);

/* Reads the next line "path,label[,split]" of a list file at *offset: fields are unquoted in place
 * and ended by zero bytes. bytes[count] must be writable. n_fields receives 0 for an empty line. */
enum { BP_LIST_FIELDS = 3 };
bp_status bp_list_parse_line(char *bytes, size_t count, size_t *offset, const char *name,
                             size_t line, char *fields[BP_LIST_FIELDS], size_t *n_fields);

/* Unpacks the bytes of a gzipped IDX file (bp_free them). The sizes in its header limit what is
 * allocated and unpacked. */
bp_status bp_idx_unpack(const uint8_t *packed, size_t packed_count, int dimensions,
                        const char *name, uint8_t **bytes, size_t *count);

#ifdef __cplusplus
}
#endif
#endif
