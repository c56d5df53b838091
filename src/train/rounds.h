/* What all who time rounds of something need. */
#ifndef BP_TRAIN_ROUNDS_H
#define BP_TRAIN_ROUNDS_H

#include <stddef.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Sorts the values and returns their median; count >= 1. */
double bp_rounds_median(double *values, size_t count);

/* A request of bp_interrupt, answered and with a message. */
bp_status bp_rounds_check_interrupt(void);

#ifdef __cplusplus
}
#endif
#endif
