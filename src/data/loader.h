/* Batches, prepared ahead by worker threads: seeded shuffle, decoding of pictures that are not kept
 * in memory, augmentation, fitting to the network's size. Batch b of epoch e depends only on (seed,
 * e, b): a run resumes at any step, and no thread count or timing changes a byte. */
#ifndef BP_DATA_LOADER_H
#define BP_DATA_LOADER_H

#include "data/dataset.h"

#ifdef __cplusplus
extern "C" {
#endif

struct bp_loader_options {
    size_t batch;
    size_t height, width; /* of the network's input; smaller images are centred on zero bytes, of
                             pictures the middle is taken; other larger images are refused
                             (BP_DATA) */
    size_t channels;      /* of the network's input: grey images are repeated to 3; RGB for a
                             grey network is refused */
    struct bp_augment augment; /* training only */
    uint64_t seed;
    int shuffle;          /* training: a seeded permutation per epoch; else file order */
    int drop_last;        /* training: the incomplete last batch is left out */
    uint32_t first_epoch; /* where to begin */
    size_t first_batch;
    size_t ahead; /* how many batches are prepared ahead (>= 1) */
    int workers;  /* threads that prepare a batch together; 0: 1 */
};

struct bp_batch {
    size_t n;
    const uint8_t *images; /* [n][height][width][channels] */
    const int32_t *labels; /* [n] */
    uint32_t epoch;
    size_t index; /* of the batch in its epoch */
    int last;     /* 1 for the last batch of the epoch */
};

struct bp_loader;

/* `part` must outlive the loader. A part smaller than one batch with drop_last is BP_USAGE. */
bp_status bp_loader_create(struct bp_loader **out, const struct bp_part *part,
                           const struct bp_loader_options *options);
void bp_loader_destroy(struct bp_loader *loader);

size_t bp_loader_batches(const struct bp_loader *loader); /* per epoch */

/* The next batch, epoch after epoch without end; valid until the next call. A picture that cannot
 * be decoded any more is BP_DATA, for this and all further calls. */
bp_status bp_loader_next(struct bp_loader *loader, struct bp_batch *out);

/* Nanoseconds that bp_loader_next has waited for the worker so far. */
uint64_t bp_loader_waited_ns(const struct bp_loader *loader);

/* The workers that a part needs beside a trainer of `threads` threads: one, unless pictures have to
 * be decoded or resampled again and again. */
int bp_loader_workers(const struct bp_part *part, const struct bp_augment *augment, int threads);

/* The permutation of an epoch (Fisher-Yates on a counter-based stream), for tests. */
void bp_loader_permutation(uint64_t seed, uint32_t epoch, size_t count, uint32_t *order);

#ifdef __cplusplus
}
#endif
#endif
