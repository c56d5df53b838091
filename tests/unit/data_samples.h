/* Helpers of the loader's tests: a part with recognisable samples, plain options. */
#ifndef DATA_SAMPLES_H
#define DATA_SAMPLES_H

#include "data/loader.h"

enum { DATA_H = 6, DATA_W = 5, DATA_MOST = 203 };

/* A part whose labels are the sample numbers; pixels are never 0, so that padding shows. */
struct data_samples {
    struct bp_part part;
    uint8_t images[DATA_MOST * DATA_H * DATA_W * 3];
    int32_t labels[DATA_MOST];
};

/* `count` samples with c channels; give it back with free. */
struct data_samples *data_make_part(size_t count, size_t c);
/* File order, no augmentation, the samples' own size. */
struct bp_loader_options data_plain_options(size_t batch);
/* These two make the test fail when the loader does. */
struct bp_loader *data_create_loader(const struct bp_part *part, struct bp_loader_options options);
struct bp_batch data_next(struct bp_loader *loader);

#endif
