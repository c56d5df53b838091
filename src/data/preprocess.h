/* From a picture's bytes to the square that the network's input is cut from, and from there to the
 * input. Training, evaluation and prediction share it; a checkpoint holds what it needs. */
#ifndef BP_DATA_PREPROCESS_H
#define BP_DATA_PREPROCESS_H

#include "data/image.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Random changes of training images, in this order. */
struct bp_augment {
    int crop_padding; /* > 0: move by up to this many pixels in each direction. IDX and CIFAR
                         images are padded with zero bytes; pictures were resized larger */
    double rrc_area;  /* > 0: a random rectangle of an area share rrc_area .. 1 and an aspect 3/4
                         .. 4/3, resized; not together with crop_padding */
    int flip;         /* mirror left-right with probability 1/2 */
    double jitter;    /* > 0: brightness, contrast and saturation, each by a factor of
                         1 - jitter .. 1 + jitter */
};

struct bp_preprocess {
    size_t side;       /* of the network's square input */
    size_t resize;     /* pictures: their shorter side becomes this long, and the middle square of
                          resize x resize is kept; the input is its middle, or a random crop; 0: images
                          as they are (IDX, CIFAR) */
    size_t channels;   /* pictures become grey (1: Rec. 601 luma) or RGB (3) */
    size_t image_side; /* resize 0: the longer side of the images, 0 if not known */
};

/* What training with `augment` prepares pictures to. */
struct bp_preprocess bp_preprocess_choose(size_t side, const struct bp_augment *augment);

/* The side of the input where none is given, for pictures whose shorter sides have the median
 * `shorter` (0: not known): 32, 48 or 64, whichever is nearest, so that small pictures are not
 * enlarged and large ones do not take long. */
size_t bp_picture_side(size_t shorter);

/* How a network looks at pictures: as it was trained or, if that was on IDX or CIFAR images, with
 * pictures resized to the images' longer side (to its input where that is not known). */
struct bp_preprocess bp_preprocess_for_pictures(const struct bp_preprocess *trained);

/* Decodes a picture to out [resize][resize][channels]. `name` is for messages. */
bp_status bp_preprocess_picture(const struct bp_preprocess *preprocess, const uint8_t *bytes,
                                size_t count, const char *name, uint8_t *out);

/* Brightness, contrast, saturation of an image [pixels][c] in place; factors in 1/256. */
void bp_jitter(uint8_t *image, size_t pixels, size_t c, int brightness, int contrast,
               int saturation);

#ifdef __cplusplus
}
#endif
#endif
