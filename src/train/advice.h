/* What the end of a run suggests to try next. */
#ifndef BP_TRAIN_ADVICE_H
#define BP_TRAIN_ADVICE_H

#include <stddef.h>

#include "train/config.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What a finished run came to; accuracies 0 .. 1. */
struct bp_outcome {
    double train_accuracy; /* of the last epoch; negative: not known */
    double accuracy;       /* validation, last */
    double largest_share;  /* of the validation samples, that of their largest class */
    size_t validated;      /* samples */
};

/* One line: the network learned the training samples by heart, or nothing; else "". */
void bp_advice(const struct bp_settings *settings, const struct bp_outcome *outcome, char *text,
               size_t size);

#ifdef __cplusplus
}
#endif
#endif
