/* Batches of pictures for a network that only looks at them: the files of a walk, decoded ahead on
 * several threads and prepared as validation does it. However many there are, only a few batches
 * are in memory. A picture that cannot be decoded is an item with a reason, and nothing else. */
#ifndef BP_DATA_PICTURE_FEED_H
#define BP_DATA_PICTURE_FEED_H

#include <stddef.h>
#include <stdint.h>

#include "data/preprocess.h"

#ifdef __cplusplus
extern "C" {
#endif

struct bp_feed_options {
    struct bp_preprocess preprocess; /* resize > 0 */
    size_t height, width, channels;  /* of the network's input */
    size_t batch;                    /* most pictures in one */
    int threads;                     /* for decoding; 0: bp_threads_available */
    bp_path_source *source;          /* called on a thread of the feed */
    void *user;
};

struct bp_feed_item {
    char *path;
    char *reason; /* why it has no image; NULL: it has the next one */
};

struct bp_feed_batch {
    const struct bp_feed_item *items; /* [n_items], in order */
    size_t n_items;
    const uint8_t *images; /* [n][height][width][channels], of the items without a reason */
    size_t n;
    size_t passed_over; /* files inside folders that are no pictures, since the beginning */
    int last;           /* nothing follows; such a batch may be empty */
};

struct bp_feed;

bp_status bp_feed_open(struct bp_feed **out, const struct bp_feed_options *options);
/* Returns when the source has, if it is being asked. */
void bp_feed_close(struct bp_feed *feed);

/* The next batch; valid until the next call. Failures are those of the machine. */
bp_status bp_feed_next(struct bp_feed *feed, struct bp_feed_batch *out);

#ifdef __cplusplus
}
#endif
#endif
