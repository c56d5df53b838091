/* What a run would take (bp_forecast_run), and the arithmetic of it. */
#ifndef BP_TRAIN_FORECAST_H
#define BP_TRAIN_FORECAST_H

#include "train/pace.h"
#include "train/session.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Fills the times of one side, from measured parts and the numbers of steps. */
void bp_forecast_times(const struct bp_pace *pace, const struct bp_course *course, size_t batch,
                       size_t steps, double read_seconds, bp_forecast_side *out);

#ifdef __cplusplus
}
#endif
#endif
